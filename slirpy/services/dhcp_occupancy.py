"""Whether an address may be given to a client, or is in use by somebody else (RFC 2131 sections 2.2, 3.1).

Two machines that are there at the same time must not have one address. A guest may use one that it was never given,
and machines that were cloned from one image show the same client identifier, which makes them one client. On the
other hand a machine that has a new network card is one client still, and so is one that moves to another link.

We carry the guests' frames, so we mostly know without asking. What counts, in this order:

- The neighbour table. An address that was heard from another MAC address within :data:`FRESH` is in use. If that was
  longer ago, its user is asked for; also if it has the client's identifier and is behind the same link, because a
  machine may have put its card into a bridge with another MAC address.
- The lease. One that was asked for from another MAC address, behind another link that is still there, within
  :data:`FRESH`, is in use, and so is an offer to another MAC address, whatever the link. If it was longer ago, its
  holder is asked for.
- An address with no sign of use may have a user that was never heard. If there are several links, it is asked for. A
  guest that is alone never waits.

The question is an ARP request, and :data:`DOUBT` or :data:`QUIET` is how long an answer may take. Echo requests,
which RFC 2131 suggests, would find nobody that ARP does not find, and miss hosts that do not answer ping. ISC dhcpd
waits for one second and dnsmasq for three; our guests are one hop away, so a fraction of a second is enough.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from enum import Enum, auto
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias

from slirpy.core.probes import Occupant
from slirpy.interfaces import ServiceNetwork
from slirpy.services.lease import Client, Lease, LeaseState
from slirpy.services.leases import LeaseTable
from slirpy.units import MS, SECOND

__all__ = ["Neighborhood", "Occupancy", "Verdict"]

FRESH = 3 * SECOND
"""How long a word from an address proves that it is in use."""
DOUBT = 200 * MS
"""How long a known user is waited for."""
QUIET = 100 * MS
"""How long one that was never heard is waited for."""
SILENT = 60 * SECOND
"""How long it counts that nobody was there: from an offer to its request, or after an address was given back."""
REMEMBERED = 256
"""Addresses of which this is remembered."""

Then: TypeAlias = "Callable[[Verdict], None]"


class Neighborhood(Protocol):
    """Who is on the network: :class:`slirpy.core.neighbor.Neighbors`."""

    def occupant(self, address: bytes) -> Occupant | None:
        """The guest that uses an address, as far as it was heard; None if none was, or its link is gone."""
        ...

    def probe(
        self, address: bytes, time: int, but: Container[bytes], done: Callable[[Occupant | None], None]
    ) -> None:
        """Ask for ``time`` nanoseconds whether anybody uses an address, other than from the MAC addresses ``but``."""
        ...

    def attached(self, link: object) -> bool:
        """Whether it is one of the links that guests are behind now."""
        ...


class Verdict(NamedTuple):
    """What is known of an address."""

    taken: bool
    user: Occupant | None = None
    """Who uses it without a lease; None: nobody, or the holder of its lease."""


class _Sign(Enum):
    """What there is to see before anybody is asked."""

    NONE = auto()
    QUIET = auto()
    DOUBT = auto()
    TAKEN = auto()


_FREE = Verdict(False)


class Occupancy:
    """Judges addresses for the DHCP server of one network."""

    def __init__(
        self,
        network: ServiceNetwork,
        table: LeaseTable,
        links: Callable[[], int],
        neighborhood: Neighborhood | None,
    ) -> None:
        """``neighborhood``: who can be asked; without it all addresses are free that the table holds to be free."""
        self._links = links
        self._network = network
        self._neighborhood = neighborhood
        self._table = table
        self._silent: dict[bytes, tuple[bytes | None, int]] = {}
        """Addresses that nobody uses, and since when. With a MAC address: nobody but that one was looked for."""

    def seen(self, address: bytes, client: Client) -> Verdict:
        """Judge by what is known, without asking."""
        if self._neighborhood is None:
            return _FREE
        sign, user = self._signs(self._neighborhood, address, client, new=False)
        return Verdict(sign is _Sign.TAKEN, user)

    def released(self, address: bytes) -> None:
        """Its user has given an address back, and says no more from there."""
        self._note(address, None)

    def _note(self, address: bytes, but: bytes | None) -> None:
        self._silent.pop(address, None)
        if len(self._silent) >= REMEMBERED:
            del self._silent[next(iter(self._silent))]
        self._silent[address] = but, self._network.now

    def judge(self, address: bytes, client: Client, then: Then, *, new: bool) -> None:
        """Call ``then`` with the verdict on an address for a client, now or soon.

        Args:
            new: whether the address is offered to the client for the first time; else it has had it, or asks for it.
        """
        if self._neighborhood is None:
            then(_FREE)
            return
        sign, user = self._signs(self._neighborhood, address, client, new=new)
        if sign in (_Sign.NONE, _Sign.TAKEN):
            then(Verdict(sign is _Sign.TAKEN, user))
            return
        self._network.stats.dhcp_probes += 1
        time = DOUBT if sign is _Sign.DOUBT else QUIET
        self._neighborhood.probe(address, time, client.macs, partial(self._answered, address, client, then))

    def _answered(self, address: bytes, client: Client, then: Then, user: Occupant | None) -> None:
        now = self._network.now
        lease = self._table.at(address)
        if user is None:
            self._note(address, client.mac)
            then(_FREE)
        elif lease is not None and lease.mac == user.mac and lease.is_held_by_another(client, now):
            then(Verdict(True))
        elif self._table.may_set_aside(user.port, now):
            then(Verdict(True, user))
        else:
            then(_FREE)

    def _signs(
        self, neighborhood: Neighborhood, address: bytes, client: Client, *, new: bool
    ) -> tuple[_Sign, Occupant | None]:
        now = self._network.now
        mac, since = self._silent.get(address, (b"", 0))
        asked = since if mac in (None, client.mac) and now - since < SILENT else None
        lease = self._table.at(address)
        user = neighborhood.occupant(address)
        if user is not None and user.mac not in client.macs and (asked is None or user.heard > asked):
            holds = lease is not None and lease.mac == user.mac and lease.is_held_by_another(client, now)
            if holds or self._table.may_set_aside(user.port, now):
                certain = now - user.heard < FRESH and not (holds and user.port is client.link)
                return _Sign.TAKEN if certain else _Sign.DOUBT, None if holds else user
        if asked is not None:
            return _Sign.NONE, None
        if lease is not None and lease.is_held_by_another(client, now):
            return _Sign.TAKEN if self._just_asked_for(neighborhood, lease, client) else _Sign.DOUBT, None
        return _Sign.QUIET if new and self._links() > 1 else _Sign.NONE, None

    def _just_asked_for(self, neighborhood: Neighborhood, lease: Lease, client: Client) -> bool:
        """Whether the holder of a lease has asked for it a moment ago, and may not have used it yet."""
        if lease.heard is None or self._network.now - lease.heard >= FRESH:
            return False
        link = self._table.link(lease.address)
        elsewhere = link is not None and link is not client.link and neighborhood.attached(link)
        return elsewhere or lease.state is LeaseState.OFFERED
