"""The seam of policies, which decide about new flows."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeAlias

from slirpy.addresses import AnyAddress, IPAddress, address_bytes, port_number, reachable_place
from slirpy.checks import is_whole, switch
from slirpy.errors import ConfigError

__all__ = ["Action", "FlowRequest", "IPProtocol", "Policy", "RefusedHook", "Verdict"]


class IPProtocol(enum.IntEnum):
    """IP protocol numbers of flows."""

    ICMP = 1
    TCP = 6
    UDP = 17


@dataclass(frozen=True, slots=True, init=False, repr=False)
class FlowRequest:
    """A flow that a guest wants to start.

    Its addresses are :mod:`ipaddress` objects. They are equal to other such objects, never to text: write
    ``request.destination == ip_address("192.0.2.7")``, ``request.destination in ip_network("203.0.113.0/24")``, or
    ``str(request.destination) == "192.0.2.7"``.

    Args:
        source: text, an :mod:`ipaddress` object, or four or sixteen bytes, as ``destination``.

    Raises:
        ConfigError: an invalid value.
    """

    protocol: int
    """IP protocol number: 6 for TCP, 17 for UDP, 1 for ICMP echo."""
    source_bytes: bytes
    """Source in network order: four or sixteen bytes."""
    source_port: int
    """Source port; for ICMP the identifier of the echo requests, whose destination port is 0."""
    destination_bytes: bytes
    """Destination in network order: four or sixteen bytes."""
    destination_port: int
    host: bool
    """True if the flow leads to the host's loopback."""

    def __init__(
        self,
        protocol: int,
        source: AnyAddress,
        source_port: int,
        destination: AnyAddress,
        destination_port: int,
        host: bool = False,
    ) -> None:
        put = object.__setattr__
        put(self, "protocol", _protocol(protocol))
        put(self, "source_bytes", address_bytes("source", source))
        put(self, "source_port", port_number("source_port", source_port))
        put(self, "destination_bytes", address_bytes("destination", destination))
        put(self, "destination_port", port_number("destination_port", destination_port))
        put(self, "host", switch("host", host))

    @property
    def source(self) -> IPAddress:
        """The guest's address."""
        return ip_address(self.source_bytes)

    @property
    def destination(self) -> IPAddress:
        """Destination as the guest names it. The gateway's address stands for the host's loopback, also for
        broadcasts, which lead there too.
        """
        return ip_address(self.destination_bytes)

    def __repr__(self) -> str:
        names = {protocol.value: protocol.name.lower() for protocol in IPProtocol}
        source, destination = (
            f"{f'[{address}]' if address.version == 6 else address}:{port}"
            for address, port in (
                (self.source, self.source_port),
                (self.destination, self.destination_port),
            )
        )
        host = ", the host's loopback" if self.host else ""
        return f"<FlowRequest {names.get(self.protocol, self.protocol)} {source} -> {destination}{host}>"


def _protocol(value: int) -> int:
    if not is_whole(value) or not 0 <= value <= 255:
        raise ConfigError(f"protocol {value!r} is not the number of an IP protocol, such as IPProtocol.TCP")
    return value


class Action(enum.Enum):
    """The possible decisions about a flow."""

    ALLOW = "allow"
    REJECT = "reject"
    """Refuse it visibly: RST for TCP, ICMP "administratively prohibited" for UDP."""
    DROP = "drop"
    """Discard it silently."""


@dataclass(frozen=True, slots=True, init=False)
class Verdict:
    """A policy's decision.

    Raises:
        ConfigError: an invalid value.
    """

    action: Action
    redirect: tuple[IPAddress, int] | None
    """With ``Action.ALLOW``: the host address and port to use in place of the destination. The address may be given
    as text, an :mod:`ipaddress` object, or bytes."""
    reason: str
    """Short reason for a refusal, for people who read the logs."""

    def __init__(
        self, action: Action, redirect: tuple[AnyAddress, int] | None = None, reason: str = ""
    ) -> None:
        if not isinstance(action, Action):
            raise ConfigError(f"a verdict's action is one of slirpy.Action; given was {action!r}")
        if redirect is not None and action is not Action.ALLOW:
            raise ConfigError(f"a verdict that redirects has Action.ALLOW; given was {action}")
        if not isinstance(reason, str):
            raise ConfigError(f"a verdict's reason is text; given was {reason!r}")
        put = object.__setattr__
        put(self, "action", action)
        put(self, "redirect", None if redirect is None else reachable_place("a verdict's redirect", redirect))
        put(self, "reason", reason)


Policy: TypeAlias = Callable[[FlowRequest], Verdict]
"""Asked once for each new flow to the host or beyond it."""

RefusedHook: TypeAlias = Callable[[FlowRequest, Verdict], object]
"""Called with each flow that a policy, ``restrict`` or ``host_loopback`` refused; for UDP, with each datagram."""
