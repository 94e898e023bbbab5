"""What is known of a flow while it lives, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["FlowInfo"]


@dataclass(frozen=True, slots=True)
class FlowInfo:
    """A snapshot of one flow."""

    protocol: str
    """``"tcp"`` or ``"udp"``."""
    state: str
    """For TCP the state of RFC 9293 (guest's side), or ``"CONNECTING"``; for UDP ``"OPEN"``."""
    guest: tuple[IPv4Address | IPv6Address, int]
    """The guest's address and port."""
    host: tuple[IPv4Address | IPv6Address, int] | None
    """The other end as the guest names it; None for UDP, where one socket serves all of them."""
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
