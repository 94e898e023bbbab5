"""Segments of an attacker who knows addresses and ports of a connection, and no more than guesses its numbers.

An attacker outside of the path (RFC 5961) may hit the receive window, but not the next number, and does not know what
the subject has sent. None of these segments may change a synchronized connection (RFC 9293, section 3.10.7.4): they
are dropped, or answered by an acknowledgment.
"""

from __future__ import annotations

from slirpy.tcp import Connection, Segment, State, TcpOptions
from slirpy.tcp.seq import MASK
from slirpy.wire.tcp import ACK, PSH, RST, SYN

__all__ = ["FORGED", "forge", "is_synchronized"]

_GARBAGE = b"forged" * 20
_WINDOW = 5000
_WIDEST = 0xFFFF << 14


def _reset(nxt: int, first: int, sent: int, offset: int) -> Segment:
    """A RST within the window, at another number than the next one."""
    return Segment(nxt + offset, 0, RST, 0)


def _old_reset(nxt: int, first: int, sent: int, offset: int) -> Segment:
    """A RST from before the window."""
    return Segment(first - offset, 0, RST, 0)


def _syn(nxt: int, first: int, sent: int, offset: int) -> Segment:
    """A SYN within the window."""
    return Segment(nxt + offset, 0, SYN, _WINDOW)


def _ack(nxt: int, first: int, sent: int, offset: int) -> Segment:
    """An acknowledgment of what the subject has not sent."""
    return Segment(nxt, sent + offset, ACK, _WINDOW)


def _data(nxt: int, first: int, sent: int, offset: int) -> Segment:
    """Data within the window, with such an acknowledgment."""
    return Segment(nxt, sent + offset, ACK | PSH, _WINDOW, payload=_GARBAGE)


def _beyond(nxt: int, first: int, sent: int, offset: int) -> Segment:
    """Data beyond the widest window that there is, all else as it should be."""
    return Segment(nxt + _WIDEST + offset, sent, ACK | PSH, _WINDOW, payload=_GARBAGE)


FORGED = {
    "reset": _reset,
    "old-reset": _old_reset,
    "syn": _syn,
    "ack": _ack,
    "data": _data,
    "data-beyond": _beyond,
}
"""Kinds of forged segments."""


def is_synchronized(peer: Connection, active: bool) -> bool:
    """Report whether the subject is known to be past the handshake, so that a SYN is not what it waits for.

    Args:
        peer: the other end of the connection.
        active: the subject has sent the first SYN.
    """
    if peer.state not in (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT):
        return False
    # A passive subject has shown that it has left SYN-RECEIVED once it acknowledges more than the SYN, or has ended.
    return active or (peer.snd_una - peer.iss - 1) & MASK > 0


def forge(kind: str, peer: Connection, sent: int, offset: int, now: int) -> Segment:
    """Make a segment. If the connection has timestamps, the attacker has guessed the right ones.

    Args:
        kind: one of :data:`FORGED`.
        peer: the end in whose name it is sent.
        sent: the number after the last byte that the subject has sent.
        offset: distance from the number that would be right.
        now: nanoseconds.
    """
    # The subject expects the next number, or an earlier one if segments are under way.
    made = FORGED[kind](peer.snd_max, peer.iss + 1, sent, offset)
    options = TcpOptions(timestamps=(peer.timestamp(now), peer.ts_recent)) if peer.ts_ok else made.options
    return made._replace(seq=made.seq & MASK, ack=made.ack & MASK, options=options)
