"""HyStart++ (RFC 9406): the first slow start ends when round trips become longer, not only when losses occur.

Doubling the window finds the capacity of a path by overshooting it by up to 100 %, and all of the excess is lost at
once. Before that, it is queued, which makes round trips longer. If they become longer, the window grows at a quarter
of the rate for some rounds (conservative slow start). If they become shorter again meanwhile, the increase was noise,
and slow start resumes.

A round is measured in bytes: it ends when as many bytes are acknowledged as the window contained at its start. The
limit of eight segments per acknowledgement (L, section 4.2) is left out, as in
:class:`~slirpy.tcp.congestion.Reno`.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.units import MS

__all__ = ["HyStart"]

MIN_RTT_THRESH: Final = 4 * MS
MAX_RTT_THRESH: Final = 16 * MS
MIN_RTT_DIVISOR: Final = 8
N_RTT_SAMPLE: Final = 8
CSS_GROWTH_DIVISOR: Final = 4
CSS_ROUNDS: Final = 5
_NONE: Final = 1 << 62  # more than any round-trip time


class HyStart:
    """Growth of the window during the first slow start of a connection."""

    __slots__ = ("_baseline", "_current", "_last", "_left", "_rounds", "_samples", "ended")

    def __init__(self) -> None:
        self._left = 0
        """Number of bytes until the end of this round."""
        self._last = self._current = _NONE
        """Shortest round-trip time of the previous round, and of this one."""
        self._samples = 0
        """Number of measurements in this round."""
        self._baseline = _NONE
        """Shortest round-trip time of the round in which conservative slow start began."""
        self._rounds = 0
        """Remaining rounds of conservative slow start, including this one; 0: it is not conservative."""
        self.ended = False
        """Slow start is over."""

    def growth(self, acked: int, rtt: int, cwnd: int) -> int:
        """Return by how many bytes the window grows.

        Args:
            acked: number of acknowledged bytes.
            rtt: measured round-trip time, in nanoseconds; 0: none.
            cwnd: window, in bytes.
        """
        if self._left <= 0:
            self._next_round(cwnd)
        self._left -= acked
        if rtt:
            self._samples += 1
            if rtt < self._current:
                self._current = rtt
            if self._samples >= N_RTT_SAMPLE:
                self._compare()
        return acked // CSS_GROWTH_DIVISOR if self._rounds else acked

    def _next_round(self, cwnd: int) -> None:
        if self._rounds:
            self._rounds -= 1
            self.ended = not self._rounds
        self._left = cwnd
        self._last, self._current = self._current, _NONE
        self._samples = 0

    def _compare(self) -> None:
        """Compare this round with earlier ones, once it has enough measurements (section 4.2)."""
        if self._rounds:
            if self._current < self._baseline:
                self._rounds = 0  # the increase was noise
        elif self._last < _NONE:
            threshold = min(max(self._last // MIN_RTT_DIVISOR, MIN_RTT_THRESH), MAX_RTT_THRESH)
            if self._current >= self._last + threshold:
                self._baseline = self._current
                self._rounds = CSS_ROUNDS
