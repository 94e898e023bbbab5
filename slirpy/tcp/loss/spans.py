"""Times of sending of the data in flight, for loss detection by time (RFC 8985, section 5.2).

The RFC records the time of each segment. This module records that of *spans*: a span begins at a sequence number,
ends where the next one begins (the last one at SND.NXT), and everything in it was sent at about the same time, within
a 32nd of a round trip. So a flight of any size needs some thirty records, sending costs one comparison per batch, and
only a recovery cuts spans into smaller ones.
"""

from __future__ import annotations

from slirpy.mypyc import Final
from slirpy.tcp.seq import HALF, MASK

__all__ = ["AGAIN", "LATE", "LOST", "MAX_SPANS", "Span", "Spans"]

AGAIN: Final = 1
"""Bit of data that was sent more than once: the time and order of its arrival are ambiguous."""
LOST: Final = 2
"""Bit of data that counts as lost, and was not retransmitted since."""
MAX_SPANS: Final = 256
"""Maximum number of records due to sending. Beyond it the last one grows, and takes the latest time, which only
delays the detection of losses."""
LATE: Final = 1000
"""Nanoseconds by which the recorded time of a retransmission may be late, at most; see :class:`Spans`."""
GRAIN: Final = 5
"""Resolution: a span contains data that was sent within SRTT / 2**GRAIN."""

Span = tuple[int, int, int]
"""First sequence number, time of sending, and bits (:data:`AGAIN`, :data:`LOST`). The time of lost data is unused."""


class Spans:
    """Sorted spans from SND.UNA, or a little before it, to SND.NXT. Their number is limited, as is the
    scoreboard's.

    The order of sending counts, too: new data and a retransmission may leave in the same nanosecond of a virtual
    clock, or in the same span. What is sent after a retransmission begins a span, and a retransmission after new data
    counts as sent a nanosecond later; of equal times the higher sequence number is the later one.
    """

    __slots__ = ("items", "resent_at")

    def __init__(self) -> None:
        self.items: list[Span] = []
        self.resent_at = -1
        """Time of the latest retransmission."""

    def on_sent(self, seq: int, now: int, bits: int, srtt: int) -> None:
        """Record data that is sent from ``seq``, the previous SND.NXT. ``bits`` is 0 or :data:`AGAIN`."""
        items = self.items
        if now < self.resent_at:
            now = self.resent_at
        if items:
            start, at, old = items[-1]
            if old == bits and now - at <= srtt >> GRAIN and at >= self.resent_at:
                return
            if len(items) >= MAX_SPANS:
                items[-1] = (start, now, bits)
                return
        items.append((seq, now, bits))

    def on_resent(self, seq: int, end: int, nxt: int, now: int) -> None:
        """Record a retransmission from ``seq`` to ``end``; ``nxt`` is SND.NXT."""
        first = self._cut(seq, nxt)
        last = self._cut(end, nxt)
        items = self.items
        now = max(now, self.resent_at, items[-1][1] + 1 if items[-1][1] >= now else 0)
        self.resent_at = now
        items[first:last] = [(seq, now, AGAIN)]
        if first and items[first - 1][1:] == (now, AGAIN):
            del items[first]

    def was_resent(self, seq: int) -> bool:
        """Report whether the data at ``seq`` was retransmitted."""
        return bool(self.items[self.locate(seq)][2] & AGAIN)

    def on_ack(self, una: int) -> None:
        """Discard spans below ``una``."""
        items = self.items
        count = 0
        while count + 1 < len(items) and (una - items[count + 1][0]) & MASK < HALF:
            count += 1
        del items[:count]

    def locate(self, seq: int) -> int:
        """Return the index of the span that contains ``seq``."""
        items = self.items
        low, high = 0, len(items)
        while high - low > 1:
            middle = (low + high) >> 1
            if (seq - items[middle][0]) & MASK < HALF:
                low = middle
            else:
                high = middle
        return low

    def _cut(self, seq: int, nxt: int) -> int:
        """Make a span begin at ``seq``; returns its index."""
        items = self.items
        if seq == nxt:
            return len(items)
        index = self.locate(seq)
        start, at, bits = items[index]
        if start == seq:
            return index
        items.insert(index + 1, (seq, at, bits))
        return index + 1
