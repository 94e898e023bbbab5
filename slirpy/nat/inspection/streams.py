"""First bytes of TCP connections: TLS, HTTP/1, HTTP/2, or something else."""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.interfaces import UNDECIDED, Finding, Passed, Refused
from slirpy.nat.inspection.names import Demand
from slirpy.wire.http1 import METHODS, RequestReader, UpgradeAnswer, forbidden
from slirpy.wire.http2 import PREFACE, FrameReader
from slirpy.wire.tls import ALERT_ACCESS_DENIED, HelloReader
from slirpy.wire.unreadable import UnreadableError

__all__ = ["WEB_PORTS", "StreamInspection"]

WEB_PORTS = frozenset((80, 443, 3000, 5000, 8000, 8008, 8080, 8081, 8088, 8443, 8888, 9443))
"""TCP ports at which only TLS and HTTP are allowed by name, unless the rule says ``tls=sni-optional`` or ``off``."""
_HANDSHAKE = 0x16
_PRI = PREFACE[:4]
_LONGEST_METHOD = max(map(len, METHODS))
_BEGINNINGS = frozenset(method[:length] for method in METHODS for length in range(len(method) + 1))
"""Beginnings of the methods of HTTP."""


class StreamInspection:
    """Reads what the client of one TCP connection says; a :class:`~slirpy.interfaces.FirstBytes`.

    Args:
        names: the names that allow the flow, in lower case.
        mode: ``"strict"``, ``"ech"`` or ``"sni-optional"``.
        port: TCP port of the server.
    """

    __slots__ = ("_answer", "_demand", "_kind", "_passed", "_reader", "_start", "_web")

    def __init__(self, names: Sequence[str], mode: str, port: int) -> None:
        self._demand = Demand(names, mode)
        self._web = port in WEB_PORTS and not self._demand.optional
        self._start = b""  # bytes that the reader has yet to get
        self._reader: HelloReader | RequestReader | FrameReader | None = None
        self._kind = ""
        self._passed = False
        self._answer: UpgradeAnswer | None = None

    @property
    def body(self) -> int | None:
        """Number of the next bytes that need not be fed; None: all."""
        return self._reader.body if isinstance(self._reader, RequestReader | FrameReader) else 0

    def skip(self, count: int) -> None:
        """Count bytes of :attr:`body` that went on without :meth:`feed`."""
        if isinstance(self._reader, RequestReader | FrameReader):
            self._reader.skip(count)

    def feed(self, data: bytes) -> Finding:
        """Take the next bytes of the client."""
        if self._start:
            data, self._start = self._start + data, b""
        try:
            if self._reader is None:
                finding = self._recognize(data)
                if self._reader is None:
                    return finding
            return self._read(data)
        except UnreadableError as error:
            return self._refused(str(error))

    def end(self) -> Finding:
        """The client has ended its stream."""
        if self._passed or (self._demand.optional and self._reader is None):
            return Passed(self._kind or "other")
        return self._refused("the client ended before it said a name")

    def heard(self, data: bytes) -> None:
        """Read the server's answer to a request with ``Upgrade``. Afterwards :meth:`feed` may let held bytes go."""
        reader = self._reader
        if self._answer is None or not isinstance(reader, RequestReader):
            return
        accepted = self._answer.feed(data)
        if accepted is None:
            return
        self._answer = None
        if accepted and b"h2c" in reader.upgrading:
            self._start = reader.rest()
            self._reader, self._kind = FrameReader(), "h2"
        else:
            reader.upgraded(accepted)

    # -------------------------------------------------------------------------------------------

    def _recognize(self, data: bytes) -> Finding:
        """Choose a reader, if the bytes show one. Otherwise returns the answer."""
        if not data:
            return UNDECIDED
        first, web = data[0], self._web
        finding: Finding = UNDECIDED
        if first == _HANDSHAKE and (web or data[1:2] == b"\3"):
            self._reader, self._kind = HelloReader(), "tls"
        elif first & 0x80 and (web or (data[2:3] == b"\1" and data[3:4] in (b"\0", b"\3"))):
            finding = self._refused("SSL 2 hello, or no web protocol")
        elif data.startswith(_PRI):
            self._reader, self._kind = FrameReader(), "h2"
        elif not _PRI.startswith(data):
            word, space, _ = data[: _LONGEST_METHOD + 1].partition(b" ")
            if (web and first != _HANDSHAKE) or (space and word in METHODS):
                self._reader, self._kind = RequestReader(), "http/1"
            elif space or not _may_become_another(data):
                finding = Passed("ssh" if data.startswith(b"SSH-") else "other")
        if finding is UNDECIDED and self._reader is None:
            self._start = data
        return finding

    def _read(self, data: bytes) -> Finding:
        reader, demand = self._reader, self._demand
        if isinstance(reader, HelloReader):
            hello = reader.feed(data)
            if hello is None:
                return UNDECIDED
            name = hello.server_name
            refused = demand.refuse_hello(hello, "tls", ALERT_ACCESS_DENIED)
            return refused or Passed("tls", () if name is None else (name,))
        hosts: list[str] = []
        if isinstance(reader, RequestReader):
            requests, _ = reader.feed(data)
            hosts = [request.host for request in requests]
            if reader.upgrading and requests:
                self._answer = UpgradeAnswer()
        elif reader is not None:
            hosts, _ = reader.feed(data)
        for host in hosts:
            reason = demand.refuse_host(host)
            if reason:
                return self._refused(reason, (host,) if host else ())
        if hosts:
            self._passed = True
        if not self._passed or reader is None:
            return UNDECIDED
        said = tuple(dict.fromkeys(host for host in hosts if host))
        return Passed(self._kind, said, more=True, held=reader.held)

    def _refused(self, reason: str, names: tuple[str, ...] = ()) -> Refused:
        reader, answer = self._reader, b""
        if isinstance(reader, HelloReader):
            answer = ALERT_ACCESS_DENIED
        elif isinstance(reader, RequestReader) and reader.recognized and not self._passed:
            # Later the server may be in the middle of a response.
            answer = forbidden(reason)
        return Refused(reason, names, self._kind, answer)


def _may_become_another(data: bytes) -> bool:
    """Report whether more bytes could make a known protocol of bytes that are none so far."""
    if data[0] == _HANDSHAKE:
        return len(data) == 1
    if data[0] & 0x80:
        return len(data) < 3 or (len(data) == 3 and data[2] == 1)
    return data in _BEGINNINGS
