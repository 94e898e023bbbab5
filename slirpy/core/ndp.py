"""Neighbor Discovery (RFC 4861): router advertisements, solicitations for the neighbour table, answers to guests.

We answer only for our own addresses: a guest that checks whether its address is a duplicate must get no answer (RFC
4862). On a transparent network, whose other hosts are outside, we answer for those too, except to such a check. The
router is fe80::2 at 52:56:00:00:00:02, as in libslirp.

**Router advertisements.** Each router solicitation is answered at once. There is no random delay of up to half a
second (section 6.2.6), since there is only one router and the guest is waiting. A solicitation with a source address
is answered to that address only; one without is answered to all nodes on its link, at most every three seconds.
Unsolicited advertisements follow the RFC's schedule (section 6.2.4), but only on links with IPv6 traffic, so guests
that use only IPv4 get none. At the end, a last one announces that the router ceases to be one (section 6.2.5).

**Without IPv6**, because it is switched off or the link's MTU is less than 1280 bytes, solicitations are answered by
an empty advertisement: lifetime 0, which means "no default router", no prefix, and no flag that sends the guest to
DHCPv6. A guest that learns this at once continues with IPv4; a guest that gets no answer waits, a boot ROM for 15
seconds. It configures nothing and does not revoke what another router on the network has advertised.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from slirpy.config.kinds import SLAAC_PREFIX
from slirpy.core.arrival import Arrival
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import ROUTER, Network
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm
from slirpy.fair import TokenBuckets
from slirpy.interfaces import Frame
from slirpy.units import SECOND
from slirpy.wire import ethernet, icmpv6, ipv6, ndp
from slirpy.wire.domainname import pack_names
from slirpy.wire.ipv6 import IPv6Header
from slirpy.wire.ndpoption import Dnssl, Mtu, NdpOption, Pref64, PrefixInformation, Rdnss

__all__ = ["Ndp", "confirm", "solicit"]

ROUTER_MAC = ethernet.virtual_mac(ROUTER)
LEAST_MTU = 1280
"""Least MTU of a link that carries IPv6 (RFC 8200, section 5)."""
HOP_LIMIT = 64
"""Hop limit that guests use for their packets."""
LIFETIME = 1800
"""Seconds for which guests use the router after an advertisement: AdvDefaultLifetime (RFC 4861, section 6.2.1). It is
three times the longest interval of advertisements, and so the lifetime of DNS servers too (RFC 8106, section 5.1)."""
SEARCH_BYTES = 1000
"""Bytes of the search list in an advertisement, which has to fit the least MTU; further domains are left out."""
VALID, PREFERRED = 86_400, 14_400
"""Seconds for which the prefix and guests' addresses in it are valid and preferred; as with libslirp."""
INTERVAL = 200 * SECOND, 600 * SECOND
"""Minimum and maximum time between unsolicited advertisements: MinRtrAdvInterval and MaxRtrAdvInterval."""
INITIAL_INTERVAL, INITIAL = 16 * SECOND, 3
"""Maximum time between the first ones, and their number (RFC 4861, section 10)."""
MULTICAST_INTERVAL = 3 * SECOND
"""MIN_DELAY_BETWEEN_RAS (RFC 4861, section 10)."""
RATE = 100
"""Answers a second to each link, and the burst."""
_TYPES = frozenset(
    (
        ndp.ROUTER_SOLICITATION,
        ndp.ROUTER_ADVERTISEMENT,
        ndp.NEIGHBOR_SOLICITATION,
        ndp.NEIGHBOR_ADVERTISEMENT,
        ndp.REDIRECT,
    )
)
_ROUTER_ALONE = frozenset((ROUTER,))
_OFF_GROUPS = frozenset((ipv6.ALL_NODES, ipv6.ALL_ROUTERS, ipv6.solicited_node(ROUTER)))
_OFF_GROUP_MACS = frozenset(map(ipv6.multicast_mac, _OFF_GROUPS))


def solicit(network: Network, address: bytes) -> None:
    """Ask behind all links for the MAC address of ``address``."""
    group = ipv6.solicited_node(address)
    message = ndp.neighbor_solicitation(ROUTER, group, address, ROUTER_MAC)
    for port in network.ports:
        if port.mtu >= LEAST_MTU:
            _transmit(port, ipv6.multicast_mac(group), ROUTER, group, message)


def confirm(network: Network, neighbor: Neighbor) -> None:
    """Ask a neighbour at its known MAC address whether it is there (section 7.3.3)."""
    if neighbor.port is not None and neighbor.mac is not None:
        address = neighbor.address
        message = ndp.neighbor_solicitation(ROUTER, address, address, ROUTER_MAC)
        network.stats.ndp_probes += 1
        _transmit(neighbor.port, neighbor.mac, ROUTER, address, message)


class _Adverts:
    """The advertisements to all nodes of one link.

    Attributes:
        told: time of the last advertisement.
        left: number of initial advertisements still to be sent.
        answer: the alarm of an answer that has to wait.
        next: the alarm of the next unsolicited advertisement.
    """

    __slots__ = ("answer", "left", "next", "told")

    def __init__(self, told: int) -> None:
        self.told = told
        self.left = 0
        self.answer: Alarm | None = None
        self.next: Alarm | None = None


class Ndp:
    """Neighbor Discovery of one stack.

    Attributes:
        mac: the router's MAC address.
    """

    def __init__(self, network: Network, neighbors: Neighbors) -> None:
        self._network = network
        self._neighbors = neighbors
        self._buckets = TokenBuckets(network.ports, RATE)
        self._adverts: dict[LinkPort, _Adverts] = {}
        self._heard: set[LinkPort] = set()
        self.mac = ROUTER_MAC

    def carries(self, port: LinkPort) -> bool:
        """Report whether a link carries IPv6."""
        return self._network.config.ipv6 and port.mtu >= LEAST_MTU

    @staticmethod
    def takes(kind: int) -> bool:
        """Report whether a type of ICMPv6 message belongs to Neighbor Discovery."""
        return kind in _TYPES

    # ---------------------------------------------------------------------------------------- input

    def input(self, arrival: Arrival, header: IPv6Header, message: memoryview) -> None:
        """Handle a message with a correct checksum; ``header`` is the arrival's."""
        port, mac = arrival.port, arrival.macs[6:]
        kind = message[0]
        if kind == ndp.ROUTER_SOLICITATION:
            self._router_solicitation(port, mac, header, message)
        elif kind == ndp.NEIGHBOR_SOLICITATION:
            self._neighbor_solicitation(port, mac, header, message)
        elif kind == ndp.NEIGHBOR_ADVERTISEMENT:
            self._neighbor_advertisement(port, mac, header, message)
        else:
            self._network.stats.drop_ndp_router += 1

    def heard(self, port: LinkPort) -> None:
        """Note that a guest behind ``port`` uses IPv6, so it gets unsolicited advertisements from now on."""
        if port not in self._heard:
            self._heard = {known for known in self._heard if not known.closed}
            self._heard.add(port)
            link = self._link(port)
            link.left = INITIAL
            self._schedule(port, link)

    def _router_solicitation(self, port: LinkPort, mac: bytes, header: IPv6Header, message: memoryview) -> None:
        stats = self._network.stats
        if ndp.read_router_solicitation(header, message) is None:
            stats.drop_ndp_malformed += 1
        elif header.source == ipv6.UNSPECIFIED:
            self._advertise_to_all(port)
        elif self._allowed(port):
            self._advertise(port, mac, header.source)

    def _neighbor_solicitation(
        self, port: LinkPort, mac: bytes, header: IPv6Header, message: memoryview
    ) -> None:
        network, stats = self._network, self._network.stats
        asked = ndp.read_neighbor_solicitation(header, message)
        if asked is None:
            stats.drop_ndp_malformed += 1
        elif asked.target not in (
            network.addresses if self.carries(port) else _ROUTER_ALONE
        ) and not self._is_outside(header.source, asked.target):
            stats.ndp_nobody += 1
        elif self._allowed(port):
            # Without a source, it is a guest that wants our address; it learns that it is taken (section 7.2.4).
            solicited = header.source != ipv6.UNSPECIFIED
            to, to_mac = (header.source, mac) if solicited else _all_nodes()
            stats.ndp_neighbor_adverts += 1
            ours = network.mac_for(asked.target)
            answer = ndp.neighbor_advertisement(asked.target, to, asked.target, ours, solicited=solicited)
            _transmit(port, to_mac, asked.target, to, answer, ours)

    def _neighbor_advertisement(
        self, port: LinkPort, mac: bytes, header: IPv6Header, message: memoryview
    ) -> None:
        network, neighbors = self._network, self._neighbors
        told = ndp.read_neighbor_advertisement(header, message)
        if told is None:
            network.stats.drop_ndp_malformed += 1
        elif (told.link_address or mac) != mac or not network.may_be_guest(told.target):
            network.stats.drop_ndp_sender += 1
        else:
            if neighbors.probes:
                neighbors.probes.heard(told.target, mac, port)
            if told.target != header.source:  # the source has been learned already
                neighbors.learn(told.target, mac, port)

    def _is_outside(self, source: bytes, target: bytes) -> bool:
        """Report whether the owner of an address that a guest looks for is beyond us."""
        return (
            source != ipv6.UNSPECIFIED
            and self._network.is_outside(target)
            and self._network.config.ipv6
            and not self._neighbors.is_known(target)
        )

    def _allowed(self, port: LinkPort) -> bool:
        allowed = self._buckets.take(port, self._network.now)
        self._network.stats.drop_ndp_rate += not allowed
        return allowed

    # ------------------------------------------------------------------------------- advertisements

    def _link(self, port: LinkPort) -> _Adverts:
        link = self._adverts.get(port)
        if link is None:
            self._adverts = {p: each for p, each in self._adverts.items() if p in self._network.ports}
            link = self._adverts[port] = _Adverts(self._network.now - MULTICAST_INTERVAL)
        return link

    def _advertise_to_all(self, port: LinkPort) -> None:
        """Answer to all nodes now, or as soon as the interval allows."""
        now = self._network.now
        link = self._link(port)
        if link.answer is not None:
            self._network.stats.drop_ndp_rate += 1  # the scheduled answer serves this one, too
        elif now - link.told < MULTICAST_INTERVAL:
            link.answer = self._network.call_at(
                link.told + MULTICAST_INTERVAL, lambda: self._tell_all(port, link)
            )
        else:
            self._tell_all(port, link)

    def _tell_all(self, port: LinkPort, link: _Adverts) -> None:
        link.told, link.answer = self._network.now, None
        if not port.closed:
            to, mac = _all_nodes()
            self._advertise(port, mac, to)
            if link.next is not None:
                link.next.cancel()  # it starts anew, since this one has served all nodes (section 6.2.6)
                self._schedule(port, link)

    def _schedule(self, port: LinkPort, link: _Adverts) -> None:
        """Set the time of the next unsolicited advertisement (section 6.2.4)."""
        wait = self._network.random.randint(*INTERVAL)
        if link.left:
            link.left -= 1
            wait = min(wait, self._network.random.randint(MULTICAST_INTERVAL, INITIAL_INTERVAL))
        link.next = self._network.call_at(self._network.now + wait, lambda: self._unsolicited(port, link))

    def _unsolicited(self, port: LinkPort, link: _Adverts) -> None:
        link.next = None
        if port.closed:
            return
        if self._network.now - link.told >= MULTICAST_INTERVAL:
            self._tell_all(port, link)
        self._schedule(port, link)

    def _advertise(self, port: LinkPort, mac: bytes, destination: bytes) -> None:
        self._network.stats.ndp_router_adverts += 1
        _transmit(port, mac, ROUTER, destination, self._advertisement(port, destination))

    def _advertisement(self, port: LinkPort, destination: bytes) -> bytes:
        if not self.carries(port):
            return ndp.router_advertisement(ROUTER, destination, ROUTER_MAC)
        config = self._network.config
        # An address that a guest makes up has no lease.
        slaac = config.net6.prefixlen == SLAAC_PREFIX and not config.source_guard
        prefix = PrefixInformation(
            config.network_address6, config.net6.prefixlen, True, slaac, VALID, PREFERRED
        )
        options: list[NdpOption] = [Mtu(port.mtu), prefix]
        if not config.restrict:  # else nothing is reachable beyond the gateway
            if config.names_dns:
                options.append(Rdnss(LIFETIME, (config.dns_address6,)))
            if search := _search_list(config.dnssearch):
                options.append(Dnssl(LIFETIME, search))
        if config.nat64:
            nat64 = config.nat64_prefix
            options.append(Pref64(LIFETIME, nat64.network_address.packed, nat64.prefixlen))
        return ndp.router_advertisement(
            ROUTER,
            destination,
            ROUTER_MAC,
            lifetime=0 if config.restrict else LIFETIME,
            hop_limit=HOP_LIMIT,
            managed=not slaac,  # then DHCPv6 alone can give a guest its address
            other=True,
            options=options,
        )

    def close(self) -> None:
        """Announce that the router ceases to be one (section 6.2.5)."""
        to, mac = _all_nodes()
        for port in self._network.ports:
            if port in self._heard:
                self._network.stats.ndp_router_adverts += 1
                _transmit(port, mac, ROUTER, to, ndp.router_advertisement(ROUTER, to, ROUTER_MAC))
        for link in self._adverts.values():
            for alarm in (link.answer, link.next):
                if alarm is not None:
                    alarm.cancel()
        self._heard.clear()
        self._adverts.clear()

    # --------------------------------------------------------------------------------- without IPv6

    @staticmethod
    def declines(destination: bytes) -> bool:
        """Report whether :meth:`decline` handles frames for a MAC address."""
        return destination == ROUTER_MAC or destination in _OFF_GROUP_MACS

    def decline(self, port: LinkPort, mac: bytes, packet: memoryview) -> None:
        """Handle a packet from ``mac`` behind a link without IPv6."""
        stats = self._network.stats
        header = ipv6.parse(packet)
        if header is None:
            stats.drop_ipv6_header += 1
            return
        message = packet[ipv6.HEADER_LENGTH : header.total_length]
        wanted = header.destination == ROUTER or header.destination in _OFF_GROUPS
        if header.protocol != ipv6.ICMPV6 or not wanted:
            stats.drop_ipv6 += 1
        elif ipv6.is_multicast(header.source) or header.source in (ROUTER, ipv6.LOOPBACK):
            stats.drop_ip_source += 1
        elif len(message) < 4 or not icmpv6.checksum_ok(header.source, header.destination, message):
            stats.drop_icmp_malformed += 1
        elif message[0] == ndp.ROUTER_SOLICITATION:
            self._router_solicitation(port, mac, header, message)
        elif message[0] == ndp.NEIGHBOR_SOLICITATION:
            self._neighbor_solicitation(port, mac, header, message)
        else:
            stats.drop_ipv6 += 1


def _search_list(domains: Sequence[str]) -> tuple[str, ...]:
    """The domains that fit an advertisement."""
    lengths = accumulate(len(pack_names((domain,))) for domain in domains)
    return tuple(domain for domain, length in zip(domains, lengths, strict=True) if length <= SEARCH_BYTES)


def _transmit(
    port: LinkPort, mac: bytes, source: bytes, destination: bytes, message: bytes, ours: bytes = b""
) -> None:
    """Send a message, from the MAC address ``ours``; empty: that of ``source``."""
    header = ipv6.build(source, destination, ipv6.ICMPV6, len(message), ndp.HOP_LIMIT)
    start = mac + (ours or ethernet.virtual_mac(source)) + ethernet.TYPE_IPV6.to_bytes(2, "big")
    frame = b"".join((start, header, message))
    port.push(Frame((frame,)), len(frame))


def _all_nodes() -> tuple[bytes, bytes]:
    return ipv6.ALL_NODES, ipv6.multicast_mac(ipv6.ALL_NODES)
