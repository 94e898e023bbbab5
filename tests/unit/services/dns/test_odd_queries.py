"""Odd questions for names of one's own: answered or refused here, and never asked outside.

Version 1 of EDNS, OPT records in strange shapes, other classes, operations and records: see RFC 6891 and RFC 1035.
"""

from __future__ import annotations

import struct

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from tests.unit.services.dns.world import World, answer_to, ask, connect, fetch, framed, records

PLAIN: bytes = ask("Web.Own", identifier=9).pack()
BADVERS = 16
TSIG = b"\3key\0" + struct.pack(">HHIH", 250, 255, 0, 3) + b"abc"
COOKIE = struct.pack(">HH8s", 10, 8, b"12345678")


def opt(
    version: int = 0, owner: bytes = b"\0", options: bytes = b"", size: int = 1232, flags: int = 0
) -> bytes:
    return owner + struct.pack(">HHBBHH", 41, size, 0, version, flags, len(options)) + options


def with_records(*additional: bytes, answers: int = 0, authority: int = 0, base: bytes = PLAIN) -> bytes:
    """A query with records behind it, of which the first ones are in the other sections."""
    counts = struct.pack(">3H", answers, authority, len(additional) - answers - authority)
    return base[:6] + counts + base[12:] + b"".join(additional)


def with_class(value: int) -> bytes:
    return PLAIN[:-2] + value.to_bytes(2, "big")


def with_flags(high: int, low: int) -> bytes:
    return PLAIN[:2] + bytes((high, low)) + PLAIN[4:]


ANSWERED = {
    "plain": PLAIN,
    "EDNS 0": with_records(opt()),
    "EDNS 0 with a cookie": with_records(opt(options=COOKIE)),
    "EDNS 0 with an unknown option": with_records(opt(options=struct.pack(">HH", 65001, 0))),
    "EDNS 0 with the client's network": with_records(opt(options=struct.pack(">HHHBB", 8, 4, 1, 0, 0))),
    "OPT owner by a pointer to the question's root": with_records(opt(owner=b"\xc0\x14")),
    "a byte behind it": PLAIN + b"\0",
    "bytes behind it": PLAIN + bytes(100),
    "a byte behind OPT": with_records(opt()) + b"x",
    "TSIG": with_records(TSIG),
    "OPT and TSIG": with_records(opt(), TSIG),
    "another record in front of OPT": with_records(b"\0" + struct.pack(">HHIH", 1, 1, 0, 4) + bytes(4), opt()),
    "a record in the authority section": with_records(
        b"\xc0\x0c" + struct.pack(">HHIH", 6, 1, 0, 2) + b"ab", authority=1
    ),
    "a record in the answer section": with_records(
        b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + bytes(4), answers=1
    ),
    "class ANY": with_class(255),
    "no recursion desired": with_flags(0, 0),
    "all flags but QR": with_flags(0x07, 0xF0),
    "a response code": with_flags(1, 5),
}
NODATA = {
    kind: ask("Web.Own", identifier=9, qtype=kind).pack()
    for kind in ("AAAA", "HTTPS", "TXT", "SOA", "NS", "SVCB", "DS", "AXFR")
}
REFUSED = {
    "EDNS 1": (with_records(opt(1)), BADVERS),
    "EDNS 255": (with_records(opt(255)), BADVERS),
    "EDNS 1 by a pointer": (with_records(opt(1, owner=b"\xc0\x14")), BADVERS),
    "EDNS 1 and a byte behind it": (with_records(opt(1)) + b"\0", BADVERS),
    "OPT twice": (with_records(opt(), opt()), RCODE.FORMERR),
    "OPT with a name": (with_records(opt(owner=b"\1x\0")), RCODE.FORMERR),
    "OPT owner by a pointer to another name": (with_records(opt(owner=b"\xc0\x0c")), RCODE.FORMERR),
    "OPT owner by a pointer to itself": (with_records(opt(owner=b"\xc0\x19")), RCODE.FORMERR),
    "OPT cut off": (with_records(opt())[:-3], RCODE.FORMERR),
    "OPT missing": (with_records(opt())[:-11], RCODE.FORMERR),
    "an option cut off": (with_records(opt(options=COOKIE[:-1])), RCODE.FORMERR),
    "an option's head cut off": (with_records(opt(options=b"\0")), RCODE.FORMERR),
    "records that are not there": (PLAIN[:6] + b"\xff\xff\xff\xff\xff\xff" + PLAIN[12:], RCODE.FORMERR),
    "class CH": (with_class(3), RCODE.REFUSED),
    "class NONE": (with_class(254), RCODE.REFUSED),
    "mDNS's unicast bit": (with_class(0x8001), RCODE.REFUSED),
    "IQUERY": (with_flags(0x08, 0), RCODE.NOTIMP),
    "STATUS": (with_flags(0x10, 0), RCODE.NOTIMP),
    "NOTIFY": (with_flags(0x20, 0), RCODE.NOTIMP),
    "UPDATE": (with_flags(0x28, 0), RCODE.NOTIMP),
}
MALFORMED = {
    "no question": PLAIN[:4] + bytes(2) + PLAIN[6:],
    "two questions": PLAIN[:5] + b"\2" + PLAIN[6:] + PLAIN[12:],
    "the name by a pointer": PLAIN[:12] + b"\xc0\x0c" + PLAIN[-4:],
    "a question cut off": PLAIN[:-1],
}


def world() -> World:
    return World(dns_records=["web.own=192.0.2.7"])


def code_of(heard: DNSRecord) -> int:
    """The response code, with its upper bits."""
    upper = [record.edns_ext_rcode if hasattr(record, "edns_ext_rcode") else record.ttl >> 24
             for record in heard.ar if record.rtype == QTYPE.OPT]  # fmt: skip
    return int(heard.header.rcode) | (upper[0] if upper else 0) << 4


@pytest.mark.parametrize("what", ANSWERED)
def test_valid_odd_queries_are_answered(what: str) -> None:
    ours = world()
    heard = ours.talk(ANSWERED[what])
    assert [str(record.rdata) for record in heard.rr] == ["192.0.2.7"]
    assert (heard.header.id, heard.header.rcode, str(heard.q.qname)) == (9, RCODE.NOERROR, "Web.Own.")
    assert bool(heard.ar) == ("OPT" in what or "EDNS" in what)
    assert ours.host.udp == []


@pytest.mark.parametrize("kind", NODATA)
def test_other_types_are_answered_by_none(kind: str) -> None:
    ours = world()
    heard = ours.talk(NODATA[kind])
    assert (heard.header.rcode, heard.rr) == (RCODE.NOERROR, [])
    assert ours.host.udp == []


def test_the_type_any_has_all_there_is() -> None:
    ours = World(dns_records=["web.own=192.0.2.7", "web.own=::7"])
    assert len(ours.talk(ask("web.own", qtype="ANY")).rr) == 2
    assert ours.host.udp == []


@pytest.mark.parametrize("what", REFUSED)
def test_unsupported_queries_are_refused(what: str) -> None:
    message, code = REFUSED[what]
    ours = world()
    heard = ours.talk(message)
    assert (heard.header.id, code_of(heard), heard.rr) == (9, code, [])
    assert not heard.header.aa
    if code == BADVERS:
        (record,) = heard.ar
        assert record.ttl >> 16 & 0xFF == 0  # the version that we speak
    assert ours.host.udp == []


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_queries_get_formerr(what: str) -> None:
    ours = world()
    assert ours.talk(MALFORMED[what]).header.rcode == RCODE.FORMERR
    assert ours.host.udp == []


def test_over_tcp_as_over_udp() -> None:
    ours = world()
    for message in (*ANSWERED.values(), *(message for message, _ in REFUSED.values())):
        stream, _ = connect(ours)
        stream.send([framed(message)])
        data, _ = fetch(stream)
        assert len(records(data)) == 1
    assert ours.host.tcp == []


PASS = ("plain", "EDNS 0", "EDNS 0 with a cookie", "EDNS 0 with an unknown option",
        "EDNS 0 with the client's network", "no recursion desired",
        "all flags but QR", "a response code")  # fmt: skip
"""Queries that are forwarded, if the name is not local: one question, and nothing more but EDNS."""


@pytest.mark.parametrize("what", [*ANSWERED, *REFUSED])
def test_only_plain_questions_go_outside(what: str) -> None:
    ours = World()  # there web.own is a name like any other
    message = ANSWERED[what] if what in ANSWERED else REFUSED[what][0]
    ours.say(message)
    if what in PASS:
        assert ours.upstream()[2:] == message[2:]
        return
    assert ours.host.udp == []
    assert len(ours.network.take()) == 1


def test_the_query_for_an_alias_target_is_written_anew() -> None:
    """Records behind the question may have pointers into it, and the other question has another length."""
    ours = World(dns_records=["web.own=outside.test"], dns_cache=0)
    for number, message in enumerate((with_records(opt(owner=b"\xc0\x14")), PLAIN + b"\0", with_records(TSIG))):
        ours.say(message)
        query = DNSRecord.parse(ours.upstream())
        assert str(query.q.qname) == "outside.test."
        assert len(query.ar) == (number == 0)
        heard = ours.relay(answer_to(ours.upstream()))
        assert [QTYPE[record.rtype] for record in heard.rr] == ["CNAME", "A"]
        assert heard.header.id == 9


def test_the_root_and_names_that_only_look_like_ours_go_outside() -> None:
    ours = World(dns_records=["web.own=192.0.2.7"])
    for name in (".", "own", "web.own.test", "xweb.own", "sub.web.own"):
        before = len(ours.host.udp)
        ours.say(ask(name, qtype="NS").pack())
        assert len(ours.host.udp) == before + 1, name
