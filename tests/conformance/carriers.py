"""Far ends of links, and links that need no address."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from slirpy.interfaces import LinkSink
from slirpy.links import CallbackLink, DgramLink, SeqpacketLink, StreamLink
from slirpy.testing import LinkUnderTest, LocalPeer
from tests.support.framing import framed, take_frames
from tests.support.platforms import require


class StreamPeer:
    """QEMU's end of a stream, without our framing."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._reset(connect())

    def _reset(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._out = b""
        self._in = bytearray()

    def send(self, frame: bytes) -> bool:
        if not self._out:
            self._out = framed(frame)
        try:
            self._out = self._out[self._sock.send(self._out) :]
        except BlockingIOError:
            return False
        return not self._out

    def receive(self) -> list[bytes]:
        try:
            while data := self._sock.recv(1 << 20):
                self._in += data
        except BlockingIOError:
            pass
        return take_frames(self._in)

    def garbage(self) -> None:
        self._sock.send(struct.pack("!I", 70_000) + b"?" * 100)
        self._sock.close()
        self._reset(self._connect())

    def close(self) -> None:
        self._sock.close()


class DgramPeer:
    """The other end of a datagram link."""

    def __init__(self, sock: socket.socket, to: object = None) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock = sock
        self._to = to

    def send(self, frame: bytes) -> bool:
        try:
            if self._to is None:
                self._sock.send(frame)
            else:
                self._sock.sendto(frame, self._to)  # type: ignore[call-overload] # path or (host, port)
        except BlockingIOError:
            return False
        return True

    def receive(self) -> list[bytes]:
        frames = []
        try:
            while frame := self._sock.recv(70_000):
                frames.append(frame)
        except OSError:
            pass
        return frames

    def garbage(self) -> None:
        for length in (0, 1, 13):
            self.send(b"?" * length)

    def close(self) -> None:
        self._sock.close()


def callback(sink: LinkSink) -> LinkUnderTest:
    frames: list[bytes] = []
    return LinkUnderTest(CallbackLink(frames.append), LocalPeer(sink.input, frames), blocks=False)


def stream_fd(sink: LinkSink) -> LinkUnderTest:
    ours, theirs = socket.socketpair()
    return LinkUnderTest(StreamLink.from_fd(ours.detach()), StreamPeer(lambda: theirs))


def dgram_fd(sink: LinkSink) -> LinkUnderTest:
    require("unix sockets")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer = DgramPeer(theirs)
    return LinkUnderTest(DgramLink.from_fd(ours.detach()), peer, garbage=peer.garbage)


def seqpacket(sink: LinkSink) -> LinkUnderTest:
    require("unix sockets")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer = DgramPeer(theirs)
    return LinkUnderTest(SeqpacketLink(ours), peer, garbage=peer.garbage)
