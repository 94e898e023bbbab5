"""What a guest hears when a TCP connection of its may not be, or cannot be made."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from slirpy.interfaces import IcmpReport
from slirpy.nat.reports import relay, sent_syn
from slirpy.nat.routes import Refusal, Router
from slirpy.tcp import Segment
from slirpy.wire import icmp

if TYPE_CHECKING:
    from slirpy.core.demux import Arrival
    from slirpy.core.stack import IPStack

__all__ = ["refuse_by_host", "refuse_by_rule"]

_UNREACHABLE = {
    errno.ENETUNREACH: icmp.NET_UNREACHABLE,
    errno.ENETDOWN: icmp.NET_UNREACHABLE,
    errno.EHOSTUNREACH: icmp.HOST_UNREACHABLE,
    errno.EHOSTDOWN: icmp.HOST_UNREACHABLE,
    errno.EACCES: icmp.ADMIN_PROHIBITED,
    errno.EPERM: icmp.ADMIN_PROHIBITED,
}


def refuse_by_rule(stack: IPStack, arrival: Arrival, key: bytes, seg: Segment, refusal: Refusal) -> None:
    """Answer a SYN that may not go where it wants to."""
    demux = stack.demux
    if refusal is Refusal.DROP:
        stack.stats.drop_tcp_policy += 1
    elif refusal is Refusal.MARTIAN:
        stack.stats.drop_ip_destination += 1
    else:
        stack.stats.tcp_flows_refused += 1
        if refusal is Refusal.NET_UNREACHABLE:
            demux.unreachable(arrival, icmp.NET_UNREACHABLE)
        elif refusal is Refusal.HOST_UNREACHABLE:
            demux.unreachable(arrival, icmp.HOST_UNREACHABLE)
        else:
            demux.refuse_tcp(arrival.neighbor, key, seg)


def refuse_by_host(
    stack: IPStack,
    router: Router,
    arrival: Arrival,
    key: bytes,
    seg: Segment,
    error: int,
    report: IcmpReport | None,
) -> None:
    """The host's side refused: say so as the network would, in the words of ``report`` if there is one."""
    stack.stats.tcp_flows_refused += 1
    if report is not None and relay(stack, router, report, key[:4], key[4:8], sent_syn(arrival, report)):
        return
    if error in _UNREACHABLE:
        stack.demux.unreachable(arrival, _UNREACHABLE[error])
    elif error != errno.ETIMEDOUT:
        stack.demux.refuse_tcp(arrival.neighbor, key, seg)
