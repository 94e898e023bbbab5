"""The lease table: which client has which address, and until when.

The table has no entries for addresses that were never used, so a ``/4`` costs as little as a ``/29``. A lease that
has expired or was released stays in the table: if its client returns, it gets the same address (RFC 2131 section
4.3.1). Another client gets the address if it requests it explicitly, or if no unused address is left; then the
lease that expired first is reused first.

The address of a static lease belongs to its client, whatever identity that uses, and is never leased to anybody
else. It is not part of the pool. While it is declined, its client gets an address from the pool like any other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from typing import TypeAlias

from slirpy.config.dhcp import LEASE_TIME_FOREVER, StaticLease
from slirpy.services.dhcp.index import ExpiryHeap, LeaseIndex
from slirpy.services.dhcp.lease import FOREVER, Client, Lease, LeaseState
from slirpy.services.dhcp.names import HostNames
from slirpy.services.dhcp.pool import AddressPool
from slirpy.services.dhcp.shares import LeaseShares
from slirpy.units import SECOND

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import replace
else:
    from dataclasses import replace

__all__ = ["LeaseHook", "LeaseTable"]

LEASES_MAX = 65_536
"""Bound of the table, whatever the size of the network."""

LeaseHook: TypeAlias = Callable[[bytes, bytes, str, str], object]
"""Called with the MAC address of the client, the address, the host name or an empty text, and what happens:
``"renewed"``, or else the state of :class:`LeaseState` that begins."""

_SECONDS = {LeaseState.OFFERED: 60, LeaseState.RELEASED: 0, LeaseState.DECLINED: 600}
"""Duration of the states that do not last for a lease time."""


class LeaseTable:
    """The leases of one IP family. All times are monotonic nanoseconds.

    Attributes:
        pool: the addresses that can be leased.
        changes: counts the changes worth saving: all but offers.
    """

    def __init__(
        self,
        pool: AddressPool,
        limit: int = LEASES_MAX,
        links: Callable[[], int] = lambda: 1,
        names: HostNames | None = None,
        changed: LeaseHook | None = None,
    ) -> None:
        """Create an empty table.

        Args:
            limit: bound of the table, 1 or more, not counting static leases.
            links: returns the number of links.
            names: the host names, if another table shares them.
            changed: called with each change of a lease.
        """
        self.pool = pool
        self._changed = changed
        self._limit = limit
        self._names = HostNames() if names is None else names
        self._servers = pool.servers
        self._static = {lease.address.packed: lease for lease in pool.static}
        self._static_of: dict[bytes | None, StaticLease] = {lease.client: lease for lease in pool.static}
        self._free = pool.size - sum(address in pool for address in self._servers) - len(self._static)
        """Size of the pool."""
        self._cursor = 0
        """Position up to which the pool was searched for addresses that were never used."""
        self._by_address: dict[bytes, Lease] = {}
        self._index = LeaseIndex()
        self._pooled = 0
        """Entries of the table that belong to the pool."""
        self._expiry = ExpiryHeap(self._by_address, self._static)
        self._shares = LeaseShares(self._static, links)
        self._bound: OrderedDict[bytes, Lease] = OrderedDict()
        """Bound leases in the order in which they were first bound, for :meth:`first`."""
        self._lapses = ExpiryHeap(self._bound, ())
        self.changes = 0

    # --------------------------------------------------------------------------------------- questions

    def owns(self, address: bytes) -> bool:
        """Report whether an address can be leased: it belongs to the network, and to none of the virtual hosts."""
        return address in self.pool and address not in self._servers

    def static(self, client: Client, now: int) -> StaticLease | None:
        """The static lease of a client.

        None also if its address is declined, or held by another machine that was cloned from the same image.
        """
        rule = self._static_of.get(client.client_id) or self._static_of.get(client.mac)
        if rule is not None:
            lease = self._by_address.get(rule.address.packed)
            if lease is not None and lease.expires > now:
                own = self._index.find(replace(client, firmware=False))
                cloned = own is not None and own is not lease and own.expires > now
                if lease.state is LeaseState.DECLINED or (cloned and lease.is_held_by_another(client, now)):
                    return None
        return rule

    def available(self, address: bytes, client: Client, now: int) -> bool:
        """Report whether a client may have an address: it can be leased, and does not belong to another client."""
        if not self.owns(address) or (client.fixed is not None and address != client.fixed):
            return False
        rule = self._static.get(address)
        if rule is not None and rule is self.static(client, now):
            return True
        lease = self._by_address.get(address)
        if lease is not None and lease is self._index.find(client):
            return True
        return rule is None and (lease is None or lease.expires <= now)

    def find(self, client: Client, now: int) -> Lease | None:
        """The client's lease; None if it has none, or an expired one."""
        lease = self._index.find(client)
        return lease if lease is not None and lease.expires > now else None

    def at(self, address: bytes) -> Lease | None:
        """The entry of an address, whatever its state."""
        return self._by_address.get(address)

    def link(self, address: bytes) -> object:
        """The link from which an address was last requested; None if it is not held, or the link is not known."""
        return self._shares.link(address)

    def tenant(self, address: bytes, now: int, *, static: bool) -> tuple[bytes, object] | None:
        """Return the MAC address and the link, None if unknown, of the client to which an address is bound; with
        ``static``, also of one to which the configuration assigns it.
        """
        lease = self._by_address.get(address)
        if lease is not None and lease.holds(now):
            return lease.mac, self._shares.link(address)
        rule = self._static.get(address) if static else None
        return None if rule is None or rule.mac is None else (rule.client, None)

    def may_set_aside(self, link: object, now: int) -> bool:
        """Report whether a guest behind ``link`` may withhold an address from the pool by using it without a lease.

        Such an address counts as held by the link, so that no guest can take the whole pool in this way.
        """
        return self._shares.may_have(link, min(self._free, self._limit), now)

    def first(self, now: int) -> bytes | None:
        """The address that has been bound for the longest time without interruption, or None."""
        while self._bound:
            address, lease = next(iter(self._bound.items()))
            if lease.expires > now:
                return address
            del self._bound[address]
        return None

    def next_lapse(self) -> int | None:
        """The time of the next call of :meth:`report_lapsed`, in nanoseconds; None: no bound lease expires."""
        return self._lapses.first()

    def report_lapsed(self, now: int) -> None:
        """Report each bound lease that has expired, once."""
        while (lease := self._lapses.oldest(now)) is not None:
            del self._bound[lease.address]
            if self._changed is not None:
                self._changed(lease.mac, lease.address, lease.hostname or "", "expired")

    def current(self, now: int) -> list[Lease]:
        """Copies of the leases that hold an address now."""
        return [replace(lease) for lease in self._by_address.values() if lease.expires > now]

    def __len__(self) -> int:
        """The number of entries, including expired ones."""
        return len(self._by_address)

    # ----------------------------------------------------------------------------------------- changes

    def choose(
        self, client: Client, wanted: bytes | None, now: int, avoid: Container[bytes] = ()
    ) -> Lease | None:
        """Choose an address for a client by RFC 2131 section 4.3.1; pass it to :meth:`hold` next.

        The order is: the address that the client has or had; the one it requests; one that was never used; the one
        whose lease expired first. Addresses in ``avoid`` are skipped. Returns None if no address is left, if the
        client's fixed address is in use, or if its link has used up its share.
        """
        return self._choose(client, wanted, now, avoid) if self._may_have_one(client, now, avoid) else None

    def hold(self, lease: Lease, client: Client, now: int) -> None:
        """Hold the chosen lease for the client: for a minute, or for as long as it is already bound to it."""
        lease.heard = now
        if lease.state is not LeaseState.BOUND or lease.expires <= now:
            self._set_state(lease, client, LeaseState.OFFERED, now)

    def set_aside(self, address: bytes, user: Client, now: int) -> None:
        """Withhold an address for ten minutes, because ``user`` was found there without a lease."""
        lease = self._by_address.get(address) or self._claim(address, user, now)
        if lease is not None:
            self._unlink(lease)
            lease.client_id = lease.hostname = None
            self._set_state(lease, user, LeaseState.DECLINED, now)

    def bind(
        self,
        client: Client,
        address: bytes,
        now: int,
        seconds: int | None = None,
        *,
        reserve: bool = False,
    ) -> Lease | None:
        """Bind an address, which must be :meth:`available`, to a client.

        Any other address of the client becomes free. The lease time is ``seconds``, by default the configured one; a
        lease that is or was reserved does not expire. Returns None if the table is full, or if the client's link has
        used up its share.
        """
        if not self._may_have_one(client, now):
            return None
        lease = self._take(client, address, now)
        if lease is not None:
            lease.reserved |= reserve
            self._set_state(lease, client, LeaseState.BOUND, now, seconds or self.pool.lease_time)
        return lease

    def release(self, client: Client, address: bytes, now: int) -> bool:
        """Release a client's address; False if the client does not have it."""
        lease = self._index.find(client)
        if lease is None or lease.address != address or lease.expires <= now:
            return False
        if lease.is_held_by_another(client, now) or self._is_elsewhere(lease, client):
            return False
        self._set_state(lease, client, LeaseState.RELEASED, now)
        return True

    def withdraw(self, client: Client, now: int) -> None:
        """Free the address offered to a client, which has accepted another server's offer."""
        lease = self._index.find(client)
        if lease is None or lease.is_held_by_another(client, now):
            return
        if lease.state is LeaseState.OFFERED:
            self._set_state(lease, client, LeaseState.RELEASED, now)

    def decline(self, client: Client, address: bytes, now: int) -> bool:
        """Set aside the address that a client found in use; False if the client does not have it."""
        lease = self._index.find(client)
        if (
            lease is None
            or lease.address != address
            or lease.expires <= now
            or self._is_elsewhere(lease, client)
        ):
            return False
        self._set_state(lease, client, LeaseState.DECLINED, now)
        return True

    def _is_elsewhere(self, lease: Lease, client: Client) -> bool:
        """Report whether a lease was requested behind another link: another guest wants to end it."""
        link = self._shares.link(lease.address)
        return None not in (link, client.link) and link is not client.link

    def exclude(self, address: bytes, now: int) -> bool:
        """Remove an address from the pool for good; False if it is held, or belongs to a static lease."""
        if self.owns(address):
            lease = self._by_address.get(address)
            if address in self._static or (lease is not None and lease.expires > now):
                return False
            if lease is not None:
                self._forget(lease)
            self._servers |= {address}
            self._free -= 1
        return True

    # -------------------------------------------------------------------------------------- keep, restore

    def kept(self, now: int) -> list[Lease]:
        """Copies of all entries but offers, for :meth:`restore`: bound leases first, in the order of :meth:`first`.

        Reserved leases are saved as expired: the program reserves them anew when it needs them, perhaps for another
        MAC address.
        """
        rest = (lease for lease in self._by_address.values() if lease.address not in self._bound)
        kept = (lease for lease in (*self._bound.values(), *rest) if lease.state is not LeaseState.OFFERED)
        return [
            replace(lease, reserved=False, expires=now) if lease.reserved else replace(lease) for lease in kept
        ]

    def restore(self, leases: Iterable[Lease], now: int) -> int:
        """Add the leases that :meth:`kept` returned in an earlier run.

        Returns the number of leases that were refused: the table is full, or they do not belong to this network.
        """
        refused = 0
        for lease in leases:
            rule = self._static.get(lease.address)
            stranger = rule is not None and rule not in map(self._static_of.get, (lease.client_id, lease.mac))
            full = rule is None and self._pooled >= self._limit
            if full or stranger or lease.address in self._by_address or not self.owns(lease.address):
                refused += 1
                continue
            lease = replace(lease)
            self._add(lease)
            if lease.state is not LeaseState.DECLINED:
                self._link(lease, now)
            if lease.holds(now):
                self._bound[lease.address] = lease
                self._lapses.update(lease)
            self._expiry.update(lease)
            self._shares.update(lease, None, now)
        return refused

    # ------------------------------------------------------------------------------------------ inside

    def _may_have_one(self, client: Client, now: int, avoid: Container[bytes] = ()) -> bool:
        """Report whether a client has an address, is to get a fixed one, or its link may hold one more."""
        lease = self._index.find(client)
        has = lease is not None and lease.expires > now and lease.address not in avoid
        if client.fixed is not None or has:
            return True
        return self._shares.may_have(client.link, min(self._free, self._limit), now)

    def _choose(
        self, client: Client, wanted: bytes | None, now: int, avoid: Container[bytes] = ()
    ) -> Lease | None:
        if client.fixed is not None:
            if client.fixed in avoid or not self.available(client.fixed, client, now):
                return None
            return self._take(client, client.fixed, now)
        lease = self._index.find(client)
        if lease is not None and lease.address not in avoid:
            return lease
        if wanted is not None and not (wanted in avoid or self.pool.reserves(wanted)):
            lease = self._claim(wanted, client, now) if self.available(wanted, client, now) else None
            if lease is not None:
                return lease
        if self._pooled < self._limit:
            fresh = self._fresh()
            if fresh is not None:
                return self._claim(fresh, client, now)
        oldest = self._expiry.oldest(now) or self._shares.to_evict(client.link, now)
        return None if oldest is None or oldest.address in avoid else self._claim(oldest.address, client, now)

    def _take(self, client: Client, address: bytes, now: int) -> Lease | None:
        """The entry of an address that is available to a client, which loses any other address."""
        lease = self._index.find(client)
        if lease is not None and lease.address != address:
            # A machine with the same identifier keeps the lease that it holds.
            if not lease.is_held_by_another(client, now):
                self._forget(lease)
            lease = None
        return lease or self._claim(address, client, now)

    def _fresh(self) -> bytes | None:
        """The next address of the pool that has no entry in the table."""
        if self._pooled >= self._free:
            return None
        # Among one more address than are taken, at least one is free.
        entries = len(self._by_address) + len(self._servers) + len(self._static)
        pool = self.pool
        start = pool.offset(pool.start)
        for _ in range(min(entries + 1, pool.size)):
            address = pool.address((start + self._cursor) % pool.size)
            self._cursor += 1
            taken = address in self._by_address or address in self._servers or address in self._static
            if not (taken or pool.reserves(address)):
                return address
        return None

    def _claim(self, address: bytes, client: Client, now: int) -> Lease | None:
        """Add an entry for a free address; it replaces an expired entry there or, in a full table, the oldest one."""
        old = self._by_address.get(address)
        if old is None and self._pooled >= self._limit and address not in self._static:
            old = self._expiry.oldest(now)
            if old is None:
                return None
        if old is not None:
            self._forget(old)
        lease = Lease(address, client.mac, None, None, now, LeaseState.OFFERED)
        self._add(lease)
        return lease

    def _set_state(self, lease: Lease, client: Client, state: LeaseState, now: int, seconds: int = 0) -> None:
        """Change the state of a lease; nothing else does."""
        address = lease.address
        renewed = state is LeaseState.BOUND and lease.holds(now) and lease.mac == client.mac
        self._unlink(lease)
        if state is not LeaseState.BOUND or lease.expires <= now:
            self._bound.pop(address, None)
        lease.mac = client.mac
        # A client that omits its identifier this time keeps the one that it sent before.
        if client.client_id is not None:
            lease.client_id, lease.iaid = client.client_id, client.iaid
        lease.hostname = client.hostname or lease.hostname
        lease.firmware = client.firmware
        lease.heard = now
        lease.state = state
        if state is LeaseState.BOUND:
            lease.seconds = seconds
        else:
            lease.reserved = False
            seconds = _SECONDS[state]
        forever = lease.reserved or seconds == LEASE_TIME_FOREVER
        lease.expires = FOREVER if forever else now + seconds * SECOND
        if state is not LeaseState.DECLINED:  # else its client would get it again
            self._link(lease, now)
        if state is LeaseState.BOUND:
            self._bound.setdefault(address, lease)
            self._lapses.update(lease)
        self._expiry.update(lease)
        self._shares.update(lease, client.link, now)
        if state is not LeaseState.OFFERED:
            self.changes += 1
        if self._changed is not None:
            what = "renewed" if renewed else state.value
            self._changed(lease.mac, address, lease.hostname or "", what)

    def _link(self, lease: Lease, now: int) -> None:
        """Enter a lease under its client and its host name."""
        self._index.link(lease)
        self._names.link(lease, now, static=lease.address in self._static)

    def _unlink(self, lease: Lease) -> None:
        self._index.unlink(lease)
        self._names.unlink(lease)

    def _add(self, lease: Lease) -> None:
        self._by_address[lease.address] = lease
        self._pooled += lease.address not in self._static

    def _forget(self, lease: Lease) -> None:
        """Remove an entry."""
        self._unlink(lease)
        self._shares.drop(lease)
        del self._by_address[lease.address]
        self._pooled -= lease.address not in self._static
        self._bound.pop(lease.address, None)
