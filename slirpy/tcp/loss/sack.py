"""Scoreboard of the data that the peer has reported by SACK (RFC 2018, RFC 2883, RFC 6675).

The scoreboard is ``conn.sacked``: ranges between SND.UNA and SND.MAX, disjoint, sorted, with holes between them. SACK
is advisory: data is kept until it is acknowledged, and a timeout clears the scoreboard, since the peer may have
discarded the data (RFC 2018, section 8). Data below SND.UNA does not matter, so all distances are relative to
SND.UNA.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from slirpy.mypyc import Final
from slirpy.tcp.seq import HALF, MASK, seq_le
from slirpy.tcp.tcb import DUPACK_THRESHOLD, ControlBlock

__all__ = ["gaps", "is_duplicate", "learn", "lost_edge", "on_ack", "pipe", "refused", "sacked_below"]

MAX_RANGES: Final = 128
"""Maximum number of ranges; more are ignored. Each one adds to the cost of every ACK in a recovery. A loss of 20 % in
a flight of 700 segments causes about this many."""


def is_duplicate(blocks: Sequence[tuple[int, int]], ack: int) -> bool:
    """Report whether the first block is a D-SACK, which reports data that has arrived twice (RFC 2883, section 4)."""
    left, right = blocks[0]
    if seq_le(right, ack):
        return True
    if len(blocks) < 2:
        return False
    outer = blocks[1]
    return seq_le(outer[0], left) and seq_le(right, outer[1])


def learn(conn: ControlBlock, blocks: Sequence[tuple[int, int]]) -> bool:
    """Add blocks to the scoreboard (RFC 6675, section 4, Update); returns whether they contain anything new.

    Blocks of data that was never sent, or that follows SND.UNA immediately, are delayed or forged.
    """
    una = conn.snd_una
    outstanding = (conn.snd_max - una) & MASK
    fresh = False
    for left, right in blocks:
        start, end = (left - una) & MASK, (right - una) & MASK
        if 0 < start < end <= outstanding:
            if _add(conn, start, end):
                fresh = True
        else:
            refused(conn, left, right)
    return fresh


def refused(conn: ControlBlock, left: int, right: int) -> None:
    """Count an ignored block, unless it is merely delayed."""
    if (conn.snd_max - right) & MASK >= HALF or not 0 < (right - left) & MASK < HALF:
        conn.stats.tcp_bad_sacks += 1


def _add(conn: ControlBlock, start: int, end: int) -> bool:
    una, old = conn.snd_una, conn.sacked
    # Ranges first to last - 1 touch the new one or overlap it.
    first = bisect_left(old, start, key=lambda block: (block[1] - una) & MASK)
    last = bisect_right(old, end, first, key=lambda block: (block[0] - una) & MASK)
    if first < last:
        left, right = (old[first][0] - una) & MASK, (old[last - 1][1] - una) & MASK
        if last - first == 1 and left <= start and end <= right:
            return False
        start, end = min(start, left), max(end, right)
    merged = [*old[:first], ((una + start) & MASK, (una + end) & MASK), *old[last:]]
    if len(merged) > MAX_RANGES:
        return False
    conn.sacked = merged
    return True


def on_ack(conn: ControlBlock) -> bool:
    """Remove ranges below SND.UNA, after it has moved; returns False if the peer has reneged.

    A peer that still had the data at SND.UNA would acknowledge it. If the scoreboard contains that data, the peer has
    discarded it.
    """
    una = conn.snd_una
    conn.sacked = [block for block in conn.sacked if 0 < (block[1] - una) & MASK < HALF]
    if conn.sacked and (conn.sacked[0][0] - una - 1) & MASK >= HALF:
        conn.sacked = []
        return False
    return True


def sacked_below(conn: ControlBlock, seq: int) -> int:
    """Return the number of bytes in the scoreboard below ``seq``."""
    una = conn.snd_una
    end = (seq - una) & MASK
    total = 0
    for left, right in conn.sacked:
        start = (left - una) & MASK
        if start >= end:
            break
        total += min((right - una) & MASK, end) - start
    return total


def gaps(conn: ControlBlock, start: int, end: int) -> list[tuple[int, int]]:
    """Return the holes of the scoreboard between ``start`` and ``end``: sequence number and length of each."""
    una = conn.snd_una
    at, stop = (start - una) & MASK, (end - una) & MASK
    found: list[tuple[int, int]] = []
    blocks = conn.sacked
    for index in range(bisect_right(blocks, at, key=lambda block: (block[1] - una) & MASK), len(blocks)):
        a, b = (blocks[index][0] - una) & MASK, (blocks[index][1] - una) & MASK
        if a >= stop:
            break
        if a > at:
            found.append(((una + at) & MASK, a - at))
        at = b
    if at < stop:
        found.append(((una + at) & MASK, stop - at))
    return found


def lost_edge(conn: ControlBlock) -> int:
    """Return the end of the last hole that counts as lost; SND.UNA: there is none (RFC 6675, section 4, IsLost).

    A hole counts as lost if three separate ranges above it, or more bytes than two segments, were received.
    """
    above = 0
    for count, (left, right) in enumerate(reversed(conn.sacked), 1):
        above += (right - left) & MASK
        if count >= DUPACK_THRESHOLD or above > (DUPACK_THRESHOLD - 1) * conn.mss:
            return left
    return conn.snd_una


def pipe(conn: ControlBlock, edge: int) -> int:
    """Return the number of bytes assumed to be in flight (RFC 6675, section 4, SetPipe).

    These are bytes that are neither received nor lost, and retransmitted bytes. ``edge`` is that of
    :func:`lost_edge`.
    """
    unlost = sum(length for _, length in gaps(conn, edge, conn.snd_max))
    return unlost + sum(length for _, length in gaps(conn, conn.snd_una, conn.high_rxt))
