"""ICMP of the virtual hosts: echo replies, and the errors that we send (RFC 792, RFC 1122 section 3.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slirpy.interfaces import Buffer
from slirpy.wire import icmp, ipv4
from slirpy.wire.checksum import ones_sum

if TYPE_CHECKING:
    from slirpy.core.neighbor import Neighbor
    from slirpy.core.stack import IPStack

__all__ = ["Icmp"]

QUOTE = 548
"""Most bytes of the offending packet in an error: 576 less the headers (RFC 1812, section 4.3.2.3)."""
TTL = 255
SECOND = 1_000_000_000
RATE = 1000
"""Errors a second, and as many at once."""


class Icmp:
    """ICMP of one stack."""

    def __init__(self, stack: IPStack) -> None:
        self._stack = stack
        self._tokens = RATE * SECOND  # in billionths of an error
        self._filled = 0

    def input(self, neighbor: Neighbor, header: ipv4.IPv4Header, packet: memoryview) -> None:
        """An ICMP message from a guest."""
        stack = self._stack
        message = packet[header.header_length : header.total_length]
        if len(message) < icmp.HEADER_LENGTH or ones_sum(message):
            stack.stats.drop_icmp_malformed += 1
            return
        if message[0] != icmp.ECHO_REQUEST or header.destination not in stack.local_addresses:
            stack.stats.drop_icmp_type += 1
            return
        rest = int.from_bytes(message[4:8], "big")
        reply = icmp.build(icmp.ECHO_REPLY, 0, rest, message[8:])
        stack.stats.icmp_echo_replies += 1
        stack.send_ip(neighbor, header.destination, header.source, ipv4.ICMP, reply, ttl=TTL)

    def error(self, neighbor: Neighbor, header: ipv4.IPv4Header, packet: Buffer, kind: int, code: int) -> None:
        """Tell a guest that its packet went nowhere; ``packet`` is what is left of it, from its header on.

        Comes from the gateway. Nothing is said about ICMP errors, later fragments and broadcasts (RFC 1122,
        section 3.2.2), and not more often than :data:`RATE` allows.
        """
        stack = self._stack
        if header.fragment & ipv4.OFFSET_MASK or stack.is_broadcast(header.destination):
            return
        if header.protocol == ipv4.ICMP and packet[header.header_length] not in (
            icmp.ECHO_REQUEST,
            icmp.ECHO_REPLY,
        ):
            return
        if not self._allowed():
            stack.stats.icmp_errors_suppressed += 1
            return
        message = icmp.build(kind, code, 0, packet[: min(header.total_length, QUOTE)])
        stack.stats.icmp_errors_out += 1
        stack.send_ip(neighbor, stack.config.gateway_address, header.source, ipv4.ICMP, message, ttl=TTL)

    def _allowed(self) -> bool:
        """A token bucket."""
        now = self._stack.now
        full = RATE * SECOND
        self._tokens = min(self._tokens + (now - self._filled) * RATE, full)
        self._filled = now
        if self._tokens < SECOND:
            return False
        self._tokens -= SECOND
        return True
