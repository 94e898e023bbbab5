"""Queries that may go outside, without a server."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from slirpy.config.dnsrecord import name_to_wire
from slirpy.services.dns import filter as module
from slirpy.services.dns.filter import NameRate, OutsideFilter, entropy, registered_domain
from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire.dns import FORMERR, NOTIMP, NXDOMAIN, REFUSED, Query, read_query
from tests.support.harness import config

NAME = name_to_wire("a.example")
MINUTE = 60 * SECOND
LINK, OTHER_LINK = object(), object()
MAC, OTHER_MAC = b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"


def query(
    qtype: int = 1, qclass: int = 1, *, opcode: int = 0, more: bytes = b"", counts: bytes = bytes(6)
) -> Query:
    head = b"\0\7" + bytes((opcode << 3 | 1, 0)) + b"\0\1" + counts
    found = read_query(head + NAME + qtype.to_bytes(2, "big") + qclass.to_bytes(2, "big") + more)
    assert found is not None
    return found


class Bench:
    """A filter; ``allowed`` are the names that the policy may allow, None: there is no policy with names."""

    def __init__(self, allowed: set[str] | None = None, *, has_names: bool = True, **options: Any) -> None:
        self.stats = Stats()
        policy: Any = None
        if allowed is not None:
            policy = SimpleNamespace(may_resolve=allowed.__contains__, has_names=has_names)
        self.filter = OutsideFilter(config(**options), self.stats, lambda: policy)

    def refusal(
        self, asked: Query, name: bytes = NAME, now: int = 0, mac: bytes = MAC
    ) -> tuple[int, str] | None:
        return self.filter.refusal(asked, name, LINK, mac, now)


@pytest.mark.parametrize(
    ("asked", "refusal", "counter"),
    [
        (query(opcode=5), (NOTIMP, "opcode"), "drop_dns_opcode"),
        (query(more=b"x"), (FORMERR, "more than a question"), "drop_dns_extra"),
        (query(counts=b"\0\0\0\0\0\1"), (FORMERR, "more than a question"), "drop_dns_extra"),
        (query(counts=b"\0\0\0\0\0\1", more=b"\0\0\x29\4\xd0\0\1\0\0\0\0"), (16, "more than a question"),
         "drop_dns_extra"),
        (query(qclass=3), (REFUSED, "class"), "drop_dns_class"),
        (query(qclass=255), (REFUSED, "class"), "drop_dns_class"),
        (query(252), (REFUSED, "type"), "drop_dns_type"),
        (query(0), (REFUSED, "type"), "drop_dns_type"),
        (query(41), (REFUSED, "type"), "drop_dns_type"),
        (query(128), (REFUSED, "type"), "drop_dns_type"),
        (query(254), (REFUSED, "type"), "drop_dns_type"),
    ],
)  # fmt: skip
def test_only_ordinary_questions_go_outside(asked: Query, refusal: tuple[int, str], counter: str) -> None:
    bench = Bench()
    assert bench.refusal(asked) == bench.refusal(asked) == refusal
    assert bench.stats.nonzero() == {counter: 2}


@pytest.mark.parametrize("qtype", [1, 28, 40, 42, 127, 255, 256, 65])
def test_ordinary_types(qtype: int) -> None:
    assert Bench().refusal(query(qtype)) is None


@pytest.mark.parametrize(("word", "rcode"), [("nxdomain", NXDOMAIN), ("refused", REFUSED)])
def test_a_policy_with_names_decides_by_the_queried_name(word: str, rcode: int) -> None:
    bench = Bench({"b.example"}, dns_refused=word)
    assert bench.refusal(query()) == bench.refusal(query()) == (rcode, "no rule allows the name")
    assert bench.refusal(query(), name_to_wire("B.example")) is None
    assert bench.stats.nonzero() == {"dns_names_refused": 2}


def test_new_names_are_limited_where_there_are_rules_by_name() -> None:
    names = [f"n{number}.example.org" for number in range(5)]
    for has_names in (True, False):
        bench = Bench(set(names), has_names=has_names, dns_name_rate=2)
        assert bench.filter.by_name is has_names
        found = [bench.refusal(query(), name_to_wire(name)) for name in names]
        refused = (REFUSED, "too many names below one domain")
        assert found == ([None, None, refused, refused, refused] if has_names else [None] * 5)
        assert bench.refusal(query(), name_to_wire(names[3]), mac=OTHER_MAC) is None
        assert bench.stats.nonzero() == ({"drop_dns_name_rate": 3} if has_names else {})
    assert not Bench().filter.by_name


# --------------------------------------------------------------------------------------- NameRate


def take(rate: NameRate, name: str, now: int = 0, link: object = LINK, mac: bytes = MAC) -> bool:
    return rate.take(link, mac, name, now)


def test_names_a_minute_for_each_guest_and_domain() -> None:
    rate = NameRate(2)
    assert [take(rate, f"n{number}.example.org") for number in range(3)] == [True, True, False]
    assert take(rate, "n0.example.org")  # it is known
    assert take(rate, "n2.other.org")
    assert take(rate, "n2.example.org", mac=OTHER_MAC)
    assert take(rate, "n3.example.org", link=OTHER_LINK)
    assert not take(rate, "n2.example.org", MINUTE // 2 - 60)
    assert take(rate, "n2.example.org", MINUTE // 2)
    assert not take(rate, "n4.example.org", MINUTE // 2)


def test_a_name_that_was_refused_is_new_the_next_time() -> None:
    rate = NameRate(1)
    assert [take(rate, name) for name in ("a.example.org", "b.example.org", "b.example.org")] == [
        True,
        False,
        False,
    ]


def test_no_limit() -> None:
    rate = NameRate(0)
    assert all(take(rate, f"n{number}.example.org") for number in range(50))


def test_the_tables_of_names_and_domains_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name, and the domain, go that were asked for longest ago."""
    monkeypatch.setattr(module, "NAMES_MAX", 2)
    monkeypatch.setattr(module, "DOMAINS_MAX", 2)
    rate = NameRate(1)
    assert take(rate, "a.one.org")
    assert take(rate, "a.two.org")
    assert take(rate, "a.one.org")
    assert not take(rate, "b.one.org")  # its domain is the latest now
    assert take(rate, "a.three.org")
    assert take(rate, "a.one.org")
    assert take(rate, "a.two.org")  # forgotten, and so is its domain
    assert not take(rate, "b.three.org")
    assert take(rate, "b.one.org")


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("example.org", "example.org"),
        ("org", "org"),
        ("a.b.example.org", "example.org"),
        ("a.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("a.example.com.au", "example.com.au"),
        ("a.mail.de", "mail.de"),
        ("a.b.co.org", "co.org"),
        ("x.a.b.gov.uk", "b.gov.uk"),
    ],
)
def test_registered_domains(name: str, domain: str) -> None:
    assert registered_domain(name) == domain


def test_entropy() -> None:
    assert entropy("") == entropy("aaaa") == 0
    assert entropy("ab") == 1
    assert entropy("abcd") == 2
    assert math.isclose(entropy("aab"), 0.9182958340544896)
