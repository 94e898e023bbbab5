"""What a segment carries, once its place in the stream is known: text, and the end.

RFC 9293, section 3.10.7.4, seventh and eighth.

:func:`accept_text` is shared with ``core/fastpath.py``.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer
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

MAX_COPIED_PIECES = 64
"""Pieces of received data that are kept apart when they have to be copied."""

__all__ = ["accept_text", "copy_views", "deliver_queued", "restart_time_wait", "take_fin", "take_text"]


def take_text(conn: ControlBlock, seq: int, text: Buffer, now: int) -> None:
    """Text inside the window, in its turn or not."""
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
    """Text before its turn: keep it, and acknowledge at once (RFC 5681, section 4.2)."""
    conn.ack_now = True
    conn.stats.tcp_out_of_order += 1
    if not conn.sack_ok:
        conn.spare_acks = True
    conn.sack_recent = [seq, *conn.sack_recent[: MAX_SACK_BLOCKS - 1]]
    if not conn.reassembly.insert(conn.rcv_nxt, seq, early):
        conn.stats.drop_tcp_reassembly_full += 1


def _fill_hole(conn: ControlBlock, text: Buffer, now: int) -> None:
    """Text in its turn, while other text waits behind a hole: deliver it, and what has become contiguous.

    Of what came twice the first copy counts, as everywhere: what a segment has in common with the queue is taken from
    the queue. Who could change data by sending them again could show others than those that were checked.
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
    """What came before its turn, and whose turn it is."""
    for data in conn.reassembly.take(conn.rcv_nxt):
        accept_text(conn, data, len(data), now)


def accept_text(conn: ControlBlock, payload: Buffer, length: int, now: int) -> None:
    """Deliver text at RCV.NXT, inside the window."""
    conn.rcv_nxt = (conn.rcv_nxt + length) & MASK
    conn.rcv_queue.append(payload)
    conn.rcv_pending += length
    # SHLD-19: an ACK at least for every second full-sized segment. And at once when the window is used up.
    if (conn.rcv_nxt - conn.last_ack) & MASK >= 2 * conn.mss or conn.rcv_nxt == conn.rcv_adv:
        conn.ack_now = True
    elif not conn.delack_at:
        conn.delack_at = now + conn.settings.delayed_ack


def copy_views(queue: list[Buffer]) -> None:
    """Copy what lies in frames: they are about to be reused."""
    if len(queue) > MAX_COPIED_PIECES:
        queue[:] = [b"".join(queue)]  # a thousand one-byte segments must not cost a thousand objects
        return
    for i, piece in enumerate(queue):
        # What the user has begun to take stays as it is, until the rest keeps more than itself in memory.
        if isinstance(piece, memoryview) and not (
            isinstance(piece.obj, bytes) and 2 * len(piece) >= len(piece.obj)
        ):
            queue[i] = bytes(piece)


def take_fin(conn: ControlBlock, end: int | None, now: int) -> None:
    """The peer's FIN has the number ``end``, or None in a segment without it. It may come before its turn."""
    if end is not None and not conn.fin_received:
        conn.ack_now = True  # also if it comes again: a peer that lost its tail probes with its last segment
        if conn.fin_seq is None and conn.reassembly.beyond(end):
            conn.stats.drop_tcp_after_fin += 1  # the stream goes on behind this end: it is none
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
    """TIME-WAIT lasts from now on."""
    conn.timer_kind = TIME_WAIT_TIMER
    conn.timer_at = now + conn.settings.time_wait
