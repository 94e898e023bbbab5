"""All headers of a usual frame with TCP or UDP, read and written in one piece.

The usual frame has neither tags nor IP options nor extension headers. Its headers are read as the same fields in both
IP families, so that one text serves both. Only the numbers in :class:`Layout` differ:

============  ======================================================================================
``macs``      destination and source MAC address, 12 bytes
``kind``      the EtherType
``version``   the first two bytes of the IP header, which contain the traffic class
``total``     total length (IPv4), payload length (IPv6)
``fragment``  the field with DF, MF and the offset; ``b""`` for IPv6, which has none
``word``      time to live and protocol (IPv4), next header and hop limit (IPv6), 16 bits
``key``       the flow key
============  ======================================================================================

Behind them are the fields of TCP up to the window, or length and checksum of UDP.

They are written as the MAC addresses with :attr:`Layout.front` (one field), ``total``, :meth:`Layout.middle`, the
header's checksum (``b""`` for IPv6, which has none), the flow key or the addresses, and the fields of TCP or UDP.
"""

from __future__ import annotations

from struct import Struct, pack
from typing import Final

from slirpy.wire import ethernet, ipv4, ipv6

__all__ = ["LAYOUT", "LAYOUT6", "Layout", "layout_of"]


class Layout:
    """The numbers of an IP family.

    Attributes:
        kind: the EtherType.
        versions: the values of ``version`` in usual packets.
        whole: the values of ``fragment`` in packets that are no fragments.
        addresses_at: offset of the IP addresses in the frame.
        transport_at: offset of the transport header.
        length_from: offset from which ``total`` counts.
        header_in_total: bytes of the IP header that ``total`` counts.
        has_header_sum: whether the IP header has a checksum.
        front: the EtherType and the constant bytes before ``total``.
        segment: reads a frame of TCP.
        segment_in: reads it with fewer fields: the first 16 bytes; ``total``; the identification; ``fragment`` and
            ``word`` in one; the header's checksum; the key; SEQ and ACK; data offset and flags in one; the window.
            IPv6 has no identification and no checksum, so these are ``b""``.
        datagram: reads a frame of UDP, with the identification before ``fragment`` and the header's checksum behind
            ``word``; both are ``b""`` for IPv6.
        segment_out: writes a frame of TCP, with its flow key.
        stamped_out: the same with timestamps, in their usual layout.
        datagram_out: writes a frame of UDP, with its addresses.
    """

    def __init__(self, six: bool) -> None:
        header_length = ipv6.HEADER_LENGTH if six else ipv4.HEADER_LENGTH
        self.kind = ethernet.TYPE_IPV6 if six else ethernet.TYPE_IPV4
        # Everything but the mark of a router (RFC 3168, section 5), the last of four values of the ECN field, which
        # the slow path reports.
        version, shift = (range(0x6000, 0x7000), 4) if six else (range(0x4500, 0x4600), 0)
        unmarked = (range(first, first + (3 << shift)) for first in version[:: 4 << shift])
        self.versions: frozenset[int] = frozenset().union(*unmarked)
        reserved = 0x8000  # which receivers ignore
        self.whole: frozenset[int | bytes] = frozenset(
            (b"",) if six else (0, ipv4.DF, reserved, reserved | ipv4.DF)
        )
        self.transport_at = ethernet.HEADER_LENGTH + header_length
        self.addresses_at = self.transport_at - (32 if six else 8)
        self.length_from = self.transport_at if six else ethernet.HEADER_LENGTH
        self.header_in_total = self.transport_at - self.length_from
        self.has_header_sum = not six
        front = "!12sHH2xH0sH36s" if six else "!12sHHH2xHH2x12s"
        self.segment = Struct(front + "IIBBH4x")
        self.segment_in = Struct(("!16s2xH0sH0s36s" if six else "!16sHHIH12s") + "IIHH4x")
        self.datagram = Struct(("!12sHH2xH0s0sH0s36s" if six else "!12sHHHHHHH12s") + "HH")
        # No traffic class, and no flow label, which nothing needs on a link of its own (RFC 6437, section 3).
        self.front = b"\x86\xdd\x60\0\0\0" if six else b"\x08\0\x45\0"
        front = "!18sH2s0s" if six else "!16sH6sH"
        self.segment_out = Struct(front + ("36s" if six else "12s") + "IIBBHHH")
        self.stamped_out = Struct(self.segment_out.format + "III")
        self.datagram_out = Struct(front + ("32s" if six else "8s") + "HHHH")

    def marked(self, front: bytes, ecn: int) -> bytes:
        """Return bytes that end with :attr:`front`, with an ECN field in the IP header."""
        if self.has_header_sum:
            return front[:-1] + bytes((front[-1] | ecn,))
        return front[:-3] + bytes((front[-3] | ecn << 4,)) + front[-2:]

    def word(self, protocol: int, hops: int) -> int:
        """Return the value of ``word``."""
        return hops << 8 | protocol if self.has_header_sum else protocol << 8 | hops

    def words(self, protocol: int) -> frozenset[int]:
        """Return the values of ``word`` for packets that may be carried one hop or further."""
        first, second, last = (self.word(protocol, hops) for hops in (1, 2, 255))
        return frozenset(range(first, last + 1, second - first))

    def middle(self, protocol: int, hops: int, fragment: int = 0) -> bytes:
        """Return the bytes between ``total`` and the checksum, or the addresses; the identification is 0."""
        return (
            bytes((protocol, hops)) if not self.has_header_sum else pack("!HHBB", 0, fragment, hops, protocol)
        )


LAYOUT: Final = Layout(six=False)
LAYOUT6: Final = Layout(six=True)


def layout_of(address: bytes) -> Layout:
    """Return the layout of the family of an address."""
    return LAYOUT if len(address) == 4 else LAYOUT6
