"""Answers that are kept, and those that may not be; reading the records of answers, with dnslib as the judge."""

from __future__ import annotations

import pytest
from dnslib import EDNS0, NS, QTYPE, RCODE, RR, SOA, A, DNSRecord, EDNSOption
from hypothesis import given
from hypothesis import strategies as st

from slirpy.services.dns.cache import DnsCache, time_to_live
from slirpy.stats import Stats
from slirpy.wire.dns import Query, read_query, read_records, records_of
from tests.unit.services.dns.world import FIRST, World, answer_to, ask, connect, fetch, framed, records


def negative(query: bytes, code: int = RCODE.NXDOMAIN, ttl: int = 300, minimum: int = 60) -> bytes:
    """Negative answer with its lifetime."""
    reply = DNSRecord.parse(query).reply()
    reply.header.rcode = code
    soa = SOA("ns.test", "admin.test", (1, 2, 3, 4, minimum))
    reply.add_auth(RR("test", QTYPE.SOA, rdata=soa, ttl=ttl))
    return bytes(reply.pack())


def with_edns(record: DNSRecord, size: int = 4096, *, do: bool = False, options: tuple[int, ...] = ()) -> bytes:
    opts = [EDNSOption(code, b"12345678") for code in options]
    record.add_ar(EDNS0(udp_len=size, flags="do" if do else "", opts=opts))
    return bytes(record.pack())


def learn(world: World, query: bytes, answer: bytes | None = None) -> None:
    """Ask something, and let a resolver answer."""
    world.say(query)
    world.socket.owner.datagram(world.upstream()[:2] + (answer or answer_to(world.upstream()))[2:], FIRST, 53)
    world.network.run()
    assert len(world.network.take()) == 1


def asked(world: World) -> int:
    """Number of queries that went out."""
    return sum(len(socket.sent) for socket in world.host.udp)


# --------------------------------------------------------------------------------------- what is kept


def test_an_answer_is_given_again_with_its_time_counted_down(world: World) -> None:
    learn(world, ask("ExAmple.test", 1).pack())
    world.network.run(20.7)
    heard = world.talk(ask("exaMPLE.test", 99))
    assert (heard.header.id, str(heard.q.qname)) == (99, "exaMPLE.test.")
    assert [(str(record.rdata), record.ttl) for record in heard.rr] == [("192.0.2.1", 40)]
    world.network.run(39.2)
    assert world.talk(ask()).rr[0].ttl == 1
    world.network.run(0.2)
    world.say(ask().pack())
    assert asked(world) == 2
    assert world.stats.dns_cache_hits == 2


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (ask("other.test").pack(), False),
        (ask("example.test", qtype="AAAA").pack(), False),
        (with_edns(ask()), True),
        (with_edns(ask(), options=(10, 12)), True),
        (with_edns(ask(), options=(8,)), False),
        (with_edns(ask(), do=True), False),
        (b"\0\7\1\x10" + ask().pack()[4:], False),
        (b"\0\7\1\x20" + ask().pack()[4:], False),
        (b"\0\7\0\0" + ask().pack()[4:], False),
    ],
    ids=["name", "type", "edns", "cookie", "subnet", "do", "cd", "ad", "no rd"],
)
def test_the_fields_that_distinguish_queries(world: World, other: bytes, same: bool) -> None:
    learn(world, ask().pack())
    world.say(other)
    assert (asked(world) == 1) == same
    assert world.stats.dns_cache_hits == same


def test_the_cache_serves_udp_and_tcp(world: World) -> None:
    learn(world, ask().pack())
    stream, _ = connect(world)
    stream.send([framed(ask(identifier=9).pack())])
    (heard,) = records(fetch(stream)[0])
    assert (heard.header.id, len(heard.rr)) == (9, 1)
    assert world.host.tcp == []


def test_an_answer_has_edns_if_the_query_has(world: World) -> None:
    answer = DNSRecord.parse(answer_to(ask().pack()))
    answer.add_ar(EDNS0(udp_len=1400, flags="do"))
    learn(world, with_edns(ask(), do=True), answer.pack())
    heard = world.talk(with_edns(ask(), do=True))
    (opt,) = heard.ar
    assert (opt.rtype, opt.edns_len, opt.edns_do) == (QTYPE.OPT, 1232, 1)
    assert len(heard.rr) == 1


@pytest.mark.parametrize(
    ("code", "ttl", "minimum", "seconds"),
    [
        (RCODE.NXDOMAIN, 300, 60, 60),
        (RCODE.NXDOMAIN, 30, 60, 30),
        (RCODE.NOERROR, 300, 60, 60),
        (RCODE.NXDOMAIN, 9999999, 999999, 3600),
        (RCODE.NXDOMAIN, 300, 0, 0),
    ],
)
def test_that_there_is_nothing_is_kept_for_as_long_as_the_soa_says(
    world: World, code: int, ttl: int, minimum: int, seconds: int
) -> None:
    query = ask("no.test").pack()
    learn(world, query, negative(query, code, ttl, minimum))
    if seconds:
        world.network.run(seconds - 0.5)
        heard = world.talk(query)
        assert heard.header.rcode == code
        assert heard.auth
        world.network.run(0.6)
    world.say(query)
    assert asked(world) == 2


def referral(query: bytes) -> bytes:
    reply = DNSRecord.parse(query).reply()
    reply.add_auth(RR("test", QTYPE.NS, rdata=NS("ns.test"), ttl=300))
    return bytes(reply.pack())


def changed(flags: int, code: int = 0, ttl: int = 60) -> bytes:
    reply = DNSRecord.parse(answer_to(ask().pack()))
    reply.header.rcode = code
    reply.rr[0].ttl = ttl
    message = bytearray(reply.pack())
    message[2] |= flags
    return bytes(message)


@pytest.mark.parametrize(
    "answer",
    [
        bytes(DNSRecord.parse(ask().pack()).reply().pack()),
        referral(ask().pack()),
        changed(2),
        changed(0, RCODE.REFUSED),
        changed(0, RCODE.FORMERR),
        changed(0, 0, 0),
        changed(0, 0, 1 << 31),
        changed(0) + b"tail",
        b"\0\0\x81\x81" + bytes(8),
    ],
    ids=["nothing", "referral", "truncated", "refused", "formerr", "ttl 0", "ttl -1", "tail", "no question"],
)
def test_answers_that_are_not_cached(answer: bytes) -> None:
    world = World(("127.0.0.53",))
    learn(world, ask().pack(), answer)
    world.say(ask().pack())
    assert asked(world) == 2


def test_a_failure_is_kept_for_a_second() -> None:
    world = World(("127.0.0.53",))
    learn(world, ask().pack(), changed(0, RCODE.SERVFAIL))
    world.network.run(0.9)
    assert world.talk(ask()).header.rcode == RCODE.SERVFAIL
    world.network.run(0.2)
    world.say(ask().pack())
    assert asked(world) == 2


def test_the_cache_is_bounded_and_the_oldest_unused_goes() -> None:
    world = World(dns_cache=3)
    for name in ("a.test", "b.test", "c.test"):
        learn(world, ask(name).pack())
    world.talk(ask("a.test"))
    learn(world, ask("d.test").pack())
    assert world.stats.dns_cache_evicted == 1
    assert world.talk(ask("a.test")).rr
    world.say(ask("b.test").pack())
    assert asked(world) == 5


def test_the_cache_can_be_turned_off() -> None:
    world = World(dns_cache=0)
    learn(world, ask().pack())
    world.say(ask().pack())
    assert asked(world) == 2


def test_a_large_answer_is_not_kept(world: World) -> None:
    reply = DNSRecord.parse(ask().pack()).reply()
    for number in range(300):
        reply.add_answer(RR("example.test", QTYPE.A, rdata=A(f"192.0.2.{number % 256}"), ttl=60))
    query = with_edns(ask(), 65_000)
    learn(world, query, reply.pack())
    world.say(query)
    assert asked(world) == 2


def test_a_kept_answer_that_the_guest_has_no_room_for_is_truncated(world: World) -> None:
    reply = DNSRecord.parse(ask().pack()).reply()
    for number in range(60):
        reply.add_answer(RR("example.test", QTYPE.A, rdata=A(f"192.0.2.{number}"), ttl=60))
    learn(world, with_edns(ask(), 4096), reply.pack())
    for query in (ask().pack(), with_edns(ask(), 600)):
        heard = world.talk(query)
        assert (heard.header.tc, heard.rr, len(heard.ar)) == (1, [], len(DNSRecord.parse(query).ar))
        assert str(heard.q.qname) == "example.test."
    assert len(world.talk(with_edns(ask(), 4096)).rr) == 60
    assert world.stats.dns_truncated == 2
    assert asked(world) == 1


def test_guests_that_ask_the_same_wait_for_one_answer(world: World) -> None:
    world.say(ask("Example.test", 1).pack())
    world.say(ask("example.TEST", 2).pack(), source=bytes((10, 0, 2, 16)), port=6000)
    world.say(with_edns(ask("example.test", 3)))
    assert asked(world) == 2
    first = world.host.udp[0]
    first.owner.datagram(answer_to(first.sent[0][0]), FIRST, 53)
    world.network.run()
    heard = [(sent.destination[3], DNSRecord.parse(sent.payload)) for sent in world.network.take()]
    assert [(guest, item.header.id, str(item.q.qname)) for guest, item in heard] == [
        (15, 1, "Example.test."), (16, 2, "example.TEST."),
    ]  # fmt: skip
    assert world.stats.dns_joined == 1


# ------------------------------------------------------------------------------------------- reading


def query_of(message: bytes) -> Query:
    query = read_query(message)
    assert query is not None
    return query


HEAD = b"\0\7\x81\x80\0\1\0\1\0\0\0\0" + ask().pack()[12:]
RDATA = b"\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1"


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0" + bytes((len(HEAD),)),
        b"\xc0" + bytes((len(HEAD) + 2,)),
        b"\xc0\x00",
        b"\xff\xff",
        b"\x01a\xc0" + bytes((len(HEAD),)),
        b"\x80a\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",
        (b"\x3f" + b"a" * 63) * 3 + b"\x31" + b"b" * 49 + b"\xc0\x0c",
        b"\x3f" + b"a" * 10,
    ],
    ids=["itself", "forward", "header", "far", "loop", "odd label", "long", "long by pointer", "cut"],
)
def test_names_that_are_none_are_refused(world: World, name: bytes) -> None:
    answer = HEAD + name + RDATA
    assert read_records(answer, len(HEAD)) is None
    world.say(ask().pack())
    for address, port in ((FIRST, 53), (bytes((127, 0, 0, 54)), 5353)):
        world.socket.owner.datagram(world.upstream()[:2] + answer[2:], address, port)
        world.network.run()
    assert world.heard().header.rcode == RCODE.SERVFAIL
    assert world.stats.drop_dns_bad_answer == 2


HERE = len(HEAD) + 12
GOOD_SOA = b"\1a\0\xc0\x0c" + bytes(20)


@pytest.mark.parametrize(
    ("kind", "data", "good"),
    [
        (QTYPE.CNAME, b"\1a\xc0\x0c", True),
        (QTYPE.CNAME, b"\xc0" + bytes((HERE,)), False),
        (QTYPE.CNAME, b"\1a\0\0", False),
        (QTYPE.PTR, b"\1a\xff\xff", False),
        (QTYPE.NS, b"", False),
        (QTYPE.MX, b"\0\1\1a\0", True),
        (QTYPE.MX, b"\0", False),
        (QTYPE.SRV, bytes(6) + b"\1a\0", True),
        (QTYPE.SRV, bytes(6) + b"\3a\0", False),
        (QTYPE.SOA, GOOD_SOA, True),
        (QTYPE.SOA, GOOD_SOA + b"\0", False),
        (QTYPE.SOA, b"\1a\0\xc0" + bytes((HERE + 3,)) + bytes(20), False),
        (QTYPE.SOA, b"\1a\0", False),
        (QTYPE.TXT, b"\xc0\xff", True),
    ],
)
def test_names_inside_of_records_are_read_too(kind: int, data: bytes, good: bool) -> None:
    record = b"\xc0\x0c" + kind.to_bytes(2, "big") + b"\0\1\0\0\0\x3c" + len(data).to_bytes(2, "big") + data
    assert (read_records(HEAD + record, len(HEAD)) is not None) == good


def test_a_chain_of_pointers_is_followed_only_so_far() -> None:
    chain = b"\0" + b"".join((0xC000 + at).to_bytes(2, "big") for at in [12, *range(13, 13 + 2 * 6000, 2)])
    junk = b"\0\0\x0a\0\1\0\0\0\0" + len(chain).to_bytes(2, "big")
    message = b"\0\7\x81\x80\0\0\0\2\0\0\0\0" + chain
    end = 12 + len(chain)
    message += (0xC000 + end - 2).to_bytes(2, "big") + RDATA + b"\0" + junk + chain
    assert read_records(message, end) is None


@given(st.lists(st.sampled_from(["a.test", "b.a.test", "test", "example.test"]), max_size=6), st.integers(0, 5))
def test_messages_of_dnslib_are_read(names: list[str], cut: int) -> None:
    reply = ask().reply()
    for number, name in enumerate(names):
        reply.add_answer(RR(name, QTYPE.A, rdata=A("192.0.2.1"), ttl=number + 1))
    reply.add_auth(RR("test", QTYPE.SOA, rdata=SOA("ns.test", "x.test", (1, 2, 3, 4, 5)), ttl=99))
    reply.add_ar(EDNS0(udp_len=1232))
    message = bytes(reply.pack())
    records = read_records(message, len(HEAD))
    assert records is not None
    assert [ttl for _, ttl in records.ttls] == [*range(1, len(names) + 1), 99]
    assert all(int.from_bytes(message[at : at + 4], "big") == ttl for at, ttl in records.ttls)
    assert (records.answers, records.negative_ttl, records.end) == (len(names), 5, len(message))
    assert records.opt == (len(message) - 11, len(message))
    if cut:
        assert read_records(message[:-cut], len(HEAD)) is None


PARTS = [answer_to(ask().pack())[len(HEAD) :], negative(ask().pack())[len(HEAD) :]]


@given(
    st.sampled_from([b"", *PARTS]),
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0), st.integers(0, 255))),
)
def test_damaged_answers_raise_nothing(part: bytes, tail: bytes, damage: list[tuple[int, int]]) -> None:
    whole = bytearray(HEAD + part + tail)
    for at, value in damage[:5]:
        whole[3 + at % (len(whole) - 3)] = value
    query = query_of(ask().pack())
    answer = bytes(whole)
    if not query.answered_by(answer, 7):
        return
    records = records_of(query, answer)
    if records is not None:
        assert records.end <= len(answer)
        assert 0 <= time_to_live(answer, records) <= 86_400
        cache = DnsCache(2, Stats())
        cache.put(query, answer, records, 0)
        kept = cache.get(query, 1)
        assert kept is None or kept[:2] == query.message[:2]
