"""Segments that are answered one by one, however many arrive together.

A batch of segments in order is acknowledged once (RFC 9293, MUST-58 and MUST-59). The answers to other segments carry
information that a single ACK would hide. A peer without SACK counts duplicate ACKs, and retransmits after three of
them (RFC 5681, section 4.2). An ACK has room for three or four SACK blocks, and for one D-SACK. So an ACK each goes
to segments behind a hole, to those that fill it, to those that arrived before, to those outside of the window, and
to those that PAWS refuses.

The last answer of a batch is the ACK that :mod:`slirpy.tcp.output` sends anyway. If another segment needs an answer
while that ACK is due, :func:`note` records it, and it is sent first. There are never more ACKs than segments.
"""

from __future__ import annotations

from slirpy.tcp.emit import Emit, ack_sent, options_for, window_field
from slirpy.tcp.seq import MASK
from slirpy.tcp.tcb import ControlBlock
from slirpy.units import MS
from slirpy.wire.tcp import ACK

__all__ = ["answer", "challenge", "note", "send_noted"]

CHALLENGE_INTERVAL = 500 * MS
MAX_NOTED = 256
"""Answers that wait for one output; segments beyond them share the last ACK."""


def answer(conn: ControlBlock, now: int) -> None:
    """Answer a segment by an ACK of its own."""
    if conn.ack_now:
        note(conn, now)
    conn.ack_now = True


def challenge(conn: ControlBlock, now: int) -> None:
    """Answer by an ACK a segment that may be forged: the real peer will understand it (RFC 5961).

    One in half a second (section 7). Each connection has its own count, since a common one would tell strangers
    about the connections of others.
    """
    if now < conn.challenge_after:
        conn.stats.tcp_challenges_suppressed += 1
        return
    conn.challenge_after = now + CHALLENGE_INTERVAL
    conn.stats.tcp_challenge_acks += 1
    conn.ack_now = True


def note(conn: ControlBlock, now: int) -> None:
    """Keep the ACK that is due, before another segment changes what it says."""
    if len(conn.noted_acks) < MAX_NOTED and conn.snd_max != conn.iss:  # the answer to a SYN must be the first
        conn.noted_acks.append((conn.rcv_nxt, options_for(conn, now, sack=True)))
        ack_sent(conn)


def send_noted(conn: ControlBlock, emit: Emit) -> None:
    """Send the ACKs that were noted.

    All have the same right edge of the window: an ACK that moves it is no duplicate (RFC 5681, section 2).
    """
    noted, conn.noted_acks = conn.noted_acks, []
    window_field(conn)
    for ack, options in noted:
        wnd = min(((conn.rcv_adv - ack) & MASK) >> conn.rcv_wscale, 0xFFFF)
        emit(conn.snd_max, ack, ACK, wnd, options, [], 0)
