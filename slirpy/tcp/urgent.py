"""Urgent data: how far ahead in the stream something lies that should not wait (RFC 9293, section 3.8.5).

The urgent pointer is the number of the octet that follows the urgent data (MUST-62, RFC 6093); the data themselves
stay where they are in the stream (RFC 6093, section 4). RCV.UP and SND.UP are None outside of urgent mode, so that
connections without urgent data, which is nearly all of them, pay one test for each batch that they send.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.tcp.emit import Emit
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import URG

__all__ = ["on_pointer", "with_pointer"]


def on_pointer(conn: ControlBlock, pointer: int) -> None:
    """A segment told that the urgent data end before the number ``pointer`` (section 3.10.7.4, sixth).

    Only what lies ahead of what the user has taken is news, and only when it is further than what was told before.
    """
    taken = (conn.rcv_nxt - conn.rcv_pending) & MASK
    if conn.rcv_up is not None:
        taken = conn.rcv_up
    if 0 < (pointer - taken) & MASK < HALF:
        conn.rcv_up = pointer
        conn.stats.tcp_urgent_in += 1


def with_pointer(conn: ControlBlock, emit: Emit) -> Emit:
    """``emit``, with the urgent pointer in every segment that begins before SND.UP.

    Urgent data may be longer than the field can tell; then it tells of as much as it can, and each segment of a bit
    more (MUST-31).
    """
    up = conn.snd_up
    if up is None or not 0 < (up - conn.snd_una) & MASK < HALF:
        conn.snd_up = None  # the peer has it all
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
