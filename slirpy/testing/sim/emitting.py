"""Segments of a connection between two hosts, made straight into frames: most of what a network sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from slirpy.interfaces import Buffer
from slirpy.tcp import Segment
from slirpy.tcp.options import NONE, TIMESTAMP, TIMESTAMP_WORD, TcpOptions, parse
from slirpy.tcp.segment import Emit
from slirpy.testing.guest.host import GuestCounters
from slirpy.testing.sim.segments import Fields
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ip import flow_key
from slirpy.wire.ipv4 import DF, TCP

__all__ = ["Carry", "segment_emitter"]

Carry: TypeAlias = Callable[[bytes, Fields], None]
_TTL = 64
_WORDS = 0x4500 + DF + (_TTL << 8 | TCP)
"""Sum of the words of an IPv4 header that are the same in all."""
_MAKERS: dict[int, Callable[..., Emit]] = {}
"""By the length of an address."""
_from_bytes = int.from_bytes
new = tuple.__new__  # half of the time of calling Segment


def segment_emitter(
    macs: bytes,
    places: tuple[bytes, int, bytes, int],
    counters: GuestCounters,
    carry: Carry,
) -> Emit:
    """Return a function that sends a segment of one connection as a frame.

    Args:
        macs: the two MAC addresses, as they stand in the frame.
        places: address and port of this end, then of the other.
        counters: counters of the sender.
        carry: takes the frame, and the fields of the segment in it.
    """
    return _MAKERS[len(places[0])](macs, flow_key(*places), places[1] + places[3], counters, carry)


def _maker(layout: Layout) -> Callable[[bytes, bytes, int, GuestCounters, Carry], Emit]:
    """Return :func:`segment_emitter` for an IP family, whose constants all connections share."""
    pack, has_header_sum = layout.segment_out.pack, layout.has_header_sum
    unpack_timestamp, stamp_length = TIMESTAMP.unpack, TIMESTAMP.size
    middle, in_total, front = layout.middle(TCP, _TTL, DF), layout.header_in_total, layout.front

    def make(macs: bytes, key: bytes, ports: int, counters: GuestCounters, carry: Carry) -> Emit:
        start = macs + front
        addresses = ones_sum(key[:-4])
        constant = addresses + ports + TCP
        constant_words = addresses + _WORDS

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
            header_length = 20 + len(options)
            size = header_length + length
            # A 32-bit number is the sum of its halves, modulo 65535.
            total = constant + size + seq + ack + (header_length << 10) + flags + wnd + urg
            word = value = echo = 0
            if len(options) == stamp_length:
                word, value, echo = unpack_timestamp(options)
            if word == TIMESTAMP_WORD:
                total += word + value + echo
                parsed = new(TcpOptions, (None, None, False, (value, echo), (), False))  # as parse() does
            elif options:
                total += _from_bytes(options, "big")  # whole words, so modulo 65535 it is their sum
                parsed = parse(options)
            else:
                parsed = NONE
            if length:
                payload = b"".join(parts)
                total += ones_sum(payload)
            else:
                payload = b""
            packet = in_total + size
            counters.frames_out += 1
            carry(
                pack(
                    start,
                    packet,
                    middle,
                    -(constant_words + packet) % 65535 if has_header_sum else b"",
                    key,
                    seq,
                    ack,
                    header_length << 2,
                    flags,
                    wnd,
                    -total % 65535,
                    urg,
                )
                + options
                + payload,
                (key, new(Segment, (seq, ack, flags, wnd, parsed, payload, urg, 0))),
            )

        return emit

    return make


_MAKERS.update({4: _maker(LAYOUT), 16: _maker(LAYOUT6)})
