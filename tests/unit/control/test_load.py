"""Many changes under load: nothing is left of them."""

from __future__ import annotations

import gc
import os
import sys
import threading

import pytest

from slirpy import Slirp
from slirpy.control import ControlServer
from tests.support.control import request
from tests.support.waiting import until

CHANGES = 1000


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_a_thousand_forwards_leave_nothing(server: ControlServer, net: Slirp) -> None:
    def change() -> None:
        status, forward = request(server, "POST", "/v1/forwards", {"rule": "tcp::0-:7"})
        assert status == 201, forward
        assert request(server, "DELETE", f"/v1/forwards?rule={forward['rule']}")[0] == 200

    def counts() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(20):
        change()
    over = threading.Event()
    moved = 0
    with net.connect("10.0.2.15", 7) as sock:

        def load() -> None:
            nonlocal moved
            data = bytes(65536)
            while not over.is_set():
                sock.sendall(data)
                left = len(data)
                while left:
                    left -= len(sock.recv(left))
                moved += len(data)

        loading = threading.Thread(target=load)
        loading.start()
        gc.collect()
        before, objects = counts(), len(gc.get_objects())
        for _ in range(CHANGES):
            change()
        gc.collect()
        until(
            lambda: counts() == before, lambda: request(server, "GET", "/v1"), lambda: f"{counts()}, {before}"
        )
        grown = len(gc.get_objects()) - objects
        over.set()
        loading.join()
    assert net.hostfwds() == []
    assert moved > 0
    assert grown < CHANGES, f"{grown} objects more"
