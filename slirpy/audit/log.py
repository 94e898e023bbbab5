"""The log of an audit: lines of JSON, written in batches to a place that may fail and recover.

Lines wait in memory while the place takes none, up to :data:`BACKLOG` bytes; those beyond are lost, and counted. The
numbers of the lost ones are written as soon as the place recovers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slirpy import forks
from slirpy.audit.outputs import Destination, open_destination
from slirpy.logs import warn
from slirpy.units import MS, SECOND

__all__ = ["AuditLog", "Lost", "encoded"]

BACKLOG = 4 << 20
"""Bytes that may wait."""
CLOSED_BACKLOG = 1 << 18
"""Bytes that may wait while flows are admitted, if a missing log is to stop new ones."""
WRITE_MOST = 1 << 16
"""Bytes of one write."""
RETRY = 1 * SECOND
"""Nanoseconds until the next try after a failure."""
READER_SLOW = 20 * MS
"""Nanoseconds until the next try when a pipe or socket is full."""
CHECK_EVERY = 1 * SECOND
"""Nanoseconds between checks whether a file has been renamed."""


def encoded(record: dict[str, Any]) -> bytes:
    """A record as a line of plain ASCII: everything else in it is escaped, also DEL, which JSON would let pass."""
    import json

    text = json.dumps(record, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("\x7f", "\\u007f").encode("ascii") + b"\n"


def _warn(text: str) -> None:
    warn("slirpy: %s", text)


class Lost:
    """Records that were lost.

    Attributes:
        count: their number.
        first, last: their sequence numbers.
        reason: why the log could not be written.
    """

    def __init__(self, seq: int, reason: str) -> None:
        self.count = 0
        self.first = self.last = seq
        self.reason = reason


class AuditLog:
    """Writes records to a file, a descriptor or a unix socket.

    Args:
        target: ``FILE``, ``fd:N`` or ``unix:PATH``.
        closed: whether a log that cannot be written stops new flows.

    Raises:
        ConfigError: ``target`` cannot be read.
        LinkError: the place cannot be had.
    """

    def __init__(self, target: str, *, closed: bool = False) -> None:
        self.told: Callable[[str], object] = _warn
        """Called with a line for people when the log is lost, and when it goes on; by default a warning."""
        self.closed_on_failure = closed
        self._target = target
        self._place: Destination | None = open_destination(target)
        self._made_at = forks.count
        self._backlog = bytearray()
        self._begun = 0
        """Bytes of the first line that have been written."""
        self._failure = ""
        self._lost: Lost | None = None
        self._next_check = 0

    @property
    def ready(self) -> bool:
        """True if new flows may start."""
        return not self.closed_on_failure or (
            not self._failure and self._lost is None and len(self._backlog) <= CLOSED_BACKLOG
        )

    def put(self, record: dict[str, Any]) -> None:
        """Take a record, which :meth:`drain` writes."""
        line = encoded(record)
        if len(self._backlog) + len(line) > BACKLOG:
            seq = record["seq"]
            if self._lost is None:
                self._lost = Lost(seq, self._failure or "the reader is too slow")
                if not self._failure:
                    self._tell(f"the log is lost: its reader is too slow; {self._consequence()}")
            self._lost.count += 1
            self._lost.last = seq
        else:
            self._backlog += line

    def drain(self, now: int) -> int | None:
        """Write what waits. Returns the time for the next try, in monotonic nanoseconds; None: everything is written.

        Args:
            now: monotonic nanoseconds.
        """
        place = self._place
        if place is None:
            return None
        try:
            if now >= self._next_check or self._failure:
                self._next_check = now + CHECK_EVERY
                if place.check():
                    self._begun = 0
            self._write(place)
        except BlockingIOError:
            return now + READER_SLOW
        except OSError as error:
            place_error = error.strerror or str(error)
            if not self._failure:
                self._failure = place_error
                self._tell(f"the log is lost: {place_error}; {self._consequence()}")
            return now + RETRY
        if self._failure:
            self._failure = ""
            missing = 0 if self._lost is None else self._lost.count
            self._tell(f"the log goes on; {missing or 'no'} event{'' if missing == 1 else 's'} missing")
        return None

    def _consequence(self) -> str:
        if self.closed_on_failure:
            return "no new flow is allowed until it can be written"
        return f"events are kept in memory, up to {BACKLOG >> 20} MiB, and then counted only"

    def _tell(self, text: str) -> None:
        self.told(f'audit "{self._target}": {text}')

    def _write(self, place: Destination) -> None:
        backlog = self._backlog
        while backlog:
            whole = place.whole_lines
            end = backlog.index(b"\n") + 1 if whole else self._begun + WRITE_MOST
            with memoryview(backlog) as view, view[self._begun : end] as piece:
                written = place.write(piece)
            done = end if whole else self._begun + written
            kept = backlog.rfind(b"\n", 0, done) + 1  # a line is dropped once all of it is written
            del backlog[:kept]
            self._begun = done - kept

    def take_lost(self) -> Lost | None:
        """Return what has been lost, once there is room to write it down; it is then no longer reported."""
        if self._lost is None or self._backlog or self._failure:
            return None
        lost, self._lost = self._lost, None
        return lost

    def close(self) -> None:
        """Write what waits, if that is possible at once, and release the descriptor. Harmless when repeated.

        In a forked child, only the descriptor is closed.
        """
        place = self._place
        if place is None:
            return
        if not forks.is_fork(self._made_at):
            self.drain(self._next_check)
            if self._backlog or self._lost is not None:
                left = self._backlog.count(b"\n") + (0 if self._lost is None else self._lost.count)
                self._tell(f"the last {left} event{'' if left == 1 else 's'} could not be written")
        self._place = None
        place.close()
