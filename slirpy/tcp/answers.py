"""ACKs for individual segments of a batch.

A batch of segments in order is acknowledged once (RFC 9293, MUST-58 and MUST-59). For other segments a single ACK
would hide information. A peer without SACK counts duplicate ACKs, and retransmits after three of them (RFC 5681,
section 4.2). An ACK has room for three or four SACK blocks, and for one D-SACK. So each of these segments is
acknowledged separately: those behind a hole, those that fill it, those that had arrived before, those outside the
window, and those that PAWS rejects.

The last of these ACKs is the one that :mod:`slirpy.tcp.sending` sends anyway. If another segment needs an ACK while
one is due, :func:`note` records the one that is due, and it is sent first. There are never more ACKs than segments.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.emit import Emit, ack_sent, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS
from slirpy.wire.tcp import ACK

__all__ = ["answer", "challenge", "note", "send_noted"]

CHALLENGE_INTERVAL: Final = 500 * MS
MAX_NOTED: Final = 256
"""Maximum number of ACKs that wait for output; further segments share the last ACK."""


def answer(conn: ControlBlock, now: int) -> None:
    """Acknowledge a segment individually."""
    if conn.ack_now:
        note(conn, now)
    conn.ack_now = True


def challenge(conn: ControlBlock, now: int) -> None:
    """Answer a segment that may be forged with a challenge ACK, which only the real peer understands (RFC 5961).

    At most one is sent in half a second (section 7). The limit is per connection, because a common one would leak
    information about other connections.
    """
    if now < conn.challenge_after:
        conn.stats.tcp_challenges_suppressed += 1
        return
    conn.challenge_after = now + CHALLENGE_INTERVAL
    conn.stats.tcp_challenge_acks += 1
    conn.ack_now = True


def note(conn: ControlBlock, now: int) -> None:
    """Record the ACK that is due, before another segment changes its contents."""
    # The first segment that we send must be the SYN,ACK, so nothing is recorded before it.
    if len(conn.noted_acks) < MAX_NOTED and conn.snd_max != conn.iss:
        conn.noted_acks.append((conn.rcv_nxt, options_for(conn, now, sack=True)))
        ack_sent(conn)


def send_noted(conn: ControlBlock, emit: Emit) -> None:
    """Send the recorded ACKs.

    All offer the same right edge of the window, because an ACK that moves it is not a duplicate (RFC 5681,
    section 2).
    """
    noted, conn.noted_acks = conn.noted_acks, []
    window_field(conn)
    for ack, options in noted:
        wnd = min(((conn.rcv_adv - ack) & MASK) >> conn.rcv_wscale, 0xFFFF)
        emit(conn.snd_max, ack, ACK, wnd, options, [], 0)
