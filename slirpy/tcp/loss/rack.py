"""RACK: what is lost, by the time at which it was sent (RFC 8985, section 6).

A segment is lost if another one that was sent later has arrived, and a little time has passed since: the *reordering
window*, which is nothing until the path is seen to reorder. So a retransmission that is lost is noticed like anything
else, and so are losses at the end of a flight once a probe (:mod:`slirpy.tcp.loss.probe`) has provoked an answer. The
order of sequence numbers, on which counting duplicate acknowledgements depends, plays no part.

It needs SACK. The peers that have none are served by RFC 6582, see :mod:`slirpy.tcp.loss.newreno`.
"""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.tcp.loss import sack
from slirpy.tcp.loss.spans import AGAIN, LOST, Span
from slirpy.tcp.loss.state import PERSIST, Rack
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.tcb import DUPACK_THRESHOLD, ControlBlock

__all__ = ["acknowledged", "detect", "duplicate", "reneged", "survey", "told"]


def acknowledged(conn: ControlBlock, rack: Rack, ack: int, acked: int, echoed: int | None, now: int) -> None:
    """SND.UNA is about to move to ``ack``, while something is missing."""
    una = conn.snd_una
    highest = conn.sacked[-1][1] if conn.sacked else una
    for seq, length in sack.gaps(conn, una, ack) if conn.sacked else ((una, acked),):
        rack.delivered += length
        _delivered(conn, rack, seq, length, highest, echoed, now)
    rack.fresh = rack.safe = True


def told(
    conn: ControlBlock, rack: Rack, blocks: Sequence[tuple[int, int]], echoed: int | None, now: int
) -> bool:
    """SACK blocks have come; whether they tell of something that was not known to have arrived."""
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
                rack.delivered += length
                _delivered(conn, rack, seq, length, highest, echoed, now)
    if fresh:
        rack.fresh = True
    return fresh


def duplicate(conn: ControlBlock, rack: Rack) -> None:
    """The peer tells that something of ours came twice: the window was too narrow (section 6.2, step 4)."""
    rack.doubled += 1
    if rack.doubled > rack.resent:
        return  # these are copies that the network makes
    if rack.dsack_round is None or (conn.snd_una - rack.dsack_round) & MASK < HALF:
        rack.dsack_round = conn.snd_max
        rack.reo_wnd_mult += 1
        rack.reo_wnd_persist = PERSIST


def reneged(conn: ControlBlock, rack: Rack) -> None:
    """The peer has thrown away what it had told of: nothing that was sent can be relied on."""
    rack.spans.items[:] = [(conn.snd_una, 0, AGAIN | LOST)]
    rack.fresh = rack.marked = True


def _delivered(
    conn: ControlBlock, rack: Rack, seq: int, length: int, highest: int, echoed: int | None, now: int
) -> None:
    """Bytes have arrived: section 6.2, steps 1 to 3."""
    una = conn.snd_una
    items = rack.spans.items
    begin = (seq - una) & MASK
    stop = begin + length
    top = (highest - una) & MASK
    for index in range(rack.spans.locate(seq), len(items)):
        start, at, bits = items[index]
        if stop <= (start - una) & MASK < HALF:
            break
        following = items[index + 1][0] if index + 1 < len(items) else conn.snd_nxt
        end = min((following - una) & MASK, stop)
        if end <= begin:
            continue  # a late answer to what is to be sent again, or a probe of a window
        if not bits & AGAIN:
            if end < top:
                rack.reordering_seen = True
        elif now - at < rack.min_rtt or (echoed is not None and (echoed - conn.timestamp(at)) & MASK >= HALF):
            continue  # it is the earlier one that has arrived
        if at > rack.xmit_at or (at == rack.xmit_at and (una + end - rack.end_seq) & MASK < HALF):
            rack.xmit_at, rack.end_seq = at, (una + end) & MASK
            rack.rtt = now - at
            if not rack.min_rtt or rack.rtt < rack.min_rtt:
                rack.min_rtt = rack.rtt


def detect(conn: ControlBlock, rack: Rack, now: int) -> int:
    """Section 6.2, step 5: mark what is lost. In how many nanoseconds more may be; 0: nothing waits for that."""
    certain = conn.in_recovery or conn.dupacks >= DUPACK_THRESHOLD or sack.lost_edge(conn) != conn.snd_una
    limit = rack.rtt + rack.reordering_window(conn.rtt.srtt, certain) - now
    una = conn.snd_una
    flight = (conn.snd_nxt - una) & MASK
    edge = (rack.end_seq - una) & MASK
    if edge >= HALF:
        edge = 0
    blocks = [((left - una) & MASK, (right - una) & MASK) for left, right in conn.sacked]
    blocks.append((HALF, HALF))  # so that there is always another one
    known = 0  # blocks below the span that is looked at
    left, right = blocks[0]
    old = rack.spans.items
    new: list[Span] = []
    latest = rack.xmit_at
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
            continue  # all of it has arrived: the span before takes it in, which keeps spans few
        if bits & LOST:
            marked = True
        elif at <= latest:
            before = min(end, edge) if at == latest else end
            if begin < before and not (left <= begin and right >= before):
                if at + limit <= 0:
                    rack.safe = False
                    marked = True
                    _add(new, (una + begin) & MASK, 0, bits | LOST)
                    begin = before
                elif at + limit > wait:
                    wait = at + limit
        if begin < end:
            _add(new, (una + begin) & MASK, at, bits)
    rack.spans.items = new
    rack.marked = marked
    return wait


def _add(spans: list[Span], seq: int, at: int, bits: int) -> None:
    if not spans or spans[-1][1:] != (at, bits):
        spans.append((seq, at, bits))


def survey(conn: ControlBlock, rack: Rack) -> tuple[int, list[tuple[int, int]]]:
    """Bytes that are thought to be on their way, and what is lost: number and length of each piece."""
    una = conn.snd_una
    flight = (conn.snd_nxt - una) & MASK
    pipe = flight - sack.sacked_below(conn, conn.snd_nxt)
    lost: list[tuple[int, int]] = []
    if not rack.marked:
        return pipe, lost
    blocks = [*conn.sacked, (una + HALF, una + HALF)]
    known = 0
    left, right = (blocks[0][0] - una) & MASK, (blocks[0][1] - una) & MASK
    items = rack.spans.items
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
