"""The IPv4 header (RFC 791)."""

from __future__ import annotations

from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire.checksum import checksum, ones_sum

__all__ = [
    "DF",
    "HEADER_LENGTH",
    "ICMP",
    "MF",
    "OFFSET_MASK",
    "TCP",
    "UDP",
    "IPv4Header",
    "build",
    "header_ok",
    "parse",
]

HEADER_LENGTH: Final = 20
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
DF: Final = 0x4000
MF: Final = 0x2000
OFFSET_MASK: Final = 0x1FFF

_HEADER: Final = Struct("!BBHHHBBH4s4s")
_new: Final = tuple.__new__  # half of the time of calling IPv4Header


class IPv4Header(NamedTuple):
    """The fields of a consistent header."""

    header_length: int
    """Length of the header in bytes, 20 to 60."""
    tos: int
    total_length: int
    """Length of the packet with its header, in bytes."""
    ident: int
    fragment: int
    """Flags and offset, as in the header."""
    ttl: int
    protocol: int
    source: bytes
    destination: bytes

    @property
    def hop_limit(self) -> int:
        """See :class:`~slirpy.wire.ip.Header`, as for the rest."""
        return self.ttl

    @property
    def traffic_class(self) -> int:
        return self.tos

    @property
    def dont_fragment(self) -> bool:
        return bool(self.fragment & DF)

    @property
    def is_fragment(self) -> bool:
        return bool(self.fragment & (MF | OFFSET_MASK))

    @property
    def more_fragments(self) -> bool:
        return bool(self.fragment & MF)

    @property
    def fragment_offset(self) -> int:
        return (self.fragment & OFFSET_MASK) * 8


def parse(packet: Buffer) -> IPv4Header | None:
    """Read the header at the start of ``packet``; None if it is too short or has inconsistent lengths.

    Bytes after the packet (Ethernet padding) are allowed. :func:`header_ok` checks the checksum.
    """
    if len(packet) < HEADER_LENGTH:
        return None
    version, tos, total, ident, fragment, ttl, protocol, _, source, destination = _HEADER.unpack_from(packet)
    header_length = (version & 15) * 4
    if version >> 4 != 4 or header_length < HEADER_LENGTH or not header_length <= total <= len(packet):
        return None
    return _new(IPv4Header, (header_length, tos, total, ident, fragment, ttl, protocol, source, destination))


def header_ok(packet: Buffer, header_length: int) -> bool:
    """Report whether the header's checksum is correct."""
    return ones_sum(packet[:header_length]) == 0


def build(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload_length: int,
    *,
    ident: int = 0,
    fragment: int = 0,
    ttl: int = 64,
    tos: int = 0,
) -> bytes:
    """Build a header of 20 bytes with its checksum, for ``payload_length`` bytes after it.

    Raises:
        ValueError: an address has other than four bytes.
    """
    if len(source) != 4 or len(destination) != 4:  # struct would cut them
        raise ValueError(f"IPv4 addresses have 4 bytes; given were {len(source)} and {len(destination)}")
    total = HEADER_LENGTH + payload_length
    header = _HEADER.pack(0x45, tos, total, ident, fragment, ttl, protocol, 0, source, destination)
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
