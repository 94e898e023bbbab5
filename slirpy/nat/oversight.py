"""Oversight of TCP flows: what they began with, and their first bytes."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.core.network import Network
from slirpy.core.tcpflow import TcpFlow
from slirpy.interfaces import (
    Action,
    FirstBytes,
    FlowRequest,
    IPProtocol,
    Passed,
    Refused,
    StreamPeer,
    Verdict,
)
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.pumps import PumpedFlow
from slirpy.nat.routes import Router
from slirpy.wire.ip import split_key

__all__ = ["inspected", "request_of"]


def request_of(flow: TcpFlow) -> FlowRequest:
    """Return the request that a flow began with; of an inbound flow its reverse, with the guest as the source."""
    guest, guest_port, far, far_port = split_key(flow.key)
    neighbor = flow.neighbor
    link = None if neighbor.port is None else neighbor.port.link
    return FlowRequest(IPProtocol.TCP, guest, guest_port, far, far_port, link=link, mac=neighbor.mac)


def inspected(
    network: Network,
    router: Router,
    flow: PumpedFlow,
    peer: StreamPeer,
    first: FirstBytes,
    request: FlowRequest,
    verdict: Verdict,
) -> StreamPeer:
    """Put an inspector before the far side of a flow; returns the two as one far side."""

    def found(finding: Passed | Refused) -> None:
        reason = finding.reason if isinstance(finding, Refused) else ""
        if network.events is not None:
            network.events.flow_inspected(flow.serial, finding.kind, finding.names, reason)
        if reason:
            network.stats.tcp_flows_misnamed += 1
            router.refuse(request, Verdict(Action.REJECT, reason=reason, rule=verdict.rule))
        elif finding.names:
            flow.said = tuple(dict.fromkeys(flow.said + finding.names))

    def aside(stream: InspectedStream) -> None:
        if flow.peer is stream:
            flow.peer = stream.peer

    def later(delay: int, call: Callable[[], None]) -> object:
        return network.call_at(network.now + delay, call)

    return InspectedStream(peer, flow, first, found, aside, later)
