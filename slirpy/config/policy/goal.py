"""Destinations of flows, as rules name them."""

from __future__ import annotations

from slirpy.config.text import bracketed
from slirpy.interfaces import FlowRequest, IPProtocol

__all__ = ["goal_of"]


def goal_of(request: FlowRequest) -> str:
    """The destination of a flow as a rule names it: by name if it has one, ``host``, or by address."""
    protocol = IPProtocol(request.protocol).name.lower()
    if request.host:
        where = "host"
    elif request.names:
        name = request.names[0]
        where = name if "." in name else f"{name}."
    else:
        where = bracketed(request.destination)
    port = "" if request.protocol == IPProtocol.ICMP else f":{request.destination_port}"
    return f"{protocol}:{where}{port}"
