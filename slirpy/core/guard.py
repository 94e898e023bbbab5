"""A guard between guests: what only a router, a DHCP server or the owner of an address may say.

The stack ignores such messages from guests. The guard keeps them from the other guests, too: the switch asks it about
each frame from one guest to another, except for TCP and UDP that is plainly something else. It stops

- router advertisements and redirects of both families (the idea of RFC 6105), and queries of MLD,
- messages of DHCP and DHCPv6 servers to clients (RFC 7610),
- every packet from an address of a virtual host, such as answers of the DNS server, whatever its protocol,
- ARP and Neighbor Discovery from such an address, from one that is leased to another guest, or from one that is in
  use behind another port.

Addresses are those of the neighbour table, which learns from these messages; its rules decide when an address may
move (:mod:`slirpy.core.neighbor`). With ``source_guard``, they apply to the source of each packet. A family that is
off is not guarded, since it may have another router.

**Evasion** (RFC 7113). Extension headers are followed, up to :data:`HEADERS_MAX`. A packet whose chain of headers is
longer or incomplete, in particular a first fragment without the whole chain (RFC 7112), is stopped, and so is every
message of Neighbor Discovery with a Fragment header (RFC 6980). Later fragments pass; no host can reassemble them
without the first one. Priority tags and LLC/SNAP headers, which some systems skip, are followed as well. Frames with
a VLAN identifier belong to another network and pass.
"""

from __future__ import annotations

from collections.abc import Container

from slirpy.core.neighbor import Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.wire import arp, ethernet, ipv4, ipv6, mld, ndp

__all__ = ["HEAD_LENGTH", "Guard", "is_plain"]

HEADERS_MAX = 8
"""Extension headers of a packet, and tags of a frame, that are followed."""
_CLIENT_PORT, _CLIENT_PORT6 = 68, 546
_LENGTHS_MAX = 1500
"""Values of the EtherType field up to this one are the length of an IEEE 802.3 frame."""
_SNAP = bytes.fromhex("aaaa03000000")
_REDIRECT4, _ADVERTISEMENT4 = 5, 9
"""Types of ICMP: redirect (RFC 792) and router advertisement (RFC 1256)."""
_UDP_LENGTH, _ICMP_LENGTH = 8, 4
_AUTHENTICATION, _MOBILITY, _HIP, _SHIM6 = 51, 135, 139, 140
_HEADERS = frozenset(
    (
        ipv6.HOP_BY_HOP,
        ipv6.ROUTING,
        ipv6.DESTINATION_OPTIONS,
        ipv6.FRAGMENT,
        _AUTHENTICATION,
        _MOBILITY,
        _HIP,
        _SHIM6,
    )
)
_LEAST = {ipv4.TCP: 0, ipv4.UDP: _UDP_LENGTH, ipv6.ICMPV6: _ICMP_LENGTH}
_ROUTERS = frozenset((ndp.ROUTER_ADVERTISEMENT, ndp.REDIRECT, mld.QUERY))
_SOLICITATIONS = frozenset((ndp.ROUTER_SOLICITATION, ndp.NEIGHBOR_SOLICITATION))
HEAD_LENGTH = 58
"""Bytes of a frame up to the ports of UDP over IPv6, for :func:`is_plain`."""
_TYPE_IPV4, _TYPE_IPV6 = ethernet.TYPE_IPV4, ethernet.TYPE_IPV6
_TCP, _UDP = ipv4.TCP, ipv4.UDP
_NO_OPTIONS = 0x45
"""First byte of an IPv4 header without options."""
_CLIENT, _CLIENT6 = _CLIENT_PORT.to_bytes(2, "big"), _CLIENT_PORT6.to_bytes(2, "big")
_NDP_LENGTH = 24
"""Bytes of a neighbour solicitation or advertisement up to the end of its target."""


def is_plain(head: bytes, servers: Container[bytes]) -> bool:
    """Return whether the first :data:`HEAD_LENGTH` bytes of a frame show that there is nothing to guard.

    ``servers`` are the addresses of the virtual hosts.

    That is so for TCP, and for UDP without further headers to another port than a DHCP client's, from other addresses
    than theirs. The guard comes to the same conclusion, at a higher cost.
    """
    if len(head) < 24:
        return False
    kind = head[12] << 8 | head[13]
    if kind == _TYPE_IPV4:
        if head[26:30] in servers:
            return False
        protocol = head[23]
        return protocol == _TCP or (protocol == _UDP and head[14] == _NO_OPTIONS and head[36:38] != _CLIENT)
    if kind == _TYPE_IPV6:
        if head[22:38] in servers:
            return False
        protocol = head[20]
        return protocol == _TCP or (protocol == _UDP and head[56:58] != _CLIENT6)
    return False


class Guard:
    """The guard of one stack; see the module docstring."""

    def __init__(self, network: Network, neighbors: Neighbors) -> None:
        self._network = network
        self._neighbors = neighbors
        self._ipv4 = network.config.ipv4
        self._ipv6 = network.config.ipv6
        self._sources = network.config.source_guard

    def passes(self, port: LinkPort, head: bytes, view: memoryview) -> bool:
        """Report whether a frame from ``port`` may reach other guests; ``head`` is its beginning."""
        if not self._sources and is_plain(head, self._network.addresses):
            return True
        return not self.stops(port, view)

    def stops(self, port: LinkPort, view: memoryview) -> bool:
        """Report whether a frame from ``port``, of at least 14 bytes, must not reach other guests. If so, it is
        counted.
        """
        at = ethernet.HEADER_LENGTH
        for _ in range(HEADERS_MAX):
            kind = view[at - 2] << 8 | view[at - 1]
            if kind == ethernet.TYPE_IPV4:
                return self._ipv4 and self._stops_ipv4(port, view, at)
            if kind == ethernet.TYPE_IPV6:
                return self._ipv6 and self._stops_ipv6(port, view, at)
            if kind == ethernet.TYPE_ARP:
                return self._ipv4 and self._stops_arp(port, view, at)
            if kind in ethernet.TAGS:
                if len(view) < at + ethernet.TAG_LENGTH or view[at] & 0x0F or view[at + 1]:
                    return False
                at += ethernet.TAG_LENGTH
            elif kind <= _LENGTHS_MAX and view[at : at + len(_SNAP)] == _SNAP and len(view) >= at + 8:
                at += len(_SNAP) + 2
            else:
                return False
        self._network.stats.drop_guard_chain += 1
        return True

    # ------------------------------------------------------------------------------------------- IPv4

    def _stops_ipv4(self, port: LinkPort, view: memoryview, at: int) -> bool:
        packet = view[at:]
        if len(packet) < ipv4.HEADER_LENGTH:
            return False
        if self._is_forged(bytes(packet[12:16]), port, view):
            return True
        start = (packet[0] & 0x0F) * 4
        protocol = packet[9]
        later = packet[6] & 0x1F or packet[7]
        if later or len(packet) < start + _ICMP_LENGTH:
            return False
        stats = self._network.stats
        if protocol == ipv4.UDP and packet[start + 2] << 8 | packet[start + 3] == _CLIENT_PORT:
            stats.drop_guard_dhcp += 1
            return True
        if protocol == ipv4.ICMP and packet[start] in (_REDIRECT4, _ADVERTISEMENT4):
            stats.drop_guard_router += 1
            return True
        return False

    def _stops_arp(self, port: LinkPort, view: memoryview, at: int) -> bool:
        packet = arp.parse(view[at:])
        return packet is not None and self._claims(packet.sender, port, view)

    # ------------------------------------------------------------------------------------------- IPv6

    def _stops_ipv6(self, port: LinkPort, view: memoryview, at: int) -> bool:
        packet = view[at:]
        header = ipv6.parse(packet)
        if header is None:
            return False  # no host accepts it
        if self._is_forged(header.source, port, view):
            return True
        stats = self._network.stats
        end = header.total_length if header.payload_length else len(packet)
        protocol, start, fragmented = _upper(packet, header.next_header, end)
        if protocol is None:
            stats.drop_guard_chain += 1
            return True
        if protocol == ipv4.UDP:
            if packet[start + 2] << 8 | packet[start + 3] != _CLIENT_PORT6:
                return False
            stats.drop_guard_dhcp += 1
            return True
        if protocol != ipv6.ICMPV6:
            return False
        kind = packet[start]
        if not ndp.ROUTER_SOLICITATION <= kind <= ndp.REDIRECT and kind != mld.QUERY:
            return False
        if fragmented:
            stats.drop_guard_fragment += 1
            return True
        if kind in _ROUTERS:
            stats.drop_guard_router += 1
            return True
        if kind in _SOLICITATIONS:
            return self._claims(header.source, port, view)
        if end < start + _NDP_LENGTH:
            return False
        return self._claims(bytes(packet[start + 8 : start + _NDP_LENGTH]), port, view)

    # -------------------------------------------------------------------------------------- addresses

    def _is_forged(self, source: bytes, port: LinkPort, view: memoryview) -> bool:
        """Report whether the source of a packet shows that another host has sent it."""
        network = self._network
        if self._sources:
            if not any(source):
                return False  # a guest that has no address yet
            if network.may_be_guest(source):
                return self._neighbors.learn(source, bytes(view[6:12]), port) is None
        elif not network.config.contains(source) or network.may_be_guest(source):
            return False
        network.stats.drop_guard_address += 1
        return True

    def _claims(self, address: bytes, port: LinkPort, view: memoryview) -> bool:
        """Report whether a frame claims an address that its sender does not have. If it may have it, this is
        learned.
        """
        network = self._network
        if not any(address) or not network.config.contains(address):
            return False
        if not network.may_be_guest(address):
            network.stats.drop_guard_address += 1
            return True
        return self._neighbors.learn(address, bytes(view[6:12]), port) is None


def _upper(packet: memoryview, kind: int, end: int) -> tuple[int | None, int, bool]:
    """Follow the headers of an IPv6 packet that ends at ``end``.

    Returns:
        The protocol of the upper layer, where its header begins, and whether there is a Fragment header. A protocol
        of None: the chain is too long or incomplete, or the packet is too short for the upper layer's header. That of
        a later fragment is that of no header.
    """
    at = ipv6.HEADER_LENGTH
    fragmented = False
    for _ in range(HEADERS_MAX + 1):
        if kind not in _HEADERS:
            return (kind if at + _LEAST.get(kind, 0) <= end else None), at, fragmented
        if at + 8 > end:
            return None, at, fragmented
        if kind == ipv6.FRAGMENT:
            fragmented = True
            if (packet[at + 2] << 8 | packet[at + 3]) & ipv6.OFFSET_MASK:
                return ipv6.NO_NEXT_HEADER, at, True
            length = 8
        elif kind == _AUTHENTICATION:
            length = (packet[at + 1] + 2) * 4
        else:
            length = (packet[at + 1] + 1) * 8
        kind = packet[at]
        at += length
    return None, at, fragmented
