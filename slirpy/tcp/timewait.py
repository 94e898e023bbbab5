"""New connections between the ports of one in TIME-WAIT (RFC 9293, MAY-2; RFC 6191).

A connection of the engine is used once. Before the owner of the connections passes a segment to one in TIME-WAIT, it
calls :func:`reopens`. If that is true, it replaces the connection by a new one, with the number that :func:`next_iss`
returns.

One half of MAY-2 is left out: returning to TIME-WAIT if the SYN turns out to be an old duplicate. Its sequence number
or timestamp is newer than everything of the previous connection, so it would have to come from yet another
connection, hours older.
"""

from __future__ import annotations

from typing import Final

from slirpy.tcp.segment import Segment
from slirpy.tcp.seq import MASK, seq_ge, seq_gt
from slirpy.tcp.states import TIME_WAIT
from slirpy.tcp.tcb import ControlBlock
from slirpy.wire.tcp import ACK, FIN, RST, SYN

__all__ = ["next_iss", "reopens"]

STEP: Final = 128_000
"""Distance of the new numbers from the old ones, if the clock alone does not provide one."""


def reopens(conn: ControlBlock, seg: Segment) -> bool:
    """Report whether a segment starts a new connection in place of ``conn``, by the rules of RFC 6191, section 2."""
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
    """Return the initial number for the successor of ``conn``: ``iss`` if it is beyond all numbers of ``conn``."""
    return iss if seq_gt(iss, conn.snd_max) else (conn.snd_max + STEP) & MASK
