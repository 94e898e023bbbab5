"""Addresses with an IPv4 address inside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire.nat64 import LENGTHS, WELL_KNOWN, Nat64Prefix


def prefix(text: str) -> Nat64Prefix:
    network = IPv6Network(text)
    return Nat64Prefix(network.network_address.packed, network.prefixlen)


# RFC 6052 section 2.4, tables 1 and 2.
EXAMPLES = [
    ("2001:db8::/32", "2001:db8:c000:221::"),
    ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
    ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
    ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
    ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
    ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
    ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
]


@pytest.mark.parametrize(("network", "expected"), EXAMPLES)
def test_the_examples_of_the_rfc(network: str, expected: str) -> None:
    address = IPv4Address("192.0.2.33").packed
    whole = prefix(network).embed(address)
    assert IPv6Address(whole) == IPv6Address(expected)
    assert prefix(network).extract(whole) == address
    assert prefix(network).check() is None


@given(st.sampled_from(LENGTHS), st.binary(min_size=12, max_size=12), st.binary(min_size=4, max_size=4))
def test_an_address_comes_back(length: int, start: bytes, address: bytes) -> None:
    head = (start[:8] + b"\0" + start[9:])[: length // 8]
    chosen = Nat64Prefix(head.ljust(16, b"\0"), length)
    assert chosen.check() is None
    whole = chosen.embed(address)
    assert len(whole) == 16
    assert whole[8] == 0
    assert chosen.extract(whole) == address
    assert chosen.extract(bytes((whole[0] ^ 1,)) + whole[1:]) is None
    assert chosen.extract(whole[:8] + b"\1" + whole[9:]) is None


def test_what_comes_after_the_address_is_ignored() -> None:
    whole = IPv6Address("2001:db8:c000:221:0:1:2:3").packed
    assert prefix("2001:db8::/32").extract(whole) == bytes([192, 0, 2, 33])


@pytest.mark.parametrize(("chosen", "reason"), [
    (Nat64Prefix(bytes(16), 0), "must be one of 32, 40, 48, 56, 64, 96"),
    (Nat64Prefix(bytes(16), 128), "must be one of"),
    (Nat64Prefix(b"\x20" + bytes(14) + b"\1", 96), "bits after the first 96"),
    (Nat64Prefix(b"\x20" + bytes(4) + b"\1" + bytes(10), 32), "bits after the first 32"),
    (Nat64Prefix(b"\x20" + bytes(7) + b"\1" + bytes(7), 96), "bits 64 to 71"),
])  # fmt: skip
def test_what_is_no_prefix(chosen: Nat64Prefix, reason: str) -> None:
    assert reason in (chosen.check() or "")


@pytest.mark.parametrize(("text", "well"), [
    ("8.8.8.8", True), ("10.0.2.2", False), ("192.168.1.1", False), ("127.0.0.1", False), ("169.254.169.254", False),
    ("192.0.2.33", False), ("100.64.0.1", False), ("0.0.0.0", False), ("255.255.255.255", False),
])  # fmt: skip
def test_the_well_known_prefix_is_for_global_addresses(text: str, well: bool) -> None:
    """RFC 6052 section 3.1."""
    address = IPv4Address(text).packed
    assert WELL_KNOWN.may_embed(address) is well
    assert prefix("2001:db8::/96").may_embed(address)
