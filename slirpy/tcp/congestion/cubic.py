"""CUBIC (RFC 9438): after a loss, the window returns to its former size along a cubic curve over time.

Theory. If a window grows by one segment per round trip, it recovers more slowly the longer the round trip is. CUBIC
grows with time: fast at first, slowly around W_max, the window at the last loss, and ever faster beyond it::

    W_cubic(t) = C * (t - K)^3 + W_max          C = 0.4 segments/s^3,  K = cbrt((W_max - cwnd_epoch) / C)

If round trips are so short that Reno would be faster, the window is W_est, which is what Reno would have reached with
the same losses. At a loss the window is reduced to 0.7 of the data in flight, not to half of it.

Arithmetic is in integers: windows are bytes, times nanoseconds. W_est, and the fraction of a byte by which the window
has grown, are in units of 1/1024 byte. Roots are exact, and computed only when a stage begins.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.congestion.hystart import HyStart
from slirpy.tcp.congestion.reno import UNKNOWN, initial_window

__all__ = ["Cubic", "cube_root"]

SHIFT: Final = 10
_FRACTION: Final = (1 << SHIFT) - 1
_PER_CUBE: Final = 5 * 10**27 // 2
"""1/C in cubed nanoseconds per segment, since C is 2/5 of a segment per cubed second."""

_UNUSED: Final = HyStart()
"""Stands for the state of a slow start that has not grown yet. The windows of most connections are never full."""


def cube_root(n: int) -> int:
    """Return the largest integer whose cube is at most ``n``, which is not negative."""
    if not n:
        return 0
    x = 1 << -(-n.bit_length() // 3)  # at least the root; Newton's steps descend from there
    while True:
        y = (2 * x + n // (x * x)) // 3
        if y >= x:
            return x
        x = y


class Cubic:
    """CUBIC as in RFC 9438, counting bytes. The methods are those of :class:`~slirpy.interfaces.CongestionControl`.

    Args:
        mss: bytes in a full segment.
    """

    __slots__ = ("_before", "_fraction", "_start", "_unused_since", "cwnd", "cwnd_prior", "epoch", "k", "mss",
                 "ssthresh", "w_est", "w_max")  # fmt: skip

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = initial_window(mss)
        self.ssthresh = UNKNOWN
        self.w_max = 0
        """Window at the last loss, reduced by fast convergence; 0: use the one when congestion avoidance begins."""
        self.cwnd_prior = 0
        """Window before the last reduction. W_est grows more slowly up to it, because the reduction is smaller than
        Reno's."""
        self.epoch: int | None = None
        """Start of the current stage of congestion avoidance; None: there is none."""
        self.k = 0
        """Nanoseconds from the start of the stage until the window is W_max."""
        self.w_est = 0
        """Window that Reno would have, in 1/1024 byte."""
        self._fraction = 0
        self._unused_since: int | None = None
        self._start: HyStart | None = _UNUSED
        """State of the first slow start; None: it is over."""
        self._before: tuple[int, int, int, int, int | None, int, int, HyStart | None] | None = None

    # ---------------------------------------------------------------------------------------- growth

    def on_ack(self, acked: int, rtt: int, srtt: int, now: int) -> None:
        """Grow: by slow start below the threshold, with HyStart++ the first time (section 4.10); else by the
        curve."""
        cwnd = self.cwnd
        if cwnd < self.ssthresh:
            self._slow_start(acked, rtt)
            return
        epoch = self.epoch
        if epoch is None:
            epoch = self._begin(now)
        elif self._unused_since is not None:
            epoch += now - self._unused_since  # section 5.8: t does not include such times
            self.epoch = epoch
        self._unused_since = None
        if acked > cwnd:
            acked = cwnd
        # Section 4.3: alpha is 3 * (1 - 0.7) / (1 + 0.7), and 1 from cwnd_prior on.
        mss, w_est = self.mss, self.w_est
        reno = (mss * acked << SHIFT) // cwnd
        self.w_est = w_est = w_est + (reno if w_est >> SHIFT >= self.cwnd_prior else 9 * reno // 17)
        w_est >>= SHIFT
        since = now - epoch - self.k
        w_max = self.w_max
        if w_max + mss * since**3 // _PER_CUBE < w_est:
            if w_est > cwnd:
                self.cwnd = w_est
            return
        # Sections 4.2, 4.4 and 4.5: within one round trip to the value of the curve then, at most by half a window.
        target = w_max + mss * (since + srtt) ** 3 // _PER_CUBE
        if target > cwnd + (cwnd >> 1):
            target = cwnd + (cwnd >> 1)
        if target > cwnd:
            grown = ((target - cwnd) * acked << SHIFT) // cwnd + self._fraction
            self.cwnd = cwnd + (grown >> SHIFT)
            self._fraction = grown & _FRACTION

    def _slow_start(self, acked: int, rtt: int) -> None:
        start = self._start
        if start is _UNUSED:
            start = self._start = HyStart()
        if start is not None:
            acked = start.growth(acked, rtt, self.cwnd)
            if start.ended:
                self.ssthresh = self.cwnd_prior = self.cwnd
                self._start = None
                return
        self.cwnd = min(self.cwnd + acked, self.ssthresh)

    def _begin(self, now: int) -> int:
        """Begin a stage of congestion avoidance (section 4.2)."""
        cwnd = self.cwnd
        if cwnd < self.w_max:
            self.k = cube_root((self.w_max - cwnd) * _PER_CUBE // self.mss)
        else:  # sections 4.8 and 4.10: after a timeout, or if nothing was lost yet
            self.k = 0
            self.w_max = cwnd
        self.w_est = cwnd << SHIFT
        self.epoch = now
        return now

    def on_unused(self, now: int) -> None:
        """Stop the clock of the curve (section 5.8)."""
        self._unused_since = now

    def on_idle(self) -> None:
        """Restart as :meth:`Reno.on_idle <slirpy.tcp.congestion.Reno.on_idle>` does, with a new stage."""
        self.ssthresh = max(self.ssthresh, 3 * self.cwnd // 4)
        self.cwnd = min(self.cwnd, initial_window(self.mss))
        self.epoch = None

    # -------------------------------------------------------------------------------------- reduction

    def on_loss(self, flight: int) -> None:
        """Reduce the window (section 4.6), with fast convergence (section 4.7)."""
        cwnd = self.cwnd
        self._remember()
        # A lower window than at the last loss indicates a new flow. Another 15 % less leaves room for it.
        self.w_max = 17 * cwnd // 20 if cwnd < self.w_max else cwnd
        self._reduce(flight)
        self.cwnd = self.ssthresh

    def on_timeout(self, flight: int) -> None:
        """Reduce to one segment, with slow start to 0.7 of the flight, and a curve that begins there (section
        4.8)."""
        self._remember()
        self.w_max = 0
        self._reduce(flight)
        self.cwnd = self.mss

    def _reduce(self, flight: int) -> None:
        self.cwnd_prior = self.cwnd
        self.ssthresh = max(7 * flight // 10, 2 * self.mss)
        self.epoch = None
        self._fraction = 0
        self._start = None

    def _remember(self) -> None:
        self._before = (
            self.cwnd, self.ssthresh, self.w_max, self.cwnd_prior, self.epoch, self.k, self.w_est, self._start
        )  # fmt: skip

    def undo(self) -> None:
        """Restore everything as it was before the reduction (section 4.9)."""
        if self._before is not None:
            cwnd = self.cwnd
            (
                self.cwnd, self.ssthresh, self.w_max, self.cwnd_prior, self.epoch, self.k, self.w_est, self._start
            ) = self._before  # fmt: skip
            self.cwnd = max(self.cwnd, cwnd)
            self._before = None
