"""RACK: loss detection by the time of sending (RFC 8985, section 6).

A segment is lost if another one that was sent later has arrived, and the *reordering window* has passed, which is
zero until reordering is observed on the path. So a lost retransmission is detected like any other segment, and so are
losses at the end of a flight, once a probe (:mod:`slirpy.tcp.loss.probe`) has caused an answer. The order of sequence
numbers, on which counting duplicate ACKs relies, does not matter.

RACK needs SACK. For peers without it, there is RFC 6582, see :mod:`slirpy.tcp.loss.newreno`.
"""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.tcp.loss import sack
from slirpy.tcp.loss.spans import AGAIN, LATE, LOST, Span
from slirpy.tcp.loss.state import PERSIST, RackState
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.tcb import DUPACK_THRESHOLD, ControlBlock

__all__ = ["detect", "on_ack", "on_dsack", "on_reneging", "on_sack", "survey"]


def on_ack(conn: ControlBlock, state: RackState, ack: int, acked: int, echoed: int | None, now: int) -> None:
    """Record what has arrived when SND.UNA is about to move to ``ack``, while data is missing."""
    una = conn.snd_una
    highest = conn.sacked[-1][1] if conn.sacked else una
    for seq, length in sack.gaps(conn, una, ack) if conn.sacked else ((una, acked),):
        state.delivered += length
        _delivered(conn, state, seq, length, highest, echoed, now)
    state.has_news = state.safe_ack = True


def on_sack(
    conn: ControlBlock, state: RackState, blocks: Sequence[tuple[int, int]], echoed: int | None, now: int
) -> bool:
    """Record what has arrived by SACK blocks; returns whether they report anything new."""
    una = conn.snd_una
    outstanding = (conn.snd_max - una) & MASK
    highest = conn.sacked[-1][1] if conn.sacked else una
    fresh = False
    for block in blocks:
        left, right = block
        if not 0 < (left - una) & MASK < (right - una) & MASK <= outstanding:
            sack.refused(conn, left, right)
            continue
        arrived = sack.gaps(conn, left, right)
        if arrived and sack.learn(conn, (block,)):
            fresh = True
            for seq, length in arrived:
                state.delivered += length
                _delivered(conn, state, seq, length, highest, echoed, now)
    if fresh:
        state.has_news = True
    return fresh


def on_dsack(conn: ControlBlock, state: RackState) -> None:
    """Widen the reordering window after a D-SACK, which shows that it was too narrow (section 6.2, step 4)."""
    state.dsacks += 1
    if state.dsacks > state.resent:
        return  # the network duplicates segments
    if state.dsack_round is None or (conn.snd_una - state.dsack_round) & MASK < HALF:
        state.dsack_round = conn.snd_max
        state.reo_wnd_mult += 1
        state.reo_wnd_persist = PERSIST


def on_reneging(conn: ControlBlock, state: RackState) -> None:
    """Mark everything as lost: the peer has discarded data that it had reported by SACK."""
    state.spans.items[:] = [(conn.snd_una, 0, AGAIN | LOST)]
    state.has_news = state.has_lost = True


def _delivered(
    conn: ControlBlock, state: RackState, seq: int, length: int, highest: int, echoed: int | None, now: int
) -> None:
    """Record that bytes have arrived (section 6.2, steps 1 to 3)."""
    una = conn.snd_una
    items = state.spans.items
    begin = (seq - una) & MASK
    stop = begin + length
    top = (highest - una) & MASK
    for index in range(state.spans.locate(seq), len(items)):
        start, at, bits = items[index]
        if stop <= (start - una) & MASK < HALF:
            break
        following = items[index + 1][0] if index + 1 < len(items) else conn.snd_nxt
        end = min((following - una) & MASK, stop)
        if end <= begin:
            continue  # a late answer to data that will be sent again, or a window probe
        if not bits & AGAIN:
            if end < top:
                state.reordering_seen = True
        elif now - at + LATE < state.min_rtt or (
            echoed is not None and (echoed - conn.timestamp(at)) & MASK >= HALF
        ):
            continue  # an earlier copy has arrived
        if at > state.xmit_at or (at == state.xmit_at and (una + end - state.end_seq) & MASK < HALF):
            state.xmit_at, state.end_seq = at, (una + end) & MASK
            state.rtt = now - at
            if not state.min_rtt or state.rtt < state.min_rtt:
                state.min_rtt = state.rtt


def detect(conn: ControlBlock, state: RackState, now: int) -> int:
    """Mark lost data (section 6.2, step 5); returns nanoseconds until more may be lost; 0: none is in question."""
    certain = conn.in_recovery or conn.dupacks >= DUPACK_THRESHOLD or sack.lost_edge(conn) != conn.snd_una
    limit = state.rtt + state.reordering_window(conn.rtt.srtt, certain) - now
    una = conn.snd_una
    flight = (conn.snd_nxt - una) & MASK
    edge = (state.end_seq - una) & MASK
    if edge >= HALF:
        edge = 0
    blocks = [((left - una) & MASK, (right - una) & MASK) for left, right in conn.sacked]
    blocks.append((HALF, HALF))  # a sentinel
    known = 0  # number of blocks below the current span
    left, right = blocks[0]
    old = state.spans.items
    new: list[Span] = []
    latest = state.xmit_at
    wait = 0
    marked = False
    last = len(old) - 1
    for index, (start, at, bits) in enumerate(old):
        begin = (start - una) & MASK
        if begin >= HALF:
            begin = 0
        end = (old[index + 1][0] - una) & MASK if index < last else flight
        while right <= begin:
            known += 1
            left, right = blocks[known]
        if left <= begin and right >= end and new:
            continue  # all of it has arrived; it is merged into the previous span, which keeps spans few
        if bits & LOST:
            marked = True
        elif at <= latest:
            before = min(end, edge) if at == latest else end
            if begin < before and not (left <= begin and right >= before):
                if at + limit <= 0:
                    state.safe_ack = False
                    marked = True
                    _add(new, (una + begin) & MASK, 0, bits | LOST)
                    begin = before
                elif at + limit > wait:
                    wait = at + limit
        if begin < end:
            _add(new, (una + begin) & MASK, at, bits)
    state.spans.items = new
    state.has_lost = marked
    return wait


def _add(spans: list[Span], seq: int, at: int, bits: int) -> None:
    if not spans or spans[-1][1:] != (at, bits):
        spans.append((seq, at, bits))


def survey(conn: ControlBlock, state: RackState) -> tuple[int, list[tuple[int, int]]]:
    """Return the number of bytes assumed to be in flight, and the lost pieces: sequence number and length of each."""
    una = conn.snd_una
    flight = (conn.snd_nxt - una) & MASK
    pipe = flight - sack.sacked_below(conn, conn.snd_nxt)
    lost: list[tuple[int, int]] = []
    if not state.has_lost:
        return pipe, lost
    blocks = [*conn.sacked, (una + HALF, una + HALF)]
    known = 0
    left, right = (blocks[0][0] - una) & MASK, (blocks[0][1] - una) & MASK
    items = state.spans.items
    last = len(items) - 1
    for index, (start, _, bits) in enumerate(items):
        if not bits & LOST:
            continue
        begin = (start - una) & MASK
        if begin >= HALF:
            begin = 0
        end = (items[index + 1][0] - una) & MASK if index < last else flight
        while begin < end:
            while right <= begin:
                known += 1
                left, right = (blocks[known][0] - una) & MASK, (blocks[known][1] - una) & MASK
            stop = left if left < end else end
            if begin < stop:
                lost.append(((una + begin) & MASK, stop - begin))
                pipe -= stop - begin
            begin = right
    return pipe, lost
