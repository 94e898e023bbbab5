"""A TCP connection in the stack: its flow key, its neighbour, and its frames.

The far end of a connection is handled by ``nat/tcpflow.py``, which derives from this class.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Final

from slirpy.core.arrival import Arrival
from slirpy.core.flows import FlowInfo
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm
from slirpy.interfaces import Buffer, Frame
from slirpy.tcp import Connection, Segment, expire, output, segment_arrives
from slirpy.tcp.ecn import ECT0
from slirpy.tcp.ecnstate import EcnState
from slirpy.tcp.segment import Emit
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import NO_TIMER, SYNCHRONIZED
from slirpy.wire import ethernet
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, layout_of
from slirpy.wire.ip import reverse_key, split_key
from slirpy.wire.ipv4 import DF, TCP
from slirpy.wire.tcp import ACK

__all__ = ["CSUM_OFFSET", "TcpFlow"]

CSUM_OFFSET: Final = 16
"""Offset of the checksum in a TCP header."""
_PADDING: Final = bytes(ethernet.MIN_LENGTH)
_TTL: Final = 64
_from_bytes: Final = int.from_bytes
_new_frame: Final = tuple.__new__  # a third of the time of calling Frame, which every frame would pay
_CONSTANT_WORDS: Final = 0x4500 + DF + (_TTL << 8 | TCP)
# DF and an identification of zero: an atomic datagram needs none (RFC 6864, section 4.1).
_MIDDLE: Final = {layout: layout.middle(TCP, _TTL, DF) for layout in (LAYOUT, LAYOUT6)}


class TcpFlow(abc.ABC):
    """One connection of a guest.

    Attributes:
        key: the flow key (:mod:`slirpy.wire.ip`) of the **guest's** segments.
        conn: the engine's connection, of which the guest is the peer.
        macs: destination and source MAC address of the guest's frames; the fast path accepts no others.
        head: the first 16 bytes of a frame that the fast path has accepted, with these MAC addresses.
        mac: the neighbour's MAC address, then.
        words: sum of the words of the guest's IP headers that stay the same while ``head`` does.
        alarm: rings when the connection is due.
        layout: the numbers of the IP family.
        front, reverse_key: constant parts of the headers of frames to the guest.
        addresses, ports, base: sums of constant words of these headers: those of the addresses, of the ports, and of
            the IP header.
    """

    __slots__ = (
        "_middle", "_virtual_mac", "addresses", "alarm", "base", "bytes_in", "bytes_out", "conn", "dirty", "front",
        "head", "key", "last_activity", "layout", "mac", "macs", "neighbor", "neighbors", "network", "packets_in",
        "packets_out", "ports", "reverse_key", "started", "words",
    )  # fmt: skip

    def __init__(
        self, network: Network, neighbors: Neighbors, key: bytes, neighbor: Neighbor, conn: Connection
    ) -> None:
        self.network = network
        self.neighbors = neighbors
        self.key = key
        self.neighbor = neighbor
        self.conn = conn
        destination = split_key(key).destination
        self._virtual_mac = network.mac_for(destination)
        self.macs = self._virtual_mac + (neighbor.mac or bytes(6))
        self.head, self.mac, self.words = b"", neighbor.mac, 0
        self.layout = layout_of(destination)
        self.front = self._virtual_mac + self.layout.front
        self._middle = _MIDDLE[self.layout]
        self.reverse_key = reverse_key(key)
        self.addresses = ones_sum(key[:-4])
        self.ports = ones_sum(key[-4:])
        self.base = self.addresses + _CONSTANT_WORDS
        self.alarm = Alarm(network.timers, self.mark)
        self.dirty = False
        self.started = self.last_activity = network.now
        self.bytes_in = self.bytes_out = self.packets_in = self.packets_out = 0

    @abc.abstractmethod
    def service(self, now: int) -> None:
        """Do everything that is due; called once a flush if marked."""

    @abc.abstractmethod
    def opened(self, port: LinkPort) -> None:
        """Note that the last segment of the handshake has arrived, through ``port``."""

    @abc.abstractmethod
    def snapshot(self, now: int, end: str | None = None) -> Callable[[], FlowInfo]:
        """Return a function that describes this flow as it is now; ``end`` is how it ended, if it has."""

    def info(self, now: int, end: str | None = None) -> FlowInfo:
        """Snapshot of this flow."""
        return self.snapshot(now, end)()

    def mark(self) -> None:
        """Ask for :meth:`service` at the next flush."""
        if not self.dirty:
            self.dirty = True
            self.network.dirty.append(self)

    def input(self, seg: Segment, arrival: Arrival) -> None:
        """Handle a segment of this connection, on the slow path."""
        self.macs = arrival.macs
        self.head = b""
        self.neighbor = arrival.neighbor  # the old entry may have been evicted, or the guest may have moved
        self.take(seg, arrival.port)

    def take(self, seg: Segment, port: LinkPort) -> None:
        """Handle a segment that has come through ``port``, from the neighbour that this flow has."""
        self.packets_in += 1
        self.bytes_in += len(seg.payload)
        self.last_activity = self.network.now
        segment_arrives(self.conn, seg, self.network.now)
        self.mark()

    def output(self, now: int) -> None:
        """Let the connection send what is due, or wait if the link has no room."""
        port = self.neighbor.port
        conn = self.conn
        # A reset does not wait, since its flow may be removed before there is room. The link's queue is bounded.
        if port is not None and port.blocked and conn.reset is None:
            port.wait(self)
            return
        # As conn.deadline() says, without the call: this is done for every segment.
        if (
            (conn.timer_kind is not NO_TIMER and conn.timer_at <= now)
            or 0 < conn.delack_at <= now
            or 0 < conn.loss_timer_at <= now
        ):
            expire(conn, now)
            if conn.soft_error and conn.state in SYNCHRONIZED:
                self.neighbors.doubt(self.neighbor)
        if output(conn, now, self.emit if conn.ecn is None else self._marked(conn.ecn)):
            self.mark()
        deadline, alarm = conn.deadline(), self.alarm
        entry = alarm.entry
        if deadline is None or (entry is not None and deadline >= entry):
            alarm.when = deadline  # as set() does
        else:
            alarm.set(deadline)

    def emit(
        self,
        seq: int,
        ack: int,
        flags: int,
        wnd: int,
        options: bytes,
        parts: list[Buffer],
        length: int,
        urg: int = 0,
        /,
    ) -> None:
        """Send a segment as a frame. A larger piece is cut by the link, or here."""
        neighbor, layout = self.neighbor, self.layout
        port = neighbor.port
        mss = self.conn.mss
        if length > mss and (port is None or not port.segmentation_offload):
            self._emit_run(seq, ack, flags, wnd, options, parts, length)
            return
        header_length = 20 + len(options)
        segment_length = header_length + length
        total = layout.header_in_total + segment_length
        checksum = self.addresses + TCP + segment_length  # of the pseudo-header
        offload = port is not None and port.checksum_offload
        if not offload:
            # Add the header's words by arithmetic: a 32-bit number is the sum of its halves, modulo 65535.
            if len(parts) > 1:
                parts = [b"".join(parts)]
            checksum += self.ports + seq + ack + (header_length << 10) + flags + wnd + urg
            if options:
                checksum += _from_bytes(options, "big")  # whole words, so modulo 65535 it is their sum
            if parts:
                checksum += ones_sum(parts[0])
            checksum = -checksum
        header = layout.segment_out.pack(
            (neighbor.mac or ethernet.BROADCAST) + self.front,
            total,
            self._middle,
            -(self.base + total) % 65535 if layout.has_header_sum else b"",
            self.reverse_key,
            seq,
            ack,
            header_length << 2,
            flags,
            wnd,
            checksum % 65535,
            urg,
        )
        self.packets_out += 1
        self.bytes_out += length
        total += layout.length_from
        if offload:
            gso = mss if length > mss else 0
            frame = _new_frame(Frame, ((header + options, *parts), gso, layout.transport_at, CSUM_OFFSET))
        else:
            if total < ethernet.MIN_LENGTH:
                parts = [*parts, _PADDING[total:]]
                total = ethernet.MIN_LENGTH
            frame = _new_frame(Frame, ((header + options, *parts), 0, 0, 0))
        if port is not None and neighbor.mac is not None:
            port.push(frame, total)
        else:
            self.neighbors.send(neighbor, frame, total)

    def _emit_run(
        self, seq: int, ack: int, flags: int, wnd: int, options: bytes, parts: list[Buffer], length: int
    ) -> None:
        """Send a piece as segments: the frames that :meth:`emit` makes, of which most words are the same.

        None needs padding: with the engine's least MSS a full segment is longer than the shortest Ethernet frame.
        """
        neighbor, layout, mss = self.neighbor, self.layout, self.conn.mss
        port = neighbor.port
        data = b"".join(parts)  # slices of bytes are made and summed in less time than views
        end = length
        if flags & ~ACK or length % mss:
            end = (length - 1) // mss * mss  # the last segment differs
        middle_flags = flags & ACK
        if port is not None and not port.checksum_offload and neighbor.mac is not None:
            header_length = 20 + len(options)
            segment_length = header_length + mss
            total = layout.header_in_total + segment_length
            words = self.addresses + TCP + segment_length + self.ports
            words += ack + (header_length << 10) + middle_flags + wnd + _from_bytes(options, "big")
            pack, middle, key = layout.segment_out.pack, self._middle, self.reverse_key
            front = neighbor.mac + self.front
            header_sum = -(self.base + total) % 65535 if layout.has_header_sum else b""
            frames = []
            for start in range(0, end, mss):
                piece = data[start : start + mss]
                header = pack(
                    front, total, middle, header_sum, key, seq, ack, header_length << 2, middle_flags, wnd,
                    -(words + seq + ones_sum(piece)) % 65535, 0,
                )  # fmt: skip
                frames.append(_new_frame(Frame, ((header + options, piece), 0, 0, 0)))
                seq = (seq + mss) & MASK
            self.packets_out += len(frames)
            self.bytes_out += end
            port.push_all(frames, total + layout.length_from)
        else:
            for start in range(0, end, mss):
                self.emit(seq, ack, middle_flags, wnd, options, [data[start : start + mss]], mss)
                seq = (seq + mss) & MASK
        if end < length:
            self.emit(seq, ack, flags, wnd, options, [data[end:]], length - end)

    def _marked(self, state: EcnState) -> Emit:
        """Return an emitter that writes the ECN field of the IP header, too."""
        emit, plain = self.emit, self.front
        capable = self.layout.marked(plain, ECT0)

        def emit_marked(*parts: Any) -> None:
            if not state.codepoint:
                emit(*parts)
                return
            self.front = capable
            self.base += ECT0
            emit(*parts)
            self.front = plain
            self.base -= ECT0

        return emit_marked

    def release(self) -> None:
        """Drop all references that would keep an ended flow alive."""
        self.alarm.cancel()
        for port in self.network.ports:
            port.forget(self)
