"""The addresses of one IP family that can be leased."""

from __future__ import annotations

from slirpy.config import Config
from slirpy.config.dhcp import StaticLease

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

__all__ = ["AddressPool", "ipv4_pool", "ipv6_pool"]


_SUBNET_ANYCAST = b"\xfd" + b"\xff" * 6
"""The first bytes of identifiers from fdff:ffff:ffff:ff80 on (RFC 2526)."""
_IANA_ETHERNET = bytes.fromhex("02005efffe")


@dataclass(frozen=True, slots=True)
class AddressPool:
    """A range of addresses, searched from ``start`` to its end and then from ``first``."""

    network: str
    """For messages, such as ``10.0.2.0/24``."""
    first: bytes
    size: int
    start: bytes
    servers: frozenset[bytes]
    """Addresses of virtual servers, which no guest gets."""
    static: tuple[StaticLease, ...]
    """Static leases of this family."""
    lease_time: int
    """Seconds, for leases about which nothing else was decided."""
    has_identifiers: bool = False
    """True if the last 64 bits of the addresses are interface identifiers (RFC 4291 section 2.5.1)."""

    def offset(self, address: bytes) -> int:
        """Position of an address of this family, from 0 to ``size`` if it is in the range."""
        return int.from_bytes(address, "big") - int.from_bytes(self.first, "big")

    def address(self, offset: int) -> bytes:
        """The address at a position."""
        return (int.from_bytes(self.first, "big") + offset).to_bytes(len(self.first), "big")

    def reserves(self, address: bytes) -> bool:
        """Report whether the last 64 bits of an address in the range mean something else than one host (RFC 5453)."""
        identifier = address[8:]
        if len(identifier) < 8 or not self.has_identifiers:
            return False
        anycast = identifier.startswith(_SUBNET_ANYCAST) and identifier[7] >= 0x80
        return anycast or identifier.startswith(_IANA_ETHERNET) or not any(identifier)

    def __contains__(self, address: bytes) -> bool:
        return len(address) == len(self.first) and 0 <= self.offset(address) < self.size


def ipv4_pool(config: Config) -> AddressPool:
    """The pool of DHCPv4: the network without its first and last address, from ``config.dhcpstart`` on.

    A transparent network has that address only.
    """
    low = int.from_bytes(config.network_address, "big") + 1
    size = int.from_bytes(config.broadcast_address, "big") - low
    return AddressPool(
        str(config.net),
        config.dhcpstart_address if config.transparent else low.to_bytes(4, "big"),
        1 if config.transparent else size,
        config.dhcpstart_address,
        config.server_addresses,
        _of_length(config, 4),
        config.lease_time,
    )


def ipv6_pool(config: Config) -> AddressPool:
    """The pool of DHCPv6: the network without its first address, from ``config.dhcpstart6`` on.

    The first address stands for any router (RFC 4291 section 2.6.1). A transparent network has ``config.dhcpstart6``
    only.
    """
    net = config.net6
    return AddressPool(
        str(net),
        config.dhcpstart_address6 if config.transparent else net[1].packed,
        1 if config.transparent else net.num_addresses - 1,
        config.dhcpstart_address6,
        config.server_addresses,
        _of_length(config, 16),
        config.lease_time,
        has_identifiers=net.prefixlen <= 64,
    )


def _of_length(config: Config, length: int) -> tuple[StaticLease, ...]:
    """The static leases of addresses with this number of bytes."""
    return tuple(lease for lease in config.static_leases if lease.address.max_prefixlen == 8 * length)
