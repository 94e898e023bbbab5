"""Congestion control: how much may be in flight, beside what the peer's window allows.

The seam is :class:`CongestionControl`. How losses are noticed and made good is not its business: it is asked how much
may be on its way, also during recovery, and the engine knows what is.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["CongestionControl", "Reno"]


class CongestionControl(Protocol):
    """Told what happens, it keeps ``cwnd`` in bytes."""

    cwnd: int
    mss: int
    """Bytes in a full segment; becomes less when the path turns out to carry less."""

    def on_ack(self, acked: int) -> None:
        """``acked`` bytes of new data were acknowledged, outside recovery."""

    def on_loss(self, flight: int) -> None:
        """Recovery from a loss begins, with ``flight`` bytes outstanding: ``cwnd`` becomes what may be on its way."""

    def on_timeout(self, flight: int) -> None:
        """The retransmission timer expired with ``flight`` bytes outstanding."""


class Reno:
    """RFC 5681, counting bytes."""

    __slots__ = ("cwnd", "mss", "ssthresh")

    def __init__(self, mss: int) -> None:
        self.mss = mss
        self.cwnd = min(10 * mss, max(2 * mss, 14600))  # RFC 6928
        self.ssthresh = 1 << 30

    def on_ack(self, acked: int) -> None:
        """Slow start below ssthresh, one segment a round trip above it."""
        if self.cwnd < self.ssthresh:
            # RFC 3465's bound of two segments an ACK is left out, as Linux leaves it out: with segmentation
            # offload one ACK stands for forty segments, and the bound would cost twenty round trips.
            self.cwnd += acked
        else:
            self.cwnd += max(self.mss * min(acked, self.cwnd) // self.cwnd, 1)

    def on_loss(self, flight: int) -> None:
        """Equation (4), and the window of RFC 6675, section 5, step (4.2)."""
        self.cwnd = self.ssthresh = max(flight // 2, 2 * self.mss)

    def on_timeout(self, flight: int) -> None:
        """Section 3.1: one segment, and half of the flight as the threshold."""
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
