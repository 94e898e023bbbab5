"""Timers that are cheap to postpone.

They are kept in a heap of (time, alarm). Each acknowledgement postpones a deadline, which only writes an attribute:
when the old heap entry is due, it is pushed again with the new time. So a thousand connections cost nothing until one
of them is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Final

from slirpy.mypyc import mypyc_attr

__all__ = ["Alarm", "Timers"]

NEVER: Final = 1 << 63
"""A time that no clock reaches."""
SWEEP: Final = 1024
"""Heap size below which obsolete entries are not searched for."""


class Alarm:
    """A deadline that can be moved, and the function to call then."""

    __slots__ = ("_callback", "_timers", "entry", "when")

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._callback: Callable[[], None] | None = callback
        self.entry: int | None = None
        """Time of the valid heap entry: a later deadline only has to be written to ``when``. None: there is none."""
        self.when: int | None = None
        """The deadline in nanoseconds, or None."""

    def set(self, when: int | None) -> None:
        """Move the deadline; None removes it."""
        self.when = when
        if when is not None and (self.entry is None or when < self.entry):
            self.entry = when
            self._timers.push(when, self)

    def cancel(self) -> None:
        """Remove the deadline, and drop the reference to the callback."""
        self.when = self.entry = None
        self._callback = None

    def counts(self, entry: int) -> bool:
        """Report whether the heap entry made for time ``entry`` is the valid one."""
        return entry == self.entry

    def ring(self, entry: int, now: int) -> None:
        """Handle the heap entry made for time ``entry``, which is due."""
        if entry != self.entry:
            return  # obsolete: the alarm was moved to an earlier time
        self.entry = None
        when = self.when
        if when is None or self._callback is None:
            return
        if when > now:
            self.set(when)
        else:
            self.when = None
            self._callback()


@mypyc_attr(allow_interpreted_subclasses=True)
class Timers:
    """The alarms of one stack.

    Attributes:
        heap: (time, number, alarm) of each alarm, and of those that have moved, as a heap. Others only look at it.
        due: time of the first entry of either heap. Others only look at it: :meth:`run` does nothing before.
    """

    __slots__ = ("_count", "_deferrable", "_limit", "due", "heap")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int, Alarm]] = []
        self._deferrable: list[tuple[int, int, Callable[[], None]]] = []
        self.due = NEVER
        self._count = count()
        self._limit = SWEEP

    def call_at(self, when: int, callback: Callable[[], None]) -> Alarm:
        """Call ``callback`` once, at the first :meth:`run` at or after ``when``."""
        alarm = Alarm(self, callback)
        alarm.set(when)
        return alarm

    def defer(self, when: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, at the first :meth:`run` at or after ``when`` that has another cause.

        It has no part in :meth:`deadline`: an idle network is not woken for it.
        """
        heapq.heappush(self._deferrable, (when, next(self._count), callback))
        if when < self.due:
            self.due = when

    def push(self, when: int, alarm: Alarm) -> None:
        """Add a heap entry; for :class:`Alarm`."""
        heapq.heappush(self.heap, (when, next(self._count), alarm))
        if when < self.due:
            self.due = when
        if len(self.heap) > self._limit:
            self._sweep()

    def _sweep(self) -> None:
        """Remove obsolete entries. This runs when they may be half of all, so the cost per entry is constant."""
        live = {entry[2]: entry for entry in self.heap if entry[2].counts(entry[0])}
        self.heap[:] = live.values()
        heapq.heapify(self.heap)
        self._limit = max(2 * len(live), SWEEP)

    def deadline(self) -> int | None:
        """Time at which to call :meth:`run`: that of the first alarm, or earlier."""
        return self.heap[0][0] if self.heap else None

    def run(self, now: int) -> None:
        """Call all callbacks that are due."""
        heap, deferrable = self.heap, self._deferrable
        try:
            while heap and heap[0][0] <= now:
                when, _, alarm = heapq.heappop(heap)
                alarm.ring(when, now)
            while deferrable and deferrable[0][0] <= now:
                heapq.heappop(deferrable)[2]()
        finally:
            self.due = heap[0][0] if heap else NEVER
            if deferrable and deferrable[0][0] < self.due:
                self.due = deferrable[0][0]
