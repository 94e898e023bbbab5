"""ICMP of a :class:`~slirpy.testing.guest.Guest`: ping, answers to pings, and errors (RFC 792, RFC 4443)."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from slirpy.addresses import IPAddress
from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.testing.guest.fragments import Packet
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.tcphost import TcpHost
from slirpy.testing.guest.udp import UdpHost
from slirpy.testing.recent import Recent
from slirpy.wire import ipv4
from slirpy.wire.icmp import Cause, Quote, Trouble
from slirpy.wire.icmps import Messages, messages_of
from slirpy.wire.ip import family_of, flow_key

__all__ = ["IcmpClient", "IcmpError", "Ping"]

_QUOTED_MAX = 548


@dataclass(slots=True)
class Ping:
    """An echo request and its outcome."""

    address: IPAddress
    sequence: int
    payload: bytes
    sent_at: int
    """Nanoseconds."""
    reply: bytes | None = None
    """Payload of the reply; None before it arrives."""
    replied_at: int | None = None
    ttl: int | None = None
    """TTL or hop limit of the reply."""
    error: IcmpError | None = None
    """The ICMP error received instead of a reply."""
    on_done: Callable[[Ping], None] | None = None
    """Called with the ping once it has a reply or an error."""

    @property
    def rtt(self) -> int | None:
        """Round-trip time in nanoseconds; None before the reply."""
        return None if self.replied_at is None else self.replied_at - self.sent_at


class IcmpError(NamedTuple):
    """An ICMP or ICMPv6 error that the guest received."""

    source: IPAddress
    """Address of the sender."""
    kind: int
    """Type, such as 3 for destination unreachable (ICMPv6: 1)."""
    code: int
    quoted: bytes
    """Beginning of the packet that caused it, from its IP header on."""
    info: int = 0
    """Second word of the header, such as the MTU of a packet that was too big."""


class IcmpClient:
    """Sends and answers echo requests, and passes errors to the protocols concerned."""

    def __init__(self, guest: IpHost, udp: UdpHost, tcp: TcpHost[Any]) -> None:
        self._guest = guest
        self._udp = udp
        self._tcp = tcp
        self._identifier = guest.random.getrandbits(16)
        self._pings: dict[int, Ping] = {}
        self._sequence = 0
        self.errors: Recent[IcmpError] = Recent()

    def ping(self, destination: bytes, payload: bytes, hop_limit: int) -> Ping:
        """Send an echo request."""
        source = self._guest.source_for(destination)
        self._sequence = sequence = (self._sequence + 1) & 0xFFFF
        ping = self._pings[sequence] = Ping(ip_address(destination), sequence, payload, self._guest.now)
        words = messages_of(source).echo_request, 0, self._identifier << 16 | sequence
        self._send(source, destination, words, payload, hop_limit)
        return ping

    def _send(
        self,
        source: bytes,
        destination: bytes,
        words: tuple[int, int, int],
        payload: Buffer,
        hop_limit: int = 64,
    ) -> None:
        """Send a message; ``words`` are its type, its code and the second word of its header."""
        message = messages_of(source).build(source, destination, *words, payload)
        protocol = family_of(source).icmp
        self._guest.send_ip(destination, protocol, message, hop_limit=hop_limit, source=source)

    def port_unreachable(self, header: Packet, packet: memoryview) -> None:
        """Refuse a datagram, as a host does (RFC 1122, section 3.2.2.1; RFC 4443, section 3.1)."""
        if self._guest.is_own(header.destination):
            words = messages_of(header.source).error_of(Cause.PORT_UNREACHABLE)
            self._send(header.destination, header.source, words, packet[:_QUOTED_MAX])

    def input(self, header: Packet, message: memoryview) -> None:
        """Handle a message with a correct checksum, of at least eight bytes."""
        guest, codec = self._guest, messages_of(header.source)
        kind, code = message[0], message[1]
        rest = int.from_bytes(message[4:8], "big")
        payload = bytes(message[8:])
        if kind == codec.echo_reply and rest >> 16 == self._identifier:
            ping = self._pings.pop(rest & 0xFFFF, None)
            if ping is None:
                guest.counters.unhandled += 1
                return
            ping.reply, ping.replied_at, ping.ttl = payload, guest.now, header.hop_limit
            if ping.on_done is not None:
                ping.on_done(ping)
        elif kind == codec.echo_request and guest.has_address(header.source):
            own = header.destination if guest.is_own(header.destination) else guest.source_for(header.source)
            self._send(own, header.source, (codec.echo_reply, 0, rest), payload)
        elif codec.is_relayed(kind):
            self._error(codec, IcmpError(ip_address(header.source), kind, code, payload, rest))
        else:
            guest.counters.unhandled += 1

    def _error(self, codec: Messages, error: IcmpError) -> None:
        self.errors.append(error)
        guest = self._guest
        quote = codec.read_quote(error.quoted)
        if quote is None or not guest.is_own(quote.source):
            return
        trouble = codec.read_error(error.kind, error.code, error.info)
        if trouble.error == errno.EMSGSIZE:
            guest.path_mtu(quote.destination, trouble.mtu)
        ping = self._report(codec, quote, trouble)
        if ping is not None:
            ping.error = error
            if ping.on_done is not None:
                ping.on_done(ping)

    def undeliverable(self, packet: bytes) -> None:
        """Report a packet that did not leave the link to its sender, as a host does whose ARP or NDP fails."""
        codec = messages_of(packet[12:16] if packet[0] >> 4 == 4 else packet[8:24])
        quote = codec.read_quote(packet)
        if quote is not None:
            self._report(codec, quote, Trouble(errno.EHOSTUNREACH))

    def _report(self, codec: Messages, quote: Quote, trouble: Trouble) -> Ping | None:
        """Report trouble with a packet to its protocol; returns the ping that it concerns, if it was one."""
        if quote.fragment & ipv4.OFFSET_MASK:
            return None  # there is no transport header in it
        transport = quote.transport
        ports = int.from_bytes(transport[:2], "big"), int.from_bytes(transport[2:4], "big")
        if quote.protocol == ipv4.UDP:
            self._udp.error(ports[0], trouble.error, (quote.destination, ports[1]))
        elif quote.protocol == ipv4.TCP:
            sent = flow_key(quote.source, ports[0], quote.destination, ports[1])
            self._tcp.error(sent, int.from_bytes(transport[4:8], "big"), quote.total_length, trouble)
        elif quote.protocol == family_of(quote.source).icmp and transport[0] == codec.echo_request:
            return self._pings.pop(int.from_bytes(transport[6:8], "big"), None)
        return None
