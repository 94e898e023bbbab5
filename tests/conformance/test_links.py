"""Behaviour of every link."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from slirpy.interfaces import LinkSink
from slirpy.links import DgramLink, Endpoint, StreamLink, TapLink, inet, multicast, open_tap, unix
from slirpy.testing import LINK_CHECKS, LinkCheck, LinkFactory, LinkUnderTest
from tests.conformance.carriers import DgramPeer, StreamPeer, callback, dgram_fd, seqpacket, stream_fd
from tests.support.platforms import require

CLONE_NEWNET = 0x40000000
ETHERTYPE = 0x88B5


FOLDER: list[str] = []


@pytest.fixture(autouse=True, scope="module")
def folder() -> Iterator[None]:
    """One with a short name, as the paths of sockets have to be."""
    with tempfile.TemporaryDirectory(prefix="slirpy-test-") as name:
        FOLDER.append(name)
        yield


def path(name: str) -> str:
    return str(Path(tempfile.mkdtemp(dir=FOLDER[-1])) / name)


def connected(place: Endpoint) -> socket.socket:
    sock = socket.socket(place.family)
    sock.connect(place.address)
    return sock


def serving(link: StreamLink) -> LinkUnderTest:
    place = link.address
    assert place is not None
    peer = StreamPeer(lambda: connected(place))
    return LinkUnderTest(link, peer, garbage=peer.garbage)


def stream_tcp(sink: LinkSink) -> LinkUnderTest:
    return serving(StreamLink.listen(inet("127.0.0.1", 0)))


def stream_unix(sink: LinkSink) -> LinkUnderTest:
    require("unix sockets")
    return serving(StreamLink.listen(unix(path("s"))))


def connecting(place: Endpoint) -> LinkUnderTest:
    listener = place.bind(socket.SOCK_STREAM)
    listener.settimeout(20)
    place = Endpoint(place.family, listener.getsockname())
    link = StreamLink.connect(place, reconnect=0.01)

    class Server(StreamPeer):
        """Accepts again after garbage, at the first use."""

        def garbage(self) -> None:
            self._sock.send(struct.pack("!I", 3) + b"?" * 100)
            self.waiting = True

        waiting = False

        def send(self, frame: bytes) -> bool:
            if self.waiting:
                listener.setblocking(False)
                try:
                    accepted = listener.accept()[0]
                    self._sock.close()
                    self._reset(accepted)
                except BlockingIOError:
                    return False
                self.waiting = False
            return super().send(frame)

        def close(self) -> None:
            super().close()
            listener.close()

    peer = Server(lambda: listener.accept()[0])
    return LinkUnderTest(link, peer, garbage=peer.garbage)


def stream_tcp_client(sink: LinkSink) -> LinkUnderTest:
    return connecting(inet("127.0.0.1", 0))


def stream_unix_client(sink: LinkSink) -> LinkUnderTest:
    require("unix sockets")
    return connecting(unix(path("c")))


def dgram_udp(sink: LinkSink) -> LinkUnderTest:
    far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    far.bind(("127.0.0.1", 0))
    link = DgramLink.open(inet("127.0.0.1", 0), inet("127.0.0.1", far.getsockname()[1], socket.SOCK_DGRAM))
    assert link.address is not None
    peer = DgramPeer(far, link.address.address)
    return LinkUnderTest(link, peer, longest=65507, blocks=False, garbage=peer.garbage)


def dgram_unix(sink: LinkSink) -> LinkUnderTest:
    require("unix sockets")
    far = unix(path("far")).bind(socket.SOCK_DGRAM)
    near = path("near")
    link = DgramLink.open(unix(near), unix(far.getsockname()))
    peer = DgramPeer(far, near)
    return LinkUnderTest(link, peer, garbage=peer.garbage)


class MulticastPeer:
    """A socket that joined the group. Our links do not hear themselves; this one does, and filters its own frames."""

    def __init__(self, group: str, port: int) -> None:
        self._in = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._in.bind((group, port))
        membership = socket.inet_aton(group) + socket.inet_aton("127.0.0.1")
        self._in.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        self._in.setblocking(False)
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        self._out.bind(("127.0.0.1", 0))
        self._group = (group, port)

    def send(self, frame: bytes) -> bool:
        self._out.sendto(frame, self._group)
        return True

    def receive(self) -> list[bytes]:
        frames = []
        try:
            while True:
                frame, source = self._in.recvfrom(70_000)
                if source != self._out.getsockname():
                    frames.append(frame)
        except OSError:
            return frames

    def close(self) -> None:
        self._in.close()
        self._out.close()


def dgram_mcast(sink: LinkSink) -> LinkUnderTest:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    link = multicast(inet("239.255.77.1", port, socket.SOCK_DGRAM), "127.0.0.1")
    peer = MulticastPeer("239.255.77.1", port)
    return LinkUnderTest(link, peer, longest=65507, blocks=False)


class PacketPeer:
    """The kernel's side of a TAP interface; frames of others (IPv6's) are left out."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock = sock

    def send(self, frame: bytes) -> bool:
        try:
            self._sock.send(frame)
        except BlockingIOError:
            return False
        return True

    def receive(self) -> list[bytes]:
        frames = []
        try:
            while True:
                frame, where = self._sock.recvfrom(70_000)
                if where[2] != socket.PACKET_OUTGOING:
                    frames.append(frame)
        except OSError:
            return frames

    def close(self) -> None:
        self._sock.close()


def tap(sink: LinkSink) -> LinkUnderTest:
    """In a namespace that lives as long as the descriptors."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    assert libc.unshare(CLONE_NEWNET) == 0
    try:
        fd, name = open_tap("tap0")
        for command in (f"link set {name} mtu 65521", f"link set {name} up"):
            subprocess.run(["ip", *command.split()], check=True)
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        sock.bind((name, ETHERTYPE))
    finally:
        assert libc.setns(home, CLONE_NEWNET) == 0
        os.close(home)
    return LinkUnderTest(TapLink(fd, 65521), PacketPeer(sock), longest=65535, blocks=False)


FACTORIES: tuple[LinkFactory, ...] = (
    callback,
    stream_tcp,
    stream_unix,
    stream_tcp_client,
    stream_unix_client,
    stream_fd,
    dgram_udp,
    dgram_unix,
    dgram_fd,
    dgram_mcast,
)
if sys.platform == "linux":
    FACTORIES += (seqpacket,)
if sys.platform == "linux" and os.geteuid() == 0:
    FACTORIES += (tap,)


@pytest.mark.parametrize("check", LINK_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", FACTORIES, ids=lambda make: make.__name__)
def test_link(make: LinkFactory, check: LinkCheck) -> None:
    check(make)
