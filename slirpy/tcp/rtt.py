"""Round-trip time and retransmission timeout (RFC 6298)."""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.units import MS

__all__ = ["RtoEstimator"]

INITIAL_RTO: Final = 1_000 * MS  # (2.1)
# (2.4) demands at least a second, but allows less where more is known about the path. The other end of this one is a
# guest on the same machine, and all common systems use 200 ms anyway.
MIN_RTO: Final = 200 * MS
MAX_RTO: Final = 60_000 * MS  # (2.5)
GRANULARITY: Final = 1 * MS  # of the timestamp clock


class RtoEstimator:
    """SRTT, RTTVAR and RTO, all in nanoseconds. Callers of :meth:`sample` observe Karn's rule (section 3).

    Args:
        margin: minimum difference between RTO and SRTT, G of section 2.
    """

    __slots__ = ("backoff", "base", "is_least", "margin", "rttvar", "srtt")

    def __init__(self, margin: int = GRANULARITY) -> None:
        self.margin = margin
        self.srtt = 0
        """Smoothed round-trip time; 0 before the first sample."""
        self.rttvar = 0
        self.base = INITIAL_RTO
        """RTO before backoff."""
        self.is_least = False
        """True if another sample of 0 changes nothing, which is usual for round trips below the clock's
        millisecond."""
        self.backoff = 0
        """Number of times that it was doubled since the last acknowledgement of new data."""

    def sample(self, rtt: int) -> None:
        """Add a measurement in nanoseconds, (2.2) and (2.3)."""
        if self.srtt == 0:
            self.srtt = rtt or 1
            self.rttvar = rtt >> 1
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) >> 2
            self.srtt += (rtt - self.srtt) >> 3
            self.srtt = self.srtt or 1
        # Without min and max: this runs for every acknowledgement, and the calls took half of its time.
        spread = 4 * self.rttvar
        base = self.srtt + (spread if spread > self.margin else self.margin)
        self.is_least = self.srtt == 1 and self.rttvar <= 1
        self.base = MIN_RTO if base < MIN_RTO else base if base < MAX_RTO else MAX_RTO

    @property
    def rto(self) -> int:
        """Current timeout, with backoff (5.5)."""
        return min(self.base << self.backoff, MAX_RTO) if self.backoff else self.base

    def back_off(self) -> None:
        """Double the timeout, after it has expired."""
        if self.base << self.backoff < MAX_RTO:
            self.backoff += 1
