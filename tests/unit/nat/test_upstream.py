"""Messages to upstream proxies, byte by byte."""

from __future__ import annotations

import errno

import pytest

from slirpy.nat.upstream import MAX_REPLY, Header, HttpConnect, Prologue, Socks5Connect

LOGIN = (b"user", b"secret")
CONNECT = b"\5\1\0\3\x0bexample.org\x01\xbb"
REPLY = b"\5\0\0\1\x01\2\3\4\0\x50"


def http(login: tuple[bytes, bytes] | None = None) -> HttpConnect:
    return HttpConnect("example.org", 443, login)


def socks(login: tuple[bytes, bytes] | None = None) -> Socks5Connect:
    return Socks5Connect("example.org", 443, login)


def state(prologue: Prologue) -> tuple[bool, int, str, bytes]:
    """All that a prologue says about itself."""
    return prologue.done, prologue.error, prologue.reason, prologue.rest


WAITING = (False, 0, "", b"")


def test_a_header_needs_no_answer() -> None:
    header = Header(b"PROXY")
    assert state(header) == WAITING
    assert header.begin() == b"PROXY"
    assert state(header) == (True, 0, "", b"")


def test_http_requests() -> None:
    assert http().begin() == b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"
    assert b"\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n\r\n" in http(LOGIN).begin()


def test_the_data_begin_behind_the_first_empty_line() -> None:
    prologue = http()
    response = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"
    for byte in response[:-1]:
        assert prologue.feed(bytes([byte])) == b""
        assert state(prologue) == WAITING
    assert prologue.feed(response[-1:] + b"GET / HTTP/1.1\r\n\r\n") == b""
    assert state(prologue) == (True, 0, "", b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    ("said", "error", "reason"),
    [
        (b"HTTP/1.1 401 Who\r\n", errno.EACCES, "401 Who"),
        (b"HTTP/1.1 403 No\r\n", errno.EACCES, "403 No"),
        (b"HTTP/1.0 407\n", errno.EACCES, "407"),
        (b"HTTP/1.1 502 Bad\r\n", errno.EHOSTUNREACH, "502 Bad"),
        (b"HTTP/1.1 503 \r\n", errno.EHOSTUNREACH, "503"),
        (b"HTTP/1.1 504 \r\n", errno.EHOSTUNREACH, "504"),
        (b"HTTP/1.1 199 \r\n", errno.ECONNREFUSED, "199"),
        (b"HTTP/1.1 300 \r\n", errno.ECONNREFUSED, "300"),
        (b"hello\n", errno.ECONNREFUSED, "no response of HTTP"),
        (b"x" * (MAX_REPLY + 1), errno.ECONNREFUSED, "no response of HTTP"),
        (b"", errno.ECONNREFUSED, "closed without a response"),
        (b"HTTP/1.1 200 OK\r\n" + b"x" * MAX_REPLY, errno.ECONNREFUSED, "response without an end"),
    ],
)
def test_http_refusals(said: bytes, error: int, reason: str) -> None:
    prologue = http()
    assert prologue.feed(said) == b""
    assert state(prologue) == (False, error, reason, b"")


@pytest.mark.parametrize("start", [b"HTTP", b"HTTP/1.1 200 OK\r\n"])
def test_an_http_proxy_that_ends(start: bytes) -> None:
    prologue = http()
    prologue.feed(start)
    assert state(prologue) == WAITING
    prologue.feed(b"")
    assert prologue.error == errno.ECONNREFUSED
    assert prologue.reason == ("no response of HTTP" if start == b"HTTP" else "response without an end")


@pytest.mark.parametrize("code", [b"200", b"299"])
def test_any_success_is_one(code: bytes) -> None:
    prologue = http()
    prologue.feed(b"HTTP/1.1 " + code + b"\r\n\r\n")
    assert prologue.done


def test_socks_byte_by_byte() -> None:
    prologue = socks(LOGIN)
    assert prologue.begin() == b"\5\2\0\2"
    answers = [prologue.feed(bytes([byte])) for byte in b"\5\2\1\0" + REPLY + b"SSH"]
    assert [answer for answer in answers if answer] == [b"\1\4user\6secret", CONNECT]
    assert (answers[1], answers[3]) == (b"\1\4user\6secret", CONNECT)
    assert prologue.done
    assert prologue.error == 0


def test_socks_all_at_once() -> None:
    prologue = socks()
    assert prologue.begin() == b"\5\1\0"
    assert prologue.feed(b"\5\0" + REPLY + b"SSH") == CONNECT
    assert state(prologue) == (True, 0, "", b"SSH")


@pytest.mark.parametrize(
    ("login", "said", "error", "reason"),
    [
        (None, b"\4\0", errno.ECONNREFUSED, "no SOCKS 5 proxy"),
        (None, b"\5\2", errno.EACCES, "it wants another authentication; give user and password in a file"),
        (LOGIN, b"\5\1", errno.EACCES, "it wants another authentication; give user and password in a file"),
        (LOGIN, b"\5\xff", errno.EACCES, "it wants another authentication; give user and password in a file"),
        (LOGIN, b"\5\2\1\1", errno.EACCES, "user or password rejected"),
        (None, b"\5\0\5\1", errno.ECONNREFUSED, "general failure"),
        (None, b"\5\0\5\x77", errno.ECONNREFUSED, "general failure"),
        (None, b"\5\0\4\0", errno.ECONNREFUSED, "general failure"),
        (None, b"\5\0\5\0\0\7\0", errno.ECONNREFUSED, "malformed reply"),
        (None, b"", errno.ECONNREFUSED, "closed without a reply"),
    ],
)
def test_socks_refusals(login: tuple[bytes, bytes] | None, said: bytes, error: int, reason: str) -> None:
    prologue = socks(login)
    prologue.feed(said)
    assert (prologue.done, prologue.error, prologue.reason) == (False, error, reason)


@pytest.mark.parametrize("start", [b"\5", b"\5\0", b"\5\0\5", b"\5\0" + REPLY[:-1]])
def test_a_socks_proxy_that_ends(start: bytes) -> None:
    prologue = socks()
    prologue.feed(start)
    assert state(prologue) == WAITING
    prologue.feed(b"")
    assert (prologue.error, prologue.reason) == (errno.ECONNREFUSED, "closed without a reply")


def test_a_proxy_may_choose_no_password() -> None:
    prologue = socks(LOGIN)
    assert prologue.feed(b"\5\0") == CONNECT
