"""Neighbor Discovery messages (RFC 4861): solicitations, advertisements, redirects.

A reader takes a message of at least four bytes whose type is its own, and whose checksum is correct. It returns None
for every message that sections 6.1, 7.1 and 8.1 require a receiver to discard, and for one that arrived in fragments
(RFC 6980).
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from slirpy.records import NamedTuple
from slirpy.wire import icmpv6, ipv6
from slirpy.wire.ipv6 import UNSPECIFIED, IPv6Header
from slirpy.wire.ndpoption import (
    SOURCE_LINK_ADDRESS,
    TARGET_LINK_ADDRESS,
    LinkAddress,
    NdpOption,
    Options,
    read_options,
)
from slirpy.wire.scope import is_link_local

__all__ = [
    "HOP_LIMIT",
    "NEIGHBOR_ADVERTISEMENT",
    "NEIGHBOR_SOLICITATION",
    "REDIRECT",
    "ROUTER_ADVERTISEMENT",
    "ROUTER_SOLICITATION",
    "NeighborAdvertisement",
    "NeighborSolicitation",
    "Redirect",
    "RouterAdvertisement",
    "RouterSolicitation",
    "neighbor_advertisement",
    "neighbor_solicitation",
    "read_neighbor_advertisement",
    "read_neighbor_solicitation",
    "read_redirect",
    "read_router_advertisement",
    "read_router_solicitation",
    "router_advertisement",
    "router_solicitation",
]

HOP_LIMIT = 255
"""Hop limit of every message. A router would have decremented it, so it proves that the sender is on the link."""
ROUTER_SOLICITATION = 133
ROUTER_ADVERTISEMENT = 134
NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136
REDIRECT = 137
_ROUTER, _SOLICITED, _OVERRIDE = 0x80, 0x40, 0x20
_MANAGED, _OTHER = 0x80, 0x40

_RS_LENGTH, _RA_LENGTH, _NEIGHBOR_LENGTH, _REDIRECT_LENGTH = 8, 16, 24, 40
_RA = Struct("!BBHII")
_FLAGS_AT = 4


class RouterSolicitation(NamedTuple):
    """A request of a host for routers."""

    link_address: bytes | None
    """The sender's MAC address as given in the message, six bytes, or None."""


class RouterAdvertisement(NamedTuple):
    """A router's announcement of itself and of the link."""

    hop_limit: int
    """For hosts' packets; 0: unspecified."""
    managed: bool
    """True if addresses are assigned by DHCPv6."""
    other: bool
    """True if anything else is (RFC 4861 section 4.2)."""
    lifetime: int
    """Seconds for which it is a default router; 0: it is not one."""
    reachable: int
    """Milliseconds for which a neighbour counts as reachable; 0: unspecified."""
    retransmit: int
    """Milliseconds between solicitations; 0: unspecified."""
    options: Options


class NeighborSolicitation(NamedTuple):
    """A request of a host for the MAC address of a target."""

    target: bytes
    link_address: bytes | None


class NeighborAdvertisement(NamedTuple):
    """The announcement of a MAC address."""

    target: bytes
    link_address: bytes | None
    router: bool
    solicited: bool
    override: bool
    """True if it replaces another MAC address of the target."""


class Redirect(NamedTuple):
    """A router's advice to reach a destination by another neighbour."""

    target: bytes
    """The better first hop; the destination itself if that is on the link."""
    destination: bytes
    link_address: bytes | None


# ------------------------------------------------------------------------------------------------ reading


def _options(header: IPv6Header, message: memoryview, length: int) -> Options | None:
    """Check what is common to all messages, and read the options after ``length`` bytes."""
    if header.hop_limit != HOP_LIMIT or message[1] or len(message) < length:
        return None
    if header.fragment_at or header.reassembled:
        return None
    return read_options(message[length:])


def read_router_solicitation(header: IPv6Header, message: memoryview) -> RouterSolicitation | None:
    """Read a message whose type is 133 (RFC 4861 section 6.1.1)."""
    options = _options(header, message, _RS_LENGTH)
    if options is None or (header.source == UNSPECIFIED and options.source_mac is not None):
        return None
    return RouterSolicitation(options.source_mac)


def read_router_advertisement(header: IPv6Header, message: memoryview) -> RouterAdvertisement | None:
    """Read a message whose type is 134 (RFC 4861 section 6.1.2)."""
    options = _options(header, message, _RA_LENGTH)
    if options is None or not is_link_local(header.source):
        return None
    hop_limit, flags, lifetime, reachable, retransmit = _RA.unpack_from(message, _FLAGS_AT)
    managed, other = bool(flags & _MANAGED), bool(flags & _OTHER)
    return RouterAdvertisement(hop_limit, managed, other, lifetime, reachable, retransmit, options)


def read_neighbor_solicitation(header: IPv6Header, message: memoryview) -> NeighborSolicitation | None:
    """Read a message whose type is 135 (RFC 4861 section 7.1.1)."""
    options = _options(header, message, _NEIGHBOR_LENGTH)
    target = bytes(message[8:24])
    if options is None or ipv6.is_multicast(target):
        return None
    if header.source == UNSPECIFIED and (
        options.source_mac is not None or header.destination != ipv6.solicited_node(target)
    ):
        return None
    return NeighborSolicitation(target, options.source_mac)


def read_neighbor_advertisement(header: IPv6Header, message: memoryview) -> NeighborAdvertisement | None:
    """Read a message whose type is 136 (RFC 4861 section 7.1.2)."""
    options = _options(header, message, _NEIGHBOR_LENGTH)
    target = bytes(message[8:24])
    if options is None or ipv6.is_multicast(target):
        return None
    flags = message[_FLAGS_AT]
    if flags & _SOLICITED and ipv6.is_multicast(header.destination):
        return None
    return NeighborAdvertisement(
        target,
        options.target_mac,
        bool(flags & _ROUTER),
        bool(flags & _SOLICITED),
        bool(flags & _OVERRIDE),
    )


def read_redirect(header: IPv6Header, message: memoryview) -> Redirect | None:
    """Read a message whose type is 137 (RFC 4861 section 8.1), but for the check that its sender is the router in
    use.
    """
    options = _options(header, message, _REDIRECT_LENGTH)
    target, destination = bytes(message[8:24]), bytes(message[24:40])
    if options is None or not is_link_local(header.source) or ipv6.is_multicast(destination):
        return None
    if target != destination and not is_link_local(target):
        return None
    return Redirect(target, destination, options.target_mac)


# ------------------------------------------------------------------------------------------------ writing


def router_solicitation(source: bytes, destination: bytes, link_address: bytes | None) -> bytes:
    """Build the ICMPv6 solicitation of a host; without a MAC address if it has no ``source`` yet."""
    return icmpv6.build(source, destination, ROUTER_SOLICITATION, 0, 0, _source(link_address))


def router_advertisement(
    source: bytes,
    destination: bytes,
    link_address: bytes,
    *,
    lifetime: int = 0,
    hop_limit: int = 0,
    managed: bool = False,
    other: bool = False,
    reachable: int = 0,
    retransmit: int = 0,
    options: Iterable[NdpOption] = (),
) -> bytes:
    """Build the ICMPv6 advertisement of a router; see :class:`RouterAdvertisement` for the parameters.

    Args:
        source: the router's link-local address.
        destination: all nodes, or the host that has asked.
        link_address: the router's MAC address.
        options: prefixes, MTU, DNS servers, ..., in the order in which they are sent.
    """
    flags = (_MANAGED if managed else 0) | (_OTHER if other else 0)
    head = _RA.pack(hop_limit, flags, lifetime, reachable, retransmit)
    body = head[4:] + _source(link_address) + b"".join(option.pack() for option in options)
    first = int.from_bytes(head[:4], "big")
    return icmpv6.build(source, destination, ROUTER_ADVERTISEMENT, 0, first, body)


def neighbor_solicitation(
    source: bytes, destination: bytes, target: bytes, link_address: bytes | None
) -> bytes:
    """Build an ICMPv6 solicitation; without a MAC address if it looks for duplicates (RFC 4862 section 5.4.2)."""
    return icmpv6.build(source, destination, NEIGHBOR_SOLICITATION, 0, 0, target + _source(link_address))


def neighbor_advertisement(
    source: bytes,
    destination: bytes,
    target: bytes,
    link_address: bytes,
    *,
    solicited: bool,
    router: bool = True,
    override: bool = True,
) -> bytes:
    """Build an ICMPv6 advertisement; see :class:`NeighborAdvertisement` for the parameters."""
    flags = (_ROUTER if router else 0) | (_SOLICITED if solicited else 0) | (_OVERRIDE if override else 0)
    body = target + LinkAddress(TARGET_LINK_ADDRESS, link_address).pack()
    return icmpv6.build(source, destination, NEIGHBOR_ADVERTISEMENT, 0, flags << 24, body)


def _source(link_address: bytes | None) -> bytes:
    return b"" if link_address is None else LinkAddress(SOURCE_LINK_ADDRESS, link_address).pack()
