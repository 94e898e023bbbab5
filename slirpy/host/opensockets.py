"""The open sockets of one network, and the poller that watches them.

Every kind of socket in this folder needs these two, and none of them needs :class:`~slirpy.host.sockets.SocketHost`,
which makes them.
"""

from __future__ import annotations

import abc
from collections.abc import Callable

from slirpy.interfaces import Poller
from slirpy.mypyc import mypyc_attr

__all__ = ["OpenSocket", "OpenSockets"]


@mypyc_attr(allow_interpreted_subclasses=True)
class OpenSocket(abc.ABC):
    """A socket that is closed with its network."""

    __slots__ = ()

    @abc.abstractmethod
    def close(self) -> None:
        """Release the socket. Harmless when repeated."""


class OpenSockets:
    """A register of open sockets.

    Args:
        poller: reports when sockets are ready.

    Attributes:
        paused: resumes listeners that had no descriptor for a connection. Called when a socket has been opened or
            closed, since either shows that a descriptor may be available.
    """

    __slots__ = ("_open", "paused", "poller")

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.paused: set[Callable[[], None]] = set()
        self._open: set[OpenSocket] = set()

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, item: OpenSocket) -> None:
        """Register a socket, so that :meth:`close` finds it."""
        self._open.add(item)
        self._resume()

    def released(self, item: OpenSocket) -> None:
        """Forget a closed socket."""
        self._open.discard(item)
        self._resume()

    def close(self) -> None:
        """Close all sockets. Harmless when repeated."""
        for item in tuple(self._open):
            item.close()

    def _resume(self) -> None:
        while self.paused:
            self.paused.pop()()
