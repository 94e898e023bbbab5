"""The walk through IPv6 extension headers: what is skipped, what is refused, and what a refusal reports."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slirpy.wire import extension, ipv6
from slirpy.wire.extension import HEADERS_MAX, OPTIONS_MAX, Reason, Refusal, walk
from slirpy.wire.ipv6 import IPv6Header

SOURCE, HOST, GROUP = (IPv6Address(text).packed for text in ("fec0::15", "2001:db8::1", "ff02::1"))
HBH, ROUTING, FRAGMENT, NOTHING, DESTINATION = 0, 43, 44, 59, 60
TCP, UDP = 6, 17
PADN = b"\1\4\0\0\0\0"

Header = tuple[int, bytes]
"""Type of an extension header, and its bytes after the first one."""


def options(data: bytes = PADN, kind: int = DESTINATION) -> Header:
    assert len(data) % 8 == 6
    return kind, bytes((len(data) // 8,)) + data


def routing(kind: int = 0, left: int = 0, size: int = 1) -> Header:
    return ROUTING, bytes((size, kind, left)) + bytes(4 + 8 * size)


def fragment(offset: int = 0, more: bool = False, ident: int = 7) -> Header:
    return FRAGMENT, struct.pack("!xHI", offset | more, ident)


def packet(*headers: Header, upper: int = UDP, payload: bytes = bytes(8), to: bytes = HOST) -> bytes:
    kinds = [kind for kind, _ in headers] + [upper]
    body = b"".join(bytes((kind,)) + rest for kind, (_, rest) in zip(kinds[1:], headers, strict=True)) + payload
    return ipv6.build(SOURCE, to, kinds[0], len(body)) + body


def walked(data: bytes, *, reassembled: bool = False) -> IPv6Header | Refusal:
    header = ipv6.parse(data)
    assert header is not None
    return walk(memoryview(data), header, reassembled=reassembled)


def accepted(data: bytes) -> IPv6Header:
    found = walked(data)
    assert isinstance(found, IPv6Header), found
    return found


def test_without_extension_headers_nothing_changes() -> None:
    data = packet()
    assert accepted(data) is not None
    assert accepted(data) == ipv6.parse(data)
    again = walked(data, reassembled=True)
    assert isinstance(again, IPv6Header)
    assert again.reassembled


HARMLESS = [PADN, b"\0" * 6, b"\5\2\0\0\1\0", b"\x1e\4abcd", b"\1\0\1\0\0\0", b"\1\x0c" + bytes(12)]
HEADERS = st.lists(
    st.one_of(
        st.sampled_from(HARMLESS).map(options),
        st.builds(routing, st.integers(0, 255), st.just(0), st.integers(0, 3)),
        st.just(fragment()),
    ),
    max_size=HEADERS_MAX,
)  # fmt: skip


@pytest.mark.rfc("8200", "4.1 any")
@pytest.mark.rfc("8200", "4.2 00")
@pytest.mark.rfc("8200", "4.2 padding")
@pytest.mark.rfc("8200", "4.4 used up")
@given(
    HEADERS,
    st.booleans(),
    st.sampled_from([TCP, UDP, 58, 50, 51, 135, 255]),
    st.binary(min_size=20, max_size=40),
)
def test_the_payload_is_found(headers: list[Header], hop_by_hop: bool, upper: int, payload: bytes) -> None:
    atomic = False
    chain = [options(kind=HBH)] if hop_by_hop and len(headers) < HEADERS_MAX else []
    for header in headers:  # one Fragment header at most
        if header[0] != FRAGMENT or not atomic:
            chain.append(header)
        atomic |= header[0] == FRAGMENT
    data = packet(*chain, upper=upper, payload=payload)
    found = accepted(data + b"padding")
    assert found.protocol == upper == data[found.named_at]
    assert data[found.header_length : found.total_length] == payload
    assert not found.is_fragment
    assert bool(found.fragment_at) == atomic
    if atomic:
        assert (found.ident, found.reassembled) == (7, False)


@given(HEADERS.filter(lambda headers: all(kind != FRAGMENT for kind, _ in headers)))
def test_dpkt_finds_the_same_payload(headers: list[Header]) -> None:
    data = packet(*headers, upper=TCP, payload=bytes(20))
    judge = dpkt.ip6.IP6(data)
    found = accepted(data)
    assert judge.p == found.protocol == TCP
    assert found.header_length == found.total_length - 20


@pytest.mark.parametrize("kind", [50, 51, 135, 139, 140, 253])
def test_other_headers_are_the_payload(kind: int) -> None:
    """ESP, AH, Mobility, HIP, Shim6, experiments: nobody here speaks them, so they are unknown protocols."""
    found = accepted(packet(options(), upper=kind))
    assert (found.protocol, found.named_at, found.header_length) == (kind, 40, 48)


@pytest.mark.rfc("8200", "4.2 01")
@pytest.mark.rfc("8200", "4.2 10")
@pytest.mark.rfc("8200", "4.2 11")
@pytest.mark.parametrize(("option", "refusal"), [
    (b"\x40\4abcd", Refusal(Reason.OPTION)),
    (b"\x7f\4abcd", Refusal(Reason.OPTION)),
    (b"\x80\4abcd", Refusal(Reason.OPTION, 2, 42, multicast=True)),
    (b"\xc0\4abcd", Refusal(Reason.OPTION, 2, 42, multicast=True)),
    (b"\0\0\xc9\2ab", Refusal(Reason.OPTION, 2, 44, multicast=True)),
    (b"\xc2\4\0\1\0\0", Refusal(Reason.JUMBO, 2, 42, multicast=True)),
    (b"\1\5\0\0\0\0", Refusal(Reason.MALFORMED)),
    (b"\1\3\0\0\0\1", Refusal(Reason.MALFORMED)),
])  # fmt: skip
@pytest.mark.parametrize("kind", [HBH, DESTINATION])
def test_options_that_must_not_be_skipped(option: bytes, refusal: Refusal, kind: int) -> None:
    """RFC 8200 section 4.2: by the two highest bits of the type."""
    assert walked(packet(options(option, kind))) == refusal


@pytest.mark.rfc("8200", "4.2 10")
@pytest.mark.rfc("8200", "4.2 11")
def test_to_a_group_the_highest_bits_are_silent() -> None:
    assert walked(packet(options(b"\xc0\4abcd"), to=GROUP)) == Refusal(Reason.OPTION)
    assert walked(packet(options(b"\x80\4abcd"), to=GROUP)) == Refusal(Reason.OPTION, 2, 42, multicast=True)


@pytest.mark.rfc("8200", "4 order")
@pytest.mark.rfc("8200", "4.2 order")
def test_headers_and_options_are_processed_in_their_order() -> None:
    unknown, silent = options(b"\xc0\4abcd"), options(b"\x40\4abcd")
    assert walked(packet(unknown, routing(left=1))) == Refusal(Reason.OPTION, 2, 42, multicast=True)
    assert walked(packet(routing(left=1), unknown)) == Refusal(Reason.ROUTING, 0, 42)
    assert walked(packet(silent, unknown)) == Refusal(Reason.OPTION)
    assert walked(packet(unknown, silent)) == Refusal(Reason.OPTION, 2, 42, multicast=True)
    assert walked(packet(options(b"\x40\0\x80\0\0\0"))) == Refusal(Reason.OPTION)
    assert walked(packet(options(b"\x80\0\x40\0\0\0"))) == Refusal(Reason.OPTION, 2, 42, multicast=True)


@pytest.mark.rfc("8200", "4.2 type")
@pytest.mark.rfc("8200", "4.2 padding")
@pytest.mark.parametrize("kind", [HBH, DESTINATION])
def test_all_eight_bits_of_a_type_count(kind: int) -> None:
    """Type 0x20 is not Pad1: it has a length, and data that is not read as options."""
    assert accepted(packet(options(b"\x20\4\xc0\xff\xff\xff", kind))).protocol == UDP
    assert walked(packet(options(b"\0\0\xc0\2\xff\xff", kind))) == Refusal(Reason.OPTION, 2, 44, multicast=True)


@pytest.mark.rfc("4443", "2.4 e.1")
@pytest.mark.rfc("4443", "2.4 e.2")
@pytest.mark.parametrize(
    ("headers", "kind", "answerable"),
    [
        *(([], kind, kind >= 128 and kind != 137) for kind in (0, 1, 4, 100, 127, 128, 136, 137, 138, 255)),
        *(
            ([header], 1, False)
            for header in (options(), options(kind=HBH), routing(left=1), fragment(0, True))
        ),
        *(([header], 128, True) for header in (options(b"\x80\4abcd"), routing(left=1), fragment(0, True))),
        ([options(), fragment(), options(), routing(9, 9, 3)], 137, False),
        ([options(), fragment(8, True)], 1, True),
        ([options()] * 64, 128, False),
    ],
)
def test_no_error_about_an_error_or_a_redirect(headers: list[Header], kind: int, answerable: bool) -> None:
    """RFC 4443 section 2.4, e.1 and e.2; the headers may be why the packet is refused."""
    data = packet(*headers, upper=58, payload=bytes((kind,)) + bytes(7))
    header = ipv6.parse(data)
    assert header is not None
    assert extension.is_answerable(memoryview(data), header) is answerable
    found = walked(data)
    if isinstance(found, IPv6Header) and not found.fragment_offset:
        assert extension.is_answerable(memoryview(data), found) is answerable


@pytest.mark.parametrize(("length", "answerable"), [(8, False), (7, True), (0, True)])
def test_no_error_about_a_message_of_unknown_type(length: int, answerable: bool) -> None:
    data = packet(options(), upper=58, payload=bytes((1,)))
    header = ipv6.parse(data)
    assert header is not None
    assert extension.is_answerable(data, header._replace(payload_length=length)) is answerable


@pytest.mark.rfc("8200", "4.4 left")
def test_routing_headers_with_segments_left() -> None:
    """RFC 8200 section 4.4; type 0 is treated as unknown (RFC 5095)."""
    for kind in (0, 1, 2, 3, 4, 255):
        assert walked(packet(routing(kind, 1))) == Refusal(Reason.ROUTING, 0, 42)
        assert walked(packet(options(), routing(kind, 200))) == Refusal(Reason.ROUTING, 0, 50)


@pytest.mark.rfc("8200", "4 zero")
def test_hop_by_hop_options_come_first_or_not_at_all() -> None:
    assert walked(packet(options(), options(kind=HBH))) == Refusal(Reason.MALFORMED, 1, 40)
    assert walked(packet(options(kind=HBH), options(kind=HBH))) == Refusal(Reason.MALFORMED, 1, 40)


@pytest.mark.rfc("8200", "4.7")
def test_no_next_header() -> None:
    assert walked(packet(upper=NOTHING)) == Refusal(Reason.NOTHING)
    assert walked(packet(options(), upper=NOTHING, payload=b"ignored")) == Refusal(Reason.NOTHING)


def test_bounds() -> None:
    assert accepted(packet(*[options()] * HEADERS_MAX)).protocol == UDP
    assert walked(packet(*[options()] * (HEADERS_MAX + 1))) == Refusal(Reason.LIMIT, 8, 40 + 8 * HEADERS_MAX)
    assert walked(packet(*[options()] * 150)) == Refusal(Reason.LIMIT, 8, 40 + 8 * HEADERS_MAX)
    assert isinstance(walked(packet(options(bytes(62)))), IPv6Header)
    assert walked(packet(options(bytes(70)))) == Refusal(Reason.LIMIT, 9, 42 + OPTIONS_MAX)
    two = packet(options(bytes(62)), options())
    assert isinstance(walked(two), IPv6Header)
    three = packet(options(bytes(62)), options(), options(), options())
    assert walked(three) == Refusal(Reason.LIMIT, 9, 40 + 64 + 16 + 2)


def test_jumbograms() -> None:
    """Payload Length 0, and the length in an option (RFC 2675)."""

    def jumbo(option: bytes) -> bytes:
        data = bytearray(packet(options(option, HBH)))
        data[4:6] = bytes(2)
        return bytes(data)

    assert walked(jumbo(b"\xc2\4\0\1\0\0")) == Refusal(Reason.JUMBO, 2, 42, multicast=True)
    assert walked(jumbo(PADN)) == Refusal(Reason.MALFORMED, 0, 4)
    assert walked(ipv6.build(SOURCE, HOST, HBH, 0)) == Refusal(Reason.MALFORMED, 0, 4)


@pytest.mark.parametrize("offset", [0, 8, 1448, 65528 - 8])
@pytest.mark.parametrize("more", [True, False])
def test_fragments(offset: int, more: bool) -> None:
    data = packet(options(kind=HBH), fragment(offset, more, 0xDEADBEEF), payload=bytes(16))
    if offset > 65500:
        assert walked(data) == Refusal(Reason.MALFORMED, 0, 50)
        return
    found = accepted(data)
    assert (found.fragment_offset, found.more_fragments, found.ident) == (offset, more, 0xDEADBEEF)
    assert found.is_fragment == (offset > 0 or more)
    assert (found.protocol, found.header_length, found.fragment_at) == (UDP, 56, 48)
    assert found.dont_fragment


def test_a_part_that_is_no_multiple_of_eight() -> None:
    assert walked(packet(fragment(0, True), payload=bytes(17))) == Refusal(Reason.MALFORMED, 0, 4)
    assert accepted(packet(fragment(8, False), payload=bytes(17))).fragment_offset == 8


@pytest.mark.rfc("8200", "4.5 too long")
def test_a_packet_that_would_be_too_long() -> None:
    """RFC 8200 section 4.5; what counts is the payload length of the packet that it would be."""
    assert accepted(packet(fragment(65528, False), payload=bytes(7))).fragment_offset == 65528
    assert walked(packet(fragment(65528, False), payload=bytes(8))) == Refusal(Reason.MALFORMED, 0, 42)
    assert walked(packet(options(), fragment(65528, False), payload=bytes(1))) == Refusal(
        Reason.MALFORMED, 0, 50
    )
    assert accepted(packet(options(), fragment(65520, False), payload=bytes(7))).fragment_offset == 65520


@pytest.mark.rfc("8200", "4.5 incomplete")
def test_a_first_fragment_without_all_headers() -> None:
    """RFC 7112: reported with code 3."""
    incomplete = Refusal(Reason.MALFORMED, 3)
    assert walked(packet(fragment(0, True), upper=TCP, payload=bytes(16))) == incomplete
    assert isinstance(walked(packet(fragment(0, True), upper=TCP, payload=bytes(24))), IPv6Header)
    assert isinstance(walked(packet(fragment(8, True), upper=TCP, payload=bytes(16))), IPv6Header)
    long = options(b"\1\x0c" + bytes(12))
    assert isinstance(walked(packet(fragment(0, True), long, upper=UDP)), IPv6Header)
    assert (
        walked(packet(fragment(0, True), upper=DESTINATION, payload=bytes((UDP, 1)) + bytes(6))) == incomplete
    )
    assert walked(packet(fragment(0, True), routing(left=1))) == Refusal(Reason.ROUTING, 0, 50)


def test_fragments_without_data_and_fragments_of_fragments() -> None:
    for offset, more in ((0, True), (8, True), (8, False)):
        assert walked(packet(fragment(offset, more), payload=b"")) == Refusal(Reason.MALFORMED)
    assert walked(packet(fragment(), fragment())) == Refusal(Reason.MALFORMED, 1, 40)
    assert walked(packet(fragment(), fragment(8))) == Refusal(Reason.MALFORMED, 1, 40)
    assert walked(packet(options(), fragment(8)), reassembled=True) == Refusal(Reason.MALFORMED, 1, 40)


@pytest.mark.rfc("8200", "4.5 length")
@given(
    st.lists(st.just(options()), max_size=3),
    st.lists(st.just(options()), max_size=3),
    st.binary(min_size=40, max_size=100),
)
def test_reassembly_puts_the_packet_together_that_was_cut(
    before: list[Header], after: list[Header], payload: bytes
) -> None:
    whole = packet(*before, *after, payload=payload)
    rest = whole[40 + 8 * len(before) :]
    kind = DESTINATION if after else UDP
    first = packet(*before, fragment(0, True), upper=kind, payload=rest[:32])
    found = accepted(first)
    assert found.is_fragment
    joined = extension.unfragmented(memoryview(first), found, rest)
    assert joined == whole
    again = walked(joined, reassembled=True)
    assert isinstance(again, IPv6Header)
    assert (again.protocol, again.reassembled) == (UDP, True)
    assert joined[again.header_length :] == payload


@given(st.binary(max_size=200), st.sampled_from([HBH, ROUTING, FRAGMENT, NOTHING, DESTINATION]), st.booleans())
@example(b"", HBH, False)
@example(b"\x3c", DESTINATION, False)
def test_garbage_is_refused_or_accepted_but_never_raises(body: bytes, first: int, reassembled: bool) -> None:
    data = ipv6.build(SOURCE, HOST, first, len(body)) + body
    found = walked(data, reassembled=reassembled)
    if isinstance(found, Refusal):
        assert found.pointer < max(len(data), 41)
    else:
        assert 40 <= found.header_length <= len(data)


@given(HEADERS, st.data())
def test_near_valid_packets(headers: list[Header], draw: st.DataObject) -> None:
    data = bytearray(packet(*headers, payload=bytes(20)))
    for _ in range(draw.draw(st.integers(1, 3))):
        data[draw.draw(st.integers(40, len(data) - 1))] = draw.draw(st.integers(0, 255))
    found = walked(bytes(data))
    if isinstance(found, IPv6Header):
        assert 40 <= found.header_length <= len(data)
        assert data[found.named_at] == found.protocol
