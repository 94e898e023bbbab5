"""Proportional rate reduction: the amount of data sent in a recovery (RFC 6937, with the changes of RFC 9937).

While more data is in flight than the congestion control allows, only a part of the data that arrives is replaced, so
the flight shrinks over a whole round trip, without stalls or bursts. If losses have left less in flight than allowed,
the flight grows again as in slow start, unless more losses were detected just now.
"""

from __future__ import annotations

from slirpy.tcp.seq import MASK

__all__ = ["ProportionalRate"]


class ProportionalRate:
    """Accounting of one recovery. All numbers are bytes.

    Attributes:
        flight: RecoverFS, the data in flight when the recovery began.
        target: ssthresh, the size to which the flight is reduced.
        delivered, out: prr_delivered and prr_out, data delivered and sent since then.
        mark: SND.MAX up to which new data is included in ``out``.
        window: number of bytes that may be in flight.
    """

    __slots__ = ("delivered", "flight", "mark", "out", "target", "window")

    def __init__(self) -> None:
        self.flight = self.target = self.mark = self.delivered = self.out = self.window = 0

    def begin(self, flight: int, target: int, snd_max: int) -> None:
        """Begin a recovery with ``flight`` bytes outstanding, to be reduced to ``target``."""
        self.flight, self.target, self.mark = flight, target, snd_max
        self.delivered = self.out = self.window = 0

    def on_sent(self, snd_max: int) -> None:
        """Count new data that was sent, up to ``snd_max``."""
        self.out += (snd_max - self.mark) & MASK
        self.mark = snd_max

    def on_ack(self, delivered: int, pipe: int, mss: int, safe: bool) -> None:
        """Compute the window after an ACK.

        Args:
            delivered: number of bytes that have arrived since the last call.
            pipe: number of bytes in flight.
            mss: bytes in a full segment.
            safe: SND.UNA has moved, and no more losses were detected (SafeACK).
        """
        self.delivered += delivered
        owed = self.delivered - self.out
        if pipe > self.target:
            count = -(-self.delivered * self.target // max(self.flight, 1)) - self.out
        else:
            count = min(self.target - pipe, max(owed, delivered) + (mss if safe else 0))
        if not self.out:
            count = max(count, mss)  # the fast retransmission is never delayed
        self.window = pipe + max(count, 0)
