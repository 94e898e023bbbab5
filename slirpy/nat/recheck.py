"""A policy that is replaced while flows last: those that it no longer allows are reset."""

from __future__ import annotations

from functools import partial

from slirpy.interfaces import Action, Decision, Verdict
from slirpy.nat.oversight import request_of
from slirpy.nat.tcp import NatTcpFlow, TcpNat
from slirpy.wire.ip import split_key

__all__ = ["recheck"]


def recheck(nat: TcpNat) -> int:
    """Ask the policy about all outward flows again, and reset those that it no longer allows or would lead elsewhere.

    Returns the number of flows that were reset. A verdict that is yet to come is acted on when it comes.
    """
    reset = 0
    for flow in list(nat.tables.tcp_flows.values()):
        known = _known_by(flow)
        if known is None or _is_served(nat, known):
            continue
        answer = nat.router.allows(request_of(known), known.said)
        if isinstance(answer, Decision):
            answer.then(partial(_reset_unless_allowed, nat, known))
        elif answer is not None:
            reset += _reset_unless_allowed(nat, known, answer)
    return reset


def _known_by(flow: object) -> NatTcpFlow | None:
    """The flow, if it leads outward through the NAT and has its route."""
    return flow if isinstance(flow, NatTcpFlow) and not flow.inbound and flow.pending is None else None


def _is_served(nat: TcpNat, flow: NatTcpFlow) -> bool:
    """Report whether a service of the virtual network is the far side of a flow."""
    _, _, destination, port = split_key(flow.key)
    return nat.tables.stream_service(destination, port) is not None


def _reset_unless_allowed(nat: TcpNat, flow: NatTcpFlow, verdict: Verdict) -> bool:
    """Reset a flow unless a verdict lets it stay. Returns whether it was reset."""
    leads_elsewhere = flow.verdict is not None and flow.verdict.redirect != verdict.redirect
    stays = verdict.action in (Action.ALLOW, Action.ASK) and not leads_elsewhere
    if stays or nat.tables.tcp_flows.get(flow.key) is not flow:
        return False
    nat.network.stats.flows_reset_by_policy += 1
    nat.evict(flow)
    return True
