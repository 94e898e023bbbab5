"""A listening stream socket."""

from __future__ import annotations

import errno
import os
import socket

from slirpy import forks
from slirpy.links.endpoint import Endpoint
from slirpy.stats import Stats

__all__ = ["ListeningSocket", "tune"]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE)


class ListeningSocket:
    """A listening socket. Without a free descriptor it rejects connections, so that polling does not spin on them."""

    __slots__ = ("_inode", "_made_at", "_spare", "endpoint", "sock")

    def __init__(self, sock: socket.socket, endpoint: Endpoint | None) -> None:
        self.sock = sock
        self.endpoint = endpoint
        self._made_at = forks.count
        self._inode = endpoint.inode() if endpoint is not None else None
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def accept(self, stats: Stats) -> socket.socket | None:
        """Return the next connection, non-blocking; None if none waits."""
        try:
            sock, _ = self.sock.accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                stats.link_connect_failures += 1
                self._reject()
            return None
        return tune(sock)

    def _reject(self) -> None:
        """Reject a connection when no descriptor is left: the spare one serves to accept and close it."""
        os.close(self._spare)
        try:
            self.sock.accept()[0].close()
        except OSError:
            pass
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        """Stop listening, and remove the path of a unix socket; in a forked child it stays the parent's."""
        self.sock.close()
        os.close(self._spare)
        if self.endpoint is not None and not forks.is_fork(self._made_at):
            self.endpoint.remove(self._inode)

    def address(self) -> Endpoint:
        """The listening address, with the chosen port if 0 was requested."""
        if self.endpoint is not None and self.endpoint.local:
            return self.endpoint
        return Endpoint(int(self.sock.family), self.sock.getsockname())


def tune(sock: socket.socket) -> socket.socket:
    """Set the options that a link needs on a connection, and return it."""
    sock.setblocking(False)
    if sock.family != getattr(socket, "AF_UNIX", None):
        # frames are batched already, better than Nagle's algorithm could
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # detect a host that vanished, to make room for the next guest
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock
