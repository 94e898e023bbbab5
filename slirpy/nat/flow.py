"""Base classes of UDP and echo flows, whose packets pass through one host socket for each port or identifier."""

from __future__ import annotations

import abc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final, Generic, TypeVar

from slirpy.core.arrival import Arrival
from slirpy.core.flows import FlowInfo, describe
from slirpy.core.network import Network
from slirpy.core.parts import Parts
from slirpy.core.pins import Pin
from slirpy.core.timers import Alarm
from slirpy.fair import Group, Shares
from slirpy.interfaces import Action, DatagramPeer, FlowRequest, HostNetwork, IPProtocol, PingPeer, Verdict
from slirpy.mypyc import mypyc_attr
from slirpy.nat.held import Holding, Key
from slirpy.nat.limits import DescriptorLimit
from slirpy.nat.refusals import REFUSAL_CAUSES
from slirpy.nat.routes import Refusal, Route, Router
from slirpy.units import SECOND
from slirpy.wire.scope import is_loopback

if TYPE_CHECKING:
    from slirpy.nat.proxies import Proxies

__all__ = ["DatagramFlow", "DatagramNat", "Tally"]

PINS_MAX = 1024
"""Destinations of one flow whose pins are kept."""
TALLIES_MAX: Final = 1024
"""Maximum number of destinations of one flow whose traffic is counted; the oldest then counts as ended."""
P = TypeVar("P", DatagramPeer, PingPeer)


class Tally:
    """Traffic of a flow with one destination."""

    __slots__ = ("began", "bytes_in", "bytes_out", "packets_in", "packets_out", "serial")

    def __init__(self, serial: int, now: int) -> None:
        self.serial = serial
        self.began = now
        self.bytes_in = self.bytes_out = self.packets_in = self.packets_out = 0


@mypyc_attr(allow_interpreted_subclasses=True)
class DatagramFlow(abc.ABC, Generic[P]):
    """A guest's address with a port or an identifier, and the host socket that represents it.

    Attributes:
        guest: the guest's address.
        number: its port; for echo, the identifier.
        key: a key that no other flow of its kind has.
        inbound: whether it was opened from outside.
        peer: the socket, once it is open.
    """

    __slots__ = (
        "_alarm",
        "_network",
        "_timeout",
        "bytes_in",
        "bytes_out",
        "guest",
        "inbound",
        "key",
        "last_activity",
        "number",
        "packets_in",
        "packets_out",
        "peer",
        "pins",
        "routes",
        "share",
        "started",
        "tallies",
    )  # fmt: skip
    protocol: ClassVar[str]
    """Name in :class:`~slirpy.core.flows.FlowInfo`."""

    def __init__(
        self, network: Network, guest: bytes, number: int, key: bytes, timeout: int, *, inbound: bool = False
    ) -> None:
        now = network.now
        self._timeout = timeout
        self._network = network
        self.guest = guest
        self.number = number
        self.key = key
        self.inbound = inbound
        self.share: Group[DatagramFlow[P]] | None = None
        self.peer: P | None = None
        self.pins: list[Pin] = []
        """Pins of the names that allowed its destinations."""
        self.routes: dict[tuple[bytes, int], Route] = {}
        """Routes of destinations about which the policy's verdict says more than that they are allowed."""
        self.tallies: dict[tuple[bytes, int], Tally] = {}
        """Traffic by destination, as the guest sees it, while somebody listens to events."""
        self.started = self.last_activity = now
        self.bytes_in = self.bytes_out = self.packets_in = self.packets_out = 0
        self._alarm = Alarm(network.timers, self._check_idle)
        self._alarm.set(now + timeout)

    def count_sent(self, destination: tuple[bytes, int], packets: int, size: int) -> None:
        """Count packets of the guest for a destination."""
        tally = self.tallies.get(destination)
        if tally is not None:
            tally.packets_in += packets
            tally.bytes_in += size

    def idle_timeout(self) -> int:
        """Time without packets after which the flow ends, in nanoseconds."""
        return self._timeout

    @abc.abstractmethod
    def expire(self) -> None:
        """End the flow because it was idle."""

    def _check_idle(self) -> None:
        idle_at = self.last_activity + self.idle_timeout()
        if self._network.now >= idle_at:
            self.expire()
        else:
            self._alarm.set(idle_at)

    def info(self, now: int, state: str = "OPEN", host: tuple[bytes, int] | None = None) -> FlowInfo:
        """Snapshot of this flow."""
        return self.snapshot(now, state, host)()

    def snapshot(
        self, now: int, state: str = "OPEN", host: tuple[bytes, int] | None = None
    ) -> Callable[[], FlowInfo]:
        """Return a function that describes this flow as it is now, whatever becomes of it."""
        return partial(
            describe,
            self.protocol,
            state,
            (self.guest, self.number),
            host,
            self.inbound,
            (self.bytes_in, self.bytes_out),
            (self.packets_in, self.packets_out),
            (0, 0),
            self.started,
            self.last_activity,
            now,
        )

    def close(self) -> None:
        """Release the socket and the timer. Calling this again does nothing."""
        self._alarm.cancel()
        if self.peer is not None:
            self.peer.close()
            self.peer = None


F = TypeVar("F", bound="DatagramFlow[DatagramPeer] | DatagramFlow[PingPeer]")


@mypyc_attr(allow_interpreted_subclasses=True)
class DatagramNat(abc.ABC, Generic[F]):
    """Flows of one kind, bounded.

    Args:
        parts: the lower parts of the stack.
        host: opens sockets.
        router: decides where packets may go.
        descriptors: the limit that all flows share.
        limit: maximum number of flows.

    Attributes:
        flows: the flows by address and number.
    """

    protocol: ClassVar[IPProtocol]

    def __init__(
        self, parts: Parts, host: HostNetwork, router: Router, descriptors: DescriptorLimit, limit: int
    ) -> None:
        self.parts = parts
        self.network = parts.network
        self.tables = parts.tables
        self.router = router
        self.flows: dict[bytes, F] = {}
        self._host = host
        self._shares: Shares[F] = Shares(limit)
        self._descriptors = descriptors
        descriptors.share(self._shares, self.remove)
        self.proxies: Proxies | None = None
        """Proxies of TCP, behind which nothing else can be reached."""
        self.holding = Holding(router, parts.network, self.protocol, self.resume)

    def route(
        self,
        arrival: Arrival,
        number: int,
        destination: tuple[bytes, int],
        payload: memoryview,
        extra: int = 0,
    ) -> Route | None:
        """Route a packet to a new destination. Returns None if it was refused, with or without an error, or waits."""
        key = arrival.header.source, number, destination
        route = self.holding.route(arrival, key, payload, extra)
        if isinstance(route, Route) and (self.proxies is not None or route.verdict is not None):
            route = self._without_proxy(arrival, key, route)
        if isinstance(route, Refusal):
            self.refuse(arrival, route)
            return None
        return route

    def _without_proxy(self, arrival: Arrival, key: Key, route: Route) -> Route | Refusal:
        """Refuse a packet whose destination is behind a proxy, since proxies carry TCP only."""
        chosen, proxies = None if route.verdict is None else route.verdict.proxy, self.proxies
        if chosen == "" or (not chosen and proxies is None):
            return route
        request = route.request
        if request is None:
            guest, number, destination = key
            link, mac = arrival.port.link, arrival.macs[6:]
            request = FlowRequest(self.protocol, guest, number, *destination, link=link, mac=mac)
        names = self.router.names_of(request)
        if proxies is not None and proxies.choose(route.verdict, names, route.address) is None:
            return route
        return self.router.refuse(request, Verdict(Action.REJECT, reason="the proxy carries TCP only"))

    def refuse(self, arrival: Arrival, route: Refusal) -> None:
        """Count a packet that is not allowed, and report the error that belongs to the refusal."""
        if route is Refusal.MARTIAN:
            self.network.stats.drop_ip_destination += 1
            return
        if route is Refusal.BEYOND_SCOPE:
            self.network.stats.drop_ip_scope += 1
        else:
            self.count_refused(by_policy=route in (Refusal.DROP, Refusal.PROHIBITED))
        if route is not Refusal.DROP:
            self.parts.errors.error(arrival, REFUSAL_CAUSES[route])

    @abc.abstractmethod
    def resume(self, arrival: Arrival, number: int, extra: int, payload: memoryview) -> None:
        """Handle a packet that has waited; ``number`` and ``extra`` are what :meth:`route` was given."""

    @abc.abstractmethod
    def count_refused(self, *, by_policy: bool) -> None:
        """Count a packet that was refused by the policy, or because its destination is unreachable."""

    @abc.abstractmethod
    def count_evicted(self) -> None:
        """Count a flow that was evicted for a new one."""

    def make_room(self) -> None:
        """Evict a flow if there are as many as allowed."""
        victim = self._shares.to_evict()
        if victim is not None:
            self.count_evicted()
            self.remove(victim)

    def add(self, flow: F, party: object) -> None:
        """Add a flow of a party; see :class:`~slirpy.fair.Shares`."""
        self.flows[flow.key] = flow
        self._shares.add(flow, party, flow.guest)

    def remove(self, flow: F) -> None:
        """End a flow. An entry in the history remains."""
        if self.flows.pop(flow.key, None) is not None:
            self._shares.remove(flow)
            self.tables.closed_flows.append(flow.snapshot(self.network.now, "CLOSED"))
            for tally in flow.tallies.values():
                self._end(tally)
            flow.tallies.clear()
        flow.close()
        for pin in flow.pins:
            self.router.release(pin)
        flow.pins.clear()

    def _end(self, tally: Tally) -> None:
        """Report that the traffic with a destination has ended."""
        events, now = self.network.events, self.network.now
        if events is not None:
            seconds = (now - tally.began) / SECOND
            events.flow_ended(
                tally.serial,
                "CLOSED",
                tally.bytes_in,
                tally.bytes_out,
                tally.packets_in,
                tally.packets_out,
                seconds,
            )

    def opened(
        self, flow: F, destination: tuple[bytes, int], route: Route, *, inbound: bool = False
    ) -> Tally | None:
        """Note that a flow leads to a new destination, or that a datagram came from one.

        Returns:
            The counts of the traffic with it; None if nobody listens to events.
        """
        request, verdict = route.request, route.verdict
        if verdict is None:
            flow.routes.pop(destination, None)
        else:
            flow.routes[destination] = route
        if request is not None and verdict is not None and verdict.names and len(flow.pins) < PINS_MAX:
            pin = self.router.use(request, verdict.names[0])
            if pin is not None:
                flow.pins.append(pin)
        network = self.network
        if network.events is None:
            return None
        previous = flow.tallies.pop(destination, None)
        if previous is None and len(flow.tallies) >= TALLIES_MAX:
            previous = flow.tallies.pop(next(iter(flow.tallies)))
        if previous is not None:
            self._end(previous)
        network.flows_begun += 1
        tally = flow.tallies[destination] = Tally(network.flows_begun, network.now)
        if request is None:
            neighbor = self.parts.neighbors.get(flow.guest)
            link = None if neighbor.port is None else neighbor.port.link
            source = self.protocol, flow.guest, flow.number
            host = not inbound and is_loopback(route.address)
            request = FlowRequest(*source, *destination, host, link=link, mac=neighbor.mac)
        network.events.flow_opened(tally.serial, request, verdict, route.address, route.port, inbound)
        return tally
