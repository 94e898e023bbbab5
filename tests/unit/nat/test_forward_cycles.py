"""Forwards that come and go a thousand times while data passes, and leave nothing behind. Real sockets."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slirpy import Config, Slirp
from tests.support.driven import Driven

CYCLES = 1000
DATA = bytes(range(256)) * 4096


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a program that sends back what comes, for one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                while data := connection.recv(65536):
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)
        assert not thread.is_alive()


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.long
@pytest.mark.needs("linux")
@pytest.mark.needs("linux", detail="counts descriptors in /proc")
def test_a_thousand_cycles_under_load_leak_no_descriptor(echo: int, tmp_path: Path) -> None:
    with Slirp(Config(hostfwd=["tcp:127.0.0.1:0-:80"], resolvers=[])) as net:
        driven = Driven(net)
        stream = driven.connect("10.0.2.2", echo)
        (steady,) = net.hostfwds()
        before = descriptors()
        rules = ("tcp::0-:81", "udp::0-:82", f"unix:{tmp_path}/socket-:83", "tcp::0-10.0.2.16:84")
        sent = 0
        for cycle in range(CYCLES):
            forward = net.add_hostfwd(rules[cycle % len(rules)])
            assert net.hostfwds() == [steady, forward]
            if cycle % 10 == 0 and forward.path is None:  # some are used, and then taken away
                kind = socket.SOCK_STREAM if forward.protocol == "tcp" else socket.SOCK_DGRAM
                with socket.socket(socket.AF_INET, kind) as client:
                    client.connect((str(forward.host_address), forward.host_port))
            if sent - len(stream.received) < 65536:
                stream.write(DATA[sent % len(DATA) :][:4096])
                sent += 4096
            turn = iter((False, True))
            driven.until(turn.__next__)
            net.remove_hostfwd(forward)
        driven.until(lambda: len(stream.received) == sent, "all comes back")
        assert bytes(stream.received) == (DATA * (sent // len(DATA) + 1))[:sent]
        assert sent > 100 * 4096
        assert net.hostfwds() == [steady]
        stream.shutdown()
        driven.until(lambda: stream.eof, "the end")
        driven.until(lambda: descriptors() <= before, "what was used is closed", seconds=90)
    assert not list(tmp_path.iterdir())
