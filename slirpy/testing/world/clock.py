"""The clock of the simulated world, and its pending events."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

from slirpy.checks import moment
from slirpy.errors import StateError

__all__ = ["SimClock"]


class SimClock:
    """Virtual time, which passes only in :meth:`advance`, and what is to happen in it."""

    def __init__(self) -> None:
        self._now = 0
        self._sequence = itertools.count()
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []

    @property
    def now(self) -> int:
        """Virtual nanoseconds: the time of the current event, or else of the last advance."""
        return self._now

    def deadline(self) -> int | None:
        """Return the time of the next event; None if there is none."""
        return self._events[0][0] if self._events else None

    def advance(self, now: int) -> None:
        """Advance the time and run the events that are due, in the order of their time and then of their creation.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
            StateError: ``now`` is earlier than before.
        """
        if type(now) is not int:
            now = moment("now", now)
        if now < self._now:
            raise StateError(f"advance({now}): time is at {self._now} already and does not go back")
        events = self._events
        while events and events[0][0] <= now:
            when, _, call, args = heapq.heappop(events)
            self._now = max(when, self._now)
            call(*args)
        self._now = now

    def schedule(self, when: int, call: Callable[..., None], *args: Any) -> None:
        """Run ``call(*args)`` at ``when``: for programs that act later.

        Raises:
            ConfigError: ``when`` is not a whole number of nanoseconds.
        """
        if type(when) is not int:
            when = moment("when", when)
        heapq.heappush(self._events, (when, next(self._sequence), call, args))
