"""Ways past a policy that the adversary has found, each with its siblings."""

from __future__ import annotations

import errno

import pytest

from slirpy import Action, Decision, FlowRequest, RulePolicy, Verdict
from slirpy.testing import Remote
from tests.sim.names import ESTABLISHED, EVIL, GOOD, OTHER, SECOND, World
from tests.support.hellos import openssl_hello

PROXY = "192.0.2.9"
OWN = "192.0.2.1"  # the simulated host's
OWN_INSIDE = ("64:ff9b::c000:201", "2002:c000:201::1", "64:ff9b:1::c000:201", "2001:db8:5::5efe:c000:201")


class Behind(World):
    """A network behind a proxy."""

    def __init__(self, *rules: str) -> None:
        super().__init__(*rules, proxy=f"http://{PROXY}:3128")
        self.proxy = self.net.host.serve_tcp(PROXY, 3128, Remote)

    def asked(self, address: str, port: int = 443) -> str:
        """Connect, and return what the proxy is asked for."""
        self.net.guest.connect(address, port)
        self.net.run(1 * SECOND)
        return bytes(self.proxy.connections[-1].received).split(b" ")[1].decode()


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        (["allow any"], f"example.org:{443}"),
        (["allow example.org:443"], "example.org:443"),
        (["deny private", "allow example.org:443"], "example.org:443"),
        (["allow 203.0.113.0/24"], f"{GOOD}:443"),
        (["deny self", "deny private", "allow any"], f"{GOOD}:443"),
        (["allow example.org:80", "allow 203.0.113.0/24"], f"{GOOD}:443"),
        (["deny other.example", "allow 203.0.113.0/24"], f"{GOOD}:443"),
    ],
)
def test_a_proxy_resolves_only_names_that_are_allowed(rules: list[str], asked: str) -> None:
    world = Behind(*rules)
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    assert world.asked(GOOD) == asked


@pytest.mark.parametrize(
    ("rules", "names", "asked"),
    [
        (["ask any"], (), f"{GOOD}:443"),
        (["ask any"], ("example.org",), "example.org:443"),
        (["ask 203.0.113.0/24"], (), f"{GOOD}:443"),
        (["ask example.org:443"], (), "example.org:443"),
        (["ask any:22", "allow any"], (), "example.org:443"),
        ([f"ask any proxy=http://{PROXY}:3128"], (), f"{GOOD}:443"),
    ],
)
def test_an_address_approved_as_such_goes_to_the_proxy_as_an_address(
    rules: list[str], names: tuple[str, ...], asked: str
) -> None:
    """The name could lead the proxy to another address than that which somebody saw and allowed."""
    world = Behind(*rules)
    world.net.stack._router.asker = lambda request, verdict: Verdict(Action.ALLOW, names=names)
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    assert world.asked(GOOD) == asked


def test_a_proxy_gets_the_address_where_some_names_are_denied() -> None:
    world = Behind("deny other.example:443", "allow 203.0.113.0/24", "allow any:9")
    for name in ("example.org", "other.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    assert world.asked(GOOD) == f"{GOOD}:443"


def test_a_proxied_name_ends_with_a_policy_about_addresses() -> None:
    world = Behind("allow any")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    assert world.asked(GOOD) == "example.org:443"
    world.net.stack.policy = RulePolicy(["deny private", "allow any"])
    assert world.net.stack.stats.flows_reset_by_policy == 1


@pytest.mark.parametrize("address", OWN_INSIDE)
def test_no_translator_leads_to_this_host(address: str) -> None:
    for rules, reached in (
        (["deny self", "allow any"], False),
        (["allow self"], False),
        (["allow any"], False),
        (["allow [::/0]"], True),
    ):
        world = World(*rules)
        world.net.host.serve_tcp(address, 22, Remote)
        world.net.boot(ipv6=True)
        stream = world.net.guest.connect(address, 22)
        world.net.run(1 * SECOND)
        assert (stream.state is ESTABLISHED) is reached, rules


@pytest.mark.parametrize("address", OWN_INSIDE)
def test_no_answer_opens_this_host_by_a_translator(address: str) -> None:
    world = World("allow example.org:22")
    server = world.net.host.serve_tcp(address, 22, Remote)
    world.zone["example.org"] = [address]
    world.net.boot(ipv6=True)
    world.resolve("example.org", "AAAA")
    world.net.guest.connect(address, 22)
    world.net.run(1 * SECOND)
    assert not server.connections


def test_the_other_loopback_leads_to_no_forward() -> None:
    for policy in (None, RulePolicy(["allow any"])):
        world = World(policy=policy, hostfwd=["tcp:127.0.0.1:2222-10.0.2.15:22", "tcp:[::1]:2223-10.0.2.15:22"])
        world.net.host.unreachable("::1", 2222, errno.ECONNREFUSED)
        world.net.host.unreachable("127.0.0.1", 2223, errno.ECONNREFUSED)
        world.net.boot(ipv6=True)
        for gateway, port in (("fec0::2", 2222), ("10.0.2.2", 2223)):
            stream = world.net.guest.connect(gateway, port)
            world.net.run(2 * SECOND)
            assert stream.error == errno.ECONNREFUSED
        assert not world.net.stack.flows()


# ------------------------------------------------------------------------------------------ who is asked


def answered(world: World, verdict: Verdict, names: tuple[str, ...]) -> list[FlowRequest]:
    """Let names share an address, and prepare an answer; returns the flows that were asked about."""
    asked: list[FlowRequest] = []

    def asker(request: FlowRequest, _: Verdict) -> Verdict:
        asked.append(request)
        return verdict

    world.net.stack._router.asker = asker
    for name in names:
        world.zone[name] = [GOOD]
        world.resolve(name)
    return asked


def test_an_answer_keeps_the_demands_of_its_rule() -> None:
    world = World("ask good.example:443")
    asked = answered(world, Verdict(Action.ALLOW), ("good.example",))
    assert world.reached(GOOD, 443, openssl_hello("good.example"))
    assert not world.reached(GOOD, 443, openssl_hello("evil.example"))
    assert not world.reached(GOOD, 443, openssl_hello(None))
    assert len(asked) == 3


def test_an_answer_opens_no_address_that_the_name_has_no_more() -> None:
    world = World("ask good.example:22")
    answered(world, Verdict(Action.ALLOW), ("good.example",))
    world.zone["good.example"] = [OTHER]
    world.net.run(61 * SECOND)
    assert world.reached(GOOD)
    assert world.connections() == {OTHER: 1}


def test_an_answer_opens_no_name_that_is_denied() -> None:
    world = World("deny evil.example:443", "ask any")
    answered(world, Verdict(Action.ALLOW, names=("good.example", "evil.example"), tls="sni-optional"),
             ("good.example", "evil.example"))  # fmt: skip
    assert world.reached(GOOD, 443, openssl_hello("good.example"))
    assert not world.reached(GOOD, 443, openssl_hello("evil.example"))


def test_an_answer_takes_the_proxy_of_its_rule() -> None:
    world = World(f"ask 203.0.113.0/24 proxy=http://{PROXY}:3128")
    answered(world, Verdict(Action.ALLOW), ())
    proxy = world.net.host.serve_tcp(PROXY, 3128, Remote)
    world.net.guest.connect(GOOD, 443)
    world.net.run(1 * SECOND)
    assert bytes(proxy.connections[0].received).startswith(b"CONNECT 203.0.113.7:443 ")
    assert world.connections() == {}


def test_an_allowed_name_does_not_open_a_sibling_that_needs_approval() -> None:
    world = World("allow good.example:443", "ask other.example:443")
    asked = answered(world, Verdict(Action.REJECT), ("other.example", "good.example"))
    assert world.reached(GOOD, 443, openssl_hello("good.example"))
    assert not world.reached(GOOD, 443, openssl_hello("other.example"))
    assert not asked
    world.resolve("other.example")  # the latest name decides which rule is followed
    assert not world.reached(GOOD, 443, openssl_hello("other.example"))
    assert [request.names[0] for request in asked] == ["other.example"]


def test_names_go_by_their_own_rules_proxy() -> None:
    world = World("allow direct.example:443 proxy=none", f"allow inner.example:443 proxy=http://{PROXY}:3128")
    proxy = world.net.host.serve_tcp(PROXY, 3128, Remote)
    for name in ("direct.example", "inner.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    stream = world.net.guest.connect(GOOD, 443)
    world.net.run(1 * SECOND)
    assert bytes(proxy.connections[0].received).startswith(b"CONNECT inner.example:443 ")
    proxy.connections[0].write(b"HTTP/1.1 200 OK\r\n\r\n")
    stream.write(openssl_hello("direct.example"))
    world.net.run(1 * SECOND)
    assert stream.closed


def test_a_decision_to_ask_again_is_a_refusal() -> None:
    world = World("ask any")
    decision = Decision()
    answered(world, Verdict(Action.REJECT), ())
    world.net.stack._router.asker = lambda request, verdict: decision
    stream = world.net.guest.connect(GOOD, 22)
    world.net.run(1 * SECOND)
    decision.give(Verdict(Action.ASK))
    world.net.run(1 * SECOND)
    assert stream.closed
    assert world.connections() == {}


# ------------------------------------------------------------------------------------ a policy is replaced


@pytest.mark.parametrize(
    ("before", "after", "lasts"),
    [
        ("allow any", "allow 203.0.113.7", True),
        ("allow any", f"redirect any={EVIL}", False),
        (f"redirect any={EVIL}", "allow any", False),
        (f"redirect any={EVIL}", f"redirect 203.0.113.7={EVIL}", True),
        ("allow any", f"allow any proxy=http://{PROXY}:3128", False),
        ("allow any", "allow any proxy=none", True),
        ("allow any", "ask any", True),
        ("allow any proxy=none", "ask any", True),
        ("allow any", f"ask any proxy=http://{PROXY}:3128", False),
        ("allow any", "ask good.example", False),
        ("allow good.example", "ask good.example", True),
        ("ask good.example tls=off", "ask good.example", False),
        (f"redirect any={EVIL}", "ask any", True),
        ("allow any", "allow good.example", False),
        ("allow good.example tls=off", "allow good.example", False),
        ("allow good.example", "allow good.example tls=off", True),
        ("allow good.example", "allow any", True),
    ],
)
def test_a_new_policy_ends_flows_that_it_would_lead_elsewhere_or_read(
    before: str, after: str, lasts: bool
) -> None:
    for protocol in ("tcp", "udp", "ping"):
        if protocol == "ping" and "proxy" in after:
            continue
        world = World(before)
        answered(world, Verdict(Action.ALLOW), ())
        world.zone["good.example"] = [GOOD]
        world.resolve("good.example")
        guest = world.net.guest
        if protocol == "tcp":
            guest.connect(GOOD, 22)
        elif protocol == "udp":
            guest.udp().send(b"x", GOOD, 9)
        else:
            guest.ping(GOOD)
        world.net.run(1 * SECOND)
        world.net.stack.policy = RulePolicy([after])
        ended = world.net.stack.stats.flows_reset_by_policy
        assert ended == (0 if lasts else 1), protocol


def test_a_new_policy_ends_flows_to_an_address_that_it_denies() -> None:
    """The name led to another address than the one that the guest has sent."""
    world = World("allow good.example:22")
    world.zone["good.example"] = [GOOD]
    world.resolve("good.example")
    world.zone["good.example"] = [OTHER]
    world.net.run(61 * SECOND)
    streams = [world.net.guest.connect(GOOD, 22)]
    world.net.run(1 * SECOND)
    assert world.connections() == {OTHER: 1}
    world.net.stack.policy = RulePolicy([f"deny {OTHER}", "allow good.example:22"])
    world.net.run(1 * SECOND)
    assert streams[0].closed


@pytest.mark.parametrize(
    "refusal",
    [
        "deny one.example:80",
        "ask one.example:80",
        f"allow one.example:80 proxy=http://{PROXY}:3128",
        "redirect one.example:80=" + EVIL,
    ],
)
def test_a_new_policy_applies_to_flows_that_have_sent_no_name_yet(refusal: str) -> None:
    """The flow began under one name. Another name of its address, asked for since, does not make up for it."""
    world = World("allow *.example:80")
    for name in ("one.example", "two.example"):
        world.zone[name] = [GOOD]
    world.resolve("one.example")
    stream = world.net.guest.connect(GOOD, 80)
    world.net.run(1 * SECOND)
    world.resolve("two.example")
    world.net.stack.policy = RulePolicy([refusal, "allow two.example:80"])
    world.net.run(1 * SECOND)
    assert stream.closed
    assert world.net.stack.stats.flows_reset_by_policy == 1


def test_a_new_policy_holds_for_later_requests() -> None:
    world = World("allow one.example:80", "allow two.example:80")
    for name in ("one.example", "two.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    request = b"GET / HTTP/1.1\r\nHost: %b.example\r\n\r\n"
    stream = world.net.guest.connect(GOOD, 80)
    stream.write(request % b"one")
    world.net.run(1 * SECOND)
    world.net.stack.policy = RulePolicy(["allow one.example:80", "allow two.example:80", "allow any:22"])
    world.net.run(1 * SECOND)
    assert not stream.closed
    world.net.stack.policy = RulePolicy(["allow one.example:80"])
    stream.write(request % b"two")
    world.net.run(1 * SECOND)
    assert request % b"two" not in bytes(world.servers[GOOD].connections[0].received)


def test_a_new_policy_holds_for_ports_that_a_forward_leads_to() -> None:
    world = World("allow any", hostfwd=["udp:127.0.0.1:5353-10.0.2.15:9"])
    heard: list[bytes] = []
    world.net.host.serve_udp(GOOD, 9, lambda payload, source, port: heard.append(payload))
    socket = world.net.guest.udp(9)
    world.net.host.send_udp(b"in", "127.0.0.1", 5353)
    world.net.run(1 * SECOND)
    for expected in ([b"out"], [b"out"]):
        socket.send(b"out", GOOD, 9)
        world.net.run(1 * SECOND)
        assert heard == expected
        world.net.stack.policy = RulePolicy(["deny any"])
