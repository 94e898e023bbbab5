"""Arriving segments (RFC 9293, section 3.10.7), processed in the RFC's order.

Nothing is sent from here: fields such as ``ack_now``, ``reset`` and ``resend_head`` let
:func:`~slirpy.tcp.sending.output` know what is due. :func:`acknowledge` and :func:`acknowledge_all` are called from
:mod:`slirpy.core.fastpath`, too.
"""

from __future__ import annotations

import errno

from slirpy.mypyc import Final
from slirpy.tcp import ecn, urgent
from slirpy.tcp.answers import answer, challenge, note
from slirpy.tcp.delivery import deliver_queued, restart_time_wait, take_fin, take_text
from slirpy.tcp.loss import newreno, rack, recovery, sack, undo
from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import (
    CLOSED,
    CLOSING,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LISTEN,
    NO_TIMER,
    PERSIST,
    RETRANSMIT,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS
from slirpy.wire.tcp import ACK, FIN, RST, SYN, URG

__all__ = ["acknowledge", "acknowledge_all", "segment_arrives"]

_UNUSUAL: Final = ACK | RST | SYN
TS_RECENT_LIFE: Final = 24 * 24 * 3600 * 1000 * MS
"""Silence after which ``ts_recent`` is invalid, since the peer's clock may have advanced by half of its range (RFC
7323, section 5.5)."""


def segment_arrives(conn: ControlBlock, seg: Segment, now: int) -> None:
    """Process a segment. Segments of a closed connection are ignored here."""
    conn.undisturbed = False
    if seg.options.bad:
        conn.stats.tcp_bad_options += 1
    state = conn.state
    if state is LISTEN:
        _listen(conn, seg, now)
    elif state is SYN_SENT:
        _syn_sent(conn, seg, now)
    elif state is not CLOSED:
        _synchronized(conn, seg, now)


def _listen(conn: ControlBlock, seg: Segment, now: int) -> None:
    """Process a segment in LISTEN (section 3.10.7.2)."""
    if seg.flags & RST:
        conn.stats.drop_tcp_reset += 1
    elif seg.flags & ACK:
        conn.stats.drop_tcp_ack_opening += 1
        conn.reset = seg.ack, 0, RST
    elif seg.flags & SYN:
        conn.opened_at = conn.progress_at = now  # the time spent listening does not count
        _take_syn(conn, seg, now)
        if conn.settings.ecn:
            ecn.accept(conn, seg.flags)
        conn.enter(SYN_RECEIVED)
        _keep_syn_data(conn, seg)
    else:
        conn.stats.drop_tcp_flags += 1


def _take_syn(conn: ControlBlock, seg: Segment, now: int) -> None:
    seq, ack, _, field, options, _, _, _ = seg
    conn.heard_at = now
    conn.irs = seq
    conn.rcv_nxt = conn.rcv_adv = conn.last_ack = (seq + 1) & MASK
    conn.take_syn_options(options, field)
    conn.snd_wl1 = seq
    conn.snd_wl2 = ack


def _keep_syn_data(conn: ControlBlock, seg: Segment) -> None:
    """Keep text and FIN of a SYN until the connection is established. The peer retransmits what does not fit.

    At most a segment is kept, because many connections can be half-open, and the peer's address may be forged.
    """
    length = min(len(seg.payload), conn.settings.mss, conn.rcv_limit)
    if length:
        conn.reassembly.insert(conn.rcv_nxt, conn.rcv_nxt, memoryview(seg.payload)[:length])
    # A FIN needs room, too.
    if seg.flags & FIN and length == len(seg.payload) and length < conn.rcv_limit:
        conn.fin_seq = (conn.rcv_nxt + length) & MASK


def _syn_sent(conn: ControlBlock, seg: Segment, now: int) -> None:
    """Process a segment in SYN-SENT (section 3.10.7.3)."""
    flags = seg.flags
    if flags & ACK:
        acceptable = seg.ack == (conn.iss + 1) & MASK
        if not acceptable:
            if flags & RST:
                conn.stats.drop_tcp_reset += 1
            else:
                conn.stats.drop_tcp_ack_opening += 1
                conn.reset = seg.ack, 0, RST
            return
        if flags & RST:
            conn.peer_reset = True
            conn.close_with(errno.ECONNREFUSED)
            return
    elif flags & RST:
        conn.stats.drop_tcp_reset += 1
        return
    if not flags & SYN:
        conn.stats.drop_tcp_flags += 1
        return
    _take_syn(conn, seg, now)
    if flags & ACK:
        if conn.rtt_seq is not None and conn.retries == 0:  # Karn
            conn.rtt.sample(now - conn.rtt_time)
        conn.rtt_seq = None
        conn.establish()
        conn.measure_path()
        conn.rtt.backoff = conn.retries = 0
        conn.timer_kind = NO_TIMER
        conn.snd_una = conn.snd_nxt = conn.snd_max = seg.ack
        conn.syn_acked = True
        conn.progress_at = now
        conn.ack_now = True
        if seg.payload or flags & FIN:
            # Text and FIN of the SYN are processed like those of the next segment.
            rest = seg._replace(seq=(seg.seq + 1) & MASK, flags=flags & ~SYN)
            conn.rcv_adv = (conn.rcv_nxt + conn.rcv_limit) & MASK
            _synchronized(conn, rest, now)
    else:
        conn.snd_nxt = conn.snd_una  # so that output sends SYN,ACK
        conn.enter(SYN_RECEIVED)
        _keep_syn_data(conn, seg)


def _synchronized(conn: ControlBlock, seg: Segment, now: int) -> None:
    """Process a segment in SYN-RECEIVED or a synchronized state (section 3.10.7.4)."""
    if conn.state is SYN_RECEIVED and seg.seq == conn.irs and seg.flags & (SYN | RST) == SYN:
        if not seg.flags & ACK:
            conn.snd_nxt = conn.iss  # our SYN,ACK was lost; an ACK alone would not open the connection
            if conn.ecn is not None:
                ecn.accept(conn, seg.flags)
            return
        if not conn.passive:
            # The SYN,ACK of a simultaneous open. By the letter of the RFC its sequence number is old, and the two
            # sides would answer each other's segments forever. Only its ACK matters.
            seg = seg._replace(seq=conn.rcv_nxt, flags=seg.flags & ~SYN)
            if conn.snd_nxt == conn.iss:
                conn.ack_now = True  # it arrived in the same batch as the SYN, which is not answered yet
    # Unpacked, because each attribute of a named tuple takes as long as a call.
    first, ack, flags, field, options, payload, urg, _ = seg
    seq, text, has_fin = first, len(payload), flags & FIN != 0
    stats = conn.stats

    # RFC 7323, section 5.3: PAWS is applied before everything else, but not to resets.
    ts = options.timestamps
    if conn.ts_ok and not flags & RST:
        if ts is None:
            stats.drop_tcp_paws += 1
            return
        if (ts[0] - conn.ts_recent) & MASK >= HALF and now - conn.heard_at < TS_RECENT_LIFE:
            stats.drop_tcp_paws += 1
            answer(conn, now)
            return

    # First, the sequence number. Edges are distances from RCV.NXT, negative for old data.
    wnd = (conn.rcv_adv - conn.rcv_nxt) & MASK
    start = (seq - conn.rcv_nxt) & MASK
    length = text + (flags & FIN) + (flags >> 1 & 1)  # as seg.length
    again = False
    # Most segments are in order, inside the window, and neither RST nor SYN: the next three steps accept all of them.
    if start or length > wnd or flags & _UNUSUAL != ACK:
        if start >= HALF:
            start -= MASK + 1
        if flags & RST:
            length = 0  # the payload of a reset does not affect whether it is acceptable
        end = start + length
        if length == 0:
            # An ACK at the right edge is accepted, as by Linux. A peer that has filled the window, and then goes back
            # to smaller segments, sends ACKs with that number. If both ends did, and dropped them, neither would
            # progress.
            acceptable = 0 <= start < wnd or (start == wnd and (not wnd or flags & (ACK | RST) == ACK))
        else:
            acceptable = wnd > 0 and (0 <= start < wnd or 0 < end <= wnd or (start < 0 and end > wnd))
        if not acceptable:
            if flags & RST:
                stats.drop_tcp_reset += 1
                return
            if start < 0 and end <= 0:
                stats.drop_tcp_old += 1
            else:
                stats.drop_tcp_out_of_window += 1
            if length:
                answer(conn, now)
            else:
                # Limited, because two sides that answer each other's ACKs would never stop.
                challenge(conn, now)
            if wnd or start:
                if start < 0 and end <= 0 and _plausible_ack(conn, seg):
                    _on_old_segment(conn, seg, now)
                return
            # With a closed window, text is not accepted, but valid ACKs and RSTs are (MUST-66).
            payload = b""
            flags &= ~FIN
        # From here on, only the part inside the window is used, and nothing is trusted until the ACK is validated.
        if start < 0 and not flags & SYN:
            # There must be text, since a FIN alone cannot extend from before the window into it.
            payload = memoryview(payload)[-start:]
            again = conn.sack_ok
            start = 0
            seq = conn.rcv_nxt
        if end > wnd:  # cuts the FIN, too, which takes the last sequence number
            payload = memoryview(payload)[: wnd - start]
            flags &= ~FIN

        # Second, RST. RFC 5961, section 3.2: only the exact number resets; others in the window are challenged.
        if flags & RST:
            if seq != conn.rcv_nxt:
                stats.drop_tcp_reset += 1
                challenge(conn, now)
                return
            if conn.state is TIME_WAIT:
                # Not a failure: both streams are complete, and the reset answers an old duplicate of our segments.
                conn.close_with(0)
                return
            conn.peer_reset = True
            refused = conn.state is SYN_RECEIVED and not conn.passive
            conn.close_with(errno.ECONNREFUSED if refused else errno.ECONNRESET)
            return

        # Fourth, SYN. RFC 5961, section 4.2: challenged in every synchronized state, whatever its number.
        if flags & SYN:
            if conn.state is SYN_RECEIVED and conn.passive:
                # By the RFC the connection returns to LISTEN. Here the demultiplexer listens.
                conn.close_with(errno.ECONNABORTED)
                return
            stats.drop_tcp_syn += 1
            challenge(conn, now)
            return
        if not flags & ACK:
            stats.drop_tcp_flags += 1
            return

    # Fifth, ACK.
    opens = conn.state is SYN_RECEIVED
    if opens:
        if not 0 < (ack - conn.snd_una) & MASK <= (conn.snd_max - conn.snd_una) & MASK:
            stats.drop_tcp_ack_opening += 1
            conn.reset = ack, 0, RST
            return
        conn.establish()
    echoed = ts[1] if ts is not None and conn.ts_ok else None
    una = conn.snd_una
    if not acknowledge(conn, ack, field << conn.snd_wscale, first, text, has_fin, echoed, now):
        return
    if conn.state is CLOSED:
        return
    if conn.ecn is not None:
        ecn.on_segment(conn, conn.ecn, seg, (conn.snd_una - una) & MASK)
    own = again or seq != conn.rcv_nxt or conn.reassembly.size or conn.fin_seq is not None
    if own and conn.ack_now and (payload or flags & FIN):
        note(conn, now)
    if ts is not None and conn.ts_ok and start == 0 and (conn.last_ack - first) & MASK < HALF:
        conn.ts_recent = ts[0]  # RFC 7323, section 4.3, (2)
    if again:
        conn.dsack = first, seq
        conn.ack_now = True
    state = conn.rack
    if state is not None:
        if options.sack or state.tlp_end is not None:
            recovery.on_sack(conn, state, seg, conn.snd_una != una, echoed, now)
    elif conn.sack_ok and options.sack:
        newreno.on_sack(conn, options.sack, ack)

    # Sixth, URG. Urgent data is delivered in its place in the stream (RFC 6093).
    if flags & URG and urg and not conn.fin_received:
        urgent.on_pointer(conn, (first + urg) & MASK)
    # Seventh, the text.
    if payload:
        take_text(conn, seq, payload, now)
    if opens:
        conn.measure_path()
        deliver_queued(conn, now)  # text of the SYN
    # Eighth, FIN. It may arrive before the text that precedes it.
    if flags & FIN or conn.fin_seq is not None:
        take_fin(conn, (first + length - 1) & MASK if flags & FIN else None, now)


def _plausible_ack(conn: ControlBlock, seg: Segment) -> bool:
    """Report whether the peer can have sent this ACK: for data that was sent, and no older than its largest
    window.
    """
    if not seg.flags & ACK:
        return False
    ahead = (conn.snd_max - seg.ack) & MASK
    return ahead <= ((conn.snd_max - conn.snd_una) & MASK) + conn.snd_wnd_max


def _on_old_segment(conn: ControlBlock, seg: Segment, now: int) -> None:
    """Process a segment whose data had all arrived before: our ACKs get lost, or the peer retransmits too early."""
    if seg.payload:
        conn.spare_acks = True
        if conn.sack_ok:
            conn.dsack = seg.seq, (seg.seq + len(seg.payload)) & MASK
    if conn.state is TIME_WAIT and seg.flags & FIN and (seg.seq + seg.length) & MASK == conn.rcv_nxt:
        restart_time_wait(conn, now)


def acknowledge(
    conn: ControlBlock, ack: int, window: int, seq: int, length: int, fin: bool, echoed: int | None, now: int
) -> bool:
    """Process ACK field and window of an acceptable segment.

    Args:
        window: SEG.WND, scaled.
        length: number of bytes of text. Segments with text or FIN are not duplicate ACKs.
        echoed: TSecr; None: no timestamps.

    Returns:
        False: the rest of the segment must be ignored.
    """
    una = conn.snd_una
    acked = (ack - una) & MASK
    outstanding = (conn.snd_max - una) & MASK
    if acked > outstanding:
        if acked < HALF:
            challenge(conn, now)  # an ACK of data that was never sent
            conn.stats.drop_tcp_ack_future += 1
            return False
        if (una - ack) & MASK > conn.snd_wnd_max:
            challenge(conn, now)  # RFC 5961, section 5.2: too old to be a delayed ACK
            conn.stats.drop_tcp_ack_old += 1
            return False
        return True
    conn.heard_at = now
    duplicate = False
    if acked:
        _new_data_acked(conn, ack, acked, echoed, now)
    elif outstanding and not length and not fin and window == conn.snd_wnd and not conn.sack_ok:
        # After a timeout, and after window probes, repeated ACKs are normal.
        duplicate = conn.snd_nxt == conn.snd_max
    # The window is updated if SND.WL1 < SEG.SEQ, or if they are equal and SND.WL2 =< SEG.ACK. It is also updated if
    # the segment acknowledges new data, as by Linux: such a segment is newer, even if its text is a retransmission.
    # If SND.UNA moved without the window, we would send beyond the window's edge.
    newer = (seq - conn.snd_wl1) & MASK
    if acked or 0 < newer < HALF or (newer == 0 and (ack - conn.snd_wl2) & MASK < HALF):
        if window != conn.snd_wnd:
            conn.snd_wnd = window
            if window > conn.snd_wnd_max:
                conn.snd_wnd_max = window
        if conn.timer_kind is PERSIST:
            conn.probes = 0  # the peer answers, so probing continues (MUST-37)
            if window:
                conn.timer_kind = NO_TIMER
                conn.retries = 0
                conn.rtt.backoff = 0
        conn.snd_wl1 = seq
        conn.snd_wl2 = ack
    if duplicate:
        newreno.on_duplicate_ack(conn)
    return True


def acknowledge_all(conn: ControlBlock, ack: int, window: int, seq: int, echoed: int, now: int) -> None:
    """Do what :func:`acknowledge` does if all data in flight is acknowledged and the connection is undisturbed.

    Its retransmission timer runs, and the congestion window is not full.
    """
    conn.heard_at = conn.progress_at = now
    rtt = ((now // MS + conn.ts_offset - echoed) & MASK) * MS
    if (rtt or not conn.rtt.is_least) and rtt <= now - conn.opened_at + MS:
        conn.rtt.sample(rtt)
    if conn.rack is not None:
        del conn.rack.spans.items[:-1]  # as on_ack() does: the last one ends at SND.UNA
    conn.snd_buf.clear()
    conn.dupacks = 0
    conn.snd_una = conn.snd_wl2 = ack
    conn.snd_wl1 = seq
    if window != conn.snd_wnd:
        conn.snd_wnd = window
        if window > conn.snd_wnd_max:
            conn.snd_wnd_max = window
    conn.timer_kind = NO_TIMER
    conn.loss_timer_at = 0


def _new_data_acked(conn: ControlBlock, ack: int, acked: int, echoed: int | None, now: int) -> None:
    """Move SND.UNA forward by ``acked``."""
    # Round-trip time: from the echoed timestamp (RFC 7323, section 4.1), else from the one timed segment.
    rtt = 0
    if echoed is not None:
        rtt = ((now // MS + conn.ts_offset - echoed) & MASK) * MS
        if rtt <= now - conn.opened_at + MS:  # a round trip cannot be longer than the age of the connection
            conn.rtt.sample(rtt)
        else:
            rtt = 0
    elif conn.rtt_seq is not None and (ack - conn.rtt_seq) & MASK < HALF:
        rtt = now - conn.rtt_time
        conn.rtt.sample(rtt)
        conn.rtt_seq = None
    conn.rtt.backoff = 0
    conn.retries = 0
    conn.progress_at = now

    state = conn.rack
    if state is not None:
        if conn.slow_path_only or conn.sacked:
            undo.on_ack(conn, state, echoed, now)
            rack.on_ack(conn, state, ack, acked, echoed, now)
        spans = state.spans.items
        if len(spans) > 1 and (ack - spans[1][0]) & MASK < HALF:
            state.spans.on_ack(ack)
    data = acked
    if not conn.syn_acked:
        conn.syn_acked = True
        data -= 1
    fin_acked = data > conn.snd_buf.length
    if fin_acked:
        data -= 1
    if data == conn.snd_buf.length:
        if data:
            conn.snd_buf.clear()
    elif data:
        conn.snd_buf.acknowledge(data)
    conn.snd_una = ack
    if (conn.snd_nxt - ack) & MASK >= HALF:
        conn.snd_nxt = ack  # SND.NXT had gone back, and the peer has received more than expected
        if state is not None:
            state.spans.items.clear()

    flight = (conn.snd_max - ack) & MASK
    if conn.sacked and not sack.on_ack(conn):
        conn.stats.tcp_sack_reneging += 1
        if state is not None:
            rack.on_reneging(conn, state)
        else:
            conn.resend_head = conn.in_recovery
    if conn.in_recovery:
        recovery.ack_in_recovery(conn, ack, acked, flight)
    else:
        conn.dupacks = 0
        filled = conn.cwnd_filled
        if filled is not None and data:
            if (filled - ack + acked - 1) & MASK < HALF:
                conn.cc.on_ack(data, rtt, conn.rtt.srtt, now)
            else:
                conn.cwnd_filled = None
                conn.cc.on_unused(now)

    # RFC 6298, (5.2) and (5.3).
    if flight:
        conn.timer_kind = RETRANSMIT
        conn.timer_at = now + conn.rtt.rto
    elif conn.timer_kind is RETRANSMIT:
        conn.timer_kind = NO_TIMER
        conn.loss_timer_at = 0

    if fin_acked:
        if conn.state is FIN_WAIT_1:
            conn.enter(FIN_WAIT_2)
        elif conn.state is CLOSING:
            conn.enter(TIME_WAIT)
            restart_time_wait(conn, now)
        else:  # LAST-ACK
            conn.enter(CLOSED)
