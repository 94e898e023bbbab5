"""IP input: checks of the headers of both families, and dispatch of packets to the part that handles them.

IPv4 and IPv6 differ only in these checks. A packet that passes them becomes an
:class:`~slirpy.core.arrival.Arrival`, whose header has the same interface for both, and is then handled in the same
way.
"""

from __future__ import annotations

from typing import Final

from slirpy.core.arrival import Arrival
from slirpy.core.demux import Demux
from slirpy.core.fragments import Fragments
from slirpy.core.fragments6 import Fragments6
from slirpy.core.icmp import Icmp, IcmpErrors
from slirpy.core.ndp import Ndp
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.wire import dhcp, extension, icmp, icmpv6, ipv4, ipv6
from slirpy.wire.extension import Reason, Refusal
from slirpy.wire.ip import V4, family_of
from slirpy.wire.ipv4 import IPv4Header

__all__ = ["IPInput"]

_new: Final = tuple.__new__  # half of the time of calling Arrival
_DHCP_SERVER: Final = dhcp.SERVER_PORT.to_bytes(2, "big")


class IPInput:
    """IP input of one stack."""

    def __init__(
        self,
        network: Network,
        neighbors: Neighbors,
        errors: IcmpErrors,
        fragments: Fragments,
        fragments6: Fragments6,
        demux: Demux,
        icmp: Icmp,
        ndp: Ndp,
    ) -> None:
        self._network = network
        self._neighbors = neighbors
        self._errors = errors
        self._fragments = fragments
        self._fragments6 = fragments6
        self._demux = demux
        self._icmp = icmp
        self._ndp = ndp

    def ipv4(self, port: LinkPort, macs: bytes, packet: memoryview, checksummed: bool) -> None:
        """Handle an IPv4 packet, which padding may follow."""
        stats = self._network.stats
        header = ipv4.parse(packet)
        if header is None:
            stats.drop_ip_header += 1
            return
        if not ipv4.header_ok(packet, header.header_length):
            stats.drop_ip_checksum += 1
            return
        if not header.ttl:
            stats.drop_ip_ttl += 1
            return
        if header.protocol == ipv4.UDP and (
            V4.is_unspecified(header.source) or self._renews_in_vain(port, macs, header, packet)
        ):
            neighbor: Neighbor | None = Neighbor(header.source)  # a guest that has no address yet, or no longer
        else:
            neighbor = self._sender(port, macs, header.source)
        if neighbor is None:
            return
        arrival = _new(Arrival, (port, neighbor, macs, header, packet[: header.total_length], checksummed))
        if header.is_fragment:
            complete = self._fragments.insert(arrival, header.ident << 8 | header.protocol)
            if complete is None:
                return
            arrival = complete
        if not self._deliver(arrival):
            self._errors.error(arrival, icmp.Cause.PROTOCOL_UNREACHABLE)

    def ipv6(self, port: LinkPort, macs: bytes, packet: memoryview, checksummed: bool) -> None:
        """Handle an IPv6 packet, which padding may follow."""
        network, stats = self._network, self._network.stats
        header = ipv6.parse(packet)
        if header is None:
            stats.drop_ipv6_header += 1
            return
        source, destination = header.source, header.destination
        if source == ipv6.UNSPECIFIED and header.protocol == ipv6.ICMPV6:
            neighbor: Neighbor | None = Neighbor(source)  # a guest that has no address yet
        else:
            neighbor = self._sender(port, macs, source)
        if neighbor is None:
            return
        if destination[0] == 0xFF and destination not in network.groups:
            stats.drop_ipv6_group += 1
            return
        self._ndp.heard(port)
        arrival = _new(Arrival, (port, neighbor, macs, header, packet[: header.total_length], checksummed))
        if not header.hop_limit and destination not in network.addresses:
            stats.drop_ip_ttl += 1
            self._errors.error(arrival, icmp.Cause.OUT_OF_TIME)
            return
        walked = extension.walk(packet, header)  # the options of a jumbogram are behind its end
        if isinstance(walked, Refusal):
            self._refuse(arrival, walked)
            return
        arrival = arrival._replace(header=walked)
        if walked.is_fragment:
            complete = self._fragments6.insert(arrival, walked.ident)
            if complete is None:
                return
            whole = ipv6.parse(complete.packet)
            assert whole is not None
            walked = extension.walk(complete.packet, whole, reassembled=True)
            if isinstance(walked, Refusal):
                self._refuse(complete, walked)
                return
            arrival = complete._replace(header=walked)
        if not self._deliver(arrival):
            self._errors.problem(arrival, icmpv6.UNKNOWN_NEXT_HEADER, walked.named_at)

    def _refuse(self, arrival: Arrival, refusal: Refusal) -> None:
        """Drop a packet because of its extension headers."""
        stats = self._network.stats
        if refusal.reason is Reason.MALFORMED:
            stats.drop_ipv6_header += 1
        elif refusal.reason is Reason.NOTHING:
            stats.drop_ipv6_nothing += 1
        elif refusal.reason is Reason.ROUTING:
            stats.drop_ipv6_routing += 1
        elif refusal.reason is Reason.JUMBO:
            stats.drop_ipv6_jumbogram += 1
        else:
            stats.drop_ipv6_extension += 1
        if refusal.code is not None:
            self._errors.problem(arrival, refusal.code, refusal.pointer, multicast=refusal.multicast)

    def _sender(self, port: LinkPort, macs: bytes, source: bytes) -> Neighbor | None:
        """Find the guest that sent a packet. Returns None, and counts it, if no guest may have that address."""
        if self._network.may_be_guest(source):
            return self._neighbors.learn(source, macs[6:], port)
        self._network.stats.drop_ip_source += 1
        return None

    def _renews_in_vain(self, port: LinkPort, macs: bytes, header: IPv4Header, packet: memoryview) -> bool:
        """Report whether a guest asks the DHCP server from an address that is another's by now.

        The server has to hear this, since it answers that the guest must start over (RFC 2131, section 4.3.2).
        """
        start = header.header_length
        return (
            packet[start + 2 : start + 4] == _DHCP_SERVER
            and not header.is_fragment
            and self._demux.serves(header.destination, dhcp.SERVER_PORT)
            and self._neighbors.is_leased_by_another(header.source, macs[6:], port)
        )

    def _deliver(self, arrival: Arrival) -> bool:
        """Pass on a whole packet. Returns False, and counts it, if its protocol is not supported."""
        header = arrival.header
        if header.protocol == ipv4.TCP:
            self._demux.input_tcp(arrival)
        elif header.protocol == ipv4.UDP:
            self._demux.input_udp(arrival)
        elif header.protocol == family_of(header.source).icmp:
            self._icmp.input(arrival)
        else:
            self._network.stats.drop_ip_protocol += 1
            return False
        return True
