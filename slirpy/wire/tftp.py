"""TFTP packets (RFC 1350, section 5, and RFC 2347).

Requests are read here, because phones, boot ROMs and firmware send many that tftpy rejects: with empty values,
padding, names in other encodings. Only the name and the mode decide whether a request is answered; an option that
makes no sense is ignored. Option acknowledgements and errors are written by tftpy's packet classes, without its
sockets and threads. Blocks and acknowledgements need only the four bytes of :data:`HEADER`.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Mapping
from typing import Any

from slirpy.records import NamedTuple

__all__ = ["ACK", "DATA", "ERROR", "HEADER", "OACK", "RRQ", "WRQ", "Code", "RefusalError", "Request", "codec",
           "error", "oack", "read_request"]  # fmt: skip

RRQ, WRQ, DATA, ACK, ERROR, OACK = range(1, 7)
HEADER = struct.Struct("!HH")
"""Opcode, and block number or error code."""
MAX_REQUEST = 2048
"""Bytes of a request that are read. RFC 2347 allows 512. Whatever lies beyond our limit is ignored."""
MAX_TEXT = 200


@functools.cache
def codec() -> Any:
    """tftpy's packet classes. They come with all of tftpy, which takes 30 ms to load, so only a server loads them."""
    from tftpy import TftpPacketTypes

    return TftpPacketTypes


class Code(enum.IntEnum):
    """Error codes (RFC 1350, appendix; RFC 2347)."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS = 2
    FULL = 3
    ILLEGAL = 4
    UNKNOWN_ID = 5
    EXISTS = 6
    NO_USER = 7
    OPTIONS = 8


class RefusalError(Exception):
    """Ends a request or a transfer; the guest receives the reason. Never leaves the service."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Request(NamedTuple):
    """A read request or a write request."""

    write: bool
    name: str
    """The file name, from UTF-8. Other bytes are kept as surrogate escapes (see :func:`os.fsencode`)."""
    mode: str
    """The mode, in lower case."""
    options: tuple[tuple[str, str], ...]
    """Names in lower case (RFC 2347 ignores case), and values, in the order of the packet."""


def read_request(payload: bytes) -> Request:
    """Read a packet whose opcode is RRQ or WRQ.

    Raises:
        RefusalError: the name or the mode is not terminated.
    """
    name, *words = payload[2:MAX_REQUEST].split(b"\0")
    if len(words) < 2:
        raise RefusalError(Code.ILLEGAL, "malformed request")
    words.pop()  # behind the last NUL: nothing, or a part that was cut off
    mode = words[0].lower().decode("ascii", "replace")
    return Request(payload[1] == WRQ, name.decode("utf-8", "surrogateescape"), mode, _options(words))


def _options(words: list[bytes]) -> tuple[tuple[str, str], ...]:
    """The options behind a request's mode, which is ``words[0]``.

    NULs in place of a name are padding. A name without a value is ignored, and so is anything that is not ASCII.
    """
    found = []
    at = 1
    while at < len(words) - 1:
        name, value = words[at : at + 2]
        if not name:
            at += 1
            continue
        at += 2
        if name.isascii() and value.isascii():
            found.append((name.lower().decode(), value.decode()))
    return tuple(found)


def oack(options: Mapping[str, str]) -> bytes:
    """An option acknowledgement (RFC 2347)."""
    packet = codec().TftpPacketOACK()
    packet.options = dict(options)
    encoded: bytes = packet.encode().buffer
    return encoded


def error(code: Code, text: str) -> bytes:
    """An error packet."""
    packet = codec().TftpPacketERR()
    packet.errorcode = int(code)
    packet.errmsgs = {int(code): text.encode("ascii", "replace")[:MAX_TEXT]}
    encoded: bytes = packet.encode().buffer
    return encoded
