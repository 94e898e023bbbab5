"""Undoing spurious reactions to losses (RFC 3522, RFC 4015, RFC 3708).

If a segment was late rather than lost, it was retransmitted for nothing, and the congestion window was reduced. There
are two ways to detect that. The first ACK that follows echoes the timestamp of the original, not of the
retransmission (Eifel, RFC 3522). Or D-SACKs report, one after another, that all retransmitted data has arrived twice
(RFC 3708). The congestion control then restores its state, and data that counts as lost counts as in flight again.
After a timeout the first segment is sufficient: if it had arrived, there is no reason to retransmit the others.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.loss.newreno import advance
from slirpy.tcp.loss.spans import AGAIN, LOST
from slirpy.tcp.loss.state import Episode, RackState
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import RETRANSMIT
from slirpy.tcp.tcb import ControlBlock

__all__ = ["begin", "on_ack", "on_dsack", "on_resent", "recovery_ended"]

MAX_RANGES: Final = 64
"""Maximum number of ranges recorded for an episode. With more, it cannot be undone because of D-SACKs."""


def begin(conn: ControlBlock, state: RackState, now: int, timeout: bool) -> None:
    """Begin an episode: the congestion control has reacted to a loss, and data is about to be retransmitted."""
    # If the first data to be acknowledged was already retransmitted before this episode, its echo is ambiguous.
    doubtful = not timeout and conn.ts_ok and state.spans.was_resent(conn.snd_una)
    stamp = conn.timestamp(now) if conn.ts_ok and not doubtful else None
    if timeout:
        state.resent += -(-((conn.snd_max - conn.snd_una) & MASK) // conn.mss)
    state.episode = Episode(conn.snd_una, conn.snd_max, stamp, timeout)


def on_resent(state: RackState, seq: int, length: int, twice: bool) -> None:
    """Record a retransmission of ``length`` bytes at ``seq``; ``twice``: it is not the first one."""
    episode = state.episode
    if episode is None or episode.ranges is None:
        return
    start = (seq - episode.una) & MASK
    ranges = episode.ranges
    if twice or len(ranges) >= MAX_RANGES:
        episode.ranges = None  # D-SACKs would be ambiguous
    elif ranges and ranges[-1][1] == start:
        ranges[-1] = ranges[-1][0], start + length
    else:
        ranges.append((start, start + length))


def on_ack(conn: ControlBlock, state: RackState, echoed: int | None, now: int) -> None:
    """Check the first echo of an episode, which shows the copy that has arrived (RFC 3522). SND.UNA is about to
    move."""
    episode = state.episode
    if episode is None or episode.stamp is None:
        return
    stamp, episode.stamp = episode.stamp, None
    if echoed is not None and (echoed - stamp) & MASK >= HALF:
        _undo(conn, state, episode, now)


def recovery_ended(conn: ControlBlock, state: RackState) -> None:
    """Note the end of a recovery. D-SACKs for it may arrive for another round trip."""
    if state.episode is not None:
        state.episode.end = conn.snd_max
        state.episode.stamp = None


def on_dsack(conn: ControlBlock, state: RackState, left: int, right: int, now: int) -> None:
    """Process a D-SACK for the data from ``left`` to ``right``."""
    episode = state.episode
    if episode is None:
        return
    if 0 < (conn.snd_una - episode.end) & MASK < HALF:
        state.episode = None  # too late
        return
    start, end = (left - episode.una) & MASK, (right - episode.una) & MASK
    if end >= HALF:
        return  # it is about older data
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
            state.reordering_seen = True  # the data was late, not lost
        episode.ranges = remaining
        if not remaining:
            _undo(conn, state, episode, now)


def _undo(conn: ControlBlock, state: RackState, episode: Episode, now: int) -> None:
    state.episode = None
    conn.cc.undo()
    conn.stats.tcp_undone += 1
    if episode.timeout:
        if conn.snd_nxt != conn.snd_max and conn.timer_kind is RETRANSMIT:  # not a window probe
            # The data in flight at the timeout still is. It counts as sent now, since its time is unknown.
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
