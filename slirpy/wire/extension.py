"""The extension headers of IPv6 (RFC 8200 section 4): what lies between the fixed header and the payload.

:func:`walk` takes the place of a host that has nothing to do with what they ask for: options are skipped or refused
as their types say, a routing header that has been used up is skipped, and every other one is refused, type 0 among
them (RFC 5095). The Authentication and the ESP header are payloads of unknown protocols here, for there is no key
that could open them.

**Bounds.** RFC 8504 section 5.3 lets a host limit what it walks through, and RFC 8883 has the codes to say so. The
limits here are far above what any system sends, and keep a packet's cost below that of its payload.
"""

from __future__ import annotations

import enum
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire import ipv6
from slirpy.wire.ipv6 import HEADER_LENGTH, IPv6Header

__all__ = [
    "FRAGMENT_LENGTH",
    "HEADERS_MAX",
    "OPTIONS_MAX",
    "Reason",
    "Refusal",
    "is_answerable",
    "unfragmented",
    "walk",
]

HEADERS_MAX: Final = 8
"""Extension headers of a packet."""
OPTIONS_MAX: Final = 64
"""Options of a packet, in all its extension headers, padding included."""

_SKIPPED_MAX: Final = 64
"""Extension headers that are skipped in search of an ICMPv6 message."""
_PAYLOAD_LENGTH_AT: Final = 4
_PAYLOAD_MAX: Final = 0xFFFF
FRAGMENT_LENGTH: Final = 8
"""Bytes of a Fragment header."""
_INFORMATIONAL: Final = 128
_REDIRECT: Final = 137
_PAD1: Final = 0
_JUMBO: Final = 0xC2
_SKIP: Final = 0
_DISCARD: Final = 1
_REPORT: Final = 2
"""Meaning of the two highest bits of an unknown option's type: 0 skip it, 1 discard the packet, 2 report it too, and
3 report it unless the destination is a group."""
_LEAST_UPPER: Final = {6: 20, 17: 8, ipv6.ICMPV6: 4}
"""Bytes of an upper-layer header that the first fragment must contain (RFC 7112)."""

# Codes of parameter problem (RFC 4443 section 3.4, RFC 7112, RFC 8883).
_ERRONEOUS_FIELD: Final = 0
_UNKNOWN_HEADER: Final = 1
_UNKNOWN_OPTION: Final = 2
_INCOMPLETE_CHAIN: Final = 3
_TOO_MANY_HEADERS: Final = 8
_TOO_MANY_OPTIONS: Final = 9


class Reason(enum.Enum):
    """Why a packet is not accepted."""

    MALFORMED = enum.auto()
    """A header that is cut short, or whose fields contradict each other."""
    OPTION = enum.auto()
    """An option that is not known and must not be skipped."""
    JUMBO = enum.auto()
    """A jumbogram (RFC 2675)."""
    ROUTING = enum.auto()
    """A routing header with segments left (RFC 5095 for type 0)."""
    LIMIT = enum.auto()
    """More headers or options than :data:`HEADERS_MAX` and :data:`OPTIONS_MAX`."""
    NOTHING = enum.auto()
    """No payload (Next Header 59)."""


class Refusal(NamedTuple):
    """The reason why a packet is not accepted, and the parameter problem (ICMPv6 type 4) that reports it."""

    reason: Reason
    code: int | None = None
    """Code of the parameter problem; None: the packet is dropped without a word."""
    pointer: int = 0
    """Position of the culprit in the packet."""
    multicast: bool = False
    """True if it is reported even if the packet went to a group (RFC 4443 section 2.4, e.3)."""


class _Chain:
    """The walk through one packet."""

    def __init__(self, packet: Buffer, header: IPv6Header) -> None:
        self.packet = packet
        self.to_group = ipv6.is_multicast(header.destination)
        self.named_at = ipv6.NEXT_HEADER_AT
        self.at = HEADER_LENGTH
        self.end = header.total_length
        self.headers = 0
        self.options = 0

    @property
    def kind(self) -> int:
        """Type of the header at ``at``."""
        return self.packet[self.named_at]

    def follow(self) -> Refusal | None:
        """Go on to the first header that is not an extension header, or is a Fragment header."""
        while (kind := self.kind) in _SKIPPED:
            self.headers += 1
            if self.headers > HEADERS_MAX:
                return Refusal(Reason.LIMIT, _TOO_MANY_HEADERS, self.at)
            if kind == ipv6.HOP_BY_HOP and self.at != HEADER_LENGTH:
                return Refusal(Reason.MALFORMED, _UNKNOWN_HEADER, self.named_at)
            length = (self.packet[self.at + 1] + 1) * 8 if self.at + 2 <= self.end else 0
            if not 0 < length <= self.end - self.at:
                return Refusal(Reason.MALFORMED)
            refusal = self._routing() if kind == ipv6.ROUTING else self._read_options(length)
            if refusal is not None:
                return refusal
            self.named_at = self.at
            self.at += length
        if kind == ipv6.NO_NEXT_HEADER:
            return Refusal(Reason.NOTHING)
        return None

    def _routing(self) -> Refusal | None:
        kind_at, left_at = self.at + 2, self.at + 3
        if self.packet[left_at]:
            return Refusal(Reason.ROUTING, _ERRONEOUS_FIELD, kind_at)
        return None

    def _read_options(self, length: int) -> Refusal | None:
        packet = self.packet
        at, end = self.at + 2, self.at + length
        while at < end:
            self.options += 1
            if self.options > OPTIONS_MAX:
                return Refusal(Reason.LIMIT, _TOO_MANY_OPTIONS, at)
            kind = packet[at]
            if kind == _PAD1:
                at += 1
                continue
            size = packet[at + 1] + 2 if at + 1 < end else 0
            if not 0 < size <= end - at:
                return Refusal(Reason.MALFORMED)
            action = kind >> 6
            if action != _SKIP:
                reason = Reason.JUMBO if kind == _JUMBO else Reason.OPTION
                if action == _DISCARD or (action != _REPORT and self.to_group):
                    return Refusal(reason)
                return Refusal(reason, _UNKNOWN_OPTION, at, multicast=True)
            at += size
        return None


_SKIPPED: Final = (ipv6.HOP_BY_HOP, ipv6.ROUTING, ipv6.DESTINATION_OPTIONS)
_WALKED: Final = frozenset((*_SKIPPED, ipv6.FRAGMENT, ipv6.NO_NEXT_HEADER))


def walk(packet: Buffer, header: IPv6Header, *, reassembled: bool = False) -> IPv6Header | Refusal:
    """Follow the extension headers of a packet.

    Returns:
        The header with ``protocol`` and ``header_length`` of the payload, or of a fragment's part of it (then
        ``is_fragment`` is true). A packet that is whole but has a Fragment header ("atomic", RFC 6946) is no
        fragment. A :class:`Refusal` if the packet must not be delivered.

    Args:
        packet: from its IPv6 header on; bytes after it (Ethernet padding) are allowed.
        header: as :func:`slirpy.wire.ipv6.parse` returned it.
        reassembled: The packet arrived in fragments, so that another Fragment header is refused.
    """
    if header.next_header not in _WALKED:
        return header._replace(reassembled=True) if reassembled else header
    chain = _Chain(packet, header)
    if header.payload_length == 0 and header.next_header == ipv6.HOP_BY_HOP:
        return _jumbogram(chain, len(packet))
    refusal = chain.follow()
    if refusal is not None:
        return refusal
    header = header._replace(reassembled=reassembled)
    if chain.kind == ipv6.FRAGMENT:
        fragment = _fragment(chain, header)
        if isinstance(fragment, Refusal) or fragment.is_fragment:
            return fragment
        header = fragment
        refusal = chain.follow()
        if refusal is not None:
            return refusal
        if chain.kind == ipv6.FRAGMENT:  # a second one, which no system sends
            return Refusal(Reason.MALFORMED, _UNKNOWN_HEADER, chain.named_at)
    return header._replace(protocol=chain.kind, header_length=chain.at, named_at=chain.named_at)


def _fragment(chain: _Chain, header: IPv6Header) -> IPv6Header | Refusal:
    """Read the Fragment header to which ``chain`` has come, and step over it."""
    packet, at = chain.packet, chain.at
    if header.reassembled:
        return Refusal(Reason.MALFORMED, _UNKNOWN_HEADER, chain.named_at)
    if chain.end - at < FRAGMENT_LENGTH:
        return Refusal(Reason.MALFORMED)
    word = packet[at + 2] << 8 | packet[at + 3]
    chain.named_at = at
    chain.at = at + FRAGMENT_LENGTH
    size = chain.end - chain.at
    found = header._replace(
        protocol=chain.kind,
        header_length=chain.at,
        named_at=at,
        fragment=word,
        ident=int.from_bytes(packet[at + 4 : at + 8], "big"),
        fragment_at=at,
    )
    if not found.is_fragment:
        return found
    if found.more_fragments and size % 8:
        return Refusal(Reason.MALFORMED, _ERRONEOUS_FIELD, _PAYLOAD_LENGTH_AT)
    if not size:
        return Refusal(Reason.MALFORMED)
    if at - HEADER_LENGTH + found.fragment_offset + size > _PAYLOAD_MAX:
        return Refusal(Reason.MALFORMED, _ERRONEOUS_FIELD, at + 2)
    if not found.fragment_offset:
        return _first(chain, found)
    return found


def _first(chain: _Chain, fragment: IPv6Header) -> IPv6Header | Refusal:
    """Check that a first fragment has all headers, so that who filters by them can (RFC 7112)."""
    refusal = chain.follow()
    if refusal is not None and refusal != Refusal(Reason.MALFORMED):
        return refusal
    if refusal is not None or chain.end - chain.at < _LEAST_UPPER.get(chain.kind, 0):
        return Refusal(Reason.MALFORMED, _INCOMPLETE_CHAIN)
    return fragment


def _jumbogram(chain: _Chain, end: int) -> Refusal:
    """Refuse a packet whose length stands in an option, or nowhere (RFC 2675 section 3)."""
    chain.end = end
    refusal = chain.follow()
    if refusal is not None and refusal.reason is Reason.JUMBO:
        return refusal
    return Refusal(Reason.MALFORMED, _ERRONEOUS_FIELD, _PAYLOAD_LENGTH_AT)


def unfragmented(packet: Buffer, header: IPv6Header, payload: Buffer) -> bytes:
    """Put a reassembled packet together (RFC 8200 section 4.5).

    Args:
        packet: the first fragment, from its IPv6 header on.
        header: as :func:`walk` returned it for this fragment.
        payload: the reassembled part, whose length was checked by :func:`walk` for the last fragment.
    """
    start = header.fragment_at
    whole = bytearray(packet[:start])
    length = start - HEADER_LENGTH + len(payload)
    whole[_PAYLOAD_LENGTH_AT : _PAYLOAD_LENGTH_AT + 2] = length.to_bytes(2, "big")
    named_at, at = ipv6.NEXT_HEADER_AT, HEADER_LENGTH
    while at < start:
        named_at, at = at, at + (packet[at + 1] + 1) * 8
    whole[named_at] = header.protocol
    return bytes(whole) + payload


def is_answerable(packet: Buffer, header: IPv6Header) -> bool:
    """Report whether an error may be sent about a packet: it carries no ICMPv6 error or redirect (RFC 4443
    section 2.4, e).

    The message may be behind extension headers because of which the packet was refused. If they cannot be followed,
    as in a later fragment, the packet counts as answerable.

    Args:
        packet: from its IPv6 header on.
        header: as :func:`slirpy.wire.ipv6.parse` or :func:`walk` returned it.
    """
    kind, at, end = header.protocol, header.header_length, header.total_length
    for _ in range(_SKIPPED_MAX):
        if kind == ipv6.ICMPV6:
            return at < end and _INFORMATIONAL <= packet[at] != _REDIRECT
        if kind not in _WALKED or end - at < 8:
            return True
        if kind == ipv6.FRAGMENT:
            if (packet[at + 2] << 8 | packet[at + 3]) & ipv6.OFFSET_MASK:
                return True
            kind, at = packet[at], at + FRAGMENT_LENGTH
        else:
            kind, at = packet[at], at + (packet[at + 1] + 1) * 8
    return False
