"""Neighbor Discovery (RFC 4861) for a network without IPv6: a router that advertises nothing.

IPv6 is not carried yet. A guest that learns this at once continues with IPv4; a guest that gets no answer waits, a
boot ROM for 15 seconds. So each router solicitation is answered by an empty advertisement: lifetime 0, which means
"no default router", no prefix, and no flag that sends the guest to DHCPv6. It configures nothing and does not revoke
what another router on the network has advertised.

The router is fe80::2 at 52:56:00:00:00:02, as in libslirp, and answers solicitations for that address, too.

We deviate from section 6.2.6 in two ways. There is no random delay of up to half a second before an answer, since
there is only one router and the guest is waiting. A solicitation with a source address is answered to that address
only; one without is answered to all nodes on its link, at most every three seconds.
"""

from __future__ import annotations

from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm
from slirpy.fair import TokenBuckets
from slirpy.interfaces import Frame
from slirpy.units import SECOND
from slirpy.wire import ethernet, icmpv6, ipv6, ndp

__all__ = ["Ndp"]

ROUTER = bytes.fromhex("fe800000000000000000000000000002")
ROUTER_MAC = ethernet.virtual_mac(ROUTER)
MULTICAST_INTERVAL = 3 * SECOND
"""MIN_DELAY_BETWEEN_RAS (RFC 4861 section 10)."""
RATE = 100
"""Answers a second to each link, and the burst."""
_GROUPS = frozenset((ipv6.ALL_NODES, ipv6.ALL_ROUTERS, ipv6.solicited_node(ROUTER)))
_GROUP_MACS = frozenset(map(ipv6.multicast_mac, _GROUPS))


class Ndp:
    """Input of all IPv6 frames of one stack.

    Attributes:
        mac: the router's MAC address.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._buckets = TokenBuckets(network.ports, RATE)
        self._all_nodes: dict[LinkPort, tuple[int, Alarm | None]] = {}
        """Time of the last advertisement to all nodes of a link, and the alarm for the next."""
        self.mac = ROUTER_MAC

    def takes(self, destination: bytes) -> bool:
        """Whether this MAC address belongs to a group that we are a member of."""
        return destination in _GROUP_MACS

    def input(self, port: LinkPort, mac: bytes, packet: memoryview) -> None:
        """Handle a packet from ``mac``."""
        stats = self._network.stats
        header = ipv6.parse(packet)
        if header is None:
            stats.drop_ipv6_header += 1
            return
        message = packet[ipv6.HEADER_LENGTH : ipv6.HEADER_LENGTH + header.payload_length]
        wanted = header.destination == ROUTER or header.destination in _GROUPS
        if header.protocol != ipv6.ICMPV6 or not wanted:
            stats.drop_ipv6 += 1
        elif ipv6.is_multicast(header.source) or header.source in (ROUTER, ipv6.LOOPBACK):
            stats.drop_ipv6_source += 1
        elif len(message) < 4:
            stats.drop_icmpv6_malformed += 1
        elif not icmpv6.checksum_ok(header.source, header.destination, message):
            stats.drop_icmpv6_checksum += 1
        elif message[0] == ndp.ROUTER_SOLICITATION:
            self._router_solicitation(port, mac, header, message)
        elif message[0] == ndp.NEIGHBOR_SOLICITATION:
            self._neighbor_solicitation(port, mac, header, message)
        else:
            stats.drop_ipv6 += 1

    def _router_solicitation(
        self, port: LinkPort, mac: bytes, header: ipv6.IPv6Header, message: memoryview
    ) -> None:
        stats = self._network.stats
        if ndp.read_router_solicitation(header, message) is None:
            stats.drop_ndp_malformed += 1
        elif header.source == ipv6.UNSPECIFIED:
            self._advertise_to_all(port)
        elif self._allowed(port):
            self._advertise(port, mac, header.source)

    def _neighbor_solicitation(
        self, port: LinkPort, mac: bytes, header: ipv6.IPv6Header, message: memoryview
    ) -> None:
        stats = self._network.stats
        asked = ndp.read_neighbor_solicitation(header, message)
        if asked is None:
            stats.drop_ndp_malformed += 1
        elif asked.target != ROUTER:
            stats.drop_ipv6 += 1
        elif self._allowed(port):
            # Without a source, it is a guest that wants our address; it learns that it is taken (section 7.2.4).
            solicited = header.source != ipv6.UNSPECIFIED
            to, to_mac = (header.source, mac) if solicited else _all_nodes()
            stats.ndp_neighbor_adverts += 1
            answer = ndp.neighbor_advertisement(ROUTER, to, ROUTER, ROUTER_MAC, solicited=solicited)
            self._send(port, to_mac, to, answer)

    def _allowed(self, port: LinkPort) -> bool:
        allowed = self._buckets.take(port, self._network.now)
        self._network.stats.drop_ndp_rate += not allowed
        return allowed

    def _advertise_to_all(self, port: LinkPort) -> None:
        """Advertise to all nodes now, or as soon as the interval allows."""
        now = self._network.now
        told, alarm = self._all_nodes.get(port, (now - MULTICAST_INTERVAL, None))
        if alarm is not None:
            self._network.stats.drop_ndp_rate += 1  # the scheduled answer serves this one, too
        elif now - told < MULTICAST_INTERVAL:
            alarm = self._network.call_at(told + MULTICAST_INTERVAL, lambda: self._tell_all(port))
            self._all_nodes[port] = told, alarm
        else:
            self._all_nodes = {p: t for p, t in self._all_nodes.items() if p in self._network.ports}
            self._tell_all(port)

    def _tell_all(self, port: LinkPort) -> None:
        self._all_nodes[port] = self._network.now, None
        if not port.closed:
            to, mac = _all_nodes()
            self._advertise(port, mac, to)

    def _advertise(self, port: LinkPort, mac: bytes, destination: bytes) -> None:
        self._network.stats.ndp_router_adverts += 1
        self._send(port, mac, destination, ndp.router_advertisement(ROUTER, destination, ROUTER_MAC))

    def _send(self, port: LinkPort, mac: bytes, destination: bytes, message: bytes) -> None:
        header = ipv6.build(ROUTER, destination, ipv6.ICMPV6, len(message), ndp.HOP_LIMIT)
        frame = b"".join((mac, ROUTER_MAC, ethernet.TYPE_IPV6.to_bytes(2, "big"), header, message))
        port.push(Frame((frame,)), len(frame))


def _all_nodes() -> tuple[bytes, bytes]:
    return ipv6.ALL_NODES, ipv6.multicast_mac(ipv6.ALL_NODES)
