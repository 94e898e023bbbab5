"""Quotes of ICMP errors, read by our codec and judged by dpkt's."""

from __future__ import annotations

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire import icmp
from tests.support.harness import GUEST, WORLD, ipv4, udp_segment

PACKET = ipv4(17, udp_segment(b"payload", 5000, 9), fragment=0x4000)


@given(st.binary(max_size=80))
def test_never_raises(quoted: bytes) -> None:
    quote = icmp.read_quote(quoted)
    assert quote is None or len(quote.transport) >= 8


@given(st.integers(0, 10), st.integers(0, 600), st.integers(0, 255), st.integers(0, 0xFFFF))
def test_as_dpkt_reads_it(options: int, size: int, protocol: int, fragment: int) -> None:
    packet = ipv4(protocol, bytes(size), options=b"\1" * (options * 4), fragment=fragment)
    quote = icmp.read_quote(packet)
    if size < 8:
        assert quote is None
        return
    assert quote is not None
    header = dpkt.ip.IP()
    header.unpack(packet)
    assert (quote.total_length, quote.protocol, quote.source, quote.destination) == (
        header.len,
        header.p,
        GUEST,
        WORLD,
    )
    assert (quote.fragment, quote.transport) == (fragment, bytes(size))


@pytest.mark.parametrize("length", [0, 1, 19, 20, 27])
def test_less_than_rfc_792_asks_for(length: int) -> None:
    assert icmp.read_quote(PACKET[:length]) is None


def test_eight_bytes_are_enough() -> None:
    quote = icmp.read_quote(memoryview(PACKET)[:28])
    assert quote is not None
    assert (quote.total_length, quote.transport) == (len(PACKET), PACKET[20:28])


@pytest.mark.parametrize("first", [0x65, 0x44, 0x4F, 0x00])
def test_a_header_that_cannot_be(first: int) -> None:
    assert icmp.read_quote(bytes((first,)) + PACKET[1:]) is None
