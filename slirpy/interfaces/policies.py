"""The seam of policies: who decides about new flows."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

__all__ = ["Action", "FlowRequest", "IPProtocol", "Policy", "Refused", "Verdict"]


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
    """For ICMP the identifier of the echo requests; their destination port is 0."""
    destination: bytes
    """As the guest names it: the gateway's address stands for the host's loopback, also where the guest has said
    broadcast, which leads there too."""
    destination_port: int
    host: bool = False
    """It leads to the host's loopback."""


class Action(enum.Enum):
    """What a policy may say about a flow."""

    ALLOW = "allow"
    REJECT = "reject"
    """Refuse it audibly: RST for TCP, ICMP administratively prohibited for UDP."""
    DROP = "drop"
    """Say nothing."""


class Verdict(NamedTuple):
    """A policy's decision."""

    action: Action
    redirect: tuple[bytes, int] | None = None
    """With ALLOW: the host address and port to use in place of the destination."""
    reason: str = ""
    """Why it is refused, in a few words, for who reads about it."""


Policy: TypeAlias = Callable[[FlowRequest], Verdict]
"""Asked once for each new flow to the host or beyond it."""

Refused: TypeAlias = Callable[[FlowRequest, Verdict], object]
"""Told of each flow that was not to be: by a policy, ``restrict`` or ``host_loopback``; of UDP, of each datagram."""
