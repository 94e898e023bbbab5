"""Redirects to names: the host's resolver library finds the address, anew for each flow."""

from __future__ import annotations

import errno

import pytest

from slirpy import Action, FlowRequest, RulePolicy, Verdict
from slirpy.testing import Echo, Remote
from tests.sim.names import GOOD, MS, OTHER, SECOND, World
from tests.support.hellos import openssl_hello

SIX = "2001:db8:7::7"


def lookups(world: World) -> int:
    """Names that the host's resolver library was asked for."""
    return sum(call.name == "lookup" for call in world.net.host.calls)


def test_each_connection_resolves_the_target_name_anew() -> None:
    world = World("redirect tcp:any:80=proxy.example:22")
    world.net.host.add_name("proxy.example", GOOD)
    assert world.reached("198.51.100.1", 80, b"hello")
    world.net.host.add_name("proxy.example", OTHER)
    assert world.reached("198.51.100.1", 80, b"hello")
    assert world.connections() == {GOOD: 1, OTHER: 1}
    assert lookups(world) == 2
    assert not world.reached("198.51.100.1", 81)


def test_flows_that_wait_share_an_answer() -> None:
    world = World("redirect any:80=proxy.example")
    world.net.host.add_name("proxy.example", GOOD)
    streams = [world.net.guest.connect("198.51.100.1", 80) for _ in range(5)]
    world.net.run(SECOND)
    assert [stream.error for stream in streams] == [0] * 5
    assert lookups(world) == 1
    assert world.connections() == {GOOD: 5}


def test_datagrams_are_led_to_a_name() -> None:
    world = World("redirect udp:any:53=proxy.example:9")
    world.net.host.add_name("proxy.example", GOOD)
    server = world.net.host.serve_udp(GOOD, 9, lambda payload, source, port: payload.upper())
    socket = world.net.guest.udp()
    socket.send(b"hello", "198.51.100.1", 53)
    world.net.run(SECOND)
    assert [message.payload for message in server.received] == [b"hello"]
    (answer,) = socket.received
    assert (answer.payload, str(answer.address), answer.port) == (b"HELLO", "198.51.100.1", 53)


def test_a_header_of_the_proxy_protocol_goes_to_the_name() -> None:
    world = World("redirect tcp:any:80=proxy.example:22 proxy-protocol")
    server = world.net.host.serve_tcp(GOOD, 22, Remote)
    world.net.host.add_name("proxy.example", GOOD)
    world.net.guest.connect("198.51.100.1", 80).write(b"hello")
    world.net.run(SECOND)
    heard = bytes(server.connections[0].received)
    assert heard.startswith(b"\r\n\r\n\0\r\nQUIT\n\x21\x11")
    assert heard.endswith(b"hello")


def test_a_redirected_name_must_be_in_the_client_hello() -> None:
    world = World("redirect good.example:443=proxy.example:8443")
    world.zone["good.example"] = [OTHER]
    world.net.host.add_name("proxy.example", GOOD)
    assert not world.reached(OTHER, 443)
    world.resolve("good.example")
    assert world.reached(OTHER, 443, openssl_hello("good.example"))
    assert not world.reached(OTHER, 443, openssl_hello("evil.example"))
    assert world.connections() == {GOOD: 2}
    assert not any(world.servers[GOOD].connections[1].received)


def test_the_family_of_the_flow_comes_first() -> None:
    world = World("redirect any:80=proxy.example")
    server = world.net.host.serve_tcp(SIX, 80, Echo)
    world.net.host.add_name("proxy.example", SIX, GOOD)
    world.net.guest.autoconfigure()
    world.net.run(SECOND)
    assert world.reached("198.51.100.1", 80)
    assert world.reached("2001:db8:66::1", 80)
    assert (len(server.connections), world.connections()) == (1, {GOOD: 1})
    world.net.host.add_name("proxy.example", SIX)
    assert world.reached("198.51.100.1", 80), "there is an address of the other family only"
    assert len(server.connections) == 2


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("10.1.2.3", "allow 10.1.2.3:8080"),
        ("169.254.169.254", "allow metadata:8080"),
        ("127.0.0.1", "allow host:8080"),
        ("::1", "allow host:8080"),
        ("192.0.2.1", "allow self:8080"),
        ("fd00::7", "allow private"),
    ],
)
def test_a_name_leads_to_special_addresses_only_where_a_rule_allows_them(address: str, rule: str) -> None:
    """192.0.2.1 is the simulated host."""
    for rules, reached in (
        ((rule,), 1),
        ((), 0),
        ((rule.replace("8080", "80").replace("private", "host"),), 0),
    ):
        world = World("redirect tcp:203.0.113.0/24:80=proxy.example:8080", *rules)
        world.net.host.add_name("proxy.example", address)
        server = world.net.host.serve_tcp(address, 8080, Echo)
        assert world.reached(GOOD, 80) is bool(reached)
        assert len(server.connections) == reached


def test_a_special_address_is_left_out_for_another() -> None:
    world = World("redirect any:80=proxy.example", "deny any")
    world.net.host.add_name("proxy.example", "10.1.2.3", "127.0.0.1", GOOD)
    assert world.reached("198.51.100.1", 80)
    assert world.connections() == {GOOD: 1}


def test_the_loopback_stays_shut_where_it_is_shut() -> None:
    world = World("allow host", "redirect any:80=proxy.example", host_loopback=False)
    server = world.net.host.serve_tcp("127.0.0.1", 80, Echo)
    world.net.host.add_name("proxy.example", "127.0.0.1")
    assert not world.reached("198.51.100.1", 80)
    assert not server.connections


def test_a_name_does_not_lead_to_the_networks_own_forwards() -> None:
    world = World(
        "allow host", "redirect any:80=proxy.example:2222", hostfwd=["tcp:127.0.0.1:2222-10.0.2.15:22"]
    )
    world.net.host.add_name("proxy.example", "127.0.0.1")
    assert not world.reached("198.51.100.1", 80)


def test_a_name_without_an_address() -> None:
    refused: list[str] = []
    world = World(
        "redirect any:80=proxy.example", on_refused=lambda request, verdict: refused.append(verdict.reason)
    )
    stream = world.net.guest.connect("198.51.100.1", 80)
    world.net.run(SECOND)
    assert stream.error == errno.EHOSTUNREACH
    assert refused == ["proxy.example does not resolve to an address that may be used"]
    assert [flow.state for flow in world.net.stack.closed_flows if flow.protocol == "tcp"] == ["REFUSED"]


def test_a_flow_that_has_ended_meanwhile_goes_nowhere() -> None:
    refused: list[FlowRequest] = []
    world = World("redirect any:80=proxy.example", on_refused=lambda request, verdict: refused.append(request))
    stream = world.net.guest.connect("198.51.100.1", 80)
    world.net.run_until(lambda: lookups(world) == 1)
    world.net.stack.policy = RulePolicy(["deny any"])
    world.net.run(SECOND)
    assert stream.error
    assert not [call for call in world.net.host.calls if call.name == "connect_tcp"]
    assert not refused


def test_a_new_policy_with_the_same_name_lets_flows_stay() -> None:
    world = World("redirect any:80=proxy.example")
    world.net.host.add_name("proxy.example", GOOD)
    stream = world.net.guest.connect("198.51.100.1", 80)
    world.net.run(100 * MS)
    world.net.stack.policy = RulePolicy(["redirect any:80=proxy.example", "deny any"])
    world.net.run(100 * MS)
    assert not stream.error
    world.net.stack.policy = RulePolicy(["redirect any:80=other.example"])
    world.net.run(100 * MS)
    assert stream.error


def test_a_new_policy_resets_flows_to_a_special_address_that_it_does_not_allow() -> None:
    world = World("allow 10.1.2.3:80", "redirect any:80=proxy.example")
    world.net.host.serve_tcp("10.1.2.3", 80, Echo)
    world.net.host.add_name("proxy.example", "10.1.2.3")
    stream = world.net.guest.connect("198.51.100.1", 80)
    world.net.run(100 * MS)
    world.net.stack.policy = RulePolicy(["allow private", "redirect any:80=proxy.example"])
    world.net.run(100 * MS)
    assert not stream.error
    world.net.stack.policy = RulePolicy(["redirect any:80=proxy.example"])
    world.net.run(100 * MS)
    assert stream.error


def test_a_function_leads_to_a_name() -> None:
    """The function is asked about a special address of the name. It redirects that flow, which allows nothing."""
    world = World(policy=lambda request: Verdict(Action.ALLOW, ("proxy.example", 22)))
    world.net.host.add_name("proxy.example", GOOD)
    assert world.reached("198.51.100.1", 80)
    world.net.host.add_name("proxy.example", "10.1.2.3")
    assert not world.reached("198.51.100.1", 80)
