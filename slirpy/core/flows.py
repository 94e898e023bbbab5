"""What is known of flows and guests while they live, for people and programs."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["ENDS", "FlowInfo", "NeighborInfo", "ending"]

ENDS = ("CLOSED", "REFUSED", "RESET", "TIMED-OUT", "UNREACHABLE", "ABORTED")
"""How flows end. CLOSED is the orderly end of TCP, and the idle time-out of UDP and ICMP."""

_BY_ERROR = {
    0: "CLOSED",
    errno.ECONNREFUSED: "REFUSED",
    errno.ECONNRESET: "RESET",
    errno.EPIPE: "RESET",
    errno.ETIMEDOUT: "TIMED-OUT",
    errno.ENETUNREACH: "UNREACHABLE",
    errno.EHOSTUNREACH: "UNREACHABLE",
}


def ending(error: int) -> str:
    """The word of :data:`ENDS` for an ``errno`` value; 0 is an orderly end."""
    return _BY_ERROR.get(error, "ABORTED")


@dataclass(frozen=True, slots=True)
class FlowInfo:
    """A snapshot of one flow."""

    protocol: str
    """``"tcp"``, ``"udp"``, or ``"icmp"`` for echo requests."""
    state: str
    """For TCP the state of RFC 9293 (of our side), or ``"CONNECTING"``; for UDP and ICMP ``"OPEN"``.

    Of a flow that is over: how it ended, one of :data:`ENDS`.
    """
    guest: tuple[IPv4Address | IPv6Address, int]
    """The guest's address and port; for ICMP the identifier in place of a port."""
    host: tuple[IPv4Address | IPv6Address, int] | None
    """The other end as the guest names it; None for UDP and ICMP, where one socket serves all of them."""
    inbound: bool
    """Started from outside, through a forward."""
    bytes_in: int
    """Payload bytes from the guest."""
    bytes_out: int
    """Payload bytes to the guest."""
    packets_in: int
    packets_out: int
    queued_in: int
    """Bytes from the guest that the far side has not taken yet."""
    queued_out: int
    """Bytes to the guest that it has not acknowledged yet."""
    age: float
    """Seconds since the flow began."""
    idle: float
    """Seconds since anything passed."""


@dataclass(frozen=True, slots=True)
class NeighborInfo:
    """A guest's address that was heard, and where: a snapshot of a line of the ARP table."""

    address: IPv4Address | IPv6Address
    mac: bytes
    """Six bytes."""
    idle: float
    """Seconds since it was last heard."""
