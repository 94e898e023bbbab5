"""Addresses and ports of the virtual network at which services of the host answer (guestfwd).

Three kinds of target work without the system: a TCP address or the name of a host behind the host network, and a
function that makes streams. These work in virtual time too. The others are opened by :class:`TargetOpener`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from slirpy.addresses import IPAddress
from slirpy.config import Config
from slirpy.config.guestfwd import GuestForward, HostTarget, StreamFactory, Target, TcpTarget
from slirpy.config.text import bracketed
from slirpy.core.parts import Parts
from slirpy.errors import ForwardError
from slirpy.interfaces import (
    FlowRequest,
    HostNetwork,
    ServiceNetwork,
    StreamOwner,
    StreamPeer,
    StreamService,
)
from slirpy.records import Protocol
from slirpy.stats import Stats
from slirpy.wire.ip import family_of
from slirpy.wire.scope import with_interface

__all__ = ["GuestForwards", "TargetOpener"]


class TargetOpener(Protocol):
    """Opens streams to commands, Unix sockets and functions: ``targets/opener.py``."""

    def opener(self, target: Target, network: ServiceNetwork, what: str) -> StreamService:
        """Return a function that opens connections to a target.

        Raises:
            ForwardError: the target cannot work; ``what`` begins the text.
        """


class _Counted:
    """Owner of a stream that counts the stream's outcome."""

    __slots__ = ("_open", "_owner", "_stats")

    def __init__(self, owner: StreamOwner, stats: Stats) -> None:
        self._owner = owner
        self._stats = stats
        self._open = False

    def connected(self) -> None:
        self._open = True
        self._owner.connected()

    def readable(self) -> None:
        self._owner.readable()

    def writable(self) -> None:
        self._owner.writable()

    def failed(self, error: int) -> None:
        if self._open:
            self._stats.guestfwd_broken += 1
        else:
            self._stats.guestfwd_failed += 1
            if error == errno.ENOENT:
                error = errno.ECONNREFUSED  # a missing Unix socket: no program listens
        self._owner.failed(error)


class GuestForwards:
    """The active rules.

    Args:
        parts: of the stack to which the addresses belong.
        network: that stack, as targets see it.
        host: where TCP targets are.
        target_opener: for all other targets; None: there may be none.
        reserve: called with each new address of the virtual network, so that no guest gets it; returns False if
            one has it.
    """

    def __init__(
        self,
        parts: Parts,
        network: ServiceNetwork,
        host: HostNetwork,
        target_opener: TargetOpener | None,
        reserve: Callable[[bytes], bool],
    ) -> None:
        self._network = parts.network
        self._services = parts.tables.stream_services
        self._target_network = network
        self._host = host
        self._target_opener = target_opener
        self._reserve = reserve
        self._rules: dict[tuple[bytes | None, int | None], GuestForward] = {}

    def active(self) -> list[GuestForward]:
        """The active rules, in order of addition."""
        return list(self._rules.values())

    def add(self, rule: GuestForward, *, listed: bool = True) -> None:
        """Apply a rule to connections from now on.

        Args:
            listed: whether :meth:`active` includes it.

        Raises:
            ForwardError: the address cannot be a server's, or is in use, or the target cannot work.
        """
        network, services = self._network, self._services
        config = network.config
        key = (None if rule.server is None else rule.server.packed, rule.port)
        where = f"guestfwd {'*' if rule.server is None else bracketed(rule.server)}:{rule.port or '*'}"
        if key in services:
            raise ForwardError(
                f"{where}: something answers there already; remove that first, or choose another"
            )
        service = self._counted(self._opener(rule.target, where))
        if rule.server is not None:
            check_server(rule.server, where, config)
            if config.contains(rule.server.packed) and rule.server.packed not in network.addresses:
                if not self._reserve(rule.server.packed):
                    raise ForwardError(f"{where}: {rule.server} is leased to a guest; choose another address")
                network.add_address(rule.server.packed)
        services[key] = service
        if listed:
            self._rules[key] = rule

    def remove(self, rule: GuestForward) -> None:
        """End a rule. Open connections stay, and so does the server's address.

        Raises:
            ForwardError: there is no such rule.
        """
        key = (None if rule.server is None else rule.server.packed, rule.port)
        if key not in self._rules:
            known = ", ".join(map(str, self._rules.values())) or "none"
            raise ForwardError(
                f"guestfwd {rule.server or '*'}:{rule.port or '*'}: there is no such rule; active are: {known}"
            )
        del self._rules[key], self._services[key]

    def _opener(self, target: Target, where: str) -> StreamService:
        if isinstance(target, TcpTarget):
            host, port = self._host, target.port
            try:
                address = with_interface(target.address)
            except OSError as error:
                raise ForwardError(f"{where}: {target.address}: {error.strerror}") from None
            return lambda owner, flow: host.connect_tcp(address, port, owner)
        if isinstance(target, HostTarget):
            from slirpy.services.namedstream import NamedStream

            host, name, port = self._host, target.name, target.port
            return lambda owner, flow: NamedStream(host, name, port, owner)
        if isinstance(target, StreamFactory):
            return target.open
        if self._target_opener is None:
            raise ForwardError(
                f"{where}: in virtual time a target can be tcp:host:port or a StreamFactory, and nothing else"
            )
        return self._target_opener.opener(target, self._target_network, where)

    def _counted(self, service: StreamService) -> StreamService:
        stats = self._network.stats

        def opener(owner: StreamOwner, flow: FlowRequest) -> StreamPeer:
            stats.guestfwd_flows += 1
            return service(_Counted(owner, stats), flow)

        return opener


def check_server(server: IPAddress, where: str, config: Config) -> None:
    """Check that an address can belong to a virtual server.

    Raises:
        ForwardError: a broadcast, unspecified or multicast address, one that means the guest itself, or one of a
            family that the network does not have.
    """
    if not (config.ipv4 if server.version == 4 else config.ipv6):
        raise ForwardError(f"{where}: this network has no IPv{server.version}")
    taken = (config.network_address, config.broadcast_address, config.network_address6)
    packed = server.packed
    nobody = packed[0] in (0, 255) if server.version == 4 else family_of(packed).is_martian(packed)
    if packed in taken or server.is_multicast or server.is_loopback or nobody:
        raise ForwardError(f"{where}: {server} is no address that a server can have")
