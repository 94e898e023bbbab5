"""Addresses that stand for hosts of the other IP family."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from slirpy.config import Config
from slirpy.core.translation import STAND_INS_MAX, UNASSIGNED, Translation, translated_mtu

HOST = IPv4Address("192.0.2.7").packed


def host6(number: int) -> bytes:
    return IPv6Address(f"2001:db8::{number:x}").packed


def test_without_options_every_address_stands_for_itself() -> None:
    translation = Translation(Config())
    for address in (HOST, host6(1), IPv6Address("64:ff9b::192.0.2.7").packed):
        assert translation.host(address) is translation.seen(address) is translation.assign(address) is None


@pytest.mark.rfc("6147", "5.2 default")
@pytest.mark.rfc("6147", "5.2 same")
@pytest.mark.rfc("6146", "3.5.4 default")
@pytest.mark.rfc("6052", "2.1")
@pytest.mark.rfc("6052", "3.4 default")
def test_nat64() -> None:
    translation = Translation(Config(nat64=True))
    name = IPv6Address("64:ff9b::192.0.2.7").packed
    assert translation.host(name) == HOST
    assert translation.seen(HOST) == translation.assign(HOST) == name
    assert translation.host(host6(1)) is None
    assert translation.host(HOST) is None


@pytest.mark.rfc("6147", "5.2 prefix")
@pytest.mark.rfc("6146", "3.5.4 prefix")
@pytest.mark.rfc("6052", "3.4 own")
@pytest.mark.rfc("7915", "6")
def test_another_prefix() -> None:
    translation = Translation(Config(nat64=True, nat64_prefix="2001:db8:64::/48"))
    name = translation.seen(HOST)
    assert name == IPv6Address("2001:db8:64:c000:2:700::").packed
    assert translation.host(name) == HOST


def test_a_stand_in_is_assigned_once_and_leads_back() -> None:
    pool = IPv4Network("198.18.0.0/29")
    translation = Translation(Config(dns46=str(pool)))
    assert translation.seen(host6(1)) is None
    first = translation.assign(host6(1))
    second = translation.assign(host6(2))
    assert (first, second) == (pool[1].packed, pool[2].packed)
    assert translation.assign(host6(1)) == translation.seen(host6(1)) == first
    assert translation.host(pool[1].packed) == host6(1)
    for unassigned in (pool[0], pool[3], pool[-1]):
        assert translation.host(unassigned.packed) == UNASSIGNED
    for outside in (pool.network_address - 1, pool.broadcast_address + 1):
        assert translation.host(outside.packed) is None


def test_the_stand_in_unused_longest_is_assigned_anew() -> None:
    translation = Translation(Config(dns46="198.18.0.0/30"))
    first = translation.assign(host6(1))
    second = translation.assign(host6(2))
    assert first is not None
    assert translation.host(first) == host6(1)  # in use, so the other one goes
    assert translation.assign(host6(3)) == second
    assert translation.seen(host6(2)) is None
    assert translation.host(first) == host6(1)


def test_the_number_of_stand_ins_is_bounded() -> None:
    translation = Translation(Config(dns46="198.18.0.0/15"))
    stand_ins = [translation.assign(host6(number)) for number in range(STAND_INS_MAX + 10)]
    assert len(set(stand_ins)) == STAND_INS_MAX
    assert stand_ins[STAND_INS_MAX] == stand_ins[0]


@pytest.mark.parametrize(
    ("mtu", "host", "guest", "expected"),
    [
        (1400, 4, 4, 1400),
        (1400, 16, 16, 1400),
        (0, 4, 4, 0),
        (0, 16, 16, 0),
        (1400, 4, 16, 1420),
        (1260, 4, 16, 1280),
        (1261, 4, 16, 1281),
        (68, 4, 16, 1280),
        (0, 4, 16, 1280),
        (1280, 16, 4, 1260),
        (0, 16, 4, 0),
    ],
)
def test_the_mtu_for_a_guest_of_the_other_family(mtu: int, host: int, guest: int, expected: int) -> None:
    assert translated_mtu(mtu, bytes(host), bytes(guest)) == expected
