"""Addresses of the other IP family in answers: DNS64, and the reverse for guests that have only IPv4."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

import pytest
from dnslib import AAAA, CNAME, EDNS0, PTR, QTYPE, RCODE, RR, SOA, A, DNSRecord

from tests.unit.services.dns.world import World, ask, data

ADDRESSES: dict[str, Any] = {"A": A, "AAAA": AAAA, "CNAME": CNAME, "PTR": PTR}
DNS64: dict[str, Any] = {"nat64": True}
DNS46: dict[str, Any] = {"dns46": "198.18.0.0/15"}


def answer(
    query: bytes,
    *records: str,
    ttl: int = 60,
    rcode: int = 0,
    soa: int | None = None,
    more: tuple[str, ...] = (),
) -> bytes:
    """A resolver's answer; each record is "[name] type value", also of ``more``, the additional section."""
    asked = DNSRecord.parse(query)
    reply = asked.reply()
    reply.header.rcode = rcode
    for record in records:
        *owner, kind, value = record.split()
        name = owner[0] if owner else asked.q.qname
        reply.add_answer(RR(name, getattr(QTYPE, kind), rdata=ADDRESSES[kind](value), ttl=ttl))
    if soa is not None:
        reply.add_auth(RR("test", QTYPE.SOA, rdata=SOA("ns.test", "me.test", (1, 2, 3, 4, 5)), ttl=soa))
    for record in more:
        name, kind, value = record.split()
        reply.add_ar(RR(name, getattr(QTYPE, kind), rdata=ADDRESSES[kind](value), ttl=ttl))
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


@pytest.mark.rfc("6147", "5.1.6 ask")
@pytest.mark.rfc("6147", "5.1.6 instead")
@pytest.mark.rfc("6147", "5.1.7 address")
@pytest.mark.rfc("6147", "5.1.7 ttl")
@pytest.mark.rfc("6147", "5.5 ad")
@pytest.mark.rfc("6147", "5.4 question")
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


@pytest.mark.rfc("6147", "5.1.7 no soa")
@pytest.mark.parametrize(("ttl", "expected"), [(60, 60), (86_400, 600)])
def test_the_time_to_live_without_a_record_of_the_zone(ttl: int, expected: int) -> None:
    heard = exchange(World(**DNS64), ask(qtype="AAAA"), {}, {"records": ["A 192.0.2.1"], "ttl": ttl})
    assert [record.ttl for record in heard.rr] == [expected]


@pytest.mark.rfc("6147", "5.1.2 error")
@pytest.mark.parametrize("rcode", [RCODE.SERVFAIL, RCODE.NOTIMP, RCODE.REFUSED, RCODE.FORMERR])
def test_an_error_is_no_answer(rcode: int) -> None:
    world = World(resolvers=("127.0.0.53",), **DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"rcode": rcode}, {"records": ["A 192.0.2.1"]})
    assert (heard.header.rcode, data(heard)) == (RCODE.NOERROR, ["AAAA 64:ff9b::c000:201"])


@pytest.mark.rfc("6147", "5.1.3")
def test_a_server_that_ignores_questions_for_ipv6() -> None:
    world = World(resolvers=("127.0.0.53",), **DNS64)
    world.say(ask(qtype="AAAA").pack())
    world.network.run(6)
    assert asked(world) == "A example.test."
    assert data(world.relay(answer(world.upstream(), "A 192.0.2.1"))) == ["AAAA 64:ff9b::c000:201"]


@pytest.mark.rfc("6147", "5.1.3")
@pytest.mark.rfc("6147", "5.1.6 error")
def test_a_server_that_answers_nothing() -> None:
    world = World(resolvers=("127.0.0.53",), **DNS64)
    world.say(ask(qtype="AAAA").pack())
    world.network.run(12)
    assert world.heard().header.rcode == RCODE.SERVFAIL


@pytest.mark.rfc("6147", "5.1.6 error")
@pytest.mark.parametrize("rcode", [RCODE.SERVFAIL, RCODE.NXDOMAIN])
def test_an_error_about_ipv4_is_the_answer(rcode: int) -> None:
    """Otherwise a guest would believe that the name has no address at all."""
    world = World(resolvers=("127.0.0.53",), **DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"soa": 30}, {"rcode": rcode, "soa": 20})
    assert (heard.header.rcode, data(heard), str(heard.q.qname)) == (rcode, [], "example.test.")
    assert heard.q.qtype == QTYPE.AAAA


@pytest.mark.rfc("6147", "5.1 class")
def test_both_answers_are_cached() -> None:
    world = World(**DNS64)
    first = exchange(world, ask(qtype="AAAA"), {"soa": 40}, {"records": ["A 192.0.2.1"]})
    sockets = len(world.host.udp)
    assert data(world.talk(ask(identifier=8, qtype="AAAA"))) == data(first)
    assert len(world.host.udp) == sockets


@pytest.mark.rfc("6147", "5.1.1")
def test_a_name_with_an_ipv6_address_is_left_alone() -> None:
    world = World(**DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"records": ["AAAA 2001:db8::1"]})
    assert data(heard) == ["AAAA 2001:db8::1"]


@pytest.mark.rfc("6147", "5.1.4 default")
@pytest.mark.rfc("6147", "5.1.4 only")
def test_mapped_addresses_count_as_none() -> None:
    world = World(**DNS64)
    mapped = {"records": ["AAAA ::ffff:c000:209"]}
    heard = exchange(world, ask(qtype="AAAA"), mapped, {"records": ["A 192.0.2.1"]})
    assert data(heard) == ["AAAA 64:ff9b::c000:201"]


@pytest.mark.rfc("6147", "5.1.2 nxdomain")
@pytest.mark.rfc("6147", "5.1.4 some")
def test_mapped_addresses_are_removed_from_an_answer_with_others() -> None:
    world = World(**DNS64)
    records = ["AAAA ::ffff:c000:209", "AAAA 2001:db8::1", "AAAA ::ffff:c000:20a"]
    heard = exchange(world, ask(qtype="AAAA"), {"records": records})
    assert data(heard) == ["AAAA 2001:db8::1"]
    assert data(world.talk(ask(identifier=8, qtype="AAAA"))) == ["AAAA 2001:db8::1"]  # from the cache
    assert data(exchange(World(), ask(qtype="AAAA"), {"records": records})) == records


def test_no_stand_in_for_a_mapped_address() -> None:
    world = World(**DNS46)
    assert data(exchange(world, ask(), {}, {"records": ["AAAA ::ffff:c000:209"]})) == []
    others = {"records": ["AAAA ::ffff:c000:209", "AAAA 2001:db8::7"]}
    assert data(exchange(World(**DNS46), ask(), {}, others)) == ["A 198.18.0.1"]


@pytest.mark.rfc("6147", "5.1.4 never")
def test_mapped_addresses_are_not_returned_either_if_there_are_no_others() -> None:
    mapped = {"records": ["AAAA ::ffff:c000:209"]}
    assert data(exchange(World(**DNS64), ask(qtype="AAAA"), mapped, {})) == []


@pytest.mark.rfc("6147", "5.3.2")
@pytest.mark.rfc("6147", "5.4 sections")
def test_other_sections_are_those_of_the_last_answer() -> None:
    more = ("ns.test A 192.0.2.53", "ns.test AAAA 2001:db8::53")
    said = {"records": ["A 192.0.2.1"], "soa": 20, "more": more}
    heard = exchange(World(**DNS64), ask(qtype="AAAA"), {"soa": 40}, said)
    assert [(record.rtype, record.ttl) for record in heard.auth] == [(QTYPE.SOA, 20)]
    assert [str(record.rdata) for record in heard.ar] == ["192.0.2.53", "2001:db8::53"]


@pytest.mark.rfc("6147", "5.4 size")
def test_other_sections_are_left_out_if_there_is_no_room() -> None:
    addresses = [f"A 192.0.2.{number}" for number in range(1, 17)]
    said = {"records": addresses, "more": ("ns.test A 192.0.2.53",), "soa": 20}
    heard = exchange(World(**DNS64), ask(qtype="AAAA"), {}, said)
    assert (len(heard.rr), heard.header.tc, heard.ar, heard.auth) == (16, 0, [], [])


@pytest.mark.rfc("6147", "5.4 size")
def test_an_answer_that_does_not_fit_is_truncated() -> None:
    addresses = [f"A 192.0.2.{number}" for number in range(1, 25)]
    heard = exchange(World(**DNS64), ask(qtype="AAAA"), {}, {"records": addresses})
    assert (heard.rr, heard.header.tc) == ([], 1)


@pytest.mark.rfc("6147", "5.3.1 others")
def test_reverse_names_outside_the_prefix_are_forwarded() -> None:
    world = World(**DNS64)
    name = IPv6Address("2001:db8::1").reverse_pointer
    assert data(exchange(world, ask(name, qtype="PTR"), {"records": ["PTR host.test"]})) == ["PTR host.test."]


def test_nxdomain_causes_no_second_query() -> None:
    world = World(**DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"rcode": RCODE.NXDOMAIN})
    assert heard.header.rcode == RCODE.NXDOMAIN


@pytest.mark.rfc("6147", "5.4 empty")
def test_a_name_without_any_address_has_the_first_answer() -> None:
    world = World(**DNS64)
    heard = exchange(world, ask(qtype="AAAA"), {"soa": 33}, {})
    assert (heard.header.rcode, data(heard), heard.auth[0].ttl) == (RCODE.NOERROR, [], 33)


@pytest.mark.rfc("6147", "5.1.5 ask")
@pytest.mark.rfc("6147", "5.1.5 chain")
@pytest.mark.rfc("6147", "5.1.7 name")
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


@pytest.mark.rfc("6147", "5.5 cd")
def test_a_guest_that_validates_gets_the_truth() -> None:
    world = World(**DNS64)
    query = ask(qtype="AAAA")
    query.header.cd = 1
    query.add_ar(EDNS0(flags="do", udp_len=1232))
    assert data(exchange(world, query, {})) == []


@pytest.mark.rfc("6147", "5.3.3")
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


@pytest.mark.rfc("6147", "5 ptr")
@pytest.mark.rfc("6147", "5.3.1 one")
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
