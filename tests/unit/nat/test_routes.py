"""Places to which the addresses of the guest's world lead."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Network, ip_address
from socket import if_nameindex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.config.policy import RulePolicy
from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict
from slirpy.nat.routes import LOOPBACK, LOOPBACK6, Refusal, Route, Router
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


def test_policy_sees_what_the_guest_names() -> None:
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
def test_a_guest_never_reaches_what_is_not_the_world(destination: bytes) -> None:
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
