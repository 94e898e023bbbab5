"""Places to which the addresses of the guest's world lead."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Network, ip_address
from socket import if_nameindex
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.config.policy import RulePolicy
from slirpy.interfaces import Action, Decision, FlowRequest, IPProtocol, Verdict
from slirpy.nat.outcomes import HOLD_TIME, Pending
from slirpy.nat.routes import LOOPBACK, LOOPBACK6, Refusal, Route, Router, onward_ttl
from slirpy.stats import Stats
from slirpy.wire.nat64 import Nat64Prefix
from slirpy.wire.scope import with_scope
from tests.support.frames6 import WORLD6
from tests.support.harness import GATEWAY, GUEST, WORLD, config, ip


def request(destination: bytes, port: int = 80) -> FlowRequest:
    return FlowRequest(IPProtocol.TCP, GUEST, 1234, destination, port)


@pytest.mark.parametrize("alias", ["10.0.2.2", "10.0.2.255", "255.255.255.255"])
def test_loopback_by_every_name(alias: str) -> None:
    otherwise = LOOPBACK6 if alias == "10.0.2.2" else None
    assert Router(config()).route(request(ip(alias), 631)) == Route(LOOPBACK, 631, otherwise)
    assert Router(config(host_loopback=False)).route(request(ip(alias))) is Refusal.NET_UNREACHABLE


@pytest.mark.parametrize(
    ("destination", "refusal"),
    [
        ("10.0.2.3", Refusal.PORT_UNREACHABLE),
        ("10.0.2.0", Refusal.HOST_UNREACHABLE),
        ("10.0.2.4", Refusal.HOST_UNREACHABLE),
        ("10.0.2.15", Refusal.HOST_UNREACHABLE),
        ("10.0.2.254", Refusal.HOST_UNREACHABLE),
        ("0.0.0.0", Refusal.MARTIAN),
        ("0.1.2.3", Refusal.MARTIAN),
        ("127.0.0.1", Refusal.MARTIAN),
        ("127.255.255.254", Refusal.MARTIAN),
        ("224.0.0.251", Refusal.MARTIAN),
        ("239.255.255.250", Refusal.MARTIAN),
        ("240.0.0.1", Refusal.MARTIAN),
        ("255.255.255.254", Refusal.MARTIAN),
    ],
)
def test_refused(destination: str, refusal: Refusal) -> None:
    assert Router(config()).route(request(ip(destination))) is refusal
    assert Router(config(policy=lambda r: Verdict(Action.ALLOW))).route(request(ip(destination))) is refusal


@pytest.mark.parametrize(
    "destination", ["10.0.3.0", "10.0.1.255", "1.0.0.1", "126.255.255.255", "223.255.255.255"]
)
def test_the_world(destination: str) -> None:
    assert Router(config()).route(request(ip(destination), 7)) == Route(ip(destination), 7)


POLICIES: list[tuple[Callable[[FlowRequest], Verdict], Route | Refusal]] = [
    (lambda r: Verdict(Action.ALLOW), Route(WORLD, 80)),
    (lambda r: Verdict(Action.REJECT), Refusal.PROHIBITED),
    (lambda r: Verdict(Action.DROP), Refusal.DROP),
    (lambda r: Verdict(Action.ALLOW, (LOOPBACK, 8080)), Route(LOOPBACK, 8080)),
]


@pytest.mark.parametrize(("policy", "expected"), POLICIES)
def test_policy(policy: Callable[[FlowRequest], Verdict], expected: Route | Refusal) -> None:
    assert Router(config(policy=policy)).route(request(WORLD)) == expected


def test_the_policy_gets_the_destination_that_the_guest_uses() -> None:
    seen: list[FlowRequest] = []

    def policy(asked: FlowRequest) -> Verdict:
        seen.append(asked)
        return Verdict(Action.ALLOW)

    assert Router(config(policy=policy)).route(request(GATEWAY, 22)) == Route(LOOPBACK, 22, LOOPBACK6)
    assert seen == [FlowRequest(IPProtocol.TCP, GUEST, 1234, GATEWAY, 22, host=True)]


def test_source_seen() -> None:
    router = Router(config(net="192.168.7.0/24"))
    guest = ip("192.168.7.15")
    assert router.source_seen(LOOPBACK, guest) == ip("192.168.7.2")
    assert router.source_seen(ip("127.9.9.9"), guest) == ip("192.168.7.2")
    assert router.source_seen(WORLD, guest) == WORLD
    assert router.source_seen(WORLD6, guest) == ip("192.168.7.2")


@pytest.mark.parametrize(("guest", "gateway"), [("fec0::15", "fec0::2"), ("fe80::15", "fe80::2")])
def test_the_gateway_has_the_scope_of_the_guest(guest: str, gateway: str) -> None:
    router = Router(config())
    seen = ip_address(gateway).packed if guest.startswith("fe80") else WORLD6
    assert router.source_seen(WORLD6, ip_address(guest).packed) == seen
    # The host's loopback, a host on a link of the host's, and hosts of the other family.
    for far in (LOOPBACK6, ip_address("fe80::77").packed, with_scope(ip_address("fe80::77").packed, 3), WORLD):
        assert router.source_seen(far, ip_address(guest).packed) == ip_address(gateway).packed


def test_a_redirect_to_a_link_local_address_needs_its_interface() -> None:
    index, name = if_nameindex()[0]
    target = f"fe80::77%{name}"
    router = Router(config(policy=lambda _: Verdict(Action.ALLOW, redirect=(target, 8080))))
    assert router.route(request(WORLD6)) == Route(with_scope(ip_address("fe80::77").packed, index), 8080)
    target = "fe80::77%gone0"
    assert router.route(request(WORLD6)) is Refusal.NET_UNREACHABLE


@pytest.mark.parametrize("destination", ["fec0::2", "fe80::2"])
def test_the_gateway_is_both_loopbacks(destination: str) -> None:
    for plan in (config(), config(ipv4=False)):
        route = Router(plan).route(request(ip_address(destination).packed, 22))
        assert route == Route(LOOPBACK6, 22, LOOPBACK)
    assert Router(config()).route(request(GATEWAY, 22)) == Route(LOOPBACK, 22, LOOPBACK6)
    assert Router(config(ipv6=False)).route(request(GATEWAY, 22)) == Route(LOOPBACK, 22)


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        ("2001:db8::1", None),
        ("fec0::3", Refusal.PORT_UNREACHABLE),
        ("fec0::77", Refusal.HOST_UNREACHABLE),
        ("fe80::77", Refusal.HOST_UNREACHABLE),
        ("::1", Refusal.MARTIAN),
        ("::", Refusal.MARTIAN),
        ("::ffff:10.0.0.1", Refusal.MARTIAN),
        ("::10.0.0.1", Refusal.MARTIAN),
        ("ff05::2", Refusal.MARTIAN),
    ],
)
def test_where_ipv6_leads(destination: str, expected: Refusal | None) -> None:
    packed = ip_address(destination).packed
    assert Router(config()).route(request(packed, 22)) == (expected or Route(packed, 22))


@given(st.binary(min_size=4, max_size=4))
def test_a_guest_never_reaches_special_addresses(destination: bytes) -> None:
    route = Router(config()).route(request(destination))
    inside = destination[:3] == bytes((10, 0, 2))
    if isinstance(route, Route):
        if route.address == LOOPBACK:
            assert destination in (GATEWAY, ip("10.0.2.255"), b"\xff" * 4)
        else:
            assert route.address == destination
            assert not inside
            assert destination[0] not in (0, 127)
            assert destination[0] < 224


@pytest.mark.parametrize(
    ("ttl", "address", "onward"),
    [(64, "198.51.100.7", 63), (2, "198.51.100.7", 1), (1, "198.51.100.7", 0), (2, "127.0.0.1", 1),
     (1, "127.0.0.1", 1), (64, "127.0.0.1", 63), (1, "::1", 1), (1, "2001:db8::1", 0)],
)  # fmt: skip
def test_the_hosts_loopback_is_no_hop_away(ttl: int, address: str, onward: int) -> None:
    assert onward_ttl(ttl, ip_address(address).packed) == onward


class Timed:
    """The part of a network that a router uses."""

    def __init__(self, *, ready: bool = True, listens: bool = True) -> None:
        self.now = 1000
        self.stats = Stats()
        self.alarms: list[tuple[int, Callable[[], None]]] = []
        self.cancelled = 0
        self.refused: list[tuple[FlowRequest, Verdict]] = []
        self.events = (
            SimpleNamespace(ready=ready, flow_refused=lambda *given: self.refused.append(given))
            if listens
            else None
        )

    def call_at(self, when: int, callback: Callable[[], None]) -> Any:
        self.alarms.append((when, callback))
        return self

    def cancel(self) -> None:
        self.cancelled += 1


def timed(network: Timed, **options: Any) -> Router:
    return Router(config(**options), network=cast("Any", network))


@pytest.mark.needs("interpreted", detail="a compiled function accepts no other object in place of a network")
def test_a_flow_is_held_for_a_bounded_time() -> None:
    network, decision = Timed(), Decision()
    pending = timed(network, policy=lambda flow: decision).route(request(WORLD))
    assert isinstance(pending, Pending)
    ((when, too_late),) = network.alarms
    assert when == 1000 + HOLD_TIME
    assert network.stats.flows_held == 1
    too_late()
    assert pending.outcome is Refusal.PROHIBITED
    assert [verdict.reason for _, verdict in network.refused] == ["nobody decided in time"]
    assert network.cancelled == 1
    decision.give(Verdict(Action.ALLOW))
    assert pending.outcome is Refusal.PROHIBITED


@pytest.mark.needs("interpreted", detail="a compiled function accepts no other object in place of a network")
def test_a_decision_in_time_ends_the_alarm() -> None:
    network, decision = Timed(), Decision()
    pending = timed(network, policy=lambda flow: decision).route(request(WORLD))
    decision.give(Verdict(Action.ALLOW))
    assert isinstance(pending, Pending)
    assert (pending.outcome, network.cancelled, network.refused) == (Route(WORLD, 80), 1, [])


@pytest.mark.needs("interpreted", detail="a compiled function accepts no other object in place of a network")
def test_a_flow_that_is_decided_at_once_is_not_held() -> None:
    network = Timed()
    timed(network, policy=lambda flow: Verdict(Action.ALLOW)).route(request(WORLD))
    assert (network.alarms, network.stats.flows_held) == ([], 0)


@pytest.mark.needs("interpreted", detail="a compiled function accepts no other object in place of a network")
@pytest.mark.parametrize(
    ("options", "reason"),
    [({"restrict": True}, "restrict"), ({"policy": lambda flow: Verdict(Action.DROP, reason="so")}, "so")],
)
@pytest.mark.parametrize("listens", [True, False])
def test_refusals_are_reported(options: dict[str, Any], reason: str, listens: bool) -> None:
    heard: list[tuple[FlowRequest, Verdict]] = []
    network = Timed(listens=listens)
    router = timed(network, **options, on_refused=lambda *given: heard.append(given))
    refusal = router.route(request(WORLD))
    assert refusal is (Refusal.DROP if reason == "so" else Refusal.PROHIBITED)
    assert [(flow.destination_bytes, verdict.reason) for flow, verdict in heard] == [(WORLD, reason)]
    assert network.refused == (heard if listens else [])


@pytest.mark.needs("interpreted", detail="a compiled function accepts no other object in place of a network")
def test_forbidden_host_addresses_are_reported_and_unreachable() -> None:
    for destination in (GATEWAY, ip("10.0.2.255")):
        network = Timed()
        router = timed(network, host_loopback=False)
        assert router.route(request(destination)) is Refusal.NET_UNREACHABLE
        router.is_own = lambda address: address == WORLD
        assert router.route(request(WORLD)) is Refusal.NET_UNREACHABLE
        assert [verdict.reason for _, verdict in network.refused] == ["no host loopback"] * 2
    open_ = Router(config())
    open_.is_own = lambda address: True
    assert open_.route(request(WORLD)) == Route(WORLD, 80)


@pytest.mark.needs("interpreted", detail="a compiled function accepts no other object in place of a network")
@pytest.mark.parametrize(
    ("ready", "listens", "admits"), [(True, True, True), (False, True, False), (False, False, True)]
)
def test_flows_that_cannot_be_recorded_are_refused(ready: bool, listens: bool, admits: bool) -> None:
    network = Timed(ready=ready, listens=listens)
    router = timed(network)
    assert router.admits is admits
    assert router.route(request(WORLD)) == (Route(WORLD, 80) if admits else Refusal.PROHIBITED)
    assert [verdict.reason for _, verdict in network.refused] == ([] if admits else ["no audit log"])
    assert Router(config()).admits


def test_places_that_guests_may_not_reach() -> None:
    assert not Router(config()).restricts
    assert all(
        Router(config(**options)).restricts
        for options in ({"restrict": True}, {"host_loopback": False}, {"policy": RulePolicy([], Action.ALLOW)})
    )


@pytest.mark.needs(
    "interpreted", detail="a compiled function accepts no other object in place of token buckets"
)
def test_new_flows_may_be_limited() -> None:
    router = Router(config())
    assert router.may_open("link", 7)
    asked: list[tuple[object, int]] = []
    router.openings = cast("Any", SimpleNamespace(take=lambda *given: asked.append(given)))
    assert not router.may_open("link", 7)
    assert asked == [("link", 7)]


def test_a_guest_with_a_link_local_address_reaches_nothing_beyond_its_link() -> None:
    for destination, expected in (
        ("2001:db8::1", Refusal.BEYOND_SCOPE),
        ("fe80::2", Route(LOOPBACK6, 80, LOOPBACK)),
    ):
        asked = FlowRequest(IPProtocol.TCP, "fe80::15", 1234, destination, 80)
        assert Router(config()).route(asked) == expected


# -------------------------------------------------------------------------------------- NAT64 and rules

PREFIXES = [
    "64:ff9b::/96", "2001:db8:64::/96", "2001:db8:64:1::/64", "2001:db8:64:100::/56", "2001:db8:64::/48",
    "2001:db8:6400::/40", "2001:db8::/32", "64:ff9b:1::/48", "64:ff9b:1:8000::/64", "64:ff9b:1:ffff::/96",
]  # fmt: skip


def within(prefix: str, address: str) -> bytes:
    network = IPv6Network(prefix)
    return Nat64Prefix(network.network_address.packed, network.prefixlen).embed(ip(address))


@pytest.mark.rfc("6052", "2.2 lengths")
@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("rule", "address"),
    [
        ("deny private", "192.168.1.1"),
        ("deny private", "100.64.0.1"),
        ("deny link-local", "169.254.3.4"),
        ("deny metadata", "169.254.169.254"),
        ("drop metadata", "100.100.100.200"),
        ("deny host", "10.0.2.2"),
        ("deny 198.51.100.0/24:80", "198.51.100.7"),
    ],
)
def test_rules_see_the_ipv4_host_behind_every_prefix(prefix: str, rule: str, address: str) -> None:
    policy = RulePolicy([rule], Action.ALLOW)
    router = Router(config(nat64=True, nat64_prefix=prefix, policy=policy))
    refusal = Refusal.DROP if rule.startswith("drop") else Refusal.PROHIBITED
    assert router.route(request(within(prefix, address))) is refusal
    assert router.route(request(within(prefix, "203.0.113.5"))) == Route(ip("203.0.113.5"), 80)
    allowing = config(nat64=True, nat64_prefix=prefix, policy=RulePolicy(["allow 198.51.100.7"], Action.DROP))
    assert Router(allowing).route(request(within(prefix, "198.51.100.7"))) == Route(ip("198.51.100.7"), 80)
    assert Router(allowing).route(request(within(prefix, address))) == (
        Route(ip(address), 80) if address == "198.51.100.7" else Refusal.DROP
    )


@pytest.mark.parametrize("own", [None, "2001:db8:64::/96"])
@pytest.mark.parametrize("prefix", [prefix for prefix in PREFIXES if prefix.startswith("64:")])
def test_a_translator_outside_is_no_way_around_a_rule(own: str | None, prefix: str) -> None:
    """A guest may have learnt the prefix from a DNS server of its own."""
    policy = RulePolicy(["deny private", "deny metadata"], Action.ALLOW)
    plan = config(policy=policy) if own is None else config(nat64=True, nat64_prefix=own, policy=policy)
    for address in ("10.1.2.3", "192.168.1.1", "169.254.169.254", "100.64.7.7"):
        assert Router(plan).route(request(within(prefix, address))) is Refusal.PROHIBITED
    public = within(prefix, "203.0.113.5")
    assert Router(plan).route(request(public)) == Route(public, 80)
