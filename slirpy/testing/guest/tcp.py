"""TCP of a :class:`~slirpy.testing.guest.Guest`: streams on the engine of :mod:`slirpy.tcp`.

The stack uses the same engine for its end; frames, demultiplexing and checksums are implemented separately here.
Tests in which the two ends must not share a mistake should drive the stack with packets from another source.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import ip_address

from slirpy.addresses import IPAddress
from slirpy.checks import octets
from slirpy.config.text import with_port
from slirpy.core.timers import Alarm
from slirpy.errors import StateError
from slirpy.interfaces import Buffer
from slirpy.reprs import counted, never_raises
from slirpy.tcp import (
    Connection,
    Segment,
    Settings,
    State,
    expire,
    next_iss,
    output,
    reopens,
    reset_for,
    segment_arrives,
)
from slirpy.tcp import options as tcp_options
from slirpy.tcp.pathmtu import too_big
from slirpy.tcp.segment import as_segments
from slirpy.tcp.states import SYNCHRONIZED
from slirpy.testing.guest.fragments import Packet
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.text import error_name
from slirpy.wire import ipv4, tcp
from slirpy.wire.checksum import checksum
from slirpy.wire.icmp import Trouble
from slirpy.wire.ip import family_of, flow_key, reverse_key, split_key

__all__ = ["GuestStream", "StreamListener", "TcpHost"]

_PEER_MSS = {4: 536, 6: 1220}
"""MSS of a peer that does not announce one (RFC 9293, MUST-15)."""


class GuestStream:
    """One TCP connection of a guest.

    Attributes:
        conn: the engine's connection, for inspection.
        address, port: the far end.
        local_port: the guest's port.
        received: data that arrived and was not yet read.
        count: number of bytes received in total.
        paused: while true, arriving data stays in the engine, and the advertised window shrinks; see :meth:`resume`.
    """

    __slots__ = (
        "_alarm", "_ended", "_host", "_key", "_listener", "_written", "address", "conn", "count", "established",
        "local_port", "on_data", "paused", "port", "received",
    )  # fmt: skip

    def __init__(
        self, host: TcpHost, key: bytes, conn: Connection, listener: StreamListener | None = None
    ) -> None:
        self._host = host
        self._key = key  # the flow key of arriving segments
        self._listener = listener
        self._ended = False  # on_data was called for the end
        self._written = 0
        self._alarm = Alarm(host.guest.timers, lambda: host.mark(self))
        self.conn = conn
        far, self.port, _, self.local_port = split_key(key)
        self.address: IPAddress = ip_address(far)
        self.received = bytearray()
        self.count = 0
        self.paused = False
        self.established = False
        """True if the connection is or was established."""
        self.on_data: Callable[[GuestStream], None] | None = None
        """Called when data was added to ``received``, or when the end has arrived."""

    @never_raises
    def __repr__(self) -> str:
        far, far_port, own, port = split_key(self._key)
        error = f", {error_name(self.error)}" if self.error else ""
        paused = ", paused" if self.paused else ""
        return (
            f"<GuestStream {with_port(ip_address(own), port)} - {with_port(ip_address(far), far_port)}"
            f" {self.state.value}: {counted(self.count, 'byte')} in, {self._written} out,"
            f" {self.unsent} unacknowledged{paused}{error}>"
        )

    # ------------------------------------------------------------------------------------ looking at it

    @property
    def state(self) -> State:
        """Return the state of RFC 9293, section 3.3.2."""
        return self.conn.state

    @property
    def eof(self) -> bool:
        """True if the far side has ended its direction, and ``received`` got everything before that."""
        return self.conn.fin_received and not self.conn.rcv_pending

    @property
    def error(self) -> int:
        """Reason why the connection died: 0, or an ``errno`` value, such as ECONNREFUSED or ECONNRESET."""
        return self.conn.error

    @property
    def closed(self) -> bool:
        """True if both directions have ended, or the connection died."""
        return self.conn.state in (State.CLOSED, State.TIME_WAIT)

    @property
    def unsent(self) -> int:
        """Bytes written that the far side has not acknowledged."""
        return self.conn.snd_buf.length

    # ------------------------------------------------------------------------------------ what it can do

    def write(self, data: Buffer) -> None:
        """Send data as soon as the far side's window allows; the queue has no limit.

        Raises:
            ConfigError: not bytes.
            StateError: after :meth:`shutdown`, or on a dead connection.
        """
        octets("data", data)
        if self.conn.fin_queued or self.conn.state is State.CLOSED:
            raise StateError(
                f"this stream ({self.conn.state.value}) takes no more data: it was shut down or is dead"
            )
        copy = memoryview(data).tobytes()
        if copy:
            self._written += len(copy)
            self.conn.write(copy)
            self._now()

    def read(self) -> bytes:
        """Remove and return everything in ``received``."""
        data = bytes(self.received)
        self.received.clear()
        return data

    def shutdown(self) -> None:
        """End the outgoing direction, after all data written. The incoming one stays open."""
        self.conn.shutdown()
        self._now()

    def abort(self) -> None:
        """Reset the connection."""
        self.conn.abort(errno.ECONNABORTED)
        self._now()

    def resume(self) -> None:
        """End a pause."""
        self.paused = False
        self._now()

    def _now(self) -> None:
        self._host.mark(self)
        self._host.guest.flush()

    # ------------------------------------------------------------------------------------------- inside

    def input(self, segment: Segment) -> None:
        """Handle a segment of this connection."""
        conn = self.conn
        segment_arrives(conn, segment, self._host.guest.now)
        if not self.established and conn.state in SYNCHRONIZED:
            self.established = True
            if self._listener is not None:
                self._listener.accepted.append(self)
                self._listener = None
        self._host.mark(self)

    def service(self) -> None:
        """Take the data received, and send what is due."""
        conn, now = self.conn, self._host.guest.now
        count = conn.rcv_pending
        if count and not self.paused:
            for piece in conn.rcv_queue:
                self.received += piece
            self.count += count
            conn.consume(count)
        if conn.deadline() is not None:
            expire(conn, now)
        if output(conn, now, as_segments(self._send)):
            self._host.mark(self)
        self._alarm.set(conn.deadline())
        if conn.rcv_queue:
            conn.copy_received()
        if conn.state is State.CLOSED:
            self._host.forget(self._key, self)
            self._alarm.cancel()
        ends = self.eof and not self._ended
        self._ended = self._ended or ends
        if self.on_data is not None and (ends or (count and not self.paused)):
            self.on_data(self)

    def _send(self, segment: Segment) -> None:
        key, options = self._key, segment.options.encode()
        self._host.send(key, tcp.HEADER.pack(
            self.local_port, self.port, segment.seq, segment.ack, (tcp.HEADER_LENGTH + len(options)) << 2,
            segment.flags, segment.wnd, 0, segment.urg,
        ) + options, [segment.payload])  # fmt: skip


class StreamListener:
    """A listening port of a guest."""

    def __init__(self, host: TcpHost, port: int) -> None:
        self._host = host
        self.port = port
        self.accepted: list[GuestStream] = []
        """Established streams, in order. May be changed."""

    @never_raises
    def __repr__(self) -> str:
        closed = "" if self._host.listeners.get(self.port) is self else " closed"
        return f"<StreamListener :{self.port}{closed}: {counted(len(self.accepted), 'stream')} accepted>"

    def close(self) -> None:
        """Stop listening; streams stay open. Harmless when repeated."""
        self._host.listeners.pop(self.port, None)


class TcpHost:
    """All TCP connections of a guest."""

    def __init__(self, guest: IpHost) -> None:
        self.guest = guest
        self.listeners: dict[int, StreamListener] = {}
        self.streams: dict[bytes, GuestStream] = {}
        """Streams that are not closed, by the flow key of arriving segments."""
        self._marked: dict[GuestStream, None] = {}

    def connect(self, address: bytes, port: int, rcv_buffer: int) -> GuestStream:
        """Start a connection from a free port."""
        own, random = self.guest.source_for(address), self.guest.random
        while (key := flow_key(address, port, own, random.randrange(49152, 65536))) in self.streams:
            pass
        stream = self._open(key, rcv_buffer)
        stream.conn.connect(self.guest.now)
        self.mark(stream)
        return stream

    def listen(self, port: int) -> StreamListener:
        """Reserve a port."""
        if port in self.listeners:
            raise StateError(f"TCP port {port} of this guest is in use; close that listener first")
        listener = self.listeners[port] = StreamListener(self, port)
        return listener

    def _open(
        self,
        key: bytes,
        rcv_buffer: int = 1 << 20,
        listener: StreamListener | None = None,
        previous: Connection | None = None,
    ) -> GuestStream:
        random, far = self.guest.random, split_key(key).source
        family = family_of(far)
        mss = self.guest.mtu_for(far) - family.header_length - tcp.HEADER_LENGTH
        settings = Settings(
            mss=mss, peer_mss=_PEER_MSS[family.version], rcv_buffer=rcv_buffer, rcv_buffer_initial=rcv_buffer
        )
        iss, ts_offset = random.getrandbits(32), random.getrandbits(32)
        if previous is not None:
            iss, ts_offset = next_iss(previous, iss), previous.ts_offset
        conn = Connection(settings, iss, ts_offset=ts_offset)
        stream = self.streams[key] = GuestStream(self, key, conn, listener)
        return stream

    def mark(self, stream: GuestStream) -> None:
        """Schedule ``stream`` for service."""
        self._marked[stream] = None

    def service(self) -> bool:
        """Serve the scheduled streams; False if there were none."""
        if not self._marked:
            return False
        marked, self._marked = self._marked, {}
        for stream in marked:
            stream.service()
        return True

    def forget(self, key: bytes, stream: GuestStream) -> None:
        """Remove a closed connection."""
        if self.streams.get(key) is stream:
            del self.streams[key]

    def input(self, header: Packet, packet: memoryview) -> None:
        """Handle a segment with a correct checksum."""
        guest = self.guest
        start = header.header_length
        if header.total_length < start + tcp.HEADER_LENGTH:
            guest.counters.malformed += 1
            return
        far_port, port, seq, ack, offset, flags, wnd, _, urg = tcp.HEADER.unpack_from(packet, start)
        data = start + (offset >> 4) * 4
        if not start + tcp.HEADER_LENGTH <= data <= header.total_length:
            guest.counters.malformed += 1
            return
        options = tcp_options.parse(packet[start + tcp.HEADER_LENGTH : data])
        segment = Segment(seq, ack, flags, wnd, options, packet[data:], urg)
        key = flow_key(header.source, far_port, header.destination, port)
        stream = self.streams.get(key)
        previous = None
        if stream is not None and port in self.listeners and reopens(stream.conn, segment):
            previous = stream.conn
            previous.close_with(0)
            self.mark(stream)
            stream = None
        if stream is None and port in self.listeners and flags & (tcp.SYN | tcp.ACK | tcp.RST) == tcp.SYN:
            stream = self._open(key, listener=self.listeners[port], previous=previous)
            stream.conn.listen(guest.now)
        if stream is not None:
            stream.input(segment)
            return
        guest.counters.unhandled += 1
        answer = reset_for(segment)
        if answer is not None and guest.is_own(header.destination):
            number, ack, flags = answer
            offset = tcp.HEADER_LENGTH << 2
            self.send(key, tcp.HEADER.pack(port, far_port, number, ack, offset, flags, 0, 0, 0), [])

    def send(self, key: bytes, header: bytes, parts: list[Buffer]) -> None:
        """Send a segment to the peer of ``key``, the key of arriving segments; ``header`` has no checksum yet."""
        far, _, own, _ = split_key(key)
        family = family_of(own)
        segment = b"".join((header, *parts))
        value = checksum(segment, family.pseudo_sum(own, far, ipv4.TCP, len(segment)))
        segment = b"".join((segment[:16], value.to_bytes(2, "big"), memoryview(segment)[18:]))
        if family.version == 4:
            ip_header = ipv4.build(own, far, ipv4.TCP, len(segment), fragment=ipv4.DF)
        else:
            ip_header = family.build(own, far, ipv4.TCP, len(segment))
        self.guest.send_packet(far, ip_header + segment)

    def error(self, sent: bytes, seq: int, length: int, trouble: Trouble) -> None:
        """Handle an ICMP error about a segment.

        A packet that was too big makes the segments of its connection smaller (RFC 8201, section 4); any other error
        ends a connection that is opening (RFC 5461, section 4).

        Args:
            sent: the flow key of the segment.
            seq: its sequence number.
            length: of its packet, in bytes.
        """
        stream = self.streams.get(reverse_key(sent))
        if stream is None:
            return
        if trouble.error == errno.EMSGSIZE:
            family = family_of(split_key(sent).source)
            header, least = family.header_length, family.least_mtu
            too_big(stream.conn, seq, trouble.mtu, length, ip_header=header, least_mtu=least)
            self.mark(stream)
        elif trouble.error and stream.conn.state is State.SYN_SENT:
            stream.conn.close_with(trouble.error)
            self.mark(stream)
