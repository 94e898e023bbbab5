"""Fragmentation of packets to guests (RFC 791, section 3.2; RFC 8200, section 4.5)."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer, Frame
from slirpy.wire import ethernet, ipv4, ipv6

__all__ = ["cut", "cut6"]

_HEADERS: Final = Struct("!14sBBHHHBBH8s").pack
_HEADERS6: Final = Struct("!14sIHBB32sBxHI").pack
_FRAGMENT_LENGTH: Final = 8
_PADDING: Final = bytes(ethernet.MIN_LENGTH)
_from_bytes: Final = int.from_bytes
_new_frame: Final = tuple.__new__  # as in core/ip.py


def cut(
    ethernet_header: bytes,
    addresses: bytes,
    protocol: int,
    payload: Buffer,
    mtu: int,
    ident: int,
    ttl: int,
    tos: int,
) -> Iterator[tuple[Frame, int]]:
    """Yield the fragments of a packet, as frames that refer to ``payload``, with their lengths.

    Args:
        ethernet_header: 14 bytes.
        addresses: source and destination.
        mtu: the link's MTU; all fragments but the last are as long as it allows.
        ident: the identification, common to all fragments of one packet.
    """
    step = (mtu - ipv4.HEADER_LENGTH) & ~7
    view, length = memoryview(payload), len(payload)
    # The checksum makes the sum of the header's words a multiple of 65535, so it follows by arithmetic.
    words = 0x4500 + tos + ident + (ttl << 8 | protocol) + _from_bytes(addresses, "big")
    for offset in range(0, length, step):
        piece = view[offset : offset + step]
        total = ipv4.HEADER_LENGTH + len(piece)
        fragment = offset >> 3 if offset + step >= length else offset >> 3 | ipv4.MF
        checksum = -(words + total + fragment) % 65535
        header = _HEADERS(
            ethernet_header, 0x45, tos, total, ident, fragment, ttl, protocol, checksum, addresses
        )
        total += ethernet.HEADER_LENGTH
        if total < ethernet.MIN_LENGTH:
            yield Frame((header, piece, _PADDING[total:])), ethernet.MIN_LENGTH
        else:
            yield _new_frame(Frame, ((header, piece), 0, 0, 0)), total


def cut6(
    ethernet_header: bytes,
    addresses: bytes,
    protocol: int,
    payload: Buffer,
    mtu: int,
    ident: int,
    ttl: int,
    tos: int,
) -> Iterator[tuple[Frame, int]]:
    """Yield the fragments of an IPv6 packet; see :func:`cut`. The identification has 32 bits."""
    step = (mtu - ipv6.HEADER_LENGTH - _FRAGMENT_LENGTH) & ~7
    view, length = memoryview(payload), len(payload)
    first_word = 6 << 28 | tos << 20
    for offset in range(0, length, step):
        piece = view[offset : offset + step]
        total = _FRAGMENT_LENGTH + len(piece)
        more = 0 if offset + step >= length else ipv6.MF
        header = _HEADERS6(
            ethernet_header, first_word, total, ipv6.FRAGMENT, ttl, addresses, protocol, offset | more, ident
        )
        frame = _new_frame(Frame, ((header, piece), 0, 0, 0))
        yield frame, ethernet.HEADER_LENGTH + ipv6.HEADER_LENGTH + total
