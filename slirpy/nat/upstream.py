"""Messages to an upstream proxy, or to a server behind one, before a connection begins. No I/O is done here."""

from __future__ import annotations

import errno
import re
from base64 import b64encode
from ipaddress import ip_address

from slirpy.config.text import with_port
from slirpy.records import Protocol
from slirpy.wire import socks

__all__ = ["Header", "HttpConnect", "Prologue", "Socks5Connect"]

MAX_REPLY = 16384
"""Most bytes of a proxy's response to CONNECT."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])(?: ([\x20-\x7e\x80-\xff]*))?\r?\n")
_HTTP_ERRORS = {
    401: errno.EACCES,
    403: errno.EACCES,
    407: errno.EACCES,
    502: errno.EHOSTUNREACH,
    503: errno.EHOSTUNREACH,
    504: errno.EHOSTUNREACH,
}


class Prologue(Protocol):
    """The beginning of a stream, which ends before the client's data.

    Attributes:
        done: True once the client's data may follow.
        error: the ``errno`` value of a refusal; 0: there is none.
        reason: text of the refusal.
        rest: bytes that were given to :meth:`feed` and belong to the data already.
    """

    done: bool
    error: int
    reason: str
    rest: bytes

    def begin(self) -> bytes:
        """Return the first bytes to send."""

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the far side, ``b""`` at its end. Returns bytes to send."""


class Header:
    """Bytes that nobody answers, such as a header of the PROXY protocol."""

    def __init__(self, header: bytes) -> None:
        self._header = header
        self.done = False
        self.error = 0
        self.reason = ""
        self.rest = b""

    def begin(self) -> bytes:
        """Return the header."""
        self.done = True
        return self._header

    def feed(self, data: bytes) -> bytes:
        """Never needed."""
        self.rest += data
        return b""


class _Negotiation:
    """The common part of both kinds of proxies."""

    def __init__(self, destination: str | bytes, port: int, credentials: tuple[bytes, bytes] | None) -> None:
        self._destination = destination
        self._port = port
        self._credentials = credentials
        self._heard = bytearray()
        self.done = False
        self.error = 0
        self.reason = ""
        self.rest = b""

    def _fail(self, error: int, reason: str) -> bytes:
        self.error, self.reason = error, reason
        return b""

    def _finish(self, at: int) -> bytes:
        """End with success; the data begin at index ``at`` of the bytes that were heard."""
        self.done = True
        self.rest = bytes(self._heard[at:])
        self._heard.clear()
        return b""


class HttpConnect(_Negotiation):
    """A tunnel through an HTTP proxy (RFC 9110, section 9.3.6).

    Args:
        destination: a name, or four or sixteen bytes.
        port: its port.
        credentials: user and password, sent as Basic (RFC 7617); None: none.
    """

    def begin(self) -> bytes:
        """Return the request."""
        destination = self._destination
        host = (
            f"{destination}:{self._port}"
            if isinstance(destination, str)
            else with_port(ip_address(destination), self._port)
        )
        place = host.encode("ascii")
        fields = b"Host: " + place + b"\r\n"
        if self._credentials is not None:
            fields += b"Proxy-Authorization: Basic " + b64encode(b":".join(self._credentials)) + b"\r\n"
        return b"CONNECT " + place + b" HTTP/1.1\r\n" + fields + b"\r\n"

    def feed(self, data: bytes) -> bytes:
        """Read the response."""
        heard = self._heard
        heard += data
        status = _STATUS.match(heard)
        end = heard.find(b"\r\n\r\n")
        if status is None:
            if not data or b"\n" in heard or len(heard) > MAX_REPLY:
                self._fail(errno.ECONNREFUSED, "no response of HTTP" if heard else "closed without a response")
            return b""
        code = int(status[1])
        if not 200 <= code < 300:
            phrase = (status[2] or b"").decode("latin-1")
            return self._fail(_HTTP_ERRORS.get(code, errno.ECONNREFUSED), f"{code} {phrase}".strip())
        if end >= 0:
            return self._finish(end + 4)
        if not data or len(heard) > MAX_REPLY:
            return self._fail(errno.ECONNREFUSED, "response without an end")
        return b""


class Socks5Connect(_Negotiation):
    """A connection through a SOCKS 5 proxy (RFC 1928).

    Args:
        destination: a name, which the proxy resolves, or four or sixteen bytes.
        port: its port.
        credentials: user and password (RFC 1929); None: none.
    """

    def __init__(self, destination: str | bytes, port: int, credentials: tuple[bytes, bytes] | None) -> None:
        super().__init__(destination, port, credentials)
        self._step = self._method

    def begin(self) -> bytes:
        """Return the greeting."""
        return socks.greeting(password=self._credentials is not None)

    def feed(self, data: bytes) -> bytes:
        """Read what the proxy says, step by step."""
        self._heard += data
        answer = b""
        while not self.done and not self.error:
            said = self._step()
            if said is None:
                if not data:
                    self._fail(errno.ECONNREFUSED, "closed without a reply")
                break
            answer += said
        return answer

    def _take(self, length: int) -> bytes:
        taken = bytes(self._heard[:length])
        del self._heard[:length]
        return taken

    def _method(self) -> bytes | None:
        """The choice of a method."""
        if len(self._heard) < 2:
            return None
        version, method = self._take(2)
        if version != 5:
            return self._fail(errno.ECONNREFUSED, "no SOCKS 5 proxy")
        if method == socks.PASSWORD and self._credentials is not None:
            self._step = self._authenticated
            return socks.password_request(*self._credentials)
        if method == socks.NO_AUTHENTICATION:
            self._step = self._connected
            return socks.connect_request(self._destination, self._port)
        return self._fail(errno.EACCES, "it wants another authentication; give user and password in a file")

    def _authenticated(self) -> bytes | None:
        """The answer to user and password."""
        if len(self._heard) < 2:
            return None
        if self._take(2)[1]:
            return self._fail(errno.EACCES, "user or password rejected")
        self._step = self._connected
        return socks.connect_request(self._destination, self._port)

    def _connected(self) -> bytes | None:
        """The answer to the request."""
        heard = self._heard
        if len(heard) >= 2 and (heard[0] != 5 or heard[1]):
            return self._fail(*socks.ERRORS.get(heard[1], (errno.ECONNREFUSED, "general failure")))
        if len(heard) < 5:
            return None
        length = socks.address_length(heard)
        if length is None:
            return self._fail(errno.ECONNREFUSED, "malformed reply")
        end = 4 + length + 2
        return None if len(heard) < end else self._finish(end)
