"""Where an address of the guest's world lies."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.interfaces import Action, FlowRequest, IPProtocol, Verdict
from slirpy.nat.routes import LOOPBACK, Refusal, Route, Router
from tests.support.harness import GATEWAY, GUEST, WORLD, config, ip


def request(destination: bytes, port: int = 80) -> FlowRequest:
    return FlowRequest(IPProtocol.TCP, GUEST, 1234, destination, port)


@pytest.mark.parametrize("alias", ["10.0.2.2", "10.0.2.255", "255.255.255.255"])
def test_loopback_by_every_name(alias: str) -> None:
    assert Router(config()).route(request(ip(alias), 631)) == Route(LOOPBACK, 631)
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

    assert Router(config(policy=policy)).route(request(GATEWAY, 22)) == Route(LOOPBACK, 22)
    assert seen == [FlowRequest(IPProtocol.TCP, GUEST, 1234, GATEWAY, 22, host=True)]


def test_source_seen() -> None:
    router = Router(config(net="192.168.7.0/24"))
    assert router.source_seen(LOOPBACK) == ip("192.168.7.2")
    assert router.source_seen(ip("127.9.9.9")) == ip("192.168.7.2")
    assert router.source_seen(WORLD) == WORLD


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
