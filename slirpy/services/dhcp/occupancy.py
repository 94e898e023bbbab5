"""Detection of addresses in use, and the search for one that is not (RFC 2131 sections 2.2, 3.1).

Two machines that run at the same time must not have the same address. A guest may use an address that it never
leased, and machines cloned from one image send the same client identifier, which makes them look like one client.
On the other hand, a machine with a new network card is still the same client, and so is one that moves to another
link.

slirpy carries the guests' frames, so it usually knows without asking. It considers, in this order:

- The neighbour table. An address heard from another MAC address within :data:`FRESH` is in use. If it was heard
  earlier, slirpy probes it. It also probes if that MAC address holds the lease and is behind the client's link: a
  machine may have put its card into a bridge, which has another MAC address.
- The lease. An address requested from another MAC address within :data:`FRESH` is in use if that was behind
  another link that is still attached, or if the address is only offered yet. Otherwise slirpy probes it.
- An address without any sign of use may have a user that has been silent. With several links, slirpy probes it. A
  guest that is alone on its network never waits.

A probe is an ARP request or a neighbour solicitation; :data:`DOUBT` or :data:`QUIET` is the time to answer. Echo
requests, which RFC 2131 suggests, would find no machine that ARP does not find, and would miss those that ignore
ping. ISC dhcpd waits for one second and dnsmasq for three; guests are one hop away, so a fraction of a second is
enough.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from slirpy.interfaces import ServiceNetwork
from slirpy.records import NamedTuple
from slirpy.services.dhcp.lease import Client, Lease, LeaseState
from slirpy.services.dhcp.leases import LeaseTable
from slirpy.units import MS, SECOND

if not TYPE_CHECKING:
    from slirpy.records import replace
else:
    from dataclasses import replace

if TYPE_CHECKING:
    from slirpy.core.neighbor import Neighbors
    from slirpy.core.probes import Occupant

__all__ = ["AddressSearch", "Occupancy", "Verdict"]

FRESH = 3 * SECOND
"""Time for which a frame from an address proves that it is in use."""
DOUBT = 200 * MS
"""Time that a probe waits for a known user."""
QUIET = 100 * MS
"""Time that a probe waits for a user that was never heard."""
SILENT = 60 * SECOND
"""Time for which an address counts as unused after an unanswered probe, or after its user released it."""
REMEMBERED = 256
"""Maximum number of addresses for which that is remembered."""
SEARCH_MAX = 256
"""Maximum number of addresses to consider for one message."""

Then: TypeAlias = "Callable[[Verdict], None]"
Found: TypeAlias = Callable[[Lease | None], None]


class Verdict(NamedTuple):
    """The decision about an address."""

    taken: bool
    user: Occupant | None = None
    """The machine that uses it without a lease; None if there is none, or if it holds the lease."""


class _Evidence(Enum):
    """The evidence available without a probe."""

    NONE = auto()
    QUIET = auto()
    DOUBT = auto()
    TAKEN = auto()


_FREE = Verdict(False)


class Occupancy:
    """Judges whether addresses are in use on one network."""

    def __init__(
        self,
        network: ServiceNetwork,
        table: LeaseTable,
        links: Callable[[], int],
        neighbors: Neighbors | None,
    ) -> None:
        """Set up; without ``neighbors``, only leased addresses are in use."""
        self._links = links
        self._network = network
        self._neighbors = neighbors
        self._table = table
        self._silent: dict[bytes, tuple[bytes | None, int]] = {}
        """Addresses found unused: the MAC address that the probe ignored, or None; and when that was."""

    def seen(self, address: bytes, client: Client) -> Verdict:
        """Judge an address by what is known, without a probe."""
        if self._neighbors is None:
            return _FREE
        evidence, user = self._evidence(self._neighbors, address, client, new=False)
        return Verdict(evidence is _Evidence.TAKEN, user)

    def released(self, address: bytes) -> None:
        """Note that the user of an address has released it."""
        self._note_silence(address, None)

    def _note_silence(self, address: bytes, but: bytes | None) -> None:
        self._silent.pop(address, None)
        if len(self._silent) >= REMEMBERED:
            del self._silent[next(iter(self._silent))]
        self._silent[address] = but, self._network.now

    def judge(self, address: bytes, client: Client, then: Then, *, new: bool) -> None:
        """Call ``then`` with the verdict on an address for a client, at once or after a probe.

        Args:
            new: whether the client neither had the address before nor requests it.
        """
        if self._neighbors is None:
            then(_FREE)
            return
        evidence, user = self._evidence(self._neighbors, address, client, new=new)
        if evidence in (_Evidence.NONE, _Evidence.TAKEN):
            then(Verdict(evidence is _Evidence.TAKEN, user))
            return
        self._network.stats.dhcp_probes += 1
        time = DOUBT if evidence is _Evidence.DOUBT else QUIET
        self._neighbors.probe(address, time, client.macs, partial(self._probed, address, client, then))

    def _probed(self, address: bytes, client: Client, then: Then, user: Occupant | None) -> None:
        now = self._network.now
        lease = self._table.at(address)
        if user is None:
            self._note_silence(address, client.mac)
            then(_FREE)
        elif lease is not None and lease.mac == user.mac and lease.is_held_by_another(client, now):
            then(Verdict(True))
        elif self._table.may_set_aside(user.port, now):
            then(Verdict(True, user))
        else:
            then(_FREE)

    def _evidence(
        self, neighbors: Neighbors, address: bytes, client: Client, *, new: bool
    ) -> tuple[_Evidence, Occupant | None]:
        now = self._network.now
        mac, since = self._silent.get(address, (b"", 0))
        silent_since = since if mac in (None, client.mac) and now - since < SILENT else None
        lease = self._table.at(address)
        user = neighbors.occupant(address)
        if (
            user is not None
            and user.mac not in client.macs
            and (silent_since is None or user.heard > silent_since)
        ):
            holds = lease is not None and lease.mac == user.mac and lease.is_held_by_another(client, now)
            if holds or self._table.may_set_aside(user.port, now):
                certain = now - user.heard < FRESH and not (holds and user.port is client.link)
                return _Evidence.TAKEN if certain else _Evidence.DOUBT, None if holds else user
        if silent_since is not None:
            return _Evidence.NONE, None
        if lease is not None and lease.is_held_by_another(client, now):
            requested = self._just_requested(neighbors, lease, client)
            return _Evidence.TAKEN if requested else _Evidence.DOUBT, None
        return _Evidence.QUIET if new and self._links() > 1 else _Evidence.NONE, None

    def _just_requested(self, neighbors: Neighbors, lease: Lease, client: Client) -> bool:
        """Report whether the holder of a lease requested it a moment ago, and so may not have used the address
        yet.
        """
        if lease.heard is None or self._network.now - lease.heard >= FRESH:
            return False
        link = self._table.link(lease.address)
        elsewhere = link is not None and link is not client.link and neighbors.attached(link)
        return elsewhere or lease.state is LeaseState.OFFERED


class _Search:
    """The search for an address for one client."""

    __slots__ = ("again", "avoid", "by_rule", "choosing", "client", "found", "left", "wanted")

    def __init__(self, client: Client, wanted: bytes | None, by_rule: bool, found: Found) -> None:
        self.client = client
        self.wanted = wanted
        self.by_rule = by_rule
        self.found = found
        self.avoid: set[bytes] = set()
        self.left = SEARCH_MAX
        self.choosing = False
        """True while :meth:`AddressSearch._next` runs, so that verdicts at once do not call it inside itself."""
        self.again = False


class AddressSearch:
    """Finds addresses that are not in use, for clients that have none."""

    def __init__(self, network: ServiceNetwork, table: LeaseTable, occupancy: Occupancy) -> None:
        self._network = network
        self._table = table
        self._occupancy = occupancy
        self._searches: dict[tuple[bytes, bytes | None], _Search] = {}
        """The searches under way, by MAC address and identity of the client."""

    def start(self, client: Client, wanted: bytes | None, found: Found, *, by_rule: bool = False) -> None:
        """Call ``found`` with a lease that is held for the client, at once or after probes.

        If no address is found, that is counted, and ``found`` is called with None. A client that repeats its message
        meanwhile gets one answer, to the last one.

        Args:
            wanted: the address that the client requests.
            by_rule: whether the client's fixed address is that of its static lease, and not one from the lease
                policy. If it is in use, the client gets another address.
        """
        key = client.mac, client.identity
        search = self._searches.get(key)
        if search is not None:
            search.by_rule, search.found = by_rule, found
            return
        self._searches[key] = search = _Search(client, wanted, by_rule, found)
        self._next(search)

    def _next(self, search: _Search) -> None:
        """Have one address after another judged, until one is free or has to be probed.

        A guest can use many addresses, so that this is a loop: recursion would exceed Python's limit.
        """
        search.again = True
        if search.choosing:
            return
        search.choosing = True
        while search.again:
            search.again = False
            self._choose(search)
        search.choosing = False

    def _choose(self, search: _Search) -> None:
        """Choose an address, and have it judged."""
        client, now = search.client, self._network.now
        lease = None
        if search.left:
            search.left -= 1
            lease = self._table.choose(client, search.wanted, now, search.avoid)
        if lease is None:
            self._network.stats.drop_dhcp_pool_empty += 1
            self._end(search)
            search.found(None)
            return
        new = lease.heard is None or lease.mac != client.mac
        if not lease.is_held_by_another(client, now):
            self._table.hold(lease, client, now)
        self._occupancy.judge(lease.address, client, partial(self._judged, search, lease), new=new)

    def _judged(self, search: _Search, lease: Lease, verdict: Verdict) -> None:
        address, now = lease.address, self._network.now
        if self._table.at(address) is not lease:  # the client has bound another address meanwhile
            self._next(search)
            return
        if verdict.taken or not self._table.available(address, search.client, now):
            self.pass_over(address, verdict)
            search.avoid.add(address)
            if search.client.fixed == address and search.by_rule:
                search.client = replace(search.client, fixed=None)  # as if the client had declined it
            self._next(search)
            return
        self._end(search)
        self._table.hold(lease, search.client, now)
        search.found(lease)

    def _end(self, search: _Search) -> None:
        del self._searches[search.client.mac, search.client.identity]

    def find_now(self, client: Client) -> Lease | None:
        """Find an address without probes, from which no machine was heard. Returns None if there is none."""
        avoid: set[bytes] = set()
        for _ in range(SEARCH_MAX):
            lease = self._table.choose(client, None, self._network.now, avoid)
            if lease is None:
                return None
            verdict = self._occupancy.seen(lease.address, client)
            if not verdict.taken:
                return lease
            self.pass_over(lease.address, verdict)
            avoid.add(lease.address)
        return None

    def pass_over(self, address: bytes, verdict: Verdict) -> None:
        """Count an address that is in use, and set it aside if its user has no lease."""
        self._network.stats.dhcp_in_use += 1
        user = verdict.user
        if user is not None:
            self._table.set_aside(address, Client(user.mac, link=user.port), self._network.now)
