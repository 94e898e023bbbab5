"""The budget for the data of all connections that wait: for guests to acknowledge, or for far sides to read.

The data of a connection are those for the guest that it has not acknowledged, if these are more than :data:`LEAST`,
those for the far side, and those behind a gap. When all of them together exceed the budget, the largest connection of
the party that holds the most is evicted, until they do not. Parties are links, as in :mod:`slirpy.fair`. Before that,
from three quarters of the budget on, no far side is read while its guest has yet to acknowledge earlier data, so that
the data stay with their senders.

As long as there is plenty, the books are kept at no cost to a segment: a connection reports only that it holds more
than ever before. What it holds for the guest and what it holds for the far side are compared with one number, so it
holds at most twice of what it has reported. From three eighths of the budget on, thus before anything is decided, all
connections are looked at, and each reports its data after each service, until they are an eighth in all. The distance
between the two makes up for the look, which takes time in proportion to the connections.

The largest connection is found in constant time, up to a factor of two: connections are kept by the number of bits in
the size of their data.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Hashable
from typing import Any, Final, Generic, TypeVar

from slirpy.fair import Group
from slirpy.mypyc import trait

__all__ = ["LEAST", "Holder", "MemoryBudget", "kernel_memory"]

LEAST: Final = 1024
"""Bytes of data for the guest up to which a connection need not report."""
_TIGHT: Final = 4
"""From all but one of these parts of the budget on, less is read."""
_EXACT: Final = 3
_LAZY: Final = 1
"""Eighths of the budget from which on, and below which no longer, each change is reported."""


@trait
class Holder:
    """A connection that holds data. Subclasses have the attributes."""

    __slots__ = ()

    held: int
    """Bytes as last reported. Written by :class:`MemoryBudget` only, as are the next two."""
    unnoted: int
    """Bytes of data for the guest above which the connection reports them."""
    alert: bool
    """Set if the connection has to report its data after its next service."""
    share: Group[Any] | None

    @abc.abstractmethod
    def data(self) -> int:
        """Return the bytes that it holds now."""


def kernel_memory(peer: object) -> int:
    """Return the bytes of memory that the system holds for a far side's socket; 0 if the peer does not say."""
    ask = getattr(peer, "kernel_memory", None)
    return 0 if ask is None else int(ask())


H = TypeVar("H", bound=Holder)


class _Party(Generic[H]):
    """Connections of one party."""

    __slots__ = ("bytes", "sizes")

    def __init__(self) -> None:
        self.bytes = 0
        self.sizes: dict[int, dict[H, None]] = {}
        """By the number of bits in the size of their data."""

    def largest(self) -> H:
        """Return one of the largest. There must be one."""
        return next(iter(self.sizes[max(self.sizes)]))


class MemoryBudget(Generic[H]):
    """The data of many connections, bounded by ``limit`` bytes.

    Args:
        evict: ends a connection, which then holds nothing.

    Attributes:
        total: bytes that all connections hold, as far as they have reported them.
        is_tight: true if connections should take no more data than they need.
    """

    __slots__ = (
        "_evict",
        "_evicting",
        "_exact",
        "_limit",
        "_parties",
        "_party_of",
        "_tight_from",
        "is_tight",
        "total",
    )

    def __init__(self, limit: int, evict: Callable[[H], None]) -> None:
        self.total = 0
        self.is_tight = False
        self._evicting = self._exact = False
        self._limit = limit
        self._tight_from = limit - limit // _TIGHT
        self._evict = evict
        self._parties: dict[Hashable, _Party[H]] = {}
        self._party_of: dict[H, Hashable] = {}

    def note(self, holder: H, size: int) -> None:
        """Note the bytes that a connection holds now. This may evict connections, also that one."""
        self._set(holder, size)
        if not self._exact:
            if 8 * self.total < _EXACT * self._limit:
                return
            self._exact = True
            for each in list(self._party_of):
                self._set(each, each.data())
        if 8 * self.total < _LAZY * self._limit:
            self._exact = False
        if self._evicting:
            return  # a last report of the connection that ends
        self._evicting = True
        try:
            while self.total > self._limit:
                victim = max(self._parties.values(), key=_bytes_of).largest()
                self._evict(victim)
                self.forget(victim)
        finally:
            self._evicting = False

    def _set(self, holder: H, size: int) -> None:
        """Enter the size of a connection."""
        if not size:
            self.forget(holder)
            return
        old = holder.held
        name = self._party_of.get(holder) if old else None
        if name is None:
            if holder.share is None:
                return  # it has ended
            name = self._party_of[holder] = holder.share.party.name
        party = self._parties.get(name)
        if party is None:
            party = self._parties[name] = _Party()
        if size.bit_length() != old.bit_length():
            self._unlist(party, holder, old)
            party.sizes.setdefault(size.bit_length(), {})[holder] = None
        holder.held = size
        if self._exact:
            holder.alert, holder.unnoted = True, 0
        else:
            holder.unnoted = max(size, LEAST)
        self._add(party, size - old)

    def forget(self, holder: H) -> None:
        """Note that a connection holds nothing any more. Harmless when repeated."""
        size = holder.held
        if not size:
            return
        name = self._party_of.pop(holder)
        party = self._parties[name]
        self._unlist(party, holder, size)
        holder.held, holder.unnoted = 0, LEAST
        self._add(party, -size)
        if not party.sizes:
            del self._parties[name]

    def numbers(self) -> dict[Hashable, int]:
        """Bytes that each party holds, as far as they are reported."""
        return {name: party.bytes for name, party in self._parties.items()}

    def _add(self, party: _Party[H], change: int) -> None:
        party.bytes += change
        self.total += change
        self.is_tight = self.total >= self._tight_from

    @staticmethod
    def _unlist(party: _Party[H], holder: H, size: int) -> None:
        if size:
            same = party.sizes[size.bit_length()]
            del same[holder]
            if not same:
                del party.sizes[size.bit_length()]


def _bytes_of(party: _Party[Any]) -> int:
    return party.bytes
