"""Errors sent to a guest when its packet is not allowed out, or the host's system does not accept it.

A gateway reports as a router does (RFC 1812, section 5.2.7.1), and the same error means the same for every protocol.
Protocols differ only for errors outside :data:`ERRNO_CAUSES`. A connection needs an answer, so TCP resets it, except
when the host's side did not answer either. A datagram may get lost, so errors that concern only this host are counted
and not reported. libslirp knows two codes: host unreachable for EHOSTUNREACH, net unreachable for all others.
"""

from __future__ import annotations

import errno
from typing import Final

from slirpy.core.arrival import Arrival
from slirpy.core.icmp import IcmpErrors
from slirpy.core.parts import Parts
from slirpy.core.resets import refuse_tcp
from slirpy.interfaces import IcmpReport
from slirpy.nat.reports import relay, sent_syn
from slirpy.nat.routes import Refusal, Router
from slirpy.tcp import Segment
from slirpy.wire.icmp import Cause
from slirpy.wire.ip import split_key

__all__ = [
    "ERRNO_CAUSES",
    "REFUSAL_CAUSES",
    "UNHEARD",
    "refuse_by_host",
    "refuse_by_rule",
    "tell_errno",
]

REFUSAL_CAUSES: Final = {
    Refusal.NET_UNREACHABLE: Cause.NET_UNREACHABLE,
    Refusal.HOST_UNREACHABLE: Cause.HOST_UNREACHABLE,
    Refusal.PORT_UNREACHABLE: Cause.PORT_UNREACHABLE,
    Refusal.PROHIBITED: Cause.PROHIBITED,
    Refusal.BEYOND_SCOPE: Cause.BEYOND_SCOPE,
}
"""Codes of destination unreachable for a packet whose destination is not allowed."""
ERRNO_CAUSES: Final = {
    errno.ENETUNREACH: Cause.NET_UNREACHABLE,
    errno.ENETDOWN: Cause.NET_UNREACHABLE,
    errno.EAFNOSUPPORT: Cause.NET_UNREACHABLE,  # a redirect to IPv6, on a host that has only IPv4
    errno.EHOSTUNREACH: Cause.HOST_UNREACHABLE,
    errno.EHOSTDOWN: Cause.HOST_UNREACHABLE,
    errno.ENOPROTOOPT: Cause.PROTOCOL_UNREACHABLE,  # Linux: an ICMP error from a host
    errno.EACCES: Cause.PROHIBITED,
    errno.EPERM: Cause.PROHIBITED,
    errno.EPROTONOSUPPORT: Cause.PROHIBITED,  # the system does not support sockets of this kind
}
"""Codes of destination unreachable by the host's errno, for TCP, UDP and echo alike."""

UNHEARD: Final = (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH)
"""Errors of a host's loopback at which nobody listens, or which the host does not have."""
_NO_SOURCE: Final = errno.EADDRNOTAVAIL
"""With IPv6, the host has a route but no address to use on it. With IPv4, it has no port left."""


def tell_errno(errors: IcmpErrors, arrival: Arrival, error: int, mtu: int = 0) -> bool:
    """Report to the guest that the host's system refused a packet. Returns False if that concerns only this host.

    Args:
        errors: the ICMP error sender of the guest's stack.
        arrival: the packet.
        error: ``errno`` value.
        mtu: with EMSGSIZE, the largest packet with DF that would have fitted; 0: not known (RFC 1191, section 3).
            Without DF the system rejects such sizes altogether, and smaller fragments would not help.
    """
    if error == errno.EMSGSIZE and arrival.header.dont_fragment:
        errors.error(arrival, Cause.TOO_BIG, mtu)
    elif error in ERRNO_CAUSES:
        errors.error(arrival, ERRNO_CAUSES[error])
    elif error == _NO_SOURCE and len(arrival.header.source) == 16:
        errors.error(arrival, Cause.NET_UNREACHABLE)
    else:
        return False
    return True


def refuse_by_rule(parts: Parts, arrival: Arrival, key: bytes, seg: Segment, refusal: Refusal) -> None:
    """Answer a SYN whose destination is not allowed."""
    stats, errors = parts.network.stats, parts.errors
    if refusal is Refusal.DROP:
        stats.drop_tcp_policy += 1
    elif refusal is Refusal.MARTIAN:
        stats.drop_ip_destination += 1
    elif refusal is Refusal.BEYOND_SCOPE:
        stats.drop_ip_scope += 1
        errors.error(arrival, REFUSAL_CAUSES[refusal])
    else:
        stats.tcp_flows_refused += 1
        if refusal in (Refusal.NET_UNREACHABLE, Refusal.HOST_UNREACHABLE):
            errors.error(arrival, REFUSAL_CAUSES[refusal])
        else:
            refuse_tcp(stats, parts.ip, arrival.neighbor, key, seg)


def refuse_by_host(
    parts: Parts,
    router: Router,
    arrival: Arrival,
    key: bytes,
    seg: Segment,
    error: int,
    report: IcmpReport | None,
) -> None:
    """Report a refusal by the host's side to the guest as the network would, or as in ``report`` if there is one."""
    parts.network.stats.tcp_flows_refused += 1
    guest, _, seen, _ = split_key(key)
    if report is not None and relay(parts, router, report, guest, seen, sent_syn(arrival, report)):
        return
    if not tell_errno(parts.errors, arrival, error) and error != errno.ETIMEDOUT:
        refuse_tcp(parts.network.stats, parts.ip, arrival.neighbor, key, seg)
