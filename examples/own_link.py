"""A link of one's own: one frame in each packet of a unix socket. The conformance suite checks it.

Run it with ``python examples/own_link.py``. It needs a system with packet sockets (SOCK_SEQPACKET), such as Linux.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from slirpy import LinkFeatures
from slirpy.interfaces import READ, WRITE, Frame, LinkSink, Poller
from slirpy.testing import LINK_CHECKS, LinkUnderTest

LONGEST = 65549  # bytes of the longest frame: an IP packet of 65535 and the Ethernet header


class PacketLink:
    """Frames over one end of a pair of packet sockets.

    Args:
        sock: the link's end, which then belongs to it.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.features = LinkFeatures()
        self._sock: socket.socket | None = sock
        self._sink: LinkSink | None = None
        self._poller: Poller | None = None

    def start(self, sink: LinkSink, poller: Poller) -> None:
        """Deliver the guest's frames to ``sink``."""
        assert self._sock is not None
        self._sink, self._poller = sink, poller
        poller.register(self._sock.fileno(), READ, self._ready)

    def send(self, frames: Sequence[Frame]) -> int:
        """Send until the socket has no room; without a guest, drop all."""
        for count, frame in enumerate(frames):
            if self._sock is None or self._sink is None or self._poller is None:
                return len(frames)
            try:
                self._sock.sendmsg(frame.parts)
            except BlockingIOError:
                self._poller.modify(self._sock.fileno(), READ | WRITE, self._ready)
                return count
            except OSError:
                self._sink.lost(len(frames) - count)
                self.close()
        return len(frames)

    def _ready(self, mask: int) -> None:
        if self._sock is None or self._sink is None or self._poller is None:
            return
        if mask & WRITE:
            self._poller.modify(self._sock.fileno(), READ, self._ready)
            self._sink.writable()
        try:
            frame = self._sock.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            frame = b""
        if frame:
            self._sink.input(frame)
        else:
            self.close()  # the guest has gone

    def close(self) -> None:
        """Close the socket. Harmless when repeated."""
        sock, self._sock = self._sock, None
        if sock is not None:
            if self._poller is not None:
                self._poller.unregister(sock.fileno())
            sock.close()


class PacketPeer:
    """The guest's end, for the suite."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock

    def send(self, frame: bytes) -> bool:
        """Send a frame; False if there is no room now."""
        try:
            self._sock.send(frame)
        except BlockingIOError:
            return False
        return True

    def receive(self) -> list[bytes]:
        """Return the frames that have arrived."""
        frames: list[bytes] = []
        try:
            while frame := self._sock.recv(LONGEST):
                frames.append(frame)
        except BlockingIOError:
            pass
        return frames

    def close(self) -> None:
        """Hang up."""
        self._sock.close()


def make(sink: LinkSink) -> LinkUnderTest:
    """Make a link and its guest."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return LinkUnderTest(PacketLink(near), PacketPeer(far), longest=LONGEST)


def main() -> None:
    """Run the suite."""
    if not hasattr(socket, "SOCK_SEQPACKET"):
        sys.exit("this system has no packet sockets")
    for check in LINK_CHECKS:
        check(make)
        print(f"passed: {check.__name__}")
    print(f"the link keeps all {len(LINK_CHECKS)} rules")


if __name__ == "__main__":
    main()
