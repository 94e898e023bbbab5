"""Neighbor Discovery messages (RFC 4861): solicitations are read, advertisements are built.

A reader returns None for every message that sections 6.1.1 and 7.1.1 require a receiver to discard, except for the
checksum, which :func:`checksum_ok` checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from slirpy.wire import ipv6
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.ipv6 import UNSPECIFIED, IPv6Header

__all__ = [
    "HOP_LIMIT",
    "NEIGHBOR_SOLICITATION",
    "ROUTER_SOLICITATION",
    "NeighborSolicitation",
    "RouterSolicitation",
    "checksum_ok",
    "neighbor_advertisement",
    "read_neighbor_solicitation",
    "read_router_solicitation",
    "router_advertisement",
]

HOP_LIMIT = 255
"""Hop limit of every message. A router would have decremented it, so it proves that the sender is on the link."""
ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136
SOURCE_LINK_ADDRESS = 1
TARGET_LINK_ADDRESS = 2
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20

_RS_LENGTH = 8
_NS_LENGTH = 24
_RA = Struct("!BBHBBHII")
_NA = Struct("!BBHBxxx16s")


class RouterSolicitation(NamedTuple):
    """A request of a host for routers."""

    link_address: bytes | None
    """The sender's MAC address as given in the message, six bytes, or None."""


class NeighborSolicitation(NamedTuple):
    """A request of a host for the MAC address of a target."""

    target: bytes
    link_address: bytes | None


def checksum_ok(header: IPv6Header, message: memoryview) -> bool:
    """Whether the checksum of an ICMPv6 message is correct."""
    pseudo = ipv6.pseudo_sum(header.source, header.destination, ipv6.ICMPV6, len(message))
    return (ones_sum(message) + pseudo) % 65535 == 0


def read_router_solicitation(header: IPv6Header, message: memoryview) -> RouterSolicitation | None:
    """Read a message of at least four bytes whose type is 133 (RFC 4861 section 6.1.1)."""
    if header.hop_limit != HOP_LIMIT or message[1] or len(message) < _RS_LENGTH:
        return None
    options = _options(message[_RS_LENGTH:])
    if options is None:
        return None
    link_address = options.get(SOURCE_LINK_ADDRESS)
    if header.source == UNSPECIFIED and SOURCE_LINK_ADDRESS in options:
        return None
    return RouterSolicitation(link_address)


def read_neighbor_solicitation(header: IPv6Header, message: memoryview) -> NeighborSolicitation | None:
    """Read a message of at least four bytes whose type is 135 (RFC 4861 section 7.1.1)."""
    if header.hop_limit != HOP_LIMIT or message[1] or len(message) < _NS_LENGTH:
        return None
    target = bytes(message[8:24])
    options = _options(message[_NS_LENGTH:])
    if options is None or ipv6.is_multicast(target):
        return None
    if header.source == UNSPECIFIED and (
        SOURCE_LINK_ADDRESS in options or header.destination != ipv6.solicited_node(target)
    ):
        return None
    return NeighborSolicitation(target, options.get(SOURCE_LINK_ADDRESS))


def _options(area: memoryview) -> dict[int, bytes] | None:
    """Return the first option of each type; None if one of them has length 0, or exceeds the message."""
    found: dict[int, bytes] = {}
    for piece in _pieces(area):
        if piece is None:
            return None
        found.setdefault(piece[0], bytes(piece[2:8]))
    return found


def _pieces(area: memoryview) -> Iterator[memoryview | None]:
    while len(area):
        length = area[1] * 8 if len(area) > 1 else 0
        if not 0 < length <= len(area):
            yield None
            return
        yield area[:length]
        area = area[length:]


def router_advertisement(
    source: bytes, destination: bytes, link_address: bytes, *, lifetime: int = 0, hop_limit: int = 0
) -> bytes:
    """Build the ICMPv6 advertisement of a router.

    Args:
        link_address: the router's MAC address.
        lifetime: seconds for which it is a default router, 0 to 65535; 0: it is not one.
        hop_limit: the hop limit for hosts' packets; 0: unspecified.
    """
    body = _RA.pack(ROUTER_ADVERTISEMENT, 0, 0, hop_limit, 0, lifetime, 0, 0)
    return _finished(source, destination, body + bytes((SOURCE_LINK_ADDRESS, 1)) + link_address)


def neighbor_advertisement(
    source: bytes, destination: bytes, target: bytes, link_address: bytes, *, solicited: bool
) -> bytes:
    """Build the ICMPv6 advertisement of one of the router's addresses."""
    flags = _ROUTER | _OVERRIDE | (_SOLICITED if solicited else 0)
    body = _NA.pack(NEIGHBOR_ADVERTISEMENT, 0, 0, flags, target)
    return _finished(source, destination, body + bytes((TARGET_LINK_ADDRESS, 1)) + link_address)


def _finished(source: bytes, destination: bytes, message: bytes) -> bytes:
    """Return the message with its checksum."""
    value = checksum(message, ipv6.pseudo_sum(source, destination, ipv6.ICMPV6, len(message)))
    return message[:2] + value.to_bytes(2, "big") + message[4:]
