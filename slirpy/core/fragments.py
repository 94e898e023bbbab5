"""Fragments of IPv4 packets, from guests (RFC 791, section 3.2; RFC 815's holes; overlaps are refused, RFC 5722).

Any order, also the last one first. Memory is bounded in bytes, packets and time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slirpy.wire import ipv4

if TYPE_CHECKING:
    from slirpy.core.stack import IPStack
    from slirpy.core.timers import Alarm

__all__ = ["Fragments"]

TIMEOUT = 30_000_000_000
MAX_BYTES = 1 << 20
"""Of all packets together."""
MAX_PIECES = 1024
"""Of one packet: a datagram of 65535 bytes over an MTU of 84 and more."""
PIECE_COST = 128
"""What a piece costs beside its bytes, so that one-byte fragments count for what they take."""

_Key = tuple[bytes, bytes, int, int]


class _Partial:
    """One packet that is not complete."""

    __slots__ = ("alarm", "cost", "first", "pieces", "total")

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}  # by offset
        self.total: int | None = None  # length of the payload, once the last fragment is here
        self.first: bytes | None = None  # the header of the first fragment
        self.cost = 0
        self.alarm: Alarm | None = None


class Fragments:
    """Reassembly of one stack."""

    def __init__(self, stack: IPStack) -> None:
        self._stack = stack
        self._partial: dict[_Key, _Partial] = {}  # oldest first
        self._cost = 0

    def insert(self, header: ipv4.IPv4Header, packet: memoryview) -> memoryview | None:
        """Take one fragment; the whole packet, with a header of its own, if that was the last one missing."""
        stats = self._stack.stats
        payload = bytes(packet[header.header_length : header.total_length])
        offset = (header.fragment & ipv4.OFFSET_MASK) * 8
        more = bool(header.fragment & ipv4.MF)
        end = offset + len(payload)
        key = (header.source, header.destination, header.ident, header.protocol)
        if not payload or (more and len(payload) % 8) or end + header.header_length > 65535:
            stats.drop_fragment_bad += 1
            return None
        partial = self._partial.get(key)
        if partial is None:
            partial = self._partial[key] = _Partial()
            partial.alarm = self._stack.timers.call_at(self._stack.now + TIMEOUT, lambda: self._time_out(key))
        if partial.pieces.get(offset) == payload:
            return None  # the network may repeat a fragment; that is no overlap
        if self._overlaps(partial, offset, end, more):
            stats.drop_fragment_bad += 1 + len(partial.pieces)
            self._remove(key)
            return None
        partial.pieces[offset] = payload
        cost = len(payload) + PIECE_COST
        partial.cost += cost
        self._cost += cost
        if not more:
            partial.total = end
        if offset == 0:
            partial.first = bytes(packet[: header.header_length])
        if len(partial.pieces) > MAX_PIECES:
            stats.drop_fragment_limit += len(partial.pieces)
            self._remove(key)
            return None
        whole = self._complete(partial)
        if whole is not None:
            self._remove(key)
            return whole
        while self._cost > MAX_BYTES:
            oldest = next(iter(self._partial))
            stats.drop_fragment_limit += len(self._partial[oldest].pieces)
            self._remove(oldest)
        return None

    @staticmethod
    def _overlaps(partial: _Partial, offset: int, end: int, more: bool) -> bool:
        if partial.total is not None and (end > partial.total or not more):
            return True
        for start, piece in partial.pieces.items():
            if start < end and offset < start + len(piece):
                return True
            if not more and start + len(piece) > end:
                return True
        return False

    @staticmethod
    def _complete(partial: _Partial) -> memoryview | None:
        if partial.total is None or partial.first is None:
            return None
        if sum(map(len, partial.pieces.values())) != partial.total:
            return None
        first = partial.first
        body = b"".join(piece for _, piece in sorted(partial.pieces.items()))
        length = (len(first) + len(body)).to_bytes(2, "big")
        return memoryview(first[:2] + length + first[4:6] + b"\0\0" + first[8:] + body)

    def _time_out(self, key: _Key) -> None:
        self._stack.stats.drop_fragment_timeout += len(self._partial[key].pieces)
        self._remove(key)

    def _remove(self, key: _Key) -> None:
        partial = self._partial.pop(key)
        self._cost -= partial.cost
        if partial.alarm is not None:
            partial.alarm.cancel()
