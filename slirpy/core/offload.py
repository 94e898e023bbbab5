"""Software checksum and segmentation for frames between ports whose offloads differ.

In a frame from a TAP interface, the checksum field may contain only the sum of the pseudo-header, and a TCP segment
may have up to 64 KiB. A port that supports these offloads gets such a frame with the fields of :class:`Frame` set.
For other ports, checksums are computed and segments are cut here.

A segment is cut to the size that came with it (``gso_size``), as its sender would have cut it, or to less if the MTU
of the outgoing port is smaller. Without ``gso_size``, it is cut to that MTU. This works for IPv4 and IPv6, with or
without VLAN tags (IEEE 802.1Q). Frames with a tag are always cut here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from slirpy.core.port import LinkPort
from slirpy.interfaces import Frame
from slirpy.records import NamedTuple
from slirpy.stats import Stats
from slirpy.wire import ethernet, ipv4, tcp
from slirpy.wire.checksum import ones_sum

__all__ = ["Layout", "deliver", "frame_limit", "layout", "partial", "segments", "sum_ok"]

_IPV6_HEADER: Final = 40
_HOP_BY_HOP: Final = 0
_DESTINATION_OPTIONS: Final = 60
_EXTENSIONS: Final = 8
"""Maximum number of IPv6 extension headers to skip."""
_CHECKSUM_AT: Final = {ipv4.TCP: 16, ipv4.UDP: 6}
_LAST_ONLY: Final = tcp.FIN | tcp.PSH
SMALLEST_SEGMENT: Final = 128
"""Least payload in bytes to which frames are cut, whatever the sender's ``gso_size`` is.

Otherwise a sender could turn one frame into tens of thousands. No real network has a smaller maximum segment size.
"""
_PADDING: Final = bytes(ethernet.MIN_LENGTH)


class Layout(NamedTuple):
    """Layout of a frame with a whole TCP segment or UDP datagram. Offsets count from the start of the frame."""

    ip: int
    """Offset of the IP header: 14, and 4 more for each VLAN tag."""
    version: int
    """IP version, 4 or 6."""
    protocol: int
    """Transport protocol, 6 or 17."""
    transport: int
    """Offset of the TCP or UDP header."""
    data: int
    """Offset of the payload."""
    end: int
    """End of the packet; padding may follow."""
    pseudo: int
    """The ones' complement sum of the pseudo-header without its length."""
    cuttable: bool
    """True if it is a TCP segment that may be cut: neither SYN nor RST."""

    @property
    def checksum_offset(self) -> int:
        """Offset of the checksum field from the transport header: 16 or 6."""
        return _CHECKSUM_AT[self.protocol]


def frame_limit(view: memoryview, mtu: int) -> int:
    """Maximum length of a frame with this one's Ethernet header, for an IP MTU of ``mtu``."""
    return ethernet.payload_offset(view) + mtu


def layout(view: memoryview) -> Layout | None:
    """Find the transport header. None if the frame is not a complete, consistent TCP segment or UDP datagram."""
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
    """Report whether the transport checksum is correct."""
    length = where.end - where.transport
    return (ones_sum(view[where.transport : where.end]) + where.pseudo + length) % 65535 == 0


def partial(view: memoryview, where: Layout, gso_size: int = 0) -> Frame:
    """Build a frame for a port that computes the checksum, and cuts the segment if ``gso_size`` is given."""
    header = bytearray(view[: where.data])
    at = where.transport + where.checksum_offset
    if where.protocol == ipv4.UDP and where.version == 4 and header[at : at + 2] == b"\0\0":
        return Frame((view[: where.end],))  # a datagram without a checksum (RFC 768)
    value = (where.pseudo + where.end - where.transport) % 65535
    header[at : at + 2] = value.to_bytes(2, "big")
    return Frame((header, view[where.data : where.end]), gso_size, where.transport, where.checksum_offset)


def segments(view: memoryview, where: Layout, size: int) -> Iterator[Frame]:
    """Yield frames with at most ``size`` (1 or more) bytes of payload each, with all checksums computed.

    Only TCP yields more than one. Sequence numbers and IPv4 identifications count up; only the last frame has FIN and
    PSH, and only the first has CWR (RFC 3168, section 6.1.2).
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
        # For UDP, zero would mean "no checksum"; for TCP, both forms of zero are equivalent.
        header[at : at + 2] = (value or 0xFFFF).to_bytes(2, "big")
        yield Frame((header, piece))


def deliver(
    stats: Stats, ports: list[LinkPort] | tuple[LinkPort], view: memoryview, checksummed: bool, gso_size: int
) -> None:
    """Queue a frame at several ports, in a form that each supports. What cannot be delivered is counted."""
    length = len(view)
    plain = not checksummed and not gso_size
    where: Layout | None = None
    looked = sound = False
    for port in ports:
        # Frames that are longer because of a VLAN tag are handled below.
        if plain and length <= port.mtu + ethernet.HEADER_LENGTH:
            _queue(port, Frame((view,)))
            continue
        if not looked:
            looked, where = True, layout(view)
            sound = checksummed
        large = gso_size and where is not None and where.cuttable and where.end - where.data > gso_size
        if not large and length <= frame_limit(view, port.mtu):
            if where is None or not checksummed:
                _queue(port, Frame((view,)))
            elif port.checksum_offload:
                _queue(port, partial(view, where))
            else:
                for frame in segments(view, where, length):
                    _queue(port, frame)
            continue
        size = 0 if where is None else port.mtu - (where.data - where.ip)
        if where is None or not where.cuttable or size <= 0:
            stats.drop_switch_too_long += 1
            continue
        if large:
            size = min(size, max(gso_size, SMALLEST_SEGMENT))
        if not sound:  # new checksums must not hide a wrong one
            if not sum_ok(view, where):
                stats.drop_tcp_checksum += 1
                return
            sound = True
        # Only the first segment may have CWR, and links have no flag for that.
        whole = where.ip == ethernet.HEADER_LENGTH and not view[where.transport + 13] & tcp.CWR
        if port.segmentation_offload and whole:
            _queue(port, partial(view, where, size))
        else:
            for frame in segments(view, where, size):
                _queue(port, frame)


def _queue(port: LinkPort, frame: Frame) -> None:
    """Queue a frame at a port, padded if it is short; with a checksum offload, padding is left to the link."""
    length = sum(map(len, frame.parts))
    if length < ethernet.MIN_LENGTH and not frame.csum_start:
        frame = Frame((*frame.parts, _PADDING[length:]))
        length = ethernet.MIN_LENGTH
    port.forward(frame, length)
