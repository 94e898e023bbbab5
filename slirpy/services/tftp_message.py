"""TFTP packets (RFC 1350, section 5, and RFC 2347).

Requests, option acknowledgements and errors are tftpy's packet classes; what each block takes is the four bytes of
:data:`HEADER`. Of tftpy only these classes are used, not its sockets and threads. Its ``ERROR`` is not used for
reading: it would write what the guest sends to the log.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ACK", "DATA", "ERROR", "HEADER", "OACK", "RRQ", "WRQ", "Code", "RefusalError", "Request", "codec",
           "error", "oack", "read_request"]  # fmt: skip

RRQ, WRQ, DATA, ACK, ERROR, OACK = range(1, 7)
HEADER = struct.Struct("!HH")
"""Opcode, and block number or error code."""
MAX_REQUEST = 2048
"""Bytes that a request may have. RFC 2347 has 512; the rest is so that long names are refused as names."""
MAX_TEXT = 200


@functools.cache
def codec() -> Any:
    """tftpy's packet classes. Loading them takes 30 ms, for they come with all of tftpy: so only who serves does."""
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
    """Ends a request or a transfer; the guest is told why. It never leaves the service."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Request(NamedTuple):
    """A read or a write request."""

    write: bool
    name: str
    mode: str
    """In small letters."""
    options: dict[str, str]
    """By names in small letters (RFC 2347: case does not matter)."""


def read_request(payload: bytes) -> Request:
    """Read a packet whose opcode is RRQ or WRQ.

    Raises:
        RefusalError: it is malformed, or its name is not UTF-8.
    """
    if len(payload) > MAX_REQUEST:
        raise RefusalError(Code.ILLEGAL, f"a request has at most {MAX_REQUEST} bytes")
    types = codec()
    packet = types.TftpPacketRRQ() if payload[1] == RRQ else types.TftpPacketWRQ()
    # RFC 1350 has names in ASCII, which is all that tftpy reads. Clients send what their user typed, so UTF-8.
    raw = payload[2:].partition(b"\0")[0]
    packet.buffer = payload if raw.isascii() else payload[:2] + b"-" + payload[2 + len(raw) :]
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise RefusalError(Code.ACCESS, "the name is not UTF-8") from None
    try:
        packet.decode()
    except (types.TftpException, struct.error, UnicodeDecodeError):
        raise RefusalError(Code.ILLEGAL, "malformed request") from None
    options = {key.lower(): value for key, value in packet.options.items()}
    return Request(payload[1] == WRQ, name, packet.mode, options)


def oack(options: Mapping[str, str]) -> bytes:
    """An option acknowledgement (RFC 2347)."""
    packet = codec().TftpPacketOACK()
    packet.options = dict(options)
    encoded: bytes = packet.encode().buffer
    return encoded


def error(code: Code, text: str) -> bytes:
    """An error with its text."""
    packet = codec().TftpPacketERR()
    packet.errorcode = int(code)
    packet.errmsgs = {int(code): text.encode("ascii", "replace")[:MAX_TEXT]}
    encoded: bytes = packet.encode().buffer
    return encoded
