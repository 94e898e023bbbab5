"""ICMP messages of a script: packetdrill's names of their types and codes, in each IP version."""

from __future__ import annotations

from slirpy.testing.packetdrill.language import ICMP_CODES, ICMPV6_CODES
from slirpy.testing.packetdrill.script import Icmp, UnsupportedError
from slirpy.wire import icmp, icmpv6
from slirpy.wire.icmp import Trouble
from slirpy.wire.ip import V4, V6, Family

__all__ = ["ABOUT_NOTHING", "TYPES", "trouble_of"]

_SOURCE_QUENCH, _PARAMETER_PROBLEM = 4, 12
_LONGER = V6.header_length - V4.header_length
_TYPES4 = {
    "unreachable": icmp.UNREACHABLE,
    "packet_too_big": icmp.UNREACHABLE,
    "source_quench": _SOURCE_QUENCH,
    "time_exceeded": icmp.TIME_EXCEEDED,
    "parameter_problem": _PARAMETER_PROBLEM,
}
_TYPES6 = {
    "unreachable": icmpv6.UNREACHABLE,
    "packet_too_big": icmpv6.PACKET_TOO_BIG,
    "time_exceeded": icmpv6.TIME_EXCEEDED,
    "parameter_problem": icmpv6.PARAMETER_PROBLEM,
}
_PROBLEMS6 = {"header_field": 0, "unknown_next_header": icmpv6.UNKNOWN_NEXT_HEADER, "unknown_option": 2}
TYPES = tuple(_TYPES4)
"""Types of errors about a segment."""
ABOUT_NOTHING = frozenset(
    ("redirect", "echo_request", "echo_reply", "router_advertisement", "router_solicitation", "timestamp",
     "timestamp_reply", "info_request", "info_reply", "address_mask", "address_mask_reply"))  # fmt: skip
"""Types of messages that are not about a segment; they have no effect."""


def trouble_of(message: Icmp, family: Family) -> Trouble:
    """Return the meaning of a message in an IP version.

    Raises:
        UnsupportedError: ICMPv6 has no such type or code. In IPv4 the names of ICMPv6's codes stand for their
            counterparts.
    """
    if message.type in ABOUT_NOTHING:
        return Trouble(0)
    if family is V6:
        return icmpv6.read_error(*_numbers6(message), message.mtu)
    if message.type == "packet_too_big":
        return icmp.read_error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, message.mtu - _LONGER)
    code = ICMP_CODES.get(message.code, 0) if message.type == "unreachable" else 0
    return icmp.read_error(_TYPES4[message.type], code, message.mtu)


def _numbers6(message: Icmp) -> tuple[int, int]:
    """Type and code of a message in ICMPv6."""
    kind = _TYPES6.get(message.type)
    if kind is None:
        raise UnsupportedError(
            message.line, f"icmp {message.type}: ICMPv6 has none; it has {', '.join(_TYPES6)}"
        )
    if kind == icmpv6.UNREACHABLE and message.code:
        if message.code not in ICMPV6_CODES:
            there = ", ".join(ICMPV6_CODES)
            also = ", and the type packet_too_big" if message.code == "frag_needed" else ""
            why = f"icmp unreachable {message.code}: ICMPv6 has none; it has {there}{also}"
            raise UnsupportedError(message.line, why)
        return kind, ICMPV6_CODES[message.code]
    return kind, _PROBLEMS6.get(message.code, 0) if kind == icmpv6.PARAMETER_PROBLEM else 0
