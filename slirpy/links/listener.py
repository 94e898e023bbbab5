"""Many guests at one address, as ``slirpy listen`` serves them."""

from __future__ import annotations

import socket
from collections.abc import Callable

from slirpy.checks import amount
from slirpy.config.values import function
from slirpy.errors import LinkError
from slirpy.interfaces import READ, Poller
from slirpy.links.endpoint import Endpoint, adopt
from slirpy.links.listeningsocket import ListeningSocket
from slirpy.links.stream import StreamLink
from slirpy.reprs import counted, never_raises
from slirpy.stats import Stats

__all__ = ["StreamListener"]

_ACCEPTS = 64  # connections accepted per poll


class StreamListener:
    """Accepts many guests at one address, each with its own :class:`StreamLink`.

    Args:
        endpoint: listening address; an ``int`` is the descriptor of a listening socket, which is taken over.
        accept: called with each new guest's link, not yet started: attach it. The link calls ``on_state(False)``
            when the guest has gone; remove it then.
        limit: maximum number of guests at a time; more have to wait.

    Raises:
        ConfigError: ``accept`` cannot be called, or ``limit`` is not a positive number.
        LinkError: the address is in use, or not available.
    """

    def __init__(
        self, endpoint: Endpoint | int, accept: Callable[[StreamLink], object], *, limit: int = 256
    ) -> None:
        function("accept", accept, " that takes a link")
        amount("limit", limit, 1, " of guests")
        if isinstance(endpoint, Endpoint):
            self._listener = ListeningSocket(endpoint.bind(socket.SOCK_STREAM), endpoint)
        else:
            sock = adopt(endpoint, socket.SOCK_STREAM)
            if not _listens(sock):
                sock.detach()
                raise LinkError(f"descriptor {endpoint} is not a listening socket; call listen() on it first")
            self._listener = ListeningSocket(sock, None)
        self._accept = accept
        self._limit = limit
        self._guests: set[_Guest] = set()
        self._poller: Poller | None = None
        self._stats: Stats | None = None
        self.closed = False
        """True if the listener has stopped accepting."""

    @never_raises
    def __repr__(self) -> str:
        place = "closed" if self.closed else f"at {self.address}"
        return f"<{type(self).__name__} {place}: {counted(len(self._guests), 'guest')}>"

    @property
    def guests(self) -> int:
        """Number of connected guests."""
        return len(self._guests)

    @property
    def address(self) -> Endpoint:
        """The listening address, with the chosen port if 0 was requested."""
        return self._listener.address()

    def fileno(self) -> int:
        """The descriptor of the listening socket."""
        return self._listener.sock.fileno()

    def start(self, poller: Poller, stats: Stats) -> None:
        """Begin to accept guests, at each poll."""
        self._poller, self._stats = poller, stats
        poller.register(self._listener.sock.fileno(), READ, self._accept_ready)

    def _accept_ready(self, mask: int) -> None:
        for _ in range(_ACCEPTS):
            if self._poller is None or self._stats is None:
                return  # closed by the callback
            if len(self._guests) >= self._limit:
                self._poller.modify(self._listener.sock.fileno(), 0, self._accept_ready)
                return
            sock = self._listener.accept(self._stats)
            if sock is None:
                return
            guest = _Guest(sock, self._gone)
            self._guests.add(guest)
            self._accept(guest)

    def _gone(self, guest: _Guest) -> None:
        self._guests.discard(guest)
        if self._poller is not None:
            self._poller.modify(self._listener.sock.fileno(), READ, self._accept_ready)

    def close(self) -> None:
        """Accept no more guests; connected guests stay. Harmless when repeated."""
        if self.closed:
            return
        self.closed = True
        if self._poller is not None:
            self._poller.unregister(self._listener.sock.fileno())
            self._poller = None
        self._listener.close()


def _listens(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:  # this system cannot tell
        return True


class _Guest(StreamLink):
    """A link that reports its end to its listener."""

    def __init__(self, sock: socket.socket, gone: Callable[[_Guest], None]) -> None:
        super().__init__(sock)
        self._gone: Callable[[_Guest], None] | None = gone

    def close(self) -> None:
        """Close the link; the listener then has room for another."""
        super().close()
        gone, self._gone = self._gone, None
        if gone is not None:
            gone(self)
