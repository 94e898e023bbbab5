"""Connections to Unix sockets of the host."""

from __future__ import annotations

import errno
import socket

from slirpy.host.opensockets import OpenSockets
from slirpy.host.socketstream import SocketStream
from slirpy.interfaces import ServiceNetwork, StreamOwner, Timer
from slirpy.units import MS, SECOND

__all__ = ["UnixStream"]

_AGAIN = 20 * MS
"""Time between attempts to connect."""
BUSY_MAX = 5 * SECOND
"""Maximum time for which a server may have no room for another connection."""


class UnixStream(SocketStream):
    """A connection to a Unix socket of the host."""

    __slots__ = ("_again", "_network", "_until")

    def __init__(
        self, sockets: OpenSockets, sock: socket.socket, owner: StreamOwner, network: ServiceNetwork
    ) -> None:
        super().__init__(sockets, sock, owner)
        sockets.opened(self)
        sock.setblocking(False)
        self._network = network
        self._until = network.now + BUSY_MAX
        self._again: Timer | None = None
        self._connecting = True

    def start(self, path: str) -> None:
        """Connect; the socket reports the result at once. While the server's queue is full (EAGAIN), try again."""
        sock = self._sock
        self._again = None
        if sock is None:
            return
        try:
            error = sock.connect_ex(path)
        except OSError as problem:  # a path that is too long
            error = problem.errno or errno.EINVAL
        if error == errno.EAGAIN and self._network.now < self._until:
            self._again = self._network.call_at(self._network.now + _AGAIN, lambda: self.start(path))
        else:
            self._connected(error)

    def send_urgent(self, data: bytes) -> int:
        """Send an urgent byte as ordinary data: unix sockets have no urgent data."""
        return self.send((data,))

    def _release(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        super()._release()
