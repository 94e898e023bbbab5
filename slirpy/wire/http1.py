r"""HTTP/1 as a client sends it (RFC 9112), for the host that each request is for.

:class:`RequestReader` takes the bytes of a TCP stream in pieces of any size, and finds every request: the first,
those that are pipelined, and those that follow on a connection that is kept alive, since each may name another
host. The bodies between them are skipped, by their length or chunk by chunk.

Where two programs read one message in two ways, a request can be smuggled past the first. So the reader accepts
only messages that can be read in one way:

* Lines end in CR LF. A CR or LF alone, NUL and other control characters are refused.
* Field names are tokens, directly followed by the colon; a line that continues another (obs-fold) is refused.
* Exactly one ``Host`` (in HTTP/1.0 at most one), which agrees with the target if that is in absolute form.
* ``Content-Length`` once, in digits; or ``Transfer-Encoding: chunked``, alone and not in HTTP/1.0; never both.
* ``CONNECT`` is refused: behind it is a tunnel to anywhere.

After a request with ``Upgrade``, the server decides whether the rest of the stream is another protocol, such as
WebSocket. Such a request must be the first of its connection: then the first response, which
:class:`UpgradeAnswer` reads, is the answer to it.
"""

from __future__ import annotations

import re

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire.unreadable import UnreadableError, host_name

__all__ = ["MAX_HEAD", "METHODS", "Request", "RequestReader", "UpgradeAnswer", "authority_host", "forbidden"]

MAX_HEAD = 32768
"""Most bytes of a request line and its fields. Servers accept 8 KiB to 64 KiB."""
MAX_FIELDS = 200
MAX_CHUNK_LINE = 256
MAX_LENGTH_DIGITS = 18

METHODS = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS TRACE CONNECT PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK REPORT"
    b" SEARCH MKCALENDAR QUERY".split()
)
"""Methods by which HTTP is recognized at ports where other protocols are expected too."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]+) HTTP/1\.([01])")
_FIELD = re.compile(rb"(" + _TOKEN + rb"):[ \t]*+([\t\x20-\x7e\x80-\xff]*)")
_FORBIDDEN = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r[^\n]|(?<!\r)\n")
"""Control characters, and CR or LF alone, within a head."""
_START = re.compile(_TOKEN)
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(?:[/?].*)?")
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:@\[\]]*)(?::([0-9]{0,5}))?")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])")
_STATUS_LENGTH = 12
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*)?")


class Request(NamedTuple):
    """The destination of a request, as its head names it."""

    method: str
    host: str
    """Host name in lower case, or the text of an address, from ``Host`` and the target. Empty in HTTP/1.0 if there is
    neither."""
    upgrade: bytes
    """Protocols that it asks the server to change to, in lower case; empty: none."""


def authority_host(authority: bytes) -> str:
    """Return the host of ``HOST[:PORT]``: a name in lower case, or the text of an address.

    Raises:
        UnreadableError: it is neither, or there is a user name.
    """
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match[1]:
        raise UnreadableError("malformed host")
    name = host_name(match[1])
    if name is not None:
        return name
    if match[1].strip(b"[]0123456789abcdefABCDEF:.xX"):
        raise UnreadableError("malformed host")
    return match[1].decode("ascii").lower()


def forbidden(reason: str) -> bytes:
    """Return a complete response with status 403, whose body is ``reason``, a line of text."""
    body = reason.encode("ascii", "replace") + b"\n"
    return (
        b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nConnection: close\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


class RequestReader:
    """Reads the requests of one connection.

    Attributes:
        body: number of the next bytes that belong to a body, or to one of its chunks. They need not be given to
            :meth:`feed`: :meth:`skip` counts them. None: all bytes to the end of the stream.
        upgrading: protocols that the last request asks for. What follows waits for :meth:`upgraded`.
        recognized: True once there was a request line.
    """

    def __init__(self) -> None:
        self.body: int | None = 0
        self.upgrading = b""
        self.recognized = False
        self._held = bytearray()
        self._scanned = 0  # bytes of the held ones that have been searched for the end of the current part
        self._state = self._head
        self._requests = 0

    @property
    def held(self) -> int:
        """Number of bytes that were given to :meth:`feed` and not returned yet."""
        return len(self._held)

    def feed(self, data: Buffer) -> tuple[list[Request], bytes]:
        """Take more bytes of the stream.

        Returns:
            The requests whose heads became complete; and the bytes that may be passed on if these are allowed: all
            but an incomplete head at the end.

        Raises:
            UnreadableError: a malformed or ambiguous message.
        """
        found: list[Request] = []
        held = self._held
        held += data
        at = 0
        while at < len(held) and not self.upgrading:
            if self.body is None:
                at = len(held)
            elif self.body:
                step = min(self.body, len(held) - at)
                at += step
                self.body -= step
            else:
                end = self._state(at, found)
                if end is None:
                    break
                at = end
                self._scanned = 0
        passed = bytes(held[:at])
        del held[:at]
        return found, passed

    def skip(self, count: int) -> None:
        """Count bytes of :attr:`body` that were passed on without :meth:`feed`."""
        if self.body is not None:
            self.body -= count

    def upgraded(self, accepted: bool) -> None:
        """Take note of the server's answer to ``Upgrade``: whether all that follows is another protocol."""
        self.upgrading = b""
        if accepted:
            self.body = None

    def rest(self) -> bytes:
        """Take the held bytes, to give them to the reader of another protocol."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    # ---------------------------------- parts of a message; each returns where it ends, or None if it is incomplete

    def _head(self, at: int, found: list[Request]) -> int | None:
        """A request line and fields."""
        held, scanned = self._held, at + self._scanned
        if self._requests and held.startswith(b"\r", at):
            if held.startswith(b"\r\n", at):
                return at + 2  # old clients send it after a body (RFC 9112, section 2.2)
            if len(held) == at + 1:
                return None
        end = held.find(b"\r\n\r\n", max(scanned - 3, at))
        if (end if end >= 0 else len(held)) - at > MAX_HEAD:
            raise UnreadableError("HTTP head too long")
        if end >= 0:
            self.recognized = self.recognized or _REQUEST_LINE.match(held, at) is not None
            request, self.body, chunked = _parse(bytes(held[at:end]))
            if request.upgrade and self._requests:
                raise UnreadableError("upgrade on a connection that was used")
            self._requests += 1
            self.upgrading = request.upgrade
            if chunked:
                self._state = self._chunk
            found.append(request)
            return end + 4
        if scanned == at and _START.match(held, at) is None:
            raise UnreadableError("not HTTP")
        line = held.find(b"\r\n", max(scanned - 1, at))
        if line >= 0 and held.find(b"\r\n", at) == line:
            if _REQUEST_LINE.fullmatch(held, at, line) is None:
                raise UnreadableError("malformed HTTP request line")
            self.recognized = True
        if _FORBIDDEN.search(held, max(scanned - 1, at)) is not None:
            raise UnreadableError("control character, or bare CR or LF, in an HTTP head")
        self._scanned = len(held) - at
        return None

    def _line(self, at: int, limit: int) -> tuple[bytes, int] | None:
        """The line that ends in CR LF, and where the next one begins; None: it is incomplete."""
        held = self._held
        end = held.find(b"\n", at + self._scanned)
        if (end if end >= 0 else len(held)) - at > limit:
            raise UnreadableError("line of an HTTP body too long")
        if end < 0:
            self._scanned = len(held) - at
            return None
        if end == at or held[end - 1] != 13:
            raise UnreadableError("bare LF in an HTTP body")
        return bytes(held[at : end - 1]), end + 1

    def _chunk(self, at: int, found: list[Request]) -> int | None:
        """The line before a chunk (RFC 9112, section 7.1)."""
        line = self._line(at, MAX_CHUNK_LINE)
        if line is None:
            return None
        match = _CHUNK.fullmatch(line[0])
        if match is None:
            raise UnreadableError("malformed HTTP chunk")
        size = int(match[1], 16)
        self.body = size
        self._state = self._chunk_end if size else self._trailer
        return line[1]

    def _chunk_end(self, at: int, found: list[Request]) -> int | None:
        """The CR LF after a chunk."""
        line = self._line(at, 2)
        if line is None:
            return None
        if line[0]:
            raise UnreadableError("malformed HTTP chunk")
        self._state = self._chunk
        return line[1]

    def _trailer(self, at: int, found: list[Request]) -> int | None:
        """A field after the last chunk, or the empty line that ends the message."""
        line = self._line(at, MAX_HEAD)
        if line is None:
            return None
        if not line[0]:
            self._state = self._head
        elif _FIELD.fullmatch(line[0]) is None:
            raise UnreadableError("malformed HTTP trailer")
        return line[1]


class UpgradeAnswer:
    """Reads the start of a server's stream, up to its answer to a request with ``Upgrade``."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> bool | None:
        """Take more bytes. Returns whether the server changes the protocol (status 101), None while it is unknown."""
        held = self._held
        held += data
        while True:
            status = _STATUS.match(held)
            if status is None:
                return None if len(held) < _STATUS_LENGTH else False
            if status[1] == b"101":
                return True
            if status[1][:1] != b"1":
                return False
            end = held.find(b"\r\n\r\n")  # an interim response, such as 103 Early Hints
            if end < 0:
                return None if len(held) <= MAX_HEAD else False
            del held[: end + 4]


def _parse(head: bytes) -> tuple[Request, int | None, bool]:
    """Parse a head without its empty line. Returns the request, the length of its body, and whether it is chunked."""
    first, *lines = head.split(b"\r\n")
    start = _REQUEST_LINE.fullmatch(first)
    if start is None:
        raise UnreadableError("malformed HTTP request line")
    if len(lines) > MAX_FIELDS:
        raise UnreadableError("too many HTTP fields")
    hosts: list[bytes] = []
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrades: list[bytes] = []
    interesting = {
        b"host": hosts,
        b"content-length": lengths,
        b"transfer-encoding": codings,
        b"upgrade": upgrades,
    }
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise UnreadableError("malformed HTTP field")
        values = interesting.get(field[1].lower())
        if values is not None:
            values.append(field[2].rstrip(b" \t"))
    method, target, minor = start.groups()
    if method == b"CONNECT":
        raise UnreadableError("CONNECT")
    if len(hosts) > 1 or (not hosts and minor == b"1"):
        raise UnreadableError("two Host fields" if hosts else "no Host field")
    host = authority_host(hosts[0]) if hosts else ""
    if target[:1] != b"/" and target != b"*":
        absolute = _ABSOLUTE.fullmatch(target)
        named = "" if absolute is None else authority_host(absolute[1])
        if not named or (hosts and named != host):
            raise UnreadableError("target and Host disagree")
        host = named
    length, chunked = 0, False
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or minor == b"0":
            raise UnreadableError("ambiguous length of an HTTP body")
        chunked = True
    elif lengths:
        if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > MAX_LENGTH_DIGITS:
            raise UnreadableError("ambiguous length of an HTTP body")
        length = int(lengths[0])
    return Request(method.decode("ascii"), host, b",".join(upgrades).lower()), length, chunked
