"""The TLS ClientHello at the start of a connection (RFC 8446, RFC 5246), for the server name that it asks for.

:class:`HelloReader` takes the bytes of a TCP stream in pieces of any size. A ClientHello may be spread over any
number of TLS records, as post-quantum key shares or tools against censorship spread it, so the handshake message
is put together first, and parsed once it is complete.

The reader is strict, because a server that reads the bytes in another way could find another name in them.
Whatever the RFCs forbid is refused: two extensions of one kind, two names, bytes left over, lengths that disagree.
The hello of SSL 2 (RFC 5246, appendix E.2) has no extensions, and is refused as well.

**Encrypted ClientHello** (RFC 9849). A client that has a server's keys sends the real name encrypted, in the
extension ``encrypted_client_hello``, and another one in the clear. A client without keys sends the same extension
with random content (GREASE), so that observers cannot distinguish the two. :attr:`ClientHello.ech` is true for both.
"""

from __future__ import annotations

from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.records import NamedTuple
from slirpy.wire.unreadable import UnreadableError, host_name

__all__ = ["ALERT_ACCESS_DENIED", "MAX_HELLO", "ClientHello", "HelloReader", "parse_client_hello"]

MAX_HELLO = 65536
"""Most bytes of a handshake message that are accepted. Post-quantum hellos have 2 KiB; padding makes 16 KiB."""
MAX_RECORDS = 1024
"""Most records over which one hello may be spread."""
MAX_EXTENSIONS = 256
MAX_RECORD = 1 << 14
"""Bytes of a record's content (RFC 8446, section 5.1)."""

_ALERT, _HANDSHAKE = 21, 22
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN, _ECH = 0, 16, 0xFE0D
_HOST_NAME = 0
_OUTER = 0
_EXTENSION = Struct("!HH")
"""Kind and length of an extension."""

ALERT_ACCESS_DENIED = bytes((_ALERT, 3, 3, 0, 2, 2, 49))
"""A fatal alert, ``access_denied`` (RFC 8446, section 6.2): the reason that a client shows."""


class ClientHello(NamedTuple):
    """The parts of a ClientHello that concern the server's name."""

    server_name: str | None
    """The host name of the extension ``server_name`` (RFC 6066, section 3), in lower case; None: there is none."""
    alpn: tuple[bytes, ...]
    """Names of protocols that the client offers (RFC 7301)."""
    ech: bool
    """True if there is an extension ``encrypted_client_hello``, genuine or not."""


class HelloReader:
    """Reads the first handshake message of a TLS client.

    At most :data:`MAX_HELLO` bytes are kept. The time of each call grows with the bytes given, never with their
    square.
    """

    def __init__(self) -> None:
        self._raw = bytearray()  # bytes whose record is incomplete
        self._message = bytearray()
        self._records = 0

    def feed(self, data: Buffer) -> ClientHello | None:
        """Take more bytes of the stream. Returns the hello once it is complete, None before that.

        Raises:
            UnreadableError: this is no ClientHello that a server would accept.
        """
        raw = self._raw
        raw += data
        at, end = 0, len(raw)
        while at < end:
            if raw[at] != _HANDSHAKE:
                raise UnreadableError("SSL 2 hello" if raw[at] & 0x80 else "not a TLS handshake")
            if at + 1 < end and raw[at + 1] != 3:
                raise UnreadableError("unknown TLS version")
            if at + 5 > end:
                break
            length = raw[at + 3] << 8 | raw[at + 4]
            if not 0 < length <= MAX_RECORD:
                raise UnreadableError("TLS record of a forbidden length")
            if at + 5 + length > end:
                break
            self._records += 1
            if self._records > MAX_RECORDS:
                raise UnreadableError("ClientHello in too many records")
            self._message += memoryview(raw)[at + 5 : at + 5 + length]
            at += 5 + length
            if (hello := self._complete()) is not None:
                return hello
        del raw[:at]
        if len(raw) > 5:
            self._check_start(raw[5:9] if not self._message else self._message[:4])
        return None

    def _complete(self) -> ClientHello | None:
        """The hello, if the records so far contain all of it."""
        message = self._message
        length = self._check_start(message)
        if length is None or len(message) < 4 + length:
            return None
        if len(message) > 4 + length:
            raise UnreadableError("bytes after the ClientHello")
        return parse_client_hello(bytes(message[4:]))

    @staticmethod
    def _check_start(message: bytearray) -> int | None:
        """Check the first four bytes of the message, as far as they are known; returns the length of the rest."""
        if message and message[0] != _CLIENT_HELLO:
            raise UnreadableError("not a ClientHello")
        if len(message) < 4:
            return None
        length = int.from_bytes(message[1:4], "big")
        if length > MAX_HELLO:
            raise UnreadableError("ClientHello too long")
        return length


class _Cursor:
    """Reads fields of a message one after another; whatever is beyond the end raises an exception."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._end = data, 0, len(data)

    def __bool__(self) -> bool:
        return self._at < self._end

    def take(self, length: int) -> bytes:
        start = self._at
        self._at = start + length
        if self._at > self._end:
            raise UnreadableError("ClientHello cut short")
        return self._data[start : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int, least: int = 0) -> bytes:
        """A vector of at least ``least`` bytes, whose length has ``size`` bytes (RFC 8446, section 3.4)."""
        start = self._at + size
        length = int.from_bytes(self._data[self._at : start], "big")
        self._at = start + length
        if self._at > self._end:
            raise UnreadableError("ClientHello cut short")
        if length < least:
            raise UnreadableError("ClientHello with an empty field")
        return self._data[start : self._at]


def parse_client_hello(body: bytes) -> ClientHello:
    """Parse the body of a ClientHello (RFC 8446, section 4.1.2), without the handshake header.

    Raises:
        UnreadableError: malformed.
    """
    cursor = _Cursor(body)
    if cursor.take(2 + 32)[0] != 3:  # legacy_version; random
        raise UnreadableError("unknown TLS version")
    if len(cursor.vector(1)) > 32:
        raise UnreadableError("session ID too long")
    if len(cursor.vector(2, 2)) % 2:
        raise UnreadableError("cipher suites of odd length")
    cursor.vector(1, 1)  # legacy_compression_methods
    block = cursor.vector(2) if cursor else b""
    if cursor:
        raise UnreadableError("bytes after the extensions")
    extensions = _extensions(block)

    def data(kind: int) -> _Cursor | None:
        where = extensions.get(kind)
        return None if where is None else _Cursor(block[where[0] : where[1]])

    name, alpn, ech = data(_SERVER_NAME), data(_ALPN), data(_ECH)
    if ech is not None:
        _check_ech(ech)
    return ClientHello(
        server_name=None if name is None else _server_name(name),
        alpn=() if alpn is None else _protocols(alpn),
        ech=ech is not None,
    )


def _extensions(block: bytes) -> dict[int, tuple[int, int]]:
    """Find the extensions in their block (RFC 8446, section 4.2): where the data of each kind begins and ends."""
    found: dict[int, tuple[int, int]] = {}
    unpack = _EXTENSION.unpack_from
    at, end, count = 0, len(block), 0
    while at + 4 <= end:
        kind, length = unpack(block, at)
        start = at + 4
        at = start + length
        found[kind] = start, at
        count += 1
        if count > MAX_EXTENSIONS:
            raise UnreadableError("too many extensions")
    if at != end:
        raise UnreadableError("ClientHello cut short")
    if len(found) < count:
        raise UnreadableError("two extensions of one kind")
    return found


def _server_name(extension: _Cursor) -> str:
    """Read the extension ``server_name``: exactly one name, a host's (RFC 6066, section 3)."""
    names = _Cursor(extension.vector(2, 1))
    kind, data = names.number(1), names.vector(2, 1)
    if names or extension:
        raise UnreadableError("more than one server name")
    name = host_name(data)
    if kind != _HOST_NAME or name is None:
        raise UnreadableError("server name that is no host name")
    return name


def _protocols(extension: _Cursor) -> tuple[bytes, ...]:
    """Read the extension of RFC 7301."""
    names = _Cursor(extension.vector(2, 2))
    found = []
    while names:
        found.append(names.vector(1, 1))
    if extension or len(found) > MAX_EXTENSIONS:
        raise UnreadableError("malformed list of protocols")
    return tuple(found)


def _check_ech(extension: _Cursor) -> None:
    """Check the form of an outer ``encrypted_client_hello`` (RFC 9849, section 5)."""
    if extension.number(1) != _OUTER:
        raise UnreadableError("inner ClientHello in the clear")
    extension.take(2 + 2 + 1)  # KDF, AEAD, config_id
    extension.vector(2)  # enc, which is empty in a second hello
    extension.vector(2, 1)  # payload
    if extension:
        raise UnreadableError("malformed encrypted_client_hello")
