"""The reader of ClientHellos."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire.tls import MAX_HELLO, MAX_RECORD, ClientHello, HelloReader
from slirpy.wire.unreadable import UnreadableError
from tests.support.effort import cheap
from tests.support.hellos import (
    client_hello,
    extension,
    openssl_hello,
    record,
    recorded,
    records,
    server_name,
)

SNI = server_name(b"api.example.org")
ECH = 0xFE0D


def read(data: bytes) -> ClientHello | None:
    """Read everything at once."""
    return HelloReader().feed(data)


def reason(data: bytes) -> str:
    """Why the bytes are refused."""
    with pytest.raises(UnreadableError) as caught:
        read(data)
    return str(caught.value)


@pytest.mark.parametrize(("client", "data"), recorded().items())
def test_recorded_clients(client: str, data: bytes) -> None:
    hello = read(data)
    assert hello is not None
    assert hello.server_name == (None if "without" in client else "api.example.org")
    assert hello.ech == ("Chromium" in client)


@pytest.mark.parametrize(
    "name", ["api.example.org", "API.Example.ORG", "xn--bcher-kva.example", "a", "a_b.c-d.e"]
)
def test_openssl(name: str) -> None:
    assert read(openssl_hello(name, ("h2", "http/1.1"))) == (name.lower(), (b"h2", b"http/1.1"), False)
    assert read(openssl_hello(None)) == (None, (), False)


@given(st.integers(1, 600), st.lists(st.integers(1, 700), max_size=20))
def test_any_division_into_records_and_segments(size: int, cuts: list[int]) -> None:
    data = records(openssl_hello("api.example.org")[5:], size)
    reader, at = HelloReader(), 0
    found = []
    for step in [*cuts, len(data)]:
        if at < len(data):
            found.append(reader.feed(data[at : at + step]))
            at += step
    assert found[-1] is not None
    assert found[-1].server_name == "api.example.org"
    assert not any(found[:-1])


@pytest.mark.parametrize("padding", [1184, 16000, 40000, 60000])
def test_large_hellos(padding: int) -> None:
    data = client_hello(extension(51, bytes(padding)), SNI)
    for size in (MAX_RECORD, 1000):
        hello = read(records(data, size))
        assert hello is not None
        assert hello.server_name == "api.example.org"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x80\x2e\1\3\1\0\x15\0\0\0\x10", "SSL 2"),
        (b"GET / HTTP/1.1\r\n", "not a TLS"),
        (b"\x16\2\0", "version"),
        (record(b"\1\0", 21), "not a TLS"),
        (record(b"\2\0\0\0"), "not a ClientHello"),
        (b"\x16\3\1\1\0\2", "not a ClientHello"),
        (record(b""), "length"),
        (b"\x16\3\1\x40\1", "length"),
        (record(b"\1" + (MAX_HELLO + 1).to_bytes(3, "big")), "too long"),
        (record(client_hello(SNI) + b"\0"), "after the ClientHello"),
        (record(client_hello(SNI, after=b"\0")), "after the extensions"),
        (record(client_hello(SNI, SNI)), "two extensions"),
        (record(client_hello(SNI, extension(0, b""))), "two extensions"),
        (record(client_hello(server_name(b"a.example", b"b.example"))), "more than one"),
        (record(client_hello(server_name(b"a.example", kind=1))), "no host name"),
        (record(client_hello(server_name(b"192.0.2.1"))), "no host name"),
        (record(client_hello(server_name(b"a.example\0.b.example"))), "no host name"),
        (record(client_hello(server_name(b"a..example"))), "no host name"),
        (record(client_hello(server_name("b\u00fccher.example".encode()))), "no host name"),
        (record(client_hello(server_name(b""))), "empty"),
        (record(client_hello(extension(0, b""))), "cut short"),
        (record(client_hello(extension(0, b"\0\0"))), "empty"),
        (record(client_hello(extension(0, b"\0\4\0\0\5a"))), "cut short"),
        (record(client_hello(SNI, extension(ECH, b"\1"))), "inner"),
        (record(client_hello(SNI, extension(ECH, b"\0\0\1\0\1\7\0\0\0\0"))), "empty"),
        (record(client_hello(SNI, session=bytes(33))), "session"),
        (record(client_hello(SNI, *(extension(1000 + n, b"") for n in range(300)))), "too many extensions"),
        (records(client_hello(SNI, extension(21, bytes(2000))), 1), "too many records"),
    ],
)  # fmt: skip
def test_refused(data: bytes, why: str) -> None:
    assert why in reason(data)


def test_ech_is_seen() -> None:
    hello = read(record(client_hello(SNI, extension(ECH, b"\0\0\1\0\1\7\0\1e\0\1p"))))
    assert hello == ("api.example.org", (), True)


def test_trailing_dot_is_no_part_of_the_name() -> None:
    hello = read(record(client_hello(server_name(b"Example.org."))))
    assert hello is not None
    assert hello.server_name == "example.org"


@given(st.binary(max_size=400), st.integers(0, 600), st.integers(0, 255))
def test_damaged_hellos(tail: bytes, at: int, value: int) -> None:
    data = bytearray(openssl_hello("api.example.org"))
    data[at % len(data)] = value
    reader = HelloReader()
    try:
        hello = reader.feed(data) or reader.feed(tail)
    except UnreadableError:
        return
    assert hello is None or hello.server_name is None or hello.server_name == hello.server_name.lower()


def test_no_hello_takes_long() -> None:
    """Less than 2 ms for each piece."""
    worst = [
        records(client_hello(SNI, extension(21, bytes(800))), 1),
        records(client_hello(*(extension(1000 + n, b"") for n in range(250))), 1),
        record(client_hello(extension(16, b"\x3f\xf0" + b"\1a" * 8184)))[:65536],
        records(client_hello(extension(21, bytes(60000))), MAX_RECORD),
    ]

    def read(data: bytes) -> None:
        with suppress(UnreadableError):
            HelloReader().feed(data)

    for data in worst:
        assert cheap(partial(read, data), 0.002)
