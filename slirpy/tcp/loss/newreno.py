"""Loss detection by counting, and recovery from those losses.

With SACK this is RFC 6675: the congestion window limits the *pipe*, the data that is assumed to be in flight, and
lost data is sent before new data. Without SACK it is RFC 6582 (NewReno): each duplicate ACK shows that one segment
has left the network, and only SND.UNA shows which ones are missing. Both include limited transmit (RFC 3042). After a
timeout everything is sent again in slow start, except data that the peer has reported by SACK since then.

With SACK, :mod:`slirpy.tcp.loss.recovery` does this by time, unless ``Settings.rack`` is off.
"""

from __future__ import annotations

from slirpy.tcp.emit import MAX_PIECES, Emit, resend, start_timer
from slirpy.tcp.loss import sack
from slirpy.tcp.loss.spans import AGAIN
from slirpy.tcp.seq import MASK, seq_gt
from slirpy.tcp.tcb import DUPACK_THRESHOLD, ControlBlock

__all__ = [
    "advance",
    "count_duplicate",
    "on_duplicate_ack",
    "on_sack",
    "resend_after_timeout",
    "window",
]


def on_duplicate_ack(conn: ControlBlock) -> None:
    """Count a duplicate ACK of a peer without SACK (RFC 5681, section 3.2)."""
    if conn.in_recovery:
        conn.inflation += conn.mss
        return
    count_duplicate(conn)
    if conn.dupacks == DUPACK_THRESHOLD:
        _begin(conn)
        conn.inflation = DUPACK_THRESHOLD * conn.mss


def on_sack(conn: ControlBlock, blocks: tuple[tuple[int, int], ...], ack: int) -> None:
    """Process SACK blocks (RFC 6675, section 5). An ACK without new information is not a duplicate."""
    if sack.is_duplicate(blocks, ack):
        # The scoreboard ignores D-SACKs: they are below SND.UNA, or inside the next block.
        conn.stats.tcp_dsacks_in += 1
    fresh = sack.learn(conn, blocks)
    if conn.in_recovery or not conn.sacked:
        return
    if fresh:
        count_duplicate(conn)
    if conn.dupacks >= DUPACK_THRESHOLD or sack.lost_edge(conn) != conn.snd_una:
        _begin(conn)


def count_duplicate(conn: ControlBlock) -> None:
    """Count an ACK that reports data behind a hole."""
    if not conn.dupacks:
        conn.prior_max = conn.snd_max
    conn.dupacks += 1


def _begin(conn: ControlBlock) -> None:
    """Begin a recovery, but not twice for one loss (RFC 6582; RFC 6675, section 5, steps (4.1) to (4.3))."""
    una = conn.snd_una
    if 0 < (conn.recover - una) & MASK <= (conn.snd_max - una) & MASK:
        return
    if not conn.dupacks:
        conn.prior_max = conn.snd_max
    conn.cc.on_loss(conn.flight_before(conn.prior_max))
    conn.in_recovery = True
    conn.update_fast_path()
    conn.recover = conn.snd_max
    conn.high_rxt = una
    conn.resend_head = True
    conn.stats.tcp_fast_retransmits += 1


def window(conn: ControlBlock, now: int, emit: Emit) -> int:
    """Retransmit what is due, and return how many bytes beyond SND.UNA may be sent; -1: call again at once.

    Needed only with duplicate ACKs, SACK blocks or a recovery; otherwise the result is the congestion window.
    """
    cwnd = conn.cc.cwnd
    if conn.resend_head:
        conn.resend_head = False
        _resend_head(conn, now, emit)
    if conn.in_recovery:
        return _send_in_recovery(conn, now, emit) if conn.sack_ok else cwnd + conn.inflation
    if conn.sacked:
        if (
            conn.snd_nxt != conn.snd_max
            and conn.snd_wnd
            and (state := resend_after_timeout(conn, now, emit)) <= 0
        ):
            return state
        return cwnd + sack.sacked_below(conn, conn.snd_nxt)  # RFC 6675, section 5, (3.3)
    return cwnd + min(conn.dupacks, DUPACK_THRESHOLD - 1) * conn.mss


def _resend_head(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Retransmit the first unacknowledged segment: fast retransmit, or the next hole after a partial ACK."""
    room = min((conn.snd_max - conn.snd_una) & MASK, conn.mss)
    end = (conn.snd_una + resend(conn, conn.snd_una, room, now, emit)) & MASK
    if seq_gt(end, conn.high_rxt):
        conn.high_rxt = conn.rescue_rxt = end
    conn.stats.tcp_recovery_retransmits += 1
    start_timer(conn, now)


def _send_in_recovery(conn: ControlBlock, now: int, emit: Emit) -> int:
    """Send in a recovery with SACK (RFC 6675, section 5, step (C)).

    The order is that of NextSeg (section 4): lost data, new data, data that may be lost, the last segment.
    """
    mss = conn.mss
    edge = sack.lost_edge(conn)
    budget = conn.cc.cwnd - sack.pipe(conn, edge)
    budget = _send_gaps(conn, edge, budget, now, emit)
    flight = (conn.snd_max - conn.snd_una) & MASK
    if budget >= mss and not _has_new(conn, flight):
        if conn.sacked:
            budget = _send_gaps(conn, conn.sacked[-1][1], budget, now, emit)
        if budget >= mss and seq_gt(conn.snd_una, conn.rescue_rxt):
            _rescue(conn, now, emit)
    return -1 if budget < 0 else flight + budget


def _rescue(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Retransmit the last segment: no data after it was received that would reveal its loss (NextSeg, rule (4))."""
    seq, length = sack.gaps(conn, conn.snd_una, conn.snd_max)[-1]
    end = (seq + length) & MASK
    conn.rescue_rxt = conn.recover
    if seq_gt(end, conn.high_rxt):  # unless it was retransmitted already
        size = min(length, conn.mss + conn.fin_sent)  # a FIN takes no room
        resend(conn, (end - size) & MASK, size, now, emit)
        conn.stats.tcp_recovery_retransmits += 1


def _send_gaps(conn: ControlBlock, end: int, budget: int, now: int, emit: Emit) -> int:
    """Retransmit, once, what is missing up to ``end``; returns the rest of ``budget``; -1: call again at once."""
    mss, burst = conn.mss, conn.burst()
    pieces = 0
    for seq, length in sack.gaps(conn, conn.high_rxt, end):
        while length:
            if budget < mss:
                return max(budget, 0)
            if pieces == MAX_PIECES:
                return -1
            sent = resend(conn, seq, min(length, burst, budget - budget % mss), now, emit)
            conn.stats.tcp_recovery_retransmits += 1
            pieces += 1
            seq = conn.high_rxt = (seq + sent) & MASK
            length -= sent
            budget -= sent
    return max(budget, 0)


def _has_new(conn: ControlBlock, flight: int) -> bool:
    """Report whether there is data that was never sent, and the peer has room for it."""
    return flight < conn.snd_wnd and flight < conn.snd_buf.length + conn.fin_queued


def resend_after_timeout(conn: ControlBlock, now: int, emit: Emit) -> int:
    """After a timeout, continue from SND.NXT, skipping data that the peer has reported by SACK.

    Returns:
        1: everything up to SND.MAX is done. 0: the congestion window is full. -1: call again at once.
    """
    mss, burst = conn.mss, conn.burst()
    flight = (conn.snd_nxt - conn.snd_una) & MASK
    budget = conn.cc.cwnd - flight + sack.sacked_below(conn, conn.snd_nxt)
    pieces = 0
    for seq, length in sack.gaps(conn, conn.snd_nxt, conn.snd_max):
        advance(conn, seq)
        while length:
            size = min(length, burst, budget)
            if size < min(length, mss):
                return 0
            if pieces == MAX_PIECES:
                return -1
            sent = resend(conn, seq, size - size % mss if size > mss else size, now, emit)
            if conn.rack is not None:
                conn.rack.spans.on_sent(seq, now, AGAIN, conn.rtt.srtt)
            pieces += 1
            seq = (seq + sent) & MASK
            advance(conn, seq)
            length -= sent
            budget -= sent
    advance(conn, conn.snd_max)
    return 1


def advance(conn: ControlBlock, seq: int) -> None:
    """Advance SND.NXT to ``seq``, and the buffer's cursor with it."""
    buf = conn.snd_buf
    count = (seq - conn.snd_nxt) & MASK
    conn.snd_nxt = seq
    buf.take(min(count, buf.length - buf.sent))
