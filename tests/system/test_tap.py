"""The TAP link against the kernel: ping, UDP and TCP, every MTU, with offloads and without, equal to the byte."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from random import Random

import pytest

from slirpy import Config, LinkFeatures, Slirp
from slirpy.errors import LinkError
from slirpy.interfaces import Buffer, Frame
from slirpy.links import Middleware, TapLink, open_tap
from tests.system.netns import SECONDS, NetworkNamespace

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]
Need = Callable[..., None]

MIB = 1 << 20
SIZE = 8 * MIB
MTUS = (576, 1500, 9000, 65521)

# What programs do in the namespace. They print a digest of what they received.
TCP_CLIENT = """
import hashlib, random, socket, sys
port, size, mss, seed = map(int, sys.argv[1:])
s = socket.socket()
if mss:
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, mss)
s.settimeout(100)
s.connect(("10.0.2.2", port))
s.sendall(random.Random(seed).randbytes(size))
s.shutdown(socket.SHUT_WR)
h = hashlib.sha256()
n = 0
while data := s.recv(1 << 20):
    h.update(data)
    n += len(data)
print(n, h.hexdigest())
"""

TCP_SERVER = """
import hashlib, random, socket, sys
port, size, seed = map(int, sys.argv[1:])
l = socket.create_server(("", port))
print("ready", flush=True)
s, peer = l.accept()
s.settimeout(100)
s.sendall(random.Random(seed).randbytes(size))
s.shutdown(socket.SHUT_WR)
h = hashlib.sha256()
while data := s.recv(1 << 20):
    h.update(data)
print(peer[0], h.hexdigest())
"""

UDP_CLIENT = """
import socket, sys
port = int(sys.argv[1])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
for size in map(int, sys.argv[2:]):
    data = bytes(i * 13 & 255 for i in range(size))
    s.sendto(data, ("10.0.2.2", port))
    got, source = s.recvfrom(70000)
    assert got == data[::-1], (size, len(got))
    assert source == ("10.0.2.2", port), source
print("equal")
"""


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


class Watch(Middleware):
    """A link around a TAP link that notes what crosses, and may claim to be able to do less."""

    def __init__(self, inner: TapLink, features: LinkFeatures) -> None:
        super().__init__(inner)
        self._features = features
        self.longest_in = self.longest_out = self.vouched = self.tcp_in = 0

    @property
    def features(self) -> LinkFeatures:
        return self._features

    def send(self, frames: Sequence[Frame]) -> int:
        for frame in frames:
            self.longest_out = max(self.longest_out, sum(map(len, frame.parts)))
        return super().send(frames)

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        if len(frame) > 34 and frame[12:14] == b"\x08\x00" and frame[23] == 6:
            self.tcp_in += 1
            self.vouched += checksummed
            self.longest_in = max(self.longest_in, len(frame))
        super().input(frame, checksummed, gso_size)


class Namespace(NetworkNamespace):
    """A network namespace that slirpy serves from a thread."""

    def __init__(self, mtu: int, offloads: bool, ours: bool, hostfwd: Sequence[str]) -> None:
        super().__init__()
        features = LinkFeatures(mtu=mtu, checksum_offload=ours, segmentation_offload=ours)
        self.link = Watch(TapLink(self.fd, mtu), features)
        self.set_up("10.0.2.15", mtu, offloads)
        self.run("ip", "route", "add", "default", "via", "10.0.2.2")
        self.net = Slirp(Config(mtu=mtu, hostfwd=hostfwd, resolvers=[]))
        self.net.attach_link(self.link)
        self.error: BaseException | None = None
        self._stop = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            while not self._stop:
                self.net.poll(0.05)
        except BaseException as error:
            self.error = error

    def python(self, script: str, *arguments: object) -> str:
        return self.run(sys.executable, "-c", script, *map(str, arguments))

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self.net.close()
        super().close()
        if self.error is not None:
            raise self.error


@contextmanager
def namespace(
    mtu: int = 1500, *, offloads: bool = True, ours: bool = True, hostfwd: Sequence[str] = ()
) -> Iterator[Namespace]:
    """``offloads``: the kernel's; ``ours``: whether slirpy makes use of the link's."""
    with closing(Namespace(mtu, offloads, ours, hostfwd)) as made:
        yield made


@contextmanager
def tcp_host(send: bytes) -> Iterator[tuple[int, list[str]]]:
    """A server on the host's loopback for one connection: takes everything, then sends. Port, and digests."""
    got: list[str] = []

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(SECONDS)
            received = hashlib.sha256()
            while data := connection.recv(MIB):
                received.update(data)
            got.append(received.hexdigest())
            connection.sendall(send)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], got
        thread.join()


@pytest.fixture(autouse=True)
def tools(need: Need) -> None:
    need("ip", "ethtool", "nsenter", "unshare", "ping")


def transfer(ns: Namespace, size: int = SIZE, mss: int = 0) -> None:
    up, down = Random(1).randbytes(size), Random(2).randbytes(size)
    with tcp_host(down) as (port, got):
        count, received = ns.python(TCP_CLIENT, port, size, mss, 1).split()
    assert got == [digest(up)]
    assert (int(count), received) == (size, digest(down))


VARIANTS = [
    pytest.param(True, True, id="offloads"),
    pytest.param(False, True, id="kernel without"),
    pytest.param(True, False, id="slirpy without"),
    pytest.param(False, False, id="plain frames both ways"),
]


@pytest.mark.parametrize("mtu", MTUS)
@pytest.mark.parametrize(("offloads", "ours"), VARIANTS)
def test_tcp(mtu: int, offloads: bool, ours: bool) -> None:
    with namespace(mtu, offloads=offloads, ours=ours) as ns:
        transfer(ns)
        stats, link = ns.net.stats, ns.link
        assert stats.drop_tcp_checksum == 0
        assert stats.drop_link_dead == 0
        # The kernel looks for IPv6 routers when it likes; and on a busy machine it may send a segment again.
        dropped = stats.dropped() - stats.drop_ipv6 - stats.drop_ipv6_group
        assert dropped <= max(stats.frames_in // 100, 10), stats.nonzero()
        if offloads:
            assert link.vouched == link.tcp_in
            assert link.longest_in > min(2 * mtu, 60_000)
        else:
            assert link.vouched == 0
            assert link.longest_in <= mtu + 14
        if ours:
            assert link.longest_out > min(2 * mtu, 60_000)
        else:
            assert link.longest_out <= mtu + 14


@pytest.mark.parametrize("mss", [88, 536])
@pytest.mark.parametrize(("offloads", "ours"), VARIANTS)
def test_tcp_with_a_small_mss(mss: int, offloads: bool, ours: bool) -> None:
    with namespace(offloads=offloads, ours=ours) as ns:
        transfer(ns, MIB, mss)


@pytest.mark.parametrize(("offloads", "ours"), VARIANTS)
def test_inbound(offloads: bool, ours: bool) -> None:
    up, down = Random(3).randbytes(SIZE), Random(4).randbytes(SIZE)
    with namespace(offloads=offloads, ours=ours, hostfwd=["tcp:127.0.0.1:0-10.0.2.15:80"]) as ns:
        argv = ns.command(sys.executable, "-c", TCP_SERVER, "80", str(SIZE), "4")
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            port = ns.net.hostfwds()[0].host_port
            with socket.create_connection(("127.0.0.1", port), SECONDS) as client:
                received = bytearray()
                while data := client.recv(MIB):
                    received += data
                client.sendall(up)
                client.shutdown(socket.SHUT_WR)
                assert digest(received) == digest(down)
                seen, taken = server.stdout.readline().split()
        assert (seen, taken) == ("10.0.2.2", digest(up))


@pytest.mark.parametrize("mtu", MTUS)
@pytest.mark.parametrize("offloads", [True, False])
def test_udp(mtu: int, offloads: bool) -> None:
    stop = threading.Event()

    def echo() -> None:
        while not stop.is_set():
            try:
                data, source = server.recvfrom(70_000)
                server.sendto(data[::-1], source)
            except TimeoutError:
                continue

    with namespace(mtu, offloads=offloads) as ns, socket.socket(type=socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.05)
        thread = threading.Thread(target=echo)
        thread.start()
        try:
            sizes = (0, 1, 2, 17, 18, 19, 500, mtu - 29, mtu - 28, mtu - 27, 4000, 20_000, 65_507)
            told = ns.python(UDP_CLIENT, server.getsockname()[1], *[s for s in sizes if s <= 65_507])
        finally:
            stop.set()
            thread.join()
        assert told == "equal\n"
        assert ns.net.stats.drop_udp_checksum == 0
        assert ns.net.stats.drop_fragment_bad == 0


@pytest.mark.parametrize("mtu", MTUS)
def test_ping(mtu: int) -> None:
    with namespace(mtu) as ns:
        for address in ("10.0.2.2", "10.0.2.3"):
            # One by one: of several, ping waits for the last two round trips only, which may be short.
            for size in (0, 56, mtu - 28 if mtu < 65_000 else 9000, 20_000, 60_000) * 2:
                told = ns.run("ping", "-n", "-c", "1", "-W", "20", "-s", str(size), address)
                assert " 0% packet loss" in told, told
                assert "ttl=255" in told or size < 16
                assert "wrong data" not in told


def test_unassigned_addresses_and_closed_ports() -> None:
    with namespace() as ns:
        argv = ns.command("ping", "-n", "-c", "1", "-W", "1", "10.0.2.77")
        done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 1
        script = "import socket; print(socket.socket().connect_ex(('10.0.2.2', 1)))"
        assert ns.python(script) == "111\n"


def test_the_interface_goes_away() -> None:
    """A dead link breaks nothing, and does not spin."""
    with namespace() as ns:
        ns.run("ping", "-n", "-c", "1", "10.0.2.2")
        ns.run("ip", "link", "delete", "tap0")
        busy = time.process_time()
        ns._thread.join(0.5)
        assert time.process_time() - busy < 0.2
    assert ns.error is None


def test_errors_of_open_tap() -> None:
    with pytest.raises(LinkError, match="cannot set up the TAP interface"):
        open_tap("a/b")
