"""ICMPv6 messages, and their translation to words that fit both IP families."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv6Address

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire import icmp, icmpv6, ipv4, ipv6
from slirpy.wire.icmp import Cause

SOURCE, HOST = IPv6Address("fec0::15").packed, IPv6Address("2001:db8::1").packed


@pytest.mark.rfc("4443", "2.3")
@pytest.mark.rfc("8200", "8.1 pseudo-header")
@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 0xFFFFFFFF), st.binary(max_size=100))
def test_dpkt_computes_the_same_checksum(kind: int, code: int, rest: int, payload: bytes) -> None:
    message = icmpv6.build(SOURCE, HOST, kind, code, rest, payload)
    assert message[4:] == rest.to_bytes(4, "big") + payload
    assert icmpv6.checksum_ok(SOURCE, HOST, memoryview(message))
    pseudo = struct.pack("!16s16sII", SOURCE, HOST, len(message), 58)
    assert dpkt.in_cksum(pseudo + message) == 0
    wrong = message[:-1] + bytes((message[-1] ^ 1,))
    assert not icmpv6.checksum_ok(SOURCE, HOST, wrong)


def test_every_cause_has_a_code_and_is_found_by_it() -> None:
    for module in (icmp, icmpv6):
        for cause in Cause:
            if (module, cause) != (icmp, Cause.BEYOND_SCOPE):  # IPv4 has no scopes
                assert module.cause_of(*module.code_of(cause)) is cause
    assert icmp.code_of(Cause.BEYOND_SCOPE) == icmp.code_of(Cause.HOST_UNREACHABLE)
    assert [icmpv6.code_of(cause) for cause in Cause] == [
        (1, 0), (1, 3), (4, 1), (1, 4), (1, 1), (2, 0), (3, 0), (3, 1), (1, 2),
    ]  # fmt: skip


@pytest.mark.parametrize(("codes", "cause"), [
    ((1, 2), Cause.BEYOND_SCOPE), ((1, 5), Cause.PROHIBITED), ((1, 6), Cause.PROHIBITED), ((1, 7), None),
    ((2, 9), Cause.TOO_BIG), ((3, 2), None), ((4, 0), None), ((4, 2), None), ((100, 0), None), ((128, 0), None),
])  # fmt: skip
def test_causes_of_icmpv6(codes: tuple[int, int], cause: Cause | None) -> None:
    assert icmpv6.cause_of(*codes) is cause


@pytest.mark.parametrize(("codes", "cause"), [
    ((3, 5), Cause.HOST_UNREACHABLE), ((3, 6), Cause.NET_UNREACHABLE), ((3, 8), Cause.HOST_UNREACHABLE),
    ((3, 9), Cause.PROHIBITED), ((3, 10), Cause.PROHIBITED), ((3, 13), Cause.PROHIBITED),
    ((3, 11), Cause.NET_UNREACHABLE), ((3, 12), Cause.HOST_UNREACHABLE), ((4, 0), None), ((12, 0), None),
    ((8, 0), None),
])  # fmt: skip
def test_causes_of_icmp(codes: tuple[int, int], cause: Cause | None) -> None:
    assert icmp.cause_of(*codes) is cause


@pytest.mark.rfc("4443", "3.2 code")
@pytest.mark.parametrize(("message", "expected"), [
    ((1, 0, 0), (errno.ENETUNREACH, False, 0)),
    ((1, 1, 0), (errno.EHOSTUNREACH, True, 0)),
    ((1, 2, 0), (errno.EHOSTUNREACH, False, 0)),
    ((1, 3, 0), (errno.EHOSTUNREACH, False, 0)),
    ((1, 4, 0), (errno.ECONNREFUSED, True, 0)),
    ((1, 5, 0), (errno.EHOSTUNREACH, True, 0)),
    ((1, 6, 0), (errno.ENETUNREACH, True, 0)),
    ((1, 200, 0), (errno.EHOSTUNREACH, False, 0)),
    ((2, 0, 1400), (errno.EMSGSIZE, False, 1400)),
    ((2, 7, 0x12345), (errno.EMSGSIZE, False, 0x12345)),
    ((3, 0, 0), (errno.EHOSTUNREACH, False, 0)),
    ((3, 1, 0), (errno.EHOSTUNREACH, False, 0)),
    ((4, 0, 9), (errno.EPROTO, False, 0)),
    ((4, 1, 40), (errno.EPROTO, True, 0)),
    ((4, 2, 42), (errno.EPROTO, False, 0)),
    ((5, 0, 0), (0, False, 0)),
    ((127, 0, 0), (0, False, 0)),
])  # fmt: skip
def test_errors_in_words_of_both_families(
    message: tuple[int, int, int], expected: tuple[int, bool, int]
) -> None:
    assert icmpv6.read_error(*message) == expected


def test_errors_have_small_types() -> None:
    assert [kind for kind in range(256) if icmpv6.is_error(kind)] == list(range(128))


def quoted(protocol: int = 17, payload: bytes = bytes(range(16)), length: int = 900) -> bytes:
    return ipv6.build(SOURCE, HOST, protocol, length) + payload


@pytest.mark.rfc("4443", "2.4 d")
def test_a_quote() -> None:
    found = icmpv6.read_quote(memoryview(quoted()))
    assert found == icmp.Quote(940, 0, 17, SOURCE, HOST, bytes(range(16)))
    assert icmpv6.read_quote(quoted()[:48]) is not None
    for length in (*range(48), 0):
        assert icmpv6.read_quote(quoted()[:length]) is None
    assert icmpv6.read_quote(b"\x45" + quoted()[1:]) is None


@pytest.mark.parametrize(("word", "fragment"), [(0, 0), (1, ipv4.MF), (1449, 181 | ipv4.MF), (65528, 8191)])
def test_a_quoted_fragment(word: int, fragment: int) -> None:
    packet = quoted(44, struct.pack("!BBHI", 17, 0, word, 7) + bytes(range(8)))
    assert icmpv6.read_quote(packet) == icmp.Quote(940, fragment, 17, SOURCE, HOST, bytes(range(8)))
    assert icmpv6.read_quote(packet[:-1]) is None


@given(st.binary(max_size=100))
def test_garbage_is_no_quote_or_a_quote(data: bytes) -> None:
    icmpv6.read_quote(data)
    icmpv6.read_quote(b"\x60" + data)
