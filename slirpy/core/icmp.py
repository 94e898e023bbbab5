"""ICMP and ICMPv6 of the virtual hosts: echo replies, and errors sent to guests.

RFC 792, RFC 1122 section 3.2.2, RFC 4443. Neighbor Discovery, which is ICMPv6 too, is left to ``core/ndp.py``. Echo
requests to the outside and errors from guests go to the NAT: see :class:`~slirpy.core.arrival.FlowOpeners`.
"""

from __future__ import annotations

from typing import Final

from slirpy.core.arrival import Arrival, FlowOpeners
from slirpy.core.ip import IPSender
from slirpy.core.ndp import Ndp
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.fair import TokenBuckets
from slirpy.interfaces import Buffer
from slirpy.wire import ethernet, icmp, icmpv6, ipv4, ipv6
from slirpy.wire.checksum import ones_sum
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import family_of
from slirpy.wire.ipv6 import IPv6Header

__all__ = ["Icmp", "IcmpErrors"]

TTL: Final = 255
RATE: Final = 1000
"""Errors a second to each link, and the burst."""


class IcmpErrors:
    """Sender of ICMP errors to the guests of one stack."""

    def __init__(self, network: Network, neighbors: Neighbors, ip: IPSender) -> None:
        self._network = network
        self._neighbors = neighbors
        self._ip = ip
        self._buckets = TokenBuckets(network.ports, RATE)

    def error(self, arrival: Arrival, cause: icmp.Cause, mtu: int = 0) -> None:
        """Report to a guest that its packet was not delivered.

        ``mtu`` is the largest size that would have fitted; 0: not known. No error is sent about an ICMP error, a
        redirect, a later fragment, or a packet to a broadcast or multicast address of IP or Ethernet (RFC 1122,
        section 3.2.2; RFC 4443, section 2.4 (e)). :data:`RATE` limits the others.
        """
        header = arrival.header
        kind, code, rest = messages_of(header.source).error_of(cause, mtu)
        if kind == icmpv6.PARAMETER_PROBLEM and isinstance(header, IPv6Header):
            rest = header.named_at
        self._report(arrival, kind, code, rest)

    def problem(self, arrival: Arrival, code: int, pointer: int, *, multicast: bool = False) -> None:
        """Report to a guest an invalid field of its IPv6 packet (RFC 4443, section 3.4).

        Args:
            pointer: position of the field in the packet.
            multicast: whether to report it even if the packet was sent to a group.
        """
        self._report(arrival, icmpv6.PARAMETER_PROBLEM, code, pointer, multicast=multicast)

    def _report(self, arrival: Arrival, kind: int, code: int, rest: int, *, multicast: bool = False) -> None:
        network = self._network
        header, packet = arrival.header, arrival.packet
        guest = header.source
        messages = messages_of(guest)
        if (
            header.fragment_offset
            or family_of(guest).is_unspecified(guest)
            or (
                not multicast
                and (network.is_broadcast(header.destination) or ethernet.is_multicast(arrival.macs))
            )
        ):
            return
        if not messages.is_answerable(packet, header):
            return
        quoted = packet[: header.total_length]
        source = network.reporter_for(guest, header.destination)
        self._send(arrival.neighbor, arrival.port, source, guest, kind, code, rest, quoted)

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
        messages = messages_of(guest)
        message = messages.build(source, guest, kind, code, rest, quoted[: messages.quote_max])
        network.stats.icmp_errors_out += 1
        self._ip.send(neighbor, source, guest, family_of(guest).icmp, message, ttl=ttl)


class Icmp:
    """ICMP input of one stack."""

    def __init__(self, network: Network, ip: IPSender, ndp: Ndp, openers: FlowOpeners) -> None:
        self._network = network
        self._ip = ip
        self._ndp = ndp
        self._openers = openers

    def input(self, arrival: Arrival) -> None:
        """Handle an ICMP message of either family from a guest."""
        network, header = self._network, arrival.header
        message = arrival.payload
        six = isinstance(header, IPv6Header)
        pseudo = ipv6.pseudo_sum(header.source, header.destination, ipv6.ICMPV6, len(message)) if six else 0
        if len(message) < icmp.HEADER_LENGTH or (ones_sum(message) + pseudo) % 65535:
            network.stats.drop_icmp_malformed += 1
        elif isinstance(header, IPv6Header) and self._ndp.takes(message[0]):
            self._ndp.input(arrival, header, message)
        elif family_of(header.source).is_unspecified(header.source):
            network.stats.drop_ip_source += 1
        else:
            self._input(arrival, message)

    def _input(self, arrival: Arrival, message: memoryview) -> None:
        network, header = self._network, arrival.header
        guest, destination = header.source, header.destination
        messages = messages_of(guest)
        kind, code = message[0], message[1]
        rest = int.from_bytes(message[4:8], "big")
        if kind == messages.echo_request and (
            destination in network.addresses or destination in network.groups
        ):
            source = destination if destination in network.addresses else network.gateway_for(guest)
            reply = messages.build(source, guest, messages.echo_reply, 0, rest, message[8:])
            network.stats.icmp_echo_replies += 1
            # RFC 1349, section 5.1: the reply has the type of service of the request.
            self._ip.send(
                arrival.neighbor, source, guest, header.protocol, reply, ttl=TTL, tos=header.traffic_class
            )
        elif kind == messages.echo_request and not code and not network.is_broadcast(destination):
            self._openers.echo(arrival, rest >> 16, rest & 0xFFFF, message[8:])
        elif messages.is_error(kind):
            quote = messages.read_quote(message[8:])
            # A guest may only report on packets that were sent to its own address.
            if (
                quote is not None
                and quote.destination == guest
                and not quote.fragment & ipv4.OFFSET_MASK  # a later fragment has no transport header to quote
                and self._openers.icmp_error(messages.read_error(kind, code, rest), quote)
            ):
                network.stats.icmp_errors_in += 1
            else:
                network.stats.drop_icmp_unmatched += 1
        else:
            network.stats.drop_icmp_type += 1
