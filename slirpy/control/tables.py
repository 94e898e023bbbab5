"""Flows, counters, leases, neighbours and forwards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from slirpy._version import __version__
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.control.rows import flow_row, forward_row, lease_row, neighbor_row
from slirpy.control.shapes import Counters, Flows, Forward, Forwards, Info, Leases, Neighbors, Rule
from slirpy.control.subject import Subject
from slirpy.core.flows import FlowInfo
from slirpy.errors import ForwardError
from slirpy.stack import Stack

__all__ = ["router"]

FLOWS_MAX = 100_000
PIECE = 256
"""Flows whose state is copied in one turn of the network's thread: about a millisecond."""

Limit = Annotated[int, Query(ge=0, le=FLOWS_MAX, description="Maximum number of flows; the newest come first.")]
Protocol = Annotated[str | None, Query(pattern="^(tcp|udp|icmp)$", description="Only flows of this protocol.")]
Guest = Annotated[str | None, Query(max_length=64, description="Only flows of the guest with this address.")]
RuleText = Annotated[str, Query(max_length=4096, description="A rule as the list shows it.")]


def router(subject: Subject) -> APIRouter:
    """The paths of this part."""
    routes = APIRouter(tags=["network"])
    began = time.monotonic()

    @routes.get("", response_model=Info, operation_id="info")
    async def info() -> JSONResponse:
        """Describe the network in a few words."""

        def look() -> dict[str, Any]:
            network = subject.network
            flows = network.flow_count if isinstance(network, Stack) else 0
            return {"links": len(network.ports), "flows": flows}

        nets = {
            "networks": [net for net, _ in subject.addresses()],
            "gateways": [gateway for _, gateway in subject.addresses()],
        }
        row = {**nets, **await subject.do(look), "uptime": round(time.monotonic() - began, 3)}
        return JSONResponse({"version": __version__, "pid": os.getpid(), **row})

    @routes.get("/flows", response_model=Flows, operation_id="flows")
    async def flows(protocol: Protocol = None, guest: Guest = None, limit: Limit = FLOWS_MAX) -> JSONResponse:
        """List the flows, the newest first. They are copied in pieces, between which the network carries traffic."""
        views = await subject.ask(Stack.flow_views)
        rows: list[dict[str, Any]] = []
        total = 0
        for start in range(0, len(views), PIECE):
            piece = views[start : start + PIECE]
            infos = await subject.do(partial(_look_at, piece))
            matching = [each for each in infos if _matches(each, protocol, guest)]
            total += len(matching)
            rows += [flow_row(each) for each in islice(matching, max(limit - len(rows), 0))]
            if not protocol and not guest and len(rows) >= limit:
                total = len(views)
                break
        return JSONResponse({"total": total, "flows": rows})

    @routes.get("/flows/closed", response_model=Flows, operation_id="closed_flows")
    async def closed_flows() -> JSONResponse:
        """List the last flows that ended, at most 256, newest last; `state` is the way they ended."""
        infos = await subject.ask(lambda stack: list(stack.closed_flows))
        return JSONResponse({"total": len(infos), "flows": [flow_row(each) for each in infos]})

    @routes.get("/stats", response_model=Counters, operation_id="stats")
    async def stats() -> JSONResponse:
        """List all counters."""
        counters = await subject.do(subject.network.stats.as_dict)
        return JSONResponse({"counters": counters})

    @routes.get("/leases", response_model=Leases, operation_id="leases")
    async def leases() -> JSONResponse:
        """List the DHCP leases that hold an address now."""
        infos = await subject.ask(Stack.leases)
        return JSONResponse({"leases": [lease_row(each) for each in infos]})

    @routes.get("/neighbors", response_model=Neighbors, operation_id="neighbors")
    async def neighbors() -> JSONResponse:
        """List the addresses of guests that were seen, the most recent first."""
        infos = await subject.ask(Stack.neighbor_infos)
        return JSONResponse({"neighbors": [neighbor_row(each) for each in infos]})

    @routes.get("/forwards", response_model=Forwards, operation_id="forwards")
    async def forwards() -> JSONResponse:
        """List the forwards of host ports."""
        active = await subject.ask(Stack.hostfwds)
        return JSONResponse({"forwards": [forward_row(each) for each in active]})

    @routes.post("/forwards", response_model=Forward, status_code=201, operation_id="add_forward")
    async def add_forward(body: Rule) -> JSONResponse:
        """Start to forward a port of the host: `tcp:127.0.0.1:8080-:80`, in QEMU's syntax. Port 0: a free one."""
        forward = parse_hostfwd(body.rule)
        added = await subject.ask(lambda stack: stack.add_hostfwd(forward))
        return JSONResponse(forward_row(added), 201)

    @routes.delete("/forwards", response_model=Forward, operation_id="remove_forward")
    async def remove_forward(rule: RuleText) -> JSONResponse:
        """Stop forwarding; connections stay open."""
        forward = parse_hostfwd(rule)

        def remove(stack: Stack) -> str:
            try:
                stack.remove_hostfwd(forward)
            except ForwardError as error:
                return str(error)
            return ""

        missing = await subject.ask(remove)
        if missing:
            return JSONResponse({"error": missing}, 404)
        return JSONResponse(forward_row(forward))

    return routes


def _look_at(views: Sequence[Callable[[], FlowInfo | None]]) -> list[FlowInfo]:
    return [info for view in views if (info := view()) is not None]


def _matches(flow: FlowInfo, protocol: str | None, guest: str | None) -> bool:
    return (protocol is None or flow.protocol == protocol) and (guest is None or str(flow.guest[0]) == guest)
