"""A new connection between the ports of one that is in TIME-WAIT (RFC 9293, MAY-2; RFC 6191).

The engine's connections are used once. So whoever keeps them asks :func:`reopens` before it hands a segment to one
in TIME-WAIT, and if so puts a new connection in its place, with the number that :func:`next_iss` gives.

Of MAY-2 one half is left out, to go back to TIME-WAIT if the SYN was an old duplicate after all: with a newer number,
or a newer timestamp, than everything of the connection before it, it would have to come from yet another one, hours
older.
"""

from __future__ import annotations

from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import MASK, seq_ge, seq_gt
from slirpy.tcp.states import TIME_WAIT
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK, FIN, RST, SYN

__all__ = ["next_iss", "reopens"]

STEP = 128_000
"""How far the new numbers are beyond the old ones, if the clock alone does not see to that."""


def reopens(conn: ControlBlock, seg: Segment) -> bool:
    """Whether a segment starts a new connection in the place of ``conn``, by the rules of RFC 6191, section 2."""
    if conn.state is not TIME_WAIT or seg.flags & (SYN | ACK | RST | FIN) != SYN:
        return False
    newer = seq_ge(seg.seq, conn.rcv_nxt)
    timestamps = seg.options.timestamps
    if timestamps is None:
        return newer
    if not conn.ts_ok or seq_gt(timestamps[0], conn.ts_recent):
        return True
    return newer and timestamps[0] == conn.ts_recent


def next_iss(conn: ControlBlock, iss: int) -> int:
    """The initial number for the connection after ``conn``: ``iss`` if it is beyond all that ``conn`` has used."""
    return iss if seq_gt(iss, conn.snd_max) else (conn.snd_max + STEP) & MASK
