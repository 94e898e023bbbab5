"""HyStart++ (RFC 9406): the first slow start ends when round trips become longer, and not only when losses come.

Doubling finds the capacity of a path by overshooting it by as much again, and all of that is lost at once. Before
that it queues, and makes the round trips longer. What looks like that is tried for some rounds with a quarter of the
growth (conservative slow start): if round trips are short again meanwhile, it was noise, and slow start goes on.

A round is counted in bytes: it has passed when as much was acknowledged as the window was when it began. The bound of
eight segments an acknowledgement (L, section 4.2) is left out, as in :class:`~slirpy.tcp.congestion.Reno`.
"""

from __future__ import annotations

from slirpy.units import MS

__all__ = ["HyStart"]

MIN_RTT_THRESH = 4 * MS
MAX_RTT_THRESH = 16 * MS
MIN_RTT_DIVISOR = 8
N_RTT_SAMPLE = 8
CSS_GROWTH_DIVISOR = 4
CSS_ROUNDS = 5
_NONE = 1 << 62  # more than any round-trip time


class HyStart:
    """Watches the first slow start of a connection."""

    __slots__ = ("_baseline", "_current", "_last", "_left", "_rounds", "_samples", "ended")

    def __init__(self) -> None:
        self._left = 0
        """Bytes until this round has passed."""
        self._last = self._current = _NONE
        """Least round-trip time of the round before, and of this one."""
        self._samples = 0
        """Measurements in this round."""
        self._baseline = _NONE
        """Least round-trip time of the round in which conservative slow start began; while that is not so, none."""
        self._rounds = 0
        """Rounds of conservative slow start that are left, this one too."""
        self.ended = False
        """Slow start is over."""

    def growth(self, acked: int, rtt: int, cwnd: int) -> int:
        """By how many bytes the window grows.

        Args:
            acked: bytes that were acknowledged.
            rtt: the round-trip time that was measured, in nanoseconds; 0: none.
            cwnd: the window, in bytes.
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
        """Section 4.2: there are enough measurements of this round to tell."""
        if self._rounds:
            if self._current < self._baseline:
                self._rounds = 0  # it was noise
        elif self._last < _NONE:
            threshold = min(max(self._last // MIN_RTT_DIVISOR, MIN_RTT_THRESH), MAX_RTT_THRESH)
            if self._current >= self._last + threshold:
                self._baseline = self._current
                self._rounds = CSS_ROUNDS
