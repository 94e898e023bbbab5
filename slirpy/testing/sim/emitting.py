"""Segments between two hosts, most of what a network sends: a frame is only made when it is looked at."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.interfaces import Buffer
from slirpy.tcp import Segment
from slirpy.tcp.options import NONE, TIMESTAMP, TIMESTAMP_WORD, TcpOptions, parse
from slirpy.tcp.segment import Emit
from slirpy.testing.guest.host import GuestCounters
from slirpy.testing.sim.trace import CarrySegment
from slirpy.wire import tcp
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ip import flow_key
from slirpy.wire.ipv4 import DF, TCP

__all__ = ["segment_emitter"]

_TTL = 64
_WORDS = 0x4500 + DF + (_TTL << 8 | TCP)
"""Sum of the words of an IPv4 header that are the same in all."""
_STAMP = TIMESTAMP_WORD.to_bytes(4, "big")
_from_bytes = int.from_bytes
new = tuple.__new__  # half of the time of calling Segment


def segment_emitter(
    macs: bytes,
    places: tuple[bytes, int, bytes, int],
    counters: GuestCounters,
    carry: CarrySegment,
) -> Emit:
    """Return a function that sends a segment of one connection.

    Args:
        macs: the two MAC addresses, as they stand in a frame.
        places: address and port of this end, then of the other.
        counters: counters of the sender.
        carry: takes the segment, and a function that makes its frame.
    """
    key = flow_key(*places)
    layout = _LAYOUTS[len(places[0])]
    make = _frame_maker(layout, macs, key, places[1] + places[3])
    headers = layout.transport_at + tcp.HEADER_LENGTH
    unpack_timestamp, stamp_length = TIMESTAMP.unpack, TIMESTAMP.size

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
        if not options:
            parsed = NONE
        elif len(options) == stamp_length and options.startswith(_STAMP):
            _, value, echo = unpack_timestamp(options)
            parsed = new(TcpOptions, (None, None, False, (value, echo), (), False))  # as parse() does
        else:
            parsed = parse(options)
        counters.frames_out += 1
        payload = b"".join(parts) if length else b""
        segment = new(Segment, (seq, ack, flags, wnd, parsed, payload, urg, 0))
        # Fields, and not the segment: they stay in the trace, and take less memory.
        late = make, seq, ack, flags, wnd, options, payload, urg
        carry(key, segment, headers + len(options) + length, late)

    return emit


def _frame_maker(
    layout: Layout, macs: bytes, key: bytes, ports: int
) -> Callable[[int, int, int, int, bytes, bytes, int], bytes]:
    """Return a function that makes frames of the segments of one connection, with checksums.

    Args:
        key: flow key of the connection, as its segments have it.
        ports: sum of the ports.
    """

    def make(seq: int, ack: int, flags: int, wnd: int, options: bytes, payload: bytes, urg: int) -> bytes:
        header_length = tcp.HEADER_LENGTH + len(options)
        size = header_length + len(payload)
        addresses = ones_sum(key[:-4])
        # A 32-bit number is the sum of its halves, modulo 65535, and so are options, which consist of whole words.
        total = addresses + ports + TCP + size + seq + ack + (header_length << 10) + flags + wnd + urg
        total += _from_bytes(options, "big") + ones_sum(payload)
        packet = layout.header_in_total + size
        header_sum = -(addresses + _WORDS + packet) % 65535 if layout.has_header_sum else b""
        header = layout.segment_out.pack(
            macs + layout.front,
            packet,
            layout.middle(TCP, _TTL, DF),
            header_sum,
            key,
            seq,
            ack,
            header_length << 2,
            flags,
            wnd,
            -total % 65535,
            urg,
        )
        return b"".join((header, options, payload))

    return make


_LAYOUTS = {4: LAYOUT, 16: LAYOUT6}
"""By the length of an address."""
