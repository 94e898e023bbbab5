"""A second ACK for a batch of segments, where ACKs get lost.

A batch of segments in order is acknowledged once, after all of it has been processed (RFC 9293, MUST-58 and MUST-59).
When a whole flight fits in one batch, losing that ACK stalls the peer until its timer fires; with an ACK for
every second segment (RFC 5681, section 4.2) others would get through. So once a peer retransmits data that we had
already acknowledged, we send two ACKs a batch: one for half of it, then one for all. A peer without SACK gets them as
soon as one of its own segments is missing: it has no probe, and its timer may take seconds. Other ACKs are not
doubled: there are never more of them than segments.
"""

from __future__ import annotations

from slirpy.tcp.emit import Emit, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK

__all__ = ["acknowledge_twice"]

MOST_SEGMENTS = 32
"""Longer batches are parts of flights that are longer yet, and have other ACKs."""


def acknowledge_twice(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Before the ACK that is due in any case."""
    fresh = (conn.rcv_nxt - conn.last_ack) & MASK
    if conn.reassembly or not 2 * conn.mss < fresh <= MOST_SEGMENTS * conn.mss:
        return
    taken = conn.reassembly.taken
    if taken is not None and 0 < (taken - conn.last_ack) & MASK <= fresh:
        return  # an ACK below what SACK has reported would look as if we had discarded it (RFC 2018, section 8)
    ack = (conn.last_ack + fresh // (2 * conn.mss) * conn.mss) & MASK
    window_field(conn)  # moves the edge that the window ends at
    wnd = min(((conn.rcv_adv - ack) & MASK) >> conn.rcv_wscale, 0xFFFF)
    emit(conn.snd_max, ack, ACK, wnd, options_for(conn, now), [], 0)
