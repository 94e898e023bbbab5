"""ICMP of the virtual hosts: echo replies, and the errors that guests are told (RFC 792, RFC 1122 section 3.2.2).

Echo requests to the outside and errors from guests are for the NAT: an :class:`IcmpOpener` that the assembly
installs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from slirpy.core.buckets import LinkBuckets
from slirpy.interfaces import Buffer
from slirpy.wire import ethernet, icmp, ipv4
from slirpy.wire.checksum import ones_sum

if TYPE_CHECKING:
    from slirpy.core.demux import Arrival
    from slirpy.core.neighbor import Neighbor
    from slirpy.core.port import LinkPort
    from slirpy.core.stack import IPStack

__all__ = ["Icmp", "IcmpOpener"]

QUOTE = 548
"""Most bytes of the offending packet in an error: 576 less the headers (RFC 1812, section 4.3.2.3)."""
TTL = 255
RATE = 1000
"""Errors a second, and as many at once, to each link."""


class IcmpOpener(Protocol):
    """Takes what is not for a virtual host."""

    def input_echo(self, arrival: Arrival, identifier: int, sequence: int, payload: memoryview) -> None:
        """An echo request to the outside."""

    def input_error(self, arrival: Arrival, kind: int, code: int, info: int, quote: icmp.Quote) -> bool:
        """An error of a guest's about a packet that it got; False if it never got such a packet."""
        ...


class Icmp:
    """ICMP of one stack."""

    def __init__(self, stack: IPStack) -> None:
        self._stack = stack
        self.opener: IcmpOpener | None = None
        self._buckets = LinkBuckets(stack.ports, RATE)

    def input(self, arrival: Arrival) -> None:
        """An ICMP message from a guest."""
        stack = self._stack
        header = arrival.header
        message = arrival.packet[header.header_length : header.total_length]
        if len(message) < icmp.HEADER_LENGTH or ones_sum(message):
            stack.stats.drop_icmp_malformed += 1
            return
        kind, code = message[0], message[1]
        rest = int.from_bytes(message[4:8], "big")
        if kind == icmp.ECHO_REQUEST and header.destination in stack.local_addresses:
            reply = icmp.build(icmp.ECHO_REPLY, 0, rest, message[8:])
            stack.stats.icmp_echo_replies += 1
            to, own = header.source, header.destination
            # RFC 1349, section 5.1: the reply has the type of service of the request.
            stack.send_ip(arrival.neighbor, own, to, ipv4.ICMP, reply, ttl=TTL, tos=header.tos)
        elif self.opener is None:
            stack.stats.drop_icmp_type += 1
        elif kind == icmp.ECHO_REQUEST and not code and not stack.is_broadcast(header.destination):
            self.opener.input_echo(arrival, rest >> 16, rest & 0xFFFF, message[8:])
        elif kind in icmp.ERRORS:
            quote = icmp.read_quote(message[8:])
            # What a guest got from us it got as its own address; what it says about others is not its business.
            if (
                quote is not None
                and quote.destination == header.source
                and self.opener.input_error(arrival, kind, code, rest, quote)
            ):
                stack.stats.icmp_errors_in += 1
            else:
                stack.stats.drop_icmp_unmatched += 1
        else:
            stack.stats.drop_icmp_type += 1

    def error(self, arrival: Arrival, kind: int, code: int, rest: int = 0) -> None:
        """Tell a guest that its packet went nowhere; ``rest`` is the second word of the message.

        Comes from the gateway. Nothing is said about ICMP errors, later fragments, and what was sent to everyone by
        its IP or its Ethernet address (RFC 1122, section 3.2.2), and not more often than :data:`RATE` allows.
        """
        stack = self._stack
        header, packet = arrival.header, arrival.packet
        if (
            header.fragment & ipv4.OFFSET_MASK
            or stack.is_broadcast(header.destination)
            or ethernet.is_multicast(arrival.macs)
        ):
            return
        start = header.header_length
        if header.protocol == ipv4.ICMP and (len(packet) <= start or packet[start] in icmp.ERRORS):
            return
        quoted = packet[: header.total_length]
        self._send(
            arrival.neighbor,
            arrival.port,
            stack.config.gateway_address,
            header.source,
            kind,
            code,
            rest,
            quoted,
        )

    def relay(
        self, guest: bytes, source: bytes, kind: int, code: int, rest: int, quoted: Buffer, ttl: int
    ) -> None:
        """Pass on what ``source`` says about a packet of a guest; ``quoted`` is that packet as the guest sent it."""
        neighbor = self._stack.neighbors.get(guest)
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
        stack = self._stack
        if not self._buckets.take(port, stack.now):
            stack.stats.icmp_errors_suppressed += 1
            return
        message = icmp.build(kind, code, rest, quoted[:QUOTE])
        stack.stats.icmp_errors_out += 1
        stack.send_ip(neighbor, source, guest, ipv4.ICMP, message, ttl=ttl)
