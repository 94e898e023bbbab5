"""Congestion control: how much may be in flight, beside what the peer's window allows.

The seam is :class:`CongestionControl`; :class:`Reno` is RFC 5681 with RFC 6582's recovery.
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

    def on_duplicate(self) -> None:
        """One more duplicate ACK during recovery: a segment has left the network."""

    def on_loss(self, flight: int) -> None:
        """Three duplicate ACKs with ``flight`` bytes outstanding: recovery begins."""

    def on_partial(self, acked: int) -> None:
        """A part of what recovery waits for was acknowledged."""

    def on_recovered(self, flight: int) -> None:
        """All of it was acknowledged; ``flight`` bytes are still outstanding."""

    def on_timeout(self, flight: int) -> None:
        """The retransmission timer expired with ``flight`` bytes outstanding."""


class Reno:
    """RFC 5681 and RFC 6582, counting bytes."""

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

    def on_duplicate(self) -> None:
        """RFC 5681, section 3.2, step 4."""
        self.cwnd += self.mss

    def on_loss(self, flight: int) -> None:
        """Equation (4), and step 3."""
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.ssthresh + 3 * self.mss

    def on_partial(self, acked: int) -> None:
        """RFC 6582, section 3.2, step 3: deflate by what was acknowledged, add one segment back."""
        self.cwnd = max(self.cwnd - acked, self.mss) + (self.mss if acked >= self.mss else 0)

    def on_recovered(self, flight: int) -> None:
        """Option 1 of the same step, which avoids a burst."""
        self.cwnd = min(self.ssthresh, max(flight, self.mss) + self.mss)

    def on_timeout(self, flight: int) -> None:
        """Section 3.1: one segment, and half of the flight as the threshold."""
        self.ssthresh = max(flight // 2, 2 * self.mss)
        self.cwnd = self.mss
