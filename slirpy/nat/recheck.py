"""A policy that is replaced while flows last: those that it no longer allows are reset."""

from __future__ import annotations

from functools import partial

from slirpy.core.neighbor import Neighbors
from slirpy.interfaces import TLS_MODES, Action, Decision, FlowRequest, Verdict
from slirpy.nat.flow import DatagramNat
from slirpy.nat.icmp import IcmpFlow, IcmpNat
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.outcomes import Route
from slirpy.nat.oversight import request_of
from slirpy.nat.routes import Router
from slirpy.nat.tcp import TcpNat
from slirpy.nat.tcpflow import NatTcpFlow
from slirpy.nat.udp import UdpNat
from slirpy.nat.udpflow import UdpFlow
from slirpy.wire.ip import split_key

__all__ = ["may_keep", "recheck"]

_ALLOWED = Verdict(Action.ALLOW)


def recheck(tcp: TcpNat, udp: UdpNat, ping: IcmpNat, neighbors: Neighbors) -> int:
    """Ask the policy about all outward flows again, and end those that it no longer allows or would lead elsewhere.

    Flows that are still held end too, since the former policy was asked about them. A UDP or echo flow ends if one of
    its destinations is no longer allowed; its next datagram to another one begins a new flow.

    Returns:
        The number of flows that ended. A verdict that is yet to come is acted on when it comes.
    """
    before = tcp.network.stats.flows_reset_by_policy
    for flow in list(tcp.tables.tcp_flows.values()):
        if isinstance(flow, NatTcpFlow) and not flow.inbound and not _is_served(tcp, flow):
            _recheck_tcp(tcp, flow)
    for nat, flows in ((udp, list(udp.flows.values())), (ping, list(ping.flows.values()))):
        nat.holding.close()
        for datagrams in flows:
            _recheck_datagrams(nat, datagrams, neighbors)
    return tcp.network.stats.flows_reset_by_policy - before


def _recheck_tcp(nat: TcpNat, flow: NatTcpFlow) -> None:
    if flow.pending is not None:
        _reset(nat, flow)
        return
    request = request_of(flow)
    answer = nat.router.allows(request, flow.said)
    if isinstance(answer, Decision):
        answer.then(partial(_reset_unless_allowed, nat, flow, request))
    elif answer is not None:
        _reset_unless_allowed(nat, flow, request, answer)


def _is_served(nat: TcpNat, flow: NatTcpFlow) -> bool:
    """Report whether a service of the virtual network is the far side of a flow."""
    _, _, destination, port = split_key(flow.key)
    return nat.tables.stream_service(destination, port) is not None


def _reset_unless_allowed(nat: TcpNat, flow: NatTcpFlow, request: FlowRequest, verdict: Verdict) -> None:
    """Reset a flow unless a verdict lets it stay."""
    router, reads = nat.router, isinstance(flow.peer, InspectedStream) and flow.peer.reads
    misled = flow.resolved_outside and not router.may_say_name(verdict)
    if misled or not may_keep(router, request, flow.route, verdict, reads=reads):
        _reset(nat, flow)


def _reset(nat: TcpNat, flow: NatTcpFlow) -> None:
    if nat.tables.tcp_flows.get(flow.key) is flow:
        nat.network.stats.flows_reset_by_policy += 1
        nat.evict(flow)


def _recheck_datagrams(nat: UdpNat | IcmpNat, flow: UdpFlow | IcmpFlow, neighbors: Neighbors) -> None:
    neighbor = neighbors.get(flow.guest)
    link = None if neighbor.port is None else neighbor.port.link
    for destination in flow.destinations():
        request = FlowRequest(
            nat.protocol, flow.guest, flow.number, *destination, link=link, mac=neighbor.mac or None
        )
        answer = nat.router.allows(request)
        if isinstance(answer, Decision):
            answer.then(partial(_end_unless_allowed, nat, flow, request))
        elif answer is not None and not _end_unless_allowed(nat, flow, request, answer):
            return


def _end_unless_allowed(
    nat: DatagramNat[UdpFlow] | DatagramNat[IcmpFlow],
    flow: UdpFlow | IcmpFlow,
    request: FlowRequest,
    verdict: Verdict,
) -> bool:
    """End a flow unless a verdict lets it keep a destination. Returns whether it may."""
    destination = request.destination_bytes, request.destination_port
    keeps = may_keep(
        nat.router, request, flow.routes.get(destination), verdict, reads=flow.still_reads(destination)
    )
    if not keeps and nat.flows.get(flow.key) is flow:
        nat.network.stats.flows_reset_by_policy += 1
        nat.remove(flow)  # type: ignore[arg-type] # a flow of this NAT, as the table says
    return keeps


def may_keep(
    router: Router, request: FlowRequest, route: Route | None, verdict: Verdict, *, reads: bool
) -> bool:
    """Report whether a flow may go on along its route, after a new policy has decided about it again.

    It may not if the verdict would lead it elsewhere, or demands first bytes that have not been read.

    Args:
        router: leads by the new policy.
        request: the flow.
        route: that which it has; None: the policy had nothing to say about it.
        verdict: the new policy's, from :meth:`~slirpy.nat.routes.Router.allows`.
        reads: whether the names that its client says later are read, as the former policy demands.
    """
    before = (None if route is None else route.verdict) or _ALLOWED
    if not _leads_as_before(router, verdict, before):
        return False
    if before.names and route is not None and before.redirect is None:
        asked = verdict if verdict.action is Action.ASK else None
        elsewhere = route.address != router.leads_to(request.destination_bytes)
        if elsewhere and not router.may_stand_in(request, verdict, route.address, asked):
            return False
    named = before.redirect is not None and isinstance(before.redirect[0], str)
    if named and route is not None and not router.may_lead_to(request, route.address, route.port):
        return False
    if not reads:
        return True
    later = router.allows(request, before.names)
    return (
        isinstance(later, Verdict)
        and later.action in (Action.ALLOW, verdict.action)
        and _leads_as_before(router, later, before)
        and (not later.names or set(before.names) <= set(later.names))
    )


def _leads_as_before(router: Router, verdict: Verdict, before: Verdict) -> bool:
    """Report whether a verdict leads a flow along the same route as an earlier one, and demands no more.

    Where it asks, the flow may stay as it is: somebody would be asked about a new flow only, and could choose a
    redirect, which replaces the demands of the rule, or a proxy if the rule names none.
    """
    asks = verdict.action is Action.ASK
    if asks and before.redirect is not None:
        return True
    if not (asks or verdict.action is Action.ALLOW) or verdict.redirect != before.redirect:
        return False
    if not (asks and verdict.proxy is None) and router.proxy_of(verdict) != router.proxy_of(before):
        return False
    mode = before.tls if before.names else "off"
    return not verdict.names or TLS_MODES.index(verdict.tls) >= TLS_MODES.index(mode)
