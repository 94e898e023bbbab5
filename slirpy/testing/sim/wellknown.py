"""Addresses that every host knows, by their lengths, and the host that every network has."""

from __future__ import annotations

from slirpy.wire import ipv6

__all__ = ["ANY", "LOOPBACK", "MAIN_HOST", "MAPPED", "reachable"]

MAIN_HOST = "client"
"""Name of the host on which tests run that name no other; it is made when it is first named."""

ANY = {4: bytes(4), 16: bytes(16)}
"""The unspecified address of each family, by the length of its addresses."""
LOOPBACK = {4: bytes((127, 0, 0, 1)), 16: ipv6.LOOPBACK}
"""The address of each family at which a host reaches itself."""
MAPPED = bytes(10) + b"\xff\xff"
"""First bytes of an IPv6 address that stands for one of IPv4 (RFC 4291, section 2.5.5.2)."""


def reachable(address: bytes) -> bytes:
    """Return the address to which packets for ``address`` go: the loopback in place of the unspecified one."""
    return address if any(address) else LOOPBACK[len(address)]
