"""The gate before every request: who may ask, from where, and how much.

A browser can be made to send requests to any address that it reaches. So on TCP a request needs the token, a ``Host``
that is an address, because a name could lead here by DNS rebinding, and an ``Origin`` that is this server, if it has
one. The Unix socket is for anyone who may open it, except for requests that come from a web page.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from slirpy.config.text import split_port

__all__ = ["BODY_MAX", "Guard"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_MAX = 1 << 20
"""Largest body of a request, in bytes."""
BODY_SECONDS = 10.0
"""Time for a body to arrive."""


class _RefusedError(Exception):
    """A request that is refused.

    Args:
        status: of HTTP.
        text: what is wrong, and what to do.
        close: end the connection, because the rest of the request has not been read.
    """

    def __init__(self, status: int, text: str, *, close: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.close = close


class Guard:
    """Refuses requests that have no business here, and reads the body of the others.

    Args:
        application: gets the others.
        token: that requests must show; None: none.
        check_host: whether ``Host`` must be an address or ``localhost``.
    """

    def __init__(self, application: Application, token: str | None, *, check_host: bool) -> None:
        self._application = application
        self._token = None if token is None else token.encode()
        self._check_host = check_host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            body = await _read_body(scope, receive)
        except _RefusedError as refused:
            await _answer(send, refused)
            return
        if body is None:
            return  # the client is gone
        waiting = [body]

        async def again() -> Message:
            if waiting:
                return {"type": "http.request", "body": waiting.pop(), "more_body": False}
            return await receive()

        await self._application(scope, again, send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        hosts = headers.get(b"host", [])
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if self._check_host and not _is_address(host):
            raise _RefusedError(
                421, "Host must be the address of this server, or localhost; a name could belong to anyone"
            )
        for origin in headers.get(b"origin", []):
            if not self._check_host or origin.decode("latin-1").lower() != f"http://{host}".lower():
                raise _RefusedError(403, "this server answers no pages of other origins")
        if any(value != b"same-origin" and value != b"none" for value in headers.get(b"sec-fetch-site", [])):
            raise _RefusedError(403, "this server answers no pages of other sites")
        if self._token is not None and not self._is_token(scope, headers):
            raise _RefusedError(
                401,
                "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`, or as ?token=TOKEN",
            )

    def _is_token(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> bool:
        assert self._token is not None
        given = b""
        for value in headers.get(b"authorization", [])[:1]:
            scheme, _, rest = value.partition(b" ")
            if scheme.lower() == b"bearer":
                given = rest.strip()
        if not given:
            given = parse_qs(scope["query_string"]).get(b"token", [b""])[0]
        return hmac.compare_digest(given, self._token)  # takes the same time for every wrong token


def _is_address(host: str) -> bool:
    parts = split_port(host)
    if parts is None:
        return False
    name = parts[0].lower()
    if name == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """Return the whole body; None if the client is gone."""
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > BODY_MAX:
            raise _too_large()
    body: bytes = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                body += message.get("body", b"")
                if len(body) > BODY_MAX:
                    raise _too_large()
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise _RefusedError(
            408, f"the body has not arrived within {BODY_SECONDS:g} s; is its Content-Length right?", close=True
        ) from None


def _too_large() -> _RefusedError:
    return _RefusedError(413, f"the body of a request may have {BODY_MAX} bytes", close=True)


async def _answer(send: Send, refused: _RefusedError) -> None:
    body = json.dumps({"error": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refused.close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
