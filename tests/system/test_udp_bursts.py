"""UDP between a guest with a kernel and a program on the host's loopback, by the fast path and in large frames."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]

BURSTS, BURST = 60, 50

# Sends a burst, waits until all of it has come back, and sends the next. Each datagram says its number; most are of
# one size, so that they travel as large frames.
GUEST = f"""
import random, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
sock.settimeout(20)
gateway = ("10.0.2.2", int(sys.argv[1]))
random.seed(1)
sock.sendto(b"first", gateway)  # the kernel keeps only so much until it knows the gateway's MAC address
assert sock.recv(100) == b"first"
number = 0
for burst in range({BURSTS}):
    size = random.choice((1, 18, 700, 1400, 1472, 3000))
    sent = []
    for _ in range(min({BURST}, 60_000 // size)):  # what the buffers of every socket on the way hold
        length = size if random.random() < 0.9 else random.randrange(0, 2000)
        sent.append((number.to_bytes(4, "big") * (length // 4 + 1))[:length])
        number += 1
    for payload in sent:
        sock.sendto(payload, gateway)
    back = []
    while len(back) < len(sent):
        payload, source = sock.recvfrom(65536)
        assert source == gateway, source
        back.append(payload)
    assert back == sent, (burst, size, [len(p) for p in sent], [len(p) for p in back])
print("all", number)
"""


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A program that sends every datagram back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                payload, source = sock.recvfrom(65536)
                if payload == b"the end of the test":
                    return
                sock.sendto(payload, source)

        thread = threading.Thread(target=serve)
        thread.start()
        yield sock
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"the end of the test", sock.getsockname())
        thread.join(10)
        assert not thread.is_alive()


def test_bursts_of_datagrams_come_back_whole_and_in_order(
    slirpy: User, need: Need, echo: socket.socket
) -> None:
    need("ip")
    port = echo.getsockname()[1]
    done = slirpy.run("run", "--stats", "--", sys.executable, "-c", GUEST, str(port))
    assert done.returncode == 0, done.stderr
    sent = int(done.stdout.removeprefix("all "))
    assert sent > BURSTS * BURST // 2
    counted = next(line for line in done.stderr.splitlines() if line.split()[:1] == ["udp_fastpath"])
    assert int(counted.split()[1]) > sent // 2  # those of a fragmented size go the slow way


def test_many_ports_at_once(slirpy: User, need: Need, echo: socket.socket) -> None:
    need("ip")
    program = """
import select, socket, sys
gateway = ("10.0.2.2", int(sys.argv[1]))
socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(150)]
waiting = {}
socks[0].sendto(b"first", gateway)  # the kernel keeps only so much until it knows the gateway's MAC address
assert socks[0].recv(100) == b"first"
for number, sock in enumerate(socks):
    sock.connect(gateway)
    for part in range(3):
        sock.send(b"%d %d" % (number, part))
    waiting[sock] = [b"%d %d" % (number, part) for part in range(3)]
while waiting:
    ready, _, _ = select.select(list(waiting), [], [], 20)
    assert ready, len(waiting)
    for sock in ready:
        assert sock.recv(100) == waiting[sock].pop(0)
        if not waiting[sock]:
            del waiting[sock]
print("all")
"""
    done = slirpy.run("run", "--", sys.executable, "-c", program, str(echo.getsockname()[1]))
    assert (done.returncode, done.stdout) == (0, "all\n"), done.stderr
