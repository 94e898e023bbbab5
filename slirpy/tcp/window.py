"""The receive window grows with what the user takes.

What a connection may hold for a user who does not read is the window that it has offered. So a window begins small,
and grows by twice what the user has taken, whenever it has taken everything, up to ``Settings.rcv_buffer``: once for
a sender's slow start, which asks for as much again in each round trip, and once for its recovery from a loss, when
for a round trip nothing can be taken, and a window without room would let the path run dry. It does not shrink
again (RFC 9293, SHLD-14); who reads no more holds no more than one window.

The send buffer needs no such thing: what may be written follows the congestion window and the peer's
(:meth:`~slirpy.tcp.connection.Connection.write_room`).
"""

from __future__ import annotations

__all__ = ["WindowPool"]


class WindowPool:
    """What the windows of many connections may grow to, all in all: each that has grown may have an equal part.

    Args:
        total: bytes.
    """

    __slots__ = ("members", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.members = 0
        """Connections whose windows have grown."""
