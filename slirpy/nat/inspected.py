"""A far side that hears nothing of its client until an inspector has passed the client's bytes.

It stands before the real :class:`~slirpy.interfaces.StreamPeer` of a flow, keeps what the client says, and steps
aside once that has been sent on and the inspection is over. With HTTP, each request is inspected, and it stays.
Data of the far side passes meanwhile: with some protocols the server speaks first.
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
from slirpy.nat.memory import kernel_memory
from slirpy.units import SECOND

__all__ = ["InspectedStream"]

TURN = 4096
"""Bytes that are inspected in one turn, so that none takes long."""
LINGER = SECOND // 2
"""Time that a refused client has to read the reason, before its connection is reset."""
_TOO_LONG = Refused("too much was said before a name")
_ENDED = Refused("the client ended before it said a name")


class InspectedStream:
    """A :class:`~slirpy.interfaces.StreamPeer` before another, whose owner stays the same.

    Args:
        peer: the far side.
        owner: owner of both.
        first: the inspector.
        found: called with each finding, :class:`Passed` or :class:`Refused`, that contains something new.
        aside: called once everything that was kept has been sent on, later than within ``send``.
        later: calls a function after a time in nanoseconds; 0: at the next flush.
    """

    __slots__ = ("_answer", "_aside", "_ended", "_first", "_found", "_heard", "_kept", "_later", "_out", "_owner",
                 "_passed", "_refused", "_said", "_shut", "_stepping", "peer")  # fmt: skip

    def __init__(
        self,
        peer: StreamPeer,
        owner: StreamOwner,
        first: FirstBytes,
        found: Callable[[Passed | Refused], object],
        aside: Callable[[InspectedStream], None],
        later: Callable[[int, Callable[[], None]], object],
    ) -> None:
        self.peer = peer
        self._owner = owner
        self._first: FirstBytes | None = first
        self._heard: Callable[[bytes], object] | None = getattr(first, "heard", None)
        self._found = found
        self._aside = aside
        self._later = later
        self._kept = bytearray()  # not decided yet
        self._out = bytearray()  # passed, and not taken yet by the far side
        self._said: set[str] = set()
        self._passed = self._refused = self._ended = self._shut = self._stepping = False
        self._answer = b""

    @property
    def level_triggered(self) -> bool:
        """True if the far side promises to announce the rest of its data."""
        return not self._refused and bool(getattr(self.peer, "level_triggered", False))

    @property
    def reads(self) -> bool:
        """True while the client's bytes are inspected."""
        return self._first is not None

    # ------------------------------------------------------------------------ from the client

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Keep the client's bytes, or send them on; see :class:`~slirpy.interfaces.StreamPeer`."""
        if self._refused:
            return sum(map(len, buffers))  # nobody hears them
        if self._out and not self._flushed():
            return 0
        first = self._first
        if first is None:
            return self.peer.send(buffers)
        body: int | None = getattr(first, "body", 0) if self._passed and not self._kept else 0
        if body is None or body >= sum(map(len, buffers)):
            taken = self.peer.send(buffers)
            self._skip(first, taken)
            return taken
        data = b"".join(buffers)
        if body:
            taken = self.peer.send((memoryview(data)[:body],))
            self._skip(first, taken)
            if taken < body:
                return taken
        piece = data[body : body + TURN]
        self._kept += piece
        self._decide(first.feed(piece))
        if body + len(piece) < len(data):
            self._later(0, self._owner.writable)
        return body + len(piece)

    @staticmethod
    def _skip(first: FirstBytes, count: int) -> None:
        skip = getattr(first, "skip", None)
        if skip is not None:
            skip(count)

    def _decide(self, finding: Finding) -> None:
        if isinstance(finding, Undecided):
            if len(self._kept) <= KEPT_MAX:
                return
            finding = _TOO_LONG
        if isinstance(finding, Refused):
            self._refuse(finding)
            return
        if not self._passed or not self._said.issuperset(finding.names):
            self._said.update(finding.names)
            self._found(finding)
        self._passed = True
        going = len(self._kept)
        if finding.more:
            going -= finding.held
        else:
            self._first = None
        self._out += self._kept[:going]
        del self._kept[:going]
        if len(self._kept) > KEPT_MAX:
            self._refuse(_TOO_LONG)
        else:
            self._flushed()

    def _refuse(self, finding: Refused) -> None:
        """End both sides; the client may read a reason first."""
        self._refused = True
        self._first = None
        self._kept.clear()
        self._out.clear()
        self._found(finding)
        self.peer.abort()
        self._answer = finding.answer
        if self._answer:
            self._later(0, self._owner.readable)
            self._later(LINGER, self._give_up)
        else:
            self._later(0, self._give_up)

    def _give_up(self) -> None:
        self._owner.failed(errno.ECONNABORTED)

    def _flushed(self) -> bool:
        """Send on what has passed. Returns whether all of it was taken; if not, the owner's ``writable`` comes."""
        if self._out:
            taken = self.peer.send((bytes(self._out),))
            del self._out[:taken]
            if self._out:
                return False
        if self._ended and not self._shut:
            self._shut = True
            self.peer.shutdown()
        if self._first is None and not self._stepping and not self._refused:
            self._stepping = True
            self._later(0, lambda: self._aside(self))
        return True

    def resume(self) -> None:
        """Send on the rest, since the far side has room again."""
        if not self._refused:
            self._flushed()

    def kernel_memory(self) -> int:
        """See :class:`~slirpy.interfaces.StreamPeer`."""
        return kernel_memory(self.peer)

    def shutdown(self) -> None:
        """End the client's data, behind what is kept. An incomplete request is dropped."""
        if self._refused:
            return
        self._ended = True
        if self._first is not None and not self._passed:
            finding = self._first.end()
            self._decide(_ENDED if isinstance(finding, Undecided) else finding)
        else:
            self._flushed()

    # ---------------------------------------------------------------------- from the far side

    def recv(self, limit: int) -> bytes | None:
        """Receive from the far side; or the reason of a refusal, and the end."""
        if self._refused:
            data, self._answer = self._answer[:limit], self._answer[limit:]
            return data
        data_or_none = self.peer.recv(limit)
        if data_or_none and self._first is not None and self._heard is not None:
            self._heard(data_or_none)
            if self._passed and self._kept:
                self._decide(self._first.feed(b""))
        return data_or_none

    def abort(self) -> None:
        """Reset the far side."""
        self.peer.abort()

    def close(self) -> None:
        """Release everything."""
        self.peer.close()
