"""Reno (RFC 5681): one segment more a round trip, half of it all at a loss."""

from __future__ import annotations

__all__ = ["UNKNOWN", "Reno", "initial_window"]

UNKNOWN = 1 << 30
"""The threshold before anything was ever lost."""


def initial_window(mss: int) -> int:
    """Bytes that may be sent before the first acknowledgement, and after an idle time (RFC 6928)."""
    return min(10 * mss, max(2 * mss, 14600))


class Reno:
    """RFC 5681, counting bytes. See :class:`~slirpy.interfaces.CongestionControl` for the methods.

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
        """Slow start below the threshold, one segment a round trip above it (section 3.1)."""
        cwnd = self.cwnd
        if cwnd < self.ssthresh:
            # RFC 3465's bound of two segments an ACK is left out, as Linux leaves it out: with segmentation
            # offload one ACK stands for forty segments, and the bound would cost twenty round trips.
            self.cwnd = min(cwnd + acked, self.ssthresh)
        else:
            self.cwnd = cwnd + max(self.mss * min(acked, cwnd) // cwnd, 1)

    def on_unused(self, now: int) -> None:
        """Nothing: without acknowledgements that count there is no growth."""

    def on_idle(self) -> None:
        """Section 4.1, by the letter. That the threshold remembers three quarters of what was in use is RFC 7661's
        (section 4.4.3): slow start is back there in a few round trips, and paced by acknowledgements."""
        self.ssthresh = max(self.ssthresh, 3 * self.cwnd // 4)
        self.cwnd = min(self.cwnd, initial_window(self.mss))

    def on_loss(self, flight: int) -> None:
        """Equation (4), and the window of RFC 6675, section 5, step (4.2)."""
        self._before = self.cwnd, self.ssthresh
        self.cwnd = self.ssthresh = max(flight // 2, 2 * self.mss)

    def on_timeout(self, flight: int) -> None:
        """Section 3.1: one segment, and half of the flight as the threshold."""
        self._before = self.cwnd, self.ssthresh
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss

    def undo(self) -> None:
        """Window and threshold as they were, or more (RFC 4015)."""
        if self._before is not None:
            cwnd, self.ssthresh = self._before
            self.cwnd = max(self.cwnd, cwnd)
            self._before = None
