"""Recovery with SACK and RACK: what is sent again, and how much else may be sent meanwhile (RFC 8985, RFC 6937).

What is lost goes before what is new. In a recovery the proportional rate reduction says how much; after a time-out
the congestion window does. Without SACK, and with ``Settings.rack`` off, :mod:`slirpy.tcp.loss.newreno` does this.
"""

from __future__ import annotations

from slirpy.tcp.emit import MAX_PIECES, Emit, resend, start_timer
from slirpy.tcp.loss import newreno, probe, rack, sack, undo
from slirpy.tcp.loss.state import Early, Rack
from slirpy.tcp.seq import MASK
from slirpy.tcp.tcb import ControlBlock

__all__ = ["after_timeout", "settle", "untroubled", "window"]


def window(conn: ControlBlock, state: Rack, now: int, emit: Emit) -> int:
    """Look for losses if there is news, send again what is lost; how many bytes beyond SND.UNA may have been sent.

    -1: there is more to do at once. As :func:`slirpy.tcp.loss.newreno.window`.
    """
    if state.probe_due:
        probe.send(conn, state, now, emit)
    if state.fresh:
        wait = rack.detect(conn, state, now)
        state.early = Early.REORDER
        conn.early_at = now + wait if wait else 0
    pipe, lost = rack.survey(conn, state)
    if lost and not conn.in_recovery and not after_timeout(conn):
        _begin(conn, state, now)
    if conn.in_recovery:
        state.prr.sent(conn.snd_max)
    if state.fresh:
        if conn.in_recovery:
            state.prr.news(state.delivered, pipe, conn.mss, state.safe)
        state.fresh = state.safe = False
        state.delivered = 0
    settle(conn, state)
    budget = (state.prr.window if conn.in_recovery else conn.cc.cwnd) - pipe
    if lost:
        left = _resend(conn, state, lost, budget, now, emit) if conn.snd_wnd else 0
        if left <= 0:
            return left
        budget = left
    if conn.snd_nxt != conn.snd_max and conn.sacked and conn.snd_wnd:
        if (left := newreno.refill(conn, now, emit)) <= 0:
            return left
        budget = conn.cc.cwnd - rack.survey(conn, state)[0]
    return ((conn.snd_nxt - conn.snd_una) & MASK) + budget


def after_timeout(conn: ControlBlock) -> bool:
    """Whether what is being sent again is the business of a time-out, or of a recovery that is not over."""
    return 0 < (conn.recover - conn.snd_una) & MASK <= (conn.snd_max - conn.snd_una) & MASK


def untroubled(conn: ControlBlock) -> bool:
    """Whether nothing that is on its way was sent before, or is thought to be missing."""
    calm = conn.snd_nxt == conn.snd_max and not (conn.in_recovery or conn.sacked or conn.dupacks)
    return calm and not after_timeout(conn)


def settle(conn: ControlBlock, state: Rack) -> None:
    """Whether segments must be looked at with care, and not go the fast path."""
    episode = state.episode
    doubtful = episode is not None and episode.stamp is not None
    conn.careful = conn.in_recovery or doubtful or state.tlp_end is not None


def _begin(conn: ControlBlock, state: Rack, now: int) -> None:
    """A recovery begins: RFC 6675, section 5, steps (4.1) and (4.2), and RFC 9937."""
    flight = (conn.snd_max - conn.snd_una) & MASK
    if not conn.dupacks:
        conn.prior_max = conn.snd_max
    conn.cc.on_loss(conn.flight_before(conn.prior_max))
    undo.begin(conn, state, now, timeout=False)
    conn.in_recovery = True
    state.tlp_end = None  # a probe that had a part in this needs no account of its own
    conn.recover = conn.snd_max
    received = sack.sacked_below(conn, conn.snd_max)
    state.prr.begin(flight - received + state.delivered, conn.cc.cwnd, conn.snd_max)
    conn.stats.tcp_fast_retransmits += 1


def _resend(
    conn: ControlBlock, state: Rack, lost: list[tuple[int, int]], budget: int, now: int, emit: Emit
) -> int:
    """Send lost data again; what is left of ``budget``, 0 if that is used up, -1 if there is more to do."""
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
            undo.sent_again(state, seq, sent, state.spans.sent_before(seq))
            state.spans.sent_again(seq, end, conn.snd_nxt, now)
            state.prr.out += sent
            state.resent += -(-sent // mss)
            conn.stats.tcp_recovery_retransmits += 1
            pieces += 1
            seq = end
            length -= sent
            budget -= sent
    return max(budget, 0)
