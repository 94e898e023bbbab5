"""A Linux kernel and slirpy over a bad network: what is lost, late, out of order, doubled or damaged arrives.

How fast is measured by ``benchmarks/faults.py``, beside two Linux kernels.
"""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from random import Random

import pytest

from slirpy import Config, Slirp
from slirpy.links import FaultLink, Faults, TapLink
from tests.system.netns import SECONDS, NetworkNamespace

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

MS = 1_000_000
KIB = 1 << 10
GATEWAY_MAC = "52:55:0a:00:02:02"

# Sends and receives, at once or one after the other, and prints a digest of what it has received.
CLIENT = """
import hashlib, random, socket, sys, threading
port, up, down, together = map(int, sys.argv[1:])
s = socket.create_connection(("10.0.2.2", port), 100)
def send():
    s.sendall(random.Random(1).randbytes(up))
    s.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
if not together:
    sender.join()
h = hashlib.sha256()
n = 0
while data := s.recv(1 << 20):
    h.update(data)
    n += len(data)
sender.join()
print(n, h.hexdigest())
"""


class Bad:
    """A namespace with a bad link to slirpy, which a thread carries."""

    def __init__(self, faults: Faults) -> None:
        self.guest = NetworkNamespace()
        self.link = FaultLink(TapLink(self.guest.fd, 1500), Random(7), to_guest=faults, from_guest=faults)
        self.guest.set_up("10.0.2.15", 1500, offloads=False)  # what is lost is a segment, not 64 KiB
        # What turns bits over in ARP sends frames elsewhere for a minute, as it would on any network.
        self.guest.run(
            *("ip", "neighbor", "replace", "10.0.2.2", "lladdr", GATEWAY_MAC, "dev", "tap0", "nud", "permanent")
        )
        self.net = Slirp(Config(resolvers=[]))
        self.net.attach_link(self.link)
        self.net.start()

    def close(self) -> None:
        self.net.close()
        self.guest.close()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def exchange(bad: Bad, up: int, down: int, together: bool) -> None:
    """Bulk both ways over one connection, with checksums."""
    answer = Random(2).randbytes(down)
    received = hashlib.sha256()
    with socket.create_server(("127.0.0.1", 0)) as server:
        argv = [sys.executable, "-c", CLIENT, *map(str, (server.getsockname()[1], up, down, int(together)))]
        client = subprocess.Popen(bad.guest.command(*argv), stdout=subprocess.PIPE, text=True)
        try:
            server.settimeout(SECONDS)
            connection, _ = server.accept()
            with connection:
                connection.settimeout(SECONDS)
                sender = threading.Thread(target=connection.sendall, args=(answer,))
                if together:
                    sender.start()
                while data := connection.recv(1 << 20):
                    received.update(data)
                if not together:
                    sender.start()
                sender.join()
                connection.shutdown(socket.SHUT_WR)
                told, _ = client.communicate(timeout=SECONDS)
        finally:
            client.kill()
            client.wait()
    assert received.hexdigest() == digest(Random(1).randbytes(up))
    assert told.split() == [str(down), digest(answer)]


@pytest.fixture(autouse=True)
def tools(need: Callable[..., None]) -> None:
    need("ip", "ethtool", "nsenter", "unshare")


@pytest.fixture
def bad(request: pytest.FixtureRequest) -> Iterator[Bad]:
    """With the faults that the test is parametrized with."""
    with closing(Bad(request.param)) as made:
        yield made


def seen(bad: Bad, faults: Faults) -> None:
    """Check that what was to happen has happened, and nothing else."""
    both = bad.link.to_guest_counters, bad.link.from_guest_counters
    for chance, times in (
        (faults.loss, sum(counters.lost for counters in both)),
        (faults.duplicate, sum(counters.duplicated for counters in both)),
        (faults.corrupt, sum(counters.corrupted for counters in both)),
        (faults.reorder, sum(counters.reordered for counters in both)),
    ):
        # A chance of one in a thousand may leave a short transfer alone.
        assert bool(times) == bool(chance) or 0 < chance < 0.01, both


KINDS = {
    "delay": Faults(delay=5 * MS),
    "jitter": Faults(delay=MS, jitter=10 * MS),
    "little loss": Faults(delay=MS, loss=0.001),
    "loss": Faults(delay=MS, loss=0.01),
    "much loss": Faults(delay=MS, loss=0.05),
    "reordering": Faults(delay=MS, reorder=0.05, reorder_delay=3 * MS),
    "duplication": Faults(delay=MS, duplicate=0.05),
    "corruption": Faults(delay=MS, corrupt=0.02),
    "a slow link": Faults(delay=MS, rate=20_000_000, queue=30_000),
    "all of them": Faults(
        delay=MS, jitter=MS, loss=0.01, reorder=0.02, reorder_delay=5 * MS, duplicate=0.02, corrupt=0.01
    ),
}


@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
@pytest.mark.parametrize(
    ("bad", "faults"), [pytest.param(f, f, id=name) for name, f in KINDS.items()], indirect=["bad"]
)
def test_all_arrives(bad: Bad, faults: Faults, together: bool) -> None:
    exchange(bad, 1024 * KIB, 1024 * KIB, together)
    seen(bad, faults)


LONG = [
    (Faults(loss=loss, delay=delay * MS), size * KIB)
    for delay, size in ((1, 2048), (20, 1024), (100, 256))
    for loss in (0.001, 0.01, 0.05)
] + [
    (Faults(delay=20 * MS, reorder=0.1, reorder_delay=10 * MS), 1024 * KIB),
    (Faults(delay=20 * MS, duplicate=0.1), 1024 * KIB),
    (Faults(delay=20 * MS, corrupt=0.02), 1024 * KIB),
]


@pytest.mark.long
@pytest.mark.parametrize("together", [False, True], ids=["in turn", "at once"])
@pytest.mark.parametrize(
    ("bad", "faults", "size"),
    [
        pytest.param(f, f, size, id=f"{f.delay // MS} ms, loss {f.loss}, {n}")
        for n, (f, size) in enumerate(LONG)
    ],
    indirect=["bad"],
)
def test_all_arrives_over_any_distance(bad: Bad, faults: Faults, size: int, together: bool) -> None:
    exchange(bad, size, size, together)
    seen(bad, faults)
