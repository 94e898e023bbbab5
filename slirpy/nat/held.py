"""Datagrams and echo requests that wait: for a policy, for a name, or for a client's first bytes.

They are few, they are copies, and what exceeds the bounds is dropped, as a router with a full queue does. Once the
route is found they are handled again in order, as if they had just arrived.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from slirpy.core.arrival import Arrival
from slirpy.core.network import Network
from slirpy.fair import Tally
from slirpy.interfaces import Action, FirstBytes, FlowRequest, Inspector, IPProtocol, Passed, Undecided, Verdict
from slirpy.nat.outcomes import HOLD_TIME, Pending
from slirpy.nat.routes import Refusal, Route, Router
from slirpy.records import NamedTuple

__all__ = ["Holding", "Key", "Resume"]

PACKETS_MAX = 16
"""Packets that wait for one route."""
BYTES_MAX = 65_536
"""Bytes of their payloads."""
ROUTES_MAX = 1024
"""Routes that are waited for, of all guests."""
ROUTES_OF_LINK_MAX = 256
"""Routes that are waited for, behind one link."""
_QUOTED = 576
"""Bytes of a packet that an ICMP error about it may quote."""

Key: TypeAlias = tuple[bytes, int, tuple[bytes, int]]
"""The guest's address and port (or identifier), and the destination's."""
Resume: TypeAlias = Callable[[Arrival, int, int, memoryview], object]
"""Handles a packet again: the packet, the guest's port, what :meth:`Holding.route` was given, and the payload."""


class _Packet(NamedTuple):
    arrival: Arrival
    extra: int
    payload: bytes


class _Held:
    """The packets that wait for one route."""

    __slots__ = ("first", "link", "outcome", "packets", "pending", "room", "route")

    def __init__(self, link: object) -> None:
        self.link = link
        self.outcome: Route | Refusal | None = None
        self.pending: Pending | None = None
        self.first: FirstBytes | None = None
        self.route: Route | None = None  # to be used once ``first`` has passed
        self.packets: list[_Packet] = []
        self.room = BYTES_MAX


class Holding:
    """Finds routes for the packets of one protocol, and holds packets that have to wait.

    Args:
        router: decides.
        network: gives the time.
        protocol: the protocol.
        resume: handles a packet again.

    Attributes:
        inspector: makes the inspectors of flows that a name allowed; None: nothing is inspected.
    """

    def __init__(self, router: Router, network: Network, protocol: IPProtocol, resume: Resume) -> None:
        self._router = router
        self._network = network
        self._protocol = protocol
        self._resume = resume
        self._held: dict[Key, _Held] = {}
        self._of_link: Tally[object] = Tally()
        self.inspector: Inspector | None = None

    def route(self, arrival: Arrival, key: Key, payload: memoryview, extra: int) -> Route | Refusal | None:
        """Route a packet. None: it waits, or was dropped because too many do."""
        held = self._held.get(key) if self._held else None
        if held is None:
            found = self._router.route(self._request(arrival, key))
            first = self._inspected(found) if isinstance(found, Route) else None
            if first is None and not isinstance(found, Pending):
                return found
            held = self._begin(arrival, key)
            if held is None:
                return None
            if isinstance(found, Pending):
                held.pending = found
                found.then(lambda outcome: self._found(key, held, outcome))
            elif isinstance(found, Route) and first is not None:
                self._inspect(key, held, found, first)
        if held.outcome is not None:
            return held.outcome
        if held.first is None:
            self._keep(held, arrival, payload, extra)
            return None
        return self._fed(key, held, arrival, payload, extra)

    def _request(self, arrival: Arrival, key: Key) -> FlowRequest:
        guest, number, destination = key
        return FlowRequest._of_packet(
            self._protocol, guest, number, *destination, arrival.port.link, arrival.macs[6:]
        )

    def _inspected(self, route: Route) -> FirstBytes | None:
        verdict, request = route.verdict, route.request
        if verdict is None or request is None or not verdict.names or verdict.tls == "off":
            return None
        return None if self.inspector is None else self.inspector(request, verdict)

    def _begin(self, arrival: Arrival, key: Key) -> _Held | None:
        link = arrival.port
        if len(self._held) >= ROUTES_MAX or self._of_link.number(link) >= ROUTES_OF_LINK_MAX:
            self._network.stats.drop_flow_held += 1
            return None
        self._of_link.change(link, 1)
        held = self._held[key] = _Held(link)
        return held

    def _keep(self, held: _Held, arrival: Arrival, payload: memoryview, extra: int) -> None:
        if len(held.packets) >= PACKETS_MAX or len(payload) > held.room:
            self._network.stats.drop_flow_held += 1
            return
        held.room -= len(payload)
        packet = memoryview(bytes(arrival.packet[:_QUOTED]))
        held.packets.append(_Packet(arrival._replace(packet=packet), extra, bytes(payload)))

    # ----------------------------------------------------------------------------------- first bytes

    def _inspect(self, key: Key, held: _Held, route: Route, first: FirstBytes) -> None:
        """Read what the client says before the route is used, for as long as a flow may be held."""
        held.first, held.route = first, route

        def too_late() -> None:
            if held.outcome is None:
                self._misnamed(route, "no name was said in time", key, held)

        self._network.call_at(self._network.now + HOLD_TIME, too_late)

    def _fed(
        self, key: Key, held: _Held, arrival: Arrival, payload: memoryview, extra: int
    ) -> Route | Refusal | None:
        route, first = held.route, held.first
        if route is None or first is None:
            return None
        finding = first.feed(bytes(payload))
        if isinstance(finding, Undecided):
            self._keep(held, arrival, payload, extra)
            return None
        if self._network.events is not None:
            reason = "" if isinstance(finding, Passed) else finding.reason
            self._network.events.flow_inspected(0, finding.kind, finding.names, reason)
        if isinstance(finding, Passed):
            if finding.more:
                route = route._replace(first=first)
            self._found(key, held, route)
            return route
        return self._misnamed(route, finding.reason, key, held)

    def _misnamed(self, route: Route, reason: str, key: Key, held: _Held) -> Refusal:
        """Refuse a new flow because of what its client said."""
        refusal = self.misnamed(route, reason)
        self._found(key, held, refusal)
        return refusal

    def misnamed(self, route: Route, reason: str) -> Refusal:
        """Report that a datagram is refused because of what its client said."""
        self._network.stats.udp_flows_misnamed += 1
        if route.request is None or route.verdict is None:
            return Refusal.PROHIBITED
        verdict = Verdict(Action.REJECT, reason=reason, rule=route.verdict.rule)
        return self._router.refuse(route.request, verdict)

    # ------------------------------------------------------------------------------------- outcomes

    def _found(self, key: Key, held: _Held, outcome: Route | Refusal) -> None:
        """Handle again what waited for a route, which it finds here."""
        if isinstance(outcome, Route) and held.first is None:
            first = self._inspected(outcome)
            if first is not None:
                held.pending = None
                self._inspect(key, held, outcome, first)
                self._again(key, held)
                return
        held.outcome = outcome
        self._again(key, held)
        if self._held.get(key) is held:
            del self._held[key]
            self._of_link.change(held.link, -1)

    def _again(self, key: Key, held: _Held) -> None:
        packets, held.packets, held.room = held.packets, [], BYTES_MAX
        for arrival, extra, payload in packets:
            self._resume(arrival, key[1], extra, memoryview(payload))

    def close(self) -> None:
        """Give up everything that waits."""
        for held in self._held.values():
            if held.pending is not None:
                held.pending.cancel()
        self._held.clear()
        self._of_link = Tally()
