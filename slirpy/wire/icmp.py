"""ICMP messages (RFC 792): echo, and the errors that we send."""

from __future__ import annotations

from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.wire.checksum import checksum

__all__ = ["ADMIN_PROHIBITED", "ECHO_REPLY", "ECHO_REQUEST", "HEADER_LENGTH", "HOST_UNREACHABLE",
    "NET_UNREACHABLE",    "PORT_UNREACHABLE", "TIME_EXCEEDED", "UNREACHABLE", "build"]  # fmt: skip

HEADER_LENGTH = 8
ECHO_REPLY = 0
UNREACHABLE = 3
ECHO_REQUEST = 8
TIME_EXCEEDED = 11

NET_UNREACHABLE = 0
HOST_UNREACHABLE = 1
PORT_UNREACHABLE = 3
ADMIN_PROHIBITED = 13

_HEADER = Struct("!BBHI")


def build(kind: int, code: int, rest: int, payload: Buffer) -> bytes:
    """A whole message with its checksum; ``rest`` is the header's second word."""
    message = _HEADER.pack(kind, code, 0, rest) + payload
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
