"""Autoconfiguration of a guest's IPv6 addresses: router discovery and SLAAC (RFC 4861, section 6.3; RFC 4862)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network
from typing import Any, Generic, TypeVar

from slirpy.core.timers import Alarm
from slirpy.reprs import counted, never_raises
from slirpy.testing.guest.addressing import Addressing6
from slirpy.testing.guest.host import GuestHost
from slirpy.testing.guest.ndp import LINK_LOCAL_NETWORK, NdpTable, interface_address, link_local
from slirpy.units import SECOND
from slirpy.wire import ipv6, ndp
from slirpy.wire.ipv6 import IPv6Header
from slirpy.wire.ndp import RouterAdvertisement
from slirpy.wire.ndpoption import FOREVER, PrefixInformation
from slirpy.wire.scope import is_link_local

__all__ = ["Autoconfiguration"]

SOLICITATIONS = 3
SOLICITATION_INTERVAL = 4 * SECOND
DAD_TIME = SECOND
"""Time in which another host can claim a tentative address (RetransTimer)."""
ENTRIES_MAX = 16
"""Addresses, prefixes, routers, DNS servers and domains that are remembered, of each; further ones are ignored."""
_TWO_HOURS = 7200
_K = TypeVar("_K")


class _Expiring(Generic[_K]):
    """Things that routers advertised, each until its time."""

    def __init__(self) -> None:
        self.until: dict[_K, int | None] = {}
        """Nanoseconds; None: for ever."""

    def put(self, key: _K, lifetime: int, now: int) -> None:
        """Take a thing for ``lifetime`` seconds, or give it up if that is 0."""
        if not lifetime:
            self.until.pop(key, None)
        elif key in self.until or len(self.until) < ENTRIES_MAX:
            self.until[key] = None if lifetime == FOREVER else now + lifetime * SECOND

    def remaining(self, key: _K, now: int) -> int:
        """Return for how many seconds it is still valid."""
        until = self.until.get(key, now)
        return FOREVER if until is None else (until - now) // SECOND

    def expire(self, now: int) -> None:
        """Give up what is out of date."""
        self.until = {key: until for key, until in self.until.items() if until is None or until > now}

    def next(self) -> int | None:
        """Return the time at which something expires; None: nothing ever does."""
        return min((until for until in self.until.values() if until is not None), default=None)


class Autoconfiguration:
    """Configures a guest as the routers on its link say.

    Attributes:
        advertisements: every router advertisement received, in order. May be cleared.
        solicitations: router solicitations sent.
        managed: whether the last advertisement says that DHCPv6 has addresses (M).
        other: whether it says that DHCPv6 has other information (O).
        hop_limit: hop limit for the guest's packets according to it; 0: unspecified.
    """

    def __init__(self, guest: GuestHost, addressing: Addressing6, neighbors: NdpTable, dad: bool) -> None:
        self._guest = guest
        self._addressing = addressing
        self._neighbors = neighbors
        self._dad = dad
        self._alarm = Alarm(guest.timers, self._apply)
        self._addresses = _Expiring[bytes]()
        self._preferred = _Expiring[bytes]()
        self._networks = _Expiring[tuple[bytes, int]]()
        self._routers = _Expiring[bytes]()
        self._dns = _Expiring[bytes]()
        self._search = _Expiring[str]()
        self._nat64 = _Expiring[IPv6Network]()
        self._used: tuple[list[bytes], list[tuple[bytes, int]], list[bytes], list[bytes]] = [], [], [], []
        self._link_local = link_local(guest.mac)
        self.advertisements: list[RouterAdvertisement] = []
        self.solicitations = 0
        self.managed = self.other = False
        self.hop_limit = 0
        self.on_ready: Callable[[], None] | None = None
        """Called once there is an address."""

    @never_raises
    def __repr__(self) -> str:
        addresses = ", ".join(map(str, self.addresses)) or "no address"
        routers = counted(len(self._routers.until), "router")
        return f"<Autoconfiguration {'ready' if self.ready else 'not ready'}: {addresses}, {routers}>"

    # ------------------------------------------------------------------------------------ looking at it

    @property
    def ready(self) -> bool:
        """True if a router gave the guest an address, and no other host has claimed it."""
        return any(address in self._addressing.addresses for address in self._addresses.until)

    @property
    def addresses(self) -> list[IPv6Address]:
        """Addresses made of advertised prefixes, including tentative and deprecated ones."""
        return [IPv6Address(address) for address in self._addresses.until]

    @property
    def deprecated(self) -> list[IPv6Address]:
        """Addresses that are valid, but not for new connections."""
        return [IPv6Address(each) for each in self._addresses.until if each not in self._preferred.until]

    @property
    def networks(self) -> list[IPv6Network]:
        """Prefixes that are on the link."""
        return [IPv6Network(network) for network in self._networks.until]

    @property
    def routers(self) -> list[IPv6Address]:
        """Default routers, the preferred one first."""
        return list(map(IPv6Address, self._routers.until))

    @property
    def dns(self) -> list[IPv6Address]:
        """DNS servers (RFC 8106)."""
        return list(map(IPv6Address, self._dns.until))

    @property
    def search(self) -> list[str]:
        """Domains in which to look for short names (RFC 8106)."""
        return list(self._search.until)

    @property
    def nat64(self) -> IPv6Network | None:
        """Prefix by which the network translates to IPv4 (RFC 8781); None: it does not."""
        return next(iter(self._nat64.until), None)

    # --------------------------------------------------------------------------------------- soliciting

    def start(self) -> None:
        """Take the link-local address, and ask for routers. Does nothing if there is one."""
        own = self._addressing
        if not own.active:
            own.networks.append(LINK_LOCAL_NETWORK)
            self._claim(self._link_local)
        if not self._routers.until:
            self._solicit(SOLICITATIONS)

    def _solicit(self, tries: int) -> None:
        if not tries or self.advertisements:
            return
        guest, own = self._guest, self._link_local
        if own in self._addressing.addresses:
            self.solicitations += 1
            message = ndp.router_solicitation(own, ipv6.ALL_ROUTERS, guest.mac)
            self._neighbors.send_message(ipv6.ALL_ROUTERS, message, own)
            wait = SOLICITATION_INTERVAL
            tries -= 1
        else:
            wait = DAD_TIME
        guest.timers.call_at(guest.now + wait, lambda: self._solicit(tries))

    def _claim(self, address: bytes) -> None:
        """Use an address, now or once no other host has claimed it."""
        own, guest = self._addressing, self._guest
        if not self._dad:
            own.addresses.append(address)
        elif address not in own.tentative and address not in self._neighbors.duplicates:
            own.tentative.append(address)
            self._neighbors.probe(address)
            guest.timers.call_at(guest.now + DAD_TIME, lambda: self._claimed(address))

    def _claimed(self, address: bytes) -> None:
        own = self._addressing
        if address in own.tentative:
            own.tentative.remove(address)
            if address == self._link_local or address in self._addresses.until:
                own.addresses.append(address)
            self._apply()
            self._guest.flush()

    # -------------------------------------------------------------------------------------- what is heard

    def advertisement(self, header: IPv6Header, message: memoryview) -> None:
        """Handle a router's advertisement."""
        told = ndp.read_router_advertisement(header, message)
        if told is None:
            self._guest.counters.malformed += 1
            return
        now = self._guest.now
        self.advertisements.append(told)
        self.managed, self.other, self.hop_limit = told.managed, told.other, told.hop_limit
        options = told.options
        if options.source_mac is not None:
            self._neighbors.learn(header.source, options.source_mac, create=True)
        self._routers.put(header.source, told.lifetime, now)
        for prefix in options.prefixes:
            self._prefix(prefix)
        for servers in options.rdnss:
            for server in servers.addresses:
                self._dns.put(server, servers.lifetime, now)
        for domains in options.dnssl:
            for name in domains.names:
                self._search.put(name, domains.lifetime, now)
        for nat64 in options.pref64:
            self._nat64.put(IPv6Network((nat64.prefix, nat64.length)), nat64.lifetime, now)
        if options.mtu is not None and options.mtu >= self._addressing.family.least_mtu:
            self._addressing.mtu = options.mtu
        self._apply()

    def _prefix(self, prefix: PrefixInformation) -> None:
        """RFC 4861, section 6.3.4 for what is on the link, and RFC 4862, section 5.5.3 for addresses."""
        now = self._guest.now
        if is_link_local(prefix.prefix):
            return
        if prefix.on_link:
            self._networks.put((prefix.prefix, prefix.length), prefix.valid, now)
        if not prefix.autonomous or prefix.length != 64 or prefix.preferred > prefix.valid:
            return
        address = interface_address(prefix.prefix, self._guest.mac)
        valid = prefix.valid
        if address in self._addresses.until:
            # An advertisement cannot end an address sooner than in two hours (section 5.5.3, e).
            remaining = self._addresses.remaining(address, now)
            if valid <= _TWO_HOURS and valid <= remaining:
                valid = min(remaining, _TWO_HOURS)
        self._addresses.put(address, valid, now)
        self._preferred.put(address, prefix.preferred, now)

    def _apply(self) -> None:
        """Let the guest use what is valid now, and come back when that changes."""
        now, own = self._guest.now, self._addressing
        tables: tuple[_Expiring[Any], ...] = (
            self._addresses, self._preferred, self._networks, self._routers, self._dns, self._search, self._nat64,
        )  # fmt: skip
        for table in tables:
            table.expire(now)
        valid = sorted(self._addresses.until, key=lambda address: address not in self._preferred.until)
        for address in valid:
            if address not in own.addresses:
                self._claim(address)
        used, networks, routers, dns = self._used
        _replace(own.addresses, used, [address for address in valid if address in own.addresses])
        _replace(own.networks, networks, list(self._networks.until))
        _replace(own.routers, routers, list(self._routers.until))
        _replace(own.dns, dns, list(self._dns.until))
        times = [table.next() for table in tables]
        self._alarm.set(min((time for time in times if time is not None), default=None))
        if self.on_ready is not None and self.ready:
            done, self.on_ready = self.on_ready, None
            done()


def _replace(entries: list[_K], before: list[_K], wanted: list[_K]) -> None:
    """Replace those entries that came from routers earlier; those of others stay."""
    entries[:] = [entry for entry in entries if entry not in before and entry not in wanted] + wanted
    before[:] = wanted
