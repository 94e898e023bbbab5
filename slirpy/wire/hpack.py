"""HPACK, the compression of HTTP/2's fields (RFC 7541): the decoder of one direction.

Only two fields matter here, ``:authority`` and ``host``, but the dynamic table is shared by all fields, and its
size depends on the length of each. So every block is decoded, and most values are forgotten.

The Huffman code is decoded four bits at a time, by a table that is computed from the lengths of the codes: the
code is canonical, so the lengths and the order of symbols determine it.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import Any, TypeAlias

from slirpy.interfaces import Buffer
from slirpy.wire.unreadable import UnreadableError

__all__ = ["MAX_BLOCK", "MAX_FIELDS", "Decoder", "huffman_decode"]

MAX_BLOCK = 8192
"""Most bytes of a block of fields, so that its decoding takes less than 2 ms."""
MAX_FIELDS = 512
"""Most fields of one block."""
DEFAULT_TABLE_SIZE = 4096
"""Size of the dynamic table, unless the server's SETTINGS allow more (RFC 9113, section 6.5.2)."""
MAX_TABLE_SIZE = 65536
_OVERHEAD = 32
"""Size of an entry beyond its name and value (RFC 7541, section 4.1)."""
_MAX_INTEGER_BYTES = 4

_STATIC: tuple[tuple[bytes, bytes], ...] = tuple(
    (name, value)
    for name, _, value in (
        line.partition(b" ")
        for line in b""":authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate""".split(b"\n")
    )
)
"""RFC 7541, appendix A."""

_CODE_LENGTHS = bytes.fromhex(
    "0d171c1c1c1c1c1c1c181e1c1c1e1c1c1c1c1c1c1c1c1e1c1c1c1c1c1c1c1c1c060a0a0c0d06080b0a0a080b080606060505"
    "050606060606060607080f060c0a0d06070707070707070707070707070707070707070707070807080d130d0e060f050605"
    "06050606060507070606060506070605050607070707070f0b0e0d1c14161414161616171617171717171817181816171817"
    "1717171516171617171816151416161717151716161815161717151516151716171714161616171616171a1a141316171619"
    "1a1a1a1b1b1a181913151a1b1b1a1b1815151a1a1c1b1b1b14181415161515171616191918181a171a1b1a1a1b1b1b1b1b1c"
    "1b1b1b1b1b1a1e"
)
"""Bits of the code of each symbol from 0 to 256, the end of string (RFC 7541, appendix B)."""
_END = 256

_Row: TypeAlias = "list[tuple[Any, int]]"
"""For each of 16 nibbles: the next row, None if no code continues so; and the symbol that it completes, or -1."""


@cache
def _rows() -> tuple[_Row, frozenset[int]]:
    """Compute the first row, and the identities of rows at which a string may end. It takes 1.5 ms, once."""
    children: list[list[int]] = [[0, 0]]  # a node's two successors: a node, or -1 - symbol
    code = previous = 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(_CODE_LENGTHS)):
        code <<= length - previous
        previous = length
        node = 0
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            if not children[node][bit]:
                children[node][bit] = len(children)
                children.append([0, 0])
            node = children[node][bit]
        children[node][code & 1] = -1 - symbol
        code += 1
    rows: list[_Row] = [[] for _ in children]
    for start, row in enumerate(rows):
        for nibble in range(16):
            node, found = start, -1
            for shift in (3, 2, 1, 0):
                node = children[node][nibble >> shift & 1]
                if node < 0:
                    found, node = -1 - node, 0
            row.append((None, -1) if found == _END else (rows[node], found))
    ends, node = [0], 0
    for _ in range(7):  # padding: the first bits of the end of string, which are ones, less than a byte
        node = children[node][1]
        ends.append(node)
    return rows[0], frozenset(id(rows[node]) for node in ends)


def huffman_decode(data: Buffer) -> bytes:
    """Decode a string (RFC 7541, section 5.2).

    Raises:
        UnreadableError: it contains the end of string, or its padding is wrong.
    """
    out = bytearray()
    append = out.append
    row, ends = _rows()
    try:
        for byte in data:
            row, symbol = row[byte >> 4]
            if symbol >= 0:
                append(symbol)
            row, symbol = row[byte & 15]
            if symbol >= 0:
                append(symbol)
    except TypeError:  # the row None
        raise UnreadableError("malformed Huffman code") from None
    if id(row) not in ends:
        raise UnreadableError("malformed Huffman code")
    return bytes(out)


class Decoder:
    """Decodes the blocks of one direction of a connection, in order.

    Args:
        limit: size of the dynamic table that the far side's SETTINGS allow at most. It is not known here, since those
            are on their way in the other direction; an encoder may use any size up to it.
    """

    def __init__(self, limit: int = MAX_TABLE_SIZE) -> None:
        self._limit = limit
        self._max_size = DEFAULT_TABLE_SIZE
        self._size = 0
        self._dynamic: deque[tuple[bytes, bytes]] = deque()  # the newest first

    def decode(self, block: bytes) -> list[tuple[bytes, bytes]]:
        """Decode a complete block. Returns names and values in order.

        Raises:
            UnreadableError: malformed, or over :data:`MAX_BLOCK` or :data:`MAX_FIELDS`.
        """
        if len(block) > MAX_BLOCK:
            raise UnreadableError("block of HTTP/2 fields too long")
        fields: list[tuple[bytes, bytes]] = []
        at = 0
        try:
            while at < len(block):
                first = block[at]
                if first & 0x80:
                    index, at = _integer(block, at, 7)
                    fields.append(self._entry(index))
                elif first & 0xE0 == 0x20:
                    if fields:
                        raise UnreadableError("late change of HPACK's table")
                    size, at = _integer(block, at, 5)
                    if size > self._limit:
                        raise UnreadableError("table of HPACK too large")
                    self._max_size = size
                    self._evict()
                else:
                    indexed = first & 0x40
                    index, at = _integer(block, at, 6 if indexed else 4)
                    name, at = (self._entry(index)[0], at) if index else _string(block, at)
                    value, at = _string(block, at)
                    fields.append((name, value))
                    if indexed:
                        self._dynamic.appendleft((name, value))
                        self._size += len(name) + len(value) + _OVERHEAD
                        self._evict()
                if len(fields) > MAX_FIELDS:
                    raise UnreadableError("too many HTTP/2 fields")
        except IndexError:
            raise UnreadableError("block of HTTP/2 fields cut short") from None
        return fields

    def _entry(self, index: int) -> tuple[bytes, bytes]:
        if not index:
            raise UnreadableError("HPACK index 0")
        if index <= len(_STATIC):
            return _STATIC[index - 1]
        if index - len(_STATIC) > len(self._dynamic):
            raise UnreadableError("HPACK index beyond the table")
        return self._dynamic[index - len(_STATIC) - 1]

    def _evict(self) -> None:
        """Drop the oldest entries, until the table has its size (RFC 7541, section 4.3)."""
        while self._size > self._max_size:
            name, value = self._dynamic.pop()
            self._size -= len(name) + len(value) + _OVERHEAD


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """Read an integer with a prefix of ``bits`` bits (RFC 7541, section 5.1). Returns it, and where it ends."""
    mask = (1 << bits) - 1
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in range(0, 7 * _MAX_INTEGER_BYTES, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise UnreadableError("HPACK integer too large")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Read a string (RFC 7541, section 5.2). Returns it, and where it ends."""
    huffman = block[at] & 0x80
    length, start = _integer(block, at, 7)
    end = start + length
    if end > len(block):
        raise UnreadableError("block of HTTP/2 fields cut short")
    data = block[start:end]
    return (huffman_decode(data) if huffman else data), end
