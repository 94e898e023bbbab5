"""The TCP header (RFC 9293, section 3.1). :mod:`slirpy.wire.headers` has all headers of a segment in one piece."""

from __future__ import annotations

from struct import Struct

__all__ = [
    "ACK",
    "CWR",
    "ECE",
    "FIN",
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


def flag_names(flags: int) -> str:
    """Return flags in their usual notation: ``"SYN,ACK"``; ``"none"`` for none."""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return ",".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "none"
