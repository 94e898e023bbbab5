"""A second ACK for what comes together, where ACKs get lost.

What comes together is acknowledged once, after all of it was looked at (RFC 9293, MUST-58 and MUST-59). On a path
with short flights that is the only ACK of a flight. If it is lost the peer has heard nothing, waits for a probe or a
time-out, and its window shrinks; with an ACK for every second segment (RFC 5681, section 4.2) one of many would be
lost. So when a peer has sent something that we had acknowledged, it has a second ACK for a batch from then on: of
half of it, or of all of it again where SACK has told of parts or is to do so.
"""

from __future__ import annotations

from slirpy.tcp.connection import Connection
from slirpy.tcp.outgoing import Emit, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK

__all__ = ["acknowledge_twice"]

MOST_SEGMENTS = 32
"""Longer batches are parts of flights that are longer yet, and have other ACKs."""


def acknowledge_twice(conn: Connection, now: int, emit: Emit) -> None:
    """Before the ACK that is due in any case."""
    fresh = (conn.rcv_nxt - conn.last_ack) & MASK
    ack = conn.rcv_nxt
    queue = conn.reassembly
    taken, grown, queue.told = queue.taken, queue.size - queue.told, queue.size
    if queue:
        if not conn.sack_ok or fresh + grown < 2 * conn.mss:
            return  # to a peer without SACK each ACK counts; and one segment has one
    elif taken is not None and 0 < (taken - conn.last_ack) & MASK <= fresh:
        pass  # who acknowledges less than it has told of by SACK seems to have thrown that away (RFC 2018)
    elif 2 * conn.mss < fresh <= MOST_SEGMENTS * conn.mss:
        ack = (conn.last_ack + fresh // (2 * conn.mss) * conn.mss) & MASK
    else:
        return
    window_field(conn)  # moves the edge that the window ends at
    wnd = min(((conn.rcv_adv - ack) & MASK) >> conn.rcv_wscale, 0xFFFF)
    emit(conn.snd_max, ack, ACK, wnd, options_for(conn, now, sack=ack == conn.rcv_nxt), [], 0)
