"""Addresses of one IP family on a guest's card, with the networks, routers and DNS servers that belong to them."""

from __future__ import annotations

import abc

from slirpy.wire import ethernet, ipv6
from slirpy.wire.ip import V4, V6, Family
from slirpy.wire.scope import is_link_local

__all__ = ["EVERYWHERE", "Addressing", "Addressing4", "Addressing6"]

EVERYWHERE = b"\xff\xff\xff\xff"
"""255.255.255.255."""


class Addressing(abc.ABC):
    """The configuration of one family.

    Attributes:
        family: the family.
        addresses: the guest's addresses, the preferred one first.
        networks: what is on the link: a network's address and the length of its prefix.
        routers: next hops for everything else, the preferred one first.
        dns: DNS servers, the preferred one first.
        mtu: largest IP packet according to the routers, in bytes; None: they said nothing.
    """

    def __init__(self, family: Family) -> None:
        self.family = family
        self.addresses: list[bytes] = []
        self.networks: list[tuple[bytes, int]] = []
        self.routers: list[bytes] = []
        self.dns: list[bytes] = []
        self.mtu: int | None = None

    def clear(self) -> None:
        """Forget everything."""
        for entries in (self.addresses, self.networks, self.routers, self.dns):
            entries.clear()
        self.mtu = None

    def source_for(self, destination: bytes) -> bytes | None:
        """Return the address from which to send to ``destination``; None if the guest has none."""
        own = self.addresses
        if destination in own:
            return destination
        if len(own) == 1:
            return own[0]
        return max(own, key=lambda each: self._suitability(each, destination), default=None)

    def _suitability(self, own: bytes, destination: bytes) -> tuple[bool, int]:
        """Rank a source address (RFC 6724, section 5): the same scope, then the longest common prefix."""
        return is_link_local(own) == _stays_on_link(destination), common_bits(own, destination)

    def next_hop(self, destination: bytes) -> bytes | None:
        """Return the neighbour that gets packets for ``destination``; None if there is no route."""
        if any(common_bits(network, destination) >= length for network, length in self.networks):
            return destination
        return self.routers[0] if self.routers else None

    @abc.abstractmethod
    def group_mac(self, destination: bytes) -> bytes | None:
        """Return the MAC address of packets to several hosts at once; None if ``destination`` is a single host."""

    @abc.abstractmethod
    def accepts(self, destination: bytes) -> bool:
        """Report whether packets with this destination are for the guest."""


class Addressing4(Addressing):
    """IPv4."""

    def __init__(self) -> None:
        super().__init__(V4)

    def broadcast(self) -> bytes:
        """Broadcast address of the guest's network; without one, that of all networks."""
        if not self.networks:
            return EVERYWHERE
        network, length = self.networks[0]
        return (int.from_bytes(network, "big") | 0xFFFFFFFF >> length).to_bytes(4, "big")

    def group_mac(self, destination: bytes) -> bytes | None:
        return ethernet.BROADCAST if destination in (EVERYWHERE, self.broadcast()) else None

    def accepts(self, destination: bytes) -> bool:
        # A client without an address accepts all, because DHCP replies to the address on offer.
        own = self.addresses
        return not own or destination in own or destination in (EVERYWHERE, self.broadcast())


class Addressing6(Addressing):
    """IPv6. Without an address the guest has no IPv6.

    Attributes:
        tentative: addresses that the guest will use unless another host has them (RFC 4862, section 5.4).
        joined: multicast groups that the guest joined by itself.
    """

    def __init__(self) -> None:
        super().__init__(V6)
        self.tentative: list[bytes] = []
        self.joined: set[bytes] = set()

    @property
    def active(self) -> bool:
        """True if the guest takes part in IPv6."""
        return bool(self.addresses or self.tentative)

    def clear(self) -> None:
        super().clear()
        self.tentative.clear()

    def group_mac(self, destination: bytes) -> bytes | None:
        return ipv6.multicast_mac(destination) if ipv6.is_multicast(destination) else None

    def groups(self) -> set[bytes]:
        """The multicast groups in which the guest is."""
        own = [*self.addresses, *self.tentative]
        return {ipv6.ALL_NODES, *map(ipv6.solicited_node, own), *self.joined} if own else set()

    def accepts(self, destination: bytes) -> bool:
        return destination in self.addresses or destination in self.groups()


def common_bits(one: bytes, other: bytes) -> int:
    """Return the length of the common prefix of two addresses of one family, in bits."""
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return 8 * len(one) - difference.bit_length()


def _stays_on_link(destination: bytes) -> bool:
    """Report whether packets to this IPv6 address need a link-local source: link-local hosts and groups."""
    return is_link_local(destination) or (destination[0] == 0xFF and destination[1] & 15 <= 2)
