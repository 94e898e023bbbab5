"""Data that came before its turn (RFC 9293, section 3.10.7.4, seventh).

Blocks are disjoint and sorted. Positions are sequence numbers; all of them lie within one receive window, so
distances from RCV.NXT order them. What overlaps in the queue is kept once: the first copy wins.
"""

from __future__ import annotations

from collections.abc import Sequence

from slirpy.interfaces import Buffer
from slirpy.tcp.seq import MASK

__all__ = ["Reassembly"]

MAX_BLOCKS = 256
"""Separate pieces that are kept; the window bounds the bytes, this bounds the holes."""


class Reassembly:
    """The out-of-order queue of one connection."""

    __slots__ = ("_blocks", "size")

    def __init__(self) -> None:
        self._blocks: list[tuple[int, bytes]] = []
        self.size = 0
        """Bytes held."""

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def insert(self, rcv_nxt: int, seq: int, data: Buffer) -> bool:
        """Keep ``data`` that starts at ``seq``, inside the window; False if there are too many pieces."""
        start = (seq - rcv_nxt) & MASK
        end = start + len(data)
        pieces: list[tuple[int, bytes]] = []
        at = start
        for block_seq, block in self._blocks:
            block_start = (block_seq - rcv_nxt) & MASK
            block_end = block_start + len(block)
            if block_end <= at:
                continue
            if block_start >= end:
                break
            if block_start > at:
                pieces.append(((rcv_nxt + at) & MASK, bytes(data[at - start : block_start - start])))
            at = max(at, block_end)
        if at < end:
            pieces.append(((rcv_nxt + at) & MASK, bytes(data[at - start :])))
        if len(self._blocks) + len(pieces) > MAX_BLOCKS:
            return False
        if pieces:
            self._blocks += pieces
            self._blocks.sort(key=lambda block: (block[0] - rcv_nxt) & MASK)
            self.size += sum(len(piece) for _, piece in pieces)
        return True

    def pop(self, rcv_nxt: int) -> bytes | None:
        """The data that starts at ``rcv_nxt``, if it is there; what lies before it is thrown away."""
        while self._blocks:
            seq, block = self._blocks[0]
            skip = (rcv_nxt - seq) & MASK
            if skip >> 31:
                return None  # a hole comes first
            del self._blocks[0]
            self.size -= len(block)
            if skip < len(block):
                return block[skip:]
        return None

    def overlap(self, rcv_nxt: int, seq: int, length: int) -> tuple[int, int] | None:
        """The first part of a segment that is in the queue already, as edges."""
        start = (seq - rcv_nxt) & MASK
        end = start + length
        for block_seq, block in self._blocks:
            block_start = (block_seq - rcv_nxt) & MASK
            left, right = max(start, block_start), min(end, block_start + len(block))
            if left < right:
                return (rcv_nxt + left) & MASK, (rcv_nxt + right) & MASK
        return None

    def ranges(self, recent: Sequence[int] = ()) -> list[tuple[int, int]]:
        """Contiguous ranges as SACK blocks: first those that hold ``recent`` numbers (RFC 2018, section 4)."""
        merged: list[tuple[int, int]] = []
        for seq, block in self._blocks:
            end = (seq + len(block)) & MASK
            if merged and merged[-1][1] == seq:
                merged[-1] = (merged[-1][0], end)
            else:
                merged.append((seq, end))
        ordered: list[tuple[int, int]] = []
        for number in recent:
            for index, (left, right) in enumerate(merged):
                if (number - left) & MASK < (right - left) & MASK:
                    ordered.append(merged.pop(index))
                    break
        return ordered + merged

    def clear(self) -> None:
        """Drop everything."""
        self._blocks.clear()
        self.size = 0
