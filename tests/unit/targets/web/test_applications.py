"""WSGI and ASGI applications that guests reach and that listen nowhere."""

from __future__ import annotations

import asyncio
import errno
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from wsgiref.validate import validator

import h11
import pytest

from slirpy import Config, ConfigError, Slirp
from slirpy.targets.web import asgi, handler_for, http, wsgi
from slirpy.testing import GuestStream
from tests.support.driven import Driven

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SERVER = "10.0.2.80"
NAMES = (
    "REQUEST_METHOD", "PATH_INFO", "QUERY_STRING", "SERVER_NAME", "SERVER_PORT", "REMOTE_ADDR", "CONTENT_LENGTH",
    "HTTP_X_A",
)  # fmt: skip
Message = dict[str, Any]


@pytest.fixture
def hooked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Exceptions that threads have raised."""
    raised: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: raised.append(args.exc_value))
    return raised


def request(driven: Driven, *lines: str, body: bytes = b"") -> GuestStream:
    """Send requests and our end; what came until the other's."""
    return driven.exchange(SERVER, 80, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def parts(stream: GuestStream) -> tuple[str, list[str], bytes]:
    """Status line, headers and body of one answer."""
    head, _, body = bytes(stream.received).partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return status, [line.lower() for line in headers], body


def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An application that tells what it was asked."""
    text = (
        "|".join(str(environ.get(name, "")) for name in NAMES).encode() + b"|" + environ["wsgi.input"].read(100)
    )
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text]


# ----------------------------------------------------------------------------------------------- WSGI


def test_an_application_at_an_ipv6_address(driven: Driven) -> None:
    driven.net.mount(page, "fec0::80")
    received = driven.exchange("fec0::80", 80, b"GET / HTTP/1.0\r\n\r\n").received
    assert received.endswith(b"\r\n\r\nGET|/||fec0::80|80|fec0::15|||")


def test_the_application_gets_the_request(driven: Driven) -> None:
    driven.net.mount(page, SERVER)
    stream = request(
        driven, "POST /a%20b/c?q=1 HTTP/1.1", "Host: x", "X-A: 1", "X-A: 2", "Content-Length: 4", body=b"body"
    )
    status, headers, body = parts(stream)
    assert status == "HTTP/1.1 200 OK"
    assert body == b"POST|/a b/c|q=1|10.0.2.80|80|10.0.2.15|4|1,2|body"
    assert "content-type: text/plain" in headers
    assert any(line.startswith("date: ") for line in headers)
    assert not stream.error


def test_the_server_follows_pep_3333(driven: Driven, hooked: list[Any]) -> None:
    def simple(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["wsgi.input"].read(-1 if environ["REQUEST_METHOD"] == "X" else 10)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"all is well"]

    driven.net.mount(validator(simple), SERVER)
    stream = request(driven, "GET / HTTP/1.1", "Host: x", "Connection: close")
    assert b"all is well" in stream.received
    assert hooked == []


def test_a_connection_carries_many_requests(driven: Driven) -> None:
    driven.net.mount(page, SERVER)
    one = "GET /{} HTTP/1.1\r\nHost: x\r\n\r\n"
    stream = driven.exchange(SERVER, 80, "".join(one.format(n) for n in range(20)).encode())  # all at once
    assert stream.received.count(b"HTTP/1.1 200 OK") == 20
    assert b"GET|/19|" in stream.received
    slow = driven.connect(SERVER, 80)
    for number in range(3):
        slow.write(one.format(number).encode())
        driven.until(partial(slow.received.count, f"GET|/{number}|".encode()))
    slow.shutdown()
    driven.until(lambda: slow.eof)
    assert not slow.error


def test_http_1_0_ends_with_its_answer(driven: Driven) -> None:
    driven.net.mount(page, SERVER)
    stream = driven.exchange(SERVER, 80, b"GET / HTTP/1.0\r\n\r\n", end=False)
    assert stream.received.startswith(b"HTTP/1.1 200 OK")
    assert not stream.error


def test_a_body_that_is_not_read_does_not_harm_the_next_request(driven: Driven) -> None:
    def ignorant(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    driven.net.mount(ignorant, SERVER)
    first = b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    stream = driven.exchange(SERVER, 80, first + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"/1\r\n" in stream.received
    assert b"/2\r\n" in stream.received


def test_large_bodies_both_ways(driven: Driven) -> None:
    def echo(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter(lambda: environ["wsgi.input"].read(50_000), b"")

    driven.net.mount(echo, SERVER)
    sent = bytes(range(256)) * 8192
    stream = request(driven, "PUT / HTTP/1.0", f"Content-Length: {len(sent)}", body=sent)
    assert parts(stream)[2] == sent


def test_head_and_no_content_have_no_body(driven: Driven) -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(
            "204 No Content" if environ["PATH_INFO"] == "/none" else "200 OK", [("Content-Length", "5")]
        )
        return [b"12345"]

    driven.net.mount(application, SERVER)
    _, headers, body = parts(request(driven, "HEAD / HTTP/1.1", "Host: x"))
    assert body == b""
    assert "content-length: 5" in headers
    assert parts(request(driven, "GET /none HTTP/1.1", "Host: x"))[2] == b""


def test_expect_100_continue(driven: Driven) -> None:
    driven.net.mount(page, SERVER)
    stream = driven.connect(SERVER, 80)
    stream.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    driven.until(lambda: stream.received.startswith(b"HTTP/1.1 100 "))
    stream.write(b"late")
    driven.until(lambda: stream.received.endswith(b"|late"))


def test_an_application_that_raises_is_a_500(driven: Driven, hooked: list[Any]) -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        raise FileNotFoundError("not of the connection")

    driven.net.mount(application, SERVER)
    stream = driven.exchange(SERVER, 80, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
    assert stream.received.startswith(b"HTTP/1.1 500 ")
    assert not stream.error
    assert [type(error) for error in hooked] == [FileNotFoundError]


def test_one_that_raises_later_is_a_reset(driven: Driven, hooked: list[Any]) -> None:
    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"half"
        raise ValueError("the other half")

    driven.net.mount(application, SERVER)
    stream = driven.exchange(SERVER, 80, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
    assert stream.error == errno.ECONNRESET
    assert [type(error) for error in hooked] == [ValueError]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: no\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 100_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ],
    ids=["binary", "no host", "length", "endless", "TLS"],
)
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_malformed_requests_get_a_4xx_response(
    driven: Driven, hooked: list[Any], data: bytes, kind: str
) -> None:
    driven.net.mount(page if kind == "wsgi" else simple_asgi, SERVER)
    stream = driven.exchange(SERVER, 80, data)
    assert stream.received.startswith(b"HTTP/1.1 4")
    assert not stream.error
    assert hooked == []
    assert driven.net.stats.guestfwd_broken == 0


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_silent_guest_is_dismissed(driven: Driven, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    for name in ("slirpy.targets.web.wsgi", "slirpy.targets.web.asgi"):
        monkeypatch.setattr(sys.modules[name], "IDLE_SECONDS", 0.1)
    driven.net.mount(page if kind == "wsgi" else simple_asgi, SERVER)
    stream = driven.connect(SERVER, 80)
    stream.write(b"GET / HT")
    driven.until(lambda: stream.eof or stream.error)
    assert not stream.error


# ----------------------------------------------------------------------------------------------- ASGI


async def simple_asgi(scope: Message, receive: Any, send: Any) -> None:
    """Tells what it was asked."""
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            break
    told = [scope[name] for name in ("method", "path", "raw_path", "query_string", "server", "client")]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-One", b"1")]})
    await send({"type": "http.response.body", "body": repr(told[:-1]).encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b" " + told[-1][0].encode() + b" " + body})


def test_asgi_scope_and_body(driven: Driven) -> None:
    driven.net.mount(simple_asgi, SERVER)
    stream = request(
        driven, "POST /a%20b?q=1 HTTP/1.1", "Host: x", "Content-Length: 5", "Connection: close", body=b"hello"
    )
    status, headers, _ = parts(stream)
    assert status == "HTTP/1.1 200 OK"
    assert "x-one: 1" in headers
    assert b"['POST', '/a b', b'/a%20b', b'q=1', ('10.0.2.80', 80)]" in stream.received
    assert b" 10.0.2.15 hello" in stream.received
    assert not stream.error


def test_asgi_keeps_connections(driven: Driven) -> None:
    driven.net.mount(simple_asgi, SERVER)
    one = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d"
    stream = driven.exchange(SERVER, 80, b"".join(one % n for n in range(5)))
    assert stream.received.count(b"200 OK") == 5


def test_asgi_gets_http_disconnect(driven: Driven) -> None:
    heard: list[str] = []

    async def patient(scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError("no lifespan")
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"an event", "more_body": True})
        heard.append((await receive())["type"])
        await send({"type": "http.response.body", "body": b"for nobody"})

    driven.net.mount(patient, SERVER)
    stream = driven.connect(SERVER, 80)
    stream.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    driven.until(lambda: b"an event" in stream.received)
    assert heard == []
    stream.shutdown()
    driven.until(lambda: heard == ["http.disconnect"])


def test_asgi_lifespan(driven: Driven) -> None:
    said: list[str] = []

    async def application(scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            said.append((await receive())["type"])
            await asyncio.sleep(0.01)
            scope["state"]["number"] = 7
            await send({"type": "lifespan.startup.complete"})
            said.append((await receive())["type"])
            await send({"type": "lifespan.shutdown.complete"})
            return
        said.append(f"request {scope['state']['number']}")
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    driven.net.mount(application, SERVER)
    for _ in range(2):
        request(driven, "GET / HTTP/1.1", "Host: x")
    driven.net.close()
    assert said == ["lifespan.startup", "request 7", "request 7", "lifespan.shutdown"]


@pytest.mark.parametrize("fault", ["raises", "returns", "lies", "unknown"])
def test_asgi_applications_that_fail(driven: Driven, fault: str) -> None:
    contexts: list[Any] = []

    async def application(scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
            raise RuntimeError("no lifespan")
        if fault == "raises":
            raise OSError("not of the connection")
        if fault == "unknown":
            await send({"type": "http.response.push"})
        if fault == "lies":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
            await send({"type": "http.response.body", "body": b"more than one"})

    driven.net.mount(application, SERVER)
    stream = driven.exchange(SERVER, 80, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", end=False)
    if fault == "lies":
        assert stream.error == errno.ECONNRESET
    else:
        assert stream.received.startswith(b"HTTP/1.1 500 ")
        assert not stream.error
    driven.until(lambda: len(contexts) == 1)


# ----------------------------------------------------------------------------------------------- both


def test_which_is_which() -> None:
    class Asgi:
        async def __call__(self, scope: Message, receive: Any, send: Any) -> None: ...

    assert isinstance(handler_for(page), type(wsgi(page)))
    assert isinstance(handler_for(simple_asgi), type(asgi(simple_asgi)))
    assert isinstance(handler_for(Asgi()), type(asgi(simple_asgi)))
    with pytest.raises(ConfigError, match="not callable"):
        handler_for("module:app")


def test_without_h11_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("slirpy.targets.web")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "h11", None)
    with Slirp(Config()) as net, pytest.raises(ConfigError, match=r"pip install 'slirpy\[web\]'"):
        net.mount(page, SERVER)


def test_words_of_a_status() -> None:
    assert (http.reason(404), http.reason(299)) == (b"Not Found", b"")


# ------------------------------------------------------------------------- what old clients send


async def page_asgi(scope: Message, receive: Any, send: Any) -> None:
    """Part of :func:`page` as an ASGI application."""
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    text = f"{scope['method']}|{scope['path']}|".encode() + scope["query_string"] + b"|" + body
    await send({
        "type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]
    })  # fmt: skip
    await send({"type": "http.response.body", "body": text})


@pytest.fixture(params=["wsgi", "asgi"])
def served(request: pytest.FixtureRequest, driven: Driven) -> Driven:
    """A network with the same page by either interface."""
    driven.net.mount(page if request.param == "wsgi" else page_asgi, SERVER)
    return driven


EMPTY = [b"\r\n", b"\n", b"\r\n" * 50, b"\n\r\n\n", b"\r"]


def three(empty: bytes) -> bytes:
    """Requests with empty lines in front of each."""
    first = b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b"
    data = empty + first + empty + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n" + empty + empty
    return data + b"GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("empty", EMPTY, ids=range(len(EMPTY)))
def test_empty_lines_before_a_request_are_left_out(served: Driven, empty: bytes) -> None:
    """RFC 9112, section 2.2: a server SHOULD ignore at least one, and clients of old send one after a body."""
    stream = served.exchange(SERVER, 80, three(empty), end=False)
    assert bytes(stream.received).count(b"HTTP/1.1 200 OK") == 3
    assert [b"|/%d|" % number in stream.received for number in (1, 2, 3)] == [True] * 3
    assert not stream.error


@pytest.mark.parametrize("empty", EMPTY, ids=range(len(EMPTY)))
@pytest.mark.parametrize("size", [1, 2, 7])
def test_in_pieces_too(empty: bytes, size: int) -> None:
    data = three(empty)
    coming = http.HttpInput()
    targets: list[bytes] = []
    for at in range(0, len(data), size):
        coming.receive(data[at : at + size])
        while (event := coming.http.next_event()) is not h11.NEED_DATA and event is not h11.PAUSED:
            if isinstance(event, h11.Request):
                targets.append(event.target)
            elif isinstance(event, h11.EndOfMessage):
                coming.http.send(h11.Response(status_code=204, headers=[]))
                coming.http.send(h11.EndOfMessage())
                if coming.http.our_state is not h11.DONE:
                    break
                coming.next_request()
    assert targets == [b"/1", b"/2", b"/3"]


@pytest.mark.parametrize("empty", [b"", b"\r\n", b"\n\n\n"])
def test_an_end_after_empty_lines_is_no_error(served: Driven, empty: bytes) -> None:
    stream = served.exchange(SERVER, 80, empty + b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n" + empty)
    assert bytes(stream.received).count(b"HTTP/1.1 ") == 1
    stream = served.exchange(SERVER, 80, empty)
    assert (bytes(stream.received), stream.error) == (b"", 0)


def test_empty_lines_without_end_are_a_bad_request(served: Driven) -> None:
    stream = served.exchange(SERVER, 80, b"\r\n" * http.HEAD_MAX)
    assert bytes(stream.received).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "line", [b" GET / HTTP/1.1", b"\0GET / HTTP/1.1", b"G\xc9T / HTTP/1.1", b"\x16\x03\x01\x02"]
)
def test_other_bytes_before_a_request_are_a_bad_request(served: Driven, line: bytes) -> None:
    stream = served.exchange(SERVER, 80, b"\r\n" + line + b"\r\nHost: x\r\n\r\n", end=False)
    assert bytes(stream.received).startswith(b"HTTP/1.1 400 ")


def test_bytes_beyond_ascii_in_a_target_are_meant_as_they_are(served: Driven) -> None:
    data = "GET /caf\u00e9?q=\u00fc HTTP/1.1\r\nHost: x\r\nX-A: \u00e9\r\nConnection: close\r\n\r\n".encode()
    status, _, body = parts(served.exchange(SERVER, 80, data, end=False))
    assert status == "HTTP/1.1 200 OK"
    assert b"|q=%C3%BC|" in body
    path = body.split(b"|")[1].decode()
    assert path in ("/caf\u00e9", "/caf\u00e9".encode().decode("latin-1"))  # ASGI; WSGI has bytes as Latin-1


def test_bytes_beyond_ascii_in_pieces() -> None:
    coming = http.HttpInput()
    for byte in b"GET /\xe9\xff HTTP/1.1\r\nHost: \xe9\r\n\r\n":
        coming.receive(bytes([byte]))
    event = coming.http.next_event()
    assert isinstance(event, h11.Request)
    assert event.target == b"/%E9%FF"
    assert (b"host", b"\xe9") in list(event.headers)
