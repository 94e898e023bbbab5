"""IP of a :class:`~slirpy.testing.guest.Guest`: addresses and next hops of both families, path MTUs, fragments."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random

from slirpy.addresses import AnyAddress, IPAddress, address_bytes
from slirpy.checks import whole
from slirpy.errors import ConfigError, StateError
from slirpy.interfaces import Buffer
from slirpy.testing.guest.addressing import Addressing, Addressing4, Addressing6
from slirpy.testing.guest.arp import ArpTable
from slirpy.testing.guest.fragments import fragments
from slirpy.testing.guest.host import GuestHost, packed
from slirpy.testing.guest.ndp import LINK_LOCAL_NETWORK, NdpTable, link_local
from slirpy.testing.guest.neighbors import NeighborTable

__all__ = ["IpHost"]

PATHS_MAX = 256
"""Destinations whose path MTU is remembered; the oldest is forgotten first."""


class IpHost(GuestHost):
    """A host with addresses, networks and routers; see :class:`GuestHost` for the arguments."""

    def __init__(
        self, send: Callable[[bytes], object], random: Random, now: int, mac: bytes, mtu: int, hostname: str
    ) -> None:
        super().__init__(send, random, now, mac, mtu, hostname)
        self.ipv4 = Addressing4()
        """IPv4 addresses, networks and routers."""
        self.ipv6 = Addressing6()
        """IPv6 addresses, networks and routers."""
        self._ident = random.getrandbits(16)
        self._path_mtus: dict[bytes, int] = {}
        self.arp = ArpTable(self, self.ipv4)
        self.ndp = NdpTable(self, self.ipv6)
        self._families: dict[int, tuple[Addressing, NeighborTable]] = {
            4: (self.ipv4, self.arp),
            16: (self.ipv6, self.ndp),
        }

    # ----------------------------------------------------------------------------------- its addresses

    @property
    def ip(self) -> bytes | None:
        """The guest's IPv4 address, four bytes; None before it has one."""
        addresses = self.ipv4.addresses
        return addresses[0] if addresses else None

    @property
    def address(self) -> IPv4Address | None:
        """IPv4 address of the guest; None before it has one."""
        return None if self.ip is None else IPv4Address(self.ip)

    @property
    def address6(self) -> IPv6Address | None:
        """IPv6 address of the guest that is valid beyond its link; None before it has one."""
        for address in self.ipv6.addresses:
            if not IPv6Address(address).is_link_local:
                return IPv6Address(address)
        return None

    @property
    def addresses(self) -> list[IPAddress]:
        """All addresses of the guest, IPv4 first."""
        return [ip_address(address) for address in (*self.ipv4.addresses, *self.ipv6.addresses)]

    @property
    def dns(self) -> list[bytes]:
        """DNS servers of the guest, four or sixteen bytes each, in the order in which they are asked."""
        return [*self.ipv4.dns, *self.ipv6.dns]

    def configure(
        self, address: AnyAddress, prefix: int, gateway: AnyAddress | None = None, dns: AnyAddress | None = None
    ) -> None:
        """Set the address of one family manually, instead of by DHCP or autoconfiguration.

        An IPv6 address comes with the link-local one that belongs to the MAC address.

        Args:
            address: address of either family.
            prefix: length of the network's prefix, 0 to 32, or to 128.
            gateway: next hop for addresses outside the network; None: they are unreachable.
            dns: server used by :meth:`resolve`.

        Raises:
            ConfigError: an argument that is not an address, or is of the other family.
        """
        own = packed(address)
        whole("prefix", prefix, 0, 8 * len(own))
        routers = self._same_family("gateway", gateway, own)
        servers = self._same_family("dns", dns, own)
        addressing, _ = self._families[len(own)]
        addressing.clear()
        self.add_address(own, prefix)
        addressing.routers += routers
        addressing.dns += servers

    @staticmethod
    def _same_family(what: str, value: AnyAddress | None, own: bytes) -> list[bytes]:
        """Return the bytes of an address given for ``what``, if one was given."""
        if value is None:
            return []
        address = address_bytes(what, value)
        if len(address) != len(own):
            raise ConfigError(
                f"{what} {ip_address(address)} is not of the family of {ip_address(own)}; call configure() for each"
                " family"
            )
        return [address]

    def take_link_local(self) -> None:
        """Take part in IPv6 by the link-local address that belongs to the MAC address, unless the guest does so."""
        if not self.ipv6.active:
            self.ipv6.addresses.append(link_local(self.mac))
            self.ipv6.networks.append(LINK_LOCAL_NETWORK)

    def add_address(self, address: bytes, prefix: int) -> None:
        """Add an address and its network. The first IPv6 address brings the link-local one with it."""
        addressing, _ = self._families[len(address)]
        if addressing is self.ipv6:
            self.take_link_local()
        addressing.addresses.append(address)
        addressing.networks.append((address, prefix))

    def is_own(self, address: bytes) -> bool:
        """Report whether an address is one of the guest's."""
        return address in self._families[len(address)][0].addresses

    def has_address(self, destination: bytes) -> bool:
        """Report whether the guest has an address from which to send to ``destination``."""
        return self._families[len(destination)][0].source_for(destination) is not None

    def unconfigure(self) -> None:
        """Give up the IPv4 address. Open connections stay open, but cannot send."""
        self.ipv4.clear()

    def source_for(self, destination: bytes) -> bytes:
        """Return the guest's address from which to send to ``destination``.

        Raises:
            StateError: it has none of that family yet.
        """
        addressing, _ = self._families[len(destination)]
        source = addressing.source_for(destination)
        if source is None:
            raise StateError(
                "the guest has no address yet; call dhcp() and wait until it is bound, or configure()"
                if addressing is self.ipv4
                else "the guest has no IPv6 address yet; call autoconfigure(), or configure()"
            )
        return source

    # ------------------------------------------------------------------------------------ path MTUs

    def mtu_for(self, destination: bytes) -> int:
        """Return the size of the largest IP packet for ``destination``, as far as is known, in bytes."""
        advertised = self._families[len(destination)][0].mtu
        known = self._path_mtus.get(destination, self.mtu)
        return min(self.mtu, known, self.mtu if advertised is None else advertised)

    def path_mtu(self, destination: bytes, mtu: int) -> None:
        """Take note of the MTU that a router on the way to ``destination`` reported."""
        least = self._families[len(destination)][0].family.least_mtu
        if least <= mtu < self.mtu_for(destination):
            self._path_mtus.pop(destination, None)
            while len(self._path_mtus) >= PATHS_MAX:
                del self._path_mtus[next(iter(self._path_mtus))]
            self._path_mtus[destination] = mtu

    # -------------------------------------------------------------------------------------- packets out

    def send_ip(
        self,
        destination: bytes,
        protocol: int,
        payload: Buffer,
        *,
        hop_limit: int = 64,
        source: bytes | None = None,
    ) -> None:
        """Send a packet, in fragments if it is larger than the MTU.

        Args:
            source: one of the guest's addresses; None: the one that suits the destination.
        """
        self._ident = (self._ident + 1) & 0xFFFF
        own = source or self.source_for(destination)
        mtu = self.mtu_for(destination)
        for packet in fragments(own, destination, protocol, payload, self._ident, hop_limit, mtu):
            self.send_packet(destination, packet)

    def send_packet(self, destination: bytes, packet: bytes) -> None:
        """Send a finished packet to the next hop for ``destination``, whose MAC address may have to be asked for."""
        addressing, neighbors = self._families[len(destination)]
        mac = addressing.group_mac(destination)
        if mac is not None:
            self.send_frame(mac, addressing.family.ethertype, packet)
            return
        hop = addressing.next_hop(destination)
        if hop is None:
            self.counters.unreachable += 1
        else:
            neighbors.send(hop, packet)
