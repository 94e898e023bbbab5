"""Names in a whole network: guests find each other by their leases; the library answers where no server is known."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

import pytest
from dnslib import DNSRecord

from slirpy import Config, DnsQuestion
from slirpy.services.dns import server as dns
from slirpy.testing import Guest, VirtualNetwork


def resolve(
    net: VirtualNetwork, name: str, kind: str = "A", guest: Guest | None = None
) -> tuple[str | None, list[str]]:
    lookup = (guest or net.guest).resolve(name, kind)
    net.run_until(lambda: lookup.done)
    return lookup.rcode, lookup.answers


def test_guests_find_each_other_by_the_names_of_their_leases() -> None:
    net = VirtualNetwork(Config(resolvers=[], domainname="corp.test"))
    other = net.add_guest()
    net.boot()
    assert resolve(net, "guest1") == ("SERVFAIL", [])  # it has no lease yet, and there is nobody to ask
    lease = net.boot(other).lease
    assert lease is not None
    for name in ("guest1", "guest1.internal", "Guest1.INTERNAL"):
        assert resolve(net, name) == ("NOERROR", [str(lease.address)])
    assert resolve(net, "guest0.internal", guest=other) == ("NOERROR", ["10.0.2.15"])
    reverse = lease.address.reverse_pointer
    assert resolve(net, reverse, "PTR") == ("NOERROR", ["guest1.internal."])
    assert resolve(net, "99.2.0.10.in-addr.arpa", "PTR") == ("NXDOMAIN", [])
    assert net.stack.stats.dns_local == 6


def library() -> VirtualNetwork:
    """A network whose host has a resolver library and no server."""
    net = VirtualNetwork(Config(resolvers=[], dns_mode="system"), seed=5)
    net.host.add_name("name.test", "192.0.2.1", "::1")
    net.host.fail_name("later.test")
    net.boot()
    return net


def test_the_hosts_library_answers_in_virtual_time() -> None:
    runs: list[list[object]] = []
    for _ in range(2):
        net = library()
        assert resolve(net, "Name.test") == ("NOERROR", ["192.0.2.1"])
        assert resolve(net, "name.test", "AAAA") == ("NOERROR", ["::1"])
        assert resolve(net, "no.test") == ("NXDOMAIN", [])
        assert resolve(net, "later.test") == ("SERVFAIL", [])
        assert resolve(net, "name.test", "MX") == ("NOTIMP", [])
        asked = [call.detail for call in net.host.calls if call.name == "lookup"]
        assert asked == [b"name.test", b"name.test", b"no.test", b"later.test"]
        assert resolve(net, "name.test")[1] == ["192.0.2.1"]
        assert len([call for call in net.host.calls if call.name == "lookup"]) == 4
        runs.append([*net.transcript, *net.host.calls])
    assert runs[0] == runs[1]


def test_a_function_gets_the_address_of_the_guest() -> None:
    asked: list[DnsQuestion] = []

    def answer(question: DnsQuestion) -> Sequence[str] | None:
        asked.append(question)
        return [str(question.guest)] if question.name == "me.test" else None

    net = VirtualNetwork(Config(resolvers=[], dns_answer=answer))
    other = net.add_guest()
    for guest in (net.guest, other):
        address = net.boot(guest).address
        assert resolve(net, "me.test", guest=guest) == ("NOERROR", [str(address)])
    query = b"\0\1\1\0\0\1\0\0\0\0\0\0\2me\4test\0\0\1\0\1"
    stream = other.connect("10.0.2.3", 53)
    stream.write(len(query).to_bytes(2, "big") + query)
    net.run_until(lambda: len(stream.received) > 2)
    assert IPv4Address(bytes(stream.received)[-4:]) == address
    assert [str(question.guest) for question in asked] == ["10.0.2.15", "10.0.2.16", "10.0.2.16"]


def test_queries_over_tcp_are_bounded_by_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns, "TCP_QUERIES_MAX", 4)
    net = VirtualNetwork(Config(resolvers=["192.0.2.53"]))
    net.host.black_hole(bytes((192, 0, 2, 53)))
    other = net.add_guest()
    net.boot()
    net.boot(other)
    for guest, wanted in ((net.guest, 3), (other, 1)):
        before = net.stack.stats.drop_dns_limit
        stream = guest.connect("10.0.2.3", 53)
        for number in range(4):
            query = DNSRecord.question(f"name{number}.test").pack()
            stream.write(len(query).to_bytes(2, "big") + query)
        net.run(100_000_000)
        assert 4 - (net.stack.stats.drop_dns_limit - before) == wanted
