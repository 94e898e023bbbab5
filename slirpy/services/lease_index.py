"""Whose lease is which: by client identifier, by MAC address, by host name.

Who is who (RFC 2131 section 4.2): a client is known by its client identifier (option 61) if it sends one, else
by its MAC address. An identifier that is the MAC address says no more than none. The same machine may show
itself under several: its firmware with one, the system that it boots with another or with none. It should keep
its address then, because forwards lead there; while two clients on one MAC address (containers) that each send
an identifier must get two. So a MAC address alone is a match if one side has no identifier, or if one side is a
firmware: it is gone once the system asks, and the system is gone when it asks.

Machines that were cloned from one image show the same identifier from different MAC addresses. While both are there,
each has a lease with that identifier; so a lease with both the identifier and the MAC address comes first.

A host name is the first one's that bound it, for as long as that lease holds: a guest cannot take another's. Only
a name that a rule gives goes before one that a client took for itself.
"""

from __future__ import annotations

from slirpy.services.lease import Client, Lease, LeaseState

__all__ = ["LeaseIndex"]


class LeaseIndex:
    """Leases by who has them. The last one of each identifier, MAC address and name."""

    __slots__ = ("_by_id", "_by_mac", "_by_name")

    def __init__(self) -> None:
        self._by_id: dict[bytes, Lease] = {}
        self._by_mac: dict[bytes, Lease] = {}
        """The lease that a MAC address got last."""
        self._by_name: dict[str, Lease] = {}

    def __len__(self) -> int:
        """Entries of all three kinds."""
        return len(self._by_id) + len(self._by_mac) + len(self._by_name)

    def find(self, client: Client) -> Lease | None:
        """The lease that a client has or had, whatever its state."""
        lease = self._by_mac.get(client.mac)
        if client.client_id is not None:
            if lease is not None and lease.client_id == client.client_id:
                return lease
            known = self._by_id.get(client.client_id)
            if known is not None:
                return known
        if lease is None or None in (client.client_id, lease.client_id) or client.firmware or lease.firmware:
            return lease
        return None

    def named(self, now: int) -> list[Lease]:
        """The leases that hold and have a host name; of several with the same one the one whose it is."""
        return [lease for lease in self._by_name.values() if _holds(lease, now)]

    def link(self, lease: Lease, now: int, *, ruled: bool = False) -> None:
        """The lease is its client's; ``ruled``: its name was given by a rule."""
        self._by_mac[lease.mac] = lease
        if lease.client_id is not None:
            self._by_id[lease.client_id] = lease
        if lease.hostname is not None:
            name = lease.hostname.lower()
            other = self._by_name.get(name)
            if other is None or ruled or not _holds(other, now):
                self._by_name[name] = lease

    def unlink(self, lease: Lease) -> None:
        """The lease is nobody's."""
        if self._by_mac.get(lease.mac) is lease:
            del self._by_mac[lease.mac]
        if lease.client_id is not None and self._by_id.get(lease.client_id) is lease:
            del self._by_id[lease.client_id]
        if lease.hostname is not None and self._by_name.get(lease.hostname.lower()) is lease:
            del self._by_name[lease.hostname.lower()]


def _holds(lease: Lease, now: int) -> bool:
    return lease.state is LeaseState.BOUND and lease.expires > now
