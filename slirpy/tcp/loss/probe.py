"""The tail loss probe: what the end of a flight loses is found without the time-out (RFC 8985, section 7).

Nothing follows the last segments that could tell of their loss. So after two round trips of silence one more segment
is sent, new or the last one again, and what the peer answers tells :mod:`slirpy.tcp.loss.rack` what is missing.
"""

from __future__ import annotations

from slirpy.tcp.emit import Emit, acknowledged_aside, options_for, resend, start_timer, window_field
from slirpy.tcp.loss.state import Early, Rack
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import RETRANSMIT
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS
from slirpy.wire.tcp import ACK, PSH

__all__ = ["account", "expired", "schedule", "send"]

MIN_PTO = 10 * MS
"""The RFC leaves this to us: guests are machines that others share, and their answers may come late by some ticks."""
PEER_ACK_DELAY = 50 * MS
"""TLP.max_ack_delay: how long a lone segment's ACK may be delayed. Linux and Windows take 40 ms; who takes longer is
probed in vain, which costs a segment."""
FIRST_PTO = 1_000 * MS
"""Before there is a measurement."""


def schedule(conn: ControlBlock, rack: Rack, now: int) -> None:
    """Something new was sent, or acknowledged: set the timer anew, or take it away (section 7.2)."""
    rack.seen_una, rack.seen_nxt = conn.snd_una, conn.snd_nxt
    flight = (conn.snd_nxt - conn.snd_una) & MASK
    if (
        not flight
        or conn.careful
        or conn.sacked
        or conn.snd_nxt != conn.snd_max
        or conn.timer_kind is not RETRANSMIT
        or conn.retries
    ):
        if rack.early is Early.PROBE:
            conn.early_at = 0
        return
    srtt = conn.rtt.srtt
    wait = max(2 * srtt, MIN_PTO) if srtt else FIRST_PTO
    if flight <= conn.mss:
        wait += PEER_ACK_DELAY
    rack.early = Early.PROBE
    conn.early_at = min(now + wait, conn.timer_at)


def expired(conn: ControlBlock, rack: Rack, now: int) -> None:
    """The timer has passed: ``output`` then sends the probe, or looks for what is lost."""
    conn.early_at = 0
    if rack.early is Early.REORDER:
        rack.fresh = conn.careful = True
    elif conn.timer_kind is RETRANSMIT and (rack.seen_una, rack.seen_nxt) == (conn.snd_una, conn.snd_nxt):
        rack.probe_due = conn.careful = True
        start_timer(conn, now)  # it comes in the place of a time-out that is due by now


def send(conn: ControlBlock, rack: Rack, now: int, emit: Emit) -> None:
    """Section 7.3: one segment, whatever the congestion window says: new data if there is some, else the last."""
    rack.probe_due = False
    conn.stats.tcp_tail_probes += 1
    flight = (conn.snd_nxt - conn.snd_una) & MASK
    buf = conn.snd_buf
    size = min(buf.length - flight, conn.mss, conn.snd_wnd - flight)
    rack.tlp_again = size <= 0
    if size > 0:
        flags = ACK | PSH if size == buf.length - flight else ACK
        options = options_for(conn, now)
        rack.spans.sent(conn.snd_nxt, now, 0, 0)
        emit(conn.snd_nxt, conn.rcv_nxt, flags, window_field(conn), options, buf.take(size), size)
        acknowledged_aside(conn)
        conn.snd_nxt = conn.snd_max = (conn.snd_nxt + size) & MASK
    else:
        size = min(flight, conn.mss + conn.fin_sent)  # a FIN takes no room
        seq = (conn.snd_max - size) & MASK
        resend(conn, seq, size, now, emit)
        rack.spans.sent_again(seq, conn.snd_max, conn.snd_nxt, now)
    rack.tlp_end = conn.snd_max
    start_timer(conn, now)


def account(conn: ControlBlock, rack: Rack, dsack: tuple[int, int] | None, repeated: bool) -> None:
    """Section 7.4: an ACK has come while a probe is not accounted for. Has the probe made a loss good?

    Args:
        dsack: what the peer tells to have come twice.
        repeated: the ACK is a duplicate one and tells nothing by SACK.
    """
    end = rack.tlp_end
    if end is None or (conn.snd_una - end) & MASK >= HALF:
        return
    if rack.tlp_again:
        if dsack is not None and (dsack[1] - end) & MASK < HALF and (end - dsack[0] - 1) & MASK < HALF:
            pass  # the last segment had arrived
        elif conn.snd_una != end:
            # It had not: a loss all the same, and the path is to be relieved as after any other.
            conn.stats.tcp_probes_repaired += 1
            rack.episode = None
            conn.cc.on_loss(conn.flight_before(conn.snd_max))
        elif not repeated:
            return  # one of both has arrived; what comes with the next flight tells
    rack.tlp_end = None
