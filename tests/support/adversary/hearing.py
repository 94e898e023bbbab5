"""The names in what servers hear, read by other programs than the package's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11
import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Heard:
    """The words of a client."""

    kind: str = "other"
    names: list[str] = field(default_factory=list)
    ech: bool = False
    unnamed: bool = False
    """True if a request, or a hello, has no name."""


def hear(data: bytes, switched: bool = False) -> Heard:
    """Read the first bytes of a stream, and all requests in it.

    Args:
        switched: the server has agreed to another protocol after the first request that asked for one.
    """
    if data[:1] == b"\x16":
        return tls(handshake(data))
    if data.startswith(PREFACE):
        return http2(data[len(PREFACE) :])
    return http1(data, switched)


def handshake(data: bytes) -> bytes:
    """The handshake messages in the records of a stream."""
    out = b""
    while len(data) >= 5 and data[0] == 22:
        size = int.from_bytes(data[3:5], "big")
        out, data = out + data[5 : 5 + size], data[5 + size :]
    return out


def tls(message: bytes) -> Heard:
    """Read a ClientHello."""
    heard = Heard("tls")
    length = int.from_bytes(message[1:4], "big")
    if message[:1] != b"\1" or len(message) < 4 + length:
        return heard
    at = 4 + 34
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    at += 2
    while at + 4 <= end:
        kind, size = (
            int.from_bytes(message[at : at + 2], "big"),
            int.from_bytes(message[at + 2 : at + 4], "big"),
        )
        body = message[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == 0:
            heard.names += _server_names(body)
        heard.ech = heard.ech or kind == 0xFE0D
    heard.unnamed = not heard.names
    return heard


def _server_names(body: bytes) -> Iterator[str]:
    at = 2
    while at + 3 <= len(body):
        size = int.from_bytes(body[at + 1 : at + 3], "big")
        yield body[at + 3 : at + 3 + size].decode("latin-1").lower()
        at += 3 + size


def http1(data: bytes, switched: bool) -> Heard:
    """Read the requests of HTTP/1, as far as h11 can."""
    heard = Heard("other")
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                heard.kind = "http/1"
                heard.names += _hosts(event, heard)
                if switched and any(name == b"upgrade" for name, _ in event.headers):
                    break
            if event is h11.PAUSED:
                if connection.our_state is h11.SEND_RESPONSE:
                    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                    connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
            if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                break
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        pass
    return heard


def _hosts(request: h11.Request, heard: Heard) -> Iterator[str]:
    hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
    target = request.target.decode("latin-1")
    if "://" in target:
        hosts.append(urlsplit(target).netloc)
    if not any(hosts):
        heard.unnamed = True
    for host in filter(None, hosts):
        yield host.rsplit("@", 1)[-1].partition(":")[0].lower().rstrip(".")


def http2(data: bytes) -> Heard:
    """Read the requests of HTTP/2."""
    heard, decoder, block = Heard("h2"), hpack.Decoder(), b""
    while len(data) >= 9:
        size, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
        body, data = data[9 : 9 + size], data[9 + size :]
        if len(body) < size:
            break
        if kind in (1, 9):
            block += body
            if flags & 4:
                fields = {str(name): str(value) for name, value in decoder.decode(block, raw=False)}
                block = b""
                name = fields.get(":authority") or fields.get("host") or ""
                heard.unnamed = heard.unnamed or not name
                heard.names += filter(None, [name.partition(":")[0].lower()])
    return heard
