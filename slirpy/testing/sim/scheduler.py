"""Virtual time: events at their times, and calls that are ready now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush
from random import Random
from typing import Any, TypeAlias

__all__ = ["Processor", "Scheduler"]

Call: TypeAlias = Callable[..., object]


class Processor:
    """The processor of a host, on which calls run.

    Attributes:
        stalled: True while it runs nothing.
        deferred: ready functions, each with its argument, that wait until it is no longer stalled.
    """

    def __init__(self) -> None:
        self.stalled = False
        self.deferred: list[tuple[Callable[[Any], object], Any]] = []


class Scheduler:
    """Everything that is still to happen in a network.

    Events happen at their time; those of the same time in the order in which they were scheduled. Between two times
    the ready calls run until none is left.

    Args:
        shuffle: source of the order of ready calls; None: first in, first out.

    Attributes:
        now: virtual nanoseconds.
        number: that of the event that was scheduled last.
        ready: the calls that are ready: processor, function, its one argument. The loop appends to it, too.
        halted: whether :meth:`run_ready` returns after this round.
    """

    __slots__ = ("_cancelled", "_events", "_shuffle", "halted", "now", "number", "ready")

    def __init__(self, shuffle: Random | None = None) -> None:
        self.now = 0
        self.halted = False
        self._shuffle = shuffle
        self.number = 0
        self._events: list[tuple[int, int, Call, tuple[Any, ...]]] = []
        self._cancelled: set[int] = set()
        self.ready: deque[tuple[Processor | None, Callable[[Any], object], Any]] = deque()

    def at(self, when: int, call: Call, *args: Any) -> int:
        """Call ``call(*args)`` at ``when`` virtual nanoseconds, or at once if that has passed.

        Returns:
            The number of the event, for :meth:`cancel`.
        """
        return self.add(when, call, args)

    def add(self, when: int, call: Call, args: tuple[Any, ...]) -> int:
        """Do as :meth:`at`, with the arguments in a tuple, which takes half of the time."""
        self.number = number = self.number + 1
        heappush(self._events, (when, number, call, args))
        return number

    def cancel(self, number: int) -> None:
        """Forget an event that has not happened yet, so that time does not advance to it."""
        cancelled = self._cancelled
        cancelled.add(number)
        if len(cancelled) > 64 and 2 * len(cancelled) > len(self._events):
            self._events[:] = [event for event in self._events if event[1] not in cancelled]
            heapify(self._events)
            cancelled.clear()

    def soon(self, owner: Processor | None, call: Call, *args: Any) -> None:
        """Call ``call(*args)`` as soon as the present call has returned, on the processor of ``owner``."""
        self.ready.append((owner, _call, (call, args)))

    def pending(self) -> Iterator[Call]:
        """Yield the calls of events that are to come, in no order."""
        return (event[2] for event in self._events if event[1] not in self._cancelled)

    def ready_owners(self) -> set[Processor]:
        """Return the processors on which calls are ready."""
        return {owner for owner, _, _ in self.ready if owner is not None}

    def run_ready(self, limit: int) -> int:
        """Run the calls that are ready, and those that they add, until none is left, or :attr:`halted` is set.

        Calls run in rounds: those that are ready, then those that they have added.

        Args:
            limit: maximum number of rounds.

        Returns:
            Number of rounds.
        """
        ready, shuffle = self.ready, self._shuffle
        rounds = 0
        owner: Processor | None
        call: Any
        argument: Any
        while ready and rounds < limit:
            rounds += 1
            for _ in range(len(ready)):
                if shuffle is not None and len(ready) > 1:
                    ready.rotate(-shuffle.randrange(len(ready)))
                owner, call, argument = ready.popleft()
                if owner is not None and owner.stalled:
                    owner.deferred.append((call, argument))
                else:
                    call(argument)
            if self.halted:
                break
        # A traceback may keep this frame, and with it a task, which then would not report its exception.
        owner = call = argument = None
        return rounds

    def run_next(self, end: int) -> int | None:
        """Go to the time of the next event, unless that is after ``end``, and run the events that are due then.

        Returns:
            That time; None if nothing is to come.
        """
        events, cancelled = self._events, self._cancelled
        while cancelled and events and events[0][1] in cancelled:
            cancelled.remove(heappop(events)[1])
        if not events:
            return None
        following = events[0][0]
        if following > end:
            return following
        if following > self.now:
            self.now = following
        now = self.now
        while events and events[0][0] <= now:
            _, number, call, args = heappop(events)
            if cancelled and number in cancelled:
                cancelled.remove(number)
            else:
                call(*args)
        return following


def _call(what: tuple[Call, tuple[Any, ...]]) -> None:
    """Make a call of :meth:`Scheduler.soon`."""
    call, args = what
    call(*args)
