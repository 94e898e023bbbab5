"""A time that passes when a test says so, with calls that fall due."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

__all__ = ["Alarm", "Clock"]


class Alarm:
    """A call to be made at a time; None once it was made or cancelled."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Clock:
    """Nanoseconds, from a thousand seconds on."""

    def __init__(self) -> None:
        self.now = 1000 * 1_000_000_000
        self._alarms: list[tuple[int, int, Alarm]] = []
        self._count = itertools.count()

    def call_at(self, when: int, callback: Callable[[], None]) -> Alarm:
        """Make a call at ``when``, or at once if that is over."""
        alarm = Alarm(callback)
        heapq.heappush(self._alarms, (when, next(self._count), alarm))
        return alarm

    def advance(self, duration: int) -> None:
        """Let time pass, and make the calls that fall due, each at its time."""
        end = self.now + duration
        while self._alarms and self._alarms[0][0] <= end:
            when, _, alarm = heapq.heappop(self._alarms)
            self.now = max(self.now, when)
            callback, alarm.callback = alarm.callback, None
            if callback is not None:
                callback()
        self.now = end

    @property
    def pending(self) -> int:
        """Calls that are still to be made."""
        return sum(alarm.callback is not None for _, _, alarm in self._alarms)
