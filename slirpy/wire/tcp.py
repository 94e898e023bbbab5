"""The TCP header (RFC 9293, section 3.1). :mod:`slirpy.wire.headers` has all headers of a segment in one piece."""

from __future__ import annotations

from struct import Struct

from slirpy.mypyc import Final

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

HEADER_LENGTH: Final = 20
FIN: Final = 1 << 0
SYN: Final = 1 << 1
RST: Final = 1 << 2
PSH: Final = 1 << 3
ACK: Final = 1 << 4
URG: Final = 1 << 5
ECE: Final = 1 << 6
CWR: Final = 1 << 7

HEADER: Final = Struct("!HHIIBBHHH")
"""Ports, SEG.SEQ, SEG.ACK, offset in the high nibble, flags, SEG.WND, checksum, SEG.UP."""


def flag_names(flags: int) -> str:
    """Return flags in their usual notation: ``"SYN,ACK"``; ``"none"`` for none."""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return ",".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "none"
