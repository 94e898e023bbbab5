"""The UDP header (RFC 768)."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Final

from slirpy.interfaces import Buffer
from slirpy.wire.checksum import checksum, ones_sum

__all__ = ["HEADER", "HEADER_LENGTH", "MAX_PAYLOAD", "MAX_PAYLOAD6", "build", "run_length"]

HEADER_LENGTH: Final = 8
MAX_PAYLOAD: Final = 65535 - 20 - HEADER_LENGTH
"""Maximum payload of a datagram in an IPv4 packet without options, in bytes."""
MAX_PAYLOAD6: Final = 65535 - HEADER_LENGTH
"""Maximum payload in an IPv6 packet, whose length does not include its header."""
HEADER: Final = Struct("!HHHH")
"""Source port, destination port, length, checksum."""


_RUN: Final = 64
_RUN_BYTES: Final = 65000  # still fits an IP packet with headers


def run_length(payloads: Sequence[Buffer], start: int) -> int:
    """Return how many datagrams from ``start`` on can be sent as one large one that is cut later.

    They have the same size, which is not 0; the last may be shorter. The limits are 64, Linux's maximum, and the
    size of an IP packet.
    """
    size = total = len(payloads[start])
    count = 1
    for payload in payloads[start + 1 : start + _RUN]:
        length = len(payload)
        total += length
        if not 0 < length <= size or total > _RUN_BYTES:
            break
        count += 1
        if length < size:
            break
    return count


def build(source: bytes, source_port: int, destination: bytes, destination_port: int, payload: Buffer) -> bytes:
    """Build a header with its checksum, for ``payload`` of at most :data:`MAX_PAYLOAD` bytes."""
    length = HEADER_LENGTH + len(payload)
    header = HEADER.pack(source_port, destination_port, length, 0)
    pseudo = ones_sum(source + destination) + 17 + length
    # A checksum of zero would mean "none": its other form replaces it (RFC 768).
    value = checksum(payload, pseudo + ones_sum(header)) or 0xFFFF
    return header[:6] + value.to_bytes(2, "big")
