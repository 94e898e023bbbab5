"""Growth of the windows: ours for the peer's data, and the amount of our data that may be unacknowledged.

A connection must be able to hold a whole window for a user who does not read. So a window begins small, and grows
with the data that the user takes. Whenever the user has taken everything, the window grows by twice that amount, up
to :data:`ORDINARY`. One half is for the sender's slow start, which sends twice as much in each round trip. The other
half is for a recovery from a loss: for a round trip nothing can be delivered, and a window without room would leave
the path idle. Windows never shrink (RFC 9293, SHLD-14); a user who stops reading holds one window at most.

A long path needs more. The handshake measures its round-trip time, from which :func:`most_for` derives what each
direction may have in flight, at most ``Settings.rcv_buffer`` and ``Settings.snd_buffer``. Beyond :data:`ORDINARY` the
receive window grows by what has arrived in a round trip, not by all that has ever been taken: to twice that amount,
or four times while it doubles (as Linux does; the idea is dynamic right-sizing, Fisk and Feng 2001). So a slow sender
far away gets no large window. A connection over a path of up to :data:`SHORT` stays at :data:`ORDINARY`, and measures
nothing.

The send buffer needs no further rule: :meth:`~slirpy.tcp.connection.Connection.write_room` follows the congestion
window and the peer's window.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.units import MS, US

__all__ = ["ORDINARY", "PATH_RATE", "SHORT", "WindowPool", "most_for"]

ORDINARY: Final = 1 << 20
"""Bytes of a window that suffice for a short path."""
SHORT = 20 * MS
"""Round-trip time of a short path. A busy machine takes some milliseconds for the first round trip of any path."""
PATH_RATE: Final = 320
"""Bytes a microsecond that windows make possible over a long path: 2.5 Gbit/s, half of it during repairs."""


def most_for(rtt: int, limit: int) -> int:
    """Return how many bytes may be in flight over a path, at most ``limit``.

    Args:
        rtt: round-trip time in nanoseconds.
        limit: bytes.
    """
    return min(ORDINARY + max(rtt - SHORT, 0) * PATH_RATE // US, limit)


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
