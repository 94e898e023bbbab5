"""When what is on its way was sent: the record that loss detection by time needs (RFC 8985, section 5.2).

The RFC keeps the time of each segment. Here it is kept of *spans*: a span begins at a sequence number, ends where the
next one begins (the last one at SND.NXT), and everything in it was sent at about the same time, that is within a 32nd
of a round trip. So a flight costs some thirty records whatever its size, sending costs one comparison a batch, and
only a recovery cuts spans into smaller ones.
"""

from __future__ import annotations

from slirpy.tcp.seq import HALF, MASK

__all__ = ["AGAIN", "LOST", "MAX_SPANS", "Span", "Spans"]

AGAIN = 1
"""Sent more than once: what its arrival tells about time and order is ambiguous."""
LOST = 2
"""Counts as lost, and was not sent again since."""
MAX_SPANS = 256
"""Records that sending makes. Beyond it the last one grows, with the newest time, which delays verdicts only."""
GRAIN = 5
"""A span holds what was sent within SRTT / 2**GRAIN."""

Span = tuple[int, int, int]
"""Sequence number at which it begins, time of sending, and the bits above. The time of lost ones means nothing."""


class Spans:
    """Sorted spans from SND.UNA, or a little before it, to SND.NXT. Bounded by what the scoreboard holds."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: list[Span] = []

    def on_sent(self, seq: int, now: int, bits: int, srtt: int) -> None:
        """From ``seq`` on, which was SND.NXT, something is sent. ``bits`` is 0 or :data:`AGAIN`."""
        items = self.items
        if items:
            start, at, old = items[-1]
            if old == bits and now - at <= srtt >> GRAIN:
                return
            if len(items) >= MAX_SPANS:
                items[-1] = (start, now, bits)
                return
        items.append((seq, now, bits))

    def on_resent(self, seq: int, end: int, nxt: int, now: int) -> None:
        """What lies from ``seq`` to ``end`` is sent again; ``nxt`` is SND.NXT."""
        first = self._cut(seq, nxt)
        last = self._cut(end, nxt)
        items = self.items
        items[first:last] = [(seq, now, AGAIN)]
        if first and items[first - 1][1:] == (now, AGAIN):
            del items[first]

    def was_resent(self, seq: int) -> bool:
        """Whether what begins at ``seq`` has been sent again already."""
        return bool(self.items[self.locate(seq)][2] & AGAIN)

    def on_ack(self, una: int) -> None:
        """Forget what lies below ``una``."""
        items = self.items
        count = 0
        while count + 1 < len(items) and (una - items[count + 1][0]) & MASK < HALF:
            count += 1
        del items[:count]

    def locate(self, seq: int) -> int:
        """Index of the span that ``seq`` lies in."""
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
        """Make a span begin at ``seq``; its index."""
        items = self.items
        if seq == nxt:
            return len(items)
        index = self.locate(seq)
        start, at, bits = items[index]
        if start == seq:
            return index
        items.insert(index + 1, (seq, at, bits))
        return index + 1
