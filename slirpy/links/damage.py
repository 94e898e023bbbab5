"""Damage to frames: one bit is wrong, and the checksum is a real one, so that who receives the frame can tell.

On a link with checksum offload frames have partial checksums, or some that nobody checks. They are completed before
the bit is turned over; else the damage would be declared good by whoever completes them later.
"""

from __future__ import annotations

from random import Random
from typing import TypeAlias

from slirpy.interfaces import Buffer, Frame
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.ethernet import payload_offset

__all__ = ["Received", "damage_received", "damage_sent"]

Received: TypeAlias = tuple[Buffer, bool, int]
"""What :meth:`slirpy.interfaces.LinkSink.input` takes: a frame, whether it needs no check, and ``gso_size``."""

_MIN_PACKET = 34
_CHECKSUM_AT = {6: 16, 17: 6}
"""IP protocol number: offset of the checksum in the header."""


def _flip(data: bytearray, random: Random) -> None:
    if data:
        bit = random.randrange(len(data) * 8)
        data[bit >> 3] ^= 1 << (bit & 7)


def damage_sent(frame: Frame, random: Random) -> Frame:
    """A frame with a complete checksum and one bit wrong."""
    data = bytearray().join(frame.parts)
    start = frame.csum_start
    if start:
        # The field holds the sum of the pseudo-header, so the sum from here on is that of everything.
        field = start + frame.csum_offset
        data[field : field + 2] = (checksum(data[start:]) or 0xFFFF).to_bytes(2, "big")
    _flip(data, random)
    return Frame((bytes(data),))


def damage_received(received: Received, random: Random) -> Received:
    """A frame with one bit wrong, whose checksum is to be checked; it may have been partial before."""
    frame, checksummed, gso_size = received
    data = bytearray(frame)
    if checksummed:
        _complete(data)
    _flip(data, random)
    return bytes(data), False, gso_size


def _complete(data: bytearray) -> None:
    """Compute the TCP or UDP checksum of a frame that came with a partial one or none at all."""
    if len(data) < _MIN_PACKET:
        return
    at = payload_offset(data)
    kind, packet = data[at - 2 : at], data[at:]
    if kind == b"\x08\x00" and len(packet) >= 20:
        if int.from_bytes(packet[6:8], "big") & 0x3FFF:
            return  # a fragment: the checksum is another's
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
        return  # the sender wants none
    data[field : field + 2] = b"\0\0"
    value = checksum(data[start:end], ones_sum(addresses) + protocol + end - start)
    data[field : field + 2] = (value or 0xFFFF).to_bytes(2, "big")
