"""Undoing what was done for losses that were none (RFC 3522, RFC 4015, RFC 3708).

A segment that was late, and not lost, has been sent again, and the congestion window has become smaller. Two things
tell of that. The first acknowledgement that follows echoes the timestamp of the original and not of the
retransmission (Eifel, RFC 3522); or D-SACK reports, one after the other, all that was sent again as having come twice
(RFC 3708). Then the congestion control forgets what happened, and what is thought lost is thought to be on its way.
After a time-out the first segment decides: if it had arrived, the others have no reason to be sent again.
"""

from __future__ import annotations

from slirpy.tcp.loss.newreno import advance
from slirpy.tcp.loss.spans import AGAIN, LOST
from slirpy.tcp.loss.state import Episode, RackState
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import RETRANSMIT
from slirpy.tcp.tcb import ControlBlock

__all__ = ["begin", "on_ack", "on_dsack", "on_resent", "recovery_ended"]

MAX_RANGES = 64
"""Ranges that are remembered of an episode. With more there is no undoing by D-SACK."""


def begin(conn: ControlBlock, state: RackState, now: int, timeout: bool) -> None:
    """The congestion control has been told of a loss, and something is about to be sent again."""
    # What is acknowledged first may have been sent again before this began: then its echo tells nothing.
    doubtful = not timeout and conn.ts_ok and state.spans.was_resent(conn.snd_una)
    stamp = conn.timestamp(now) if conn.ts_ok and not doubtful else None
    if timeout:
        state.resent += -(-((conn.snd_max - conn.snd_una) & MASK) // conn.mss)
    state.episode = Episode(conn.snd_una, conn.snd_max, stamp, timeout)


def on_resent(state: RackState, seq: int, length: int, twice: bool) -> None:
    """So much from ``seq`` on was sent again; ``twice``: not for the first time."""
    episode = state.episode
    if episode is None or episode.ranges is None:
        return
    start = (seq - episode.una) & MASK
    ranges = episode.ranges
    if twice or len(ranges) >= MAX_RANGES:
        episode.ranges = None  # it could not be told which of them came twice
    elif ranges and ranges[-1][1] == start:
        ranges[-1] = ranges[-1][0], start + length
    else:
        ranges.append((start, start + length))


def on_ack(conn: ControlBlock, state: RackState, echoed: int | None, now: int) -> None:
    """SND.UNA is about to move. The first time in an episode the echo tells which one has arrived (RFC 3522)."""
    episode = state.episode
    if episode is None or episode.stamp is None:
        return
    stamp, episode.stamp = episode.stamp, None
    if echoed is not None and (echoed - stamp) & MASK >= HALF:
        _undo(conn, state, episode, now)


def recovery_ended(conn: ControlBlock, state: RackState) -> None:
    """The recovery has ended; reports about it may come for another round trip."""
    if state.episode is not None:
        state.episode.end = conn.snd_max
        state.episode.stamp = None


def on_dsack(conn: ControlBlock, state: RackState, left: int, right: int, now: int) -> None:
    """D-SACK: this came twice."""
    episode = state.episode
    if episode is None:
        return
    if 0 < (conn.snd_una - episode.end) & MASK < HALF:
        state.episode = None  # too late
        return
    start, end = (left - episode.una) & MASK, (right - episode.una) & MASK
    if end >= HALF:
        return  # it was doubled before
    if start >= HALF:
        start = 0
    if episode.timeout:
        if start == 0 < end:
            _undo(conn, state, episode, now)
    elif episode.ranges:
        remaining: list[tuple[int, int]] = []
        for a, b in episode.ranges:
            remaining += [(a, min(b, start))] if a < start else []
            remaining += [(max(a, end), b)] if b > end else []
        if remaining != episode.ranges:
            state.reordering_seen = True  # it was late and not lost
        episode.ranges = remaining
        if not remaining:
            _undo(conn, state, episode, now)


def _undo(conn: ControlBlock, state: RackState, episode: Episode, now: int) -> None:
    state.episode = None
    conn.cc.undo()
    conn.stats.tcp_undone += 1
    if episode.timeout:
        if conn.snd_nxt != conn.snd_max and conn.timer_kind is RETRANSMIT:  # else it is a probe of the window
            # What was on its way at the time-out still is; it counts as sent now, for want of a better time.
            advance(conn, conn.snd_max)
            state.spans.items[:] = [(conn.snd_una, now, AGAIN)]
    else:
        state.reordering_seen = True
    conn.in_recovery = False
    conn.dupacks = 0
    conn.recover = conn.snd_una
    state.spans.items = [
        (seq, now, AGAIN) if bits & LOST else (seq, at, bits) for seq, at, bits in state.spans.items
    ]
    state.has_lost = False
