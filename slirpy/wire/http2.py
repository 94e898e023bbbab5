"""HTTP/2 in clear as a client sends it with prior knowledge (RFC 9113, section 3.3), for the hosts of its requests.

:class:`FrameReader` takes the bytes of a TCP stream in pieces of any size, and finds the host of every request:
the pseudo-header ``:authority``, which must agree with ``host`` if both are there. The content of other frames is
not looked at.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.wire.hpack import MAX_BLOCK, Decoder
from slirpy.wire.http1 import authority_host
from slirpy.wire.unreadable import UnreadableError

__all__ = ["PREFACE", "FrameReader"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""The first bytes of a client (RFC 9113, section 3.4)."""
_HEADER = 9
_HEADERS, _SETTINGS, _PUSH_PROMISE, _CONTINUATION = 1, 4, 5, 9
_END_HEADERS, _PADDED, _PRIORITY = 4, 8, 32
_ACK = 1


class FrameReader:
    """Reads the frames of one client.

    Attributes:
        body: number of the next bytes that belong to a frame without a name. They need not be given to :meth:`feed`:
            :meth:`skip` counts them.
    """

    def __init__(self) -> None:
        self.body = 0
        self._held = bytearray()
        self._parsed = 0  # bytes at the beginning of the held ones: frames of an unfinished request
        self._decoder = Decoder()
        self._block: bytearray | None = None  # of a request whose END_HEADERS has not come
        self._stream = 0  # of that request
        self._last = 0
        """The highest stream that a request has opened."""
        self._state = 0
        """0: the preface is expected; 1: SETTINGS; 2: any frame."""

    @property
    def held(self) -> int:
        """Number of bytes that were given to :meth:`feed` and not returned yet."""
        return len(self._held)

    def feed(self, data: Buffer) -> tuple[list[str], bytes]:
        """Take more bytes of the stream.

        Returns:
            The host of each request that became complete, a name in lower case or the text of an address; and the
            bytes that may be passed on if these are allowed.

        Raises:
            UnreadableError: malformed; or a request without a host, with two, or with ``CONNECT``.
        """
        found: list[str] = []
        held = self._held
        held += data
        at, passed = self._parsed, 0
        while at < len(held):
            if self.body:
                step = min(self.body, len(held) - at)
                at += step
                self.body -= step
            else:
                end = self._frame(at, found) if self._state else self._preface(at)
                if end is None:
                    break
                at = end
            if self._block is None:
                passed = at
        released = bytes(held[:passed])
        del held[:passed]
        self._parsed = at - passed
        return found, released

    def skip(self, count: int) -> None:
        """Count bytes of :attr:`body` that were passed on without :meth:`feed`."""
        self.body -= count

    def _preface(self, at: int) -> int | None:
        """The first bytes of the client. Returns where they end; None: they are incomplete."""
        start = bytes(self._held[at : at + len(PREFACE)])
        if not PREFACE.startswith(start):
            raise UnreadableError("malformed HTTP/2 preface")
        if len(start) < len(PREFACE):
            return None
        self._state = 1
        return at + len(PREFACE)

    def _frame(self, at: int, found: list[str]) -> int | None:
        """A frame (RFC 9113, section 4.1). Returns where it, or only its header, ends; None: it is incomplete."""
        held = self._held
        start = at + _HEADER
        if start > len(held):
            return None
        length = int.from_bytes(held[at : at + 3], "big")
        kind, flags = held[at + 3], held[at + 4]
        stream = int.from_bytes(held[at + 5 : start], "big") & 0x7FFFFFFF
        if self._state == 1:
            if kind != _SETTINGS or flags & _ACK or stream or length % 6:
                raise UnreadableError("HTTP/2 without SETTINGS")
            self._state = 2
        if self._block is not None and (kind != _CONTINUATION or stream != self._stream):
            raise UnreadableError("HTTP/2 request cut short")
        if kind not in (_HEADERS, _CONTINUATION):
            if kind == _PUSH_PROMISE:
                raise UnreadableError("PUSH_PROMISE of a client")
            self.body = length
            return start
        if length > MAX_BLOCK:
            raise UnreadableError("block of HTTP/2 fields too long")
        if start + length > len(held):
            return None
        payload = bytes(held[start : start + length])
        if kind == _HEADERS:
            self._block = bytearray(_fragment(payload, flags))
            self._stream = stream
        elif self._block is None or not payload:
            raise UnreadableError("unexpected CONTINUATION")
        else:
            self._block += payload
        if len(self._block) > MAX_BLOCK:
            raise UnreadableError("block of HTTP/2 fields too long")
        if flags & _END_HEADERS:
            block, self._block = bytes(self._block), None
            self._request(self._decoder.decode(block), found)
        return start + length

    def _request(self, fields: list[tuple[bytes, bytes]], found: list[str]) -> None:
        """Note the host of a request. Fields at the end of a body have none."""
        if self._stream <= self._last:
            if any(name.startswith(b":") for name, _ in fields):
                raise UnreadableError("HTTP/2 request on a stream that was used")
            return
        if not self._stream & 1:
            raise UnreadableError("HTTP/2 request on an even stream")
        self._last = self._stream
        names = [name for name, _ in fields]
        if (b":method", b"CONNECT") in fields and b":protocol" not in names:
            raise UnreadableError("CONNECT")
        hosts = [value for name, value in fields if name in (b":authority", b"host")]
        if not hosts or names.count(b":authority") > 1 or names.count(b"host") > 1:
            raise UnreadableError("two hosts in an HTTP/2 request" if hosts else "no host in an HTTP/2 request")
        host = authority_host(hosts[0])
        if any(authority_host(other) != host for other in hosts[1:]):
            raise UnreadableError(":authority and host disagree")
        found.append(host)


def _fragment(payload: bytes, flags: int) -> bytes:
    """The part of the block of fields in a HEADERS frame, without padding and priority (section 6.2)."""
    start, end = 0, len(payload)
    if flags & _PADDED:
        if not payload:
            raise UnreadableError("malformed HTTP/2 frame")
        start, end = 1, end - payload[0]
    if flags & _PRIORITY:
        start += 5
    if start > end:
        raise UnreadableError("malformed HTTP/2 frame")
    return payload[start:end]
