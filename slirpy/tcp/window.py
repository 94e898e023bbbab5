"""Growth of the receive window.

A connection must be able to hold a whole window for a user who does not read. So a window begins small, and grows
with the data that the user takes. Whenever the user has taken everything, the window grows by twice that amount, up
to ``Settings.rcv_buffer``. One half is for the sender's slow start, which sends twice as much in each round trip. The
other half is for a recovery from a loss: for a round trip nothing can be delivered, and a window without room would
leave the path idle. Windows never shrink (RFC 9293, SHLD-14); a user who stops reading holds one window at most.

The send buffer needs no such rule: :meth:`~slirpy.tcp.connection.Connection.write_room` follows the congestion window
and the peer's window.
"""

from __future__ import annotations

__all__ = ["WindowPool"]


class WindowPool:
    """Limit of the receive windows of many connections together. Each window that has grown may use an equal share.

    Args:
        total: bytes.
    """

    __slots__ = ("members", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.members = 0
        """Number of connections whose windows have grown."""
