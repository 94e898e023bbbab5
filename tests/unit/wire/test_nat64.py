"""Addresses with an IPv4 address inside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire.nat64 import Nat64Prefix


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


@pytest.mark.rfc("6147", "5.2 algorithm")
@pytest.mark.rfc("6146", "3.5.4 algorithm")
@pytest.mark.rfc("6052", "2.2 place")
@pytest.mark.rfc("6052", "2.2 suffix")
@pytest.mark.rfc("6052", "2.3")
@pytest.mark.parametrize(("network", "expected"), EXAMPLES)
def test_the_examples_of_the_rfc(network: str, expected: str) -> None:
    address = IPv4Address("192.0.2.33").packed
    whole = prefix(network).embed(address)
    assert IPv6Address(whole) == IPv6Address(expected)
    assert prefix(network).extract(whole) == address


@pytest.mark.rfc("6147", "5.2 reversible")
@pytest.mark.rfc("6147", "5.2 input")
@pytest.mark.rfc("6146", "3.5.4 reversible")
@pytest.mark.rfc("6146", "3.5.4 input")
@pytest.mark.rfc("6052", "2.2 zero")
@pytest.mark.rfc("6052", "2.3")
@given(
    st.sampled_from([32, 40, 48, 56, 64, 96]),
    st.binary(min_size=12, max_size=12),
    st.binary(min_size=4, max_size=4),
)
def test_an_address_comes_back(length: int, start: bytes, address: bytes) -> None:
    head = (start[:8] + b"\0" + start[9:])[: length // 8]
    chosen = Nat64Prefix(head.ljust(16, b"\0"), length)
    whole = chosen.embed(address)
    assert len(whole) == 16
    assert whole[8] == 0
    assert chosen.extract(whole) == address
    assert chosen.extract(bytes((whole[0] ^ 1,)) + whole[1:]) is None
    assert chosen.extract(whole[:8] + b"\1" + whole[9:]) is None


@pytest.mark.rfc("6052", "2.2 ignored")
def test_bytes_after_the_address_are_ignored() -> None:
    whole = IPv6Address("2001:db8:c000:221:0:1:2:3").packed
    assert prefix("2001:db8::/32").extract(whole) == bytes([192, 0, 2, 33])
