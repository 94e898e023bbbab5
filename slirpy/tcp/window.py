"""Growth of the windows: ours for the peer's data, and the amount of our data that may be unacknowledged.

A connection must be able to hold a whole window for a user who does not read. So a window begins small, and grows
with the data that the user takes. Whenever the user has taken everything, the window grows by twice that amount, up
to :data:`ORDINARY`. One half is for the sender's slow start, which sends twice as much in each round trip. The other
half is for a recovery from a loss: for a round trip nothing can be delivered, and a window without room would leave
the path idle. A user who stops reading holds one window at most.

Many connections at a time share :data:`SHORT_BYTES`: while more than 16 are active, the limit of each is its share,
or the initial one if that is more. Where a limit is lowered, the right edge of the window stays (RFC 9293, SHLD-14)
until the data below it has arrived.

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

__all__ = ["NEVER", "ORDINARY", "PATH_RATE", "SHORT", "SHORT_BYTES", "WindowPool", "most_for"]

NEVER: Final = 1 << 62
"""A time that does not come."""
ORDINARY: Final = 1 << 20
"""Bytes of a window that suffice for a short path."""
SHORT = 20 * MS
"""Round-trip time of a short path. A busy machine takes some milliseconds for the first round trip of any path."""
PATH_RATE: Final = 320
"""Bytes a microsecond that windows make possible over a long path: 2.5 Gbit/s, half of it during repairs."""
SHORT_BYTES: Final = 16 << 20
"""Bytes that the windows of all connections over short paths offer together, as far as these are active. A guest that
fills them keeps a queue before its card: a TAP interface holds 1,000 frames of up to 64 KiB, often of a quarter of
that, and drops the others. All of this waits before each new frame, too."""
_PERIOD: Final = 1 << 26
"""Nanoseconds in which an active connection takes data: 67 ms."""


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
        total: bytes of all windows that have grown.
        short: bytes of those over short paths, as far as the connections are active.
    """

    __slots__ = ("_active", "_before", "_period", "_short", "members", "total")

    def __init__(self, total: int, short: int = SHORT_BYTES) -> None:
        self.total = total
        self.members = 0
        """Number of connections whose windows have grown."""
        self._short = short
        self._period = 0
        self._active = self._before = 0  # number of connections in this period, and in the one before

    def count(self, now: int) -> int:
        """Count a connection that has taken data, and return the end of the period, until which it is counted."""
        period = now // _PERIOD
        if period != self._period:
            self._before = self._active if period == self._period + 1 else 0
            self._period, self._active = period, 0
        self._active += 1
        return (period + 1) * _PERIOD

    def ordinary(self) -> int:
        """Return the largest window of an active connection over a short path: an equal share, at most ORDINARY."""
        active = self._active if self._active > self._before else self._before
        return ORDINARY if active * ORDINARY <= self._short else self._short // active
