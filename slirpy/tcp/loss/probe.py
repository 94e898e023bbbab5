"""Tail loss probes, which detect losses at the end of a flight before the timeout (RFC 8985, section 7).

Nothing follows the last segments of a flight, so no ACK reveals their loss. After two round trips of silence, one
more segment is sent: new data, or the last segment again. The peer's answer lets :mod:`slirpy.tcp.loss.rack` detect
what is missing.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.emit import Emit, ack_sent_with_data, options_for, resend, start_timer, window_field
from slirpy.tcp.loss.state import PROBE, REORDER, RackState
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import RETRANSMIT
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS
from slirpy.wire.tcp import ACK, PSH

__all__ = ["arm", "on_ack", "on_timer", "schedule", "send"]

MIN_PTO: Final = 10 * MS
"""Minimum time until a probe; the RFC leaves it open. Guests share their machine, and may answer some ticks late."""
FIRST_PTO: Final = 1_000 * MS
"""Time until a probe before the first measurement."""


def schedule(conn: ControlBlock, state: RackState, now: int) -> None:
    """Set or clear the timer, after new data was sent or acknowledged (section 7.2)."""
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
        if state.loss_timer is PROBE:
            conn.loss_timer_at = 0
        return
    arm(conn, state, flight, now)


def arm(conn: ControlBlock, state: RackState, flight: int, now: int) -> None:
    """Set the timer, with ``flight`` bytes in flight and the retransmission timer running."""
    srtt = conn.rtt.srtt
    wait = FIRST_PTO if not srtt else 2 * srtt if 2 * srtt > MIN_PTO else MIN_PTO
    if flight <= conn.mss:
        wait += conn.settings.peer_ack_delay
    state.loss_timer = PROBE
    due = now + wait
    conn.loss_timer_at = due if due < conn.timer_at else conn.timer_at


def on_timer(conn: ControlBlock, state: RackState, now: int) -> None:
    """Act on the expired timer: :func:`~slirpy.tcp.sending.output` then sends the probe, or looks for losses."""
    conn.loss_timer_at = 0
    if state.loss_timer is REORDER:
        state.has_news = True
    elif conn.timer_kind is RETRANSMIT and (state.seen_una, state.seen_nxt) == (conn.snd_una, conn.snd_nxt):
        start_timer(conn, now)  # the probe replaces a timeout that is due by now
    else:
        return
    state.timer_expired = True
    conn.update_fast_path()


def send(conn: ControlBlock, state: RackState, now: int, emit: Emit) -> None:
    """Send one segment, regardless of the congestion window: new data, or else the last segment (section 7.3)."""
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
    """Process an ACK while a probe is outstanding: detect whether the probe has repaired a loss (section 7.4).

    Args:
        dsack: edges of a D-SACK block; None: there is none.
        repeated: the ACK is a duplicate without SACK blocks.
    """
    end = state.tlp_end
    if end is None or (conn.snd_una - end) & MASK >= HALF:
        return
    if state.tlp_is_retrans:
        if dsack is not None and (dsack[1] - end) & MASK < HALF and (end - dsack[0] - 1) & MASK < HALF:
            pass  # the last segment had arrived
        elif conn.snd_una != end:
            # It had not arrived. This is a loss like any other, so the congestion window is reduced.
            conn.stats.tcp_probes_repaired += 1
            state.episode = None
            conn.cc.on_loss(conn.flight_before(conn.snd_max))
        elif not repeated:
            return  # one of the two copies has arrived; ACKs of the next flight will show more
    state.tlp_end = None
