"""Keep-alives: asking a silent peer whether it is still there (RFC 9293, section 3.8.4).

Off unless ``Settings.keepalive`` says otherwise (MUST-24, MUST-25). They use the connection's one long timer, which
nothing else wants while nothing is in flight (MUST-26); what arrives writes down the time and leaves the timer
alone, so an open connection pays nothing for them.
"""

from __future__ import annotations

from slirpy.tcp.emit import Emit, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import CLOSE_WAIT, ESTABLISHED, FIN_WAIT_2, KEEPALIVE
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK

__all__ = ["exhausted", "keep_alive"]

_STATES = frozenset((ESTABLISHED, CLOSE_WAIT, FIN_WAIT_2))
"""Those in which nothing need be in flight. In all others that follow, our FIN is sent again until it is answered."""


def keep_alive(conn: ControlBlock, now: int, emit: Emit) -> None:
    """No timer runs: ask if the peer has been silent for long enough, and wait for the next time to ask."""
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
        # An old number, so that the peer must answer, and no data (SHLD-12).
        seq = (conn.snd_max - 1) & MASK
        emit(seq, conn.rcv_nxt, ACK, window_field(conn), options_for(conn, now), [], 0)
        due = now + settings.keepalive_interval
    conn.timer_kind = KEEPALIVE
    conn.timer_at = min(due, now + settings.keepalive_idle)  # an answer does not move the timer


def exhausted(conn: ControlBlock, now: int) -> bool:
    """Whether so many keep-alives went without an answer that the peer must be gone; one tells nothing (MUST-29)."""
    settings = conn.settings
    silent = conn.heard_at < conn.progress_at and now >= conn.progress_at + settings.keepalive_interval
    return silent and conn.probes >= settings.keepalive_count
