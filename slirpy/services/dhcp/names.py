"""The host names of guests, which the leases of both IP families share.

A name belongs to the client that bound a lease with it first, for as long as that lease holds: a guest cannot take
over another's name, in neither family. Only a name from a static lease overrides one that a client chose.

DNS asks for a label, the part of a name before the first dot, and for an address. Both are found without a look at
the other leases, of which there may be tens of thousands.
"""

from __future__ import annotations

from itertools import islice

from slirpy.services.dhcp.lease import Lease

__all__ = ["HostNames", "label_of"]

SAME_LABEL_MAX = 64
"""Names with the same label that are looked at: a client can invent any number of them."""


def label_of(hostname: str) -> str:
    """Return the part of a host name that DNS uses."""
    return hostname.partition(".")[0].lower()


class HostNames:
    """The owner of each host name, regardless of case."""

    __slots__ = ("_by_address", "_by_label", "_owners")

    def __init__(self) -> None:
        self._by_address: dict[bytes, Lease] = {}
        self._by_label: dict[str, dict[bytes, Lease]] = {}
        """By label and address, in the order in which the names were entered."""
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
        gone = {family, *others}
        for key in gone & owners.keys():
            self._unlist(owners.pop(key))
        owners[family] = lease
        self._owners[name] = owners
        self._by_address[lease.address] = lease
        self._by_label.setdefault(label_of(name), {})[lease.address] = lease

    def unlink(self, lease: Lease) -> None:
        """Remove a lease."""
        if lease.hostname is None:
            return
        name, family = lease.hostname.lower(), len(lease.address)
        owners = self._owners.get(name, {})
        if owners.get(family) is lease:
            del owners[family]
            self._unlist(lease)
            if not owners:
                del self._owners[name]

    def _unlist(self, lease: Lease) -> None:
        """Remove a lease, which owns a name, from the indexes."""
        self._by_address.pop(lease.address, None)
        label = label_of(lease.hostname or "")
        same = self._by_label.get(label, {})
        same.pop(lease.address, None)
        if not same:
            self._by_label.pop(label, None)

    def addresses_of(self, label: str, now: int) -> dict[int, bytes]:
        """Return the addresses of the guest with this label, by their length. The first owner has it."""
        found: dict[int, bytes] = {}
        owner = None
        for lease in islice(self._by_label.get(label, {}).values(), SAME_LABEL_MAX):
            if lease.holds(now):
                owner = owner or lease.mac
                if lease.mac == owner:  # not another's "web.x" in the other family
                    found.setdefault(len(lease.address), lease.address)
        return found

    def label_at(self, address: bytes, now: int) -> str | None:
        """Return the label of the guest at an address; None if it has none, or another guest has it."""
        lease = self._by_address.get(address)
        if lease is None:
            return None
        label = label_of(lease.hostname or "")
        return label if self.addresses_of(label, now).get(len(address)) == address else None

    def current(self, now: int) -> list[tuple[str, bytes]]:
        """Host name and address of each bound lease that owns its name."""
        return [
            (lease.hostname or "", lease.address)
            for owners in self._owners.values()
            for lease in owners.values()
            if lease.holds(now)
        ]
