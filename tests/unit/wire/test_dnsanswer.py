"""Addresses in answers from outside, and answers without keys for encrypted hellos."""

from __future__ import annotations

import struct

import pytest
from dnslib import CNAME, QTYPE, RR, A, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire.dns import Query, read_query, records_of
from slirpy.wire.dnsanswer import STEPS_MAX, _Names, addresses_in, without_ech


def query(name: str = "a.test", kind: str = "A") -> Query:
    found = read_query(bytes(DNSRecord.question(name, kind).pack()))
    assert found is not None
    return found


def answer(*records: RR, name: str = "a.test", rcode: int = 0) -> bytes:
    reply = DNSRecord.question(name).reply()
    reply.header.rcode = rcode
    for record in records:
        reply.add_answer(record)
    return bytes(reply.pack())


def address(name: str, text: str, ttl: int = 60) -> RR:
    return RR(name, QTYPE.A, ttl=ttl, rdata=A(text))


def alias(name: str, target: str, ttl: int = 60) -> RR:
    return RR(name, QTYPE.CNAME, ttl=ttl, rdata=CNAME(target))


ONE, TWO = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([address("a.test", "192.0.2.1")], [(ONE, 60)]),
        ([address("A.TEST", "192.0.2.1"), address("a.test", "192.0.2.2", 9)], [(ONE, 9), (TWO, 9)]),
        ([address("b.test", "192.0.2.1")], []),
        ([alias("a.test", "b.test", 5), address("b.test", "192.0.2.1")], [(ONE, 5)]),
        ([address("b.test", "192.0.2.1"), alias("a.test", "b.test")], [(ONE, 60)]),
        ([alias("a.test", "b.test"), address("c.test", "192.0.2.1")], []),
        ([alias("a.test", "a.test")], []),
        ([alias("a.test", "b.test"), alias("b.test", "a.test")], []),
        ([], []),
    ],
)
def test_addresses_of_the_name_and_of_its_aliases(records: list[RR], expected: list[tuple[bytes, int]]) -> None:
    assert addresses_in(query(), answer(*records)) == expected


def test_errors_and_other_types_have_none() -> None:
    assert addresses_in(query(), answer(address("a.test", "192.0.2.1"), rcode=3)) == []
    assert addresses_in(query(kind="AAAA"), answer(address("a.test", "192.0.2.1"))) == []
    assert addresses_in(query(kind="TXT"), answer(address("a.test", "192.0.2.1"))) == []


@given(st.binary(max_size=300), st.integers(0, 40))
def test_random_answers_raise_nothing(tail: bytes, count: int) -> None:
    asked = query()
    message = struct.pack(">6H", 1, 0x8180, 1, count, 0, 0) + asked.question + tail
    addresses_in(asked, message)
    without_ech(asked, message)
    addresses_in(asked, tail)
    without_ech(asked, tail)


def crafted(records: int) -> bytes:
    """Names that lead through many pointers, each to another place."""
    asked = query()
    message = bytearray(struct.pack(">6H", 1, 0x8180, 1, records, 0, 0) + asked.question)
    area = len(message) + 12
    message += b"\xc0\x0c" + struct.pack(">HHIH", 99, 1, 60, 8000) + ((b"\1x" * 110 + b"\0") * 37)[:8000]
    for number in range(records - 1):
        target = area + number * 2 % 7900
        message += struct.pack(">H", 0xC000 | target) + struct.pack(">HHIH", 1, 1, 60, 4) + bytes(4)
    return bytes(message)


@pytest.mark.parametrize("records", [100, 999, 5000])
def test_the_work_is_bounded(records: int) -> None:
    """Neither reader looks at more labels than its bound, whatever the message."""
    message = crafted(records)
    assert addresses_in(query(), message) == []
    assert records_of(query(), message) is None or records == 100
    names = _Names(message)
    for at in range(12, len(message)):
        names.at(at)
    assert names._steps == 0
    assert STEPS_MAX < 4096


def parameters(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack(">HH", key, len(value)) + value for key, value in pairs)


def service(data: bytes, kind: int = 65) -> tuple[Query, bytes]:
    found = read_query(bytes(DNSRecord.question("a.test").pack())[:-4] + struct.pack(">HH", kind, 1))
    assert found is not None
    head = struct.pack(">6H", 1, 0x8180, 1, 2, 0, 0) + found.question
    record = b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(data)) + data
    other = b"\xc0\x0c" + struct.pack(">HHIH", 5, 1, 60, 4) + b"\1b\xc0\x0c"
    return found, head + record + other


@pytest.mark.parametrize("kind", [64, 65])
def test_ech_is_removed(kind: int) -> None:
    keep = ((1, b"\2h2"), (4, ONE))
    asked, message = service(
        b"\0\1\0" + parameters((0, b"\0\1\0\5"), keep[0], keep[1], (5, b"secret keys"), (7, b"x")), kind
    )
    plain = without_ech(asked, message)
    assert plain is not None
    assert b"secret keys" not in plain
    assert b"\0\1\0" + parameters((0, b"\0\1"), *keep, (7, b"x")) in plain
    assert records_of(asked, plain) is not None
    assert DNSRecord.parse(plain).rr[1].rdata.label == "b.a.test."


def test_answers_without_ech_stay_as_they_are() -> None:
    asked, message = service(b"\0\1\0" + parameters((1, b"\2h2")))
    assert without_ech(asked, message) is message


def test_malformed_records_are_not_passed_on() -> None:
    asked, message = service(b"\0\1\0" + parameters((5, b"keys")) + b"x")
    assert without_ech(asked, message) is None
    assert without_ech(asked, message[:-3]) is None
    assert without_ech(asked, message + bytes(5000)) is None
