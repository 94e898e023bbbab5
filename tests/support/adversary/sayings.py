"""First bytes and more of clients that lie."""

from __future__ import annotations

from functools import cache
from random import Random

import hpack

from tests.support.adversary.hearing import PREFACE
from tests.support.hellos import client_hello, extension, openssl_hello, record, records, server_name
from tests.support.quic import crypto, initial

_ECH = b"\0\0\1\0\1\7\0\x20" + bytes(32) + b"\0\x40" + bytes(64)
"""An outer hello's extension, as clients send it that have no keys, too (GREASE)."""
hello = cache(openssl_hello)


def named(random: Random, name: str) -> bytes:
    """A hello for a name, which may hide another."""
    if random.random() < 0.8:
        return hello(name)
    return record(client_hello(server_name(name.encode()), extension(0xFE0D, _ECH)))


def tls(random: Random, name: str, other: str) -> bytes:
    """A ClientHello for a name, or for two."""
    names = server_name(name.encode())
    ech = extension(0xFE0D, _ECH)
    return random.choice(
        (
            hello(name),
            hello(name),
            hello(None),
            record(client_hello(names, ech)),
            records(client_hello(extension(21, bytes(random.choice((0, 700, 5000)))), names), 200),
            record(client_hello(server_name(name.encode(), other.encode()))),
            record(client_hello(names, server_name(other.encode()))),
            record(client_hello(server_name(name.upper().encode()))),
            hello(name) + hello(other),
            record(client_hello(extension(0x0A0A, b""), ech)),
        )
    )


def http1(random: Random, name: str, other: str) -> bytes:
    """Requests of HTTP/1, of which later ones may have another host."""
    one, two = name.encode(), other.encode()
    first = b"GET / HTTP/1.1\r\nHost: " + one + b"\r\n\r\n"
    second = b"GET /x HTTP/1.1\r\nHost: " + two + b"\r\n\r\n"
    return random.choice(
        (
            first,
            first + second,
            b"GET http://" + two + b"/ HTTP/1.1\r\nHost: " + one + b"\r\n\r\n",
            b"GET http://" + one + b"/ HTTP/1.1\r\nHost: " + one + b"\r\n\r\n" + second,
            b"POST / HTTP/1.1\r\nHost: " + one + b"\r\nContent-Length: 5\r\n\r\nhello" + second,
            b"POST / HTTP/1.1\r\nHost: "
            + one
            + b"\r\nContent-Length: 0\r\nContent-Length: 90\r\n\r\n"
            + second,
            b"POST / HTTP/1.1\r\nHost: "
            + one
            + b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            + second,
            b"POST / HTTP/1.1\r\nHost: "
            + one
            + b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 400\r\n\r\n"
            b"0\r\n\r\n" + second,
            b"POST / HTTP/1.1\r\nHost: " + one + b"\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + second,
            b"GET / HTTP/1.1\r\nHost: " + one + b"\r\nHost: " + two + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: " + one + b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + second,
            b"GET / HTTP/1.1\r\nHost: "
            + one
            + b"\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
            + second,
            b"GET / HTTP/1.1\r\nHost: " + one + b"@" + two + b"\r\n\r\n",
            b"GET / HTTP/1.1\nHost: " + one + b"\n\nGET / HTTP/1.1\nHost: " + two + b"\n\n",
            b"GET / HTTP/1.0\r\n\r\n" + second,
            b"\r\n" + first + b"\r\n" + second,
            b"CONNECT " + two + b":443 HTTP/1.1\r\nHost: " + one + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + bytes(2) + b"\r\nHost: " + one + b"\r\n\r\n",
        )
    )


def _headers(stream: int, fields: list[tuple[str, str]], encoder: hpack.Encoder, pieces: bool) -> bytes:
    block = encoder.encode(fields)
    cut = len(block) // 2 if pieces else len(block)
    out = _frame(1, 1 | (0 if pieces else 4), stream, block[:cut])
    return out + (_frame(9, 4, stream, block[cut:]) if pieces else b"")


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def http2(random: Random, name: str, other: str) -> bytes:
    """Requests of HTTP/2 with prior knowledge."""
    encoder, out = hpack.Encoder(), PREFACE + _frame(4, 0, 0, b"")
    for number, each in enumerate(random.choice(((name,), (name, other), (name, name, other), ("", other)))):
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/")]
        if each:
            fields.append((":authority", each))
        if random.random() < 0.2:
            fields.append(("host", other))
        out += _headers(2 * number + 1, fields, encoder, random.random() < 0.3)
    return out


def anything(random: Random, name: str, other: str) -> bytes:
    """Message that a client may send."""
    kind = random.choice((tls, tls, http1, http1, http2, None))
    if kind is not None:
        return kind(random, name, other)
    return random.choice(
        (b"", b"SSH-2.0-x\r\n", b"\x16", b"\x80\x2e\1\0\2" + bytes(50), b"EHLO x\r\n", bytes(40))
    )


def quic(random: Random, name: str, other: str) -> list[tuple[bytes, tuple[str, ...]]]:
    """Datagrams of a QUIC client, each with the names that are complete with it."""
    message = client_hello(server_name(name.encode()), extension(0x39, b""))
    dcid = random.randbytes(8)
    kind = random.randrange(5)
    if kind == 0:
        half = len(message) // 2
        first, second = crypto(0, message[:half]), crypto(half, message[half:])
        return [(initial(first, 0, dcid), ()), (initial(second, 1, dcid), (name,))]
    if kind == 1:  # another connection from the same port
        more = client_hello(server_name(other.encode()), extension(0x39, b""))
        return [(initial(crypto(0, message), 0, dcid), (name,)),
                (initial(crypto(0, more), 0, random.randbytes(8)), (other,))]  # fmt: skip
    if kind == 2:
        return [(initial(crypto(0, client_hello(extension(0xFE0D, bytes(9)))), 0, dcid), ("",))]
    if kind == 3:
        return [(b"\x40" + random.randbytes(60), ("",))]
    return [(initial(crypto(0, message), 0, dcid, random.choice((1, 1, 0x6B3343CF))), (name,))]
