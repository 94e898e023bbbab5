"""The TCP header (RFC 9293, section 3.1), and all headers of a segment in one piece.

A frame of an established connection is read by one ``unpack_from`` and written by one ``pack_into``: see
:data:`FRAME` and ``core/tcpflow.py``.
"""

from __future__ import annotations

from struct import Struct

__all__ = [
    "ACK",
    "CWR",
    "ECE",
    "FIN",
    "FRAME",
    "FRAME6",
    "HEADER",
    "HEADER_LENGTH",
    "PSH",
    "RST",
    "SYN",
    "URG",
    "flag_names",
]

HEADER_LENGTH = 20
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

HEADER = Struct("!HHIIBBHHH")
"""Ports, SEG.SEQ, SEG.ACK, offset in the high nibble, flags, SEG.WND, checksum, SEG.UP."""

FRAME = Struct("!12sHBBHHHBBH12sIIBBHHH")
"""Ethernet, IPv4 without options and TCP without options, 54 bytes.

MAC addresses (12), EtherType, version and header length, TOS, total length, identification, fragment, TTL,
protocol, header checksum, **flow key** (source, destination, ports: 12), SEQ, ACK, offset, flags, window,
checksum, urgent pointer.
"""

FRAME6 = Struct("!12sHIHBB36sIIBBHHH")
"""Ethernet, IPv6 without extension headers and TCP without options, 74 bytes.

MAC addresses (12), EtherType, version with traffic class and flow label, payload length, next header, hop limit,
**flow key** (source, destination, ports: 36), SEQ, ACK, offset, flags, window, checksum, urgent pointer.
"""


def flag_names(flags: int) -> str:
    """Return flags in their usual notation: ``"SYN,ACK"``; ``"none"`` for none."""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return ",".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "none"
