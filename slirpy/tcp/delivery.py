"""Data and FIN of a segment, once their place in the stream is known (RFC 9293, section 3.10.7.4, steps 7 and 8)."""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.mypyc import Final
from slirpy.tcp.options import MAX_SACK_BLOCKS
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.states import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    TIME_WAIT,
    TIME_WAIT_TIMER,
)
from slirpy.tcp.tcb import ControlBlock
from slirpy.tcp.window import NEVER, ORDINARY

MAX_COPIED_PIECES: Final = 64
"""Maximum number of pieces of received data that are copied one by one; more are joined into one."""

__all__ = [
    "accept_text",
    "copy_views",
    "deliver_queued",
    "grow_window",
    "restart_time_wait",
    "take_fin",
    "take_text",
]


def take_text(conn: ControlBlock, seq: int, text: Buffer, now: int) -> None:
    """Process text inside the window, in order or not."""
    if conn.fin_seq is not None:
        room = (conn.fin_seq - seq) & MASK
        if room >= HALF:
            room = 0
        if len(text) > room:
            conn.stats.drop_tcp_after_fin += 1
            text = memoryview(text)[:room]
            if not room:
                return
    waiting = conn.reassembly.size
    if waiting and conn.sack_ok and (known := conn.reassembly.overlap(conn.rcv_nxt, seq, len(text))):
        conn.dsack = conn.dsack or known
    if seq != conn.rcv_nxt:
        _queue_early(conn, seq, text)
    elif waiting:
        _fill_hole(conn, text, now)
    else:
        accept_text(conn, text, len(text), now)


def _queue_early(conn: ControlBlock, seq: int, early: Buffer) -> None:
    """Keep text that has arrived out of order, and acknowledge at once (RFC 5681, section 4.2)."""
    conn.ack_now = True
    conn.stats.tcp_out_of_order += 1
    if not conn.sack_ok:
        conn.spare_acks = True
    conn.sack_recent = [seq, *conn.sack_recent[: MAX_SACK_BLOCKS - 1]]
    if not conn.reassembly.insert(conn.rcv_nxt, seq, early):
        conn.stats.drop_tcp_reassembly_full += 1


def _fill_hole(conn: ControlBlock, text: Buffer, now: int) -> None:
    """Deliver text in order while other text waits behind a hole, and the text that has become contiguous.

    The first copy of each byte counts, as everywhere in the engine: where the segment overlaps the queue, the queue
    wins. Otherwise a sender could change data after an inspection had seen the first copy.
    """
    conn.ack_now = True
    queue = conn.reassembly
    rest = memoryview(text)
    while rest:
        at = conn.rcv_nxt
        missing = queue.hole(at)
        if missing:
            piece = rest if missing < 0 else rest[:missing]
            accept_text(conn, piece, len(piece), now)
        deliver_queued(conn, now)
        rest = rest[(conn.rcv_nxt - at) & MASK :]


def deliver_queued(conn: ControlBlock, now: int) -> None:
    """Deliver queued text that has become contiguous."""
    for data in conn.reassembly.take(conn.rcv_nxt):
        accept_text(conn, data, len(data), now)


def accept_text(conn: ControlBlock, payload: Buffer, length: int, now: int) -> None:
    """Deliver text at RCV.NXT, inside the window."""
    conn.rcv_nxt = (conn.rcv_nxt + length) & MASK
    conn.rcv_queue.append(payload)
    conn.rcv_pending += length
    # SHLD-19: an ACK for at least every second full-sized segment. An exhausted window is acknowledged at once, too.
    if (conn.rcv_nxt - conn.last_ack) & MASK >= 2 * conn.mss or conn.rcv_nxt == conn.rcv_adv:
        conn.ack_now = True
    elif not conn.delack_at:
        conn.delack_at = now + conn.settings.delayed_ack


def grow_window(conn: ControlBlock, taken: int) -> None:
    """Let the window grow if it is worth it: the user has consumed everything, the last ``taken`` bytes just now.

    The theory is in :mod:`slirpy.tcp.window`.
    """
    if 2 * ((conn.rcv_nxt - conn.irs) & MASK) < conn.settings.rcv_buffer_initial:
        return
    most = conn.rcv_limit_max
    pool = conn.pool
    if pool is not None:
        if not conn.window_grown:
            conn.window_grown = True
            pool.members += 1
        most = min(most, pool.total // pool.members)
    limit, ordinary = conn.rcv_limit, ORDINARY
    now = conn.heard_at  # the time of the segment whose data was just taken, or of a later one
    if pool is None or conn.rcv_limit_max > ORDINARY:
        conn.window_look = NEVER
    else:
        if now >= conn.window_look:
            conn.window_look = pool.count(now)
        ordinary = max(pool.ordinary(), conn.settings.rcv_buffer_initial)
        if limit >= ordinary:
            conn.rcv_limit = ordinary
            return
    if limit < ORDINARY:
        conn.rcv_limit = max(limit, min(limit + 2 * taken, most, ordinary))
        return
    if conn.rcv_round is None:
        conn.rcv_round = now, conn.rcv_nxt, 0
        return
    start, first, before = conn.rcv_round
    if now - start < conn.rtt.srtt:
        return
    arrived = (conn.rcv_nxt - first) & MASK
    conn.rcv_round = now, conn.rcv_nxt, arrived
    conn.rcv_limit = max(limit, min(2 * arrived + 4 * max(arrived - before, 0), most))


def copy_views(queue: list[Buffer]) -> None:
    """Copy pieces that are views of frames, which are about to be reused."""
    if len(queue) > MAX_COPIED_PIECES:
        queue[:] = [b"".join(queue)]  # a thousand one-byte segments must not cost a thousand objects
        return
    for i, piece in enumerate(queue):
        # A view of bytes is a partly consumed piece. It stays a view until it keeps twice its own size in memory.
        if isinstance(piece, memoryview) and not (
            isinstance(piece.obj, bytes) and 2 * len(piece) >= len(piece.obj)
        ):
            queue[i] = bytes(piece)


def take_fin(conn: ControlBlock, end: int | None, now: int) -> None:
    """Process a FIN, which may arrive out of order.

    Args:
        end: sequence number of the FIN; None: the segment has none.
    """
    if end is not None and not conn.fin_received:
        # A repeated FIN is acknowledged, too: after a loss at the end, a peer probes with its last segment.
        conn.ack_now = True
        if conn.fin_seq is None and conn.reassembly.beyond(end):
            conn.stats.drop_tcp_after_fin += 1  # there is data behind this FIN, so it is not the end
        elif conn.fin_seq is None:
            conn.fin_seq = end
    if conn.fin_seq != conn.rcv_nxt:
        return
    conn.rcv_nxt = (conn.rcv_nxt + 1) & MASK
    conn.ack_now = True
    if conn.state is ESTABLISHED:
        conn.enter(CLOSE_WAIT)
    elif conn.state is FIN_WAIT_1:
        conn.enter(CLOSING)
    else:  # FIN-WAIT-2
        conn.enter(TIME_WAIT)
        restart_time_wait(conn, now)


def restart_time_wait(conn: ControlBlock, now: int) -> None:
    """Start the timer of TIME-WAIT, or start it again."""
    conn.timer_kind = TIME_WAIT_TIMER
    conn.timer_at = now + conn.settings.time_wait
