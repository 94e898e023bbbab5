"""Queue for data that arrives out of order (RFC 9293, section 3.10.7.4, seventh).

Contiguous data is one range, however many segments it came in. Ranges are sorted, with a hole before each. A range
holds its data in pieces; small neighbours are joined, so the cost of a byte does not depend on how the data was cut.
Overlapping data is kept once: the first copy wins.

Ranges are found by bisection, which needs numbers that do not wrap. So positions are sequence numbers extended beyond
32 bits: a sequence number stands for the position nearest to the previous one. The window limits the bytes, and
:data:`MAX_RANGES` the holes; together they limit memory and the time per segment.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from slirpy.interfaces import Buffer
from slirpy.mypyc import Final
from slirpy.tcp.seq import HALF, MASK

__all__ = ["Reassembly"]

MAX_RANGES: Final = 256
"""Maximum number of ranges, and so of holes."""
SMALL: Final = 2048
"""Neighbouring pieces of up to this many bytes in total are joined."""


class Reassembly:
    """The out-of-order queue of one connection."""

    __slots__ = ("_ends", "_near", "_pieces", "_starts", "size", "taken")

    def __init__(self) -> None:
        # Three lists of the same length, with an entry for each range: cheaper than objects, and suitable for bisect.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._pieces: list[list[bytes]] = []
        self._near = 0
        self.size = 0
        """Number of bytes held."""
        self.taken: int | None = None
        """Sequence number after the data that was taken out last."""

    def __bool__(self) -> bool:
        return self.size > 0

    def _position(self, seq: int) -> int:
        """Return the position of ``seq`` that is nearest to the previous one."""
        near = self._near = self._near + ((seq - self._near + HALF) & MASK) - HALF
        return near

    def insert(self, rcv_nxt: int, seq: int, data: Buffer) -> bool:
        """Keep ``data``, which starts at ``seq`` and lies in the window; False if there are too many ranges."""
        if not self.size:
            self._near = seq
        start = self._position(seq)
        end = start + len(data)
        # Ranges first to last - 1 touch the data or overlap them.
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end, first)
        if first == last:
            if len(self._starts) >= MAX_RANGES:
                return False
            self._starts.insert(first, start)
            self._ends.insert(first, end)
            self._pieces.insert(first, [bytes(data)])
            self.size += len(data)
            return True
        view = memoryview(data)
        at = start
        pieces: list[bytes] = []
        for index in range(first, last):
            left, right = self._starts[index], self._ends[index]
            if at < left:
                _append(pieces, bytes(view[at - start : left - start]))
            if pieces:
                _append(pieces, self._pieces[index][0])
                pieces += self._pieces[index][1:]
            else:
                pieces = self._pieces[index]
            at = max(at, right)
        if at < end:
            _append(pieces, bytes(view[at - start :]))
        start, stop = min(start, self._starts[first]), max(end, at)
        self.size += stop - start
        for index in range(first, last):
            self.size -= self._ends[index] - self._starts[index]
        self._starts[first:last] = [start]
        self._ends[first:last] = [stop]
        self._pieces[first:last] = [pieces]
        return True

    def take(self, rcv_nxt: int) -> list[bytes]:
        """Remove and return the data at ``rcv_nxt``, if there is any. Data before it is discarded."""
        while self.size:
            skip = self._position(rcv_nxt) - self._starts[0]
            if skip < 0:
                break  # a hole comes first
            length = self._ends[0] - self._starts[0]
            pieces = self._pieces[0]
            del self._starts[0], self._ends[0], self._pieces[0]
            self.size -= length
            if skip < length:
                self.taken = (rcv_nxt + length - skip) & MASK
                number = 0
                while skip >= len(pieces[number]):
                    skip -= len(pieces[number])
                    number += 1
                del pieces[:number]
                pieces[0] = pieces[0][skip:]
                return pieces
        return []

    def hole(self, rcv_nxt: int) -> int:
        """Return how many bytes are missing between ``rcv_nxt`` and the first byte held; -1: none is held."""
        return self._starts[0] - self._position(rcv_nxt) if self.size else -1

    def beyond(self, seq: int) -> bool:
        """Report whether there is data at or after ``seq``."""
        return self.size > 0 and self._ends[-1] > self._position(seq)

    def overlap(self, rcv_nxt: int, seq: int, length: int) -> tuple[int, int] | None:
        """Return the edges of the first part of a segment that is already in the queue; None: no part is."""
        if not self.size:
            return None
        start = self._position(seq)
        index = bisect_right(self._ends, start)
        if index == len(self._starts) or self._starts[index] >= start + length:
            return None
        return max(start, self._starts[index]) & MASK, min(start + length, self._ends[index]) & MASK

    def __len__(self) -> int:
        """Return the number of ranges."""
        return len(self._starts)

    def ranges(self, recent: Sequence[int] = (), limit: int | None = None) -> list[tuple[int, int]]:
        """Return up to ``limit`` ranges as SACK blocks, those of ``recent`` numbers first (RFC 2018, section 4)."""
        count = len(self._starts) if limit is None else min(limit, len(self._starts))
        order: list[int] = []
        for number in recent:
            index = bisect_right(self._starts, self._position(number)) - 1
            if index >= 0 and self._near < self._ends[index] and index not in order:
                order.append(index)
        index = 0
        while len(order) < count:
            if index not in order:
                order.append(index)
            index += 1
        return [(self._starts[index] & MASK, self._ends[index] & MASK) for index in order[:count]]

    def clear(self) -> None:
        """Drop everything."""
        if not self.size:
            return
        self._starts.clear()
        self._ends.clear()
        self._pieces.clear()
        self.size = 0


def _append(pieces: list[bytes], data: bytes) -> None:
    if pieces and len(pieces[-1]) + len(data) <= SMALL:
        pieces[-1] += data
    else:
        pieces.append(data)
