"""Reno (RFC 5681): the window grows by one segment per round trip, and is halved at a loss."""

from __future__ import annotations

from slirpy.mypyc import Final

__all__ = ["UNKNOWN", "Reno", "initial_window"]

UNKNOWN: Final = 1 << 30
"""Slow start threshold before the first loss."""


def initial_window(mss: int) -> int:
    """Return how many bytes may be sent before the first acknowledgement, and after an idle time (RFC 6928)."""
    # min(10 * mss, max(2 * mss, 14600)), without the calls, which every connection would pay twice
    if mss <= 1460:
        return 10 * mss
    return 2 * mss if mss > 7300 else 14600


class Reno:
    """Reno as in RFC 5681, counting bytes. The methods are those of :class:`~slirpy.interfaces.CongestionControl`.

    Args:
        mss: bytes in a full segment.
    """

    __slots__ = ("_before", "cwnd", "mss", "ssthresh")

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = initial_window(mss)
        self.ssthresh = UNKNOWN
        self._before: tuple[int, int] | None = None
        """Window and threshold before the last reduction."""

    def on_ack(self, acked: int, rtt: int, srtt: int, now: int) -> None:
        """Grow: by slow start below the threshold, else by one segment per round trip (section 3.1)."""
        cwnd = self.cwnd
        if cwnd < self.ssthresh:
            # RFC 3465's limit of two segments per ACK is left out, as in Linux. With segmentation offload, one ACK
            # acknowledges forty segments, and the limit would cost twenty round trips.
            self.cwnd = min(cwnd + acked, self.ssthresh)
        else:
            self.cwnd = cwnd + max(self.mss * min(acked, cwnd) // cwnd, 1)

    def on_unused(self, now: int) -> None:
        """Do nothing: the window only grows with acknowledgements of a full window."""

    def on_idle(self) -> None:
        """Restart with the initial window, by the letter of section 4.1.

        The threshold keeps three quarters of the previous window (RFC 7661, section 4.4.3), so slow start is back
        there in a few round trips, paced by acknowledgements.
        """
        self.ssthresh = max(self.ssthresh, 3 * self.cwnd // 4)
        self.cwnd = min(self.cwnd, initial_window(self.mss))

    def on_loss(self, flight: int) -> None:
        """Halve the window (equation (4); RFC 6675, section 5, step (4.2))."""
        self._before = self.cwnd, self.ssthresh
        self.cwnd = self.ssthresh = max(flight // 2, 2 * self.mss)

    def on_timeout(self, flight: int) -> None:
        """Reduce the window to one segment, and the threshold to half of the flight (section 3.1)."""
        self._before = self.cwnd, self.ssthresh
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss

    def undo(self) -> None:
        """Restore window and threshold, unless the window has grown larger since (RFC 4015)."""
        if self._before is not None:
            cwnd, self.ssthresh = self._before
            self.cwnd = max(self.cwnd, cwnd)
            self._before = None
