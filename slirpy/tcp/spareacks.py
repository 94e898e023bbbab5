"""A second ACK for what comes together, where ACKs get lost.

What comes together is acknowledged once, after all of it was looked at (RFC 9293, MUST-58 and MUST-59). On a path
with short flights that is the only ACK of a flight. If it is lost the peer has heard nothing, waits for a probe or a
time-out, and its window shrinks; with an ACK for every second segment (RFC 5681, section 4.2) one of many would be
lost. So when a peer has sent something that we had acknowledged, we tell it of half of a batch too from then on.
"""

from __future__ import annotations

from slirpy.tcp.connection import Connection
from slirpy.tcp.outgoing import Emit, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK

__all__ = ["acknowledge_half"]

MOST_SEGMENTS = 32
"""Longer batches are parts of flights that are longer yet, and have other ACKs."""


def acknowledge_half(conn: Connection, now: int, emit: Emit) -> None:
    """Before the ACK that is due in any case."""
    fresh = (conn.rcv_nxt - conn.last_ack) & MASK
    if conn.reassembly or not 2 * conn.mss < fresh <= MOST_SEGMENTS * conn.mss:
        return
    half = (conn.last_ack + fresh // (2 * conn.mss) * conn.mss) & MASK
    taken = conn.reassembly.taken
    if taken is not None and 0 < (taken - half) & MASK <= fresh:
        return  # who acknowledges less than it has told of by SACK seems to have thrown that away (RFC 2018)
    window_field(conn)  # moves the edge that the window ends at
    wnd = min(((conn.rcv_adv - half) & MASK) >> conn.rcv_wscale, 0xFFFF)
    emit(conn.snd_max, half, ACK, wnd, options_for(conn, now), [], 0)
