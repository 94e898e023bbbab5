"""What one port left undone and another cannot do: checksums and segmentation of frames between guests.

A frame from a TAP interface may have a checksum field that holds the sum of the pseudo-header alone, and may be a TCP
segment of up to 64 KiB, because between two cards that can do that nobody needs more. When such a frame leaves by a
port that cannot, the work is done here; when it leaves by one that can, it is described as :class:`Frame` wants it.

Such a frame is cut as its sender would have cut it, to the segment size that came with it (``gso_size``), which is
the connection's; and to less where the port by which it leaves has a smaller MTU. What came without a segment size is
cut to that MTU alone. IPv4 and IPv6, with VLAN tags (IEEE 802.1Q) or without; a frame with a tag is always cut here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from slirpy.interfaces import Frame
from slirpy.wire import ethernet, ipv4, tcp
from slirpy.wire.checksum import ones_sum

__all__ = ["Layout", "frame_limit", "layout", "partial", "segments", "sum_ok"]

_IPV6_HEADER = 40
_HOP_BY_HOP, _DESTINATION_OPTIONS = 0, 60
_EXTENSIONS = 8
"""IPv6 extension headers that are walked through at most."""
_CHECKSUM_AT = {ipv4.TCP: 16, ipv4.UDP: 6}
_LAST_ONLY = tcp.FIN | tcp.PSH


class Layout(NamedTuple):
    """Where things are in a frame with a whole TCP segment or UDP datagram. Offsets count from the frame's start."""

    ip: int
    """Of the IP header: 14, and 4 more for each VLAN tag."""
    version: int
    """4 or 6."""
    protocol: int
    """6 or 17."""
    transport: int
    """Of the TCP or UDP header."""
    data: int
    """Of the payload."""
    end: int
    """Of the packet; padding may follow."""
    pseudo: int
    """The ones' complement sum of the pseudo-header without its length."""
    cuttable: bool
    """Whether it is TCP that may be cut: neither SYN nor RST."""

    @property
    def checksum_offset(self) -> int:
        """Of the checksum field, from the transport header: 16 or 6."""
        return _CHECKSUM_AT[self.protocol]


def frame_limit(view: memoryview, mtu: int) -> int:
    """Bytes that a frame with this one's Ethernet header may have, where an IP packet may have ``mtu``."""
    return ethernet.payload_offset(view) + mtu


def layout(view: memoryview) -> Layout | None:
    """Find the transport header; None if the frame is no whole TCP segment or UDP datagram, or lies."""
    start = ethernet.payload_offset(view)
    kind = bytes(view[start - 2 : start])
    if kind == b"\x08\x00":
        header = ipv4.parse(view[start:])
        if header is None or header.fragment & (ipv4.MF | ipv4.OFFSET_MASK):
            return None
        version, protocol = 4, header.protocol
        transport, end = start + header.header_length, start + header.total_length
        addresses = view[start + 12 : start + 20]
    elif kind == b"\x86\xdd":
        if len(view) < start + _IPV6_HEADER or view[start] >> 4 != 6:
            return None
        version, protocol = 6, view[start + 6]
        transport = start + _IPV6_HEADER
        end = transport + (view[start + 4] << 8 | view[start + 5])
        addresses = view[start + 8 : transport]
        for _ in range(_EXTENSIONS):
            if protocol not in (_HOP_BY_HOP, _DESTINATION_OPTIONS) or transport + 8 > min(end, len(view)):
                break
            protocol = view[transport]
            transport += (view[transport + 1] + 1) * 8
    else:
        return None
    if protocol not in _CHECKSUM_AT or end > len(view):
        return None
    cuttable = False
    if protocol == ipv4.TCP:
        if transport + tcp.HEADER_LENGTH > end or view[transport + 12] >> 4 < 5:
            return None
        data = transport + (view[transport + 12] >> 4) * 4
        cuttable = not view[transport + 13] & (tcp.SYN | tcp.RST)
    else:
        data = transport + 8
    if data > end:
        return None
    return Layout(start, version, protocol, transport, data, end, ones_sum(addresses) + protocol, cuttable)


def sum_ok(view: memoryview, where: Layout) -> bool:
    """Whether the transport checksum is right."""
    length = where.end - where.transport
    return (ones_sum(view[where.transport : where.end]) + where.pseudo + length) % 65535 == 0


def partial(view: memoryview, where: Layout, gso_size: int = 0) -> Frame:
    """The frame with its checksum left to a port that computes it, and cut by it if ``gso_size`` is given."""
    header = bytearray(view[: where.data])
    at = where.transport + where.checksum_offset
    if where.protocol == ipv4.UDP and where.version == 4 and header[at : at + 2] == b"\0\0":
        return Frame((view[: where.end],))  # it has none, and needs none (RFC 768)
    value = (where.pseudo + where.end - where.transport) % 65535
    header[at : at + 2] = value.to_bytes(2, "big")
    return Frame((header, view[where.data : where.end]), gso_size, where.transport, where.checksum_offset)


def segments(view: memoryview, where: Layout, size: int) -> Iterator[Frame]:
    """Frames with at most ``size`` (1 or more) bytes of payload each, and with all checksums.

    More than one of them only for TCP: each continues the sequence numbers and the IPv4 identification; FIN and PSH
    are the last one's, CWR the first one's (RFC 3168, section 6.1.2).
    """
    start, transport, data = where.ip, where.transport, where.data
    at = transport + where.checksum_offset
    template = bytearray(view[:data])
    if where.protocol == ipv4.UDP and where.version == 4 and template[at : at + 2] == b"\0\0":
        yield Frame((view[: where.end],))
        return
    template[at : at + 2] = b"\0\0"
    is_tcp = where.protocol == ipv4.TCP
    seq = int.from_bytes(view[transport + 4 : transport + 8], "big")
    ident = int.from_bytes(view[start + 4 : start + 6], "big")
    flags = view[transport + 13] if is_tcp else 0
    length = where.end - data
    for number, offset in enumerate(range(0, length or 1, size)):
        piece = view[data + offset : min(data + offset + size, where.end)]
        header = bytearray(template)
        segment_length = data - transport + len(piece)
        if length > size:
            more = offset + size < length
            header[transport + 4 : transport + 8] = ((seq + offset) & 0xFFFFFFFF).to_bytes(4, "big")
            header[transport + 13] = flags & ~(_LAST_ONLY if more else 0) & ~(tcp.CWR if offset else 0)
            if where.version == 4:
                header[start + 2 : start + 4] = (data - start + len(piece)).to_bytes(2, "big")
                header[start + 4 : start + 6] = ((ident + number) & 0xFFFF).to_bytes(2, "big")
                header[start + 10 : start + 12] = b"\0\0"
                value = -ones_sum(header[start:transport]) % 65535
                header[start + 10 : start + 12] = value.to_bytes(2, "big")
            else:
                payload = data - start - _IPV6_HEADER + len(piece)
                header[start + 4 : start + 6] = payload.to_bytes(2, "big")
        value = -(ones_sum(header[transport:]) + ones_sum(piece) + where.pseudo + segment_length) % 65535
        # A UDP checksum of zero would mean "none"; for TCP both forms of zero are the same.
        header[at : at + 2] = (value or 0xFFFF).to_bytes(2, "big")
        yield Frame((header, piece))
