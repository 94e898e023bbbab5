"""Addresses of sockets: tuples of Python, and bytes with a port."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from typing import Any

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.names import getaddrinfo, packed, sockaddr
from slirpy.testing.sim.wellknown import MAPPED

__all__ = ["pack", "unpack"]

_LENGTHS: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_LONGEST: dict[int, int] = {socket.AF_INET: 2, socket.AF_INET6: 4}


def pack(host: Host, family: int, place: Any) -> tuple[bytes, int]:
    """Return address and port of a socket's address, such as ``("server", 80)``, whose name is resolved.

    Args:
        host: the host of the socket.
        family: AF_INET or AF_INET6.
        place: what the program has given.

    Raises:
        TypeError: no such tuple.
        OverflowError: no port.
        socket.gaierror: there is no such name, or it has no address of the family.
    """
    if not isinstance(place, tuple) or not 2 <= len(place) <= _LONGEST[family]:
        wanted = "a pair (host, port)" if family == socket.AF_INET else "(host, port[, flowinfo[, scopeid]])"
        raise TypeError(f"{_name(family)} address must be {wanted}; given was {place!r}")
    name, port = place[0], place[1]
    if isinstance(name, bytes | bytearray):
        name = bytes(name).decode("ascii")
    if not isinstance(name, str) or not isinstance(port, int):
        raise TypeError(f"{_name(family)} address must be text and a number; given was {place!r}")
    if not 0 <= port <= 0xFFFF:
        raise OverflowError("port must be 0-65535.")
    if not name:
        return bytes(_LENGTHS[family]), port
    if name == "<broadcast>" and family == socket.AF_INET:
        return b"\xff" * 4, port
    address = packed(name, family)
    if address is None:
        text = getaddrinfo(host, name, port, family, flags=socket.AI_V4MAPPED)[0][4][0]
        address = socket.inet_pton(family, text.partition("%")[0])
    return (address[12:] if address[:12] == MAPPED else address), port


def _name(family: int) -> str:
    return socket.AddressFamily(family).name


def unpack(family: int, address: bytes, port: int) -> tuple[Any, ...]:
    """Return an address as Python's sockets have it: two values with AF_INET, four with AF_INET6."""
    if family == socket.AF_INET6 and len(address) == 4:
        return f"::ffff:{IPv4Address(address)}" if any(address) else "::", port, 0, 0
    return sockaddr(address, port)
