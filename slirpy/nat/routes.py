"""Mapping of addresses that guests use to addresses of the host.

The gateway stands for the host's loopback, under each of its addresses. The loopback of the guest's own family comes
first, 127.0.0.1 or ::1; if nobody listens there, the other one is tried: many programs listen at one of the two only.
Any other address of the virtual network that no guest has leads nowhere. All other addresses are outside.
"""

from __future__ import annotations

import enum
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from slirpy.config import Config
from slirpy.config.policy import checked_verdict
from slirpy.core.network import ROUTER, gateway_for
from slirpy.core.translation import UNASSIGNED, Translation
from slirpy.interfaces import Action, FlowRequest, Verdict
from slirpy.wire.ip import family_of
from slirpy.wire.scope import is_link_local, with_interface

__all__ = ["LOOPBACK", "LOOPBACK6", "Refusal", "Route", "Router", "onward_ttl"]

LOOPBACK = b"\x7f\0\0\x01"
LOOPBACK6 = bytes(15) + b"\x01"
_LIMITED_BROADCAST = b"\xff\xff\xff\xff"
_RESTRICTED = Verdict(Action.REJECT, reason="restrict")
_SHUT = Verdict(Action.REJECT, reason="no host loopback")


class Refusal(enum.Enum):
    """Reason why a flow is not allowed."""

    NET_UNREACHABLE = "net unreachable"
    HOST_UNREACHABLE = "host unreachable"
    PORT_UNREACHABLE = "port unreachable"
    PROHIBITED = "administratively prohibited"
    DROP = "dropped"
    MARTIAN = "no such destination"
    BEYOND_SCOPE = "source address of a smaller scope"


class Route(NamedTuple):
    """Destination of a flow."""

    address: bytes
    port: int
    otherwise: bytes | None = None
    """Address to try if nobody listens at ``address``."""


def onward_ttl(ttl: int, address: bytes) -> int:
    """The time to live with which to relay a packet to ``address``; 0: it ends here (RFC 1812, section 5.3.1).

    The host's loopback is the gateway itself, so no hop is counted.
    """
    return max(ttl - 1, 1) if family_of(address).is_loopback(address) else ttl - 1


class Router:
    """Decides where a new flow goes, or why it is refused.

    Args:
        config: the network.
        servers: the addresses of virtual hosts, which may grow; None: those of ``config``.
        translation: addresses that stand for hosts of the other family; None: as ``config`` says.
    """

    def __init__(
        self,
        config: Config,
        servers: AbstractSet[bytes] | None = None,
        translation: Translation | None = None,
    ) -> None:
        self._config = config
        self._translation = Translation(config) if translation is None else translation
        self._servers = config.server_addresses if servers is None else servers
        self.restricts = config.policy is not None or config.restrict or not config.host_loopback
        """True if a rule says that there are places which guests may not reach."""
        self._gateways = frozenset((config.gateway_address, config.gateway_address6, ROUTER))
        self._broadcasts = frozenset((config.broadcast_address, _LIMITED_BROADCAST))

    def route(self, request: FlowRequest) -> Route | Refusal:
        """Find the host address and port for a flow that is not for a virtual service."""
        config = self._config
        host = self._translation.host(request.destination_bytes)
        if host is not None:
            if host == UNASSIGNED:
                return Refusal.HOST_UNREACHABLE
            if host in self._broadcasts:
                return Refusal.MARTIAN  # IPv6 has no broadcast to translate
            # From here on it is a flow to the host itself, also for the policy.
            request = FlowRequest(
                request.protocol, request.source_bytes, request.source_port, host, request.destination_port
            )
        refusal, address = self._lookup(request.destination_bytes)
        if refusal is Refusal.MARTIAN:
            return refusal  # unassigned, so no error is sent
        if config.restrict:
            return self._refuse(request, _RESTRICTED)
        if refusal is not None:
            if refusal is Refusal.NET_UNREACHABLE:
                self._refuse(request, _SHUT)
            return refusal
        if is_link_local(request.source_bytes) and not family_of(address).is_loopback(address):
            return Refusal.BEYOND_SCOPE  # no router forwards its packets (RFC 4291, section 2.5.6)
        if config.policy is not None:
            if address is LOOPBACK or address is LOOPBACK6:
                # Under one name, so that rules about the gateway also hold for broadcasts.
                gateway = config.gateway_address if address is LOOPBACK else config.gateway_address6
                request = FlowRequest(
                    request.protocol, request.source_bytes, request.source_port, gateway,
                    request.destination_port, True,
                )  # fmt: skip
            verdict = checked_verdict(config.policy(request))
            if verdict.action is not Action.ALLOW:
                return self._refuse(request, verdict)
            if verdict.redirect is not None:
                target, port = verdict.redirect
                try:
                    return Route(with_interface(target), port)
                except OSError:
                    return Refusal.NET_UNREACHABLE  # its interface is gone
        return Route(address, request.destination_port, self._other_loopback(request.destination_bytes))

    def _refuse(self, request: FlowRequest, verdict: Verdict) -> Refusal:
        if self._config.on_refused is not None:
            self._config.on_refused(request, verdict)
        return Refusal.DROP if verdict.action is Action.DROP else Refusal.PROHIBITED

    def _lookup(self, destination: bytes) -> tuple[Refusal | None, bytes]:
        config = self._config
        if destination in self._gateways or destination in self._broadcasts:
            loopback = LOOPBACK if len(destination) == 4 else LOOPBACK6
            return (None if config.host_loopback else Refusal.NET_UNREACHABLE), loopback
        if destination in self._servers:
            return Refusal.PORT_UNREACHABLE, destination
        if config.contains(destination):
            return Refusal.HOST_UNREACHABLE, destination
        if family_of(destination).is_martian(destination):
            return Refusal.MARTIAN, destination
        return None, destination

    def _other_loopback(self, destination: bytes) -> bytes | None:
        """The loopback of the other family, for the gateway's addresses. A network without IPv6 knows one only."""
        if destination not in self._gateways:
            return None
        if len(destination) == 16:
            return LOOPBACK
        return LOOPBACK6 if self._config.ipv6 else None

    def translated(self, address: bytes) -> bytes | None:
        """Return the address of the other IP family by which guests know a host; None if there is none."""
        return self._translation.seen(address)

    def source_seen(self, address: bytes, guest: bytes) -> bytes:
        """Return the address by which a guest knows a host's.

        It is the same for most. The gateway stands for the host's loopback, for link-local addresses, which mean
        nothing on the guest's link, and for hosts of the other family that have no address for guests. To a guest
        with a link-local address, it stands for everyone, since such a guest can answer nobody beyond the link. This
        method is called for each datagram.
        """
        if is_link_local(guest):
            return ROUTER
        if len(address) != len(guest):
            seen = None if family_of(address).is_loopback(address) else self._translation.seen(address)
            return seen or gateway_for(self._config, guest)
        if len(guest) == 4:
            return self._config.gateway_address if address[0] == 127 else address
        if address == LOOPBACK6 or is_link_local(address):
            return gateway_for(self._config, guest)
        return address
