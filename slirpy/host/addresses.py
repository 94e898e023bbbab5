"""Conversion of addresses between slirpy's form (bytes) and that of :mod:`socket` (text)."""

from __future__ import annotations

import errno
import socket
from typing import Any, Final, TypeAlias

from slirpy.errortext import strerror
from slirpy.wire.scope import is_link_local, split_scope, with_scope

__all__ = ["NON_BLOCKING", "Name", "family_of", "name_of", "new_socket", "place_of"]

NON_BLOCKING: Final = getattr(socket, "SOCK_NONBLOCK", 0)
"""A flag for the kind of a new socket, which saves a system call; 0 where there is none."""
Name: TypeAlias = tuple[Any, ...]
"""Host and port; for a link-local IPv6 address flow label and scope too."""


def family_of(address: bytes) -> socket.AddressFamily:
    """Return the family of an address of four or sixteen bytes."""
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def new_socket(family: socket.AddressFamily, kind: int, protocol: int = 0) -> socket.socket:
    """Open a socket of the system.

    Raises:
        OSError: the system has none left, or EAFNOSUPPORT: it or this Python does not support the family.
    """
    # A Python without IPv6 may still open such a socket, but takes no addresses for it.
    if family is socket.AF_INET6 and not socket.has_ipv6:
        raise OSError(errno.EAFNOSUPPORT, strerror(errno.EAFNOSUPPORT))
    return socket.socket(family, kind, protocol)


def name_of(address: bytes, port: int) -> Name:
    """Return an address and port for :mod:`socket`. Always numeric, so no resolver is involved."""
    if len(address) == 4:
        return socket.inet_ntop(socket.AF_INET, address), port
    address, scope = split_scope(address)
    host = socket.inet_ntop(socket.AF_INET6, address)
    return (host, port, 0, scope) if scope else (host, port)


def place_of(name: tuple[Any, ...]) -> tuple[bytes, int]:
    """Return an address and port from the form of :mod:`socket`; a flow label is dropped.

    The scope of a link-local IPv6 address is kept inside the address: see :mod:`slirpy.wire.scope`.
    """
    host: str = name[0]
    port: int = name[1]
    if ":" not in host:
        return socket.inet_aton(host), port
    address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if len(name) > 3 and name[3] and is_link_local(address):
        address = with_scope(address, name[3])
    return address, port
