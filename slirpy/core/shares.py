"""Bounds on what guests can make grow, and who has to go at a bound.

Who has most gives: of the parties the one with most entries, and of that one's entries the one that was idle for
longest. A party is a link, because a guest can lie about its addresses, and not about the cable it is on; or the
world outside, for what comes in by forwards. Where several guests share a link, one that has a large part of
everything (:data:`HEAVY`) gives before the others there. Below that the addresses do not count: a guest that invents
thousands of them, with an entry each, would make another with a handful look greedy.

All of it costs a few dict lookups for each entry that comes or goes. Who was idle for longest is looked for only at
the bound, and for all entries of a party at once: as long as an entry does not change, those found stay in order.
So a flood costs the logarithm of the bound for each entry, and not the bound.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Any, Generic, Protocol, TypeVar

from slirpy.fair import Tally

__all__ = ["HEAVY", "OUTSIDE", "Group", "Party", "Shares"]

HEAVY = 64
"""An address with more than one part in so many of a bound is asked first, among those on its link."""
OUTSIDE = "outside"
"""The party of connections that come in by forwards."""


class Entry(Protocol):
    """Something that knows when it last was of use, and where it is counted."""

    share: Group[Any] | None
    """Written by :class:`Shares` only."""

    @property
    def key(self) -> bytes:
        """What it is known by, unlike all others of its kind."""
        ...

    @property
    def last_activity(self) -> int:
        """In nanoseconds."""
        ...


T = TypeVar("T", bound=Entry)


class _Queue(Generic[T]):
    """Entries, and the order in which they were last of use."""

    __slots__ = ("_oldest", "entries")

    def __init__(self) -> None:
        self.entries: dict[bytes, T] = {}
        self._oldest: list[tuple[int, bytes]] = []  # a heap

    def longest_idle(self) -> T:
        """The entry that goes first; there is one. It is found again until it is used or gone."""
        entries, oldest = self.entries, self._oldest
        for _ in range(2):  # the second time the heap has all entries
            while oldest:
                idle_since, key = oldest[0]
                found = entries.get(key)
                if found is not None and found.last_activity == idle_since:
                    return found
                heapq.heappop(oldest)  # used since, or gone; what came later was not idle for longer
            oldest[:] = [(entry.last_activity, key) for key, entry in entries.items()]
            heapq.heapify(oldest)
        raise LookupError("an empty queue has no oldest entry")


class Group(_Queue[T]):
    """What belongs to one address of a party."""

    __slots__ = ("party", "who")

    def __init__(self, party: Party[T], who: bytes) -> None:
        super().__init__()
        self.party = party
        self.who = who


class Party(_Queue[T]):
    """What belongs to one party."""

    __slots__ = ("groups", "most", "name")

    def __init__(self, name: Hashable) -> None:
        super().__init__()
        self.name = name
        self.groups: dict[bytes, Group[T]] = {}
        self.most: Tally[Group[T]] = Tally()


class Shares(Generic[T]):
    """Entries of one kind, of which there may be ``limit``. Its length is how many there are."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parties: dict[Hashable, Party[T]] = {}
        self._most: Tally[Party[T]] = Tally()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, entry: T, name: Hashable, who: bytes) -> None:
        """Count an entry of the address ``who`` of the party ``name``."""
        party = self._parties.get(name)
        if party is None:
            party = self._parties[name] = Party(name)
        group = party.groups.get(who)
        if group is None:
            group = party.groups[who] = Group(party, who)
        group.entries[entry.key] = party.entries[entry.key] = entry
        entry.share = group
        party.most.change(group, 1)
        self._most.change(party, 1)
        self._count += 1

    def remove(self, entry: T) -> None:
        """Count it no more. Harmless if it is not counted here."""
        group: Group[T] | None = entry.share
        if group is None or self._parties.get(group.party.name) is not group.party:
            return
        entry.share = None
        party = group.party
        del group.entries[entry.key], party.entries[entry.key]
        party.most.change(group, -1)
        self._most.change(party, -1)
        self._count -= 1
        if not group.entries:
            del party.groups[group.who]
            if not party.entries:
                del self._parties[party.name]

    def victim(self) -> T | None:
        """The entry to end before another is added; None while there is room."""
        return None if self._count < self.limit else self._from(self._most.owner())

    def number(self, name: Hashable) -> int:
        """How many a party has."""
        party = self._parties.get(name)
        return 0 if party is None else self._most.number(party)

    def numbers(self) -> dict[Hashable, int]:
        """How many each party has."""
        return {name: self._most.number(party) for name, party in self._parties.items()}

    def longest_idle_of(self, name: Hashable) -> T:
        """What a party that has something would lose first."""
        return self._from(self._parties[name])

    def _from(self, party: Party[T]) -> T:
        queue: _Queue[T] = party.most.owner() if party.most.top * HEAVY > self.limit else party
        return queue.longest_idle()
