"""A client of the control socket, of the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode

from slirpy.checks import instance, shown
from slirpy.control.place import parse_place
from slirpy.errors import ConfigError, LinkError
from slirpy.links.endpoint import Endpoint, reason
from slirpy.reprs import never_raises

__all__ = ["ControlClient", "ControlError"]

TIMEOUT = 30.0
"""Seconds to wait for an answer."""
_SMALL = 1 << 16


class ControlError(LinkError):
    """A request that the network has refused; the text is its reason.

    Attributes:
        status: HTTP status of the answer, 400 to 599.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Connection(http.client.HTTPConnection):
    """A connection to a place, which may be a Unix socket."""

    def __init__(self, place: Endpoint, timeout: float | None) -> None:
        host, port = ("localhost", 80) if place.local else place.address[:2]
        super().__init__(host, port, timeout=timeout)
        self._place = place

    def connect(self) -> None:
        sock = socket.socket(self._place.family, socket.SOCK_STREAM)
        try:
            if not self._place.local:
                sock.settimeout(self.timeout)
            # A Unix socket waits for room in the backlog, unless it has a time limit.
            sock.connect(self._place.address)
            sock.settimeout(self.timeout)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


class ControlClient:
    """A client of the control socket of a network.

    Args:
        at: ``unix:PATH``, a path, or ``tcp:ADDRESS:PORT``.
        token: that of the network: visible ASCII characters. TCP needs one; a Unix socket, if the network has one.
        network: the name of one of several networks that are controlled there, as ``/networks`` lists them. Paths
            such as ``/v1/flows`` are then those of that network. None: the first.

    Raises:
        ConfigError: ``at`` is not a place, or ``token`` or ``network`` cannot be one.
    """

    def __init__(self, at: str, *, token: str | None = None, network: str | None = None) -> None:
        if isinstance(at, str) and not at.startswith(("unix:", "tcp:")):
            at = f"unix:{at}"
        self._place = parse_place(at, "PLACE")
        if token is not None:
            _check_word("token", token)
        self._token = token
        if network is not None:
            _check_word("network", network)
        self._prefix = "" if network is None else f"/networks/{quote(network, safe='')}"

    @never_raises
    def __repr__(self) -> str:
        return f"<ControlClient of {self._place}>"

    def ask(
        self, method: str, path: str, body: object = None, query: Mapping[str, object] | None = None
    ) -> Any:
        """Make a request; returns the JSON of the answer.

        Args:
            method: of HTTP, such as ``"GET"``.
            path: such as ``/v1/flows``.
            body: sent as JSON; None: no body.
            query: parameters; those that are None are left out.

        Raises:
            ConfigError: an argument that cannot be sent.
            LinkError: no network is controlled there, or the answer is not JSON.
            ControlError: the network has refused the request.
        """
        _check_word("method", method)
        _check_target(path, query)
        with self._answer(method, path, body, query, TIMEOUT) as answer:
            data = answer.read()
        try:
            return json.loads(data) if data else None
        except ValueError:
            raise LinkError(f"{self._place}: the answer to {path} is not JSON; read it with stream()") from None

    def stream(self, path: str, query: Mapping[str, object] | None = None) -> Generator[bytes, None, None]:
        """Read an answer without an end, in the pieces that arrive. ``close()`` of the generator ends the request.

        Raises:
            ConfigError, LinkError, ControlError: as :meth:`ask`.
        """
        _check_target(path, query)
        return self._pieces(path, query)

    def _pieces(self, path: str, query: Mapping[str, object] | None) -> Generator[bytes, None, None]:
        with self._answer("GET", path, None, query, None) as answer:
            while piece := answer.read1(_SMALL):
                yield piece

    def events(self, query: Mapping[str, object] | None = None) -> Iterator[dict[str, Any]]:
        """Read the network's events as they happen.

        Raises:
            ConfigError, LinkError, ControlError: as :meth:`ask`.
        """
        return _records(self.stream("/v1/events", query))

    @contextmanager
    def _answer(
        self,
        method: str,
        path: str,
        body: object,
        query: Mapping[str, object] | None,
        timeout: float | None,
    ) -> Iterator[http.client.HTTPResponse]:
        given = {key: value for key, value in (query or {}).items() if value is not None}
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            data = _as_json(body)
            headers["Content-Type"] = "application/json"
        connection = _Connection(self._place, timeout)
        try:
            target = self._prefix + quote(path) + (f"?{urlencode(given, doseq=True)}" if given else "")
            connection.request(method, target, data, headers)
            answer = connection.getresponse()
            if answer.status >= 400:
                raise ControlError(answer.status, _error_text(answer))
            yield answer
        except TimeoutError:
            raise LinkError(f"{self._place}: no answer within {TIMEOUT:g} s") from None
        except http.client.HTTPException as error:
            raise LinkError(f"{self._place}: what answers is no control socket: {error}") from None
        except OSError as error:
            raise LinkError(f"{self._place}: {reason(error)}; is a network controlled there?") from None
        finally:
            connection.close()


def _check_word(what: str, value: object) -> None:
    if not isinstance(value, str) or not value or not all("!" <= letter <= "~" for letter in value):
        raise ConfigError(f"{what} must be text of visible ASCII characters; given was {shown(value)}")


def _check_target(path: object, query: Any) -> None:
    if not isinstance(path, str) or not path.startswith("/"):
        raise ConfigError(f"path {shown(path)} must be text that begins with /, such as /v1/flows")
    if query is not None:
        instance("query", query, Mapping, "a mapping of names to values")
        for name in query:
            instance("query", name, str, "a mapping of names to values")


def _records(pieces: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Read server-sent events."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])


def _as_json(body: object) -> bytes:
    try:
        return json.dumps(body, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"body {shown(body)} cannot be sent as JSON: {error}") from None


def _error_text(answer: http.client.HTTPResponse) -> str:
    text = answer.read(_SMALL).decode(errors="replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return f"the answer is {answer.status} {answer.reason}: {text[:200]}"
