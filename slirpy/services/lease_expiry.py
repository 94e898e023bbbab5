"""Which lease expires first."""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping
from itertools import count

from slirpy.services.lease import FOREVER, Lease

__all__ = ["ExpiryHeap"]


class ExpiryHeap:
    """A heap of times. An entry counts only as long as its time is that of the lease, and the lease is in the table.

    Args:
        table: the leases by address.
        never: addresses whose leases are left out.
    """

    __slots__ = ("_heap", "_never", "_table", "_ticket")

    def __init__(self, table: Mapping[bytes, Lease], never: Container[bytes]) -> None:
        self._table = table
        self._never = never
        self._heap: list[tuple[int, int, Lease]] = []
        self._ticket = count()
        """Leases cannot be compared; equal times can be."""

    def __len__(self) -> int:
        """Entries, past ones too."""
        return len(self._heap)

    def note(self, lease: Lease) -> None:
        """The time of a lease of the table has changed."""
        if lease.address in self._never or lease.expires == FOREVER:
            return
        heap = self._heap
        heapq.heappush(heap, (lease.expires, next(self._ticket), lease))
        if len(heap) > 2 * len(self._table) + 64:  # most of it is past: times put off, leases that are gone
            leases = (lease for lease in self._table.values() if lease.address not in self._never)
            heap[:] = [(lease.expires, next(self._ticket), lease) for lease in leases]
            heapq.heapify(heap)

    def oldest(self, now: int) -> Lease | None:
        """The lease that expired first, if one has."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            expires, _, lease = heap[0]
            if lease.expires == expires and self._table.get(lease.address) is lease:
                return lease
            heapq.heappop(heap)
        return None
