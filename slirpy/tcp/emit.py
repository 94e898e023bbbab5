"""The parts that outgoing segments have in common, and what sending one means for the state."""

from __future__ import annotations

from slirpy.tcp.options import MAX_SACK_BLOCKS, TIMESTAMP, TIMESTAMP_WORD, build
from slirpy.tcp.segment import Emit
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import RETRANSMIT, SYNCHRONIZED
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK, FIN

_SACK_MOST = 4 + 8 * MAX_SACK_BLOCKS

__all__ = [
    "MAX_PIECES",
    "Emit",
    "ack_sent",
    "ack_sent_with_data",
    "acknowledge_twice",
    "limit_timer",
    "options_for",
    "resend",
    "sack_length",
    "start_timer",
    "window_field",
    "window_growth",
]


MAX_PIECES = 16
"""Pieces to an output, so that one connection cannot keep all others waiting."""
MAX_DOUBLED_SEGMENTS = 32
"""Longest batch that is acknowledged twice. Longer ones are parts of longer flights, which get other ACKs."""


def resend(conn: ControlBlock, seq: int, room: int, now: int, emit: Emit) -> int:
    """Send again up to ``room`` sequence numbers from ``seq`` on, before SND.MAX; how many were sent."""
    size = min(conn.snd_buf.length - ((seq - conn.snd_una) & MASK), room)
    fin = room > size and conn.fin_queued
    flags = ACK | FIN if fin else ACK
    parts = conn.snd_buf.peek(size, (seq - conn.snd_una) & MASK)
    emit(seq, conn.rcv_nxt, flags, window_field(conn), options_for(conn, now), parts, size)
    ack_sent_with_data(conn)
    conn.sent_at = now
    conn.rtt_seq = None  # Karn
    if conn.timer_kind is not RETRANSMIT:
        start_timer(conn, now)
    return size + fin


def start_timer(conn: ControlBlock, now: int) -> None:
    """Start the retransmission timer, or start it anew."""
    if conn.timer_kind is not RETRANSMIT and conn.retries == 0:
        conn.progress_at = now
    conn.timer_kind = RETRANSMIT
    conn.timer_at = now + conn.rtt.rto
    if conn.retries and conn.state in SYNCHRONIZED:
        limit_timer(conn)


def limit_timer(conn: ControlBlock) -> None:
    """The timer comes no later than the user time-out, though the back-off may have grown beyond it."""
    conn.timer_at = min(conn.timer_at, conn.progress_at + conn.settings.user_timeout)


def sack_length(conn: ControlBlock) -> int:
    """Bytes that SACK blocks take from a segment with data, if there are some; 0 where there is no room for them."""
    if not conn.sack_ok or conn.mss < 2 * _SACK_MOST:
        return 0
    count = len(conn.reassembly) + (conn.dsack is not None)
    return 4 + 8 * min(count, MAX_SACK_BLOCKS - conn.ts_ok)


def options_for(conn: ControlBlock, now: int, sack: bool = False) -> bytes:
    """Options of a segment after the SYN; ``sack``: with what came early or twice, if there is something."""
    if sack and conn.sack_ok and (conn.dsack is not None or conn.reassembly):
        # RFC 2883, section 4: what came twice is told first, and the block that it lies in second.
        recent = conn.sack_recent if conn.dsack is None else [conn.dsack[0], *conn.sack_recent]
        blocks = conn.reassembly.ranges(recent, MAX_SACK_BLOCKS)
        if conn.dsack is not None:
            blocks.insert(0, conn.dsack)  # once
            conn.dsack = None
            conn.stats.tcp_dsacks_out += 1
        if conn.ts_ok:
            return build(timestamps=(conn.timestamp(now), conn.ts_recent), sack=blocks[: MAX_SACK_BLOCKS - 1])
        return build(sack=blocks[:MAX_SACK_BLOCKS])
    if conn.ts_ok:
        return TIMESTAMP.pack(TIMESTAMP_WORD, conn.timestamp(now), conn.ts_recent)
    return b""


def ack_sent(conn: ControlBlock) -> None:
    """A segment with RCV.NXT has been sent."""
    conn.ack_now = False
    conn.delack_at = 0
    conn.last_ack = conn.rcv_nxt


def ack_sent_with_data(conn: ControlBlock) -> None:
    """A segment with data, and without SACK blocks, has carried RCV.NXT; an ACK that is more than that stays due.

    What comes with data is no duplicate ACK to a peer that counts them.
    """
    due = conn.ack_now and (conn.dsack is not None or bool(conn.reassembly))
    ack_sent(conn)
    conn.ack_now = due


def window_growth(conn: ControlBlock) -> int:
    """How far the right edge of the receive window could move now."""
    room = conn.rcv_limit - conn.rcv_pending
    return room - ((conn.rcv_adv - conn.rcv_nxt) & MASK)


def window_field(conn: ControlBlock) -> int:
    """SEG.WND for the header; the advertised edge moves as far as it says, and never back (SHLD-14)."""
    growth = window_growth(conn)
    if growth >= min(2 * conn.mss, conn.rcv_limit // 2):
        conn.rcv_adv = (conn.rcv_adv + growth) & MASK
    # Rounded down: what was promised before is still taken (RFC 7323, section 2.4), and the edge stays. Rounded
    # up, it would move on with every ACK, and a peer that sends byte by byte would never see the window close.
    return min(((conn.rcv_adv - conn.rcv_nxt) & MASK) >> conn.rcv_wscale, 0xFFFF)


def acknowledge_twice(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Send an ACK for half of a batch, before the one for all of it; see ``spare_acks``.

    A batch of segments in order is acknowledged once, after all of it has been processed (RFC 9293, MUST-58 and
    MUST-59). When a whole flight fits in one batch, losing that ACK stalls the peer until its timer fires; with an
    ACK for every second segment (RFC 5681, section 4.2) others would get through. So once a peer retransmits data
    that we had already acknowledged, we send two ACKs a batch. A peer without SACK gets them as soon as one of its
    own segments is missing: it has no tail loss probe, and its timer may take seconds. Other ACKs are not doubled:
    there are never more of them than segments.
    """
    fresh = (conn.rcv_nxt - conn.last_ack) & MASK
    if conn.reassembly or not 2 * conn.mss < fresh <= MAX_DOUBLED_SEGMENTS * conn.mss:
        return
    taken = conn.reassembly.taken
    if taken is not None and 0 < (taken - conn.last_ack) & MASK <= fresh:
        return  # an ACK below what SACK has reported would look as if we had discarded it (RFC 2018, section 8)
    ack = (conn.last_ack + fresh // (2 * conn.mss) * conn.mss) & MASK
    window_field(conn)  # moves the edge that the window ends at
    wnd = min(((conn.rcv_adv - ack) & MASK) >> conn.rcv_wscale, 0xFFFF)
    emit(conn.snd_max, ack, ACK, wnd, options_for(conn, now), [], 0)
