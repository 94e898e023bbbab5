"""Eviction of flows when the system has no descriptor left."""

from __future__ import annotations

import errno
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar

from slirpy.fair import Entry, Shares
from slirpy.logs import warn
from slirpy.stats import Stats
from slirpy.units import SECOND

__all__ = ["EXHAUSTED", "DescriptorLimit"]

EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Temporary refusals."""
IDLE: Final = 10 * SECOND
"""Time that a party's own flow must have been idle before its new flow may evict it."""
WARN_AGAIN: Final = 60 * SECOND
"""Least time between two warnings."""
_ADVICE: Final = (
    "slirpy: the system gives this process no more descriptors (%d flows are open); flows that were idle have to go, "
    "or new ones are refused; raise the limit (ulimit -n)"
)
T = TypeVar("T", bound=Entry)


class DescriptorLimit:
    """Makes room for a new flow when the system's own limit, which flows of all kinds share, is reached.

    Args:
        stats: counters to update.
    """

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._kinds: list[tuple[Shares[Any], Callable[[Any], None]]] = []
        self._warned: int | None = None

    def share(self, shares: Shares[T], evict: Callable[[T], None]) -> None:
        """Register entries of one kind, each of which holds a descriptor. ``evict`` ends one and releases it."""
        self._kinds.append((shares, evict))

    def make_room(self, name: Hashable, now: int) -> bool:
        """End a flow so that party ``name`` can have a descriptor. Returns False if the new flow must be refused.

        The flow that has been idle longest, of the party with the most flows, is evicted. If that party is the one
        that asks, a recently used flow stays: a working flow is worth more than a new one.
        """
        if self._warned is None or now - self._warned >= WARN_AGAIN:
            self._warned = now
            warn(_ADVICE, sum(len(shares) for shares, _ in self._kinds))
        totals: dict[Hashable, int] = {}
        for shares, _ in self._kinds:
            for party, number in shares.numbers().items():
                totals[party] = totals.get(party, 0) + number
        if not totals:
            return False
        greedy = max(totals, key=totals.__getitem__)
        if totals[greedy] <= totals.get(name, 0):
            greedy = name
        numbers = [shares.number(greedy) for shares, _ in self._kinds]
        if not any(numbers):
            return False
        shares, evict = self._kinds[numbers.index(max(numbers))]
        victim = shares.longest_idle_of(greedy)
        if greedy == name and now - victim.last_activity < IDLE:
            return False
        self._stats.flows_evicted_for_descriptors += 1
        evict(victim)
        return True
