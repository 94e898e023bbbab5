"""Fragments of a :class:`~slirpy.testing.guest.Guest`, both ways (RFC 791, section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator

from slirpy.interfaces import Buffer
from slirpy.wire import ipv4

__all__ = ["Reassembler", "fragments"]

MAX_PACKETS = 64
"""Incomplete packets that are kept; the oldest goes first."""


def fragments(
    source: bytes, destination: bytes, protocol: int, payload: Buffer, ident: int, ttl: int, mtu: int
) -> Iterator[bytes]:
    """The packets that carry ``payload``: one, or as many as the MTU asks for."""
    room = mtu - ipv4.HEADER_LENGTH
    length = len(payload)
    step = room if length <= room else room & ~7
    view = memoryview(payload)
    for offset in range(0, max(length, 1), step):
        piece = view[offset : offset + step]
        more = ipv4.MF if offset + len(piece) < length else 0
        header = ipv4.build(
            source, destination, protocol, len(piece), ident=ident, fragment=offset >> 3 | more, ttl=ttl
        )
        yield header + piece


class Reassembler:
    """Packets of which not all fragments have come."""

    def __init__(self) -> None:
        self._packets: dict[tuple[bytes, bytes, int, int], dict[int, tuple[bytes, bool]]] = {}

    def insert(self, header: ipv4.IPv4Header, packet: memoryview) -> tuple[ipv4.IPv4Header, memoryview] | None:
        """Take a fragment; the whole packet with its header, once it is complete."""
        key = header.source, header.destination, header.protocol, header.ident
        if key not in self._packets and len(self._packets) >= MAX_PACKETS:
            del self._packets[next(iter(self._packets))]
        pieces = self._packets.setdefault(key, {})
        offset = (header.fragment & ipv4.OFFSET_MASK) * 8
        pieces[offset] = bytes(packet[header.header_length :]), bool(header.fragment & ipv4.MF)
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
        whole = ipv4.build(
            header.source, header.destination, header.protocol, len(payload), ident=header.ident, ttl=header.ttl
        )
        parsed = ipv4.parse(whole + payload)
        return None if parsed is None else (parsed, memoryview(whole + payload))
