"""Frames as a box on the way sees them: addresses, ports, and the numbers of a TCP segment."""

from __future__ import annotations

from typing import TypeAlias

from slirpy.records import NamedTuple
from slirpy.tcp import Segment
from slirpy.wire import ethernet, ipv4, ipv6, tcp, udp
from slirpy.wire.checksum import checksum
from slirpy.wire.ip import family_of

__all__ = ["Fields", "Seen", "reset_frame", "seen"]

Fields: TypeAlias = tuple[bytes, Segment]
"""The flow key of a TCP segment, and the segment."""


class Seen(NamedTuple):
    """A TCP segment, or a UDP datagram, in a frame."""

    protocol: int
    source: bytes
    source_port: int
    target: bytes
    target_port: int
    seq: int
    ack: int
    flags: int
    length: int
    """Bytes of payload."""


def seen(frame: bytes) -> Seen | None:
    """Return the segment or datagram in a frame; None: it is something else, or a fragment that has no header."""
    kind = frame[12] << 8 | frame[13]
    view = memoryview(frame)[ethernet.HEADER_LENGTH :]
    header: ipv4.IPv4Header | ipv6.IPv6Header | None
    if kind == ethernet.TYPE_IPV4:
        header = ipv4.parse(view)
    elif kind == ethernet.TYPE_IPV6:
        header = ipv6.parse(view)
    else:
        return None
    if header is None or header.is_fragment:
        return None
    start, end = header.header_length, header.total_length
    if header.protocol == ipv4.TCP and end - start >= tcp.HEADER_LENGTH:
        source_port, port, seq, ack, offset, flags, _, _, _ = tcp.HEADER.unpack_from(view, start)
        length = end - start - (offset >> 4) * 4
        return Seen(ipv4.TCP, header.source, source_port, header.destination, port, seq, ack, flags, length)
    if header.protocol == ipv4.UDP and end - start >= udp.HEADER_LENGTH:
        source_port, port, size, _ = udp.HEADER.unpack_from(view, start)
        return Seen(
            ipv4.UDP, header.source, source_port, header.destination, port, 0, 0, 0, size - udp.HEADER_LENGTH
        )
    return None


def reset_frame(frame: bytes, packet: Seen, *, forward: bool) -> bytes:
    """Return a frame with the RST that a box on the way makes from a segment.

    Args:
        frame: the frame of the segment.
        packet: what is in it.
        forward: whether it goes to the receiver of the segment, after the segment; otherwise to its sender.
    """
    after = packet.seq + packet.length + bool(packet.flags & tcp.SYN) + bool(packet.flags & tcp.FIN)
    source, source_port, target, port = packet.source, packet.source_port, packet.target, packet.target_port
    macs, seq = frame[:12], after & 0xFFFFFFFF
    if not forward:
        source, source_port, target, port = target, port, source, source_port
        macs, seq = frame[6:12] + frame[:6], packet.ack
    family = family_of(source)
    words = source_port, port, seq, after & 0xFFFFFFFF, (tcp.HEADER_LENGTH << 2), tcp.RST | tcp.ACK, 0
    segment = tcp.HEADER.pack(*words, 0, 0)
    value = checksum(segment, family.pseudo_sum(source, target, ipv4.TCP, len(segment)))
    segment = tcp.HEADER.pack(*words, value, 0)
    packed = family.build(source, target, ipv4.TCP, len(segment))
    return macs + family.ethertype.to_bytes(2, "big") + packed + segment
