"""Common parts of WSGI and ASGI: limits, input, dates and plain answers of HTTP/1.1."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from http import HTTPStatus

import h11

__all__ = [
    "HEAD_MAX",
    "IDLE_SECONDS",
    "PIECE",
    "GoneError",
    "HttpInput",
    "date",
    "has_body",
    "plain",
    "reason",
    "without_hop_by_hop",
]

PIECE = 65536
"""Bytes read at a time."""
HEAD_MAX = 65536
"""Bytes of a request's first line and headers."""
IDLE_SECONDS = 60.0
"""Seconds that a guest may keep a connection without a request, or without continuing one."""

_BEFORE, _IN_METHOD, _IN_TARGET, _BEHIND = range(4)
"""Position of the next byte within a request; h11 handles everything after the first line."""
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
_HOP_BY_HOP = (b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"te", b"trailer")


def date() -> bytes:
    """Return the current date in HTTP format."""
    return formatdate(time.time(), usegmt=True).encode()


def reason(status: int) -> bytes:
    """Return the standard phrase for a status."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def plain(status: int, method: bytes) -> list[h11.Event]:
    """Make an answer by slirpy itself, after which the connection ends; to HEAD it has no body."""
    body = f"{status} {reason(status).decode()}\n".encode()
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"date", date()),
    ]
    events: list[h11.Event] = [h11.Response(status_code=status, headers=headers, reason=reason(status))]
    if has_body(method, status):
        events.append(h11.Data(data=body))
    return [*events, h11.EndOfMessage()]


class HttpInput:
    """Passes the bytes of one connection to h11, and corrects mistakes of old clients.

    - Empty lines before a request are removed (RFC 9112, section 2.2): some clients send one after a body.
    - Bytes beyond ASCII in the target become ``%XX``, as the client intended.

    Attributes:
        http: h11's state of the current request; a new one after :meth:`next_request`.
    """

    def __init__(self) -> None:
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._at = _BEFORE
        self._skipped = 0

    def receive(self, data: bytes) -> None:
        """Take bytes from the guest; empty at its end."""
        if data and self._at != _BEHIND:
            data = self._request_line(data)
            if not data:
                return
        self.http.receive_data(data)

    def next_request(self) -> None:
        """Start the next request: one and its answer are complete, and leftover bytes are checked again."""
        rest, ended = self.http.trailing_data
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._at, self._skipped = _BEFORE, 0
        if rest:
            self.receive(rest)
        if ended:
            self.receive(b"")

    def _request_line(self, data: bytes) -> bytes:
        """Correct the bytes up to the end of the request line, and return those behind it unchanged."""
        if self._at == _BEFORE:
            line = data.lstrip(b"\r\n")
            self._skipped += len(data) - len(line)
            if self._skipped > HEAD_MAX:
                line = b"\n" + line  # never intended: h11 rejects it
            if not line:
                return b""
            data, self._at = line, _IN_METHOD
        end = data.find(b"\n") + 1
        line, rest = (data[:end], data[end:]) if end else (data, b"")
        method = b""
        if self._at == _IN_METHOD:
            method, space, line = line.partition(b" ")
            method += space
            if space:
                self._at = _IN_TARGET
        if end:
            self._at = _BEHIND
        return method + _NOT_ASCII.sub(lambda found: b"%%%02X" % found[0][0], line) + rest


class GoneError(Exception):
    """The guest has disconnected, or has been silent for too long."""


def has_body(method: bytes, status: int) -> bool:
    """Report whether an answer has a body (RFC 9110, section 6.4.1)."""
    return method != b"HEAD" and status not in (204, 304)


def without_hop_by_hop(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an application's headers with a date, without those about the connection, which slirpy sets."""
    kept = [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]
    if not any(name.lower() == b"date" for name, _ in kept):
        kept.append((b"date", date()))
    return kept
