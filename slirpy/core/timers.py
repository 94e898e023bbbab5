"""Deadlines, lazily.

A heap of (time, alarm). Moving a deadline later, which is what happens with every acknowledgement, writes one
attribute and leaves the heap alone: when the old entry comes up, it is pushed again. So a thousand connections cost
nothing until one of them is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

__all__ = ["Alarm", "Timers"]

SWEEP = 1024
"""Entries below which it is not worth looking for those that do not count."""


class Alarm:
    """One deadline that may be moved, with what to call then."""

    __slots__ = ("_callback", "_entry", "_timers", "when")

    def __init__(self, timers: Timers, callback: Callable[[], None]) -> None:
        self._timers = timers
        self._callback: Callable[[], None] | None = callback
        self._entry: int | None = None  # time of the heap entry that counts
        self.when: int | None = None
        """The deadline in nanoseconds, or None."""

    def set(self, when: int | None) -> None:
        """Move the deadline, or take it away."""
        self.when = when
        if when is not None and (self._entry is None or when < self._entry):
            self._entry = when
            self._timers.push(when, self)

    def cancel(self) -> None:
        """Never call again, and let go of the callback."""
        self.when = self._entry = None
        self._callback = None

    def counts(self, entry: int) -> bool:
        """Whether the heap entry made for ``entry`` is the one that counts."""
        return entry == self._entry

    def ring(self, entry: int, now: int) -> None:
        """The heap entry made for ``entry`` has come up."""
        if entry != self._entry:
            return  # a later entry of an alarm that was moved forward
        self._entry = None
        when = self.when
        if when is None or self._callback is None:
            return
        if when > now:
            self.set(when)
        else:
            self.when = None
            self._callback()


class Timers:
    """All alarms of one stack."""

    __slots__ = ("_count", "_heap", "_limit")

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Alarm]] = []
        self._count = count()
        self._limit = SWEEP

    def call_at(self, when: int, callback: Callable[[], None]) -> Alarm:
        """Call ``callback`` once, at the first :meth:`run` at or after ``when``."""
        alarm = Alarm(self, callback)
        alarm.set(when)
        return alarm

    def push(self, when: int, alarm: Alarm) -> None:
        """For :class:`Alarm`."""
        heapq.heappush(self._heap, (when, next(self._count), alarm))
        if len(self._heap) > self._limit:
            self._sweep()

    def _sweep(self) -> None:
        """Throw out entries that no longer count. It waits until they may be half of all, so it costs little."""
        live = {entry[2]: entry for entry in self._heap if entry[2].counts(entry[0])}
        self._heap[:] = live.values()
        heapq.heapify(self._heap)
        self._limit = max(2 * len(live), SWEEP)

    def deadline(self) -> int | None:
        """When :meth:`run` should be called: not later than the first alarm, perhaps earlier."""
        return self._heap[0][0] if self._heap else None

    def run(self, now: int) -> None:
        """Ring what is due."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, alarm = heapq.heappop(heap)
            alarm.ring(when, now)
