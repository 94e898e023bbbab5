"""Addresses that are not of the Internet: the special-purpose registries of IANA (RFC 6890), and metadata services.

Two questions are answered here. The word ``internet`` of a rule means global unicast addresses outside of all special
ranges. A name's address may be pinned (:mod:`slirpy.core.pins`) unless it is private, loopback, link-local, metadata,
multicast or reserved; networks for documentation, which lead nowhere, are harmless there.
"""

from __future__ import annotations

from functools import cache, lru_cache
from ipaddress import ip_network

from slirpy.config.embedded import embedded_ipv4

__all__ = ["WORDS", "is_internet", "is_near", "is_pinnable"]

WORDS = {
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "metadata": (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.42.42", "100.100.100.200", "168.63.129.16",
        "192.0.0.192", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42",
        "fd00:a9fe:a9fe::1", "fe80::a9fe:a9fe",
    ),
}  # fmt: skip
"""Names of networks: RFC 1918, 6598, 4193, 3879; RFC 3927, 4291; and the addresses of cloud metadata services."""
_CLOSED4 = (
    "0.0.0.0/8", "127.0.0.0/8", "192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/3",
    *(network for networks in WORDS.values() for network in networks if ":" not in network),
)  # fmt: skip
"""Networks of this host, loopback, protocol assignments, benchmarks, multicast, reserved, and those of the words."""
_SPECIAL4 = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "192.88.99.0/24", "192.31.196.0/24",
             "192.52.193.0/24", "192.175.48.0/24")  # fmt: skip
"""Further ones: documentation (RFC 5737), 6to4 relays (RFC 7526), AS112 (RFC 7534, 7535) and AMT (RFC 7450)."""
_SPECIAL6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
"""Within 2000::/3: protocol assignments with Teredo and ORCHID, documentation (RFC 3849, 9637), 6to4, AS112."""
_UNPINNED6 = ("2001::/32", "2001:10::/28", "2001:20::/28", "2002::/16")
"""Within 2000::/3: Teredo, ORCHID and 6to4."""


@cache
def _numbers(networks: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Return the right shift and the remaining prefix of each network."""
    parsed = map(ip_network, networks)
    return tuple(
        (net.max_prefixlen - net.prefixlen, int(net.network_address) >> (net.max_prefixlen - net.prefixlen))
        for net in parsed
    )


_NEAR = (*WORDS["link-local"], *WORDS["metadata"])
_NEAR4 = tuple(network for network in _NEAR if ":" not in network)
_NEAR6 = tuple(network for network in _NEAR if network not in _NEAR4)
_REMEMBERED = 1024
"""Addresses whose kind is remembered."""
_ISATAP = (bytes.fromhex("00005efe"), bytes.fromhex("02005efe"))
_GLOBAL = 0x20
"""The first three bits of 2000::/3 (RFC 4291, section 2.4), in the first byte."""
_NAT64 = bytes.fromhex("0064ff9b0000000000000000")


def _within(number: int, networks: tuple[str, ...]) -> bool:
    return any(number >> shift == prefix for shift, prefix in _numbers(networks))


def _lies_outside(address: bytes, special4: bool, special6: tuple[str, ...]) -> bool:
    """Report whether an address is global unicast: with ``special4`` outside of all special IPv4 ranges too."""
    number = int.from_bytes(address, "big")
    if len(address) == 4:
        return not _within(number, _CLOSED4) and not (special4 and _within(number, _SPECIAL4))
    if address[:12] == _NAT64 or (address[0] & 0xE0 == _GLOBAL and address[8:12] in _ISATAP):
        inner = all(
            _lies_outside(embedded.to_bytes(4, "big"), special4, special6)
            for embedded in embedded_ipv4(address)
        )
        return inner and (address[:12] == _NAT64 or not _within(number, special6))
    return address[0] & 0xE0 == _GLOBAL and not _within(number, special6)


@lru_cache(_REMEMBERED)
def is_internet(address: bytes) -> bool:
    """Report whether an address (four or sixteen bytes) is global unicast and in none of the special ranges.

    An address of NAT64 (64:ff9b::/96) is what the IPv4 address in it is.
    """
    return _lies_outside(address, True, _SPECIAL6)


@lru_cache(_REMEMBERED)
def is_pinnable(address: bytes) -> bool:
    """Report whether an answer from outside may make an address count for a name."""
    return _lies_outside(address, False, _UNPINNED6)


@lru_cache(_REMEMBERED)
def is_near(address: bytes) -> bool:
    """Report whether an address is link-local or that of a metadata service, or may lead to one."""
    number = int.from_bytes(address, "big")
    if len(address) == 4:
        return _within(number, _NEAR4)
    inner = embedded_ipv4(address)
    return _within(number, _NEAR6) or any(_within(each, _NEAR4) for each in inner)
