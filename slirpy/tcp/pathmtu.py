"""What the network says by ICMP about segments of ours: that they are too big, or not wanted (RFC 1122, RFC 1191).

Types and codes differ between the IP families; they are translated before they come here.

Anybody may write such messages, so RFC 5927 counts: what is said must be about a segment that is on its way, and
must make sense.
"""

from __future__ import annotations

import errno

from slirpy.tcp.seq import MASK
from slirpy.tcp.states import SYN_SENT, SYNCHRONIZED
from slirpy.tcp.tcb import ControlBlock

__all__ = ["in_flight", "refused_by_icmp", "too_big"]

_TCP_HEADER = 20
_TIMESTAMPS = 12
_LEAST_MSS = 8


def in_flight(conn: ControlBlock, seq: int) -> bool:
    """RFC 5927, section 4.1: whether ``seq`` is of what was sent and is not acknowledged."""
    return (seq - conn.snd_una) & MASK < (conn.snd_max - conn.snd_una) & MASK


def too_big(
    conn: ControlBlock,
    seq: int,
    mtu: int,
    length: int,
    *,
    ip_header: int,
    least_mtu: int,
) -> bool:
    """A segment was too big for the way: send smaller ones, and what is on its way again (RFC 1191, section 6.4).

    Args:
        seq: of the segment that is quoted.
        mtu: IP packet that the next hop can carry, in bytes, as it says.
        length: of the IP packet that is quoted, in bytes.
        ip_header: bytes of the IP header of segments.
        least_mtu: IP packet that every link carries, in bytes.

    Returns:
        Whether it was believed: the segment is on its way, its packet was larger than ``mtu``, and that is at least
        ``least_mtu`` and less than before (RFC 5927, section 7.2).
    """
    if conn.state not in SYNCHRONIZED or not in_flight(conn, seq) or not least_mtu <= mtu < length:
        return False
    mss = max(mtu - ip_header - _TCP_HEADER - (_TIMESTAMPS if conn.ts_ok else 0), _LEAST_MSS)
    if mss >= conn.mss:
        return False
    conn.mss = mss
    conn.cc.mss = mss
    # Nothing was lost for want of room, so the congestion window stays (RFC 1191, section 6.5).
    conn.go_back()
    return True


def refused_by_icmp(conn: ControlBlock, seq: int, error: int, hard: bool) -> bool:
    """A segment was refused by ICMP. Ends an opening connection if that is for good; an open one goes on.

    RFC 1122, section 4.2.3.9, would end open ones too; RFC 5927, section 5.2, tells why nobody does. What is not
    for good tells :attr:`~slirpy.tcp.connection.Connection.soft_error`.

    Args:
        seq: of the segment that is quoted.
        error: ``errno`` value of the message; 0: it says nothing, such as source quench (RFC 6633).
        hard: whether the refusal is for good.

    Returns:
        Whether it is about a segment that is on its way.
    """
    if not in_flight(conn, seq):
        return False
    if conn.state is SYN_SENT and hard:
        conn.close_with(errno.ECONNREFUSED)
    elif error:
        # What is open was not refused: its peer cannot be reached.
        conn.unreachable = errno.EHOSTUNREACH if error == errno.ECONNREFUSED else error, conn.snd_una
    return True
