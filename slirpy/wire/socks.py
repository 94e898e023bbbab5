"""SOCKS 5 as a client speaks it (RFC 1928, RFC 1929): messages to and from a proxy."""

from __future__ import annotations

import errno

from slirpy.interfaces import Buffer

__all__ = [
    "ERRORS",
    "NO_AUTHENTICATION",
    "PASSWORD",
    "address_length",
    "connect_request",
    "greeting",
    "password_request",
]

_VERSION = 5
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
NO_AUTHENTICATION, PASSWORD = 0, 2
"""Methods of authentication."""

ERRORS = {
    2: (errno.EACCES, "not allowed by its rules"),
    3: (errno.ENETUNREACH, "network unreachable"),
    4: (errno.EHOSTUNREACH, "host unreachable"),
    5: (errno.ECONNREFUSED, "connection refused"),
    6: (errno.EHOSTUNREACH, "TTL expired"),
    7: (errno.EOPNOTSUPP, "command not supported"),
    8: (errno.EAFNOSUPPORT, "address type not supported"),
}
"""Error number and text of each reply."""


def greeting(*, password: bool) -> bytes:
    """The first message: the methods that the client offers."""
    methods = bytes((NO_AUTHENTICATION, PASSWORD) if password else (NO_AUTHENTICATION,))
    return bytes((_VERSION, len(methods))) + methods


def password_request(user: bytes, password: bytes) -> bytes:
    """A user name and a password, 1 to 255 bytes each (RFC 1929)."""
    return b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password


def connect_request(destination: str | bytes, port: int) -> bytes:
    """Ask for a connection to a name, or to an address of four or sixteen bytes."""
    if isinstance(destination, str):
        name = destination.encode("ascii")
        place = bytes((_NAME, len(name))) + name
    else:
        place = bytes((_IPV4 if len(destination) == 4 else _IPV6,)) + destination
    return bytes((_VERSION, _CONNECT, 0)) + place + port.to_bytes(2, "big")


def address_length(reply: Buffer) -> int | None:
    """Length of the address in a reply of which at least five bytes are there; None: of an unknown type."""
    return {_IPV4: 4, _NAME: 1 + reply[4], _IPV6: 16}.get(reply[3])
