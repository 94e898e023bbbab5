"""Fragments of IPv4 packets, from guests (RFC 791, section 3.2; RFC 815's holes; overlaps are refused, RFC 5722).

Any order, also the last one first. Nothing looks into a packet before it is whole, so a first fragment may be as tiny
as it likes (RFC 1858). Memory is bounded in bytes for each link and in all, in pieces of a packet, and in time. At a
bound the oldest packet of whoever holds most goes.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from slirpy.wire import icmp, ipv4
from slirpy.wire.checksum import checksum

if TYPE_CHECKING:
    from slirpy.core.demux import Arrival
    from slirpy.core.port import LinkPort
    from slirpy.core.stack import IPStack
    from slirpy.core.timers import Alarm

__all__ = ["Fragments"]

TIMEOUT = 30_000_000_000
MAX_BYTES = 4 << 20
"""Of all packets together."""
LINK_BYTES = 1 << 20
"""Of the packets from one link."""
MAX_PIECES = 1366
"""Of one packet: a datagram of 65535 bytes over the least MTU, 68."""
PIECE_COST = 128
"""What a piece costs beside its bytes, so that small fragments count for what they take."""
PACKET_COST = 1024
"""What a packet costs beside its pieces."""

_Key = tuple[bytes, bytes, int, int]


class _Partial:
    """One packet that is not complete."""

    __slots__ = ("alarm", "cost", "first", "have", "pieces", "starts", "total")

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}  # by offset
        self.starts: list[int] = []  # their offsets, sorted
        self.have = 0  # bytes in pieces
        self.total: int | None = None  # length of the payload, once the last fragment is here
        self.first: Arrival | None = None  # the first fragment, of whose packet the header alone is kept
        self.cost = 0
        self.alarm: Alarm | None = None

    def fits(self, offset: int, end: int, more: bool) -> bool:
        """Whether a piece neither overlaps another nor contradicts what is known of the packet's end."""
        if self.total is not None and (end > self.total or not more):
            return False
        starts, pieces = self.starts, self.pieces
        at = bisect_left(starts, offset)
        if at and starts[at - 1] + len(pieces[starts[at - 1]]) > offset:
            return False
        return at == len(starts) or (more and starts[at] >= end)

    def add(self, offset: int, payload: bytes, more: bool) -> None:
        """Keep a piece that fits."""
        self.starts.insert(bisect_left(self.starts, offset), offset)
        self.pieces[offset] = payload
        self.have += len(payload)
        if not more:
            self.total = offset + len(payload)


class _Share:
    """What one link's guests have unfinished."""

    __slots__ = ("cost", "partial")

    def __init__(self) -> None:
        self.partial: dict[_Key, _Partial] = {}  # oldest first
        self.cost = 0


class Fragments:
    """Reassembly of one stack. Its length is the number of packets that are not complete."""

    def __init__(self, stack: IPStack) -> None:
        self._stack = stack
        self._shares: dict[LinkPort, _Share] = {}
        self._cost = 0

    def __len__(self) -> int:
        return sum(len(share.partial) for share in self._shares.values())

    def insert(self, arrival: Arrival) -> Arrival | None:
        """Take one fragment; the whole packet, with a header of its own, if that was the last one missing."""
        stats = self._stack.stats
        port, header, packet = arrival.port, arrival.header, arrival.packet
        payload = bytes(packet[header.header_length : header.total_length])
        offset = (header.fragment & ipv4.OFFSET_MASK) * 8
        more = bool(header.fragment & ipv4.MF)
        end = offset + len(payload)
        if not payload or (more and len(payload) % 8) or end + header.header_length > 65535:
            stats.drop_fragment_bad += 1
            return None
        share = self._shares.get(port)
        if share is None:
            share = self._shares[port] = _Share()
        key = header.source, header.destination, header.ident, header.protocol
        partial = share.partial.get(key) or self._start(port, share, key)
        if partial.pieces.get(offset) == payload:
            return None  # the network may repeat a fragment; that is no overlap
        if not partial.fits(offset, end, more):
            stats.drop_fragment_bad += 1 + len(partial.pieces)
            self._remove(port, key)
            return None
        if len(partial.pieces) == MAX_PIECES:
            stats.drop_fragment_limit += 1 + len(partial.pieces)
            self._remove(port, key)
            return None
        partial.add(offset, payload, more)
        if not offset:
            partial.first = arrival._replace(packet=memoryview(bytes(packet[: header.header_length])))
        self._charge(share, partial, len(payload) + PIECE_COST)
        if partial.have == partial.total and partial.first is not None:
            self._remove(port, key)
            return self._whole(partial, partial.first)
        self._make_room(port, share)
        return None

    def _start(self, port: LinkPort, share: _Share, key: _Key) -> _Partial:
        partial = share.partial[key] = _Partial()
        self._charge(share, partial, PACKET_COST)
        stack = self._stack
        partial.alarm = stack.timers.call_at(stack.now + TIMEOUT, lambda: self._time_out(port, key))
        return partial

    def _charge(self, share: _Share, partial: _Partial, cost: int) -> None:
        partial.cost += cost
        share.cost += cost
        self._cost += cost

    def _whole(self, partial: _Partial, first: Arrival) -> Arrival | None:
        """The packet, with the header of its first fragment, whose length and checksum are made new."""
        start = bytes(first.packet)
        total = len(start) + partial.have
        if total > 65535:  # the later fragments had shorter headers
            self._stack.stats.drop_fragment_bad += len(partial.pieces)
            return None
        start = b"".join(
            (start[:2], total.to_bytes(2, "big"), start[4:6], b"\0\0", start[8:10], b"\0\0", start[12:])
        )
        start = start[:10] + checksum(start).to_bytes(2, "big") + start[12:]
        packet = memoryview(b"".join((start, *(partial.pieces[at] for at in partial.starts))))
        header = first.header._replace(total_length=total, fragment=0)
        # No link has seen the whole, so none can vouch for its checksum.
        return first._replace(header=header, packet=packet, checksummed=False)

    def _make_room(self, port: LinkPort, share: _Share) -> None:
        while share.cost > LINK_BYTES:
            self._evict(port, share)
        while self._cost > MAX_BYTES:
            self._evict(*max(self._shares.items(), key=lambda item: item[1].cost))

    def _evict(self, port: LinkPort, share: _Share) -> None:
        oldest = next(iter(share.partial))
        self._stack.stats.drop_fragment_limit += len(share.partial[oldest].pieces)
        self._remove(port, oldest)

    def _time_out(self, port: LinkPort, key: _Key) -> None:
        """RFC 1122, section 3.3.2: who sent it is told, if its first fragment is there to be quoted."""
        partial = self._shares[port].partial[key]
        self._stack.stats.drop_fragment_timeout += len(partial.pieces)
        self._remove(port, key)
        first = partial.first
        if first is not None:
            packet = memoryview(bytes(first.packet) + partial.pieces[0])
            self._stack.icmp.error(first._replace(packet=packet), icmp.TIME_EXCEEDED, icmp.REASSEMBLY_TIME)

    def _remove(self, port: LinkPort, key: _Key) -> None:
        share = self._shares[port]
        partial = share.partial.pop(key)
        share.cost -= partial.cost
        self._cost -= partial.cost
        if partial.alarm is not None:
            partial.alarm.cancel()
        if not share.partial:
            del self._shares[port]
