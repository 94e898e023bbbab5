"""What is to be done when the system has no descriptor left."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from slirpy.core.shares import Entry, Shares
from slirpy.stats import Stats
from slirpy.units import SECOND

__all__ = ["EXHAUSTED", "Descriptors"]

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Refusals that will not be for ever."""
IDLE = 10 * SECOND
"""How long a flow of one's own was idle that may go for a new one."""
WARN_AGAIN = 60 * SECOND
"""Time between two warnings."""
_ADVICE = (
    "slirpy: the system gives this process no more descriptors (%d flows are open); flows that were idle have to go, "
    "or new ones are refused; raise the limit (ulimit -n)"
)
_log = logging.getLogger("slirpy")
T = TypeVar("T", bound=Entry)


class Descriptors:
    """Makes room for one more flow at the system's own bound, which flows of all kinds share.

    Args:
        stats: where it counts.
    """

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._kinds: list[tuple[Shares[Any], Callable[[Any], None]]] = []
        self._warned: int | None = None

    def share(self, shares: Shares[T], evict: Callable[[T], None]) -> None:
        """Entries of one kind hold a descriptor each; ``evict`` ends one and releases it."""
        self._kinds.append((shares, evict))

    def make_room(self, name: Hashable, now: int) -> bool:
        """End a flow to have a descriptor for one of the party ``name``; False: the new one is refused.

        Who has most gives, its longest idle one. If that is who asks, one that was in use lately stays: what works is
        worth more than what is new.
        """
        if self._warned is None or now - self._warned >= WARN_AGAIN:
            self._warned = now
            _log.warning(_ADVICE, sum(len(shares) for shares, _ in self._kinds))
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
