"""Explicit congestion notification (RFC 3168): routers mark packets where they would otherwise drop them.

Theory. A peer whose SYN offers ECN gets it. From then on our new data is marked as capable (ECT(0)). If a router
marks a packet of the peer with CE, each of our segments carries ECE until the peer confirms by CWR that it has
reduced its window. If the peer sends ECE, our window is reduced as for a loss, once a round trip, and the next new
data carries CWR. Nothing was lost, so nothing is retransmitted.

We accept ECN and do not offer it, as Linux does by default. A connection without it, which means nearly all, has
no state here, and costs one comparison for each batch that it sends. A mark makes a packet take the slow path.
"""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.mypyc import Final
from slirpy.tcp.ecnstate import EcnState
from slirpy.tcp.segment import Emit, Segment
from slirpy.tcp.seq import HALF, MASK
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK, CWR, ECE, RST, SYN

__all__ = ["CE", "ECT0", "accept", "marking", "on_segment"]

ECT0: Final = 2
CE: Final = 3
"""Codepoints of the IP header: the sender knows ECN, and a router has marked the packet (section 5)."""
_SETUP: Final = ECE | CWR
"""Flags of a SYN that offers ECN, beside SYN itself (section 6.1.1)."""


def accept(conn: ControlBlock, flags: int) -> None:
    """Use ECN if a SYN with these flags offers it. A repeated SYN without the offer withdraws it."""
    wanted = conn.settings.ecn and flags & (_SETUP | ACK) == _SETUP
    conn.ecn = EcnState(conn.iss) if wanted else None


def on_segment(conn: ControlBlock, state: EcnState, seg: Segment, acked: int) -> None:
    """Process the marks of a segment whose ACK was acceptable, and has acknowledged ``acked`` bytes."""
    if seg.flags & CWR:
        state.echo = False
    if seg.ecn == CE and seg.payload:
        conn.stats.tcp_ecn_marks += 1
        state.echo = conn.ack_now = True
    if seg.flags & ECE and (conn.snd_una - state.recover) & MASK < HALF:
        if not conn.in_recovery:
            conn.stats.tcp_ecn_reductions += 1
            conn.cc.on_loss(conn.flight_before(conn.snd_max) + acked)
        state.recover = conn.snd_max
        state.reduced = True


def marking(conn: ControlBlock, state: EcnState, emit: Emit) -> Emit:
    """Return an emitter that adds ECE and CWR, and notes in ``state`` which segments are capable.

    Only new data is: neither ACKs alone, nor retransmissions, nor probes of a closed window (sections 6.1.4 to
    6.1.6).
    """
    if conn.recover != state.loss:
        state.loss, state.reduced = conn.recover, True  # a loss has reduced the window

    def emit_marked(
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        parts: list[Buffer],
        length: int,
        urg: int = 0,
        /,
    ) -> None:
        if not flags & (SYN | RST):
            if state.echo:
                flags |= ECE
            if length and not conn.probes and (seq - conn.snd_max) & MASK < HALF:
                state.codepoint = ECT0
                if state.reduced:
                    state.reduced = False
                    flags |= CWR
        emit(seq, ack, flags, wnd, options, parts, length, urg)
        state.codepoint = 0

    return emit_marked
