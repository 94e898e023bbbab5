"""Data that came before its turn (RFC 9293, section 3.10.7.4, seventh).

What is contiguous is one range, however many segments it came in: the window bounds the bytes, :data:`MAX_RANGES`
the holes. Ranges are sorted, with a hole before each. Positions are sequence numbers; all of them lie within one
receive window, so distances from RCV.NXT order them. What overlaps in the queue is kept once: the first copy wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.interfaces import Buffer
from slirpy.tcp.seq import MASK

__all__ = ["Reassembly"]

MAX_RANGES = 256
"""Separate ranges that are kept, each behind a hole."""
SMALL = 512
"""Of two neighbours one has so many bytes, or they are one: a thousand segments of a byte must not cost a thousand
objects."""


class _Range:
    """Contiguous data: from ``start``, up to ``end`` exclusively."""

    __slots__ = ("end", "pieces", "start")

    def __init__(self, start: int, end: int, pieces: list[bytes]) -> None:
        self.start = start
        self.end = end
        self.pieces = pieces


class Reassembly:
    """The out-of-order queue of one connection."""

    __slots__ = ("_ranges", "size")

    def __init__(self) -> None:
        self._ranges: list[_Range] = []
        self.size = 0
        """Bytes held."""

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def __len__(self) -> int:
        """Ranges."""
        return len(self._ranges)

    def insert(self, rcv_nxt: int, seq: int, data: Buffer) -> bool:
        """Keep ``data`` that starts at ``seq``, inside the window; False if there are too many holes."""
        ranges = self._ranges
        if ranges and ranges[-1].end == seq:  # what follows a loss comes in order
            last = ranges[-1]
            _join(last.pieces, bytes(data))
            last.end = (seq + len(data)) & MASK
            self.size += len(data)
            return True
        start = (seq - rcv_nxt) & MASK
        stop = start + len(data)
        low = 0
        while low < len(ranges) and (ranges[low].end - rcv_nxt) & MASK < start:
            low += 1
        high = low
        while high < len(ranges) and (ranges[high].start - rcv_nxt) & MASK <= stop:
            high += 1
        touched = ranges[low:high]
        if not touched and len(ranges) >= MAX_RANGES:
            return False
        pieces: list[bytes] = []
        at, first = start, start
        for block in touched:
            left, right = (block.start - rcv_nxt) & MASK, (block.end - rcv_nxt) & MASK
            first = min(first, left)
            if left > at:
                _join(pieces, bytes(data[at - start : left - start]))
                self.size += left - at
            _join(pieces, block.pieces[0])
            pieces += block.pieces[1:]
            at = max(at, right)
        if at < stop:
            _join(pieces, bytes(data[at - start :]))
            self.size += stop - at
        end = max(at, stop)
        ranges[low:high] = [_Range((rcv_nxt + first) & MASK, (rcv_nxt + end) & MASK, pieces)]
        return True

    def take(self, rcv_nxt: int) -> list[bytes]:
        """Take out the data that starts at ``rcv_nxt``, if it is there; what lies before it is thrown away."""
        ranges = self._ranges
        while ranges:
            first = ranges[0]
            skip = (rcv_nxt - first.start) & MASK
            if skip >> 31:
                break  # a hole comes first
            del ranges[0]
            length = (first.end - first.start) & MASK
            self.size -= length
            if skip < length:
                pieces = first.pieces
                number = 0
                while skip >= len(pieces[number]):
                    skip -= len(pieces[number])
                    number += 1
                del pieces[:number]
                pieces[0] = pieces[0][skip:]
                return pieces
        return []

    def overlap(self, rcv_nxt: int, seq: int, length: int) -> tuple[int, int] | None:
        """The first part of a segment that is in the queue already, as edges."""
        start = (seq - rcv_nxt) & MASK
        end = start + length
        for block in self._ranges:
            left = max(start, (block.start - rcv_nxt) & MASK)
            right = min(end, (block.end - rcv_nxt) & MASK)
            if left < right:
                return (rcv_nxt + left) & MASK, (rcv_nxt + right) & MASK
        return None

    def ranges(self, recent: Sequence[int] = ()) -> list[tuple[int, int]]:
        """The ranges as SACK blocks: first those that hold ``recent`` numbers (RFC 2018, section 4)."""
        rest = [(block.start, block.end) for block in self._ranges]
        ordered: list[tuple[int, int]] = []
        for number in recent:
            for index, (left, right) in enumerate(rest):
                if (number - left) & MASK < (right - left) & MASK:
                    ordered.append(rest.pop(index))
                    break
        return ordered + rest

    def clear(self) -> None:
        """Drop everything."""
        self._ranges.clear()
        self.size = 0


def _join(pieces: list[bytes], piece: bytes) -> None:
    """Add a piece to the end."""
    if pieces and len(piece) < SMALL and len(pieces[-1]) < SMALL:
        pieces[-1] += piece
    else:
        pieces.append(piece)
