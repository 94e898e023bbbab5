"""ICMP errors about our segments: packet too big, and refusals (RFC 1122, RFC 1191, RFC 8201).

Types and codes differ between the IP families. They are translated before they get here, and the sizes of a family
are arguments.

Anybody can forge such messages, so they are checked as in RFC 5927: a message must be about a segment in flight, and
its values must be plausible.
"""

from __future__ import annotations

import errno
from typing import Final

from slirpy.tcp.seq import MASK
from slirpy.tcp.states import SYN_SENT, SYNCHRONIZED
from slirpy.tcp.tcb import MIN_MSS, ControlBlock
from slirpy.wire.tcp import HEADER_LENGTH

__all__ = ["in_flight", "refused_by_icmp", "too_big"]

_TIMESTAMPS: Final = 12


def in_flight(conn: ControlBlock, seq: int) -> bool:
    """Report whether ``seq`` was sent and is not acknowledged (RFC 5927, section 4.1)."""
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
    """Reduce the segment size after a "packet too big", and retransmit what is in flight (RFC 1191, section 6.4).

    Args:
        seq: sequence number of the quoted segment.
        mtu: MTU of the next hop as reported, in bytes.
        length: length of the quoted IP packet, in bytes.
        ip_header: length of the IP header of segments, in bytes: 20 for IPv4, 40 for IPv6.
        least_mtu: smallest MTU of any link, in bytes: 68 for IPv4, 1280 for IPv6.

    Returns:
        Whether the message was accepted: the segment is in flight, its packet was larger than ``mtu``, and ``mtu`` is
        at least ``least_mtu`` and smaller than before (RFC 5927, section 7.2).
    """
    if conn.state not in SYNCHRONIZED or not in_flight(conn, seq) or not least_mtu <= mtu < length:
        return False
    mss = max(mtu - ip_header - HEADER_LENGTH - (_TIMESTAMPS if conn.ts_ok else 0), MIN_MSS)
    if mss >= conn.mss:
        return False
    conn.mss = mss
    conn.cc.mss = mss
    # Congestion was not the cause, so the congestion window stays (RFC 1191, section 6.5).
    conn.go_back()
    return True


def refused_by_icmp(conn: ControlBlock, seq: int, error: int, hard: bool) -> bool:
    """Process an ICMP error about a segment. A hard one ends a connection that is being opened, but no other.

    By RFC 1122, section 4.2.3.9, hard errors would end established connections, too; RFC 5927, section 5.2, explains
    why no implementation does that. All other errors are reported by
    :attr:`~slirpy.tcp.connection.Connection.soft_error`.

    Args:
        seq: sequence number of the quoted segment.
        error: ``errno`` value of the message; 0 for messages without a meaning, such as source quench (RFC 6633).
        hard: whether the error is permanent.

    Returns:
        Whether the message is about a segment in flight.
    """
    if not in_flight(conn, seq):
        return False
    if conn.state is SYN_SENT and hard:
        conn.close_with(errno.ECONNREFUSED)
    elif error:
        # An established connection cannot be refused; its peer is unreachable.
        conn.unreachable = errno.EHOSTUNREACH if error == errno.ECONNREFUSED else error, conn.snd_una
    return True
