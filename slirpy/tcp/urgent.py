"""Urgent data: a pointer to data further ahead in the stream that should not wait (RFC 9293, section 3.8.5).

The urgent pointer is the sequence number of the octet after the urgent data (MUST-62, RFC 6093). The data stays in
its place in the stream (RFC 6093, section 4). RCV.UP and SND.UP are None outside urgent mode, so urgent data costs
the other connections, nearly all of them, one test per batch that they send.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.tcp.emit import Emit
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import URG

__all__ = ["on_pointer", "with_pointer"]


def on_pointer(conn: ControlBlock, pointer: int) -> None:
    """Process an urgent pointer: urgent data ends before the sequence number ``pointer`` (section 3.10.7.4, sixth).

    A pointer is ignored unless it is ahead of the data that the user has taken, and ahead of earlier pointers.
    """
    taken = (conn.rcv_nxt - conn.rcv_pending) & MASK
    if conn.rcv_up is not None:
        taken = conn.rcv_up
    if 0 < (pointer - taken) & MASK < HALF:
        conn.rcv_up = pointer
        conn.stats.tcp_urgent_in += 1


def with_pointer(conn: ControlBlock, emit: Emit) -> Emit:
    """Return an emitter that adds the urgent pointer to every segment that begins before SND.UP.

    If the urgent data is longer than the field can express, the field contains its maximum, and each segment points a
    little further (MUST-31).
    """
    up = conn.snd_up
    if up is None or not 0 < (up - conn.snd_una) & MASK < HALF:
        conn.snd_up = None  # all urgent data is acknowledged
        return emit
    end = up

    def emit_urgent(
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        parts: list[Buffer],
        length: int,
        _: int = 0,
        /,
    ) -> None:
        ahead = (end - seq) & MASK
        if 0 < ahead < HALF:
            emit(seq, ack, flags | URG, wnd, options, parts, length, min(ahead, 0xFFFF))
        else:
            emit(seq, ack, flags, wnd, options, parts, length)

    return emit_urgent
