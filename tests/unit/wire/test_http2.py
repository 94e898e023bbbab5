"""The reader of HTTP/2 requests, and HPACK beside the library of that name."""

from __future__ import annotations

from contextlib import suppress

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire.hpack import MAX_BLOCK, MAX_FIELDS, Decoder, huffman_decode
from slirpy.wire.http2 import PREFACE, FrameReader
from slirpy.wire.unreadable import UnreadableError
from tests.support.effort import cheap

encode_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([b":authority", b":method", b"cookie", b"x-custom", b"accept"])
        | st.binary(min_size=1, max_size=20),
        st.sampled_from([b"a.example", b"GET", b"gzip, deflate"]) | st.binary(max_size=60),
        st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"\0\3\0\0\0\x64")
HELLO = PREFACE + SETTINGS


def block(*fields: tuple[str, str]) -> bytes:
    return hpack.Encoder().encode(list(fields))


def get(host: str) -> bytes:
    return block((":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", host))


def hosts(data: bytes, size: int | None = None) -> tuple[list[str], bytes]:
    reader, found, passed = FrameReader(), [], b""
    for at in range(0, len(data), size or len(data)):
        names, part = reader.feed(data[at : at + (size or len(data))])
        found += names
        passed += part
    assert len(passed) + reader.held == len(data)
    return found, passed


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableError):
        hosts(data, 1)
    with pytest.raises(UnreadableError) as caught:
        hosts(data)
    return str(caught.value)


@given(st.binary(max_size=200))
def test_huffman_beside_hpack(text: bytes) -> None:
    coded = encode_huffman(text)
    assert huffman_decode(coded) == text


@given(st.binary(max_size=40))
def test_any_bytes_as_huffman(data: bytes) -> None:
    try:
        text = huffman_decode(data)
    except UnreadableError:
        return
    assert encode_huffman(text) == data  # the code is canonical, and padding has one form


@given(st.lists(FIELDS, max_size=6), st.lists(st.sampled_from([0, 30, 100, 4096]), max_size=6), st.booleans())
def test_blocks_beside_hpack(
    blocks: list[list[tuple[bytes, bytes, bool]]], sizes: list[int], huffman: bool
) -> None:
    encoder, ours = hpack.Encoder(), Decoder()
    for number, fields in enumerate(blocks):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        data = encoder.encode([hpack.NeverIndexedHeaderTuple(name, value) if never else (name, value)
                               for name, value, never in fields], huffman=huffman)  # fmt: skip
        assert ours.decode(data) == [(name, value) for name, value, _ in fields]


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_any_bytes_as_blocks(blocks: list[bytes]) -> None:
    """Two decoders that accept the same bytes find the same fields."""
    ours, theirs = Decoder(), hpack.Decoder()
    theirs.max_allowed_table_size = 65536
    for data in blocks:
        try:
            fields = ours.decode(data)
        except UnreadableError:
            return
        try:
            expected = theirs.decode(data, raw=True)
        except hpack.HPACKError:
            return
        assert fields == [tuple(field) for field in expected]


@pytest.mark.parametrize("size", [None, 1, 2, 9, 10, 50])
def test_every_request_is_found(size: int | None) -> None:
    encoder = hpack.Encoder()
    first, second, third = (
        encoder.encode([(":method", "GET"), (":authority", host), ("x", "y" * 50)])
        for host in ("a.example", "A.example:80", "b.example")
    )
    data = (
        HELLO + frame(1, 4, 1, first) + frame(0, 0, 1, b"body" * 9) + frame(8, 0, 0, bytes(4))
        + frame(1, 0x2C, 3, b"\3" + bytes(5) + second + bytes(3)) + frame(6, 0, 0, bytes(8))
        + frame(1, 0, 5, third[:5]) + frame(9, 0, 5, third[5:9]) + frame(9, 4, 5, third[9:])
        + frame(1, 5, 1, encoder.encode([("trailer", "x")])) + frame(3, 0, 1, bytes(4)) + frame(200, 0, 0, b"new")
    )  # fmt: skip
    assert hosts(data, size) == (["a.example", "a.example", "b.example"], data)


def test_an_unfinished_request_waits() -> None:
    start = HELLO + frame(1, 4, 1, get("a.example"))
    rest = frame(1, 0, 3, get("b.example"))
    assert hosts(start + rest) == (["a.example"], start)
    assert hosts(start + rest + frame(9, 0, 3, b"\x40")) == (["a.example"], start)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (PREFACE[:-1] + b"x", "preface"),
        (PREFACE + frame(1, 4, 1, get("a.example")), "without SETTINGS"),
        (PREFACE + frame(4, 1, 0, b""), "without SETTINGS"),
        (HELLO + frame(5, 4, 1, bytes(4)), "PUSH_PROMISE"),
        (HELLO + frame(9, 4, 1, b"\x82"), "CONTINUATION"),
        (HELLO + frame(1, 0, 1, b"\x82") + frame(0, 0, 1, b""), "cut short"),
        (HELLO + frame(1, 0, 1, b"\x82") + frame(9, 4, 3, b"\x82"), "cut short"),
        (HELLO + frame(1, 0, 1, b"\x82") + frame(9, 4, 1, b""), "CONTINUATION"),
        (HELLO + frame(1, 4, 2, get("a.example")), "even stream"),
        (HELLO + frame(1, 4, 1, get("a.example")) * 2, "used"),
        (HELLO + frame(1, 4, 1, block((":method", "GET"), (":path", "/"))), "no host"),
        (HELLO + frame(1, 4, 1, block((":authority", "a"), (":authority", "a"))), "two hosts"),
        (HELLO + frame(1, 4, 1, block(("host", "a"), ("host", "a"))), "two hosts"),
        (HELLO + frame(1, 4, 1, block((":authority", "a"), ("host", "b"))), "disagree"),
        (HELLO + frame(1, 4, 1, block((":authority", "u@a"))), "malformed host"),
        (HELLO + frame(1, 4, 1, block((":method", "CONNECT"), (":authority", "a:443"))), "CONNECT"),
        (HELLO + frame(1, 0x0C, 1, b"\x09abc"), "malformed HTTP/2"),
        (HELLO + frame(1, 0x0C, 1, b""), "malformed HTTP/2"),
        (HELLO + frame(1, 4, 1, b"\x80"), "index 0"),
        (HELLO + frame(1, 4, 1, b"\xbe"), "beyond the table"),
        (HELLO + frame(1, 4, 1, b"\x82\x20"), "late"),
        (HELLO + frame(1, 4, 1, b"\x3f\xff\xff\xff\x01"), "too large"),
        (HELLO + frame(1, 4, 1, b"\xff\xff\xff\xff\xff\x01"), "too large"),
        (HELLO + frame(1, 4, 1, b"\x40\x05abc"), "cut short"),
        (HELLO + frame(1, 4, 1, b"\x40"), "cut short"),
        (HELLO + frame(1, 4, 1, b"\x40\x81\0"), "Huffman"),
        (HELLO + frame(1, 4, 1, b"\x40\x84\xff\xff\xff\xff"), "Huffman"),
        (HELLO + frame(1, 4, 1, b"\x82" * (MAX_FIELDS + 1)), "too many"),
        (HELLO + frame(1, 4, 1, bytes(MAX_BLOCK + 1)), "too long"),
        (HELLO + frame(1, 0, 1, bytes(8000)) + frame(9, 4, 1, bytes(8000)), "too long"),
    ],
)
def test_refused(data: bytes, why: str) -> None:
    assert why in reason(data)


def test_websockets_over_http2_name_their_host() -> None:
    fields = ((":method", "CONNECT"), (":protocol", "websocket"), (":authority", "a.example"), (":path", "/"))
    assert hosts(HELLO + frame(1, 4, 1, block(*fields)))[0] == ["a.example"]


def test_no_block_takes_long() -> None:
    """Less than 2 ms each."""
    text = encode_huffman(b"a" * 13000)
    length = len(text) - 127
    huge = b"\0\1x\xff" + bytes((length & 127 | 128, length >> 7)) + text
    assert len(huge) <= MAX_BLOCK
    for data in (huge, b"\x40\0\0" * MAX_FIELDS, b"\x82" * MAX_FIELDS):
        assert cheap(lambda: Decoder().decode(data), 0.002)  # noqa: B023 - at once


@given(st.binary(max_size=300), st.integers(1, 20))
def test_any_bytes_after_the_preface(data: bytes, size: int) -> None:
    with suppress(UnreadableError):
        hosts(HELLO + data, size)
