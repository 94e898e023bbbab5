"""Fairness between guests: bounded tables, turns, and rates.

Guests can forge their addresses, but not the link that they are behind. So entries are counted by link first, and by
address only among those of one link.

**Eviction** (:class:`Shares`). At a bound, the party with the most entries loses the one that has been idle longest.
A party is a link, or :data:`OUTSIDE` for connections that come in by forwards. Where several guests share a link, an
address that holds a large part of everything (:data:`HEAVY`) is evicted from first. Below that, addresses do not
count: a guest that forges thousands of them, with an entry each, would make another with a handful look greedy.

An entry that is added or removed costs a few dict lookups. The entry that has been idle longest is searched for only
at the bound, and for all entries of a party at once; while they are unused their order stays valid. So in a flood an
entry costs the logarithm of the bound, and not the bound.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Container, Hashable, Iterable
from typing import Any, Final, Generic, TypeVar

from slirpy.records import Protocol
from slirpy.units import MS, SECOND

__all__ = [
    "HEAVY",
    "LOOKS_MAX",
    "OUTSIDE",
    "PAUSE",
    "TURN",
    "TURN_FRAMES",
    "TURN_LOOK",
    "Entry",
    "Group",
    "Party",
    "RoundRobin",
    "Shares",
    "Tally",
    "TokenBucket",
    "TokenBuckets",
]

HEAVY: Final = 64
"""An address with more than a 64th of a bound is evicted from before the others on its link."""
OUTSIDE: Final = "outside"
"""The party of connections that come in by forwards."""
LOOKS_MAX: Final = 512
"""Entries of one queue that are looked at in search of the one to evict: a millisecond."""
_SPARE: Final = 64
TURN: Final = 2 * MS
"""Nanoseconds after which the turn of a link ends, so that the other guests do not wait for its flood."""
TURN_FRAMES: Final = 256
"""Number of frames after which it ends, since they cause work at the flush, too."""
TURN_LOOK: Final = 63
"""Mask of a frame's number in its turn: at every 64th frame the clock is read, even if all took the fast path."""
PAUSE: Final = 50_000
"""Nanoseconds after which a small exchange is assumed to go on as it began: one message at a time."""
_UNITS: Final = SECOND
"""Billionths of a message, so that a nanosecond adds ``rate`` of them."""
K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Hashable)
Q = TypeVar("Q", bound="_Queue[Any]")


class Tally(Generic[K]):
    """Number of items of each owner, and the largest holder, in constant time. Each change is by one."""

    __slots__ = ("_number", "_owners", "top")

    def __init__(self) -> None:
        self._number: dict[K, int] = {}
        self._owners: dict[int, dict[K, None]] = {}
        """Owners by their number of items."""
        self.top = 0
        """The largest number that any owner has."""

    @staticmethod
    def of(queues: Iterable[Q]) -> Tally[Q]:
        """Return a tally of what each queue has."""
        tally: Tally[Q] = Tally()
        for queue in queues:
            number = len(queue.entries)
            tally._number[queue] = number
            tally._owners.setdefault(number, {})[queue] = None
            tally.top = max(tally.top, number)
        return tally

    def __len__(self) -> int:
        """Number of owners that have any."""
        return len(self._number)

    def change(self, owner: K, by: int) -> None:
        """Count one more (1), or one less (-1)."""
        number = self._number.get(owner, 0)
        if number:
            same = self._owners[number]
            del same[owner]
            if not same:
                del self._owners[number]
                if number == self.top:
                    self.top -= 1
        number += by
        if number:
            self._number[owner] = number
            self._owners.setdefault(number, {})[owner] = None
            self.top = max(self.top, number)
        else:
            del self._number[owner]

    def number(self, owner: K) -> int:
        """Number of items that an owner has."""
        return self._number.get(owner, 0)

    def largest(self) -> K:
        """The largest holder; of several, the one that has held that number longest. There must be one."""
        return next(iter(self._owners[self.top]))


class Entry(Protocol):
    """An item that :class:`Shares` counts."""

    share: Group[Any] | None
    """The group that it is counted in. Written by :class:`Shares` only."""

    @property
    def key(self) -> bytes:
        """A key that no other entry of its kind has."""

    @property
    def last_activity(self) -> int:
        """Time of the last use, in nanoseconds."""


E = TypeVar("E", bound=Entry)


class _Queue(Generic[E]):
    """Entries, and the order in which they were last used.

    The heap has a time for each entry since which it may have been used, but not evicted: that of its entering, or of
    the last look at it. No entry was used last before its time. Times of removed entries stay behind for a while.
    The heap is kept from the first time on that an entry has to go.
    """

    __slots__ = ("_times", "entries")

    def __init__(self) -> None:
        self.entries: dict[bytes, E] = {}
        self._times: list[tuple[int, bytes]] | None = None

    def enter(self, entry: E) -> None:
        """Add an entry."""
        self.entries[entry.key] = entry
        if self._times is not None:
            self._note(entry, self._times)

    def _note(self, entry: E, times: list[tuple[int, bytes]]) -> None:
        entries = self.entries
        heapq.heappush(times, (entry.last_activity, entry.key))  # cheap, since it is the latest
        if len(times) > 2 * len(entries) + _SPARE:
            kept = {key: time for time, key in times if key in entries}  # one for each, also if it came again
            self._times = sorted((time, key) for key, time in kept.items())

    def longest_idle(self) -> E:
        """The entry to evict first. There must be one. It stays the same until it is used or removed.

        No call looks at more than :data:`LOOKS_MAX` entries. If so many were used or removed since the last look at
        them, it is the longest idle of these.
        """
        entries, times = self.entries, self._times
        if not entries:
            raise LookupError("an empty queue has no oldest entry")
        if times is None:  # before all real times, in the order of entering, without a look at any
            times = self._times = [(number - len(entries), key) for number, key in enumerate(entries)]
        best: E | None = None
        for _ in range(LOOKS_MAX):
            time, key = times[0]
            found = entries.get(key)
            if found is None:
                heapq.heappop(times)
            elif found.last_activity == time:
                return found
            else:
                heapq.heapreplace(times, (found.last_activity, key))
                if best is None or found.last_activity < best.last_activity:
                    best = found
        return best if best is not None else next(iter(entries.values()))


class Group(_Queue[E]):
    """Entries of one address of a party."""

    __slots__ = ("address", "party")

    def __init__(self, party: Party[E], address: bytes) -> None:
        super().__init__()
        self.party = party
        self.address = address


class Party(_Queue[E]):
    """Entries of one party, with a tally by address, which is kept from the first time on that it is needed."""

    __slots__ = ("groups", "name", "tally")

    def __init__(self, name: Hashable) -> None:
        super().__init__()
        self.name = name
        self.groups: dict[bytes, Group[E]] = {}
        self.tally: Tally[Group[E]] | None = None

    def tallied(self) -> Tally[Group[E]]:
        """Return the tally."""
        if self.tally is None:
            self.tally = Tally.of(self.groups.values())
        return self.tally


class Shares(Generic[E]):
    """Entries of one kind, bounded by ``limit``. Its length is the number of entries.

    Tallies are kept from the first time on that an entry has to go: most tables are never full.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._parties: dict[Hashable, Party[E]] = {}
        self._tally: Tally[Party[E]] | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, entry: E, name: Hashable, address: bytes) -> None:
        """Count an entry for an address of the party ``name``."""
        party = self._parties.get(name)
        if party is None:
            party = self._parties[name] = Party(name)
        group = party.groups.get(address)
        if group is None:
            group = party.groups[address] = Group(party, address)
        group.enter(entry)
        party.enter(entry)
        entry.share = group
        if party.tally is not None:
            party.tally.change(group, 1)
        if self._tally is not None:
            self._tally.change(party, 1)
        self._count += 1

    def remove(self, entry: E) -> None:
        """Stop counting an entry; nothing happens if it is not counted here."""
        group: Group[E] | None = entry.share
        if group is None or self._parties.get(group.party.name) is not group.party:
            return
        entry.share = None
        party = group.party
        del group.entries[entry.key], party.entries[entry.key]
        if party.tally is not None:
            party.tally.change(group, -1)
        if self._tally is not None:
            self._tally.change(party, -1)
        self._count -= 1
        if not group.entries:
            del party.groups[group.address]
            if not party.entries:
                del self._parties[party.name]

    def to_evict(self) -> E | None:
        """The entry to evict before another is added. None while there is room."""
        if self._count < self.limit:
            return None
        if self._tally is None:
            self._tally = Tally.of(self._parties.values())
        return self._from(self._tally.largest())

    def number(self, name: Hashable) -> int:
        """Number of entries of a party."""
        party = self._parties.get(name)
        return 0 if party is None else len(party.entries)

    def numbers(self) -> dict[Hashable, int]:
        """Number of entries of each party."""
        return {name: len(party.entries) for name, party in self._parties.items()}

    def longest_idle_of(self, name: Hashable) -> E:
        """The entry to evict from a party. It must have one."""
        return self._from(self._parties[name])

    def _from(self, party: Party[E]) -> E:
        tally = party.tallied()
        queue: _Queue[E] = tally.largest() if tally.top * HEAVY > self.limit else party
        return queue.longest_idle()


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


class TokenBuckets(Generic[K]):
    """A token bucket for each link, so that one guest's flood does not silence the answers to another.

    Args:
        links: the links that are attached; buckets of others are discarded when a new one is made.
        rate: messages a second to each link, which is also the burst.
    """

    __slots__ = ("_buckets", "_links", "_rate")

    def __init__(self, links: Container[K], rate: int) -> None:
        self._links = links
        self._rate = rate
        self._buckets: dict[K | None, TokenBucket] = {}

    def take(self, link: K | None, now: int) -> bool:
        """Take a token for one message to ``link``, at ``now`` in nanoseconds. Returns False if there is none."""
        bucket = self._buckets.get(link)
        if bucket is None:
            self._buckets = {other: b for other, b in self._buckets.items() if other in self._links}
            bucket = self._buckets[link] = TokenBucket(self._rate, self._rate, now)
        return bucket.take(now)
