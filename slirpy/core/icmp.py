"""ICMP of the virtual hosts: echo replies, and errors sent to guests (RFC 792, RFC 1122 section 3.2.2).

Echo requests to the outside and errors from guests go to the NAT: see :class:`~slirpy.core.arrival.FlowOpeners`.
"""

from __future__ import annotations

from slirpy.core.arrival import Arrival, FlowOpeners
from slirpy.core.ip import IPSender
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.fair import TokenBuckets
from slirpy.interfaces import Buffer
from slirpy.wire import ethernet, icmp, ipv4
from slirpy.wire.checksum import ones_sum

__all__ = ["Icmp", "IcmpErrors"]

QUOTE = 548
"""Maximum number of bytes that an error quotes of the packet: 576 less the headers (RFC 1812, section 4.3.2.3)."""
TTL = 255
RATE = 1000
"""Errors a second to each link, and the burst."""


class IcmpErrors:
    """Sender of ICMP errors to the guests of one stack."""

    def __init__(self, network: Network, neighbors: Neighbors, ip: IPSender) -> None:
        self._network = network
        self._neighbors = neighbors
        self._ip = ip
        self._buckets = TokenBuckets(network.ports, RATE)

    def error(self, arrival: Arrival, cause: icmp.Cause, mtu: int = 0) -> None:
        """Report to a guest, as the gateway, that its packet was not delivered.

        ``mtu`` is the largest size that would have fitted; 0: not known. No error is sent about an ICMP error, a
        later fragment, or a packet to a broadcast or multicast address of IP or Ethernet (RFC 1122, section 3.2.2).
        :data:`RATE` limits the others.
        """
        network = self._network
        header, packet = arrival.header, arrival.packet
        if (
            header.fragment_offset
            or network.is_broadcast(header.destination)
            or ethernet.is_multicast(arrival.macs)
        ):
            return
        start = header.header_length
        if header.protocol == ipv4.ICMP and (len(packet) <= start or packet[start] in icmp.ERRORS):
            return
        kind, code = icmp.code_of(cause)
        quoted = packet[: header.total_length]
        self._send(
            arrival.neighbor,
            arrival.port,
            network.config.gateway_address,
            header.source,
            kind,
            code,
            mtu & 0xFFFF,
            quoted,
        )

    def relay(
        self, guest: bytes, source: bytes, kind: int, code: int, rest: int, quoted: Buffer, ttl: int
    ) -> None:
        """Relay an error of ``source`` about a packet of a guest, ``quoted`` as the guest sent it."""
        neighbor = self._neighbors.get(guest)
        self._send(neighbor, neighbor.port, source, guest, kind, code, rest, quoted, ttl)

    def _send(
        self,
        neighbor: Neighbor,
        port: LinkPort | None,
        source: bytes,
        guest: bytes,
        kind: int,
        code: int,
        rest: int,
        quoted: Buffer,
        ttl: int = TTL,
    ) -> None:
        network = self._network
        if not self._buckets.take(port, network.now):
            network.stats.icmp_errors_suppressed += 1
            return
        message = icmp.build(kind, code, rest, quoted[:QUOTE])
        network.stats.icmp_errors_out += 1
        self._ip.send(neighbor, source, guest, ipv4.ICMP, message, ttl=ttl)


class Icmp:
    """ICMP input of one stack."""

    def __init__(self, network: Network, ip: IPSender, openers: FlowOpeners) -> None:
        self._network = network
        self._ip = ip
        self._openers = openers

    def input(self, arrival: Arrival) -> None:
        """Handle an ICMP message from a guest."""
        network = self._network
        header = arrival.header
        message = arrival.payload
        if len(message) < icmp.HEADER_LENGTH or ones_sum(message):
            network.stats.drop_icmp_malformed += 1
            return
        kind, code = message[0], message[1]
        rest = int.from_bytes(message[4:8], "big")
        if kind == icmp.ECHO_REQUEST and header.destination in network.addresses:
            reply = icmp.build(icmp.ECHO_REPLY, 0, rest, message[8:])
            network.stats.icmp_echo_replies += 1
            to, own = header.source, header.destination
            # RFC 1349, section 5.1: the reply has the type of service of the request.
            self._ip.send(arrival.neighbor, own, to, ipv4.ICMP, reply, ttl=TTL, tos=header.traffic_class)
        elif kind == icmp.ECHO_REQUEST and not code and not network.is_broadcast(header.destination):
            self._openers.echo(arrival, rest >> 16, rest & 0xFFFF, message[8:])
        elif kind in icmp.ERRORS:
            quote = icmp.read_quote(message[8:])
            # A guest may only report on packets that were sent to its own address.
            if (
                quote is not None
                and quote.destination == header.source
                and not quote.fragment & ipv4.OFFSET_MASK  # a later fragment has no transport header to quote
                and self._openers.icmp_error(icmp.read_error(kind, code, rest), quote)
            ):
                network.stats.icmp_errors_in += 1
            else:
                network.stats.drop_icmp_unmatched += 1
        else:
            network.stats.drop_icmp_type += 1
