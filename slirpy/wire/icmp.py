"""ICMP messages (RFC 792): echo, and errors with the packets that they quote.

:class:`Cause` and :class:`Trouble` are what errors say, to guests and from them, in words that fit both IP families.
"""

from __future__ import annotations

import enum
import errno
from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire import ipv4
from slirpy.wire.checksum import checksum

__all__ = [
    "ADMIN_PROHIBITED",
    "ECHO_REPLY",
    "ECHO_REQUEST",
    "ERRORS",
    "FRAGMENTATION_NEEDED",
    "HEADER_LENGTH",
    "HOST_UNREACHABLE",
    "NET_UNREACHABLE",
    "PORT_UNREACHABLE",
    "PROTOCOL_UNREACHABLE",
    "REASSEMBLY_TIME",
    "TIME_EXCEEDED",
    "UNREACHABLE",
    "Cause",
    "Quote",
    "Trouble",
    "build",
    "cause_of",
    "code_of",
    "read_error",
    "read_quote",
]

HEADER_LENGTH: Final = 8
ECHO_REPLY: Final = 0
UNREACHABLE: Final = 3
ECHO_REQUEST: Final = 8
TIME_EXCEEDED: Final = 11
ERRORS: Final = frozenset((UNREACHABLE, 4, 5, TIME_EXCEEDED, 12))
"""Types of errors, which must not cause another error (RFC 1122, section 3.2.2)."""

NET_UNREACHABLE: Final = 0
HOST_UNREACHABLE: Final = 1
PROTOCOL_UNREACHABLE: Final = 2
PORT_UNREACHABLE: Final = 3
FRAGMENTATION_NEEDED: Final = 4
ADMIN_PROHIBITED: Final = 13
REASSEMBLY_TIME: Final = 1
"""Code of :data:`TIME_EXCEEDED`: some fragments did not arrive in time."""

_PARAMETER_PROBLEM: Final = 12
_PROHIBITED: Final = frozenset((9, 10, ADMIN_PROHIBITED))
_HARD: Final = frozenset((PROTOCOL_UNREACHABLE, PORT_UNREACHABLE, *_PROHIBITED))
"""Codes of destination unreachable that say no for good: protocol, port, and the prohibitions (RFC 1122, section
4.2.3.9; RFC 1812, section 5.2.7.1)."""
_NETWORK: Final = frozenset((NET_UNREACHABLE, 6, 9, 11))
"""Codes of destination unreachable about the whole network."""
_HEADER: Final = Struct("!BBHI")
_QUOTED: Final = Struct("!BxHHHBBxx4s4s")


def build(kind: int, code: int, rest: int, payload: Buffer) -> bytes:
    """Build a whole message with its checksum; ``rest`` is the header's second word."""
    message = _HEADER.pack(kind, code, 0, rest) + payload
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


class Cause(enum.Enum):
    """Reasons for which a packet went nowhere."""

    NET_UNREACHABLE = enum.auto()
    HOST_UNREACHABLE = enum.auto()
    PROTOCOL_UNREACHABLE = enum.auto()
    PORT_UNREACHABLE = enum.auto()
    PROHIBITED = enum.auto()
    TOO_BIG = enum.auto()
    OUT_OF_TIME = enum.auto()
    """The hop limit has run out."""
    REASSEMBLY_TIME = enum.auto()
    """Some fragments did not arrive in time."""
    BEYOND_SCOPE = enum.auto()
    """The scope of the source address is smaller than that of the destination."""


_CODES: Final = {
    Cause.BEYOND_SCOPE: (UNREACHABLE, HOST_UNREACHABLE),  # in this direction only (RFC 7915, section 5.2)
    Cause.NET_UNREACHABLE: (UNREACHABLE, NET_UNREACHABLE),
    Cause.HOST_UNREACHABLE: (UNREACHABLE, HOST_UNREACHABLE),
    Cause.PROTOCOL_UNREACHABLE: (UNREACHABLE, PROTOCOL_UNREACHABLE),
    Cause.PORT_UNREACHABLE: (UNREACHABLE, PORT_UNREACHABLE),
    Cause.PROHIBITED: (UNREACHABLE, ADMIN_PROHIBITED),
    Cause.TOO_BIG: (UNREACHABLE, FRAGMENTATION_NEEDED),
    Cause.OUT_OF_TIME: (TIME_EXCEEDED, 0),
    Cause.REASSEMBLY_TIME: (TIME_EXCEEDED, REASSEMBLY_TIME),
}


_CAUSES: Final = {
    **{codes: cause for cause, codes in _CODES.items()},
    **{(UNREACHABLE, code): Cause.PROHIBITED for code in (*_PROHIBITED, 15)},
    **{(UNREACHABLE, code): Cause.NET_UNREACHABLE for code in (6, 11)},
    **{(UNREACHABLE, code): Cause.HOST_UNREACHABLE for code in (5, 7, 8, 12)},
}


def code_of(cause: Cause) -> tuple[int, int]:
    """Type and code of the error that reports a cause."""
    return _CODES[cause]


def cause_of(kind: int, code: int) -> Cause | None:
    """The cause that an error reports (RFC 7915, section 4.2); None if it is none of these."""
    return _CAUSES.get((kind, code))


class Trouble(NamedTuple):
    """The fate of a packet, as an ICMP error reports it."""

    error: int
    """An ``errno`` value: ECONNREFUSED for a closed port, EMSGSIZE for a packet that was too big, EPROTO for one that
    was not understood, ENETUNREACH or EHOSTUNREACH for one that did not arrive; 0: the message says nothing."""
    hard: bool = False
    """True if the next packet will fare no better."""
    mtu: int = 0
    """With EMSGSIZE: bytes of an IP packet that the next hop can carry; 0: unknown."""


def read_error(kind: int, code: int, rest: int) -> Trouble:
    """Translate an error by its type, its code and the second word of its header.

    Source quench says nothing (RFC 6633), and redirects are not followed.
    """
    if kind == UNREACHABLE:
        if code == FRAGMENTATION_NEEDED:
            return Trouble(errno.EMSGSIZE, mtu=rest & 0xFFFF)
        if code == PORT_UNREACHABLE:
            return Trouble(errno.ECONNREFUSED, hard=True)
        return Trouble(errno.ENETUNREACH if code in _NETWORK else errno.EHOSTUNREACH, code in _HARD)
    if kind == TIME_EXCEEDED:
        return Trouble(errno.EHOSTUNREACH)
    return Trouble(errno.EPROTO if kind == _PARAMETER_PROBLEM else 0)


class Quote(NamedTuple):
    """The packet that an error is about, as far as it is quoted."""

    total_length: int
    """Total length of the packet in bytes."""
    fragment: int
    """Flags and offset, as in an IPv4 header."""
    protocol: int
    source: bytes
    destination: bytes
    transport: bytes
    """Bytes after its header, 8 at least."""

    @property
    def fragment_offset(self) -> int:
        """Position of ``transport`` in the payload of the whole packet, in bytes."""
        return (self.fragment & ipv4.OFFSET_MASK) * 8


def read_quote(quoted: Buffer) -> Quote | None:
    """Read the packet quoted in an error: an IPv4 header and 8 more bytes, as RFC 792 requires; None if it is
    shorter.
    """
    if len(quoted) < ipv4.HEADER_LENGTH:
        return None
    version, total, _, fragment, _, protocol, source, destination = _QUOTED.unpack_from(quoted)
    start = (version & 15) * 4
    if version >> 4 != 4 or start < ipv4.HEADER_LENGTH or len(quoted) < start + 8:
        return None
    return Quote(total, fragment, protocol, source, destination, bytes(quoted[start:]))
