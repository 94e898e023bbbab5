"""Datagrams that wait for a route, and routes that are yet to be found, without a network."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy.core.arrival import Arrival
from slirpy.core.network import Network
from slirpy.interfaces import (
    UNDECIDED,
    Action,
    Finding,
    FirstBytes,
    FlowRequest,
    IPProtocol,
    Passed,
    Refused,
    Verdict,
)
from slirpy.nat.held import BYTES_MAX, PACKETS_MAX, ROUTES_MAX, ROUTES_OF_LINK_MAX, Holding, Key
from slirpy.nat.outcomes import HOLD_TIME, Pending, Refusal, Route
from slirpy.nat.routes import Router
from slirpy.stats import Stats

KEY: Key = (b"\x0a\0\2\x0f", 4000, (b"\1\2\3\4", 443))
MAC = b"\x52\x54\0\x12\x34\x56"
HEADER = bytes(range(20))
PLAIN = Route(b"\1\2\3\4", 443)
Outcome = Route | Refusal | None


def by_name(tls: str = "strict", names: tuple[str, ...] = ("a.example",)) -> Route:
    """A route that a name opened."""
    request = FlowRequest(IPProtocol.UDP, "10.0.2.15", 4000, "1.2.3.4", 443)
    return Route(
        *PLAIN[:2], verdict=Verdict(Action.ALLOW, rule="allow a.example", names=names, tls=tls), request=request
    )


class Port:
    """The network's end of a link."""

    def __init__(self, link: object) -> None:
        self.link = link


class Inspector:
    """Answers as a list says."""

    def __init__(self, *findings: Finding) -> None:
        self.findings = list(findings)
        self.fed: list[bytes] = []

    def feed(self, data: bytes) -> Finding:
        self.fed.append(data)
        return self.findings.pop(0)

    def end(self) -> Finding:
        return UNDECIDED


class Bench:
    """A holding with its surroundings. ``found`` is what the router answers."""

    def __init__(self, found: Outcome | Pending = PLAIN) -> None:
        self.found = found
        self.requests: list[FlowRequest] = []
        self.refused: list[tuple[FlowRequest, Verdict]] = []
        self.events: list[tuple[Any, ...]] = []
        self.alarms: list[tuple[int, Callable[[], None]]] = []
        self.resumed: list[tuple[int, int, bytes, Outcome]] = []
        self.packets: list[bytes] = []
        self.inspectors: list[Inspector] = []
        self.inspected: list[tuple[FlowRequest, Verdict]] = []
        self.stats = Stats()
        self.ports: dict[object, Port] = {}
        network = SimpleNamespace(
            stats=self.stats,
            now=5,
            call_at=lambda when, call: self.alarms.append((when, call)),
            events=SimpleNamespace(flow_inspected=lambda *event: self.events.append(event)),
        )
        router = SimpleNamespace(route=self._route, refuse=self._refuse)
        self.holding = Holding(cast("Router", router), cast("Network", network), IPProtocol.UDP, self._resume)
        self.holding.inspector = self._inspector

    def _route(self, request: FlowRequest) -> Outcome | Pending:
        self.requests.append(request)
        return self.found

    def _refuse(self, request: FlowRequest, verdict: Verdict) -> Refusal:
        self.refused.append((request, verdict))
        return Refusal.PROHIBITED

    def _inspector(self, request: FlowRequest, verdict: Verdict) -> FirstBytes | None:
        self.inspected.append((request, verdict))
        return self.inspectors[0] if self.inspectors else None

    def _resume(self, arrival: Arrival, number: int, extra: int, payload: memoryview) -> None:
        self.packets.append(bytes(arrival.packet))
        self.resumed.append((number, extra, bytes(payload), self.send(bytes(payload), extra=extra)))

    def send(self, payload: bytes, key: Key = KEY, link: object = "one", extra: int = 443) -> Outcome:
        """Route a datagram. Its buffer is used for something else afterwards, as that of a frame is."""
        buffer = bytearray(HEADER + payload)
        packet = memoryview(buffer)
        port = self.ports.setdefault(link, Port(link))
        unused: Any = None
        arrival = Arrival(cast("Any", port), unused, bytes(6) + MAC, unused, packet, False)
        outcome = self.holding.route(arrival, key, packet[len(HEADER) :], extra)
        buffer[:] = bytes(len(buffer))
        return outcome


def test_a_route_is_used_at_once() -> None:
    bench = Bench()
    assert bench.send(b"one") is PLAIN
    request = bench.requests[0]
    assert (request.source_port, request.destination_port, request.link) == (4000, 443, "one")
    assert request.mac == "52:54:00:12:34:56"
    assert bench.inspected == []
    bench.found = Refusal.DROP
    assert bench.send(b"two") is Refusal.DROP


def test_packets_wait_in_order_and_as_copies() -> None:
    pending = Pending()
    bench = Bench(pending)
    assert [bench.send(data, extra=n) for n, data in enumerate((b"one", b"two" * 400))] == [None, None]
    assert len(bench.requests) == 1
    pending.follow(PLAIN)
    assert bench.resumed == [(4000, 0, b"one", PLAIN), (4000, 1, b"two" * 400, PLAIN)]
    assert bench.packets == [HEADER + b"one", (HEADER + b"two" * 400)[:576]]
    bench.found = Refusal.DROP  # the outcome is forgotten: the next packet asks again
    assert bench.send(b"three") is Refusal.DROP


def test_packets_of_a_route_are_bounded() -> None:
    bench = Bench(Pending())
    for _ in range(PACKETS_MAX):
        assert bench.send(b"x") is None
    assert bench.stats.drop_flow_held == 0
    bench.send(b"x")
    assert bench.stats.drop_flow_held == 1


def test_bytes_of_a_route_are_bounded() -> None:
    bench = Bench(Pending())
    bench.send(bytes(BYTES_MAX - 1))
    bench.send(b"xx")
    assert bench.stats.drop_flow_held == 1
    bench.send(b"x")
    assert bench.stats.drop_flow_held == 1


def test_routes_of_a_link_are_bounded() -> None:
    bench = Bench(Pending())
    for number in range(ROUTES_OF_LINK_MAX + 1):
        bench.found = Pending()
        bench.send(b"x", (KEY[0], number, KEY[2]))
    assert bench.stats.drop_flow_held == 1
    assert bench.send(b"x", link="two") is None
    assert bench.stats.drop_flow_held == 1
    for link in range(3, 3 + ROUTES_MAX // ROUTES_OF_LINK_MAX):
        for number in range(ROUTES_OF_LINK_MAX):
            bench.send(b"x", (bytes([link, 0, 0, 1]), number, KEY[2]), link=link)
    sent = ROUTES_OF_LINK_MAX + 2 + ROUTES_MAX
    assert bench.stats.drop_flow_held == sent - ROUTES_MAX


def test_a_route_that_was_found_makes_room() -> None:
    bench = Bench()
    for number in range(3 * ROUTES_OF_LINK_MAX):
        bench.found = pending = Pending()
        bench.send(b"x", (KEY[0], number, KEY[2]))
        pending.follow(PLAIN)
    assert bench.stats.drop_flow_held == 0


@pytest.mark.parametrize("pending", [False, True])
def test_a_flow_by_name_waits_for_its_first_bytes(pending: bool) -> None:
    route, later = by_name(), Pending()
    bench = Bench(later if pending else route)
    inspector = Inspector(UNDECIDED, Passed("quic", ("a.example",)))
    bench.inspectors.append(inspector)
    assert bench.send(b"one") is None
    if pending:
        assert inspector.fed == []
        later.follow(route)
    assert bench.inspected == [(route.request, route.verdict)]
    assert (inspector.fed, bench.events) == ([b"one"], [])
    assert [when for when, _ in bench.alarms] == [5 + HOLD_TIME]
    assert bench.send(b"two") == route
    assert bench.resumed[-1] == (4000, 443, b"one", route)
    assert inspector.fed == [b"one", b"two"]
    assert bench.events == [(0, "quic", ("a.example",), "")]
    bench.alarms[0][1]()  # too late to matter
    assert bench.refused == []
    assert bench.stats.udp_flows_misnamed == 0


def test_a_flow_whose_datagrams_may_name_others_keeps_its_inspector() -> None:
    inspector = Inspector(Passed("quic", ("a.example",), more=True))
    bench = Bench(by_name())
    bench.inspectors.append(inspector)
    outcome = bench.send(b"one")
    assert isinstance(outcome, Route)
    assert outcome.first is inspector


def test_a_flow_that_says_another_name_is_refused() -> None:
    route = by_name()
    bench = Bench(route)
    bench.inspectors.append(Inspector(UNDECIDED, Refused("not this one", ("evil.example",), "quic")))
    assert bench.send(b"one") is None
    assert bench.send(b"two") is Refusal.PROHIBITED
    assert bench.resumed == [(4000, 443, b"one", Refusal.PROHIBITED)]
    assert bench.events == [(0, "quic", ("evil.example",), "not this one")]
    assert bench.refused == [
        (route.request, Verdict(Action.REJECT, reason="not this one", rule="allow a.example"))
    ]
    assert bench.stats.udp_flows_misnamed == 1


def test_a_flow_that_says_nothing_in_time_is_refused() -> None:
    route = by_name()
    bench = Bench(route)
    bench.inspectors.append(Inspector(UNDECIDED))
    bench.send(b"one")
    bench.alarms[0][1]()
    assert [verdict.reason for _, verdict in bench.refused] == ["no name was said in time"]
    assert bench.resumed == [(4000, 443, b"one", Refusal.PROHIBITED)]


@pytest.mark.parametrize(
    "route",
    [
        PLAIN,
        by_name("off"),
        by_name(names=()),
        by_name()._replace(request=None),
        by_name()._replace(verdict=None),
    ],
)
def test_flows_that_no_name_opened_are_not_inspected(route: Route) -> None:
    bench = Bench(route)
    bench.inspectors.append(Inspector())
    assert bench.send(b"one") is route
    assert bench.inspected == []


def test_without_an_inspector_nothing_is_read() -> None:
    bench = Bench(by_name())
    assert bench.send(b"one") == by_name()  # it needs none
    bench.holding.inspector = None
    assert bench.send(b"one") == by_name()
    assert len(bench.inspected) == 1


def test_pending_decisions_are_cancelled_at_close() -> None:
    pending = Pending()
    cancelled: list[str] = []
    pending.on_cancel.append(lambda: cancelled.append("yes"))
    bench = Bench(pending)
    bench.send(b"one")
    bench.holding.close()
    assert cancelled == ["yes"]
    pending.follow(PLAIN)
    assert bench.resumed == []


# ------------------------------------------------------------------------------------------ Pending


def test_an_outcome_is_reported_once_and_also_to_latecomers() -> None:
    pending, found = Pending(), list[object]()
    pending.then(found.append)
    pending.follow(Refusal.DROP)
    pending.follow(PLAIN)
    assert (found, pending.outcome) == ([Refusal.DROP], Refusal.DROP)
    pending.then(found.append)
    assert found == [Refusal.DROP, Refusal.DROP]


def test_an_outcome_may_be_that_of_another() -> None:
    pending, other, found = Pending(), Pending(), list[object]()
    pending.then(found.append)
    pending.follow(other)
    assert found == []
    other.follow(PLAIN)
    assert found == [PLAIN]


@pytest.mark.parametrize("reason", ["cancelled", "found"])
def test_another_pending_route_that_comes_too_late_is_cancelled(reason: str) -> None:
    pending, other, released = Pending(), Pending(), list[str]()
    other.on_cancel.append(lambda: released.append("other"))
    if reason == "found":
        pending.follow(PLAIN)
    else:
        pending.cancel()
    pending.follow(other)
    assert released == ["other"]
    pending.follow(Refusal.DROP)
    assert pending.outcome is (PLAIN if reason == "found" else None)


def test_cancelling_releases_all_once() -> None:
    pending, other, released = Pending(), Pending(), list[str]()
    pending.on_cancel.append(lambda: released.append("one"))
    other.on_cancel.append(lambda: released.append("other"))
    pending.then(lambda outcome: released.append("outcome"))
    pending.follow(other)
    pending.cancel()
    pending.cancel()
    other.follow(PLAIN)
    assert released == ["one", "other"]


def test_routes_are_equal_that_lead_to_the_same_place() -> None:
    assert by_name() == PLAIN
    assert hash(by_name()) == hash(PLAIN)
    assert PLAIN._replace(otherwise=b"\1\1\1\1") != PLAIN
    assert PLAIN != ("\1\2\3\4", 443)
