"""Names that the virtual network answers itself: the gateway's, guests', records, and a function's."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Any

import pytest
from dnslib import CNAME, QTYPE, RCODE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from slirpy import Slirp
from slirpy.config import Config
from slirpy.config.dnsrecord import (
    DnsQuestion,
    DnsRecord,
    DnsReply,
    name_from_wire,
    name_to_wire,
    parse_dns_record,
)
from slirpy.errors import ConfigError
from tests.support.owners import StreamNotes
from tests.unit.services.dns.world import GUEST, World, answer_to, ask, connect, data, fetch, framed, records


def with_records(*rules: str, **more: Any) -> World:
    return World(dns_records=rules, **more)


# ------------------------------------------------------------------------------------ gateway, guests


@pytest.mark.parametrize("name", ["gateway", "host", "HOST.internal", "gateway.Corp.Test"])
def test_the_gateway_has_names(name: str) -> None:
    world = World(domainname="corp.test")
    heard = world.talk(ask(name))
    assert data(heard) == ["A 10.0.2.2"]
    assert (heard.header.aa, heard.header.ra, str(heard.q.qname)) == (1, 1, name + ".")
    assert world.host.udp == []
    assert world.stats.nonzero() == {"dns_queries": 1, "dns_local": 1}
    assert data(world.talk(ask(name, qtype="AAAA"))) == ["AAAA fec0::2"]
    heard = world.talk(ask(name, qtype="TXT"))
    assert (heard.header.rcode, heard.rr) == (RCODE.NOERROR, [])


@pytest.mark.parametrize(("off", "kind", "other"), [("ipv4", "A", "AAAA"), ("ipv6", "AAAA", "A")])
def test_the_gateway_has_no_address_of_a_family_that_is_off(off: str, kind: str, other: str) -> None:
    off_alone: dict[str, Any] = {off: False}
    world = World(**off_alone)
    assert data(world.talk(ask("gateway.internal", qtype=kind))) == []
    assert len(data(world.talk(ask("gateway.internal", qtype=other)))) == 1


def test_names_lead_to_addresses_of_both_families_and_back() -> None:
    six = IPv6Address("fec0::15")
    world = World()
    world.leases[:] = [("web", GUEST), ("web", six.packed), ("db", IPv6Address("fec0::16").packed)]
    assert data(world.talk(ask("web.internal"))) == ["A 10.0.2.15"]
    assert data(world.talk(ask("web.internal", qtype="AAAA"))) == ["AAAA fec0::15"]
    assert data(world.talk(ask("db.internal"))) == []
    assert data(world.talk(ask(six.reverse_pointer, qtype="PTR"))) == ["PTR web.internal."]
    gateway = IPv6Address("fec0::2").reverse_pointer
    assert data(world.talk(ask(gateway.upper(), qtype="PTR"))) == ["PTR gateway.internal."]
    unknown = world.talk(ask(IPv6Address("fec0::99").reverse_pointer, qtype="PTR"))
    assert unknown.header.rcode == RCODE.NXDOMAIN
    assert world.host.udp == []


@pytest.mark.parametrize(
    "name",
    [
        IPv6Address("2001:db8::1").reverse_pointer,  # outside
        "1.0.0.0.ip6.arpa",  # a part of the tree, not an address
        "+" + IPv6Address("fec0::99").reverse_pointer[1:],
        IPv6Address("fec0::99").reverse_pointer.replace("c", "_"),
    ],
)
def test_other_reverse_names_are_forwarded(name: str) -> None:
    world = World()
    world.say(ask(name, qtype="PTR").pack())
    assert len(world.host.udp) == 1


def test_names_of_guests_are_those_of_this_moment() -> None:
    world = World(domainname="corp.test")
    world.say(ask("web", 1).pack())
    assert len(world.host.udp) == 1  # none of ours yet
    world.leases[:] = [("Web", GUEST), ("web", bytes((10, 0, 2, 16))), ("db.of.mine", bytes((10, 0, 2, 17)))]
    for name in ("web", "WEB.internal"):
        assert data(world.talk(ask(name))) == ["A 10.0.2.15"]  # who was first
    assert data(world.talk(ask("db.internal"))) == ["A 10.0.2.17"]
    assert data(world.talk(ask("15.2.0.10.in-addr.arpa", qtype="PTR"))) == ["PTR web.internal."]
    world.leases.clear()
    world.say(ask("web.internal").pack())
    assert len(world.host.udp) == 2


@pytest.mark.parametrize(("name", "qtype"), [
    ("git.corp.example", "A"), ("git.corp.example", "AAAA"), ("git.corp.example", "TXT"), ("x.git", "A"),
    ("git.internal.corp.example", "A"), ("git", "NS"), ("git", "DS"), ("git", "SOA"), ("git", "DNSKEY"),
])  # fmt: skip
def test_a_name_that_a_guest_chose_shadows_none_outside(name: str, qtype: str) -> None:
    """Below --domain there are the names of others; bare, there are top-level domains."""
    world = World(domainname="corp.example", static_leases=["52:54:00:00:00:01=10.0.2.50,web"])
    world.leases[:] = [("git", GUEST), ("git", IPv6Address("fec0::15").packed)]
    world.say(ask(name, qtype=qtype).pack())
    assert len(world.host.udp) == 1


def test_a_name_that_the_configuration_assigns_exists_below_the_domain() -> None:
    fifty = bytes((10, 0, 2, 50))
    world = World(domainname="corp.example", static_leases=["52:54:00:00:00:01=10.0.2.50,web"])
    world.leases[:] = [("web", fifty), ("web", IPv6Address("fec0::50").packed)]
    assert data(world.talk(ask("web.corp.example"))) == ["A 10.0.2.50"]
    assert data(world.talk(ask("web.corp.example", qtype="AAAA"))) == ["AAAA fec0::50"]
    assert data(world.talk(ask("50.2.0.10.in-addr.arpa", qtype="PTR"))) == ["PTR web.corp.example."]
    world.leases[:] = [("web", GUEST)]  # another guest with that name, while that one is away
    world.say(ask("web.corp.example").pack())
    assert len(world.host.udp) == 1


@pytest.mark.parametrize("name", ["gateway", "host", "wpad", "ISATAP", "localhost", "a b", "", ".", "x" * 64])
def test_a_guest_cannot_have_every_name(name: str) -> None:
    world = World()
    world.leases[:] = [(name, GUEST)]
    assert world.talk(ask("15.2.0.10.in-addr.arpa", qtype="PTR")).header.rcode == RCODE.NXDOMAIN


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("2.2.0.10.in-addr.arpa", ["PTR gateway.internal."]),
        ("99.2.0.10.in-addr.arpa", None),
        ("2.0.10.in-addr.arpa", "outside"),
        ("1.3.0.10.in-addr.arpa", "outside"),
        ("x.2.0.10.in-addr.arpa", "outside"),
    ],
)
def test_addresses_of_the_network_have_names_or_none(name: str, expected: list[str] | str | None) -> None:
    world = World()
    world.say(ask(name, qtype="PTR").pack())
    if expected == "outside":
        assert len(world.host.udp) == 1
        return
    heard = world.heard()
    assert heard.header.rcode == (RCODE.NXDOMAIN if expected is None else RCODE.NOERROR)
    assert data(heard) == (expected or [])


def test_localhost_is_the_guest_itself() -> None:
    world = World()
    assert data(world.talk(ask("localhost"))) == ["A 127.0.0.1"]
    assert data(world.talk(ask("a.localhost", qtype="AAAA"))) == ["AAAA ::1"]


# --------------------------------------------------------------------------------------------- records


def test_records_of_every_type_are_served() -> None:
    rules = {
        "a.test=192.0.2.7": ("a.test", "A", "192.0.2.7"),
        "a6.test=2001:db8::7": ("a6.test", "AAAA", "2001:db8::7"),
        "txt.test TXT hello = world": ("txt.test", "TXT", '"hello = world"'),
        'two.test 5 TXT "one" "two words"': ("two.test", "TXT", '"one","two words"'),
        "mail.test MX 10 mx.test": ("mail.test", "MX", "10 mx.test."),
        "_http._tcp.test SRV 0 5 80 web.test": ("_http._tcp.test", "SRV", "0 5 80 web.test."),
        "ns.test NS a.test": ("ns.test", "NS", "a.test."),
        "p.test PTR q.test": ("p.test", "PTR", "q.test."),
        'caa.test CAA 0 issue "ca.test"': ("caa.test", "CAA", '0 issue "ca.test"'),
        "h.test HTTPS 1 . alpn=h2": ("h.test", "HTTPS", "1 . alpn=h2"),
        "bücher.test A 192.0.2.8": ("xn--bcher-kva.test", "A", "192.0.2.8"),
    }
    world = with_records(*rules)
    for name, kind, text in rules.values():
        heard = world.talk(ask(name, qtype=kind))
        assert [f"{QTYPE[item.rtype]} {item.rdata}" for item in heard.rr] == [f"{kind} {text}"]
        assert heard.rr[0].ttl == (5 if name == "two.test" else 60)
    assert data(world.talk(ask("7.2.0.192.in-addr.arpa", qtype="PTR"))) == ["PTR a.test."]
    reverse = "7." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"
    assert data(world.talk(ask(reverse, qtype="PTR"))) == ["PTR a6.test."]
    assert world.host.udp == []


def test_a_name_with_records_has_nothing_of_other_types() -> None:
    world = with_records("a.test=192.0.2.7")
    heard = world.talk(ask("a.test", qtype="AAAA"))
    assert (heard.header.rcode, heard.rr) == (RCODE.NOERROR, [])
    world.say(ask("b.a.test").pack())
    assert len(world.host.udp) == 1


def test_wildcards_are_for_names_without_records_of_their_own() -> None:
    world = with_records("*.dev.test=192.0.2.1", "*.x.dev.test=192.0.2.2", "own.dev.test=192.0.2.3")
    world.leases[:] = [("pc", GUEST)]
    expected = {
        "a.dev.test": 1, "a.b.dev.test": 1, "x.dev.test": 1, "a.x.dev.test": 2, "own.dev.test": 3,
    }  # fmt: skip
    for name, last in expected.items():
        heard = world.talk(ask(name))
        assert data(heard) == [f"A 192.0.2.{last}"]
        assert str(heard.rr[0].rname) == name + "."
    world.say(ask("dev.test").pack())
    assert len(world.host.udp) == 1


def test_a_wildcard_for_everything_leaves_our_own_names() -> None:
    world = with_records("*.test=192.0.2.1", domainname="test")
    world.leases[:] = [("pc", GUEST)]
    assert data(world.talk(ask("gateway.test"))) == ["A 10.0.2.2"]
    assert data(world.talk(ask("pc.test"))) == ["A 192.0.2.1"], "which is not that of a guest"
    assert data(world.talk(ask("pc"))) == ["A 10.0.2.15"]


def test_an_alias_is_followed_inside() -> None:
    world = with_records("a.test=b.test", "b.test=c.test", "c.test=192.0.2.3", "c.test=2001:db8::3")
    assert data(world.talk(ask("a.test"))) == ["CNAME b.test.", "CNAME c.test.", "A 192.0.2.3"]
    assert data(world.talk(ask("a.test", qtype="CNAME"))) == ["CNAME b.test."]
    assert data(world.talk(ask("a.test", qtype="MX"))) == ["CNAME b.test.", "CNAME c.test."]


def test_a_circle_of_aliases_is_a_failure() -> None:
    world = with_records("a.test=b.test", "b.test=a.test")
    assert world.talk(ask("a.test")).header.rcode == RCODE.SERVFAIL


def outside(query: bytes) -> bytes:
    """The resolver's answer, with an alias of its own."""
    reply = DNSRecord.parse(query).reply()
    reply.add_answer(RR(reply.q.qname, QTYPE.CNAME, rdata=CNAME("real.example.test"), ttl=9))
    reply.add_answer(RR("real.example.test", QTYPE.A, rdata=A("192.0.2.9"), ttl=9))
    return bytes(reply.pack())


@pytest.mark.parametrize("tcp", [False, True])
def test_an_alias_is_followed_outside(tcp: bool) -> None:
    world = with_records("Www.Test=example.test")
    expected = ["CNAME example.test.", "CNAME real.example.test.", "A 192.0.2.9"]
    query = ask("WWW.test").pack()
    if tcp:
        stream, _ = connect(world)
        stream.send([framed(query)])
        world.network.run()
        upstream = world.host.tcp[-1]
        upstream.give(framed(outside(bytes(upstream.sent[2:]))))
        world.network.run()
        (heard,) = records(fetch(stream)[0])
    else:
        world.say(query)
        assert str(DNSRecord.parse(world.upstream()).q.qname) == "example.test."
        heard = world.relay(outside(world.upstream()))
    assert data(heard) == expected
    assert (str(heard.q.qname), heard.header.id) == ("WWW.test.", 7)
    if not tcp:
        world.network.run(3)
        heard = world.talk(query)  # from the cache
        assert data(heard) == expected
        assert [record.ttl for record in heard.rr] == [60, 6, 6]


@pytest.mark.parametrize("tcp", [False, True])
def test_a_failed_alias_is_answered_under_the_queried_name(tcp: bool) -> None:
    world = with_records("Www.Test=example.test")
    query = ask("WWW.test").pack()
    if tcp:
        stream, _ = connect(world)
        stream.send([framed(query)])
        world.network.run(30)
        (heard,) = records(fetch(stream)[0])
    else:
        world.say(query)
        world.network.run(30)
        heard = world.heard()
    assert (str(heard.q.qname), heard.header.rcode) == ("WWW.test.", RCODE.SERVFAIL)


@pytest.mark.parametrize("how", ["nxdomain", "silent", "unreadable"])
def test_an_alias_whose_target_fails(how: str) -> None:
    world = with_records("www.test=example.test")
    world.say(ask("www.test").pack())
    if how == "silent":
        world.network.run(10)
        heard = world.heard()
        assert (heard.header.rcode, heard.rr) == (RCODE.SERVFAIL, [])
    elif how == "nxdomain":
        reply = DNSRecord.parse(world.upstream()).reply()
        reply.header.rcode = RCODE.NXDOMAIN
        heard = world.relay(bytes(reply.pack()))
        assert (heard.header.rcode, data(heard)) == (RCODE.NXDOMAIN, ["CNAME example.test."])
    else:
        reply = bytearray(answer_to(world.upstream()))
        reply[-13] = QTYPE.AAAA  # of four bytes
        heard = world.relay(bytes(reply))
        assert heard.header.rcode == RCODE.SERVFAIL


def test_a_large_local_answer_is_truncated_over_udp_and_whole_over_tcp() -> None:
    text = "x" * 3000
    world = with_records(f"long.test TXT {text}")
    heard = world.talk(ask("long.test", qtype="TXT"))
    assert (heard.header.tc, heard.rr) == (1, [])
    stream, _ = connect(world)
    stream.send([framed(ask("long.test", qtype="TXT").pack())])
    (heard,) = records(fetch(stream)[0])
    assert b"".join(heard.rr[0].rdata.data).decode() == text


@pytest.mark.parametrize(
    "rule",
    [
        "", "a.test", "a.test=", "a.test A", "a.test A 192.0.2", "a.test AAAA 192.0.2.1", "a.test BOGUS x",
        "=1.2.3.4", "a..test=192.0.2.1", "a b c d", "a.test MX mail", "*.=192.0.2.1", "a.*.test=192.0.2.1",
        f"{'a' * 64}.test=192.0.2.1",
        "a.test SRV 1 2 b.test", "a.test 9999999999 A 192.0.2.1", "a.test=b..c", "a.test TXT x\x07y",
        ".".join(["a" * 60] * 5) + "=192.0.2.1", "a.test SOA a b 1 2 3 4 5", "\ud800.test=192.0.2.1",
    ],
)  # fmt: skip
def test_malformed_records_are_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="record"):
        Config(dns_records=[rule])


def test_invalid_options_are_refused() -> None:
    for wrong in (
        {"dns_cache": -1},
        {"dns_cache": "x"},
        {"dns_mode": "fast"},
        {"dns_records": "a.test=192.0.2.1"},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Config(**wrong)
    with pytest.raises(ConfigError, match="time to live"):
        DnsRecord("a.test", "A", "192.0.2.1", -1)


@given(st.text(max_size=30))
def test_text_is_a_record_or_a_config_error(text: str) -> None:
    try:
        record = parse_dns_record(text)
    except ConfigError:
        return
    assert parse_dns_record(f"{record.name} {record.ttl} {record.type} {record.value}").data() == record.data()


@given(st.binary(min_size=1, max_size=20))
def test_names_as_text_have_no_odd_letters(label: bytes) -> None:
    text = name_from_wire(bytes((len(label),)) + label + b"\4test\0")
    assert text.isascii()
    assert text.isprintable()
    assert text.endswith(".test")
    assert name_from_wire(name_to_wire("A-b_c.Test.")) == "a-b_c.test"


# ---------------------------------------------------------------------------------------- a function


class Answerer:
    """A function of the configuration that remembers."""

    def __init__(self, said: Any) -> None:
        self.said = said
        self.asked: list[DnsQuestion] = []

    def __call__(self, question: DnsQuestion) -> Sequence[DnsRecord | str] | DnsReply | None:
        self.asked.append(question)
        if isinstance(self.said, BaseException):
            raise self.said
        result: Sequence[DnsRecord | str] | DnsReply | None = self.said
        return result


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        (["192.0.2.5", "2001:db8::5"], 0, ["A 192.0.2.5"]),
        ([DnsRecord("any.test", "A", "192.0.2.6", 5)], 0, ["A 192.0.2.6"]),
        (["any.test TXT no"], 0, []),
        ([], 0, []),
        (["any.test=gateway"], 0, ["CNAME gateway.", "A 10.0.2.2"]),
        (["any.test=b.test", "b.test=192.0.2.8"], 0, ["CNAME b.test.", "A 192.0.2.8"]),
        (DnsReply.NXDOMAIN, RCODE.NXDOMAIN, []),
        (DnsReply.REFUSED, RCODE.REFUSED, []),
    ],
)
def test_a_function_may_answer(said: Any, code: int, expected: list[str]) -> None:
    answerer = Answerer(said)
    world = World(dns_answer=answerer)
    heard = world.talk(ask("Any.test"))
    assert (heard.header.rcode, data(heard)) == (code, expected)
    (question,) = answerer.asked
    assert (question.name, question.type, str(question.guest)) == ("any.test", "A", "10.0.2.15")


def test_a_function_is_called_each_time_and_may_decline() -> None:
    answerer = Answerer(None)
    world = World(dns_answer=answerer)
    assert data(world.talk(ask("gateway"))) == ["A 10.0.2.2"]
    world.say(ask("any.test").pack())
    world.relay(answer_to(world.upstream()))
    answerer.said = ["192.0.2.5"]
    assert data(world.talk(ask("any.test"))) == ["A 192.0.2.5"]
    answerer.said = None
    message = bytearray(ask("any.test").pack())
    message[-4:-2] = (65_280).to_bytes(2, "big")
    world.say(bytes(message))
    assert answerer.asked[-1].type == "TYPE65280"
    assert len(answerer.asked) == 4


def test_a_function_gets_the_guests_address_over_tcp() -> None:
    answerer = Answerer(["192.0.2.5"])
    world = World(dns_answer=answerer)
    stream = world.service.stream(StreamNotes(), GUEST)
    stream.send([framed(ask("any.test").pack())])
    assert data(records(fetch(stream)[0])[0]) == ["A 192.0.2.5"]
    assert str(answerer.asked[0].guest) == "10.0.2.15"


@pytest.mark.parametrize("said", [ZeroDivisionError("mine"), ["bogus record"], [7], "192.0.2.1", 5])
def test_errors_of_a_function_are_raised_in_the_program(said: Any) -> None:
    world = World(dns_answer=Answerer(said))
    world.say(ask("any.test").pack())
    (sent,) = world.network.take()
    assert DNSRecord.parse(sent.payload).header.rcode == RCODE.SERVFAIL
    with pytest.raises(ZeroDivisionError if isinstance(said, Exception) else ConfigError):
        world.network.run()
    assert world.host.udp == []


def test_records_are_replaced_while_the_network_runs() -> None:
    with Slirp(Config(dns_records=["a.test=192.0.2.1", "*.w.test=192.0.2.9"])) as net:
        local = net._stack._dns.load().local
        assert [str(record.value) for record in net.dns_records] == ["192.0.2.1", "192.0.2.9"]
        net.dns_records = ["b.test=192.0.2.2"]
        assert [record.name for record in net.dns_records] == ["b.test"]
        assert local.is_of_guest(name_to_wire("a.test"))
        assert not local.is_of_guest(name_to_wire("b.test"))
        assert not local.is_of_guest(name_to_wire("gateway.internal"))  # the network's own names stay
        with pytest.raises(ConfigError, match="dns_records"):
            net.dns_records = "b.test=192.0.2.2"
        with pytest.raises(ConfigError):
            net.dns_records = ["c.test=nonsense nonsense"]
        assert [record.name for record in net.dns_records] == ["b.test"]


def test_replaced_records_answer_and_the_former_ones_go_outside() -> None:
    world = with_records("a.test=192.0.2.1")
    assert data(world.talk(ask("a.test"))) == ["A 192.0.2.1"]
    world.service.local.replace([parse_dns_record("b.test=192.0.2.2")])
    assert data(world.talk(ask("b.test"))) == ["A 192.0.2.2"]
    assert world.host.udp == []
    world.say(ask("a.test").pack())
    assert len(world.host.udp) == 1
