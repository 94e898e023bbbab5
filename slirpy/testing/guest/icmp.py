"""ICMP of a :class:`~slirpy.testing.guest.Guest`: ping, answers to pings, and errors (RFC 792)."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.tcp import TcpHost
from slirpy.testing.guest.udp import UdpHost
from slirpy.wire import icmp, ipv4
from slirpy.wire.checksum import ones_sum

__all__ = ["IcmpClient", "IcmpError", "Ping"]

_ERRORS = {
    icmp.NET_UNREACHABLE: errno.ENETUNREACH,
    icmp.PORT_UNREACHABLE: errno.ECONNREFUSED,
    icmp.ADMIN_PROHIBITED: errno.EACCES,
}
_QUOTED_MAX = 548


@dataclass(slots=True)
class Ping:
    """An echo request and its outcome."""

    address: IPv4Address
    sequence: int
    payload: bytes
    sent_at: int
    """Nanoseconds."""
    reply: bytes | None = None
    """Payload of the reply; None before it arrives."""
    replied_at: int | None = None
    ttl: int | None = None
    """TTL of the reply."""
    error: IcmpError | None = None
    """The ICMP error received instead of a reply."""

    @property
    def rtt(self) -> int | None:
        """Round-trip time in nanoseconds; None before the reply."""
        return None if self.replied_at is None else self.replied_at - self.sent_at


class IcmpError(NamedTuple):
    """An ICMP error that the guest received."""

    source: IPv4Address
    """Address of the sender."""
    kind: int
    """Type, such as 3 for destination unreachable."""
    code: int
    quoted: bytes
    """Beginning of the packet that caused it, from its IPv4 header on."""


class IcmpClient:
    """Sends and answers echo requests, and passes errors to the protocols concerned."""

    def __init__(self, guest: IpHost, udp: UdpHost, tcp: TcpHost) -> None:
        self._guest = guest
        self._udp = udp
        self._tcp = tcp
        self._identifier = guest.random.getrandbits(16)
        self._pings: dict[int, Ping] = {}
        self._sequence = 0
        self.errors: list[IcmpError] = []

    def ping(self, destination: bytes, payload: bytes, ttl: int) -> Ping:
        """Send an echo request."""
        guest = self._guest
        self._sequence = sequence = (self._sequence + 1) & 0xFFFF
        ping = self._pings[sequence] = Ping(IPv4Address(destination), sequence, payload, guest.now)
        message = icmp.build(icmp.ECHO_REQUEST, 0, self._identifier << 16 | sequence, payload)
        guest.send_ip(destination, ipv4.ICMP, message, ttl=ttl)
        return ping

    def port_unreachable(self, header: ipv4.IPv4Header, packet: memoryview) -> None:
        """Refuse a datagram, as a host does (RFC 1122, section 3.2.2.1)."""
        if header.destination == self._guest.ip:
            message = icmp.build(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, 0, packet[:_QUOTED_MAX])
            self._guest.send_ip(header.source, ipv4.ICMP, message)

    def input(self, header: ipv4.IPv4Header, packet: memoryview) -> None:
        """Handle a message."""
        guest = self._guest
        message = packet[header.header_length :]
        if len(message) < icmp.HEADER_LENGTH:
            guest.counters.malformed += 1
            return
        if ones_sum(message):
            guest.counters.bad_checksum += 1
            return
        kind, code = message[0], message[1]
        rest = int.from_bytes(message[4:8], "big")
        payload = bytes(message[8:])
        if kind == icmp.ECHO_REPLY and rest >> 16 == self._identifier:
            ping = self._pings.pop(rest & 0xFFFF, None)
            if ping is None:
                guest.counters.unhandled += 1
                return
            ping.reply, ping.replied_at, ping.ttl = payload, guest.now, header.ttl
        elif kind == icmp.ECHO_REQUEST and guest.ip is not None:
            guest.send_ip(header.source, ipv4.ICMP, icmp.build(icmp.ECHO_REPLY, 0, rest, payload))
        elif kind in (icmp.UNREACHABLE, icmp.TIME_EXCEEDED):
            self._error(IcmpError(IPv4Address(header.source), kind, code, payload))
        else:
            guest.counters.unhandled += 1

    def _error(self, error: IcmpError) -> None:
        self.errors.append(error)
        # The quoted packet may be truncated, so its length is not checked against its header's.
        quoted = error.quoted
        start = (quoted[0] & 15) * 4 if quoted else 0
        if start < ipv4.HEADER_LENGTH or len(quoted) < start + 8 or quoted[12:16] != self._guest.ip:
            return
        protocol, transport = quoted[9], quoted[start : start + 8]
        number = errno.EHOSTUNREACH
        if error.kind == icmp.UNREACHABLE:
            number = _ERRORS.get(error.code, errno.EHOSTUNREACH)
        if protocol == ipv4.UDP:
            self._udp.error(int.from_bytes(transport[:2], "big"), number)
        elif protocol == ipv4.TCP:
            key = quoted[16:20] + quoted[12:16] + transport[2:4] + transport[:2]
            self._tcp.error(key, number)
        elif protocol == ipv4.ICMP and transport[0] == icmp.ECHO_REQUEST:
            ping = self._pings.pop(int.from_bytes(transport[6:8], "big"), None)
            if ping is not None:
                ping.error = error
