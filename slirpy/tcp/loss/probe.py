"""The tail loss probe: what the end of a flight loses is found without the time-out (RFC 8985, section 7).

Nothing follows the last segments that could tell of their loss. So after two round trips of silence one more segment
is sent, new or the last one again, and what the peer answers tells :mod:`slirpy.tcp.loss.rack` what is missing.
"""

from __future__ import annotations

from slirpy.tcp.emit import Emit, ack_sent_with_data, options_for, resend, start_timer, window_field
from slirpy.tcp.loss.state import LossTimer, RackState
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import RETRANSMIT
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS
from slirpy.wire.tcp import ACK, PSH

__all__ = ["on_ack", "on_timer", "schedule", "send"]

MIN_PTO = 10 * MS
"""The RFC leaves this to us: guests are machines that others share, and their answers may come late by some ticks."""
PEER_ACK_DELAY = 50 * MS
"""TLP.max_ack_delay: how long a lone segment's ACK may be delayed. Linux and Windows take 40 ms; who takes longer is
probed in vain, which costs a segment."""
FIRST_PTO = 1_000 * MS
"""Before there is a measurement."""


def schedule(conn: ControlBlock, state: RackState, now: int) -> None:
    """Something new was sent, or acknowledged: set the timer anew, or take it away (section 7.2)."""
    state.seen_una, state.seen_nxt = conn.snd_una, conn.snd_nxt
    flight = (conn.snd_nxt - conn.snd_una) & MASK
    if (
        not flight
        or conn.slow_path_only
        or conn.sacked
        or conn.snd_nxt != conn.snd_max
        or conn.timer_kind is not RETRANSMIT
        or conn.retries
    ):
        if state.loss_timer is LossTimer.PROBE:
            conn.loss_timer_at = 0
        return
    srtt = conn.rtt.srtt
    wait = max(2 * srtt, MIN_PTO) if srtt else FIRST_PTO
    if flight <= conn.mss:
        wait += PEER_ACK_DELAY
    state.loss_timer = LossTimer.PROBE
    conn.loss_timer_at = min(now + wait, conn.timer_at)


def on_timer(conn: ControlBlock, state: RackState, now: int) -> None:
    """The timer has passed: ``output`` then sends the probe, or looks for what is lost."""
    conn.loss_timer_at = 0
    if state.loss_timer is LossTimer.REORDER:
        state.has_news = True
    elif conn.timer_kind is RETRANSMIT and (state.seen_una, state.seen_nxt) == (conn.snd_una, conn.snd_nxt):
        start_timer(conn, now)  # the probe replaces a time-out that is due by now
    else:
        return
    state.timer_expired = True
    conn.update_fast_path()


def send(conn: ControlBlock, state: RackState, now: int, emit: Emit) -> None:
    """Section 7.3: one segment, whatever the congestion window says: new data if there is some, else the last."""
    conn.stats.tcp_tail_probes += 1
    flight = (conn.snd_nxt - conn.snd_una) & MASK
    buf = conn.snd_buf
    size = min(buf.length - flight, conn.mss, conn.snd_wnd - flight)
    state.tlp_is_retrans = size <= 0
    if size > 0:
        flags = ACK | PSH if size == buf.length - flight else ACK
        options = options_for(conn, now)
        state.spans.on_sent(conn.snd_nxt, now, 0, 0)
        emit(conn.snd_nxt, conn.rcv_nxt, flags, window_field(conn), options, buf.take(size), size)
        ack_sent_with_data(conn)
        conn.snd_nxt = conn.snd_max = (conn.snd_nxt + size) & MASK
    else:
        size = min(flight, conn.mss + conn.fin_sent)  # a FIN takes no room
        seq = (conn.snd_max - size) & MASK
        resend(conn, seq, size, now, emit)
        state.spans.on_resent(seq, conn.snd_max, conn.snd_nxt, now)
    state.tlp_end = conn.snd_max
    start_timer(conn, now)


def on_ack(conn: ControlBlock, state: RackState, dsack: tuple[int, int] | None, repeated: bool) -> None:
    """Section 7.4: an ACK has come while a probe is not accounted for. Has the probe made a loss good?

    Args:
        dsack: what the peer tells to have come twice.
        repeated: the ACK is a duplicate one and tells nothing by SACK.
    """
    end = state.tlp_end
    if end is None or (conn.snd_una - end) & MASK >= HALF:
        return
    if state.tlp_is_retrans:
        if dsack is not None and (dsack[1] - end) & MASK < HALF and (end - dsack[0] - 1) & MASK < HALF:
            pass  # the last segment had arrived
        elif conn.snd_una != end:
            # It had not: a loss all the same, and the path is to be relieved as after any other.
            conn.stats.tcp_probes_repaired += 1
            state.episode = None
            conn.cc.on_loss(conn.flight_before(conn.snd_max))
        elif not repeated:
            return  # one of both has arrived; what comes with the next flight tells
    state.tlp_end = None
