"""Rules by name, from the DNS answer to the far side's program: what holds for an address, for how long, for whom."""

from __future__ import annotations

import errno
from ipaddress import ip_address

import pytest

from slirpy import Action, Decision, FlowRequest, RulePolicy, Verdict
from slirpy.testing import Echo
from tests.sim.names import ESTABLISHED, GOOD, MS, OTHER, SECOND, SYN_SENT, World


def client_hello(name: str) -> bytes:
    """The first flight of a TLS client that asks for a name; an OpenSSL client writes it."""
    import ssl

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def test_a_name_is_reached_only_after_the_guest_has_resolved_it() -> None:
    world = World("allow example.org:22")
    world.zone["example.org"] = [GOOD]
    assert not world.reached(GOOD)
    assert world.resolve("example.org") == [GOOD]
    assert world.reached(GOOD)
    assert not world.reached(GOOD, 23)
    assert not world.reached(OTHER)
    assert world.connections() == {GOOD: 1}


@pytest.mark.parametrize(
    ("rule", "name", "allowed"),
    [
        ("example.org", "example.org", True),
        ("EXAMPLE.org.", "example.ORG", True),
        ("example.org", "www.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", "www.example.org", True),
        ("*.example.org", "a.b.c.example.org", True),
        ("*.example.org", "wwwexample.org", False),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
        ("server.", "server", True),
    ],
)
def test_names_and_patterns(rule: str, name: str, allowed: bool) -> None:
    world = World(f"allow tcp:{rule}:22")
    world.zone[name.lower()] = [GOOD]
    assert world.resolve(name) == ([GOOD] if allowed else [])
    assert world.zone.asked == ([name.lower()] if allowed else []), "other names must not be asked for outside"
    assert world.reached(GOOD) is allowed


def test_an_alias_counts_for_the_queried_name() -> None:
    world = World("allow example.org:22")
    world.zone.aliases["example.org"] = "cdn.example.net"
    world.zone["cdn.example.net"] = [GOOD]
    world.zone["victim.example"] = [OTHER]
    world.resolve("example.org")
    assert world.reached(GOOD)
    seen = world.net.stack.network.stats
    assert not world.reached(OTHER)
    assert seen.tcp_flows_refused


def test_a_new_connection_goes_to_the_current_address_of_the_name() -> None:
    world = World("allow example.org:22")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    assert world.reached(GOOD)
    world.zone["example.org"] = [OTHER]
    assert world.reached(GOOD), "the answer still lives"
    world.net.run(61 * SECOND)
    assert world.reached(GOOD)
    assert world.connections() == {GOOD: 2, OTHER: 1}


def test_a_pin_ends_after_its_grace_time() -> None:
    world = World("allow example.org:22", dns_grace=600)
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    world.net.run(659 * SECOND)
    assert world.reached(GOOD)
    world.net.run(1 * SECOND)
    assert world.reached(GOOD), "the flow has kept it, and resolved the name again"
    world.net.run(1300 * SECOND)
    assert not world.reached(GOOD)


def test_a_flow_keeps_its_pin() -> None:
    world = World("allow example.org:22", dns_grace=10, tcp_keepalive=60)
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    stream = world.net.guest.connect(GOOD, 22)
    world.net.run(1000 * SECOND)
    assert stream.state is ESTABLISHED
    assert world.reached(GOOD)
    stream.abort()
    world.net.run(75 * SECOND)
    assert not world.reached(GOOD)


def test_a_name_that_no_longer_resolves_is_not_reached() -> None:
    world = World("allow example.org:22")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    world.zone["example.org"] = []
    world.net.run(61 * SECOND)
    assert not world.reached(GOOD)
    assert world.connections() == {}


@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "192.168.1.1", "100.64.0.1", "169.254.169.254", "127.0.0.1", "0.0.0.0", "10.0.2.2", "192.0.2.1",
     "224.0.0.1", "198.18.0.1", "168.63.129.16", "255.255.255.255"],
)  # fmt: skip
def test_rebinding(address: str) -> None:
    """An answer from outside opens nothing of the host's own; 192.0.2.1 is the simulated host."""
    world = World("allow example.org")
    servers = [world.net.host.serve_tcp(place, 22, Echo) for place in ("10.1.2.3", "192.168.1.1", "127.0.0.1")]
    world.zone["example.org"] = [address]
    world.resolve("example.org")
    stream = world.net.guest.connect(address if address != "0.0.0.0" else "10.0.2.2", 22)
    world.net.run(80 * SECOND)
    assert stream.error or stream.state is not ESTABLISHED
    assert not any(server.connections for server in servers)
    assert not [call for call in world.net.host.calls if call.name == "connect_tcp"]


def test_an_address_is_opened_by_a_rule_about_it_not_by_a_name() -> None:
    world = World("allow 10.1.2.3:22", "allow example.org:22")
    server = world.net.host.serve_tcp("10.1.2.3", 22, Echo)
    world.zone["example.org"] = ["10.1.2.3"]
    world.resolve("example.org")
    assert world.reached("10.1.2.3")
    assert len(server.connections) == 1


def test_a_record_of_the_operator_may_name_any_address() -> None:
    world = World("allow pypi.test:443 tls=off", dns_records=["pypi.test=10.0.2.2"])
    server = world.net.host.serve_tcp("127.0.0.1", 443, Echo)
    assert not world.reached("10.0.2.2", 443)
    assert world.resolve("pypi.test") == ["10.0.2.2"]
    assert world.reached("10.0.2.2", 443)
    assert len(server.connections) == 1
    assert not world.reached("10.0.2.2", 80)
    # Later the name is looked up anew, and the network itself answers at once.
    world.net.run(61 * SECOND)
    assert world.reached("10.0.2.2", 443)
    assert len(server.connections) == 2


def test_a_refused_address_stays_refused_under_a_name() -> None:
    world = World(f"deny {OTHER}", "allow example.org:22")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    world.zone["example.org"] = [OTHER]
    world.net.run(61 * SECOND)
    assert not world.reached(GOOD), "it resolves to a refused address only"
    assert not world.reached(OTHER)
    assert world.connections() == {}


def test_several_names_on_one_address() -> None:
    world = World("deny evil.example", "allow good.example:443", "allow also.example:443")
    for name in ("evil.example", "good.example", "also.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    assert "evil.example" not in world.zone.asked
    for name in ("good.example", "also.example"):
        hello = client_hello(name)
        assert world.reached(GOOD, 443, hello), name
    before = world.net.stack.stats.tcp_flows_misnamed
    assert not world.reached(GOOD, 443, client_hello("evil.example"))
    assert not world.reached(GOOD, 443, client_hello("unknown.example"))
    assert world.net.stack.stats.tcp_flows_misnamed == before + 2


def test_another_address_of_a_name_is_none_of_other_names() -> None:
    """The flow goes to where one of two names is now, and the client may say that one only."""
    world = World("allow *.example:443")
    for name in ("other.example", "moved.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    world.zone["moved.example"] = [OTHER]
    world.net.run(61 * SECOND)
    before = world.net.stack.stats.tcp_flows_misnamed
    assert not world.reached(GOOD, 443, client_hello("other.example"))
    assert world.net.stack.stats.tcp_flows_misnamed == before + 1
    assert world.reached(GOOD, 443, client_hello("moved.example"))
    assert world.connections() == {OTHER: 2}


def test_another_address_that_needs_a_proxy_is_not_reached_directly() -> None:
    world = World(f"allow {OTHER} proxy=socks5://192.0.2.99:1080", "allow moved.example:443")
    world.zone["moved.example"] = [GOOD]
    world.resolve("moved.example")
    assert world.reached(GOOD, 443, client_hello("moved.example"))
    world.zone["moved.example"] = [OTHER]
    world.net.run(61 * SECOND)
    assert not world.reached(GOOD, 443, client_hello("moved.example"))
    assert world.connections() == {GOOD: 1}


def test_a_denied_name_is_denied_where_addresses_are_allowed() -> None:
    world = World("deny evil.example", "allow any:443")
    world.zone["good.example"] = [GOOD]
    assert world.resolve("good.example") == [GOOD]
    assert world.resolve("evil.example") == []
    assert world.reached(GOOD, 443)


def test_a_denied_name_is_denied_at_an_address_that_no_name_opens() -> None:
    """Rules about the address allow it, except under a name that is denied at this port."""
    world = World("deny evil.example:443", "allow any")
    server = world.net.host.serve_tcp("10.1.2.3", None, Echo)
    world.zone["evil.example"] = world.zone["good.example"] = ["10.1.2.3"]
    assert world.reached("10.1.2.3", 443, client_hello("evil.example")), "nobody has asked for the name"
    world.resolve("evil.example")
    assert world.reached("10.1.2.3", 22)
    assert len(server.connections) == 2
    assert not world.reached("10.1.2.3", 443)
    assert len(server.connections) == 2
    world.resolve("good.example")
    assert world.reached("10.1.2.3", 443, client_hello("good.example"))
    before = world.net.stack.stats.tcp_flows_misnamed
    assert not world.reached("10.1.2.3", 443, client_hello("evil.example"))
    assert world.net.stack.stats.tcp_flows_misnamed == before + 1
    world.net.run(2 * 3600 * SECOND)
    assert world.reached("10.1.2.3", 443, client_hello("evil.example")), "answers are forgotten in time"


def test_quic_is_refused_where_a_name_of_the_address_is_denied() -> None:
    """The other name of the address would have to be read, which only rules of quic do. Clients fall back to TCP."""
    world = World("deny evil.example:443", "allow any")
    for name in ("evil.example", "good.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    server = world.net.host.serve_udp(GOOD, None)
    socket = world.net.guest.udp()
    for port in (443, 444):
        socket.send(b"hello", GOOD, port)
    world.net.run(100 * MS)
    assert len(server.received) == 1
    assert list(socket.errors) == [errno.EHOSTUNREACH]
    assert world.reached(GOOD, 443, client_hello("good.example"))


@pytest.mark.parametrize("rules", [["allow good.example"], ["allow *.example:443 tls=off", "deny any"]])
def test_a_name_in_the_hello_does_not_open_a_private_address(rules: list[str]) -> None:
    world = World("deny evil.example:443", "allow any")
    world.net.host.serve_tcp("10.1.2.3", None, Echo)
    world.zone["evil.example"] = world.zone["good.example"] = ["10.1.2.3"]
    world.resolve("evil.example")
    world.resolve("good.example")
    stream = world.net.guest.connect("10.1.2.3", 443)
    hello = client_hello("good.example")
    stream.write(hello)
    world.net.run_until(lambda: stream.received == hello)
    world.net.stack.policy = RulePolicy(["deny evil.example:443", "allow private"])
    world.net.run(100 * MS)
    assert not stream.error
    world.net.stack.policy = RulePolicy(rules)
    world.net.run(100 * MS)
    assert stream.error


def test_the_far_side_receives_nothing_before_the_name() -> None:
    world = World("allow good.example:443")
    world.zone["good.example"] = [GOOD]
    world.resolve("good.example")
    stream = world.net.guest.connect(GOOD, 443)
    hello = client_hello("evil.example")
    for at in range(0, len(hello), 40):
        stream.write(hello[at : at + 40])
        world.net.run(10 * MS)
    world.net.run(1 * SECOND)
    assert stream.closed
    assert stream.error
    assert all(not connection.received for connection in world.servers[GOOD].connections)


def test_quic_is_refused_so_that_clients_fall_back() -> None:
    world = World("allow example.org")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    received = world.net.host.serve_udp(GOOD, None).received
    udp = world.net.guest.udp()
    for port in (443, 4433):
        udp.send(b"hello", GOOD, port)
    world.net.run(1 * SECOND)
    assert [str(error.kind) for error in world.net.guest.icmp_errors][:1]
    assert len(received) == 1


def test_a_redirect_by_name() -> None:
    world = World(f"redirect example.org:22={OTHER}:2222")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    assert world.reached(GOOD)
    assert world.connections() == {OTHER: 1}


def test_pins_belong_to_one_guest() -> None:
    world = World("allow example.org:22")
    world.zone["example.org"] = [GOOD]
    world.resolve("example.org")
    other = world.net.add_guest()
    world.net.boot(other)
    stream = other.connect(GOOD, 22)
    world.net.run_until(lambda: stream.closed)
    assert stream.error
    assert world.reached(GOOD)


# ------------------------------------------------------------------------------------------ held flows


def test_a_coroutine_function_may_be_a_policy() -> None:
    async def policy(request: FlowRequest) -> Verdict:
        return Verdict(Action.ALLOW if request.destination == ip_address(GOOD) else Action.REJECT)

    world = World(policy=policy)
    assert world.reached(GOOD)
    assert not world.reached(OTHER)


@pytest.mark.parametrize("action", [Action.ALLOW, Action.REJECT])
def test_a_flow_waits_for_a_decision(action: Action) -> None:
    decision = Decision()
    world = World(policy=lambda request: decision)
    received = world.net.host.serve_udp(OTHER, 9).received
    stream = world.net.guest.connect(GOOD, 22)
    udp = world.net.guest.udp()
    for number in range(40):
        udp.send(bytes((number,)), OTHER, 9)
    ping = world.net.guest.ping(OTHER)
    world.net.run(20 * SECOND)
    assert stream.state is SYN_SENT
    assert not received
    assert decision.awaited
    decision.give(Verdict(action))
    world.net.run(1 * SECOND)
    allowed = action is Action.ALLOW
    assert (stream.state is ESTABLISHED) is allowed
    assert [bytes(each.payload)[0] for each in received] == (list(range(16)) if allowed else [])
    assert world.net.stack.stats.drop_flow_held == 24
    assert ping.sent_at is not None


def test_a_pending_decision_times_out() -> None:
    refused: list[str] = []
    world = World(
        policy=lambda request: Decision(), on_refused=lambda request, verdict: refused.append(verdict.reason)
    )
    stream = world.net.guest.connect(GOOD, 22)
    start = world.net.now
    world.net.run_until(lambda: stream.closed)
    assert 29 * SECOND < world.net.now - start < 31 * SECOND
    assert refused == ["nobody decided in time"]
    assert world.connections() == {}


# ------------------------------------------------------------------------------- a policy that is replaced


def test_a_new_policy_resets_flows_it_does_not_allow() -> None:
    world = World("allow any")
    for address in (GOOD, OTHER):
        world.net.host.serve_udp(address, 9, lambda payload, source, port: payload)
    streams = {address: world.net.guest.connect(address, 22) for address in (GOOD, OTHER)}
    sockets = {address: world.net.guest.udp() for address in (GOOD, OTHER)}
    for address, udp in sockets.items():
        udp.send(b"x", address, 9)
    pings = [world.net.guest.ping(address) for address in (GOOD, OTHER)]
    world.net.run(1 * SECOND)
    assert {stream.state for stream in streams.values()} == {ESTABLISHED}
    assert len(pings) == 2
    world.net.stack.policy = RulePolicy([f"allow {GOOD}"])
    world.net.run(1 * SECOND)
    assert streams[GOOD].state is ESTABLISHED
    assert streams[OTHER].closed
    assert streams[OTHER].error
    assert world.net.stack.stats.flows_reset_by_policy == 3
    before = len(sockets[OTHER].received)
    for address, udp in sockets.items():
        udp.send(b"y", address, 9)
    world.net.run(1 * SECOND)
    assert [bytes(each.payload) for each in sockets[GOOD].received] == [b"x", b"y"]
    assert len(sockets[OTHER].received) == before
    assert not world.reached(OTHER)


def test_a_new_policy_ends_flows_that_wait_for_the_former_one() -> None:
    decision = Decision()
    world = World(policy=lambda request: decision)
    stream = world.net.guest.connect(GOOD, 22)
    world.net.run(1 * SECOND)
    world.net.stack.policy = RulePolicy(["deny any"])
    decision.give(Verdict(Action.ALLOW))
    world.net.run(1 * SECOND)
    assert stream.closed
    assert world.connections() == {}


def test_a_new_policy_checks_the_name_in_the_hello() -> None:
    world = World("allow one.example:443", "allow two.example:443")
    for name in ("one.example", "two.example"):
        world.zone[name] = [GOOD]
        world.resolve(name)
    streams = {}
    for name in ("one.example", "two.example"):
        streams[name] = world.net.guest.connect(GOOD, 443)
        streams[name].write(client_hello(name))
    world.net.run(1 * SECOND)
    world.net.stack.policy = RulePolicy(["allow two.example:443"])
    world.net.run(1 * SECOND)
    assert streams["one.example"].closed
    assert streams["two.example"].state is ESTABLISHED
