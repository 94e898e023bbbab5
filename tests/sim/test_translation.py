"""NAT64 and DNS64, and stand-ins of IPv6 hosts: guests of one IP family reach hosts of the other."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import dnslib
import pytest

from slirpy import Action, Config, FlowRequest, Verdict
from slirpy.testing import Echo, VirtualNetwork

WEB4, WEB6 = "192.0.2.7", "2001:db8::7"
RESOLVER = "192.0.2.53"
POOL = "198.18.0.0/15"


def answers(message: bytes, address: IPv4Address | IPv6Address, port: int) -> bytes:
    """A resolver that knows two names, each with an address of one family."""
    query = dnslib.DNSRecord.parse(message)
    reply = query.reply()
    known = {("four.test.", "A"): dnslib.A(WEB4), ("six.test.", "AAAA"): dnslib.AAAA(WEB6)}
    data = known.get((str(query.q.qname), dnslib.QTYPE[query.q.qtype]))
    if data is not None:
        reply.add_answer(dnslib.RR(query.q.qname, query.q.qtype, rdata=data, ttl=60))
    return bytes(reply.pack())


def network(**options: Any) -> VirtualNetwork:
    net = VirtualNetwork(Config(resolvers=[RESOLVER], **options), seed=1)
    net.host.serve_udp(RESOLVER, 53, answers)
    for address in (WEB4, WEB6):
        net.host.serve_tcp(address, 7, Echo)
        net.host.serve_udp(address, 7, lambda payload, address, port: payload[::-1])
    net.boot()
    return net


def six_only(**options: Any) -> VirtualNetwork:
    return network(ipv4=False, nat64=True, **options)


def four_only(**options: Any) -> VirtualNetwork:
    return network(ipv6=False, dns46=POOL, **options)


CASES = [(six_only, "four.test", "AAAA", "64:ff9b::c000:207"), (four_only, "six.test", "A", "198.18.0.1")]


@pytest.fixture(params=CASES, ids=["nat64", "dns46"])
def case(request: pytest.FixtureRequest) -> tuple[VirtualNetwork, str]:
    """A network, and the address under which its guest knows a host of the other family."""
    make, name, kind, expected = request.param
    net = make()
    dns = net.config.dns if net.config.ipv4 else net.config.dns6
    lookup = net.guest.resolve(name, kind, server=dns)
    net.run_until(lambda: lookup.done)
    assert lookup.answers == [expected]
    return net, expected


def test_tcp(case: tuple[VirtualNetwork, str]) -> None:
    net, address = case
    stream = net.guest.connect(address, 7)
    stream.write(b"hello" * 10_000)
    net.run_until(lambda: stream.received == b"hello" * 10_000)
    (flow,) = net.stack.flows()[:1]
    assert flow.protocol == "tcp"


def test_udp(case: tuple[VirtualNetwork, str]) -> None:
    net, address = case
    socket = net.guest.udp(5000)
    for payload in (b"abc", b"def"):
        socket.send(payload, address, 7)
        net.run_until(lambda: bool(socket.received))
        message = socket.received.pop()
        assert message == (payload[::-1], ip_address(address), 7)


def test_ping(case: tuple[VirtualNetwork, str]) -> None:
    net, address = case
    net.host.answer_ping(WEB4)
    net.host.answer_ping(WEB6)
    ping = net.guest.ping(address)
    net.run_until(lambda: ping.reply is not None)
    assert ping.reply == ping.payload


def test_a_refused_connection_is_reset(case: tuple[VirtualNetwork, str]) -> None:
    net, address = case
    stream = net.guest.connect(address, 81)
    net.run_until(lambda: stream.error != 0)
    assert stream.error == errno.ECONNREFUSED


@pytest.mark.rfc("6052", "5.3")
def test_the_policy_sees_the_host(case: tuple[VirtualNetwork, str]) -> None:
    _, address = case
    seen: list[FlowRequest] = []

    def policy(request: FlowRequest) -> Verdict:
        seen.append(request)
        return Verdict(Action.ALLOW)

    make = six_only if ":" in address else four_only
    net = make(policy=policy)
    name, kind = ("four.test", "AAAA") if ":" in address else ("six.test", "A")
    lookup = net.guest.resolve(name, kind)
    net.run_until(lambda: lookup.done)
    stream = net.guest.connect(address, 7)
    net.run_until(lambda: stream.established)
    assert seen[-1].destination in (IPv4Address(WEB4), IPv6Address(WEB6))
    assert str(seen[-1].destination) != address


def test_the_prefix_does_not_lead_around_the_gateway() -> None:
    net = six_only(host_loopback=False)
    net.host.serve_tcp("127.0.0.1", 7, Echo)
    for inside in ("10.0.2.2", "127.0.0.1"):
        stream = net.guest.connect(f"64:ff9b::{inside}", 7)
        net.run(3_000_000_000)
        assert not stream.established, inside


def test_no_guest_is_led_back_into_the_network_by_the_address_outside() -> None:
    """A flow to the port of a forward is refused, as over IPv4, which is why nothing hairpins (RFC 6146, 3.8)."""
    net = VirtualNetwork(Config(nat64=True, ipv4=False, hostfwd=["tcp:192.0.2.1:8080-[fec0::99]:80"]), seed=1)
    second = net.add_guest()
    net.boot()
    second.configure("fec0::99", 64, "fec0::2")
    listener = second.listen(80)
    stream = net.guest.connect("64:ff9b::192.0.2.1", 8080)
    net.run_until(lambda: stream.error != 0)
    assert stream.error == errno.ECONNREFUSED
    assert not listener.accepted
    assert net.stack.stats.tcp_flows_refused == 1


def test_a_stand_in_that_was_never_assigned_is_unreachable() -> None:
    net = four_only()
    stream = net.guest.connect("198.18.7.7", 7)
    net.run_until(lambda: stream.error != 0)
    assert stream.error == errno.EHOSTUNREACH


def test_router_advertisements_have_the_prefix() -> None:
    """RFC 8781."""
    net = six_only(dnssearch=["a.test", "b.test"])
    configuration = net.guest.autoconfigure()
    assert configuration.nat64 == IPv6Network("64:ff9b::/96")
    assert configuration.dns == [IPv6Address("fec0::3")]
    assert configuration.search == ["a.test", "b.test"]
