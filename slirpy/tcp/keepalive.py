"""Keep-alives, which check whether a silent peer is still there (RFC 9293, section 3.8.4).

Keep-alives are off unless ``Settings.keepalive`` is set (MUST-24, MUST-25). They use the connection's one long timer,
which is free while nothing is in flight (MUST-26). An arriving segment only records its time and leaves the timer
alone, so keep-alives cost an active connection nothing.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.emit import Emit, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import CLOSE_WAIT, ESTABLISHED, FIN_WAIT_2, KEEPALIVE
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK

__all__ = ["exhausted", "keep_alive"]

_STATES: Final = frozenset((ESTABLISHED, CLOSE_WAIT, FIN_WAIT_2))
"""States in which nothing may be in flight. In the later ones, our FIN is retransmitted until it is acknowledged."""


def keep_alive(conn: ControlBlock, now: int, emit: Emit) -> None:
    """Send a keep-alive if the peer has been silent for long enough, and set the timer for the next one.

    Called while no timer is running.
    """
    if conn.state not in _STATES:
        return
    settings = conn.settings
    if conn.heard_at >= conn.progress_at:
        conn.probes = 0
    due = (
        conn.progress_at + settings.keepalive_interval
        if conn.probes
        else conn.heard_at + settings.keepalive_idle
    )
    if now >= due:
        conn.stats.tcp_keepalives += 1
        conn.probes += 1
        conn.progress_at = now
        # An old sequence number, so that the peer must answer, and no data (SHLD-12).
        seq = (conn.snd_max - 1) & MASK
        emit(seq, conn.rcv_nxt, ACK, window_field(conn), options_for(conn, now), [], 0)
        due = now + settings.keepalive_interval
    conn.timer_kind = KEEPALIVE
    # An answer does not move the timer, so it must expire once per idle time at least.
    conn.timer_at = min(due, now + settings.keepalive_idle)


def exhausted(conn: ControlBlock, now: int) -> bool:
    """Report whether enough keep-alives are unanswered to give up; a single one proves nothing (MUST-29)."""
    settings = conn.settings
    silent = conn.heard_at < conn.progress_at and now >= conn.progress_at + settings.keepalive_interval
    return silent and conn.probes >= settings.keepalive_count
