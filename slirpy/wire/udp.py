"""The UDP header (RFC 768)."""

from __future__ import annotations

from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.wire.checksum import checksum, ones_sum

__all__ = ["HEADER", "HEADER_LENGTH", "MAX_PAYLOAD", "build"]

HEADER_LENGTH = 8
MAX_PAYLOAD = 65535 - 20 - HEADER_LENGTH
"""Most bytes that a datagram in an IPv4 packet without options can carry."""
HEADER = Struct("!HHHH")
"""Source port, destination port, length, checksum."""


def build(source: bytes, source_port: int, destination: bytes, destination_port: int, payload: Buffer) -> bytes:
    """A header with its checksum, for ``payload`` of at most :data:`MAX_PAYLOAD` bytes."""
    length = HEADER_LENGTH + len(payload)
    header = HEADER.pack(source_port, destination_port, length, 0)
    pseudo = ones_sum(source + destination) + 17 + length
    # A checksum of zero would mean "none": its other form stands for it (RFC 768).
    value = checksum(payload, pseudo + ones_sum(header)) or 0xFFFF
    return header[:6] + value.to_bytes(2, "big")
