"""Frames of a guest, for the scripts that are played to both networks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from slirpy.wire import arp, ethernet, ipv4, ipv6, udp
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import family_of
from tests.support import frames6
from tests.system.oracle import GATEWAY, GUEST, MAC, PLAN4, PLAN6, Plan, Talk
from tests.system.oracle_decode import Seen

__all__ = [
    "TcpEnd",
    "answer",
    "arp_frame",
    "dhcp",
    "fragments",
    "hello",
    "ip",
    "ping",
    "question",
    "udp_frame",
    "udp_packet",
]

ROUTER = ethernet.virtual_mac(GATEWAY)
NOWHERE, EVERYWHERE = bytes(4), b"\xff" * 4
SYN, ACK, FIN, RST, PSH, URG = 2, 16, 1, 4, 8, 32


def arp_frame(
    target: bytes,
    *,
    sender: bytes = GUEST,
    mac: bytes = MAC,
    operation: int = arp.REQUEST,
    target_mac: bytes = bytes(6),
    to: bytes = ethernet.BROADCAST,
) -> bytes:
    """An ARP packet."""
    return to + mac + b"\x08\x06" + arp.build(arp.ArpPacket(operation, mac, sender, target_mac, target))


def question(talk: Talk, target: bytes | None = None) -> bytes:
    """The guest's question for the MAC address of its gateway, or another, in which it names its own."""
    target = talk.plan.gateway if target is None else target
    if talk.plan is PLAN4:
        return arp_frame(target)
    return frames6.neighbor_solicitation(target, source=talk.plan.guest)


def answer(talk: Talk) -> bytes:
    """The guest's answer to the same question about itself."""
    if talk.plan is PLAN4:
        return arp_frame(GATEWAY, operation=arp.REPLY, target_mac=ROUTER, to=ROUTER)
    return frames6.neighbor_advertisement(PLAN6.guest)


def hello(talk: Talk) -> None:
    """The guest makes itself known, as one does that asks for its gateway's MAC address."""
    talk.step("hello", question(talk))


def ip(
    destination: bytes, protocol: int, payload: bytes, *, source: bytes | None = None, ttl: int = 64,
    fragment: int = 0, ident: int = 1, tos: int = 0, to: bytes | None = None,
) -> bytes:  # fmt: skip
    """A packet of the destination's family in a frame; ``fragment`` is as in the header of IPv4."""
    plan = plan_of(destination)
    source = plan.guest if source is None else source
    to = ethernet.virtual_mac(plan.gateway) if to is None else to
    if plan is PLAN4:
        header = ipv4.build(
            source, destination, protocol, len(payload), ident=ident, fragment=fragment, ttl=ttl, tos=tos
        )
        return to + MAC + b"\x08\x00" + header + payload
    if fragment:
        field = (fragment & ipv4.OFFSET_MASK) << 3 | bool(fragment & ipv4.MF)
        payload = struct.pack("!BxHI", protocol, field, ident) + payload
        protocol = ipv6.FRAGMENT
    header = ipv6.build(source, destination, protocol, len(payload), ttl, tos)
    return to + MAC + b"\x86\xdd" + header + payload


def plan_of(address: bytes) -> Plan:
    """The plan of an address's family."""
    return PLAN4 if len(address) == 4 else PLAN6


def fragments(destination: bytes, protocol: int, payload: bytes, size: int, ident: int) -> list[bytes]:
    """Build a datagram in fragments of ``size`` bytes, a multiple of eight."""
    pieces = []
    for offset in range(0, len(payload), size):
        more = ipv4.MF if offset + size < len(payload) else 0
        pieces.append(
            ip(destination, protocol, payload[offset : offset + size], fragment=more | offset // 8, ident=ident)
        )
    return pieces


def ping(destination: bytes, data: bytes = b"abcdefgh", *, sequence: int = 1, ttl: int = 64) -> bytes:
    """An echo request."""
    family = family_of(destination)
    messages = messages_of(destination)
    source, rest = plan_of(destination).guest, 0x1234 << 16 | sequence
    message = messages.build(source, destination, messages.echo_request, 0, rest, data)
    return ip(destination, family.icmp, message, ttl=ttl)


def udp_packet(
    destination: bytes, sport: int, dport: int, payload: bytes, source: bytes | None = None
) -> bytes:
    """A UDP header and its payload."""
    source = plan_of(destination).guest if source is None else source
    return udp.build(source, sport, destination, dport, payload) + payload


def udp_frame(
    destination: bytes, sport: int, dport: int, payload: bytes, *, source: bytes | None = None,
    to: bytes | None = None, ttl: int = 64,
) -> bytes:  # fmt: skip
    """A datagram in a frame."""
    packet = udp_packet(destination, sport, dport, payload, source)
    return ip(destination, ipv4.UDP, packet, source=source, to=to, ttl=ttl)


def dhcp(
    kind: int | None,
    *options: tuple[int, bytes],
    xid: int,
    mac: bytes = MAC,
    flags: int = 0,
    ciaddr: bytes = NOWHERE,
    source: bytes = NOWHERE,
    destination: bytes = EVERYWHERE,
) -> bytes:
    """A message of a DHCP client; None as kind is BOOTP."""
    message = struct.pack(
        "!BBBBIHH4s4s4s4s16s192xI",
        1,
        1,
        6,
        0,
        xid,
        0,
        flags,
        ciaddr,
        NOWHERE,
        NOWHERE,
        NOWHERE,
        mac,
        0x63825363,
    )
    if kind is not None:
        options = ((53, bytes((kind,))), *options)
    for code, value in options:
        message += bytes((code, len(value))) + value
    message = (message + b"\xff").ljust(300, b"\0")
    to = ethernet.BROADCAST if destination == EVERYWHERE else ROUTER
    packet = udp_packet(destination, 68, 67, message, source)
    header = ipv4.build(source, destination, ipv4.UDP, len(packet), ttl=64)
    return to + mac + b"\x08\x00" + header + packet


class TcpEnd:
    """The guest's end of one connection: it only counts; what is sent, and when, the script says."""

    def __init__(self, talk: Talk, port: int, far: int, address: bytes | None = None) -> None:
        self._talk = talk
        self.port, self.far = port, far
        self.address = talk.plan.gateway if address is None else address
        self.seq, self.ack = 0x01000000, 0
        self.window = 65535
        talk.at_end.append(lambda: self.segment(RST, seq=self.seq))

    def segment(
        self, flags: int, payload: bytes = b"", *, options: bytes = b"", urgent: int = 0, seq: int | None = None
    ) -> bytes:
        """A segment; what it takes of the sequence space is counted, unless ``seq`` is given."""
        at = self.seq if seq is None else seq
        if seq is None:
            self.seq += len(payload) + bool(flags & (SYN | FIN))
        ack = self.ack if flags & ACK else 0
        offset = (20 + len(options)) << 2
        header = struct.pack(
            "!HHIIBBHHH", self.port, self.far, at % 2**32, ack, offset, flags, self.window, 0, urgent
        )
        body = header + options + payload
        pseudo = ones_sum(plan_of(self.address).guest + self.address) + 6 + len(body)
        body = body[:16] + checksum(body, pseudo).to_bytes(2, "big") + body[18:]
        return ip(self.address, ipv4.TCP, body)

    def step(
        self, name: str, flags: int, payload: bytes = b"", *, until: str = "", **more: bytes | int
    ) -> list[Seen]:
        """Send one segment and wait for another of kind ``until``, such as ``"tcp FIN"``."""
        frame = self.segment(flags, payload, **more)  # type: ignore[arg-type] # each value fits its argument
        wanted = (lambda seen: any(one.kind == until for one in seen)) if until else 0
        return self.took(self._talk.step(name, frame, until=wanted))

    def took(self, seen: Sequence[Seen]) -> list[Seen]:
        """Count what has come."""
        for one in seen:
            if one.stream is None or one.segment[:4] != struct.pack("!HH", self.far, self.port):
                continue
            flags = one.segment[13]
            end = (
                int.from_bytes(one.segment[4:8], "big")
                + len(one.stream[2])
                + bool(flags & SYN)
                + bool(flags & FIN)
            )
            if flags & SYN or (end - self.ack) % 2**32 < 2**31:
                self.ack = end % 2**32
        return list(seen)

    def open(self, options: bytes = b"\x02\x04\x05\xb4", name: str = "connect") -> None:
        """SYN, SYN,ACK, ACK."""
        self.step(f"{name}-syn", SYN, options=options, until="tcp SYN")
        self.step(f"{name}-ack", ACK)
