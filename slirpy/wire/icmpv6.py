"""ICMPv6 messages (RFC 4443): echo, and errors with the packets that they quote.

What errors say is put in the words of :mod:`slirpy.wire.icmp`, which fit both IP families.
"""

from __future__ import annotations

import errno
from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.wire import ipv4, ipv6
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.icmp import Cause, Quote, Trouble

__all__ = [
    "ADDRESS_UNREACHABLE",
    "ADMIN_PROHIBITED",
    "ECHO_REPLY",
    "ECHO_REQUEST",
    "ERRONEOUS_FIELD",
    "HEADER_LENGTH",
    "NO_ROUTE",
    "PACKET_TOO_BIG",
    "PARAMETER_PROBLEM",
    "PORT_UNREACHABLE",
    "QUOTE_MAX",
    "REASSEMBLY_TIME",
    "TIME_EXCEEDED",
    "UNKNOWN_NEXT_HEADER",
    "UNREACHABLE",
    "build",
    "cause_of",
    "checksum_ok",
    "code_of",
    "is_error",
    "read_error",
    "read_quote",
]

HEADER_LENGTH: Final = 8
UNREACHABLE: Final = 1
PACKET_TOO_BIG: Final = 2
TIME_EXCEEDED: Final = 3
PARAMETER_PROBLEM: Final = 4
ECHO_REQUEST: Final = 128
ECHO_REPLY: Final = 129

# Codes of destination unreachable.
NO_ROUTE: Final = 0
ADMIN_PROHIBITED: Final = 1
BEYOND_SCOPE: Final = 2
ADDRESS_UNREACHABLE: Final = 3
PORT_UNREACHABLE: Final = 4
SOURCE_POLICY: Final = 5
REJECT_ROUTE: Final = 6
REASSEMBLY_TIME: Final = 1
"""Code of :data:`TIME_EXCEEDED`: some fragments did not arrive in time."""
ERRONEOUS_FIELD: Final = 0
UNKNOWN_NEXT_HEADER: Final = 1
"""Codes of :data:`PARAMETER_PROBLEM`."""

QUOTE_MAX: Final[int] = 1280 - ipv6.HEADER_LENGTH - HEADER_LENGTH
"""Most bytes of the offending packet in an error, which must not exceed the least MTU (RFC 4443 section 2.4, c)."""

_HARD: Final = frozenset((ADMIN_PROHIBITED, PORT_UNREACHABLE, SOURCE_POLICY, REJECT_ROUTE))
"""Codes of destination unreachable that say no for good."""
_NETWORK: Final = frozenset((NO_ROUTE, REJECT_ROUTE))
"""Codes of destination unreachable about a whole network."""
_HEADER: Final = Struct("!BBHI")
_QUOTED: Final = Struct("!IHBx16s16s")
_FRAGMENT: Final = Struct("!BxHI")


def build(source: bytes, destination: bytes, kind: int, code: int, rest: int, payload: Buffer) -> bytes:
    """Build a whole message with its checksum; ``rest`` is the header's second word."""
    message = _HEADER.pack(kind, code, 0, rest) + payload
    value = checksum(message, ipv6.pseudo_sum(source, destination, ipv6.ICMPV6, len(message)))
    return message[:2] + value.to_bytes(2, "big") + message[4:]


def checksum_ok(source: bytes, destination: bytes, message: Buffer) -> bool:
    """Report whether the checksum of a message is correct."""
    pseudo = ipv6.pseudo_sum(source, destination, ipv6.ICMPV6, len(message))
    return (ones_sum(message) + pseudo) % 65535 == 0


def is_error(kind: int) -> bool:
    """Report whether messages of a type are errors (RFC 4443 section 2.1)."""
    return kind < 128


_CODES: Final = {
    Cause.NET_UNREACHABLE: (UNREACHABLE, NO_ROUTE),
    Cause.HOST_UNREACHABLE: (UNREACHABLE, ADDRESS_UNREACHABLE),
    Cause.PROTOCOL_UNREACHABLE: (PARAMETER_PROBLEM, UNKNOWN_NEXT_HEADER),
    Cause.PORT_UNREACHABLE: (UNREACHABLE, PORT_UNREACHABLE),
    Cause.PROHIBITED: (UNREACHABLE, ADMIN_PROHIBITED),
    Cause.BEYOND_SCOPE: (UNREACHABLE, BEYOND_SCOPE),
    Cause.TOO_BIG: (PACKET_TOO_BIG, 0),
    Cause.OUT_OF_TIME: (TIME_EXCEEDED, 0),
    Cause.REASSEMBLY_TIME: (TIME_EXCEEDED, REASSEMBLY_TIME),
}
_CAUSES: Final = {
    **{codes: cause for cause, codes in _CODES.items()},
    (UNREACHABLE, SOURCE_POLICY): Cause.PROHIBITED,
    (UNREACHABLE, REJECT_ROUTE): Cause.PROHIBITED,
}


def code_of(cause: Cause) -> tuple[int, int]:
    """Type and code of the error that reports a cause.

    The second word is the MTU for a packet that is too big, for a protocol that is not known the position of the
    Next Header field that names it, and 0 for all others.
    """
    return _CODES[cause]


def cause_of(kind: int, code: int) -> Cause | None:
    """The cause that an error reports; None if it is none of these."""
    if kind == PACKET_TOO_BIG:
        return Cause.TOO_BIG  # whatever its code, which receivers ignore (RFC 4443 section 3.2)
    return _CAUSES.get((kind, code))


def read_error(kind: int, code: int, rest: int) -> Trouble:
    """Translate an error by its type, its code and the second word of its header.

    Errors of an unknown type say nothing that could be acted on (RFC 4443 section 2.4, a).
    """
    if kind == UNREACHABLE:
        if code == PORT_UNREACHABLE:
            return Trouble(errno.ECONNREFUSED, hard=True)
        return Trouble(errno.ENETUNREACH if code in _NETWORK else errno.EHOSTUNREACH, code in _HARD)
    if kind == PACKET_TOO_BIG:
        return Trouble(errno.EMSGSIZE, mtu=rest)
    if kind == TIME_EXCEEDED:
        return Trouble(errno.EHOSTUNREACH)
    if kind == PARAMETER_PROBLEM:
        return Trouble(errno.EPROTO, hard=code == UNKNOWN_NEXT_HEADER)
    return Trouble(0)


def read_quote(quoted: Buffer) -> Quote | None:
    """Read the packet quoted in an error; None if it is shorter than its headers and 8 more bytes.

    A Fragment header is followed. The packets that slirpy sends have no other extension header, so a quote that
    has one is not of any of them.
    """
    if len(quoted) < ipv6.HEADER_LENGTH:
        return None
    first, length, protocol, source, destination = _QUOTED.unpack_from(quoted)
    start = ipv6.HEADER_LENGTH
    fragment = 0
    if protocol == ipv6.FRAGMENT and len(quoted) >= start + _FRAGMENT.size:
        protocol, word, _ = _FRAGMENT.unpack_from(quoted, start)
        fragment = (word & ipv6.OFFSET_MASK) >> 3 | (ipv4.MF if word & ipv6.MF else 0)
        start += _FRAGMENT.size
    if first >> 28 != 6 or len(quoted) < start + 8:
        return None
    return Quote(ipv6.HEADER_LENGTH + length, fragment, protocol, source, destination, bytes(quoted[start:]))
