"""Flows under a new policy: which are asked about, and which end, with flows that only note their ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy.interfaces import Action, Decision, FlowRequest, IPProtocol, Verdict
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.outcomes import Route
from slirpy.nat.recheck import recheck
from slirpy.nat.routes import Router
from slirpy.nat.tcpflow import NatTcpFlow
from slirpy.stats import Stats
from slirpy.wire.ip import flow_key
from tests.support.harness import DNS, GUEST, GUEST_MAC, WORLD, config, ip

OTHER = ip("198.51.100.8")
LINK = object()
NEIGHBOR = SimpleNamespace(port=SimpleNamespace(link=LINK), mac=GUEST_MAC)
NO, YES = Verdict(Action.REJECT), Verdict(Action.ALLOW)

pytestmark = pytest.mark.needs("interpreted", detail="derives from a flow")


class Flow(NatTcpFlow):
    """A TCP flow of which only these attributes are set."""

    __slots__ = ()

    def __init__(self, destination: bytes, number: int = 1000, **more: Any) -> None:
        self.key = flow_key(GUEST, number, destination, 80)
        self.neighbor = cast("Any", NEIGHBOR)
        self.pending = self.route = self.peer = None
        self.said = ()
        self.resolved_outside = False
        for name, value in {"inbound": False, **more}.items():
            setattr(self, name, value)


class Datagrams:
    """A flow of datagrams to some destinations."""

    def __init__(self, *destinations: bytes, number: int = 5000, reads: bool = False) -> None:
        self.key = bytes((number & 0xFF,))
        self.guest, self.number = GUEST, number
        self.routes: dict[tuple[bytes, int], Route] = {}
        self._destinations = [(each, 53) for each in destinations]
        self.read = self._destinations if reads else []

    def destinations(self) -> list[tuple[bytes, int]]:
        return self._destinations

    def still_reads(self, destination: tuple[bytes, int]) -> bool:
        return destination in self.read


class Bench:
    """NATs with flows, and a policy that answers by address."""

    def __init__(self, verdicts: dict[bytes, Verdict | Decision]) -> None:
        self.verdicts = verdicts
        self.seen: list[FlowRequest] = []
        self.router = Router(config(policy=self._policy))
        self.network = SimpleNamespace(stats=Stats())
        self.flows: dict[bytes, Any] = {}
        self.ended: list[Any] = []
        self.services: set[bytes] = set()
        tables = SimpleNamespace(
            tcp_flows=self.flows,
            stream_service=lambda address, port: (port == 80 and address in self.services) or None,
        )
        self.tcp = SimpleNamespace(router=self.router, network=self.network, tables=tables, evict=self._evict)
        self.udp, self.ping = self._nat(IPProtocol.UDP), self._nat(IPProtocol.ICMP)
        self.closed: list[int] = []

    def _nat(self, protocol: IPProtocol) -> Any:
        nat = SimpleNamespace(router=self.router, network=self.network, protocol=protocol, flows={})
        nat.holding = SimpleNamespace(close=lambda: self.closed.append(protocol))

        def remove(flow: Datagrams) -> None:
            self.ended.append(flow)
            del nat.flows[flow.key]

        nat.remove = remove
        return nat

    def _policy(self, asked: FlowRequest) -> Verdict | Decision:
        self.seen.append(asked)
        return self.verdicts.get(asked.destination_bytes, YES)

    def _evict(self, flow: Any) -> None:
        self.ended.append(flow)
        del self.flows[flow.key]

    def add(self, *flows: Flow) -> None:
        self.flows.update((flow.key, flow) for flow in flows)

    def run(self) -> int:
        found = SimpleNamespace(get=lambda guest: {GUEST: NEIGHBOR}[guest])
        return recheck(cast("Any", self.tcp), self.udp, self.ping, cast("Any", found))


def test_flows_end_that_are_no_longer_allowed() -> None:
    bench = Bench({WORLD: NO})
    stays, ends = Flow(OTHER), Flow(WORLD)
    bench.add(stays, ends)
    assert bench.run() == 1
    assert bench.ended == [ends]
    assert bench.network.stats.flows_reset_by_policy == 1
    assert bench.closed == [IPProtocol.UDP, IPProtocol.ICMP]
    asked = bench.seen[0]
    assert asked == FlowRequest(IPProtocol.TCP, GUEST, 1000, OTHER, 80)
    assert (asked.link, asked.mac_bytes) == (LINK, GUEST_MAC)
    assert bench.run() == 0


def test_flows_from_outside_and_to_services_are_not_rechecked() -> None:
    bench = Bench({WORLD: NO, DNS: NO, OTHER: NO})
    bench.services = {DNS}
    bench.add(Flow(WORLD, inbound=True), Flow(DNS))
    bench.flows[b"other"] = SimpleNamespace(key=b"other")  # of another kind
    assert (bench.run(), bench.seen, bench.ended) == (0, [], [])


def test_a_flow_that_is_held_ends() -> None:
    bench = Bench({})
    held = Flow(WORLD, pending=object())
    bench.add(held)
    assert (bench.run(), bench.seen, bench.ended) == (1, [], [held])


@pytest.mark.parametrize("verdict", [YES, NO])
def test_a_decision_that_comes_later(verdict: Verdict) -> None:
    decision = Decision()
    bench = Bench({WORLD: decision})
    flow = Flow(WORLD)
    bench.add(flow)
    assert (bench.run(), bench.ended) == (0, [])
    decision.give(verdict)
    assert bench.ended == ([flow] if verdict is NO else [])
    assert bench.network.stats.flows_reset_by_policy == len(bench.ended)


def test_a_flow_that_has_ended_meanwhile_is_not_ended_again() -> None:
    decision = Decision()
    bench = Bench({WORLD: decision})
    bench.add(Flow(WORLD))
    bench.udp.flows[b"1"] = Datagrams(WORLD)
    bench.run()
    bench.flows.clear()
    bench.udp.flows.clear()
    bench.add(Flow(WORLD))  # another one with the same key
    decision.give(NO)
    assert (bench.ended, bench.network.stats.flows_reset_by_policy) == ([], 0)


@pytest.mark.parametrize(
    ("verdict", "ends"), [(YES, True), (Verdict(Action.ALLOW, names=["a.example"]), False)]
)
def test_a_proxy_keeps_a_name_only_if_the_name_is_allowed(verdict: Verdict, ends: bool) -> None:
    bench = Bench({WORLD: verdict})
    before = Verdict(Action.ALLOW, names=["a.example"])
    bench.add(Flow(WORLD, resolved_outside=True, route=Route(WORLD, 80, None, before)))
    assert bench.run() == ends


def test_names_sent_by_a_client_are_rechecked() -> None:
    bench = Bench({})
    bench.add(Flow(WORLD, said=("a.example",)))
    bench.run()
    assert bench.seen[0].names == ("a.example",)


@pytest.mark.parametrize("reads", [True, False])
def test_a_flow_whose_requests_are_read_keeps_all_its_names(reads: bool) -> None:
    before = Verdict(Action.ALLOW, names=["a.example", "b.example"])
    bench = Bench({WORLD: Verdict(Action.ALLOW, names=["a.example"])})
    peer = InspectedStream.__new__(InspectedStream)
    peer._first = cast("Any", object()) if reads else None
    route = Route(WORLD, 80, None, before)
    bench.add(Flow(WORLD, peer=peer, route=route))
    assert bench.run() == reads
    datagrams = Datagrams(WORLD, reads=reads)
    datagrams.routes[WORLD, 53] = route
    bench.udp.flows[datagrams.key] = datagrams
    assert bench.run() == reads


@pytest.mark.parametrize("protocol", [IPProtocol.UDP, IPProtocol.ICMP])
def test_a_flow_of_datagrams_ends_with_its_first_destination_that_is_not_allowed(protocol: IPProtocol) -> None:
    bench = Bench({WORLD: NO})
    nat = bench.udp if protocol is IPProtocol.UDP else bench.ping
    ends, stays = Datagrams(OTHER, WORLD, OTHER, number=1), Datagrams(OTHER, number=2)
    nat.flows.update({ends.key: ends, stays.key: stays})
    assert bench.run() == 1
    assert (bench.ended, list(nat.flows.values())) == ([ends], [stays])
    assert [(asked.destination_bytes, asked.source_port) for asked in bench.seen] == [
        (OTHER, 1),
        (WORLD, 1),
        (OTHER, 2),
    ]
    assert bench.seen[0] == FlowRequest(protocol, GUEST, 1, OTHER, 53)
    assert (bench.seen[0].link, bench.seen[0].mac_bytes) == (LINK, GUEST_MAC)


@pytest.mark.parametrize("verdict", [YES, NO])
def test_a_decision_about_datagrams_that_comes_later(verdict: Verdict) -> None:
    decision = Decision()
    bench = Bench({WORLD: decision})
    flow = Datagrams(WORLD, OTHER)
    bench.udp.flows[flow.key] = flow
    assert bench.run() == 0
    assert len(bench.seen) == 2  # the other destination is asked about meanwhile
    decision.give(verdict)
    assert bench.ended == ([flow] if verdict is NO else [])


def test_without_a_policy_nothing_ends() -> None:
    bench = Bench({WORLD: NO})
    bench.router.policy = None
    flow = Datagrams(WORLD)
    bench.add(Flow(WORLD))
    bench.udp.flows[flow.key] = flow
    assert (bench.run(), bench.ended) == (0, [])
