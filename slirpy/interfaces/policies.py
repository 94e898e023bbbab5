"""The seam of policies, which decide about new flows."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Action", "FlowRequest", "IPProtocol", "Policy", "RefusedHook", "Verdict"]


class IPProtocol(enum.IntEnum):
    """IP protocol numbers of flows."""

    ICMP = 1
    TCP = 6
    UDP = 17


class FlowRequest(NamedTuple):
    """A flow that a guest wants to start."""

    protocol: int
    """IP protocol number: 6 for TCP, 17 for UDP, 1 for ICMP echo."""
    source: bytes
    source_port: int
    """Source port; for ICMP the identifier of the echo requests, whose destination port is 0."""
    destination: bytes
    """Destination as the guest names it. The gateway's address stands for the host's loopback, also for broadcasts,
    which lead there too.
    """
    destination_port: int
    host: bool = False
    """Whether the flow leads to the host's loopback."""


class Action(enum.Enum):
    """The possible decisions about a flow."""

    ALLOW = "allow"
    REJECT = "reject"
    """Refuse it visibly: RST for TCP, ICMP "administratively prohibited" for UDP."""
    DROP = "drop"
    """Discard it silently."""


class Verdict(NamedTuple):
    """A policy's decision."""

    action: Action
    redirect: tuple[bytes, int] | None = None
    """With ALLOW: the host address and port to use in place of the destination."""
    reason: str = ""
    """Short reason for a refusal, for people who read the logs."""


Policy: TypeAlias = Callable[[FlowRequest], Verdict]
"""Asked once for each new flow to the host or beyond it."""

RefusedHook: TypeAlias = Callable[[FlowRequest, Verdict], object]
"""Called with each flow that a policy, ``restrict`` or ``host_loopback`` refused; for UDP, with each datagram."""
