"""Corruption of frames: one wrong bit under a real checksum, so that the receiver can detect it.

On a link with checksum offload, frames have partial checksums, or unchecked ones. They are completed before the bit
is flipped; otherwise the checksum would be computed later, over the wrong bit, and declare it good.
"""

from __future__ import annotations

from random import Random
from typing import TypeAlias

from slirpy.interfaces import Buffer, Frame
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.ethernet import payload_offset

__all__ = ["Received", "corrupt_bytes", "corrupt_received", "corrupt_sent"]

Received: TypeAlias = tuple[Buffer, bool, int]
"""Arguments of :meth:`slirpy.interfaces.LinkSink.input`: a frame, whether it needs no check, and ``gso_size``."""

_MIN_PACKET = 34
_CHECKSUM_AT = {6: 16, 17: 6}
"""IP protocol number: offset of the checksum in the header."""


def _flip(data: bytearray, random: Random) -> None:
    if data:
        bit = random.randrange(len(data) * 8)
        data[bit >> 3] ^= 1 << (bit & 7)


def corrupt_bytes(frame: bytes, random: Random) -> bytes:
    """Return a frame with one wrong bit. Its checksum must be complete."""
    data = bytearray(frame)
    _flip(data, random)
    return bytes(data)


def corrupt_sent(frame: Frame, random: Random) -> Frame:
    """Return a frame with a complete checksum and one wrong bit."""
    data = bytearray().join(frame.parts)
    start = frame.csum_start
    if start:
        # The field contains the sum of the pseudo-header, so the sum from here on covers everything.
        field = start + frame.csum_offset
        data[field : field + 2] = (checksum(data[start:]) or 0xFFFF).to_bytes(2, "big")
    _flip(data, random)
    return Frame((bytes(data),))


def corrupt_received(received: Received, random: Random) -> Received:
    """Return a frame with one wrong bit, whose checksum must be checked; it may have been partial before."""
    frame, checksummed, gso_size = received
    data = bytearray(frame)
    if checksummed:
        _complete(data)
    _flip(data, random)
    return bytes(data), False, gso_size


def _complete(data: bytearray) -> None:
    """Compute the TCP or UDP checksum of a frame that arrived with a partial one or none at all."""
    if len(data) < _MIN_PACKET:
        return
    at = payload_offset(data)
    kind, packet = data[at - 2 : at], data[at:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        if int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return  # a fragment: the checksum covers the whole packet
        protocol, start = packet[9], at + (packet[0] & 15) * 4
        addresses, end = packet[12:20], at + int.from_bytes(packet[2:4], "big")
    elif kind == b"\x86\xdd" and len(packet) >= 40:
        protocol, start = packet[6], at + 40
        addresses, end = packet[8:40], at + 40 + int.from_bytes(packet[4:6], "big")
    else:
        return
    field = start + _CHECKSUM_AT.get(protocol, 0)
    if field == start or not start + 8 <= end <= len(data) or field + 2 > end:
        return
    if protocol == 17 and data[field : field + 2] == b"\0\0":
        return  # the sender uses none
    data[field : field + 2] = b"\0\0"
    value = checksum(data[start:end], ones_sum(addresses) + protocol + end - start)
    data[field : field + 2] = (value or 0xFFFF).to_bytes(2, "big")
