"""A far side that hears nothing of its client until an inspector has passed the client's first bytes.

It stands before the real :class:`~slirpy.interfaces.StreamPeer` of a flow, keeps what the client says, and steps
aside once that has been sent on. Data of the far side passes meanwhile: with some protocols the server speaks first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from slirpy.interfaces import (
    KEPT_MAX,
    Buffer,
    Finding,
    FirstBytes,
    Passed,
    Refused,
    StreamOwner,
    StreamPeer,
    Undecided,
)

__all__ = ["InspectedStream"]

_TOO_LONG = Refused("too much was said before a name")
_ENDED = Refused("the client ended before it said a name")


class InspectedStream:
    """A :class:`~slirpy.interfaces.StreamPeer` before another, whose owner stays the same.

    Args:
        peer: the far side.
        owner: owner of both.
        first: the inspector.
        found: called once with the finding, :class:`Passed` or :class:`Refused`.
        aside: called once everything that was kept has been sent on, later than within ``send``.
        later: calls a function at the next flush.
    """

    __slots__ = ("_aside", "_ended", "_first", "_found", "_kept", "_later", "_owner", "peer")

    def __init__(
        self,
        peer: StreamPeer,
        owner: StreamOwner,
        first: FirstBytes,
        found: Callable[[Passed | Refused], object],
        aside: Callable[[InspectedStream], None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self.peer = peer
        self._owner = owner
        self._first: FirstBytes | None = first
        self._found = found
        self._aside = aside
        self._later = later
        self._kept = bytearray()
        self._ended = False

    @property
    def level_triggered(self) -> bool:
        """True if the far side promises to announce the rest of its data."""
        return bool(getattr(self.peer, "level_triggered", False))

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Keep the client's bytes, or send them on; see :class:`~slirpy.interfaces.StreamPeer`."""
        if self._first is None:
            return self.peer.send(buffers) if self._flushed() else 0
        data = b"".join(buffers)
        self._kept += data
        self._decide(self._first.feed(data))
        return len(data)

    def _decide(self, finding: Finding) -> None:
        if isinstance(finding, Undecided):
            if len(self._kept) <= KEPT_MAX:
                return
            finding = _TOO_LONG
        self._first = None
        self._found(finding)
        if isinstance(finding, Refused):
            self._kept.clear()
            self.peer.abort()
            self._later(lambda: self._owner.failed(errno.ECONNABORTED))
        else:
            self._flushed()

    def _flushed(self) -> bool:
        """Send on what was kept. Returns whether all of it was taken; if not, the owner's ``writable`` comes."""
        if self._kept:
            taken = self.peer.send((bytes(self._kept),))
            del self._kept[:taken]
            if self._kept:
                return False
            if self._ended:
                self.peer.shutdown()
            self._later(lambda: self._aside(self))
        return True

    def resume(self) -> None:
        """Send on the rest, since the far side has room again."""
        if self._first is None:
            self._flushed()

    def recv(self, limit: int) -> bytes | None:
        """Receive from the far side."""
        return self.peer.recv(limit)

    def shutdown(self) -> None:
        """End the client's data, behind what is kept."""
        self._ended = True
        if self._first is not None:
            finding = self._first.end()
            self._decide(_ENDED if isinstance(finding, Undecided) else finding)
        elif not self._kept:
            self.peer.shutdown()

    def abort(self) -> None:
        """Reset the far side."""
        self.peer.abort()

    def close(self) -> None:
        """Release everything."""
        self.peer.close()
