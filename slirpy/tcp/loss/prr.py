"""Proportional rate reduction: how much is sent in a recovery (RFC 6937, with the changes of RFC 9937).

While more is on its way than the congestion controller allows, something is sent for a part of what arrives, so that
the flight shrinks over the whole round trip and neither stalls nor bursts. Where losses have left less on its way
than is allowed, it grows again as in slow start, unless more was found lost just now.
"""

from __future__ import annotations

from slirpy.tcp.seq import MASK

__all__ = ["ProportionalRate"]


class ProportionalRate:
    """The account of one recovery. All numbers are bytes."""

    __slots__ = ("delivered", "flight", "mark", "out", "target", "window")

    def __init__(self) -> None:
        self.begin(0, 0, 0)

    def begin(self, flight: int, target: int, snd_max: int) -> None:
        """A recovery begins with ``flight`` (RecoverFS) outstanding; ``target`` is what it is to come down to."""
        self.flight, self.target, self.mark = flight, target, snd_max
        self.delivered = self.out = self.window = 0

    def on_sent(self, snd_max: int) -> None:
        """New data went out up to here."""
        self.out += (snd_max - self.mark) & MASK
        self.mark = snd_max

    def on_ack(self, delivered: int, pipe: int, mss: int, safe: bool) -> None:
        """So much has arrived, and ``pipe`` is on its way now; ``safe``: SND.UNA moved, and nothing new is lost."""
        self.delivered += delivered
        owed = self.delivered - self.out
        if pipe > self.target:
            count = -(-self.delivered * self.target // max(self.flight, 1)) - self.out
        else:
            count = min(self.target - pipe, max(owed, delivered) + (mss if safe else 0))
        if not self.out:
            count = max(count, mss)  # the fast retransmission is not held back
        self.window = pipe + max(count, 0)
