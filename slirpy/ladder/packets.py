"""Packets for a ladder: the frames of a transcript, read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from slirpy.checks import octets, shown
from slirpy.errors import ConfigError
from slirpy.ladder.numbering import Place, Tcp
from slirpy.tcp import options as tcp_options
from slirpy.wire import dhcp6, ethernet, icmp, ipv4, ipv6, ndp, tcp, udp
from slirpy.wire.describe6 import dhcpv6, icmp6
from slirpy.wire.extension import Refusal, walk
from slirpy.wire.ip import Header, family_of

__all__ = ["Packet", "Timed", "read_all", "read_packet"]

Timed: TypeAlias = tuple[int, str, bytes]
"""Nanoseconds, a direction and an Ethernet frame, as in :attr:`VirtualNetwork.transcript
<slirpy.testing.network.VirtualNetwork>`. Attributes ``delays`` and ``corrupted``, as in that transcript, describe the
frame's delivery. Directions matter only for frames between two guests, where a frame that came ``"in"`` and went
``"out"`` is one frame, and in a ladder of all packets.
"""

_DHCPV6_PORTS = {dhcp6.CLIENT_PORT, dhcp6.SERVER_PORT}
_DISCOVERY = range(ndp.ROUTER_SOLICITATION, ndp.REDIRECT + 1)
_ICMP = {
    icmp.ECHO_REQUEST: "echo request",
    icmp.ECHO_REPLY: "echo reply",
    icmp.UNREACHABLE: "unreachable",
    icmp.TIME_EXCEEDED: "time exceeded",
}


@dataclass(slots=True)
class Packet:
    """A packet, with the fields that are shown."""

    time: int
    direction: str
    source: Place
    destination: Place
    protocol: int
    label: str = ""
    tcp: Tcp | None = None
    delays: tuple[int, ...] = (0,)
    """Deliveries: see ``delays`` of :class:`~slirpy.testing.cable.Captured`."""
    corrupted: bool = False
    """True if a delivery has a wrong bit."""
    arrives: bool = False
    """True if this is the later arrival of the packet or of a copy, not its sending."""
    is_housekeeping: bool = False
    """True if this is a packet by which IPv6 hosts find each other: to a group, or Neighbor Discovery."""


def read_all(frames: Iterable[Timed]) -> list[Packet]:
    """Return all packets of IPv4 and IPv6.

    A frame that a switch forwarded unchanged from one guest to another counts once.
    """
    packets = []
    came_in: dict[bytes, list[tuple[Packet, list[tuple[int, ...]]]]] = {}
    for each in frames:
        try:
            time, direction, frame = each
            octets("frame", frame)
        except (TypeError, ValueError):
            raise ConfigError(f"{shown(each)} is not a time, a direction and a frame") from None
        delays = tuple(getattr(each, "delays", (0,)))
        whole = bytes(frame).ljust(ethernet.MIN_LENGTH, b"\0")
        if direction == "out" and whole in came_in:
            for packet, onward in came_in[whole]:
                if len(onward) < len(packet.delays):
                    onward.append(delays)
                    break
            continue
        read = read_packet(time, direction, frame)
        if read is not None:
            read.delays = delays
            read.corrupted = getattr(each, "corrupted", False)
            packets.append(read)
            if direction == "in":
                came_in.setdefault(whole, []).append((read, []))
    for same in came_in.values():
        for packet, onward in same:
            onward += [(0,)] * (len(packet.delays) - len(onward))  # still in transit, or for the stack
            ways = zip(packet.delays, onward, strict=True)
            packet.delays = tuple(delay + more for delay, further in ways for more in further)
    return packets


def read_packet(time: int, direction: str, frame: bytes) -> Packet | None:
    """Parse a frame; None if it is not a complete packet of IPv4 or IPv6.

    Args:
        time: nanoseconds.
        direction: name of the direction.
        frame: an Ethernet frame.
    """
    if len(frame) < ethernet.HEADER_LENGTH:
        return None
    start = ethernet.payload_offset(frame)
    data = memoryview(frame)[start:]
    kind = int.from_bytes(frame[start - 2 : start], "big")
    if kind == ethernet.TYPE_IPV4:
        return _read_ipv4(time, direction, data)
    return _read_ipv6(time, direction, data) if kind == ethernet.TYPE_IPV6 else None


def _read_ipv4(time: int, direction: str, data: memoryview) -> Packet | None:
    header = ipv4.parse(data)
    return None if header is None else _read_payload(time, direction, header, data)


def _read_ipv6(time: int, direction: str, data: memoryview) -> Packet | None:
    header = ipv6.parse(data)
    if header is None:
        return None
    walked = walk(data, header)
    if isinstance(walked, Refusal):
        source, destination = (header.source, 0), (header.destination, 0)
        label = f"extension headers refused ({walked.reason.name.lower()}) len={header.payload_length}"
        return Packet(time, direction, source, destination, header.protocol, label)
    return _read_payload(time, direction, walked, data)


def _read_payload(time: int, direction: str, header: Header, data: memoryview) -> Packet:
    packet = Packet(time, direction, (header.source, 0), (header.destination, 0), header.protocol)
    payload = data[header.header_length : header.total_length]
    length, protocol = len(payload), header.protocol
    if len(header.source) == 16:
        discovery = protocol == ipv6.ICMPV6 and length > 0 and payload[0] in _DISCOVERY
        packet.is_housekeeping = discovery or ipv6.is_multicast(header.destination)
    if header.fragment_offset:
        packet.label = f"fragment of protocol {protocol} at {header.fragment_offset} len={length}"
    elif protocol == ipv4.TCP and length >= tcp.HEADER_LENGTH:
        _read_tcp(packet, payload)
    elif protocol == ipv4.UDP and length >= udp.HEADER_LENGTH:
        _read_udp(packet, payload)
    elif protocol == family_of(header.source).icmp and length >= icmp.HEADER_LENGTH:
        packet.label = _icmp_label(protocol, payload)
    else:
        packet.label = f"protocol {protocol} len={length}"
    return packet


def _read_udp(packet: Packet, datagram: memoryview) -> None:
    source, destination, length, _ = udp.HEADER.unpack_from(datagram)
    packet.source, packet.destination = (packet.source[0], source), (packet.destination[0], destination)
    payload = datagram[udp.HEADER_LENGTH :]
    if len(packet.source[0]) == 16 and {source, destination} <= _DHCPV6_PORTS and len(payload) >= 4:
        packet.label = dhcpv6(payload)
    else:
        packet.label = f"UDP {source} > {destination} len={length - udp.HEADER_LENGTH}"


def _icmp_label(protocol: int, message: memoryview) -> str:
    if protocol == ipv6.ICMPV6:
        return icmp6(message)
    kind, code = message[0], message[1]
    name = _ICMP.get(kind, f"type {kind}")
    return f"ICMP {name}" + (f" code {code}" if code else "") + f" len={len(message) - 8}"


def _read_tcp(packet: Packet, segment: memoryview) -> None:
    source, destination, seq, ack, offset, flags, wnd, _, _ = tcp.HEADER.unpack_from(segment)
    packet.source, packet.destination = (packet.source[0], source), (packet.destination[0], destination)
    data = (offset >> 4) * 4
    options = tcp_options.parse(segment[tcp.HEADER_LENGTH : data])
    packet.tcp = Tcp(seq, ack, flags, wnd, max(len(segment) - data, 0), options)
