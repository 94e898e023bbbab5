"""DNS messages (RFC 1035, EDNS of RFC 6891), queries and answers, as dnslib writes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dnslib import EDNS0, RR, DNSHeader, DNSQuestion, DNSRecord, EDNSOption
from hypothesis import strategies as st

from slirpy.checks import switch
from slirpy.config.values import host_name, listed
from slirpy.errors import ConfigError
from slirpy.testing.strategies.building import Addresses, Kind, Made, check_kind, families, ports
from slirpy.testing.strategies.transport import udp_frame
from slirpy.wire.ip import Family

__all__ = ["dns_frames", "dns_messages"]

_ZONE = """
example.test. 60 IN A 192.0.2.1
example.test. 60 IN AAAA 2001:db8::1
example.test. 60 IN MX 10 mail.example.test.
example.test. 60 IN TXT "one" "two"
example.test. 60 IN NS ns.example.test.
www.example.test. 60 IN CNAME example.test.
_x._tcp.example.test. 60 IN SRV 0 5 80 www.example.test.
example.test. 60 IN SOA ns.example.test. root.example.test. 1 2 3 4 5
1.2.0.192.in-addr.arpa. 60 IN PTR example.test.
example.test. 60 IN CAA 0 issue "ca.test"
example.test. 60 IN HTTPS 1 . alpn=h2
example.test. 60 IN NAPTR 100 10 "u" "sip" "!^.*$!sip:x@example.test!" .
"""
_RECORDS: list[Any] = list(RR.fromZone(_ZONE))
_SOME = st.lists(st.sampled_from(_RECORDS), max_size=4)
_EDNS = st.lists(st.sampled_from((3, 8, 10, 12)), max_size=2)
_NAMES = ("example.test", "WWW.example.test", "15.2.0.10.in-addr.arpa", ".")
_TYPES = (1, 28, 16, 12, 6, 255, 252)
_CODES = (0, 0, 0, 2, 3, 5)
_QUERY_FLAWS = (
    "cut short", "no question", "two questions", "label too long", "pointer in the question", "opcode",
    "two OPT records", "EDNS version", "EDNS option beyond its record",
)  # fmt: skip
_ANSWER_FLAWS = ("cut short", "record missing", "pointer to itself", "data beyond the end")
_HEADER = 12
_PLAIN = b"\0\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
"""An A record, without compression."""


def dns_messages(
    kind: Kind = "valid",
    *,
    answer: bool = False,
    names: Sequence[str] = _NAMES,
    identifier: int | None = None,
) -> st.SearchStrategy[bytes]:
    """Make DNS messages: payloads of UDP, or of TCP after their length.

    The simplest example is a query for the A record of the first name.

    Args:
        kind: ``"near"``: a message that is cut short, or whose counts, names or records contradict each other.
        answer: whether they are answers; else queries.
        names: names that are asked for.
        identifier: 0 to 65535; None: any.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    check_kind(kind)
    switch("answer", answer)
    for name in listed("names", names):
        if name != ".":
            host_name("names", name, dot=True)
    if not names:
        raise ConfigError("names is empty; give at least one")
    if identifier is not None and not (type(identifier) is int and 0 <= identifier <= 0xFFFF):
        raise ConfigError(f"identifier {identifier!r} is not a number from 0 to 65535")
    numbers = st.integers(0, 0xFFFF) if identifier is None else st.just(identifier)
    if kind == "garbage":
        return st.one_of(_headed(numbers), st.binary(max_size=600))
    asked = tuple(names)
    return _near(asked, numbers, answer=answer) if kind == "near" else _valid(asked, numbers, answer=answer)


@st.composite
def _headed(draw: st.DrawFn, numbers: st.SearchStrategy[int]) -> bytes:
    """Any bytes after a header with plausible counts."""
    flags, questions = draw(st.binary(min_size=2, max_size=2)), draw(st.sampled_from((1, 0, 2, 65535)))
    head = draw(numbers).to_bytes(2, "big") + flags + questions.to_bytes(2, "big") + bytes(6)
    return head + draw(st.binary(max_size=40))


@st.composite
def _valid(draw: st.DrawFn, names: tuple[str, ...], numbers: st.SearchStrategy[int], *, answer: bool) -> bytes:
    packed: bytes = draw(_records(names, numbers, answer=answer)).pack()
    return packed


@st.composite
def _records(draw: st.DrawFn, names: tuple[str, ...], numbers: st.SearchStrategy[int], *, answer: bool) -> Any:
    question = DNSQuestion(draw(st.sampled_from(names)), draw(st.sampled_from(_TYPES)))
    code = draw(st.sampled_from(_CODES)) if answer else 0
    record = DNSRecord(DNSHeader(id=draw(numbers), qr=int(answer), rd=1, rcode=code), q=question)
    if answer:
        record.add_answer(*draw(_SOME))
        record.add_auth(*draw(_SOME))
    if draw(st.booleans()):
        codes = draw(_EDNS)
        options = [EDNSOption(code, b"x" * code) for code in codes]
        flags = draw(st.sampled_from(("", "do")))
        record.add_ar(EDNS0(udp_len=draw(st.integers(0, 65535)), flags=flags, opts=options))
    return record


@st.composite
def _near(draw: st.DrawFn, names: tuple[str, ...], numbers: st.SearchStrategy[int], *, answer: bool) -> bytes:
    flaw = draw(st.sampled_from(_ANSWER_FLAWS if answer else _QUERY_FLAWS))
    record = draw(_records(names, numbers, answer=answer))
    message = bytearray(record.pack())
    end = _HEADER + sum(1 + len(label) for label in record.q.qname.label) + 5
    if flaw == "cut short":
        return bytes(message[: draw(st.integers(0, _HEADER - 1 if answer else end - 1))])
    if flaw == "no question":
        message[4:6] = b"\0\0"
    elif flaw == "two questions":
        message[4:6] = b"\0\2"
        message[end:end] = message[_HEADER:end]
    elif flaw == "label too long":
        message[_HEADER:end] = b"\x40" + b"a" * 64 + b"\0\0\1\0\1"
    elif flaw == "pointer in the question":
        message[_HEADER : end - 4] = b"\xc0\x0c"
    elif flaw == "opcode":
        message[2] |= draw(st.sampled_from((1, 2, 4, 5, 15))) << 3
    elif flaw in ("two OPT records", "EDNS version", "EDNS option beyond its record"):
        version = int(flaw == "EDNS version")
        data = b"\0\x0a\0\x09x" if flaw.startswith("EDNS option") else b""
        opt = b"\0\0\x29\4\xd0\0" + bytes((version, 0, 0)) + len(data).to_bytes(2, "big") + data
        count = 1 + (flaw == "two OPT records")
        message[10:12] = count.to_bytes(2, "big")
        message[end:] = opt * count
    elif flaw == "record missing":
        message[6:8] = (int.from_bytes(message[6:8], "big") + 1).to_bytes(2, "big")
        message[8:12] = bytes(4)
        message[end:] = _PLAIN * len(record.rr)
    else:
        message[6:12] = b"\0\1\0\0\0\0"
        owner = (0xC000 | end).to_bytes(2, "big") if flaw == "pointer to itself" else b"\xc0\x0c"
        size = draw(st.integers(5, 0xFFFF)) if flaw == "data beyond the end" else 4
        message[end:] = owner + b"\0\1\0\1\0\0\0\x3c" + size.to_bytes(2, "big") + b"\xc0\0\2\1"
    return bytes(message)


def dns_frames(ends: Addresses, kind: Kind) -> st.SearchStrategy[Made]:
    """Put queries into datagrams to port 53, or answers into datagrams from there."""

    def frame(message: bytes, own: int, family: Family) -> Made:
        here, there = (53, own) if ends.from_server else (own, 53)
        return udp_frame(ends, family, here, there, message)

    return st.builds(frame, dns_messages(kind, answer=ends.from_server), ports, families)
