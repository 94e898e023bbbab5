"""The seam between the TCP engine and the congestion control that decides how fast it sends."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.records import Protocol

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from typing import TypeAlias

__all__ = ["CongestionControl", "CongestionFactory"]


class CongestionControl(Protocol):
    """The amount of data that may be in flight, within the peer's window. One object for each connection.

    The engine reports events, and reads :attr:`cwnd` before it sends. Loss detection and repair are the engine's
    business. Methods must not raise exceptions, and receive only integers: two runs with the same segments at the
    same times must end with the same window.

    All sizes are bytes, all times integer nanoseconds.
    """

    cwnd: int
    """Congestion window, at least one byte. Limits the data in flight, also during recovery. The engine itself
    lowers it where an RFC requires that for every algorithm: after a lost SYN, and when a retransmitted segment is
    lost again.
    """
    ssthresh: int
    """Slow start threshold in bytes. For diagnosis only: the engine does not use it."""
    mss: int
    """Bytes in a full segment. The engine updates it when the path turns out to carry less."""

    def on_ack(self, acked: int, rtt: int, srtt: int, now: int) -> None:
        """New data was acknowledged outside recovery, and the window was full when that data was in flight.

        Without a full window there is no call: an unfilled window has not been tested and stays as it is (RFC 9438,
        section 5.8; RFC 7661).

        Args:
            acked: number of bytes, at least 1. One acknowledgement may cover many segments.
            rtt: round-trip time measured by this acknowledgement; 0: none.
            srtt: smoothed round-trip time; 0 before the first measurement.
            now: the time.
        """

    def on_unused(self, now: int) -> None:
        """The window is no longer filled: the application sends less, or the peer accepts less. The next
        :meth:`on_ack` ends this.
        """

    def on_idle(self) -> None:
        """Sending resumes after an idle time longer than the retransmission timeout (RFC 5681, section 4.1): no
        acknowledgements are in flight that could pace it.
        """

    def on_loss(self, flight: int) -> None:
        """Recovery from a loss begins with ``flight`` bytes in flight; set ``cwnd`` to the amount that may be in
        flight now.
        """

    def on_timeout(self, flight: int) -> None:
        """The retransmission timer expired with ``flight`` bytes in flight. Not called again when the retransmission
        is lost too.
        """

    def undo(self) -> None:
        """Undo the last :meth:`on_loss` or :meth:`on_timeout`, which was spurious (RFC 9438, section 4.9). Does
        nothing if there was none, or when repeated.
        """


CongestionFactory: TypeAlias = Callable[[int], CongestionControl]
"""Makes the congestion control of a new connection from the bytes in a full segment: a class, or any function."""
