"""Python's garbage collector, while a network runs.

By itself, Python looks for unreachable cycles after so many allocations of the whole process, in the middle of any
program. Their ``__del__`` would then run at another point in each run. It also takes a fifth of the time, because a
run makes many objects that stay. So while a network runs, garbage is collected after so many events of that network,
between two points of time.
"""

from __future__ import annotations

import gc

__all__ = ["Garbage", "postpone", "restore"]

EVENTS = 2_000
"""Events of a network after which new objects are looked through."""
FULL = 16
"""Such collections after which all objects are looked through; each further time, after twice as many."""
OBJECTS = 200_000
"""New objects of the process after which Python collects nevertheless: a program may make so many in one event."""


class Garbage:
    """The collections of one network; its events alone decide when they are due.

    Attributes:
        due: number of the event after which :meth:`collect` is due.
    """

    __slots__ = ("_full", "_left", "due")

    def __init__(self) -> None:
        self.due = EVENTS
        self._full = self._left = FULL

    def collect(self, events: int) -> None:
        """Collect, unless the collector is switched off.

        Args:
            events: number of the latest event.
        """
        self.due = events + EVENTS
        self._left -= 1
        if not self._left:
            self._full *= 2
            self._left = self._full
        if gc.isenabled():
            gc.collect(2 if self._left == self._full else 1)


_before: tuple[int, int, int] | None = None
"""The thresholds to be restored."""


def postpone() -> None:
    """Let Python collect by itself only after :data:`OBJECTS`, until :func:`restore`."""
    global _before
    first, second, third = gc.get_threshold()
    if 0 < first < OBJECTS:
        _before = first, second, third
        gc.set_threshold(OBJECTS, second, third)


def restore() -> None:
    """Undo :func:`postpone`, unless a program has set the thresholds itself."""
    global _before
    before, _before = _before, None
    if before is not None and gc.get_threshold()[0] == OBJECTS:
        gc.set_threshold(*before)
