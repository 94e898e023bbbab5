"""Fragments of a guest's packets, in both directions (RFC 791; RFC 8200, section 4.5)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import TypeAlias

from slirpy.interfaces import Buffer
from slirpy.wire import ipv4, ipv6
from slirpy.wire.ip import family_of
from slirpy.wire.ipv4 import IPv4Header
from slirpy.wire.ipv6 import IPv6Header

__all__ = ["Packet", "Reassembler", "fragments"]

MAX_PACKETS = 64
"""Incomplete packets that are kept; the oldest is evicted first."""
_FRAGMENT = Struct("!BxHI")
"""The Fragment header: next header, offset and flag, identification."""

Packet: TypeAlias = IPv4Header | IPv6Header
"""The header of a packet; with IPv6 it says what follows the extension headers."""


def fragments(
    source: bytes, destination: bytes, protocol: int, payload: Buffer, ident: int, hop_limit: int, mtu: int
) -> Iterator[bytes]:
    """Return the packets that carry ``payload``: one, or as many as the MTU requires."""
    version, room = family_of(source).version, mtu - family_of(source).header_length
    length = len(payload)
    whole = length <= room
    step = room if whole else (room - (_FRAGMENT.size if version == 6 else 0)) & ~7
    view = memoryview(payload)
    for offset in range(0, max(length, 1), step):
        piece = view[offset : offset + step]
        size = len(piece)
        more = offset + size < length
        if version == 4:
            field = offset >> 3 | (ipv4.MF if more else 0)
            yield (
                ipv4.build(source, destination, protocol, size, ident=ident, fragment=field, ttl=hop_limit)
                + piece
            )
        elif whole:
            yield ipv6.build(source, destination, protocol, size, hop_limit) + piece
        else:
            extension = _FRAGMENT.pack(protocol, offset | more, ident)
            header = ipv6.build(source, destination, ipv6.FRAGMENT, len(extension) + size, hop_limit)
            yield b"".join((header, extension, piece))


class Reassembler:
    """Packets with missing fragments."""

    def __init__(self) -> None:
        self._packets: dict[tuple[bytes, bytes, int, int], dict[int, tuple[bytes, bool]]] = {}

    def insert(self, header: Packet, packet: memoryview) -> bytes | None:
        """Take a fragment; returns the whole packet, without options and extension headers, once it is complete."""
        key = header.source, header.destination, header.protocol, header.ident
        if key not in self._packets and len(self._packets) >= MAX_PACKETS:
            del self._packets[next(iter(self._packets))]
        pieces = self._packets.setdefault(key, {})
        pieces[header.fragment_offset] = bytes(packet[header.header_length :]), _has_more(header)
        payload = bytearray()
        more = True
        while more:
            if len(payload) not in pieces:
                return None
            data, more = pieces[len(payload)]
            if not data:
                return None
            payload += data
        del self._packets[key]
        source, destination, protocol, _ = key
        family = family_of(source)
        length = len(payload)
        if length + (family.header_length if family.version == 4 else 0) > 0xFFFF:
            return None
        return family.build(source, destination, protocol, length, hop_limit=header.hop_limit) + payload


def _has_more(header: Packet) -> bool:
    """Report whether a fragment is not the last one of its packet."""
    return bool(header.fragment & (ipv4.MF if isinstance(header, IPv4Header) else ipv6.MF))
