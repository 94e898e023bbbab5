"""Recovery with SACK and RACK: retransmission of lost data, and the amount of new data meanwhile (RFC 8985, RFC
6937).

Lost data is sent before new data. The amount is determined by the proportional rate reduction in a recovery, and by
the congestion window after a timeout. Without SACK, or with ``Settings.rack`` off, :mod:`slirpy.tcp.loss.newreno` is
used instead.
"""

from __future__ import annotations

from slirpy.tcp.emit import MAX_PIECES, Emit, resend, start_timer
from slirpy.tcp.loss import newreno, probe, rack, sack, undo
from slirpy.tcp.loss.state import PROBE, REORDER, RackState
from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import MASK, seq_lt
from slirpy.tcp.tcb import ControlBlock

__all__ = ["ack_in_recovery", "below_recover", "no_loss_suspected", "on_sack", "window"]


def on_sack(
    conn: ControlBlock, state: RackState, seg: Segment, moved: bool, echoed: int | None, now: int
) -> None:
    """Process the SACK blocks of a segment, if there are any (RFC 8985). Output then detects losses.

    Args:
        moved: whether the ACK has moved SND.UNA.
        echoed: TSecr; None: no timestamps.
    """
    blocks = seg.options.sack
    dsack = None
    if blocks:
        if sack.is_duplicate(blocks, seg.ack):
            conn.stats.tcp_dsacks_in += 1
            dsack = blocks[0]
            undo.on_dsack(conn, state, *dsack, now)
        if rack.on_sack(conn, state, blocks, echoed, now) and not conn.in_recovery:
            newreno.count_duplicate(conn)
    if dsack is not None and not (state.tlp_is_retrans and state.tlp_end is not None):
        rack.on_dsack(conn, state)  # duplicates caused by a probe do not indicate reordering
    if state.tlp_end is not None:
        probe.on_ack(conn, state, dsack, not (moved or blocks or seg.payload))


def ack_in_recovery(conn: ControlBlock, ack: int, acked: int, flight: int) -> None:
    """Process an ACK of new data during a recovery, partial or full; ``flight`` bytes are still outstanding."""
    if not seq_lt(ack, conn.recover):
        conn.in_recovery = False
        conn.inflation = conn.dupacks = 0
        if conn.rack is not None:
            conn.rack.recovery_ended()
            undo.recovery_ended(conn, conn.rack)
        elif not conn.sack_ok:
            # RFC 6582, section 3.2, step 3, option 1: avoid a burst. With SACK the pipe has kept the flight full.
            conn.cc.cwnd = min(conn.cc.cwnd, max(flight, conn.mss) + conn.mss)
        conn.update_fast_path()
    elif conn.sack_ok:
        if seq_lt(conn.high_rxt, ack):
            conn.high_rxt = ack
    else:
        # The same step: deflate by the acknowledged data, add one segment back, retransmit the next hole.
        window = max(conn.cc.cwnd + conn.inflation - acked, conn.mss)
        conn.inflation = window + (conn.mss if acked >= conn.mss else 0) - conn.cc.cwnd
        conn.resend_head = True


def window(conn: ControlBlock, state: RackState, now: int, emit: Emit) -> int:
    """Detect losses, retransmit lost data, and return how many bytes beyond SND.UNA may be sent.

    -1: call again at once, as with :func:`slirpy.tcp.loss.newreno.window`.
    """
    if state.timer_expired:
        state.timer_expired = False
        if state.loss_timer is PROBE:
            probe.send(conn, state, now, emit)
    if state.has_news:
        wait = rack.detect(conn, state, now)
        state.loss_timer = REORDER
        conn.loss_timer_at = now + wait if wait else 0
    pipe, lost = rack.survey(conn, state)
    if lost and not conn.in_recovery and not below_recover(conn):
        _begin(conn, state, now)
    if conn.in_recovery:
        state.prr.on_sent(conn.snd_max)
    if state.has_news:
        if conn.in_recovery:
            state.prr.on_ack(state.delivered, pipe, conn.mss, state.safe_ack)
        state.has_news = state.safe_ack = False
        state.delivered = 0
    conn.update_fast_path()
    budget = (state.prr.window if conn.in_recovery else conn.cc.cwnd) - pipe
    if lost:
        left = _resend(conn, state, lost, budget, now, emit) if conn.snd_wnd else 0
        if left <= 0:
            return left
        budget = left
    if conn.snd_nxt != conn.snd_max and conn.sacked and conn.snd_wnd:
        if (left := newreno.resend_after_timeout(conn, now, emit)) <= 0:
            return left
        budget = conn.cc.cwnd - rack.survey(conn, state)[0]
    return ((conn.snd_nxt - conn.snd_una) & MASK) + budget


def below_recover(conn: ControlBlock) -> bool:
    """Report whether SND.UNA has not reached RECOVER, so retransmissions belong to a timeout or recovery in
    progress.
    """
    return 0 < (conn.recover - conn.snd_una) & MASK <= (conn.snd_max - conn.snd_una) & MASK


def no_loss_suspected(conn: ControlBlock) -> bool:
    """Report whether no data in flight was retransmitted or is assumed to be missing."""
    calm = conn.snd_nxt == conn.snd_max and not (conn.in_recovery or conn.sacked or conn.dupacks)
    return calm and not below_recover(conn)


def _begin(conn: ControlBlock, state: RackState, now: int) -> None:
    """Begin a recovery (RFC 6675, section 5, steps (4.1) and (4.2), and RFC 9937)."""
    flight = (conn.snd_max - conn.snd_una) & MASK
    if not conn.dupacks:
        conn.prior_max = conn.snd_max
    conn.cc.on_loss(conn.flight_before(conn.prior_max))
    undo.begin(conn, state, now, timeout=False)
    conn.in_recovery = True
    state.tlp_end = None  # this recovery accounts for the probe, too
    conn.recover = conn.snd_max
    received = sack.sacked_below(conn, conn.snd_max)
    state.prr.begin(flight - received + state.delivered, conn.cc.cwnd, conn.snd_max)
    conn.stats.tcp_fast_retransmits += 1


def _resend(
    conn: ControlBlock, state: RackState, lost: list[tuple[int, int]], budget: int, now: int, emit: Emit
) -> int:
    """Retransmit lost data; returns the rest of ``budget``, 0 if it is used up; -1: call again at once."""
    mss, burst = conn.mss, conn.burst()
    pieces = 0
    for seq, length in lost:
        while length:
            size = min(length, burst, budget)
            if size < min(length, mss):
                return 0
            if pieces == MAX_PIECES:
                return -1
            sent = resend(conn, seq, size - size % mss if size > mss else size, now, emit)
            if seq == conn.snd_una:
                start_timer(conn, now)
            end = (seq + sent) & MASK
            undo.on_resent(state, seq, sent, state.spans.was_resent(seq))
            state.spans.on_resent(seq, end, conn.snd_nxt, now)
            state.prr.out += sent
            state.resent += -(-sent // mss)
            conn.stats.tcp_recovery_retransmits += 1
            pieces += 1
            seq = end
            length -= sent
            budget -= sent
    return max(budget, 0)
