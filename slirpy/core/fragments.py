"""Reassembly of IPv4 fragments from guests (RFC 791, section 3.2). Overlaps are rejected (RFC 5722).

Reassembly of IPv6 (``core/fragments6.py``) is derived from it, with separate bounds.

Fragments may arrive in any order. A packet is not examined before it is complete, so tiny first fragments do no harm
(RFC 1858).

**Cost.** A piece is kept as a view of its frame, which stays unchanged until the flush. It is copied only if its
packet is still incomplete then, so fragments that arrive in one batch are never copied one by one. In-order fragments
of a UDP flow with a fast path (``core/udppath.py``) take :meth:`Fragments.quick`. One alarm serves all packets.

**Bounds.** The memory of each link and of all links together, the number of pieces of a packet, and its time are
bounded. At a bound of memory, the oldest packet of the link that holds the most is dropped. A packet is also dropped
once its sender has begun :data:`MAX_NEWER` later ones. By then its missing piece is lost, and the sender's 16-bit
identification may recur within seconds (RFC 4963); the old pieces would corrupt the new packet.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import ClassVar, Final

from slirpy.core.arrival import Arrival
from slirpy.core.demux import Demux
from slirpy.core.icmp import IcmpErrors
from slirpy.core.network import Network
from slirpy.core.partial import PACKET_COST, Key, Partial
from slirpy.core.paths import PENDING_MAX, ServicePath, UdpPath
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm
from slirpy.units import SECOND
from slirpy.wire import ethernet, icmp, ipv4, udp
from slirpy.wire.checksum import checksum, ones_sum, ones_sum_all

__all__ = ["Fragments"]

TIMEOUT: Final = 30 * SECOND
MAX_NEWER: Final = 64
"""Number of later packets of a sender after which an incomplete one is dropped, like Linux's ``ipfrag_max_dist``."""
MAX_BYTES = 4 << 20
"""Maximum cost of all packets together, in bytes."""
LINK_BYTES = 1 << 20
"""Maximum cost of the packets from one link, in bytes."""
MAX_PIECES: Final = 1366
"""Maximum number of pieces of one packet: 65535 bytes with the least MTU, 68."""
_HEADERS: Final = 34
"""Ethernet and IPv4 without options."""


class _Sender:
    """Incomplete packets of one source address."""

    __slots__ = ("begun", "partial")

    def __init__(self) -> None:
        self.partial: dict[Key, Partial] = {}  # oldest first
        self.begun = 0  # number of packets, at least since it last had none incomplete


class _Share:
    """Incomplete packets of the guests behind one link."""

    __slots__ = ("cost", "partial", "senders")

    def __init__(self) -> None:
        self.partial: dict[Key, Partial] = {}  # oldest first
        self.senders: dict[bytes, _Sender] = {}
        self.cost = 0


class Fragments:
    """Reassembly of IPv4 in one stack. Its length is the number of incomplete packets.

    Args:
        errors: reports expired packets to their senders.
        demux: takes complete datagrams that need the slow path.
        paths: UDP flows with a fast path.

    Attributes:
        dirty: whether some pieces may be views of frames, so that the flush has to call :meth:`service`.
    """

    timeout: ClassVar[int] = TIMEOUT
    """Time in which a packet must be complete, in nanoseconds."""
    uncounted: ClassVar[int] = 0
    """Bytes of a fragment's headers that do not count towards the 65535 bytes of a whole packet."""

    def __init__(
        self,
        network: Network,
        errors: IcmpErrors,
        demux: Demux,
        paths: dict[bytes, UdpPath | ServicePath],
    ) -> None:
        self._network = network
        self._errors = errors
        self._demux = demux
        self._paths = paths
        self._shares: dict[LinkPort, _Share] = {}
        self._cost = 0
        self._alarm = Alarm(network.timers, self._expire)
        self._run: Partial | None = None
        """Packet whose pieces are arriving in order. Usually it is complete soon, so it is in no table yet."""
        self._views: dict[Partial, None] = {}
        """Packets in the tables, some of whose pieces are views of frames."""
        self.dirty = False

    def __len__(self) -> int:
        return sum(len(share.partial) for share in self._shares.values())

    # ------------------------------------------------------------------------------------ any fragment

    def insert(self, arrival: Arrival, ident: int) -> Arrival | None:
        """Insert a fragment. Returns the whole packet once it is complete.

        ``ident`` distinguishes the packets of one source and destination.
        """
        stats = self._network.stats
        port, packet, header = arrival.port, arrival.packet, arrival.header
        piece = packet[header.header_length : header.total_length]
        offset, more = header.fragment_offset, header.more_fragments
        end = offset + len(piece)
        length = end + header.header_length - self.uncounted
        if not piece or (more and len(piece) % 8) or length > 65535:
            stats.drop_fragment_bad += 1
            return None
        if self._run is not None:
            self._register(self._run)
        key = header.source + header.destination, ident
        share = self._shares.get(port)
        partial = share.partial.get(key) if share is not None else None
        if partial is None:
            partial = Partial(port, key)
            self._begin(partial)
        at = bisect_left(partial.starts, offset)
        if at < len(partial.starts) and partial.starts[at] == offset and partial.pieces[at] == piece:
            stats.drop_fragment_duplicate += 1  # which is no overlap
            return None
        if not partial.fits(at, offset, end, more):
            stats.drop_fragment_bad += 1 + len(partial.pieces)
            self._spoil(partial)
            return None
        if len(partial.pieces) == MAX_PIECES:
            stats.drop_fragment_limit += 1 + len(partial.pieces)
            self._remove(partial)
            return None
        partial.add(at, offset, piece, more)
        if not offset:
            partial.header, partial.first = packet[: header.header_length], header
            partial.neighbor, partial.macs = arrival.neighbor, arrival.macs
        if partial.have == partial.total:
            self._remove(partial)
            return self._whole(partial)
        self._views[partial] = None
        self._mark()
        return None

    def _mark(self) -> None:
        """Ask for :meth:`service` at the next flush."""
        if not self.dirty:
            self.dirty = True
            self._network.dirty.append(self)

    def _spoil(self, partial: Partial) -> None:
        """Give up a packet whose fragments overlap."""
        self._remove(partial)

    def _begin(self, partial: Partial) -> None:
        """Add a new packet to the tables, and make room for it."""
        port, key = partial.port, partial.key
        self._begun_another(port, key)
        share = self._shares.get(port)
        if self._cost + PACKET_COST > MAX_BYTES or (
            share is not None and share.cost + PACKET_COST > LINK_BYTES
        ):
            self._make_room(port, PACKET_COST)
            share = self._shares.get(port)
        if share is None:
            if not self._cost:
                self._shares.clear()  # of the entry that _remove() keeps
            share = self._shares[port] = _Share()
        source = partial.source
        sender = share.senders.get(source)
        if sender is None:
            if not share.cost:
                share.senders.clear()  # of the entry that _remove() keeps
            sender = share.senders[source] = _Sender()
        partial.begun, partial.number = self._network.now, sender.begun
        share.partial[key] = sender.partial[key] = partial
        share.cost += PACKET_COST
        self._cost += PACKET_COST
        if self._alarm.when is None:
            self._alarm.set(self._network.now + self.timeout)

    def _begun_another(self, port: LinkPort, key: Key) -> None:
        """Count one more packet of a sender, and drop its oldest one after :data:`MAX_NEWER` later ones."""
        share = self._shares.get(port)
        sender = share.senders.get(key[0][: len(key[0]) // 2]) if share is not None else None
        if sender is not None and sender.partial:
            sender.begun += 1
            oldest = next(iter(sender.partial.values()))
            if sender.begun - oldest.number >= MAX_NEWER:
                self._network.stats.drop_fragment_overtaken += len(oldest.pieces)
                self._remove(oldest)

    def _whole(self, partial: Partial) -> Arrival | None:
        """Build the packet, with the header of its first fragment, adapted to the new length."""
        start = bytes(partial.header or b"")
        total = len(start) + partial.have
        if total > 65535:  # the later fragments had shorter headers
            self._network.stats.drop_fragment_bad += len(partial.pieces)
            return None
        start = b"".join(
            (start[:2], total.to_bytes(2, "big"), start[4:6], b"\0\0", start[8:10], b"\0\0", start[12:])
        )
        start = start[:10] + checksum(start).to_bytes(2, "big") + start[12:]
        return self._arrival(partial, memoryview(b"".join((start, *partial.pieces))))

    def _arrival(self, partial: Partial, packet: memoryview) -> Arrival:
        """Arrival of a reassembled packet. No link vouches for its checksum, since none has seen all of it."""
        header, neighbor = ipv4.parse(packet), partial.neighbor
        assert header is not None
        assert neighbor is not None
        return Arrival(partial.port, neighbor, partial.macs, header, packet, checksummed=False)

    # ----------------------------------------------------------------------------------- the fast path

    def quick(
        self,
        path: UdpPath | None,
        port: LinkPort,
        frame: memoryview,
        macs: bytes,
        addresses: bytes,
        total: int,
        fragment: int,
    ) -> bool:
        """Insert an in-order fragment of a flow with a fast path. Otherwise change nothing and return False.

        Args:
            path: the flow's path, for a first fragment.
            frame: the frame; IPv4 without options, UDP, with a time to live.
            macs: ``frame[:12]``.
            addresses: source and destination.
            total: length of the packet according to its header.
            fragment: flags and offset, as in the header.
        """
        offset = (fragment & ipv4.OFFSET_MASK) << 3
        key = addresses, (frame[18] << 8 | frame[19]) << 8 | ipv4.UDP
        run = partial = self._run
        if partial is None or partial.key != key or partial.port is not port:
            share = self._shares.get(port) if self._cost else None
            partial = share.partial.get(key) if share is not None else None
        if partial is None:
            if offset or path is None:
                return False
        else:
            path = partial.path
            if (
                path is None
                or partial.end != offset
                or partial.total is not None
                or len(partial.pieces) == MAX_PIECES
            ):
                return False
        neighbor = path.neighbor
        if path.macs != macs or neighbor.port is not port or neighbor.mac != path.mac:
            return False
        length = total - ipv4.HEADER_LENGTH
        end = offset + length
        last = not fragment & ipv4.MF
        if (
            length <= 0
            or (length & 7 and not last)
            or end + ipv4.HEADER_LENGTH > 65535
            or len(frame) < total + ethernet.HEADER_LENGTH
            or ones_sum(frame[14:_HEADERS])
        ):
            return False
        neighbor.seen = self._network.now
        if partial is None:
            if run is not None:
                self._register(run)
            run = partial = self._run = Partial(port, key)
            partial.path, partial.header, partial.neighbor, partial.macs = (
                path,
                frame[14:_HEADERS],
                neighbor,
                macs,
            )
        partial.starts.append(offset)
        partial.pieces.append(frame[_HEADERS : _HEADERS + length])
        partial.have += length
        partial.end = end
        if not self.dirty:
            self._mark()
        if last:
            partial.total = end
        if partial.have != partial.total:
            if partial is not run:
                self._views[partial] = None
            return True
        if partial is not run:
            self._remove(partial)
        else:
            self._run = None
            if self._cost:
                self._begun_another(port, key)
        if not self._hand_over(partial, path):
            whole = self._whole(partial)
            if whole is not None:
                self._demux.input_udp(whole)
        return True

    def _register(self, run: Partial) -> None:
        """Add a packet to the tables that is still incomplete when another packet, or the flush, comes."""
        self._run = None
        self._begin(run)
        self._views[run] = None

    def _hand_over(self, partial: Partial, path: UdpPath) -> bool:
        """Hand a whole datagram to its flow, as :func:`~slirpy.core.udppath.udp_fastpath` does.

        Returns False if it needs the slow path.
        """
        pieces = partial.pieces
        first = pieces[0]
        have = partial.have
        if self._paths.get(path.key) is not path or first[4] << 8 | first[5] != have:
            return False
        if (first[6] or first[7]) and (ones_sum(path.key[:8]) + ipv4.UDP + have + ones_sum_all(pieces)) % 65535:
            return False
        self._network.stats.udp_fastpath += 1
        flow = path.flow
        if flow.path is not path:
            flow.send_pending()
            flow.path = path
        flow.pending.append(memoryview(b"".join(pieces))[udp.HEADER_LENGTH :])
        if not flow.dirty:
            flow.mark()
        elif len(flow.pending) >= PENDING_MAX:
            flow.send_pending()
        return True

    # ------------------------------------------------------------------------------------------ bounds

    def service(self, now: int) -> None:
        """Copy all pieces that are views of frames, and make room if they take too much memory."""
        if self._run is not None:
            self._register(self._run)
        views, self._views = self._views, {}
        for partial in views:
            share = self._shares.get(partial.port)
            if share is None or share.partial.get(partial.key) is not partial:
                continue  # complete or dropped since
            before = partial.cost
            added = partial.own() - before
            share.cost += added
            self._cost += added
            if share.cost > LINK_BYTES or self._cost > MAX_BYTES:
                self._make_room(partial.port, 0)

    def _make_room(self, port: LinkPort, more: int) -> None:
        """Evict the oldest packets of a link, and of whichever links hold the most, until ``more`` fits."""
        share = self._shares.get(port)
        while share is not None and share.partial and share.cost + more > LINK_BYTES:
            self._evict(share)
        while self._cost and self._cost + more > MAX_BYTES:
            self._evict(max(self._shares.values(), key=lambda share: share.cost))

    def _evict(self, share: _Share) -> None:
        oldest = next(iter(share.partial.values()))
        self._network.stats.drop_fragment_limit += len(oldest.pieces)
        self._remove(oldest)

    def _expire(self) -> None:
        """Drop packets whose time is up; each link's are in the order of their age."""
        due = self._network.now - self.timeout
        following: int | None = None
        for share in list(self._shares.values()):
            while share.partial:
                oldest = next(iter(share.partial.values()))
                if oldest.begun > due:
                    following = oldest.begun if following is None else min(following, oldest.begun)
                    break
                self._time_out(oldest)
        if following is not None:
            self._alarm.set(following + self.timeout)

    def _time_out(self, partial: Partial) -> None:
        """Drop a packet, and report it if there is a first fragment to quote (RFC 1122, section 3.3.2)."""
        self._network.stats.drop_fragment_timeout += len(partial.pieces)
        self._remove(partial)
        if partial.header is not None and partial.pieces:
            first = self._arrival(partial, memoryview(bytes(partial.header) + partial.pieces[0]))
            self._errors.error(first, icmp.Cause.REASSEMBLY_TIME)

    def _remove(self, partial: Partial) -> None:
        """Remove a packet. The last link and sender stay, since the next packet usually needs them."""
        share = self._shares[partial.port]
        source = partial.source
        sender = share.senders[source]
        del share.partial[partial.key], sender.partial[partial.key]
        share.cost -= partial.cost
        self._cost -= partial.cost
        if not sender.partial and len(share.senders) > 1:
            del share.senders[source]
        if not share.partial and len(self._shares) > 1:
            del self._shares[partial.port]
