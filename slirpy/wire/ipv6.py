"""The IPv6 header (RFC 8200), and its use by upper layers."""

from __future__ import annotations

from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire.checksum import ones_sum

__all__ = [
    "ALL_NODES",
    "ALL_ROUTERS",
    "DESTINATION_OPTIONS",
    "FRAGMENT",
    "HEADER_LENGTH",
    "HOP_BY_HOP",
    "ICMPV6",
    "LOOPBACK",
    "MF",
    "NEXT_HEADER_AT",
    "NO_NEXT_HEADER",
    "OFFSET_MASK",
    "ROUTING",
    "UNSPECIFIED",
    "IPv6Header",
    "build",
    "is_multicast",
    "multicast_mac",
    "parse",
    "pseudo_sum",
    "solicited_node",
]

HEADER_LENGTH: Final = 40
NEXT_HEADER_AT: Final = 6
"""Position of the Next Header field."""
HOP_BY_HOP: Final = 0
ROUTING: Final = 43
FRAGMENT: Final = 44
NO_NEXT_HEADER: Final = 59
DESTINATION_OPTIONS: Final = 60
ICMPV6: Final = 58
MF: Final = 0x0001
"""Flag of a Fragment header: more fragments follow."""
OFFSET_MASK: Final = 0xFFF8
"""The bits of a Fragment header's field that are the offset, in bytes."""
UNSPECIFIED: Final[bytes] = bytes(16)
LOOPBACK: Final = bytes(15) + b"\1"
ALL_NODES: Final = bytes.fromhex("ff020000000000000000000000000001")
ALL_ROUTERS: Final = bytes.fromhex("ff020000000000000000000000000002")

_HEADER: Final = Struct("!IHBB16s16s")
_VERSION: Final = 6 << 28
_SOLICITED: Final = bytes.fromhex("ff0200000000000000000001ff")


class IPv6Header(NamedTuple):
    """The fields of a header whose length is consistent with the packet's.

    As :func:`parse` returns it, ``protocol`` is the first header after the fixed 40 bytes, whatever that is;
    :func:`slirpy.wire.extension.walk` follows the extension headers up to the payload or a Fragment header.
    """

    payload_length: int
    """Bytes after the fixed header, including extension headers."""
    next_header: int
    hop_limit: int
    source: bytes
    destination: bytes
    traffic_class: int
    protocol: int
    """See :class:`~slirpy.wire.ip.Header`, as for the rest."""
    header_length: int = HEADER_LENGTH
    named_at: int = NEXT_HEADER_AT
    """Position of the Next Header field that holds ``protocol``, for a parameter problem with code 1."""
    fragment: int = 0
    """Offset and flags as in the Fragment header, if there is one."""
    ident: int = 0
    fragment_at: int = 0
    """Position of the Fragment header; 0: none."""
    reassembled: bool = False
    """True if the packet arrived in fragments (Neighbor Discovery must ignore it, RFC 6980 section 5)."""

    @property
    def total_length(self) -> int:
        return HEADER_LENGTH + self.payload_length

    @property
    def dont_fragment(self) -> bool:
        """True if a "packet too big" is useful to the sender, because it has not fragmented the packet already."""
        return not self.reassembled

    @property
    def is_fragment(self) -> bool:
        return bool(self.fragment & (MF | OFFSET_MASK))

    @property
    def more_fragments(self) -> bool:
        return bool(self.fragment & MF)

    @property
    def fragment_offset(self) -> int:
        return self.fragment & OFFSET_MASK


def parse(packet: Buffer) -> IPv6Header | None:
    """Read the header at the start of ``packet``; None if it is too short, of another version, or has a wrong
    length.

    Bytes after the packet (Ethernet padding) are allowed.
    """
    if len(packet) < HEADER_LENGTH:
        return None
    first, length, next_header, hop_limit, source, destination = _HEADER.unpack_from(packet)
    if first >> 28 != 6 or HEADER_LENGTH + length > len(packet):
        return None
    return IPv6Header(
        length, next_header, hop_limit, source, destination, first >> 20 & 0xFF, next_header, HEADER_LENGTH
    )


def build(
    source: bytes,
    destination: bytes,
    next_header: int,
    payload_length: int,
    hop_limit: int = 64,
    traffic_class: int = 0,
) -> bytes:
    """Build a header of 40 bytes for ``payload_length`` bytes after it.

    Raises:
        ValueError: an address has other than sixteen bytes.
    """
    if len(source) != 16 or len(destination) != 16:  # struct would cut or fill them
        raise ValueError(f"IPv6 addresses have 16 bytes; given were {len(source)} and {len(destination)}")
    return _HEADER.pack(
        _VERSION | traffic_class << 20, payload_length, next_header, hop_limit, source, destination
    )


def pseudo_sum(source: bytes, destination: bytes, protocol: int, length: int) -> int:
    """Return the ones' complement sum of the pseudo-header (RFC 8200 section 8.1) for ``length`` bytes."""
    return ones_sum(source + destination) + protocol + length


def is_multicast(address: bytes) -> bool:
    """Report whether an address is a multicast group."""
    return address[0] == 0xFF


def multicast_mac(address: bytes) -> bytes:
    """Return the Ethernet address of a group (RFC 2464 section 7)."""
    return b"\x33\x33" + address[12:]


def solicited_node(address: bytes) -> bytes:
    """Return the group in which the holder of an address listens for solicitations (RFC 4291 section 2.7.1)."""
    return _SOLICITED + address[13:]
