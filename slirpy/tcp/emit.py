"""Parts that all outgoing segments share: options, the window field, and the changes of state when one is sent."""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.options import MAX_SACK_BLOCKS, TIMESTAMP, TIMESTAMP_WORD, build
from slirpy.tcp.segment import Emit
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import RETRANSMIT, SYNCHRONIZED
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK, FIN

_SACK_MOST: Final = 4 + 8 * MAX_SACK_BLOCKS

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
]


MAX_PIECES: Final = 16
"""Maximum number of pieces per call of output, so that one connection cannot keep all others waiting."""
MAX_DOUBLED_SEGMENTS: Final = 32
"""Longest batch that is acknowledged twice. A longer one is part of an even longer flight, which gets other ACKs."""


def resend(conn: ControlBlock, seq: int, room: int, now: int, emit: Emit) -> int:
    """Retransmit up to ``room`` sequence numbers below SND.MAX, beginning at ``seq``; returns how many were sent."""
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
    """Start or restart the retransmission timer."""
    if conn.timer_kind is not RETRANSMIT and conn.retries == 0:
        conn.progress_at = now
    conn.timer_kind = RETRANSMIT
    conn.timer_at = now + conn.rtt.rto
    if conn.retries and conn.state in SYNCHRONIZED:
        limit_timer(conn)


def limit_timer(conn: ControlBlock) -> None:
    """Let the timer expire no later than the user timeout, even if the backoff has grown beyond it."""
    conn.timer_at = min(conn.timer_at, conn.progress_at + conn.settings.user_timeout)


def sack_length(conn: ControlBlock) -> int:
    """Return how many bytes the due SACK blocks take in a segment with data; 0 if the MSS leaves no room for them."""
    if not conn.sack_ok or conn.mss < 2 * _SACK_MOST:
        return 0
    count = len(conn.reassembly) + (conn.dsack is not None)
    return 4 + 8 * min(count, MAX_SACK_BLOCKS - conn.ts_ok)


def options_for(conn: ControlBlock, now: int, sack: bool = False) -> bytes:
    """Return the options of a segment after the SYN; with SACK blocks if ``sack`` is set and any are due."""
    if sack and conn.sack_ok and (conn.dsack is not None or conn.reassembly):
        # RFC 2883, section 4: first the D-SACK block, then the block that contains it.
        recent = conn.sack_recent if conn.dsack is None else [conn.dsack[0], *conn.sack_recent]
        blocks = conn.reassembly.ranges(recent, MAX_SACK_BLOCKS)
        if conn.dsack is not None:
            blocks.insert(0, conn.dsack)  # reported once
            conn.dsack = None
            conn.stats.tcp_dsacks_out += 1
        if conn.ts_ok:
            return build(timestamps=(conn.timestamp(now), conn.ts_recent), sack=blocks[: MAX_SACK_BLOCKS - 1])
        return build(sack=blocks[:MAX_SACK_BLOCKS])
    if conn.ts_ok:
        return TIMESTAMP.pack(TIMESTAMP_WORD, conn.timestamp(now), conn.ts_recent)
    return b""


def ack_sent(conn: ControlBlock) -> None:
    """Note that RCV.NXT has been sent, and no further ACK is due."""
    conn.ack_now = False
    conn.delack_at = 0
    conn.last_ack = conn.rcv_nxt


def ack_sent_with_data(conn: ControlBlock) -> None:
    """Note that a segment with data, but without SACK blocks, has carried RCV.NXT.

    An ACK that reports more than RCV.NXT stays due. A peer that counts duplicate ACKs does not count segments with
    data.
    """
    due = conn.ack_now and (conn.dsack is not None or bool(conn.reassembly))
    ack_sent(conn)
    conn.ack_now = due


def window_field(conn: ControlBlock) -> int:
    """Return SEG.WND for the header, and move the advertised edge accordingly, never back (SHLD-14)."""
    # Without min, because this runs for every segment that is sent.
    limit, offered = conn.rcv_limit, (conn.rcv_adv - conn.rcv_nxt) & MASK
    growth = limit - conn.rcv_pending - offered  # how far the edge could move
    if growth >= 2 * conn.mss or growth >= limit >> 1:
        conn.rcv_adv = (conn.rcv_adv + growth) & MASK
        offered = (offered + growth) & MASK
    # Rounded down: the edge stays, and data up to the old one is still accepted (RFC 7323, section 2.4). Rounded up,
    # the edge would move with every ACK, and a peer that sends byte by byte would never see the window close.
    field = offered >> conn.rcv_wscale
    return field if field < 0xFFFF else 0xFFFF


def acknowledge_twice(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Send an ACK for half of a batch, before the one for all of it.

    ACKs get lost too. A batch of segments is acknowledged once, after all of it has been processed (RFC 9293, MUST-58
    and MUST-59). When a whole flight fits in one batch, losing that ACK stalls the peer until its timer fires; of the
    usual ACKs for every second segment (RFC 5681, section 4.2) another one would get through. So once a peer
    retransmits data that we had already acknowledged (``spare_acks``), we send two ACKs a batch. A peer without SACK
    gets them as soon as one of the segments it sent is missing: it has no tail loss probe, and its timer may take
    seconds. ACKs for individual segments are not doubled: there are never more ACKs than segments.
    """
    fresh = (conn.rcv_nxt - conn.last_ack) & MASK
    if conn.reassembly or not 2 * conn.mss < fresh <= MAX_DOUBLED_SEGMENTS * conn.mss:
        return
    taken = conn.reassembly.taken
    if taken is not None and 0 < (taken - conn.last_ack) & MASK <= fresh:
        return  # an ACK below what SACK has reported would look as if we had discarded it (RFC 2018, section 8)
    ack = (conn.last_ack + fresh // (2 * conn.mss) * conn.mss) & MASK
    window_field(conn)  # moves the right edge of the window
    wnd = min(((conn.rcv_adv - ack) & MASK) >> conn.rcv_wscale, 0xFFFF)
    emit(conn.snd_max, ack, ACK, wnd, options_for(conn, now), [], 0)
