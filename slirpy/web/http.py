"""What WSGI and ASGI have in common: bounds, dates and plain answers of HTTP/1.1."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

import h11

__all__ = [
    "HEAD_MAX",
    "IDLE_SECONDS",
    "PIECE",
    "GoneError",
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
"""How long a guest may keep a connection without a request, or without going on with one."""

_HOP_BY_HOP = (b"connection", b"transfer-encoding", b"keep-alive", b"upgrade", b"te", b"trailer")


def date() -> bytes:
    """Now, as HTTP writes it."""
    return formatdate(time.time(), usegmt=True).encode()


def reason(status: int) -> bytes:
    """The usual words for a status."""
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""


def plain(status: int, method: bytes) -> list[h11.Event]:
    """An answer of ours, after which the connection ends; to HEAD it has no body."""
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


class GoneError(Exception):
    """The guest has gone, or has been silent for too long."""


def has_body(method: bytes, status: int) -> bool:
    """Whether an answer has one (RFC 9110, section 6.4.1)."""
    return method != b"HEAD" and status not in (204, 304)


def without_hop_by_hop(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """An application's headers, without those that are about the connection, which is ours; with a date."""
    kept = [(name, value) for name, value in headers if name.lower() not in _HOP_BY_HOP]
    if not any(name.lower() == b"date" for name, _ in kept):
        kept.append((b"date", date()))
    return kept
