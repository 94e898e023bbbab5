"""Indexes of the lease table: leases by client, and leases by expiry.

**The identity of a client** (RFC 2131 section 4.2). A client is known by its client identifier (option 61) if it
sends one, else by its MAC address. An identifier that only repeats the MAC address counts as none. With DHCPv6 the
identifier is the DUID and the number that the client gives to its interface (IAID, RFC 8415 section 12).

One machine may appear under several identities: its firmware sends one identifier, the system that it boots
another or none. It should keep its address throughout, because forwards point there. Two clients that share a MAC
address (containers) and send an identifier each must get two addresses, however. So a MAC address alone is a match
if one side has no identifier, or if one side is firmware: firmware and system never run at the same time.

Machines cloned from one image send the same identifier from different MAC addresses. While several of them run,
each has a lease with that identifier, so a lease that matches in both the identifier and the MAC address takes
precedence.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Mapping
from itertools import count

from slirpy.services.dhcp.lease import FOREVER, Client, Lease

__all__ = ["ExpiryHeap", "LeaseIndex"]


class LeaseIndex:
    """The latest lease of each identifier and MAC address, among those of one IP family."""

    __slots__ = ("_by_id", "_by_mac")

    def __init__(self) -> None:
        self._by_id: dict[bytes, Lease] = {}
        self._by_mac: dict[bytes, Lease] = {}

    def __len__(self) -> int:
        """The number of entries of both kinds."""
        return len(self._by_id) + len(self._by_mac)

    def find(self, client: Client) -> Lease | None:
        """The lease that a client has or had, whatever its state."""
        lease = self._by_mac.get(client.mac)
        identity = client.identity
        if identity is not None:
            if lease is not None and lease.identity == identity:
                return lease
            known = self._by_id.get(identity)
            if known is not None:
                return known
        if lease is None or None in (identity, lease.identity) or client.firmware or lease.firmware:
            return lease
        return None

    def link(self, lease: Lease) -> None:
        """Enter a lease under its client."""
        self._by_mac[lease.mac] = lease
        identity = lease.identity
        if identity is not None:
            self._by_id[identity] = lease

    def unlink(self, lease: Lease) -> None:
        """Remove a lease."""
        if self._by_mac.get(lease.mac) is lease:
            del self._by_mac[lease.mac]
        identity = lease.identity
        if identity is not None and self._by_id.get(identity) is lease:
            del self._by_id[identity]


class ExpiryHeap:
    """The leases of a table in the order in which they expire.

    An entry becomes stale when the expiry of its lease changes or the lease leaves the table. Stale entries are
    dropped when they reach the top, or when they are the majority.

    Args:
        table: the leases by address.
        excluded: addresses whose leases are left out.
    """

    __slots__ = ("_excluded", "_heap", "_table", "_ticket")

    def __init__(self, table: Mapping[bytes, Lease], excluded: Container[bytes]) -> None:
        self._table = table
        self._excluded = excluded
        self._heap: list[tuple[int, int, Lease]] = []
        self._ticket = count()
        """Breaks ties between equal times, because leases have no order."""

    def __len__(self) -> int:
        """The number of entries, including stale ones."""
        return len(self._heap)

    def update(self, lease: Lease) -> None:
        """Enter a lease of the table, or its new expiry."""
        if lease.address in self._excluded or lease.expires == FOREVER:
            return
        heap = self._heap
        heapq.heappush(heap, (lease.expires, next(self._ticket), lease))
        if len(heap) > 2 * len(self._table) + 64:
            leases = (lease for lease in self._table.values() if lease.address not in self._excluded)
            heap[:] = [(lease.expires, next(self._ticket), lease) for lease in leases]
            heapq.heapify(heap)

    def first(self) -> int | None:
        """The time by which the next lease may have expired, in nanoseconds; None: there is none."""
        return self._heap[0][0] if self._heap else None

    def oldest(self, now: int) -> Lease | None:
        """The lease that expired first; None if none has expired."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            expires, _, lease = heap[0]
            if lease.expires == expires and self._table.get(lease.address) is lease:
                return lease
            heapq.heappop(heap)
        return None
