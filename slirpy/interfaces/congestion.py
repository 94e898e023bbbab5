"""The seam between the TCP engine and what decides how fast it sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

__all__ = ["CongestionControl", "CongestionFactory"]


class CongestionControl(Protocol):
    """How much may be on its way, beside what the peer's window allows. One object for each connection.

    The engine tells it what happens, and reads :attr:`cwnd` before it sends. How losses are noticed and made good is
    not its business. No method may raise, and none is given more than it needs to keep integers: two runs with the
    same segments at the same times must end with the same window.

    All sizes are bytes, all times integer nanoseconds.
    """

    cwnd: int
    """Congestion window, at least one byte. Bounds what is on its way, also during recovery. The engine lowers it
    where an RFC asks for that whatever the algorithm: after a lost SYN, and for a segment that is lost again."""
    ssthresh: int
    """Where slow start ends; nothing in the engine depends on it, but people look at it."""
    mss: int
    """Bytes in a full segment. The engine sets it when the path turns out to carry less."""

    def on_ack(self, acked: int, rtt: int, srtt: int, now: int) -> None:
        """New data was acknowledged, outside recovery, and the window was full when it was on its way.

        Only then: a window that was not filled was not tried, and is left as it is (RFC 9438, section 5.8; RFC 7661).

        Args:
            acked: how many bytes, at least 1. One acknowledgement may stand for many segments.
            rtt: round-trip time that this acknowledgement measured; 0: none.
            srtt: the smoothed one; 0 before the first measurement.
            now: the time.
        """

    def on_unused(self, now: int) -> None:
        """From now on the window is not filled: the user gives less, or the peer takes less. The next
        :meth:`on_ack` ends this."""

    def on_idle(self) -> None:
        """Something is to be sent, after nothing was for longer than the retransmission time-out (RFC 5681,
        section 4.1): no acknowledgements are on their way that could pace it."""

    def on_loss(self, flight: int) -> None:
        """Recovery from a loss begins, with ``flight`` bytes on their way; ``cwnd`` becomes what may be now."""

    def on_timeout(self, flight: int) -> None:
        """The retransmission timer has expired with ``flight`` bytes on their way. Not told again for a segment that
        is lost again."""

    def undo(self) -> None:
        """The last :meth:`on_loss` or :meth:`on_timeout` was an error: nothing had been lost (RFC 9438, section 4.9).
        Without one before, or a second time for the same, nothing happens."""


CongestionFactory: TypeAlias = Callable[[int], CongestionControl]
"""Makes the congestion control of a new connection, from the bytes in a full segment: a class, or any function."""
