"""Addresses that are valid in one place only: link-local ones, with their interface, and loopback ones.

A link-local address of IPv6 is valid on one link (RFC 4007), so sockets need the number of its interface, too. Bytes
2 to 7 of the address are always zero (RFC 4291, section 2.5.6). Inside slirpy, bytes 4 to 7 contain the number, as in
BSD kernels. :mod:`slirpy.host.addresses` takes it out again for sockets.
"""

from __future__ import annotations

import errno
from typing import Final

from slirpy.addresses import IPAddress

__all__ = ["is_link_local", "is_loopback", "split_scope", "with_interface", "with_scope"]

_LOOPBACK6: Final = bytes(15) + b"\1"


def is_link_local(address: bytes) -> bool:
    """Report whether an address is one of fe80::/10."""
    return len(address) == 16 and address[0] == 0xFE and address[1] & 0xC0 == 0x80


def is_loopback(address: bytes) -> bool:
    """Report whether an address is a host's own loopback: one of 127.0.0.0/8, or ::1."""
    return address[0] == 127 if len(address) == 4 else address == _LOOPBACK6


def with_scope(address: bytes, index: int) -> bytes:
    """Return a link-local address that contains the number of its interface."""
    return address[:4] + index.to_bytes(4, "big") + address[8:]


def split_scope(address: bytes) -> tuple[bytes, int]:
    """Split an IPv6 address into the form on the wire and the number of its interface, or 0."""
    if is_link_local(address):
        return address[:4] + bytes(4) + address[8:], int.from_bytes(address[4:8], "big")
    return address, 0


def with_interface(address: IPAddress, scope: str = "") -> bytes:
    """Return an address that a user has written, in bytes; a link-local one contains the number of its interface.

    Args:
        scope: the interface's name or number; empty: the address says it.

    Raises:
        OSError: there is no such interface.
    """
    scope = scope or getattr(address, "scope_id", None) or ""
    packed = address.packed
    if not scope or not is_link_local(packed):
        return packed
    if scope.isdecimal():
        number = int(scope) if len(scope) < 10 else 0
    else:
        from socket import if_nametoindex  # the engine needs no sockets

        try:
            number = if_nametoindex(scope)
        except OSError:  # without a number in Python 3.11
            number = 0
    if not number:
        raise OSError(errno.ENODEV, "no such interface")
    return with_scope(packed, number)
