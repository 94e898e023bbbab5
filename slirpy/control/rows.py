"""Reports of the stack as JSON: the same rows from the control socket, as :mod:`slirpy.control.shapes` has them, and
from :mod:`slirpy.snapshot`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any, TypeAlias

from slirpy.config.dnsrecord import DnsRecord
from slirpy.config.guestfwd import GuestForward
from slirpy.config.hostfwd import HostForward
from slirpy.core.flows import FlowInfo, NeighborInfo
from slirpy.interfaces import IPProtocol
from slirpy.nat.questions import Question
from slirpy.services.dhcp import LeaseInfo

__all__ = [
    "flow_row",
    "forward_row",
    "guest_forward_row",
    "lease_row",
    "neighbor_row",
    "question_row",
    "record_row",
    "record_text",
]

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


def question_row(question: Question, now: int) -> Row:
    """The JSON of a question."""
    request = question.request
    return {
        "number": question.number,
        "flow": question.goal,
        "protocol": IPProtocol(request.protocol).name.lower(),
        "guest": _place((request.source, request.source_port)),
        "destination": _place((request.destination, request.destination_port)),
        "names": list(request.names),
        "rule": question.rule or None,
        "left": round(question.left(now), 3),
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


def guest_forward_row(forward: GuestForward) -> Row:
    """The JSON of an address of the network at which something on the host answers."""
    return {
        "rule": str(forward),
        "server": None if forward.server is None else str(forward.server),
        "port": forward.port,
        "target": str(forward).partition("-")[2],
    }


def record_text(record: DnsRecord) -> str:
    """A DNS record in one line."""
    return f"{record.name} {record.ttl} {record.type} {record.value}"


def record_row(record: DnsRecord) -> Row:
    """The JSON of a DNS record."""
    return {
        "record": record_text(record),
        "name": record.name,
        "type": record.type,
        "value": record.value,
        "ttl": record.ttl,
    }
