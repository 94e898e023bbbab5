"""The lease table of the DHCP server: who has which address, and until when.

Nothing is kept for an address that nobody ever had, so a ``/4`` costs as little as a ``/29``. A lease that has
expired or was released stays in the table, because its client may come back and then gets the same address
(RFC 2131 section 4.3.1); it is given to another client when that one asks for it by name, or when there is no
address left that was never used, the oldest first.

Each state has its own duration, and the clock only goes forward; so a queue for each state, in which whoever
changes goes to the end, is in order of expiry, and the oldest expired lease is found without a search.

Who is who (RFC 2131 section 4.2): a client is known by its client identifier (option 61) if it sends one, else
by its MAC address. An identifier that is the MAC address says no more than none. The same machine may show
itself under several: its firmware with one, the system that it boots with another or with none. It should keep
its address then, because forwards lead there; while two clients on one MAC address (containers) that each send
an identifier must get two. So a MAC address alone is a match if one side has no identifier, or if one side is a
firmware: it is gone once the system asks, and the system is gone when it asks.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass, replace

from slirpy.config import Config

__all__ = ["LEASE_SECONDS", "Client", "Lease", "LeaseState", "LeaseTable"]

LEASE_SECONDS = 86_400
LEASES_MAX = 65_536
"""Bound of the table, whatever the size of the network."""
FOREVER = (1 << 63) - 1
"""``Lease.expires`` of a lease that does not expire."""
_SECOND = 1_000_000_000


class LeaseState(enum.Enum):
    """What an address in the table is."""

    OFFERED = "offered"
    """Held for a client that has not asked for it yet: a minute."""
    BOUND = "bound"
    """Acknowledged: 86400 s."""
    RELEASED = "released"
    """Given back; kept for its client's return only."""
    DECLINED = "declined"
    """A client found it in use by somebody else (RFC 2131 section 4.4.4): nobody gets it for ten minutes."""


_DURATION = {
    LeaseState.OFFERED: 60 * _SECOND,
    LeaseState.BOUND: LEASE_SECONDS * _SECOND,
    LeaseState.RELEASED: 0,
    LeaseState.DECLINED: 600 * _SECOND,
}


@dataclass(slots=True)
class Lease:
    """An address and who has it."""

    address: bytes
    """Four bytes."""
    mac: bytes
    """Six bytes; of a declined address, who declined it."""
    client_id: bytes | None
    """Option 61, unless the client sent none or just its MAC address."""
    hostname: str | None
    """Option 12, as the client sent it: ASCII letters, digits, ``-``, ``_`` and ``.``"""
    expires: int
    """Monotonic nanoseconds."""
    state: LeaseState
    firmware: bool = False
    """It was a boot firmware that asked last (see the theory at the top of the module)."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks."""

    mac: bytes
    client_id: bytes | None = None
    hostname: str | None = None
    firmware: bool = False


class LeaseTable:
    """The addresses that were given out. All times are monotonic nanoseconds."""

    def __init__(self, config: Config, limit: int = LEASES_MAX) -> None:
        """The pool runs from ``dhcpstart`` to the end of the network, then from its start.

        ``limit`` bounds the table, 1 or more.
        """
        self._config = config
        self._limit = limit
        self._low = int.from_bytes(config.network_address, "big") + 1
        self._size = int.from_bytes(config.broadcast_address, "big") - self._low
        self._start = int.from_bytes(config.dhcpstart_address, "big") - self._low
        self._servers = config.server_addresses
        self._free = self._size - sum(map(config.contains, self._servers))
        """Addresses that may be leased at all."""
        self._cursor = 0
        """How far the pool was searched for addresses that nobody has had."""
        self._by_address: dict[bytes, Lease] = {}
        self._by_id: dict[bytes, Lease] = {}
        self._by_mac: dict[bytes, Lease] = {}
        """The lease that a MAC address got last."""
        self._queues: dict[LeaseState, OrderedDict[bytes, Lease]] = {s: OrderedDict() for s in LeaseState}
        self._bound: OrderedDict[bytes, Lease] = OrderedDict()
        """In the order in which they were bound first, for :meth:`first`."""

    # --------------------------------------------------------------------------------------- questions

    def owns(self, address: bytes) -> bool:
        """Whether it is an address that may be leased: of the network, and none of ours."""
        offset = int.from_bytes(address, "big") - self._low
        return 0 <= offset < self._size and address not in self._servers

    def find(self, client: Client) -> Lease | None:
        """The lease that a client has or had, whatever its state."""
        if client.client_id is not None:
            lease = self._by_id.get(client.client_id)
            if lease is not None:
                return lease
        lease = self._by_mac.get(client.mac)
        if lease is None or None in (client.client_id, lease.client_id) or client.firmware or lease.firmware:
            return lease
        return None

    def available(self, address: bytes, client: Client, now: int) -> bool:
        """Whether a client may have a certain address: it is in the pool, and no other client's."""
        if not self.owns(address):
            return False
        lease = self._by_address.get(address)
        return lease is None or lease.expires <= now or lease is self.find(client)

    def first(self, now: int) -> bytes | None:
        """The address that has been bound for the longest time without a gap, or None."""
        while self._bound:
            address, lease = next(iter(self._bound.items()))
            if lease.expires > now:
                return address
            del self._bound[address]
        return None

    def current(self, now: int) -> list[Lease]:
        """Copies of the leases that hold an address now."""
        return [replace(lease) for lease in self._by_address.values() if lease.expires > now]

    def __len__(self) -> int:
        """Entries in the table, expired ones too."""
        return len(self._by_address)

    # ----------------------------------------------------------------------------------------- changes

    def offer(self, client: Client, wanted: bytes | None, now: int) -> Lease | None:
        """Choose an address for a client as RFC 2131 section 4.3.1 says, and hold it for a minute.

        Its own first, present or past; then the one it wants; then one that nobody has had; then the oldest
        expired one. Returns None if all are in use.
        """
        lease = self._choose(client, wanted, now)
        if lease is not None and (lease.state is not LeaseState.BOUND or lease.expires <= now):
            self._become(lease, client, LeaseState.OFFERED, now)
        return lease

    def bind(self, client: Client, address: bytes | None, now: int, *, forever: bool = False) -> Lease | None:
        """Give a client an address, which must be :meth:`available` to it; None lets the table choose.

        What the client had before becomes free. Returns None if the table is full of leases in use.
        """
        lease = self.find(client)
        if address is None:
            lease = self._choose(client, None, now)
        elif lease is None or lease.address != address:
            if lease is not None:
                self._forget(lease)
            lease = self._claim(address, client, now)
        if lease is None:
            return None
        keeps = lease.state is LeaseState.BOUND and lease.expires == FOREVER
        self._become(lease, client, LeaseState.BOUND, now)
        if forever or keeps:
            lease.expires = FOREVER
            del self._queues[LeaseState.BOUND][lease.address]  # which stays in order of expiry
        return lease

    def release(self, client: Client, address: bytes, now: int) -> bool:
        """The client gives its address back. False if it does not have it."""
        lease = self.find(client)
        if lease is None or lease.address != address or lease.expires <= now:
            return False
        self._become(lease, client, LeaseState.RELEASED, now)
        return True

    def withdraw(self, client: Client, now: int) -> None:
        """The client took another server's offer: what was offered to it is free again."""
        lease = self.find(client)
        if lease is not None and lease.state is LeaseState.OFFERED:
            self._become(lease, client, LeaseState.RELEASED, now)

    def decline(self, client: Client, address: bytes, now: int) -> bool:
        """The client found its address in use: set it aside. False if it does not have it."""
        lease = self.find(client)
        if lease is None or lease.address != address or lease.expires <= now:
            return False
        self._become(lease, client, LeaseState.DECLINED, now)
        self._unlink(lease)  # or the client would be given it again
        return True

    # ------------------------------------------------------------------------------------------ inside

    def _choose(self, client: Client, wanted: bytes | None, now: int) -> Lease | None:
        lease = self.find(client)
        if lease is not None:
            return lease
        if wanted is not None and self.available(wanted, client, now):
            lease = self._claim(wanted, client, now)
            if lease is not None:
                return lease
        if len(self._by_address) < self._limit:
            fresh = self._fresh()
            if fresh is not None:
                return self._claim(fresh, client, now)
        oldest = self._oldest_expired(now)
        return None if oldest is None else self._claim(oldest.address, client, now)

    def _fresh(self) -> bytes | None:
        """The next address of the pool that is not in the table."""
        if len(self._by_address) >= self._free:
            return None
        while True:
            offset = (self._start + self._cursor) % self._size
            self._cursor += 1
            address = (self._low + offset).to_bytes(4, "big")
            if address not in self._by_address and address not in self._servers:
                return address

    def _oldest_expired(self, now: int) -> Lease | None:
        heads = (next(iter(queue.values())) for queue in self._queues.values() if queue)
        oldest = min(heads, key=lambda lease: lease.expires, default=None)
        return oldest if oldest is not None and oldest.expires <= now else None

    def _claim(self, address: bytes, client: Client, now: int) -> Lease | None:
        """A new entry for a free address, in place of the expired one there, or of another in a full table."""
        old = self._by_address.get(address)
        if old is None and len(self._by_address) >= self._limit:
            old = self._oldest_expired(now)
            if old is None:
                return None
        if old is not None:
            self._forget(old)
        lease = Lease(address, client.mac, None, None, now, LeaseState.OFFERED)
        self._by_address[address] = lease
        return lease

    def _become(self, lease: Lease, client: Client, state: LeaseState, now: int) -> None:
        """The one place where a lease changes its state: it goes to the end of the state's queue."""
        address = lease.address
        self._queues[lease.state].pop(address, None)
        self._unlink(lease)
        if state is not LeaseState.BOUND or lease.expires <= now:
            self._bound.pop(address, None)
        lease.mac = client.mac
        # A client that shows only its MAC address this time does not lose the identifier that it has shown.
        lease.client_id = client.client_id or lease.client_id
        lease.hostname = client.hostname or lease.hostname
        lease.firmware = client.firmware
        lease.state = state
        lease.expires = now + _DURATION[state]
        self._queues[state][address] = lease
        self._by_mac[lease.mac] = lease
        if lease.client_id is not None:
            self._by_id[lease.client_id] = lease
        if state is LeaseState.BOUND:
            self._bound.setdefault(address, lease)

    def _unlink(self, lease: Lease) -> None:
        """The lease is nobody's."""
        if self._by_mac.get(lease.mac) is lease:
            del self._by_mac[lease.mac]
        if lease.client_id is not None and self._by_id.get(lease.client_id) is lease:
            del self._by_id[lease.client_id]

    def _forget(self, lease: Lease) -> None:
        """Remove the entry."""
        self._unlink(lease)
        del self._by_address[lease.address]
        self._queues[lease.state].pop(lease.address, None)
        self._bound.pop(lease.address, None)
