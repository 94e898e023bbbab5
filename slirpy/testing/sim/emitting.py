"""Segments of a connection between two hosts, made straight into frames: most of what a network sends."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.tcp.segment import Emit
from slirpy.testing.guest.host import GuestCounters
from slirpy.wire import ipv4, tcp
from slirpy.wire.checksum import ones_sum
from slirpy.wire.ip import family_of

__all__ = ["segment_emitter"]

_TTL = 64
_IPV4 = Struct("!HHIHH")
_IPV6 = Struct("!IHBB")
_WORDS4 = 0x4500 + ipv4.DF + (_TTL << 8 | ipv4.TCP)
"""Sum of the words of an IPv4 header that are the same in all."""


def segment_emitter(
    macs: bytes,
    places: tuple[bytes, int, bytes, int],
    counters: GuestCounters,
    carry: Callable[[bytes], None],
) -> Emit:
    """Return a function that sends a segment of one connection as a frame.

    Args:
        macs: the two MAC addresses, as they stand in the frame.
        places: address and port of this end, then of the other.
        counters: counters of the sender.
        carry: takes the frame.
    """
    own, own_port, far, far_port = places
    addresses = own + far
    address_sum = ones_sum(addresses)
    constant = address_sum + ipv4.TCP + own_port + far_port
    ethertype = family_of(own).ethertype.to_bytes(2, "big")
    start = macs + ethertype
    is_ipv4 = len(own) == 4
    pack, pack4, pack6 = tcp.HEADER.pack, _IPV4.pack, _IPV6.pack

    def emit(
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        parts: list[Buffer],
        length: int,
        urg: int = 0,
        /,
    ) -> None:
        """Send a segment."""
        payload = b"".join(parts)
        header_length = tcp.HEADER_LENGTH + len(options)
        size = header_length + length
        # A 32-bit number is the sum of its halves, modulo 65535.
        total = constant + size + seq + ack + (header_length << 10) + flags + wnd + urg
        if options:
            total += ones_sum(options)
        if payload:
            total += ones_sum(payload)
        header = pack(own_port, far_port, seq, ack, header_length << 2, flags, wnd, -total % 65535, urg)
        if is_ipv4:
            packet = size + ipv4.HEADER_LENGTH
            value = -(_WORDS4 + packet + address_sum) % 65535
            packed = pack4(0x4500, packet, ipv4.DF, _TTL << 8 | ipv4.TCP, value)
        else:
            packed = pack6(0x60000000, size, ipv4.TCP, _TTL)
        counters.frames_out += 1
        carry(b"".join((start, packed, addresses, header, options, payload)))

    return emit
