"""Neighbor Discovery of a :class:`~slirpy.testing.guest.Guest`, for its addresses and its neighbours (RFC 4861)."""

from __future__ import annotations

from slirpy.testing.guest.addressing import Addressing6
from slirpy.testing.guest.host import GuestHost
from slirpy.testing.guest.neighbors import NeighborTable
from slirpy.wire import ethernet, ipv6, ndp
from slirpy.wire.ipv6 import IPv6Header

__all__ = ["LINK_LOCAL_NETWORK", "NdpTable", "interface_address", "link_local"]

LINK_LOCAL_NETWORK = bytes.fromhex("fe800000000000000000000000000000"), 64
"""Address and prefix length of the network of link-local addresses."""


def interface_address(prefix: bytes, mac: bytes) -> bytes:
    """Return the address that a MAC address makes of a prefix of 64 bits (RFC 4291, appendix A)."""
    return b"".join((prefix[:8], bytes((mac[0] ^ 2,)), mac[1:3], b"\xff\xfe", mac[3:]))


def link_local(mac: bytes) -> bytes:
    """Return the link-local address that belongs to a MAC address (RFC 4862, section 5.3)."""
    return interface_address(LINK_LOCAL_NETWORK[0], mac)


class NdpTable(NeighborTable):
    """The guest's neighbour cache.

    Attributes:
        duplicates: tentative addresses that turned out to be another host's. May be cleared.
    """

    addressing: Addressing6

    def __init__(self, guest: GuestHost, addressing: Addressing6) -> None:
        super().__init__(guest, addressing)
        self.duplicates: list[bytes] = []

    def request(self, address: bytes) -> None:
        source = self.addressing.source_for(address)
        if source is not None:
            group = ipv6.solicited_node(address)
            self.send_message(group, ndp.neighbor_solicitation(source, group, address, self.guest.mac), source)

    def probe(self, address: bytes) -> None:
        """Ask whether another host has an address that the guest wants to use (RFC 4862, section 5.4.2)."""
        group = ipv6.solicited_node(address)
        self.send_message(
            group, ndp.neighbor_solicitation(ipv6.UNSPECIFIED, group, address, None), ipv6.UNSPECIFIED
        )

    def send_message(self, destination: bytes, message: bytes, source: bytes, mac: bytes = b"") -> None:
        """Send a message with the hop limit that proves that it comes from this link.

        Args:
            mac: MAC address of the receiver; empty: that of the group ``destination``.
        """
        packet = ipv6.build(source, destination, ipv6.ICMPV6, len(message), ndp.HOP_LIMIT) + message
        self.guest.send_frame(mac or ipv6.multicast_mac(destination), ethernet.TYPE_IPV6, packet)

    def solicitation(self, header: IPv6Header, message: memoryview) -> None:
        """Handle a neighbour's request."""
        asked = ndp.read_neighbor_solicitation(header, message)
        if asked is None:
            self.guest.counters.malformed += 1
            return
        own, mac = self.addressing, asked.link_address
        anonymous = header.source == ipv6.UNSPECIFIED
        if asked.target in own.tentative:
            if anonymous:
                self._conflict(asked.target)
            return
        if asked.target not in own.addresses:
            return
        if mac is not None:
            self.learn(header.source, mac, create=True)
        to = ipv6.ALL_NODES if anonymous else header.source
        answer = ndp.neighbor_advertisement(
            asked.target, to, asked.target, self.guest.mac, router=False, solicited=not anonymous
        )
        if anonymous:
            self.send_message(to, answer, asked.target)
            return
        packet = ipv6.build(asked.target, to, ipv6.ICMPV6, len(answer), ndp.HOP_LIMIT) + answer
        self.send(to, packet)

    def advertisement(self, header: IPv6Header, message: memoryview) -> None:
        """Handle a neighbour's answer or announcement."""
        told = ndp.read_neighbor_advertisement(header, message)
        if told is None:
            self.guest.counters.malformed += 1
        elif told.target in self.addressing.tentative:
            self._conflict(told.target)
        elif told.link_address is not None:
            self.learn(told.target, told.link_address, create=False)

    def _conflict(self, address: bytes) -> None:
        self.addressing.tentative.remove(address)
        self.duplicates.append(address)
