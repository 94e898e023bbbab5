"""Frames of IPv6 from a guest, made with struct and never by slirpy's own codecs; see harness.py."""

from __future__ import annotations

import socket
import struct
from typing import Any

from tests.support.harness import ACK, GUEST_MAC, SYN, Net, eth, pseudo, rfc1071
from tests.support.harness import ROUTER_MAC as ROUTER_MAC


def ip6(text: str) -> bytes:
    """An address as bytes."""
    return socket.inet_pton(socket.AF_INET6, text)


ROUTER, GATEWAY6, DNS6 = ip6("fe80::2"), ip6("fec0::2"), ip6("fec0::3")
DNS6_MAC = bytes.fromhex("525600000003")
LINK_LOCAL, GUEST6 = ip6("fe80::5054:ff:fe12:3456"), ip6("fec0::5054:ff:fe12:3456")
WORLD6 = ip6("2001:db8:7::7")
ALL_NODES, ALL_ROUTERS = ip6("ff02::1"), ip6("ff02::2")
UNSPECIFIED = bytes(16)
SLLA = b"\1\1" + GUEST_MAC
TCP, UDP, ICMPV6 = 6, 17, 58


def mac_of(group: bytes) -> bytes:
    """The Ethernet address of a group."""
    return b"\x33\x33" + group[12:]


def solicited(address: bytes) -> bytes:
    """The group in which the holder of an address is asked for."""
    return ip6("ff02::1:ff00:0")[:13] + address[13:]


def ipv6(
    protocol: int,
    payload: bytes,
    source: bytes = GUEST6,
    destination: bytes = WORLD6,
    hop_limit: int = 64,
    mac: bytes = GUEST_MAC,
    to: bytes | None = None,
    *,
    claimed: int | None = None,
) -> bytes:
    """A packet in a frame; ``claimed`` is a length to claim instead of the payload's."""
    length = len(payload) if claimed is None else claimed
    packet = struct.pack("!IHBB", 0x60000000, length, protocol, hop_limit) + source + destination + payload
    if to is None:
        to = mac_of(destination) if destination[0] == 0xFF else ROUTER_MAC
    return eth(packet, source=mac, destination=to, kind=0x86DD)


def summed(
    protocol: int,
    payload: bytes,
    at: int,
    *,
    source: bytes = GUEST6,
    destination: bytes = WORLD6,
    wrong: int = 0,
    **more: Any,
) -> bytes:
    """Build the packet, and fill in the payload's checksum at ``at``."""
    payload = checked(protocol, payload, at, source, destination, wrong)
    return ipv6(protocol, payload, source=source, destination=destination, **more)


def checked(
    protocol: int,
    payload: bytes,
    at: int,
    source: bytes = GUEST6,
    destination: bytes = WORLD6,
    wrong: int = 0,
) -> bytes:
    """A payload with its checksum."""
    value = rfc1071(pseudo(source + destination, len(payload), protocol) + payload) ^ wrong
    if protocol == UDP:
        value = value or 0xFFFF
    return payload[:at] + value.to_bytes(2, "big") + payload[at + 2 :]


def datagram(payload: bytes, *, sport: int = 5000, dport: int = 9, **addresses: Any) -> bytes:
    """UDP header and payload."""
    return checked(UDP, struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload, 6, **addresses)


def fragment(
    offset: int,
    piece: bytes,
    *,
    more: bool,
    ident: int = 1,
    protocol: int = UDP,
    before: bytes = b"",
    **rest: Any,
) -> bytes:
    """One fragment in a frame; ``before`` is a header before the Fragment header, whose first byte names that."""
    header = struct.pack("!BBHI", protocol, 0, offset | more, ident)
    return ipv6(rest.pop("first", 44), before + header + piece, **rest)


def fragments(payload: bytes, size: int = 512, **more: Any) -> list[bytes]:
    """All fragments of a payload."""
    return [
        fragment(at, payload[at : at + size], more=at + size < len(payload), **more)
        for at in range(0, len(payload), size)
    ]


def icmp6(kind: int, code: int, body: bytes, **more: Any) -> bytes:
    """An ICMPv6 message in a frame; ``body`` is what follows the checksum."""
    return summed(ICMPV6, bytes((kind, code, 0, 0)) + body, 2, **more)


def echo6(data: bytes = b"abc", ident: int = 7, seq: int = 1, **more: Any) -> bytes:
    """An echo request."""
    return icmp6(128, 0, struct.pack("!HH", ident, seq) + data, **more)


def udp6(payload: bytes, *, sport: int = 5000, dport: int = 9, **more: Any) -> bytes:
    """A UDP datagram."""
    addresses = {name: more[name] for name in ("source", "destination") if name in more}
    segment = datagram(payload, sport=sport, dport=dport, **addresses)
    wrong = more.pop("wrong", 0)
    if wrong:
        segment = segment[:6] + (int.from_bytes(segment[6:8], "big") ^ wrong).to_bytes(2, "big") + segment[8:]
    return ipv6(UDP, segment, **more)


def tcp6(
    flags: int,
    seq: int,
    ack: int = 0,
    data: bytes = b"",
    *,
    sport: int = 40000,
    dport: int = 80,
    window: int = 65535,
    options: bytes = b"",
    **more: Any,
) -> bytes:
    """A TCP segment."""
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack("!HHIIBBHHH", sport, dport, seq, ack, offset, flags, window, 0, 0)
    return summed(TCP, header + options + data, 16, **more)


def neighbor_solicitation(target: bytes, options: bytes = SLLA, **more: Any) -> bytes:
    """A request for the MAC address of ``target``."""
    more.setdefault("destination", solicited(target))
    more.setdefault("source", LINK_LOCAL)
    return icmp6(135, 0, bytes(4) + target + options, hop_limit=more.pop("hop_limit", 255), **more)


def neighbor_advertisement(target: bytes = GUEST6, *, mac: bytes = GUEST_MAC, **more: Any) -> bytes:
    """The answer to one; solicited, override."""
    body = b"\x60\0\0\0" + target + b"\2\1" + mac
    more.setdefault("source", target)
    more.setdefault("destination", ROUTER)
    return icmp6(136, 0, body, hop_limit=255, mac=mac, **more)


def router_solicitation(options: bytes = SLLA, **more: Any) -> bytes:
    """A request for routers."""
    more = {"source": LINK_LOCAL, "destination": ALL_ROUTERS, "hop_limit": 255, **more}
    return icmp6(133, 0, bytes(4) + options, **more)


def know6(net: Net, address: bytes = GUEST6, mac: bytes = GUEST_MAC) -> None:
    """Let the stack learn of the guest."""
    net.send(neighbor_advertisement(address, mac=mac))


def of_kind(frames: list[Any], protocol: int) -> list[Any]:
    """The IPv6 packets of a protocol among frames as dpkt has read them."""
    return [frame.data for frame in frames if frame.type == 0x86DD and frame.data.nxt == protocol]


class Peer6:
    """One TCP connection of the guest over IPv6, moved by hand, in order and without losses."""

    def __init__(self, net: Net, destination: bytes = WORLD6, dport: int = 80, sport: int = 40000) -> None:
        self.net = net
        self.flow: dict[str, Any] = {"destination": destination, "dport": dport, "sport": sport}
        self.seq, self.ack = 1000, 0
        self.received = b""

    def send(self, flags: int = ACK, data: bytes = b"", **more: Any) -> None:
        """One segment."""
        self.net.send(tcp6(flags, self.seq, self.ack, data, **self.flow, **more))
        self.seq += len(data) + (flags & SYN > 0) + (flags & 1)

    def take(self) -> list[Any]:
        """The segments that have come; their data is kept."""
        segments = [packet.data for packet in of_kind(self.net.take(), TCP)]
        for segment in segments:
            assert (segment.sport, segment.dport) == (self.flow["dport"], self.flow["sport"])
            if segment.flags & SYN:
                self.ack = segment.seq + 1
            elif segment.seq == self.ack:
                self.received += segment.data
                self.ack += len(segment.data) + (segment.flags & 1)
        return segments

    def open(self, latency: float = 0.01) -> None:
        """The handshake."""
        self.send(SYN, options=b"\2\4\x05\xa0")
        self.net.run(latency)
        (answer,) = self.take()
        assert answer.flags == SYN | ACK
        self.send(ACK)
