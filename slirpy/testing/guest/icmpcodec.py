"""Messages of ICMP and ICMPv6 behind one face, for :mod:`slirpy.testing.guest.icmp`."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from slirpy.interfaces import Buffer
from slirpy.testing.guest.fragments import Packet
from slirpy.wire import icmp, icmpv6
from slirpy.wire.checksum import ones_sum
from slirpy.wire.icmp import Cause, Quote, Trouble

__all__ = ["CODECS", "Codec"]


class Codec(Protocol):
    """The codec of one family's messages.

    Attributes:
        request: type of an echo request.
        reply: type of its answer.
        errors: types of errors.
    """

    request: int
    reply: int
    errors: Container[int]

    def build(self, source: bytes, destination: bytes, words: tuple[int, int, int], payload: Buffer) -> bytes:
        """Build a message with its checksum; ``words`` are its type, its code and the header's second word."""
        ...

    def is_intact(self, header: Packet, message: memoryview) -> bool:
        """Whether the checksum of a message is correct."""
        ...

    def code_of(self, cause: Cause) -> tuple[int, int]:
        """Return type and code of the error that reports a cause."""
        ...

    def read_error(self, kind: int, code: int, rest: int) -> Trouble:
        """Translate an error by its type, its code and the second word of its header."""
        ...

    def read_quote(self, quoted: Buffer) -> Quote | None:
        """Read the packet quoted in an error."""
        ...


class _Icmp4:
    request = icmp.ECHO_REQUEST
    reply = icmp.ECHO_REPLY
    errors: Container[int] = (icmp.UNREACHABLE, icmp.TIME_EXCEEDED)
    code_of = staticmethod(icmp.code_of)
    read_error = staticmethod(icmp.read_error)
    read_quote = staticmethod(icmp.read_quote)

    def build(self, source: bytes, destination: bytes, words: tuple[int, int, int], payload: Buffer) -> bytes:
        return icmp.build(*words, payload)

    def is_intact(self, header: Packet, message: memoryview) -> bool:
        return not ones_sum(message)


class _Icmp6:
    request = icmpv6.ECHO_REQUEST
    reply = icmpv6.ECHO_REPLY
    errors: Container[int] = (
        icmpv6.UNREACHABLE, icmpv6.PACKET_TOO_BIG, icmpv6.TIME_EXCEEDED, icmpv6.PARAMETER_PROBLEM,
    )  # fmt: skip
    code_of = staticmethod(icmpv6.code_of)
    read_error = staticmethod(icmpv6.read_error)
    read_quote = staticmethod(icmpv6.read_quote)

    def build(self, source: bytes, destination: bytes, words: tuple[int, int, int], payload: Buffer) -> bytes:
        return icmpv6.build(source, destination, *words, payload)

    def is_intact(self, header: Packet, message: memoryview) -> bool:
        return icmpv6.checksum_ok(header.source, header.destination, message)


CODECS: dict[int, Codec] = {4: _Icmp4(), 16: _Icmp6()}
"""By the length of an address."""
