"""The host names of guests, which the leases of both IP families share.

A name belongs to the client that bound a lease with it first, for as long as that lease holds: a guest cannot take
over another's name, in neither family. Only a name from a static lease overrides one that a client chose.
"""

from __future__ import annotations

from slirpy.services.dhcp.lease import Lease

__all__ = ["HostNames"]


class HostNames:
    """The owner of each host name, regardless of case."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[str, dict[int, Lease]] = {}
        """By name and by length of address: one machine has a lease of each family."""

    def __len__(self) -> int:
        """The number of leases that own a name."""
        return sum(map(len, self._owners.values()))

    def link(self, lease: Lease, now: int, *, static: bool = False) -> None:
        """Enter a lease under its name, if it has one; ``static`` if that comes from a static lease."""
        if lease.hostname is None:
            return
        name = lease.hostname.lower()
        owners = self._owners.get(name, {})
        family = len(lease.address)
        others = [
            key
            for key, owner in owners.items()
            if owner.holds(now) and (key == family or owner.mac != lease.mac)
        ]
        if others and not static:
            return
        for key in others:
            if key != family:
                del owners[key]
        owners[family] = lease
        self._owners[name] = owners

    def unlink(self, lease: Lease) -> None:
        """Remove a lease."""
        if lease.hostname is None:
            return
        name, family = lease.hostname.lower(), len(lease.address)
        owners = self._owners.get(name, {})
        if owners.get(family) is lease:
            del owners[family]
            if not owners:
                del self._owners[name]

    def current(self, now: int) -> list[tuple[str, bytes]]:
        """Host name and address of each bound lease that owns its name."""
        return [
            (lease.hostname or "", lease.address)
            for owners in self._owners.values()
            for lease in owners.values()
            if lease.holds(now)
        ]
