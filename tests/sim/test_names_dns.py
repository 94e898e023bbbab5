"""The DNS server under a policy with names: it resolves what rules allow, and carries nothing else outward."""

from __future__ import annotations

import struct

import pytest

from slirpy import RulePolicy
from slirpy.services.dns.filter import NameRate, entropy, registered_domain
from tests.sim.names import GOOD, SECOND, World


def outcome(world: World, name: str, kind: str = "A") -> str | None:
    lookup = world.net.guest.resolve(name, kind)
    world.net.run_until(lambda: lookup.done)
    return lookup.rcode


@pytest.mark.parametrize(("word", "rcode"), [("nxdomain", "NXDOMAIN"), ("refused", "REFUSED")])
def test_names_that_no_rule_allows(word: str, rcode: str) -> None:
    world = World("allow example.org:443", dns_refused=word)
    world.zone["example.org"] = [GOOD]
    assert outcome(world, "example.org") == "NOERROR"
    for name, kind in (
        ("secret.evil.example", "A"),
        ("secret.evil.example", "TXT"),
        ("7.113.0.203.in-addr.arpa", "PTR"),
    ):
        assert outcome(world, name, kind) == rcode
    assert world.zone.asked == ["example.org"]
    assert world.net.stack.stats.dns_names_refused == 3


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        (["allow any:443", "deny evil.example"], True),
        (["deny evil.example", "allow any:443"], False),
        (["deny evil.example:22", "allow any:443"], True),
        (["deny tcp:evil.example", "allow any:443"], True),
        (["allow internet", "allow example.org"], True),
        (["deny any", "allow evil.example"], False),
        (["deny any:22", "allow evil.example"], True),
        (["allow 203.0.113.0/24", "allow example.org"], False),
        (["allow 203.0.113.0/24"], True),
        (["deny any"], False),
        (["deny 203.0.113.0/24"], False),
        (["redirect *.example=127.0.0.1"], True),
        (["drop *.example", "allow evil.example"], False),
    ],
)
def test_only_names_that_a_rule_could_allow_are_resolved(rules: list[str], asked: bool) -> None:
    assert RulePolicy(rules).may_resolve("evil.example") is asked
    world = World(*rules)
    outcome(world, "evil.example")
    assert (world.zone.asked == ["evil.example"]) is asked


def test_names_of_the_network_itself_are_always_answered() -> None:
    world = World("allow example.org:443", dns_records=["own.test=10.9.9.9"])
    assert world.resolve("own.test") == ["10.9.9.9"]
    assert world.resolve("gateway") == ["10.0.2.2"]


def test_no_dns() -> None:
    world = World("allow any", no_dns=True)
    assert outcome(world, "example.org") is None
    assert world.zone.asked == []


def test_new_names_below_one_domain_are_limited() -> None:
    world = World("allow *.example.org:443", dns_name_rate=10)
    for number in range(15):
        outcome(world, f"n{number}.example.org")
        outcome(world, "n1.example.org")
    assert len({name for name in world.zone.asked if name != "n1.example.org"}) == 9
    assert world.net.stack.stats.drop_dns_name_rate == 5
    world.net.run(60 * SECOND)
    assert outcome(world, "n14.example.org") == "NOERROR"


def test_a_rate_for_each_guest_and_domain() -> None:
    rate = NameRate(2)
    assert [rate.take(None, b"a", f"{n}.x.test", 0) for n in range(3)] == [True, True, False]
    assert rate.take(None, b"a", "1.x.test", 0), "it is not new"
    assert rate.take(None, b"b", "9.x.test", 0)
    assert rate.take(None, b"a", "9.y.test", 0)
    assert rate.take(None, b"a", "9.x.test", 30 * SECOND)
    assert NameRate(0).take(None, b"a", "a", 0)


def test_registered_domains_and_entropy() -> None:
    assert registered_domain("a.b.example.org") == "example.org"
    assert registered_domain("a.example.co.uk") == "example.co.uk"
    assert registered_domain("www.example.de") == "example.de"
    assert registered_domain("localhost") == "localhost"
    assert entropy("aaaa") == 0
    assert entropy("abcd") == 2
    assert entropy("") == 0


@pytest.mark.parametrize(("rule", "kept"), [("allow example.org:443", False), ("allow any", True)])
def test_keys_for_encrypted_hellos_are_removed(rule: str, kept: bool) -> None:
    data = b"\0\1\0" + struct.pack(">HH", 1, 3) + b"\2h2" + struct.pack(">HH", 5, 4) + b"KEYS"
    world = World(rule)

    def answer(payload: bytes) -> bytes:
        question = payload[12 : payload.index(b"\0", 12) + 5]
        head = payload[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question
        return head + b"\xc0\x0c" + struct.pack(">HHIH", 65, 1, 60, len(data)) + data

    world.zone.special = answer
    lookup = world.net.guest.resolve("example.org", "HTTPS")
    world.net.run_until(lambda: lookup.done)
    assert b"h2" in lookup.message
    assert (b"KEYS" in lookup.message) is kept
    assert world.net.stack.stats.dns_ech_removed == (not kept)
