"""The lease table of the DHCP server: who has which address, and until when.

Nothing is kept for an address that nobody ever had, so a ``/4`` costs as little as a ``/29``. A lease that has
expired or was released stays in the table, because its client may come back and then gets the same address
(RFC 2131 section 4.3.1); it is given to another client when that one asks for it by name, or when there is no
address left that was never used, the oldest first.

An address of a static lease is its client's, whoever that shows itself as, and nobody else's even when it is free;
so it takes no part in all that chooses. Only while it is declined its client is one like all others.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from dataclasses import replace

from slirpy.config import Config
from slirpy.rules.dhcp import LEASE_TIME_FOREVER, StaticLease
from slirpy.services.lease import FOREVER, Client, Lease, LeaseState
from slirpy.services.lease_expiry import ExpiryHeap
from slirpy.services.lease_index import LeaseIndex
from slirpy.services.lease_shares import LeaseShares
from slirpy.units import SECOND

__all__ = ["Client", "Lease", "LeaseState", "LeaseTable"]

LEASES_MAX = 65_536
"""Bound of the table, whatever the size of the network."""

_SECONDS = {LeaseState.OFFERED: 60, LeaseState.RELEASED: 0, LeaseState.DECLINED: 600}
"""How long the states last whose time is not the client's."""


class LeaseTable:
    """The addresses that were given out. All times are monotonic nanoseconds.

    Attributes:
        changes: how often something changed that is worth keeping: all but offers.
    """

    def __init__(self, config: Config, limit: int = LEASES_MAX, links: Callable[[], int] = lambda: 1) -> None:
        """The pool runs from ``dhcpstart`` to the end of the network, then from its start.

        ``limit`` bounds the table, 1 or more; static leases come on top of it. ``links`` says how many there are.
        """
        self._config = config
        self._limit = limit
        self._low = int.from_bytes(config.network_address, "big") + 1
        self._size = int.from_bytes(config.broadcast_address, "big") - self._low
        self._start = int.from_bytes(config.dhcpstart_address, "big") - self._low
        self._servers = config.server_addresses
        self._static = {lease.address.packed: lease for lease in config.static_leases}
        self._static_of = {lease.client_id or lease.mac: lease for lease in config.static_leases}
        self._free = self._size - sum(map(config.contains, self._servers)) - len(self._static)
        """Addresses that may be leased to anybody."""
        self._cursor = 0
        """How far the pool was searched for addresses that nobody has had."""
        self._by_address: dict[bytes, Lease] = {}
        self._index = LeaseIndex()
        self._pooled = 0
        """Entries of the table that are not static."""
        self._expiry = ExpiryHeap(self._by_address, self._static)
        self._shares = LeaseShares(self._static, links)
        self._bound: OrderedDict[bytes, Lease] = OrderedDict()
        """In the order in which they were bound first, for :meth:`first`."""
        self.changes = 0

    # --------------------------------------------------------------------------------------- questions

    def owns(self, address: bytes) -> bool:
        """Whether it is an address that may be leased: of the network, and none of ours."""
        offset = int.from_bytes(address, "big") - self._low
        return 0 <= offset < self._size and address not in self._servers

    def static(self, mac: bytes, client_id: bytes | None, now: int) -> StaticLease | None:
        """The rule for a client, unless its address is declined, or is held by one that it was cloned from."""
        rule = self._static_of.get(client_id) or self._static_of.get(mac)
        if rule is not None:
            lease = self._by_address.get(rule.address.packed)
            if lease is not None and lease.expires > now:
                client = Client(mac, client_id)
                own = self._index.find(client)
                cloned = own is not None and own is not lease and own.expires > now
                if lease.state is LeaseState.DECLINED or (cloned and lease.is_held_by_another(client, now)):
                    return None
        return rule

    def available(self, address: bytes, client: Client, now: int) -> bool:
        """Whether a client may have a certain address: it is in the pool or fixed, and no other client's."""
        if not self.owns(address) or (client.fixed is not None and address != client.fixed):
            return False
        rule = self._static.get(address)
        if rule is not None and rule is self.static(client.mac, client.client_id, now):
            return True
        lease = self._by_address.get(address)
        if lease is not None and lease is self._index.find(client):
            return True
        return rule is None and (lease is None or lease.expires <= now)

    def find(self, client: Client, now: int) -> Lease | None:
        """The lease that holds an address for a client, if there is one."""
        lease = self._index.find(client)
        return lease if lease is not None and lease.expires > now else None

    def at(self, address: bytes) -> Lease | None:
        """The entry for an address, whatever its state."""
        return self._by_address.get(address)

    def link(self, address: bytes) -> object:
        """The link from which an address was last asked for; None if it is not held, or by none that is known."""
        return self._shares.link(address)

    def may_set_aside(self, link: object, now: int) -> bool:
        """Whether a guest behind ``link`` may keep an address from others just by using it.

        It counts as one of those that the link holds, so that nobody takes the whole pool in this way.
        """
        return self._shares.may_have(link, min(self._free, self._limit), now)

    def first(self, now: int) -> bytes | None:
        """The address that has been bound for the longest time without a gap, or None."""
        while self._bound:
            address, lease = next(iter(self._bound.items()))
            if lease.expires > now:
                return address
            del self._bound[address]
        return None

    def names(self, now: int) -> list[tuple[str, bytes]]:
        """Host name and address of each client that has both now; whose a name is, the index says."""
        return [(lease.hostname or "", lease.address) for lease in self._index.named(now)]

    def current(self, now: int) -> list[Lease]:
        """Copies of the leases that hold an address now."""
        return [replace(lease) for lease in self._by_address.values() if lease.expires > now]

    def __len__(self) -> int:
        """Entries in the table, expired ones too."""
        return len(self._by_address)

    # ----------------------------------------------------------------------------------------- changes

    def choose(
        self, client: Client, wanted: bytes | None, now: int, avoid: Container[bytes] = ()
    ) -> Lease | None:
        """Choose an address for a client as RFC 2131 section 4.3.1 says, to be held by :meth:`hold`.

        Its own first, present or past; then the one it wants; then one that nobody has had; then the oldest expired
        one; none of those to ``avoid``. Returns None if all are in use, or the one that is fixed is, or the client's
        link has its share.
        """
        return self._choose(client, wanted, now, avoid) if self._may_have_one(client, now, avoid) else None

    def hold(self, lease: Lease, client: Client, now: int) -> None:
        """Hold what was chosen for the client for a minute, or for as long as it is bound to it."""
        lease.heard = now
        if lease.state is not LeaseState.BOUND or lease.expires <= now:
            self._become(lease, client, LeaseState.OFFERED, now)

    def offer(self, client: Client, wanted: bytes | None, now: int) -> Lease | None:
        """:meth:`choose` and :meth:`hold` in one."""
        lease = self.choose(client, wanted, now)
        if lease is not None:
            self.hold(lease, client, now)
        return lease

    def set_aside(self, address: bytes, user: Client, now: int) -> None:
        """Give an address to nobody for ten minutes: ``user`` was found there without a lease."""
        lease = self._by_address.get(address) or self._claim(address, user, now)
        if lease is not None:
            self._index.unlink(lease)
            lease.client_id = lease.hostname = None
            self._become(lease, user, LeaseState.DECLINED, now)

    def bind(
        self,
        client: Client,
        address: bytes | None,
        now: int,
        seconds: int | None = None,
        *,
        reserve: bool = False,
    ) -> Lease | None:
        """Give a client an address, which must be :meth:`available` to it; None lets the table choose.

        What the client had before becomes free. It is for ``seconds``, by default the configured ones; what is
        or was reserved is for ever all the same. Returns None if there is no room for it, or its link has its share.
        """
        if not self._may_have_one(client, now):
            return None
        lease = self._choose(client, None, now) if address is None else self._take(client, address, now)
        if lease is not None:
            lease.reserved |= reserve
            self._become(lease, client, LeaseState.BOUND, now, seconds or self._config.lease_time)
        return lease

    def release(self, client: Client, address: bytes, now: int) -> bool:
        """The client gives its address back. False if it does not have it."""
        lease = self._index.find(client)
        if lease is None or lease.address != address or lease.expires <= now:
            return False
        if lease.is_held_by_another(client, now):
            return False
        self._become(lease, client, LeaseState.RELEASED, now)
        return True

    def withdraw(self, client: Client, now: int) -> None:
        """The client took another server's offer: what was offered to it is free again."""
        lease = self._index.find(client)
        if lease is None or lease.is_held_by_another(client, now):
            return
        if lease.state is LeaseState.OFFERED:
            self._become(lease, client, LeaseState.RELEASED, now)

    def decline(self, client: Client, address: bytes, now: int) -> bool:
        """The client found its address in use: set it aside. False if it does not have it."""
        lease = self._index.find(client)
        if lease is None or lease.address != address or lease.expires <= now:
            return False
        self._become(lease, client, LeaseState.DECLINED, now)
        return True

    def exclude(self, address: bytes, now: int) -> bool:
        """Take an address out of the pool for good. False if somebody has it, or is to have it."""
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
        """Copies of all entries but offers, those that are bound first, in the order of :meth:`first`.

        What was reserved ends now: who wants it again will say so, and its MAC address may be another then.
        """
        rest = (lease for lease in self._by_address.values() if lease.address not in self._bound)
        kept = (lease for lease in (*self._bound.values(), *rest) if lease.state is not LeaseState.OFFERED)
        return [
            replace(lease, reserved=False, expires=now) if lease.reserved else replace(lease) for lease in kept
        ]

    def restore(self, leases: Iterable[Lease], now: int) -> int:
        """Take over what :meth:`kept` gave; returns how many could not be: no room, or not of this network."""
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
                self._index.link(lease, now, ruled=lease.address in self._static)
            if lease.state is LeaseState.BOUND and lease.expires > now:
                self._bound[lease.address] = lease
            self._expiry.note(lease)
            self._shares.note(lease, None, now)
        return refused

    # ------------------------------------------------------------------------------------------ inside

    def _may_have_one(self, client: Client, now: int, avoid: Container[bytes] = ()) -> bool:
        """Whether it has an address, or its link may have one more, or the program wants it to."""
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
        if wanted is not None and wanted not in avoid and self.available(wanted, client, now):
            lease = self._claim(wanted, client, now)
            if lease is not None:
                return lease
        if self._pooled < self._limit:
            fresh = self._fresh()
            if fresh is not None:
                return self._claim(fresh, client, now)
        oldest = self._expiry.oldest(now) or self._shares.spare(client.link, now)
        return None if oldest is None or oldest.address in avoid else self._claim(oldest.address, client, now)

    def _take(self, client: Client, address: bytes, now: int) -> Lease | None:
        """The entry for an address that is available to a client; what the client had elsewhere is forgotten."""
        lease = self._index.find(client)
        if lease is not None and lease.address != address:
            if not lease.is_held_by_another(
                client, now
            ):  # else it is that of a machine with the same identifier
                self._forget(lease)
            lease = None
        return lease or self._claim(address, client, now)

    def _fresh(self) -> bytes | None:
        """The next address of the pool that is not in the table."""
        if self._pooled >= self._free:
            return None
        # Of one address more than are taken, one is free.
        taken = len(self._by_address) + len(self._servers) + len(self._static)
        for _ in range(min(taken + 1, self._size)):
            offset = (self._start + self._cursor) % self._size
            self._cursor += 1
            address = (self._low + offset).to_bytes(4, "big")
            if not (address in self._by_address or address in self._servers or address in self._static):
                return address
        return None

    def _claim(self, address: bytes, client: Client, now: int) -> Lease | None:
        """A new entry for a free address, in place of the expired one there, or of another in a full table."""
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

    def _become(self, lease: Lease, client: Client, state: LeaseState, now: int, seconds: int = 0) -> None:
        """The one place where a lease changes its state."""
        address = lease.address
        self._index.unlink(lease)
        if state is not LeaseState.BOUND or lease.expires <= now:
            self._bound.pop(address, None)
        lease.mac = client.mac
        # A client that shows only its MAC address this time does not lose the identifier that it has shown.
        lease.client_id = client.client_id or lease.client_id
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
        if state is not LeaseState.DECLINED:  # or its client would be given it again
            self._index.link(lease, now, ruled=lease.address in self._static)
        if state is LeaseState.BOUND:
            self._bound.setdefault(address, lease)
        self._expiry.note(lease)
        self._shares.note(lease, client.link, now)
        if state is not LeaseState.OFFERED:
            self.changes += 1

    def _add(self, lease: Lease) -> None:
        self._by_address[lease.address] = lease
        self._pooled += lease.address not in self._static

    def _forget(self, lease: Lease) -> None:
        """Remove the entry."""
        self._index.unlink(lease)
        self._shares.drop(lease)
        del self._by_address[lease.address]
        self._pooled -= lease.address not in self._static
        self._bound.pop(lease.address, None)
