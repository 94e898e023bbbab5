"""Fairness between guests: counts of holdings, turns, and rates.

Guests can forge their addresses. So items are counted by link first, and by address only among those of one link: see
:mod:`slirpy.core.shares`, which evicts by these counts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from slirpy.units import SECOND

__all__ = ["RoundRobin", "Tally", "TokenBucket"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)
_UNITS = SECOND
"""Billionths of a message, so that a nanosecond adds ``rate`` of them."""


class Tally(Generic[K]):
    """Number of items of each owner, and the largest holder, in constant time. Each change is by one."""

    __slots__ = ("_having", "_number", "top")

    def __init__(self) -> None:
        self._number: dict[K, int] = {}
        self._having: dict[int, dict[K, None]] = {}
        self.top = 0
        """The largest number that any owner has."""

    def __len__(self) -> int:
        """Number of owners that have any."""
        return len(self._number)

    def change(self, owner: K, by: int) -> None:
        """Count one more (1), or one less (-1)."""
        number = self._number.get(owner, 0)
        if number:
            same = self._having[number]
            del same[owner]
            if not same:
                del self._having[number]
                if number == self.top:
                    self.top -= 1
        number += by
        if number:
            self._number[owner] = number
            self._having.setdefault(number, {})[owner] = None
            self.top = max(self.top, number)
        else:
            del self._number[owner]

    def number(self, owner: K) -> int:
        """Number of items that an owner has."""
        return self._number.get(owner, 0)

    def owner(self) -> K:
        """The largest holder; of several, the one that has held that number longest. There must be one."""
        return next(iter(self._having[self.top]))


class RoundRobin(Generic[T]):
    """Queue that serves one item of each party in turn. Its length is the number of items."""

    __slots__ = ("_party", "_queues")

    def __init__(self) -> None:
        self._party: dict[T, bytes] = {}
        self._queues: OrderedDict[bytes, OrderedDict[T, None]] = OrderedDict()
        """By party, in the order of their turns; none is empty."""

    def __len__(self) -> int:
        return len(self._party)

    def __contains__(self, item: T) -> bool:
        return item in self._party

    def add(self, item: T, party: bytes) -> None:
        """Add an item behind all others of its party. It must not be in the queue already."""
        self._party[item] = party
        queue = self._queues.get(party)
        if queue is None:
            queue = self._queues[party] = OrderedDict()
        queue[item] = None

    def remove(self, item: T) -> bool:
        """Remove an item. Returns False if it was not in the queue."""
        party = self._party.pop(item, None)
        if party is None:
            return False
        queue = self._queues[party]
        del queue[item]
        if not queue:
            del self._queues[party]
        return True

    def next(self) -> T:
        """Remove and return the item whose turn it is. The queue must not be empty."""
        party, queue = next(iter(self._queues.items()))
        item, _ = queue.popitem(last=False)
        del self._party[item]
        if queue:
            self._queues.move_to_end(party)
        else:
            del self._queues[party]
        return item

    def to_evict(self, party: bytes) -> T | None:
        """The item to evict to make room for a new one of ``party``: the newest of the party with the most items.

        None if that party would not have more than ``party`` afterwards.
        """
        most = max(self._queues.values(), key=len, default=None)
        if most is None or len(most) <= len(self._queues.get(party, ())) + 1:
            return None
        return next(reversed(most))

    def clear(self) -> None:
        """Remove all items."""
        self._party.clear()
        self._queues.clear()


class TokenBucket:
    """Rate limit: ``burst`` messages at once, and ``rate`` a second in the long run.

    Times are in nanoseconds. The bucket is full at first, at ``now``.
    """

    __slots__ = ("_full", "_full_at", "_rate")

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self._rate = rate
        self._full = burst * _UNITS
        self._full_at = now * rate  # time at which the bucket is full again, in nanoseconds times the rate

    def take(self, now: int) -> bool:
        """Take a token for one message. Returns False if there is none."""
        here = now * self._rate
        full_at = max(self._full_at, here) + _UNITS
        if full_at - here > self._full:
            return False
        self._full_at = full_at
        return True
