"""The reader of HTTP/1 requests, beside h11."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slirpy.wire.http1 import MAX_HEAD, RequestReader, UpgradeAnswer, forbidden
from slirpy.wire.unreadable import UnreadableError

START = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a.example\r\n"


def hosts(data: bytes, size: int | None = None) -> tuple[list[str], bytes]:
    """The hosts of all requests, and the bytes that may go on, if the bytes come in pieces of ``size``."""
    reader, found, passed = RequestReader(), [], b""
    for at in range(0, len(data), size or len(data)):
        requests, part = reader.feed(data[at : at + (size or len(data))])
        found += [request.host for request in requests]
        passed += part
    assert len(passed) + reader.held == len(data)
    assert data.startswith(passed)
    return found, passed


def reason(data: bytes) -> str:
    """Why the bytes are refused, which is the same for each way to cut them."""
    with pytest.raises(UnreadableError):
        hosts(data, 1)
    with pytest.raises(UnreadableError) as caught:
        hosts(data)
    return str(caught.value)


PIPELINED = (
    b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    b"POST http://B.example:80/x HTTP/1.1\r\nhost:\tb.example:80 \r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;name=value\r\nGET \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    b"PUT /y HTTP/1.0\r\nContent-Length: 6\r\nHost: c.example.\r\n\r\n\r\n\r\nab\r\n"
    b"OPTIONS * HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n"
    b"GET http://d.example HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n"
)


@pytest.mark.parametrize("size", [None, 1, 2, 3, 7, 50])
def test_every_request_is_found(size: int | None) -> None:
    found, passed = hosts(PIPELINED, size)
    assert found == ["a.example", "b.example", "c.example", "[2001:db8::1]", "d.example", ""]
    assert passed == PIPELINED


def test_an_incomplete_request_waits() -> None:
    assert hosts(START + HOST) == ([], b"")
    assert hosts(START + HOST + b"\r\n" + START) == (["a.example"], START + HOST + b"\r\n")


def test_bodies_need_not_be_fed() -> None:
    reader = RequestReader()
    reader.feed(b"PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n" + HOST + b"\r\nabc")
    assert reader.body == 999997
    reader.skip(999997)
    assert [request.host for request in reader.feed(START + HOST + b"\r\n")[0]] == ["a.example"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\0", "not HTTP"),
        (b" GET / HTTP/1.1\r\n", "not HTTP"),
        (b"\r\nGET / HTTP/1.1\r\n", "not HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "request line"),
        (b"GET /\r\n", "request line"),
        (b"GET  / HTTP/1.1\r\n", "request line"),
        (b"GET / HTTP/1.1 \r\n", "request line"),
        (b"GET /a b HTTP/1.1\r\n", "request line"),
        (b"GET / HTTP/2.0\r\n", "request line"),
        (b"GET /\t HTTP/1.1\r\n", "request line"),
        (b"GET / HTTP/1.1\nHost: a.example\n\n", "bare"),
        (START + b"Host: a.example\n\r\n", "bare"),
        (START + b"Host: a.example\rX: y\r\n\r\n", "field"),
        (START + b"Host: a.example\0\r\n", "control"),
        (START + HOST + b" folded: x\r\n\r\n", "field"),
        (START + b"X: y\r\n" + b"\tz\r\n" + HOST + b"\r\n", "field"),
        (START + b"Host : a.example\r\n\r\n", "field"),
        (START + b": x\r\n" + HOST + b"\r\n", "field"),
        (START + b"X\r\n" + HOST + b"\r\n", "field"),
        (START + b"X: y\r\n\r\n", "no Host"),
        (START + HOST + b"host: b.example\r\n\r\n", "two Host"),
        (START + HOST + HOST + b"\r\n", "two Host"),
        (START + b"Host: a.example, b.example\r\n\r\n", "malformed host"),
        (START + b"Host: user@a.example\r\n\r\n", "malformed host"),
        (START + b"Host: a.example/b\r\n\r\n", "malformed host"),
        (START + b"Host: a.example:80:90\r\n\r\n", "malformed host"),
        (START + b"Host: \r\n\r\n", "malformed host"),
        (START + b"Host: -\xe9.example\r\n\r\n", "malformed host"),
        (b"GET http://b.example/ HTTP/1.1\r\n" + HOST + b"\r\n", "disagree"),
        (b"GET http://a.example@b.example/ HTTP/1.1\r\n" + HOST + b"\r\n", "malformed host"),
        (b"GET //b.example HTTP/1.1\r\nX: y\r\n\r\n", "no Host"),
        (b"GET b.example HTTP/1.1\r\n" + HOST + b"\r\n", "disagree"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", "CONNECT"),
        (START + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "ambiguous"),
        (START + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", "ambiguous"),
        (START + HOST + b"Content-Length: 1, 1\r\n\r\n", "ambiguous"),
        (START + HOST + b"Content-Length: +1\r\n\r\n", "ambiguous"),
        (START + HOST + b"Content-Length: \r\n\r\n", "ambiguous"),
        (START + HOST + b"Content-Length: 1234567890123456789\r\n\r\n", "ambiguous"),
        (START + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "ambiguous"),
        (START + HOST + b"Transfer-Encoding: xchunked\r\n\r\n", "ambiguous"),
        (START + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", "ambiguous"),
        (b"GET / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", "ambiguous"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n", "chunk"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "chunk"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\n", "bare LF"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "chunk"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\n\n", "bare LF"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 300, "too long"),
        (START + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nno colon\r\n", "trailer"),
        (START + b"X: " + b"y" * MAX_HEAD, "too long"),
        (START + HOST + b"a: b\r\n" * 300 + b"\r\n", "too many"),
        (START + HOST + b"\r\n" + START + HOST + b"Upgrade: websocket\r\n\r\n", "upgrade"),
    ],
)
def test_refused(data: bytes, why: str) -> None:
    assert why in reason(data)


def test_upgrade_waits_for_the_answer() -> None:
    request = START + HOST + b"Upgrade: WebSocket\r\n\r\n"
    for accepted in (False, True):
        reader = RequestReader()
        found, passed = reader.feed(request + b"\x81\x05hello")
        assert (found[0].upgrade, passed, reader.held) == (b"websocket", request, 7)
        reader.upgraded(accepted)
        if accepted:
            assert reader.feed(b"") == ([], b"\x81\x05hello")
            assert reader.body is None
        else:
            with pytest.raises(UnreadableError):
                reader.feed(b"")


@pytest.mark.parametrize(
    ("response", "accepted"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n", True),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 101 Fake\r\n", False),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 101 Switching\r\n", True),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 404 No\r\n", False),
        (b"garbage of a server\r\n", False),
    ],
)
def test_answers_to_upgrade(response: bytes, accepted: bool) -> None:
    assert UpgradeAnswer().feed(response) is accepted
    answer = UpgradeAnswer()
    said = (answer.feed(response[at : at + 1]) for at in range(len(response)))
    assert next(found for found in said if found is not None) is accepted


def test_the_answer_to_refused_requests_is_a_response() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a.example")]))
    client.send(h11.EndOfMessage())
    client.receive_data(forbidden("Host b.example is not allowed"))
    response, body = client.next_event(), client.next_event()
    assert isinstance(response, h11.Response)
    assert isinstance(body, h11.Data)
    assert (response.status_code, body.data) == (403, b"Host b.example is not allowed\n")


def h11_hosts(data: bytes) -> list[str] | None:
    """The hosts that h11 finds; None: it refuses the bytes."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(data)
    found = []
    try:
        while True:
            event = server.next_event()
            if isinstance(event, h11.Request):
                found += [value.decode().lower() for name, value in event.headers if name == b"host"]
            elif isinstance(event, h11.EndOfMessage):
                server.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                server.send(h11.EndOfMessage())
            elif event is h11.PAUSED:
                server.start_next_cycle()
            elif not isinstance(event, h11.Data):
                return found
    except h11.RemoteProtocolError:
        return None


PIECES = st.sampled_from([
    b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"Host: a.example\r\n", b"Host: b.example\r\n", b"\r\n",
    b"\n", b"\r", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: x\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc",
    b" folded\r\n", b"X : y\r\n", b"X: \x01\r\n", b"5\r\n", b";x=y\r\n", b"\0",
])  # fmt: skip


@given(st.lists(PIECES, max_size=12).map(b"".join), st.integers(1, 40))
@example(START + HOST + b"Content-Length: 3\r\n\r\nabc" + START + b"Host: b.example\r\n\r\n", 5)
def test_no_host_escapes_that_another_server_finds(data: bytes, size: int) -> None:
    """The bytes that are passed on mean the same to h11, and their division makes no difference."""
    try:
        found, passed = hosts(data) if data else ([], b"")
    except UnreadableError:
        return
    if not data:
        return
    assert hosts(data, size) == (found, passed)
    theirs = h11_hosts(passed)
    if theirs is not None:
        assert theirs == found
