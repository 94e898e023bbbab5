"""What the network says by ICMP about segments of ours: that they are too big, or not wanted (RFC 1122, RFC 1191).

Anybody may write such messages, so RFC 5927 counts: what is said must be about a segment that is on its way, and
must make sense.
"""

from __future__ import annotations

import errno

from slirpy.tcp.connection import Connection
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import SYN_SENT, SYNCHRONIZED

__all__ = ["in_flight", "refused_by_icmp", "too_big"]

MIN_MTU = 68
"""RFC 791: what every link carries."""
_HEADERS = 40
_TIMESTAMPS = 12
_LEAST_MSS = 8
_UNREACHABLE = 3
_TIME_EXCEEDED = 11
_PARAMETER_PROBLEM = 12
_HARD = frozenset((2, 3, 9, 10, 13))
"""Codes of destination unreachable that say no for good: protocol, port, and the prohibitions (RFC 1122, section
4.2.3.9; RFC 1812, section 5.2.7.1)."""
_NETWORK = frozenset((0, 6, 9, 11))
"""Those that are about the whole network."""


def in_flight(conn: Connection, seq: int) -> bool:
    """RFC 5927, section 4.1: whether ``seq`` is of what was sent and is not acknowledged."""
    return (seq - conn.snd_una) & MASK < (conn.snd_max - conn.snd_una) & MASK


def too_big(conn: Connection, seq: int, mtu: int, length: int) -> bool:
    """A segment was too big for the way: send smaller ones, and what is on its way again (RFC 1191, section 6.4).

    Args:
        seq: of the segment that is quoted.
        mtu: IPv4 packet that the next hop can carry, in bytes, as it says.
        length: of the IPv4 packet that is quoted, in bytes.

    Returns:
        Whether it was believed: the segment is on its way, its packet was larger than ``mtu``, and that is at least
        :data:`MIN_MTU` and less than before (RFC 5927, section 7.2).
    """
    if conn.state not in SYNCHRONIZED or not in_flight(conn, seq) or not MIN_MTU <= mtu < length:
        return False
    mss = max(mtu - _HEADERS - (_TIMESTAMPS if conn.ts_ok else 0), _LEAST_MSS)
    if mss >= conn.mss:
        return False
    conn.mss = mss
    conn.cc.mss = mss
    # Nothing was lost for want of room, so the congestion window stays (RFC 1191, section 6.5).
    conn.go_back()
    return True


def refused_by_icmp(conn: Connection, seq: int, kind: int, code: int) -> bool:
    """A segment was refused by ICMP. Ends an opening connection if that is for good; an open one goes on.

    RFC 1122, section 4.2.3.9, would end open ones too; RFC 5927, section 5.2, tells why nobody does. What is not
    for good tells :attr:`~slirpy.tcp.connection.Connection.soft_error`. Source quench says nothing (RFC 6633).

    Returns:
        Whether it is about a segment that is on its way.
    """
    if not in_flight(conn, seq):
        return False
    if conn.state is SYN_SENT and kind == _UNREACHABLE and code in _HARD:
        conn.close_with(errno.ECONNREFUSED)
    elif kind == _UNREACHABLE:
        network = code in _NETWORK
        conn.unreachable = errno.ENETUNREACH if network else errno.EHOSTUNREACH, conn.snd_una
    elif kind == _TIME_EXCEEDED:
        conn.unreachable = errno.EHOSTUNREACH, conn.snd_una
    elif kind == _PARAMETER_PROBLEM:
        conn.unreachable = errno.EPROTO, conn.snd_una
    return True
