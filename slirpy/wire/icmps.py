"""ICMP and ICMPv6 behind one face: echo, errors, and what they say in words that fit both.

:func:`messages_of` chooses by an address's length, as :func:`slirpy.wire.ip.family_of` does.
"""

from __future__ import annotations

import abc
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.wire import extension, icmp, icmpv6, ipv4, ipv6
from slirpy.wire.icmp import Cause, Quote, Trouble
from slirpy.wire.ip import Header
from slirpy.wire.ipv6 import IPv6Header

__all__ = ["Messages", "messages_of"]

_LEAST_MTU: Final = 1280


class Messages(abc.ABC):
    """The messages of one family. All have a header of eight bytes.

    Attributes:
        echo_request: type of an echo request.
        echo_reply: type of an echo reply.
        quote_max: bytes of a packet that an error about it may quote.
    """

    echo_request: int
    echo_reply: int
    quote_max: int

    @abc.abstractmethod
    def build(
        self, source: bytes, destination: bytes, kind: int, code: int, rest: int, payload: Buffer
    ) -> bytes:
        """Build a message with its checksum, which covers the addresses in one of the families.

        Args:
            source: of the packet that will carry it.
            destination: likewise.
            kind: the type.
            code: the code.
            rest: the second word of the header.
            payload: what follows the header.
        """

    @abc.abstractmethod
    def is_error(self, kind: int) -> bool:
        """Report whether a type is that of an error."""

    @abc.abstractmethod
    def is_answerable(self, packet: Buffer, header: Header) -> bool:
        """Report whether an error may be sent about a packet: it carries none itself."""

    @abc.abstractmethod
    def is_relayed(self, kind: int) -> bool:
        """Report whether errors of a type that the host gets about a guest's packet concern the guest."""

    @abc.abstractmethod
    def cause_of(self, kind: int, code: int) -> Cause | None:
        """The cause that an error reports; None if it is none of these."""

    @abc.abstractmethod
    def error_of(self, cause: Cause, mtu: int = 0) -> tuple[int, int, int]:
        """Type, code and second word of the error that reports a cause.

        Args:
            cause: the cause.
            mtu: with ``TOO_BIG``, what would have fitted; 0: not known.

        Returns:
            The second word is 0 except with ``TOO_BIG``, and in ICMPv6 for a protocol that is not known: there it is
            the position of the field that names it in a packet without extension headers.
        """

    @abc.abstractmethod
    def read_error(self, kind: int, code: int, rest: int) -> Trouble:
        """Translate an error by its type, its code and the second word of its header."""

    @abc.abstractmethod
    def read_quote(self, quoted: Buffer) -> Quote | None:
        """Read the packet quoted in an error; None if it is too short to tell what it was about."""


class _Icmp(Messages):
    echo_request = icmp.ECHO_REQUEST
    echo_reply = icmp.ECHO_REPLY
    quote_max = 548  # 576 less the headers (RFC 1812, section 4.3.2.3)

    def build(
        self, source: bytes, destination: bytes, kind: int, code: int, rest: int, payload: Buffer
    ) -> bytes:
        return icmp.build(kind, code, rest, payload)

    def is_error(self, kind: int) -> bool:
        return kind in icmp.ERRORS

    def is_answerable(self, packet: Buffer, header: Header) -> bool:
        at = header.header_length
        return header.protocol != ipv4.ICMP or (len(packet) > at and packet[at] not in icmp.ERRORS)

    def is_relayed(self, kind: int) -> bool:
        # Source quench is deprecated (RFC 6633), redirects are for the host only.
        return kind in (icmp.UNREACHABLE, icmp.TIME_EXCEEDED)

    def cause_of(self, kind: int, code: int) -> Cause | None:
        return icmp.cause_of(kind, code)

    def error_of(self, cause: Cause, mtu: int = 0) -> tuple[int, int, int]:
        return *icmp.code_of(cause), mtu & 0xFFFF

    def read_error(self, kind: int, code: int, rest: int) -> Trouble:
        return icmp.read_error(kind, code, rest)

    def read_quote(self, quoted: Buffer) -> Quote | None:
        return icmp.read_quote(quoted)


class _Icmpv6(Messages):
    echo_request = icmpv6.ECHO_REQUEST
    echo_reply = icmpv6.ECHO_REPLY
    quote_max = icmpv6.QUOTE_MAX

    def build(
        self, source: bytes, destination: bytes, kind: int, code: int, rest: int, payload: Buffer
    ) -> bytes:
        return icmpv6.build(source, destination, kind, code, rest, payload)

    def is_error(self, kind: int) -> bool:
        return icmpv6.is_error(kind)

    def is_answerable(self, packet: Buffer, header: Header) -> bool:
        return not isinstance(header, IPv6Header) or extension.is_answerable(packet, header)

    def is_relayed(self, kind: int) -> bool:
        # A parameter problem is about a header that the host made.
        return kind in (icmpv6.UNREACHABLE, icmpv6.PACKET_TOO_BIG, icmpv6.TIME_EXCEEDED)

    def cause_of(self, kind: int, code: int) -> Cause | None:
        return icmpv6.cause_of(kind, code)

    def error_of(self, cause: Cause, mtu: int = 0) -> tuple[int, int, int]:
        if cause is Cause.TOO_BIG:
            mtu = max(mtu, _LEAST_MTU)  # less would make senders add a Fragment header to each packet
        rest = ipv6.NEXT_HEADER_AT if cause is Cause.PROTOCOL_UNREACHABLE else mtu
        return *icmpv6.code_of(cause), rest

    def read_error(self, kind: int, code: int, rest: int) -> Trouble:
        return icmpv6.read_error(kind, code, rest)

    def read_quote(self, quoted: Buffer) -> Quote | None:
        return icmpv6.read_quote(quoted)


_BY_LENGTH: Final[dict[int, Messages]] = {4: _Icmp(), 16: _Icmpv6()}


def messages_of(address: bytes) -> Messages:
    """The messages of an address's family."""
    return _BY_LENGTH[len(address)]
