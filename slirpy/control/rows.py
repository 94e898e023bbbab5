"""Reports of the stack, as the JSON of :mod:`slirpy.control.shapes`."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

from slirpy.config.hostfwd import HostForward
from slirpy.core.flows import FlowInfo, NeighborInfo
from slirpy.services.dhcp import LeaseInfo

__all__ = ["flow_row", "forward_row", "lease_row", "neighbor_row"]

Row: TypeAlias = dict[str, Any]


def _place(place: tuple[IPv4Address | IPv6Address, int]) -> Row:
    return {"address": str(place[0]), "port": place[1]}


def flow_row(flow: FlowInfo) -> Row:
    """The JSON of a flow."""
    return {
        "protocol": flow.protocol,
        "state": flow.state,
        "guest": _place(flow.guest),
        "host": None if flow.host is None else _place(flow.host),
        "inbound": flow.inbound,
        "bytes_in": flow.bytes_in,
        "bytes_out": flow.bytes_out,
        "packets_in": flow.packets_in,
        "packets_out": flow.packets_out,
        "queued_in": flow.queued_in,
        "queued_out": flow.queued_out,
        "age": round(flow.age, 3),
        "idle": round(flow.idle, 3),
    }


def lease_row(lease: LeaseInfo) -> Row:
    """The JSON of a lease."""
    return {
        "address": str(lease.address),
        "mac": lease.mac,
        "hostname": lease.hostname,
        "state": lease.state.value,
        "client_id": None if lease.client_id is None else lease.client_id.hex(),
        "expires": None if lease.expires is None else round(lease.expires, 3),
        "idle": None if lease.idle is None else round(lease.idle, 3),
        "reserved": lease.reserved,
    }


def neighbor_row(neighbor: NeighborInfo) -> Row:
    """The JSON of an entry of the neighbour table."""
    return {"address": str(neighbor.address), "mac": neighbor.mac, "idle": round(neighbor.idle, 3)}


def forward_row(forward: HostForward) -> Row:
    """The JSON of a forward."""
    place = None if forward.path is not None else _place((forward.host_address, forward.host_port))
    return {
        "rule": str(forward),
        "protocol": forward.protocol,
        "host": place,
        "path": forward.path,
        "guest": None if forward.guest_address is None else str(forward.guest_address),
        "guest_port": forward.guest_port,
        "count": forward.count,
    }
