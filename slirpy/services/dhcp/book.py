"""The leases of a network, of both IP families: what their servers share, and what others ask about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from slirpy.addresses import AnyAddress, address_bytes
from slirpy.config import Config
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import ServiceNetwork, Timer
from slirpy.services.dhcp.lease import Client, Lease
from slirpy.services.dhcp.leases import LeaseHook, LeaseTable
from slirpy.services.dhcp.names import HostNames
from slirpy.services.dhcp.occupancy import AddressSearch, Occupancy
from slirpy.services.dhcp.pool import AddressPool, ipv4_pool, ipv6_pool
from slirpy.services.dhcp.store import LeaseKeeper, LeaseStore

if TYPE_CHECKING:
    from slirpy.core.neighbor import Neighbors

__all__ = ["FamilyLeases", "LeaseBook"]


class FamilyLeases:
    """The leases of one IP family.

    Attributes:
        table: which client has which address.
        occupancy: judges whether an address is in use.
        search: finds one that is not.
    """

    def __init__(
        self,
        pool: AddressPool,
        network: ServiceNetwork,
        links: Callable[[], int],
        neighbors: Neighbors | None,
        names: HostNames,
        changed: LeaseHook | None,
    ) -> None:
        self._network = network
        self._lapse: tuple[int, Timer] | None = None
        self.table = LeaseTable(pool, links=links, names=names, changed=changed)
        self.occupancy = Occupancy(network, self.table, links, neighbors)
        self.search = AddressSearch(network, self.table, self.occupancy)

    def first_lease(self) -> bytes | None:
        """The address that has been leased for the longest time; None if no address is leased."""
        return self.table.first(self._network.now)

    def watch(self) -> None:
        """Report when the next bound lease expires, and watch on."""
        at = self.table.next_lapse()
        if self._lapse is not None:
            if at == self._lapse[0]:
                return
            self._lapse[1].cancel()
        self._lapse = None if at is None else (at, self._network.call_at(at, self._lapsed))

    def _lapsed(self) -> None:
        self._lapse = None
        self.table.report_lapsed(self._network.now)
        self.watch()

    def reserve(self, mac: bytes) -> bytes:
        """Reserve an address for the guest with this MAC address, or the one that it has.

        The lease is bound and does not expire, for an interface that does not run DHCP itself.

        Raises:
            StateError: all addresses are leased.
        """
        now, client = self._network.now, Client(mac)
        rule = self.table.static(client, now)
        if rule is not None:
            client = Client(mac, hostname=rule.hostname, fixed=rule.address.packed)
        lease = self.search.find_now(client) if rule is None else self.table.choose(client, None, now)
        if lease is None or self.table.bind(client, lease.address, now, reserve=True) is None:
            network = self.table.pool.network
            raise StateError(f"no free address in {network} for {mac.hex(':')}; use a larger network")
        return lease.address


class LeaseBook:
    """All leases of a network, which may outlive the program.

    Attributes:
        v4, v6: those of each family.
    """

    def __init__(
        self,
        config: Config,
        network: ServiceNetwork,
        store: LeaseStore | None = None,
        links: Callable[[], int] = lambda: 1,
        neighbors: Neighbors | None = None,
        changed: LeaseHook | None = None,
    ) -> None:
        """Create the tables, for the addresses from ``config.dhcpstart`` and ``dhcpstart6`` on.

        Args:
            store: keeps leases across restarts; those that it contains are loaded.
            links: returns the number of guests' links, which share the pools.
            neighbors: the guests that were heard, which can be probed; with None, only leased addresses are in use.
            changed: called with each change of a lease.

        Raises:
            ConfigError: the store cannot be used.
        """
        self._network = network
        self._static_counts = config.source_guard
        self._names = HostNames()
        self.v4 = FamilyLeases(ipv4_pool(config), network, links, neighbors, self._names, changed)
        self.v6 = FamilyLeases(ipv6_pool(config), network, links, neighbors, self._names, changed)
        self._families = (self.v4, self.v6)
        tables = [family.table for family in self._families]
        self._keeper = None if store is None else LeaseKeeper(tables, network, store)

    def leases(self) -> list[Lease]:
        """Copies of the leases that hold an address now: offered, bound or declined."""
        now = self._network.now
        return [lease for family in self._families for lease in family.table.current(now)]

    def watch(self) -> None:
        """Report leases that expire, too, from now on: until then, nothing waits for that."""
        for family in self._families:
            family.watch()

    def hostname_of(self, address: bytes) -> str:
        """Host name in the lease of an address; empty if there is none."""
        lease = self._families[len(address) == 16].table.at(address)
        return "" if lease is None or not lease.holds(self._network.now) else lease.hostname or ""

    def names(self) -> list[tuple[str, bytes]]:
        """Host name and address of each lease that owns a name.

        A name is in the list once for each family, and belongs to one guest regardless of case.
        """
        return self._names.current(self._network.now)

    def addresses_of(self, label: str) -> dict[int, bytes]:
        """Return the addresses of the guest with this host name, by their length.

        The name is in lower case, up to its first dot.
        """
        return self._names.addresses_of(label, self._network.now)

    def guest_address(self, guest: AnyAddress) -> bytes:
        """Return the address of a guest that is named by it, or by the host name in its lease.

        Raises:
            ConfigError: it is neither.
        """
        if isinstance(guest, str):
            named = self.addresses_of(guest.partition(".")[0].lower())
            if named:
                return named[min(named)]
        try:
            return address_bytes("guest", guest)
        except ConfigError:
            if not isinstance(guest, str):
                raise
            names = sorted({lease.hostname for lease in self.leases() if lease.hostname})
            known = (
                f"has this name; known are {', '.join(names)}" if names else "has sent a name; give an address"
            )
            raise ConfigError(f'guest "{guest}" is not an address, and no guest {known}') from None

    def label_at(self, address: bytes) -> str | None:
        """Return the host name of the guest with this address, likewise; None if it has none."""
        return self._names.label_at(address, self._network.now)

    def tenant(self, address: bytes) -> tuple[bytes, object] | None:
        """Return the MAC address that has leased an address, and the link behind which it did so, or None if that is
        not known.

        None: it is not leased. With ``source_guard``, a static lease counts, too, for guests that are
        configured by hand.
        """
        table = (self.v4 if len(address) == 4 else self.v6).table
        return table.tenant(address, self._network.now, static=self._static_counts)

    def exclude(self, address: bytes) -> bool:
        """Never lease this address from now on.

        Returns False if it is leased to a guest, or belongs to a static lease; it then stays in the pool.
        """
        return all(family.table.exclude(address, self._network.now) for family in self._families)

    def save_changes(self) -> None:
        """Save the leases soon if they have changed."""
        if self._keeper is not None:
            self._keeper.check()

    def close(self) -> None:
        """Save leases that have not been saved yet."""
        if self._keeper is not None:
            self._keeper.close()
