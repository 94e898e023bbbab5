"""Rules that nobody would write, and requests that no browser would send: told or answered, never an accident."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from slirpy import Config, ConfigError, FlowRequest
from slirpy.config.guestfwd import parse_guestfwd
from slirpy.targets.web import asgi, wsgi

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FLOW = FlowRequest(6, bytes([10, 0, 2, 15]), 40000, bytes([10, 0, 2, 80]), 80)

words = st.sampled_from(
    [
        "tcp",
        "udp",
        ":",
        "-",
        "*",
        "10.0.2.100",
        "80",
        "0",
        "65536",
        "cmd:",
        "unix:",
        "tcp:",
        "cat",
        "'",
        "\\",
        "[",
        "]",
        "::1",
    ]
)
rules = st.lists(st.one_of(words, st.text(max_size=5)), max_size=12).map("".join)


@given(rules)
def test_a_rule_is_read_or_refused(text: str) -> None:
    try:
        (rule,) = Config(guestfwd=[text]).guestfwd
    except ConfigError:
        return
    assert parse_guestfwd(str(rule)) == rule


def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode("latin-1"), body]


async def async_page(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


LINES = (
    "GET / HTTP/1.1", "POST /a%00%ff?x HTTP/1.1", "HEAD * HTTP/1.0", "OPTIONS http://h/p HTTP/1.1", "Host: x",
    "Content-Length: 3", "Content-Length: 99999999999999999999", "Content-Length: -1", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip", "Expect: 100-continue", "Connection: close", "Upgrade: websocket", "", "3\r\nabc",
    "0\r\n", "fffffffff", ": ", " x",
)  # fmt: skip
pieces = st.sampled_from([*(line.encode() + b"\r\n" for line in LINES), b"abc", b"\n", b"\0"])
requests = st.lists(st.one_of(pieces, st.binary(max_size=6)), max_size=12).map(b"".join)


def answers(data: bytes) -> list[int]:
    """The statuses in what was answered, read strictly as far as it goes."""
    return [int(part[9:12]) for part in data.split(b"\r\n") if part.startswith(b"HTTP/1.1 ")]


@settings(deadline=None)
@given(requests)
@example(b"HEAD * HTTP/1.0\r\nContent-Length: 3\r\n\n")
def test_wsgi_survives_any_bytes(data: bytes) -> None:
    raised: list[Any] = []
    hook, threading.excepthook = threading.excepthook, raised.append
    ours, theirs = socket.socketpair()
    try:
        with ours, theirs:
            ours.sendall(data)
            ours.shutdown(socket.SHUT_WR)
            wsgi(page)(theirs, FLOW)
            theirs.close()
            ours.settimeout(5)
            answer = b""
            try:
                while piece := ours.recv(65536):
                    answer += piece
            except ConnectionResetError:
                pass  # not all was read
    finally:
        threading.excepthook = hook
    assert raised == []
    assert set(answers(answer)) <= {100, 200, 400, 431, 501}


class Writer:
    """Part of a StreamWriter that is used."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def drain(self) -> None: ...

    def get_extra_info(self, name: str) -> tuple[str, int]:
        return ("10.0.2.15", 40000) if name == "peername" else ("10.0.2.80", 80)


@settings(deadline=None)
@given(requests)
@example(b"HEAD * HTTP/1.0\r\nContent-Length: 3\r\n\n")
def test_asgi_survives_any_bytes(data: bytes) -> None:
    async def main() -> bytes:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        reader, writer = asyncio.StreamReader(), Writer()
        reader.feed_data(data)
        reader.feed_eof()
        await asgi(async_page)(reader, writer)  # type: ignore[arg-type] # enough of a reader and a writer
        # A guest that goes away in the middle of its request leaves the application without an answer to give.
        assert all("before it completed its answer" in str(context["exception"]) for context in failures), (
            failures
        )
        return writer.data

    assert set(answers(asyncio.run(main()))) <= {100, 200, 400, 431, 500, 501}


def test_these_requests_are_of_some_use() -> None:
    """Some are answered."""
    found: set[int] = set()

    async def main(data: bytes) -> bytes:
        reader, writer = asyncio.StreamReader(), Writer()
        reader.feed_data(data)
        reader.feed_eof()
        await asgi(async_page)(reader, writer)  # type: ignore[arg-type] # enough of a reader and a writer
        return writer.data

    for data in (
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
        b"\0\r\n\r\n",
    ):
        found |= set(answers(asyncio.run(main(data))))
    assert found == {200, 400}
