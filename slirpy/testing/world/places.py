"""Addresses and ports of the simulated world: as tests write them, as they read them, and as the stack uses them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TypeAlias, TypeVar

from slirpy.addresses import AnyAddress, IPAddress, address_bytes, port_number
from slirpy.errors import ConfigError

__all__ = [
    "Key",
    "Place",
    "SocketAddress",
    "find",
    "key_of",
    "place_of",
    "shown",
    "source_of",
    "unix_place",
]

SocketAddress: TypeAlias = tuple[IPAddress, int]
"""An address and a port, as a test reads them."""

Place: TypeAlias = tuple[bytes, int]
"""An address of four or sixteen bytes and a port, as the stack uses them."""

Key: TypeAlias = tuple[bytes | None, int | None]
"""An address and a port; None stands for any."""

_T = TypeVar("_T")


def place_of(address: AnyAddress, port: int) -> Place:
    """Return an address and a port from a test in the form of the stack.

    Raises:
        ConfigError: an invalid address, or a port that is not 1 to 65535.
    """
    return address_bytes("address", address), port_number("port", port, 1)


def source_of(source: tuple[AnyAddress, int] | None, destination: bytes) -> Place | None:
    """Return the source that a test has chosen for traffic to ``destination``; None: it has chosen none.

    Raises:
        ConfigError: not an address and a port, or an address of the other family than the destination's.
    """
    if source is None:
        return None
    if not isinstance(source, tuple) or len(source) != 2:
        raise ConfigError(
            f"source {source!r} is not a pair of address and port, such as ('198.51.100.9', 5555)"
        )
    address, port = address_bytes("source", source[0]), port_number("port of source", source[1], 1)
    if len(address) != len(destination):
        raise ConfigError(
            f"source {ip_address(address)} and destination {ip_address(destination)} must both be IPv4 or both IPv6"
        )
    return address, port


def key_of(address: AnyAddress | None, port: int | None) -> Key:
    """Return an address and a port from a test, None for any, in the form of the stack.

    Raises:
        ConfigError: an invalid address, or a port that is not 1 to 65535.
    """
    return (
        None if address is None else address_bytes("address", address),
        None if port is None else port_number("port", port, 1),
    )


def unix_place(path: str) -> Place:
    """Return the place of a unix socket: the bytes of its path, and port 0."""
    return path.encode(errors="surrogateescape"), 0


def shown(place: Place) -> SocketAddress:
    """Return an address and a port in the form that tests read."""
    return ip_address(place[0]), place[1]


def find(table: dict[Key, _T], address: bytes, port: int) -> _T | None:
    """Return the most specific entry for a destination."""
    anywhere = bytes(len(address))
    keys: tuple[Key, ...] = (
        (address, port), (anywhere, port), (address, None), (None, port), (None, None),
    )  # fmt: skip
    for key in keys:
        if key in table:
            return table[key]
    return None
