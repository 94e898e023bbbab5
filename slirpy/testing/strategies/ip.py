"""Packets of IPv4, with options and fragments, and of IPv6, with extension headers."""

from __future__ import annotations

from hypothesis import strategies as st

from slirpy.testing.strategies.building import Addresses, Flaw, Made, ip_frame, repair, set_length
from slirpy.wire import ethernet, icmp, icmpv6, ipv4, ipv6
from slirpy.wire.extension import HEADERS_MAX
from slirpy.wire.ip import V4, Family

__all__ = ["IPV4_FLAWS", "IPV6_FLAWS", "chains", "echo", "ipv4_frames", "ipv6_frames"]

_START = ethernet.HEADER_LENGTH
_OPTIONS4 = (b"\1" * 4, b"\x94\4\0\0", b"\1\1\1\0", b"\x07\x07\x04\0\0\0\0\0", b"\x44\x08\5\0\0\0\0\0")
"""No operation; Router Alert; end of options; record route; timestamps: whole words."""


def echo(ends: Addresses, family: Family = V4) -> st.SearchStrategy[Made]:
    """Make echo requests with any identifier and data."""
    codec = icmp.ECHO_REQUEST if family is V4 else icmpv6.ECHO_REQUEST
    source, destination = ends.of(family)

    def frame(identifier: int, data: bytes) -> Made:
        message = bytes((codec, 0, 0, 0)) + identifier.to_bytes(2, "big") + b"\0\1" + data
        return ip_frame(ends, family.icmp, message, source=source, destination=destination)

    return st.builds(frame, st.integers(0, 0xFFFF), st.binary(max_size=100))


_options4 = st.lists(st.sampled_from(_OPTIONS4), max_size=4).map(lambda words: b"".join(words)[:40])


def ipv4_frames(ends: Addresses) -> st.SearchStrategy[Made]:
    """Make packets with any TTL, type of service, identification and options; some are fragments."""
    return _ipv4(echo(ends))


@st.composite
def _ipv4(draw: st.DrawFn, packets: st.SearchStrategy[Made]) -> Made:
    frame = bytearray(draw(packets).frame)
    options = draw(_options4)
    at = _START + ipv4.HEADER_LENGTH
    frame[at:at] = options
    frame[_START] += len(options) // 4
    frame[_START + 1] = draw(st.sampled_from((0, 0x10, 0xB8, 255)))
    frame[_START + 4 : _START + 6] = draw(st.integers(0, 0xFFFF)).to_bytes(2, "big")
    frame[_START + 8] = draw(st.sampled_from((64, 255, 2)))
    fragment = draw(st.sampled_from((0, ipv4.DF, ipv4.MF, 1 | ipv4.MF, 100)))
    if fragment & ipv4.MF:
        body = len(frame) - at - len(options)
        del frame[len(frame) - body % 8 :]
    frame[_START + 6 : _START + 8] = fragment.to_bytes(2, "big")
    set_length(frame)
    repair(frame)
    return Made(bytes(frame), _START)


def _version(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    number = draw(st.integers(0, 15).filter(lambda version: version != frame[at] >> 4))
    frame[at] = number << 4 | frame[at] & 15


def _short_header(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at] = 0x40 | draw(st.integers(0, 4))


def _total_within_header(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 2 : at + 4] = draw(st.integers(0, (frame[at] & 15) * 4 - 1)).to_bytes(2, "big")


def _total_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 2 : at + 4] = draw(st.integers(len(frame) - at + 1, 0xFFFF)).to_bytes(2, "big")


def _header_checksum(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 10] ^= draw(st.integers(1, 254))


IPV4_FLAWS = (
    Flaw("header checksum", _header_checksum, repaired=False),
    Flaw("version", _version),
    Flaw("header length below 20", _short_header),
    Flaw("total length within the header", _total_within_header),
    Flaw("total length beyond the frame", _total_beyond),
)

# ------------------------------------------------------------------------------------------------ IPv6

Header6 = tuple[int, bytes]
"""Type of an extension header, and the header; its first byte is set when it is put into a chain."""


def _padding(size: int) -> bytes:
    return b"" if not size else b"\0" if size == 1 else bytes((1, size - 2)) + bytes(size - 2)


def options_header(kind: int, options: bytes) -> Header6:
    """Put options into a header of a whole number of eight bytes."""
    body = options + _padding(-(len(options) + 2) % 8)
    return kind, bytes((0, (len(body) + 2) // 8 - 1)) + body


def routing_header(words: int = 0, *, left: int = 0, kind: int = 0) -> Header6:
    """Make a routing header with ``words`` times eight further bytes."""
    return ipv6.ROUTING, bytes((0, words, kind, left)) + bytes(4 + 8 * words)


_HARMLESS = st.binary(max_size=12).map(lambda data: bytes((0x1E, len(data))) + data)
"""Options of an experimental type whose highest bits let receivers skip them (RFC 4727)."""

headers6: st.SearchStrategy[Header6] = st.one_of(
    st.builds(options_header, st.just(ipv6.DESTINATION_OPTIONS), st.lists(_HARMLESS, max_size=3).map(b"".join)),
    st.builds(routing_header, st.integers(0, 3), kind=st.sampled_from((0, 2, 253))),
)


_several6 = st.lists(headers6, max_size=3)


def chain(headers: list[Header6], upper: int) -> tuple[int, bytes]:
    """Link headers up to an upper-layer protocol; returns the type of the first, and their bytes."""
    following, linked = upper, b""
    for kind, header in reversed(headers):
        linked = bytes((following,)) + header[1:] + linked
        following = kind
    return following, linked


@st.composite
def chains(draw: st.DrawFn, upper: int) -> tuple[int, bytes]:
    """Make chains of extension headers that receivers follow: the type of the first, and their bytes."""
    headers = draw(_several6)
    if draw(st.booleans()):
        alert = draw(st.sampled_from((b"", b"\5\2\0\0")))
        headers.insert(0, options_header(ipv6.HOP_BY_HOP, alert))
    return chain(headers, upper)


_CHAINS = chains(ipv6.ICMPV6)


@st.composite
def ipv6_frames(draw: st.DrawFn, ends: Addresses) -> Made:
    """Make packets with any hop limit, traffic class, flow label and extension headers; some are fragments."""
    source, destination = ends.source6, ends.destination6
    data = draw(st.binary(max_size=100))
    message = icmpv6.build(source, destination, icmpv6.ECHO_REQUEST, 0, 1, data)
    split = draw(st.sampled_from(("whole", "atomic", "first", "last")))
    first, headers = draw(_CHAINS)
    if split != "whole":
        word = {"atomic": 0, "first": ipv6.MF, "last": 8}[split]
        if split == "first":
            message = message[: len(message) // 8 * 8]
        fragment = bytes((ipv6.ICMPV6, 0)) + word.to_bytes(2, "big") + draw(st.binary(min_size=4, max_size=4))
        first, headers = ipv6.FRAGMENT, fragment
    made = ip_frame(
        ends, first, message, source=source, destination=destination, chain=headers,
        hop_limit=draw(st.sampled_from((64, 255, 2))),
    )  # fmt: skip
    frame = bytearray(made.frame)
    frame[_START + 1 : _START + 4] = draw(st.sampled_from((0, 1, 0xFFFFF))).to_bytes(3, "big")
    return Made(bytes(frame), _START)


def _cut6(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    del frame[at + draw(st.integers(0, ipv6.HEADER_LENGTH - 1)) :]


def _length_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    frame[at + 4 : at + 6] = draw(st.integers(len(frame) - at - 39, 0xFFFF)).to_bytes(2, "big")


def _with_chain(frame: bytearray, at: int, headers: list[Header6], last: int = ipv6.NO_NEXT_HEADER) -> None:
    """Replace what follows the IPv6 header by a chain and eight bytes."""
    first, linked = chain(headers, last)
    frame[at + ipv6.NEXT_HEADER_AT] = first
    frame[at + ipv6.HEADER_LENGTH :] = linked + bytes(8)
    set_length(frame)


def _nothing(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _with_chain(frame, at, draw(_several6))


def _unknown_option(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    kind = draw(st.sampled_from((0x40, 0x80, 0xC0))) | 0x1E
    header = draw(st.sampled_from((ipv6.DESTINATION_OPTIONS, ipv6.HOP_BY_HOP)))
    _with_chain(frame, at, [options_header(header, bytes((kind, 0)))], 17)


def _option_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _with_chain(
        frame,
        at,
        [(ipv6.DESTINATION_OPTIONS, b"\0\0\x1e" + bytes((draw(st.integers(5, 255)),)) + bytes(4))],
        17,
    )


def _segments_left(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _with_chain(frame, at, [routing_header(2, left=draw(st.integers(1, 255)))], 17)


def _hop_by_hop_later(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _with_chain(frame, at, [routing_header(), options_header(ipv6.HOP_BY_HOP, b"")], 17)


def _too_many(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    _with_chain(frame, at, [options_header(ipv6.DESTINATION_OPTIONS, b"")] * (HEADERS_MAX + 1), 17)


def _header_beyond(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    header = bytes((0, draw(st.integers(8, 255)))) + bytes(6)
    _with_chain(frame, at, [(draw(st.sampled_from((ipv6.ROUTING, ipv6.DESTINATION_OPTIONS))), header)], 17)


def _uneven_fragment(draw: st.DrawFn, frame: bytearray, at: int) -> None:
    word = draw(st.integers(0, 100)) * 8 | ipv6.MF
    _with_chain(frame, at, [(ipv6.FRAGMENT, b"\0\0" + word.to_bytes(2, "big") + bytes(4))], 17)
    frame += bytes(draw(st.integers(1, 7)))
    set_length(frame)


IPV6_FLAWS = (
    Flaw("header cut short", _cut6),
    Flaw("version", _version),
    Flaw("payload length beyond the frame", _length_beyond),
    Flaw("no next header", _nothing),
    Flaw("unknown option that must not be skipped", _unknown_option),
    Flaw("option beyond its header", _option_beyond),
    Flaw("extension header beyond the packet", _header_beyond),
    Flaw("routing header with segments left", _segments_left),
    Flaw("hop-by-hop header not at the front", _hop_by_hop_later),
    Flaw("too many extension headers", _too_many),
    Flaw("fragment of no whole number of eight bytes", _uneven_fragment),
)
