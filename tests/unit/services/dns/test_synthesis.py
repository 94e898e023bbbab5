"""Addresses of the other IP family in answers: DNS64, and the reverse for guests that have only IPv4."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest
from dnslib import AAAA, CNAME, EDNS0, QTYPE, RCODE, RR, SOA, A, DNSRecord

from tests.unit.services.dns.world import World, ask, data

ADDRESSES: dict[str, Any] = {"A": A, "AAAA": AAAA, "CNAME": CNAME}
DNS64: dict[str, Any] = {"nat64": True}
DNS46: dict[str, Any] = {"dns46": "198.18.0.0/15"}


def answer(query: bytes, *records: str, ttl: int = 60, rcode: int = 0, soa: int | None = None) -> bytes:
    """A resolver's answer; each record is "[name] type value"."""
    asked = DNSRecord.parse(query)
    reply = asked.reply()
    reply.header.rcode = rcode
    for record in records:
        *owner, kind, value = record.split()
        name = owner[0] if owner else asked.q.qname
        reply.add_answer(RR(name, getattr(QTYPE, kind), rdata=ADDRESSES[kind](value), ttl=ttl))
    if soa is not None:
        reply.add_auth(RR("test", QTYPE.SOA, rdata=SOA("ns.test", "me.test", (1, 2, 3, 4, 5)), ttl=soa))
    return bytes(reply.pack())


def asked(world: World) -> str:
    """The question that was asked outside last."""
    question = DNSRecord.parse(world.socket.sent[-1][0]).q
    return f"{QTYPE[question.qtype]} {question.qname}"


def exchange(world: World, query: DNSRecord, *answers: dict[str, Any]) -> DNSRecord:
    """Ask; the resolver gives these answers one after the other, and nothing is left to be asked after the last."""
    world.say(query.pack())
    for number, said in enumerate(answers):
        records = said.pop("records", ())
        message = answer(world.socket.sent[-1][0], *records, **said)
        if number + 1 == len(answers):
            return world.relay(message)
        world.socket_says(message)
    raise AssertionError


def test_ipv4_addresses_become_ipv6_addresses() -> None:
    world = World(**DNS64)
    heard = exchange(
        world, ask(qtype="AAAA"), {"soa": 40}, {"records": ["A 192.0.2.1", "A 192.0.2.2"], "ttl": 60}
    )
    assert asked(world) == "A example.test."
    assert data(heard) == ["AAAA 64:ff9b::c000:201", "AAAA 64:ff9b::c000:202"]
    assert {record.ttl for record in heard.rr} == {40}  # RFC 6147, section 5.1.7
    assert (heard.header.id, heard.header.rcode, heard.header.ad) == (7, RCODE.NOERROR, 0)
    assert world.stats.nonzero()["dns_translated"] == 1


def test_both_answers_are_cached() -> None:
    world = World(**DNS64)
    first = exchange(world, ask(qtype="AAAA"), {"soa": 40}, {"records": ["A 192.0.2.1"]})
    sockets = len(world.host.udp)
    assert data(world.talk(ask(identifier=8, qtype="AAAA"))) == data(first)
    assert len(world.host.udp) == sockets


def test_a_name_with_an_ipv6_address_is_left_alone() -> None:
    world = World(**DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"records": ["AAAA 2001:db8::1"]})
    assert data(heard) == ["AAAA 2001:db8::1"]


def test_mapped_addresses_count_as_none() -> None:
    world = World(**DNS64)
    mapped = {"records": ["AAAA ::ffff:c000:209"]}
    heard = exchange(world, ask(qtype="AAAA"), mapped, {"records": ["A 192.0.2.1"]})
    assert data(heard) == ["AAAA 64:ff9b::c000:201"]


def test_a_name_that_does_not_exist_is_not_asked_for_again() -> None:
    world = World(**DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"rcode": RCODE.NXDOMAIN})
    assert heard.header.rcode == RCODE.NXDOMAIN


def test_a_name_without_any_address_has_the_first_answer() -> None:
    world = World(**DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"soa": 33}, {})
    assert (heard.header.rcode, data(heard), heard.auth[0].ttl) == (RCODE.NOERROR, [], 33)


def test_an_alias_is_kept() -> None:
    world = World(**DNS64)
    chain = {"records": ["CNAME real.test", "real.test A 192.0.2.1"]}
    heard = exchange(world, ask(qtype="AAAA"), {"records": ["CNAME real.test"]}, chain)
    assert data(heard) == ["CNAME real.test.", "AAAA 64:ff9b::c000:201"]
    assert str(heard.rr[1].rname) == "real.test."


@pytest.mark.parametrize(("flags", "synthesized"), [("", True), ("do", True)])
def test_a_guest_that_does_not_validate_gets_it(flags: str, synthesized: bool) -> None:
    world = World(**DNS64)
    query = ask(qtype="AAAA")
    query.add_ar(EDNS0(flags=flags, udp_len=1232))
    world.say(query.pack())
    world.socket_says(answer(world.socket.sent[-1][0]))
    assert asked(world).startswith("A ") is synthesized


def test_a_guest_that_validates_gets_the_truth() -> None:
    world = World(**DNS64)
    query = ask(qtype="AAAA")
    query.header.cd = 1
    query.add_ar(EDNS0(flags="do", udp_len=1232))
    assert data(exchange(world, query, {})) == []


def test_questions_for_ipv4_are_left_alone() -> None:
    world = World(**DNS64)
    assert data(exchange(world, ask(), {"soa": 30})) == []


def test_own_records_are_translated() -> None:
    world = World(dns_records=["web.test=192.0.2.7"], **DNS64)
    assert data(world.talk(ask("web.test", qtype="AAAA"))) == ["AAAA 64:ff9b::c000:207"]
    world = World(dns_records=["web.test=10.0.2.9"], **DNS64)  # a guest's: not outside
    assert data(world.talk(ask("web.test", qtype="AAAA"))) == []


def test_the_prefix_can_be_discovered() -> None:
    """RFC 7050."""
    world = World(**DNS64)
    expected = ["AAAA 64:ff9b::c000:aa", "AAAA 64:ff9b::c000:ab"]
    assert data(world.talk(ask("ipv4only.arpa", qtype="AAAA"))) == expected


def test_reverse_names_lead_to_those_of_the_ipv4_address() -> None:
    world = World(dns_records=["web.test=192.0.2.7"], **DNS64)
    name = IPv6Address("64:ff9b::192.0.2.7").reverse_pointer
    assert data(world.talk(ask(name, qtype="PTR"))) == ["CNAME 7.2.0.192.in-addr.arpa.", "PTR web.test."]


def test_ipv6_addresses_get_stand_ins() -> None:
    world = World(**DNS46)
    heard = exchange(world, ask(), {"soa": 40}, {"records": ["AAAA 2001:db8::1", "AAAA 2001:db8::2"]})
    assert asked(world) == "AAAA example.test."
    assert data(heard) == ["A 198.18.0.1", "A 198.18.0.2"]
    again = world.talk(ask(identifier=8))
    assert data(again) == data(heard)


def test_a_name_with_an_ipv4_address_needs_no_stand_in() -> None:
    world = World(**DNS46)
    assert data(exchange(world, ask(), {"records": ["A 192.0.2.1"]})) == ["A 192.0.2.1"]


def test_answers_that_cannot_be_read_change_nothing() -> None:
    world = World(**DNS64)
    world.say(ask(qtype="AAAA").pack())
    world.socket_says(answer(world.socket.sent[-1][0], soa=40))
    broken = bytearray(answer(world.socket.sent[-1][0], "A 192.0.2.1"))
    broken[-6:-4] = b"\0\3"  # an address of three bytes
    heard = world.relay(bytes(broken[:-1]))
    assert data(heard) == []
