"""Sending, derived from the state alone.

:func:`output` is called once after a batch of segments and calls, and :func:`expire` before it if a deadline has
passed. If the link segments data itself, pieces larger than a segment are emitted (``Settings.max_burst``).
"""

from __future__ import annotations

import errno

from slirpy.mypyc import Final
from slirpy.tcp import ecn, urgent
from slirpy.tcp.answers import send_noted
from slirpy.tcp.emit import (
    MAX_PIECES,
    Emit,
    ack_sent,
    ack_sent_with_data,
    acknowledge_twice,
    limit_timer,
    options_for,
    sack_length,
    start_timer,
    window_field,
)
from slirpy.tcp.keepalive import exhausted, keep_alive
from slirpy.tcp.loss import newreno, probe, recovery, sack, undo
from slirpy.tcp.options import TIMESTAMP, TIMESTAMP_WORD, build
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    KEEPALIVE,
    LAST_ACK,
    NO_TIMER,
    PERSIST,
    RETRANSMIT,
    SYN_RECEIVED,
    SYN_SENT,
    SYNCHRONIZED,
    TIME_WAIT_TIMER,
)
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS, SECOND
from slirpy.wire.tcp import ACK, ECE, FIN, PSH, SYN

__all__ = ["Emit", "expire", "output"]

MAX_PERSIST: Final = 60 * SECOND

_MAY_ACKNOWLEDGE: Final = SYNCHRONIZED | {SYN_RECEIVED}
_MAY_SEND: Final = frozenset((ESTABLISHED, CLOSE_WAIT, FIN_WAIT_1, CLOSING, LAST_ACK))


def expire(conn: ControlBlock, now: int) -> None:
    """Act on the deadlines that have passed; :func:`output` then sends what is due."""
    conn.undisturbed = False
    if conn.delack_at and now >= conn.delack_at:
        conn.ack_now = True
    if conn.loss_timer_at and now >= conn.loss_timer_at and conn.rack is not None:
        probe.on_timer(conn, conn.rack, now)
    if conn.timer_kind is NO_TIMER or now < conn.timer_at:
        return
    if conn.timer_kind is TIME_WAIT_TIMER:
        conn.enter(CLOSED)
        return
    if conn.timer_kind is KEEPALIVE:
        conn.timer_kind = NO_TIMER
        if exhausted(conn, now):
            conn.give_up(errno.ETIMEDOUT)
        return
    opening = conn.state not in SYNCHRONIZED
    limit = conn.settings.syn_timeout if opening else conn.settings.user_timeout
    since = conn.opened_at if opening else conn.progress_at
    if now - since >= limit and (conn.probes or conn.timer_kind is not PERSIST):
        conn.give_up(conn.soft_error or errno.ETIMEDOUT)
        return
    if conn.state is not SYN_SENT or conn.retries >= conn.settings.syn_linear_timeouts:
        conn.rtt.back_off()
    if conn.timer_kind is PERSIST:
        conn.probe = True
    else:
        conn.retries += 1
        conn.stats.tcp_silent += conn.retries == conn.settings.r1
        _go_back(conn, now)
    conn.timer_kind = NO_TIMER


def _go_back(conn: ControlBlock, now: int) -> None:
    """Start again from SND.UNA, with the smallest congestion window (RFC 6298, (5.4) to (5.6))."""
    conn.stats.tcp_retransmits += 1
    if conn.retries == 1:
        # SACKed data is not in flight. While a lost retransmission goes unnoticed, it is nearly all:
        # counted, it made the threshold a hundred times the window.
        conn.cc.on_timeout(((conn.snd_max - conn.snd_una) & MASK) - sack.sacked_below(conn, conn.snd_max))
    else:
        conn.cc.cwnd = conn.mss  # RFC 5681: the threshold stays if a retransmission is lost
    conn.sacked = []  # the peer may have discarded this data, and be waiting for it (RFC 2018, section 8)
    conn.go_back()
    if conn.rack is not None and conn.retries == 1:
        undo.begin(conn, conn.rack, now, timeout=True)
        conn.update_fast_path()


def output(conn: ControlBlock, now: int, emit: Emit) -> bool:
    """Send what is due; returns whether there is more to send at once, by another call."""
    if conn.reset is not None:
        (seq, ack, flags), conn.reset = conn.reset, None
        conn.stats.tcp_resets_out += 1
        emit(seq, ack, flags, 0, b"", [], 0)
    if conn.ecn is not None:
        emit = ecn.marking(conn, conn.ecn, emit)
    if conn.noted_acks:
        send_noted(conn, emit)
    if conn.snd_up is not None:
        emit = urgent.with_pointer(conn, emit)
    state = conn.state
    if state is ESTABLISHED or state in _MAY_SEND:
        # Most arriving segments give no reason to send data. A timer for window probes may be left over.
        idle = not (conn.snd_buf.length or conn.fin_queued or conn.timer_kind is PERSIST or conn.probe)
        if idle:
            more = False
        else:
            if conn.fin_queued:
                done = _send_fin(conn, now, emit)
            else:
                done = _send_alone(conn, now, emit) or _send_run(conn, now, emit)
            more = not done and _send_data(conn, now, emit)
        rack = conn.rack
        if rack is not None and (conn.snd_nxt != rack.seen_nxt or conn.snd_una != rack.seen_una):
            probe.schedule(conn, rack, now)
    elif state is SYN_SENT or state is SYN_RECEIVED:
        _send_syn(conn, now, emit)
        more = False
    else:
        more = False
    growth = conn.rcv_limit - conn.rcv_pending - ((conn.rcv_adv - conn.rcv_nxt) & MASK)
    if (conn.ack_now and conn.state in _MAY_ACKNOWLEDGE) or (
        (growth >= 2 * conn.mss or 2 * growth >= conn.rcv_limit) and _window_update_due(conn, growth)
    ):
        # With SND.MAX, which is the RFC's SND.NXT. After a timeout our SND.NXT is an old number, and the peer would
        # not accept the ACK. If both sides had gone back, neither would accept anything from the other.
        if conn.spare_acks:
            acknowledge_twice(conn, now, emit)
        emit(conn.snd_max, conn.rcv_nxt, ACK, window_field(conn), options_for(conn, now, True), [], 0)
        ack_sent(conn)
    if conn.timer_kind is NO_TIMER and conn.settings.keepalive:
        keep_alive(conn, now, emit)
    return more


def _send_syn(conn: ControlBlock, now: int, emit: Emit) -> None:
    if conn.snd_nxt != conn.iss:
        return
    settings = conn.settings
    answering = conn.state is SYN_RECEIVED
    flags, ack = (SYN | ACK, conn.rcv_nxt) if answering else (SYN, 0)
    if answering and conn.ecn is not None:
        flags |= ECE
    # A SYN offers what the settings allow; a SYN,ACK contains what both sides want.
    wscale = conn.rcv_wscale if (conn.wscale_ok if answering else settings.window_scaling) else None
    stamped = conn.ts_ok if answering else settings.timestamps
    options = build(
        mss=settings.mss,
        sack_permitted=conn.sack_ok if answering else settings.sack,
        timestamps=(conn.timestamp(now), conn.ts_recent) if stamped else None,
        wscale=wscale,
    )
    wnd = min(conn.rcv_limit, 0xFFFF)  # a SYN's window is never scaled
    emit(conn.iss, ack, flags, wnd, options, [], 0)
    conn.ack_now = False
    conn.last_ack = conn.rcv_nxt
    if answering:
        conn.rcv_adv = (conn.rcv_nxt + wnd) & MASK
    if conn.snd_max == conn.iss:
        conn.rtt_seq, conn.rtt_time = (conn.iss + 1) & MASK, now
    conn.snd_nxt = conn.snd_max = (conn.iss + 1) & MASK
    start_timer(conn, now)
    # The attempt ends exactly after this time, not at the next doubling of the timer.
    conn.timer_at = min(conn.timer_at, conn.opened_at + settings.syn_timeout)


def _send_alone(conn: ControlBlock, now: int, emit: Emit) -> bool:
    """Send all that there is as one segment, while nothing is in flight: the answer of a small exchange.

    No FIN follows it. Where that is not so simple, change nothing and return False; :func:`_send_data` would do the
    same in more steps. ``tests/sim/test_fastpath.py`` turns this off and checks that frames and state are identical.
    """
    buf, mss, cc = conn.snd_buf, conn.mss, conn.cc
    size, seq = buf.length, conn.snd_una
    if (
        not 0 < size <= mss
        or conn.snd_max != seq
        or conn.snd_nxt != seq
        or size > conn.snd_wnd
        or size > cc.cwnd
        or conn.slow_path_only
        or conn.sacked
        or conn.dupacks
        or conn.timer_kind is not NO_TIMER
        or conn.dsack is not None
        or conn.reassembly.size
        or now - conn.sent_at > conn.rtt.base
        or conn.rtt.backoff
        or conn.retries
    ):
        return False
    conn.ack_now = False  # as ack_sent() does
    conn.delack_at = 0
    conn.last_ack = ack = conn.rcv_nxt
    conn.sent_at = conn.progress_at = now
    rack = conn.rack
    if rack is not None:
        rack.spans.on_sent(seq, now, False, conn.rtt.srtt)
    if conn.ts_ok:
        options = TIMESTAMP.pack(TIMESTAMP_WORD, (now // MS + conn.ts_offset) & MASK, conn.ts_recent)
    else:
        options = b""
        conn.rtt_seq, conn.rtt_time = (seq + size) & MASK, now  # nothing else is timed: all is acknowledged
    emit(seq, ack, ACK | PSH, window_field(conn), options, buf.take(size), size)
    conn.snd_nxt = conn.snd_max = (seq + size) & MASK
    conn.timer_kind, conn.timer_at = RETRANSMIT, now + conn.rtt.base
    conn.probe = False
    left = conn.snd_wnd - size if conn.snd_wnd < cc.cwnd else cc.cwnd - size
    if left < mss and cc.cwnd <= conn.snd_wnd:
        conn.cwnd_filled = conn.snd_max
    return True


def _send_run(conn: ControlBlock, now: int, emit: Emit) -> bool:
    """Send as one piece all that the windows allow: what most ACKs of bulk data cause, and answers of a few segments.

    No FIN follows it. Where that is not so simple, change nothing and return False, as :func:`_send_alone`.
    """
    buf, mss, window, settings = conn.snd_buf, conn.mss, conn.cc.cwnd, conn.settings
    seq = conn.snd_nxt
    flight = (seq - conn.snd_una) & MASK
    usable = (window if window < conn.snd_wnd else conn.snd_wnd) - flight
    size = unsent = buf.length - flight
    if unsent > usable:
        size = usable - usable % mss
    limit = settings.max_burst - settings.max_burst % mss or (settings.emit_runs and MAX_PIECES * mss)
    if (
        not mss <= size <= limit
        or conn.slow_path_only
        or conn.sacked
        or conn.dupacks
        or conn.snd_max != seq
        or conn.dsack is not None
        or conn.reassembly.size
        or conn.ecn is not None
        or conn.snd_up is not None
        or not conn.ts_ok
    ):
        return False
    if not flight:
        rtt = conn.rtt
        if conn.timer_kind is not NO_TIMER or now - conn.sent_at > rtt.base or rtt.backoff or conn.retries:
            return False
        conn.timer_kind, conn.timer_at = RETRANSMIT, now + rtt.base  # as start_timer() does
        conn.progress_at = now
    conn.ack_now = False  # as ack_sent() does
    conn.delack_at = 0
    conn.last_ack = ack = conn.rcv_nxt
    conn.sent_at = now
    rack = conn.rack
    if rack is not None:
        rack.spans.on_sent(seq, now, False, conn.rtt.srtt)
    options = TIMESTAMP.pack(TIMESTAMP_WORD, (now // MS + conn.ts_offset) & MASK, conn.ts_recent)
    flags = ACK
    if size == unsent:
        flags |= PSH
        conn.probe = False
    emit(seq, ack, flags, window_field(conn), options, buf.take(size), size)
    conn.snd_nxt = conn.snd_max = end = (seq + size) & MASK
    if usable - size < mss and window <= conn.snd_wnd:
        conn.cwnd_filled = end
    return True


def _send_fin(conn: ControlBlock, now: int, emit: Emit) -> bool:
    """Send the FIN in a segment without text, once all text has been sent: the usual end of a connection.

    If the FIN has been sent, too, nothing is due. Where it is not so simple, change nothing and return False, as
    :func:`_send_alone`.
    """
    seq, rtt = conn.snd_nxt, conn.rtt
    flight = (seq - conn.snd_una) & MASK
    length = conn.snd_buf.length
    if flight < length or conn.slow_path_only or conn.sacked or conn.dupacks or conn.snd_max != seq:
        return False
    if flight > length:
        return True
    cc = conn.cc
    if (
        flight >= conn.snd_wnd
        or flight >= cc.cwnd
        or conn.dsack is not None
        or conn.reassembly.size
        or rtt.backoff
        or conn.retries
        or (not flight and now - conn.sent_at > rtt.base)
    ):
        return False
    options = options_for(conn, now)
    wnd = window_field(conn)
    ack_sent(conn)
    conn.sent_at = now
    if conn.rack is not None:
        conn.rack.spans.on_sent(seq, now, False, rtt.srtt)
    emit(seq, conn.rcv_nxt, ACK | FIN, wnd, options, [], 0)
    conn.snd_nxt = conn.snd_max = end = (seq + 1) & MASK
    if conn.rtt_seq is None and not conn.ts_ok:
        conn.rtt_seq, conn.rtt_time = end, now
    if conn.timer_kind is not RETRANSMIT:
        start_timer(conn, now)
    conn.probe = False
    window = cc.cwnd
    if window <= conn.snd_wnd and window - flight - 1 < conn.mss:
        conn.cwnd_filled = end
    return True


def _send_data(conn: ControlBlock, now: int, emit: Emit) -> bool:
    """Send text and FIN, as far as the peer's window and the congestion window allow."""
    buf = conn.snd_buf
    mss = conn.mss
    window = conn.cc.cwnd
    rack = conn.rack
    if conn.slow_path_only or conn.sacked or conn.dupacks:
        window = newreno.window(conn, now, emit) if rack is None else recovery.window(conn, rack, now, emit)
        if window < 0:
            return True
    una = conn.snd_una
    flight = (conn.snd_nxt - una) & MASK
    if conn.fin_queued and flight > buf.length:
        return False  # all sent, FIN included
    unsent = buf.length - flight
    if not unsent and not conn.fin_queued:
        if conn.timer_kind is PERSIST:
            conn.timer_kind = NO_TIMER
        conn.probe = False
        return False
    if not flight and now - conn.sent_at > conn.rtt.rto and conn.snd_max == una and conn.settings.idle_restart:
        conn.cc.on_idle()  # RFC 5681, section 4.1
        window = conn.cc.cwnd
    burst = conn.burst()
    sack_bytes = sack_length(conn) if conn.dsack is not None or conn.reassembly.size else 0
    if sack_bytes:
        # MUST-16: options reduce the room for data. One segment each, since links segment with constant headers.
        mss = burst = mss - sack_bytes
    # CWR or the urgent pointer may belong to some of the segments alone, so there is no run of them.
    runs = (
        conn.settings.emit_runs
        and burst == conn.mss
        and conn.snd_nxt == conn.snd_max
        and conn.ecn is None
        and conn.snd_up is None
    )
    if runs:
        burst = MAX_PIECES * mss
    usable = min(conn.snd_wnd, window) - flight
    pieces = ack = wnd = 0
    options = b""
    while True:
        size = unsent if unsent < burst else burst
        if size > usable:
            size = usable
        last = size == unsent
        if size < mss and not last:
            # The sender's silly window avoidance (section 3.8.6.2.1): a full segment, or half of the largest window.
            if size <= 0 or flight or 2 * size < conn.snd_wnd_max:
                break
        elif 0 < size < mss and flight and not conn.settings.nodelay and not conn.fin_queued:
            break  # Nagle
        elif size > mss and not last:
            size -= size % mss
        fin = last and conn.fin_queued and usable >= size
        if fin and usable == size:
            # The window ends where the data ends. A FIN is not data, so it only needs room in the peer's window.
            fin = conn.snd_wnd - flight > size and recovery.no_loss_suspected(conn)
        if size <= 0 and not fin:
            break
        if pieces >= MAX_PIECES:
            return True
        flags = ACK
        if last and size > 0:
            flags |= PSH
        if fin:
            flags |= FIN
        if not pieces:  # computed once, for all pieces
            ack, wnd, options = conn.rcv_nxt, window_field(conn), options_for(conn, now, sack_bytes > 0)
            if sack_bytes:
                ack_sent(conn)
            else:
                ack_sent_with_data(conn)
            conn.sent_at = now
            if rack is not None:
                rack.spans.on_sent(conn.snd_nxt, now, conn.snd_nxt != conn.snd_max, conn.rtt.srtt)
        elif sack_bytes and pieces == 1:
            options = options_for(conn, now, True)  # a D-SACK is reported once, in the first piece
        seq = conn.snd_nxt
        if size > 0:
            emit(seq, ack, flags, wnd, options, buf.take(size), size)
        else:
            size = 0
            emit(seq, ack, flags, wnd, options, [], 0)
        pieces += -(-size // mss) if runs and size else 1
        sent = size + fin
        conn.snd_nxt = (seq + sent) & MASK
        if 0 < (conn.snd_nxt - conn.snd_max) & MASK < HALF:  # never sent before
            if conn.rtt_seq is None and not conn.ts_ok:
                conn.rtt_seq, conn.rtt_time = (seq + mss) & MASK if runs and size > mss else conn.snd_nxt, now
            conn.snd_max = conn.snd_nxt
        if conn.timer_kind is not RETRANSMIT:
            start_timer(conn, now)
        flight += sent
        usable -= sent
        unsent -= size
        if fin or not (unsent or conn.fin_queued):
            conn.probe = False
            break
    if usable < mss and window <= conn.snd_wnd:
        conn.cwnd_filled = conn.snd_max
    if not flight:
        _persist(conn, now, emit)
    # RFC 6675, section 4, NextSeg: rules (3) and (4) apply when there is no new data any more.
    return rack is None and conn.in_recovery and pieces > 0


def _persist(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Probe the peer's closed window while nothing is in flight (section 3.8.6.1)."""
    if conn.probe:
        conn.probe = False
        conn.stats.tcp_zero_window_probes += 1
        if not conn.probes:
            conn.progress_at = now  # the user timeout counts from here
        conn.probes += 1
        # One byte that does not fit (or the FIN) makes the peer report its window. If the window is open but small,
        # it is filled (section 3.8.6.2.1, the override timeout). SND.NXT does not move.
        size = min(conn.snd_buf.length, max(conn.snd_wnd, 1), conn.mss)
        flags = ACK if size else ACK | FIN
        emit(
            conn.snd_una,
            conn.rcv_nxt,
            flags,
            window_field(conn),
            options_for(conn, now),
            conn.snd_buf.peek(size),
            size,
        )
        ack_sent_with_data(conn)
        beyond = (conn.snd_una + (size or 1)) & MASK
        if (beyond - conn.snd_max) & MASK < HALF:
            conn.snd_max = beyond
    elif conn.timer_kind is not PERSIST:
        conn.probes = 0
    if conn.timer_kind is not PERSIST:
        conn.timer_kind = PERSIST
        conn.timer_at = now + min(conn.rtt.rto, MAX_PERSIST)
        if conn.probes:
            limit_timer(conn)


def _window_update_due(conn: ControlBlock, growth: int) -> bool:
    """Report whether new room deserves a window update: the receiver's silly window avoidance (section 3.8.6.2.2).

    Half of the buffer does. So do two segments that at least double the window, since the peer may be waiting at a
    closed window.

    Args:
        growth: bytes by which the edge of the window could move.
    """
    limit, room = conn.rcv_limit, conn.rcv_limit - conn.rcv_pending
    if growth < (limit + 1) >> 1 and (growth < 2 * conn.mss or 2 * growth < room):
        return False
    if conn.state is not ESTABLISHED and conn.state not in (FIN_WAIT_1, FIN_WAIT_2):
        return False
    # The first ACK of data carries the part of the window that the 16 bits of a SYN could not express.
    return (conn.rcv_nxt - conn.irs) & MASK != 1
