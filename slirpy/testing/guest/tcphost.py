"""TCP of a host in virtual time: connections on the engine of :mod:`slirpy.tcp`, by their segments.

The stack uses the same engine for its end; frames, demultiplexing and checksums are implemented separately here.
Tests in which the two ends must not share a mistake should drive the stack with packets from another source.
"""

from __future__ import annotations

import abc
import errno
from ipaddress import ip_address
from typing import Any, Generic, TypeVar

from slirpy.addresses import IPAddress
from slirpy.core.timers import Alarm
from slirpy.interfaces import Buffer
from slirpy.stats import Stats, UnsetStats
from slirpy.tcp import (
    Connection,
    Segment,
    Settings,
    expire,
    next_iss,
    output,
    reopens,
    reset_for,
    segment_arrives,
)
from slirpy.tcp import options as tcp_options
from slirpy.tcp.pathmtu import too_big
from slirpy.tcp.segment import Emit, as_segments
from slirpy.tcp.states import CLOSED, NO_TIMER, SYN_SENT, SYNCHRONIZED
from slirpy.testing.guest.fragments import Packet
from slirpy.testing.guest.ip import IpHost
from slirpy.wire import ipv4, tcp
from slirpy.wire.checksum import checksum
from slirpy.wire.icmp import Trouble
from slirpy.wire.ip import family_of, flow_key, reverse_key, split_key

__all__ = ["TcpHost", "TcpStream"]

_PEER_MSS = {4: 536, 6: 1220}
"""MSS of a peer that does not announce one (RFC 9293, MUST-15)."""


class TcpStream(abc.ABC):
    """One connection of a :class:`~slirpy.testing.guest.tcp.TcpHost`.

    Args:
        host: the connections of which it is one.
        key: the flow key of arriving segments.
        conn: the engine's connection.
        listener: the listener that the connection is for; None: it was opened from this side.
    """

    __slots__ = (
        "_alarm",
        "_emit",
        "_host",
        "_key",
        "conn",
        "established",
        "listener",
        "places",
    )

    def __init__(self, host: TcpHost[Any], key: bytes, conn: Connection, listener: object = None) -> None:
        self._host = host
        self._key = key
        self.places = split_key(key)
        """Address and port of the far end, then of this one."""
        self._alarm = Alarm(host.guest.timers, self._due)
        self.listener = listener
        self.conn = conn
        self._emit = self.emitter()
        self.established = False
        """True if the connection is or was established."""

    @property
    def address(self) -> IPAddress:
        """Address of the far end."""
        return ip_address(self.places.source)

    @property
    def port(self) -> int:
        """Port of the far end."""
        return self.places.source_port

    @property
    def local_port(self) -> int:
        """Port of this end."""
        return self.places.destination_port

    def emitter(self) -> Emit:
        """Return the function that sends a segment."""
        return as_segments(self._send)

    def act(self) -> None:
        """Send what has become due by a call of the user."""
        self._host.mark(self)
        self._host.guest.flush()

    def _due(self) -> None:
        self._host.mark(self)

    def input(self, segment: Segment, now: int) -> None:
        """Handle a segment of this connection; :meth:`service` is due then."""
        conn = self.conn
        segment_arrives(conn, segment, now)
        if not self.established and conn.state in SYNCHRONIZED:
            self.established = True
            self.opened()

    @abc.abstractmethod
    def service(self, now: int) -> None:
        """Do everything that is due, with :meth:`transmit`, and report to the user."""

    def transmit(self, now: int) -> None:
        """Send what is due."""
        conn = self.conn
        # As conn.deadline() says, without the call: this is done for every segment.
        if (
            (conn.timer_kind is not NO_TIMER and conn.timer_at <= now)
            or 0 < conn.delack_at <= now
            or 0 < conn.loss_timer_at <= now
        ):
            expire(conn, now)
        if output(conn, now, self._emit):
            self._host.mark(self)
        alarm = self._alarm
        if conn.state is CLOSED:
            self._host.forget(self._key, self)
            alarm.cancel()
            return
        # As conn.deadline() and alarm.set() do.
        deadline = conn.delack_at
        early = conn.loss_timer_at
        if early and (early < deadline or not deadline):
            deadline = early
        if conn.timer_kind is not NO_TIMER and (conn.timer_at < deadline or not deadline):
            deadline = conn.timer_at
        if deadline:
            entry = alarm.entry
            if entry is None or deadline < entry:
                alarm.set(deadline)
            else:
                alarm.when = deadline
        else:
            alarm.when = None

    @abc.abstractmethod
    def opened(self) -> None:
        """Take note that the connection is established."""

    def _send(self, segment: Segment) -> None:
        key, options = self._key, segment.options.encode()
        _, port, _, local_port = self.places
        self._host.send(key, tcp.HEADER.pack(
            local_port, port, segment.seq, segment.ack, (tcp.HEADER_LENGTH + len(options)) << 2,
            segment.flags, segment.wnd, 0, segment.urg,
        ) + options, [segment.payload])  # fmt: skip


S = TypeVar("S", bound=TcpStream)


class TcpHost(abc.ABC, Generic[S]):
    """All TCP connections of a guest.

    Args:
        guest: the host that sends.
    """

    def __init__(self, guest: IpHost) -> None:
        self.guest = guest
        self.stats: Stats = UnsetStats()
        """Counters of the engine, of all connections."""
        self.streams: dict[bytes, S] = {}
        """Streams that are not closed, by the flow key of arriving segments."""
        self.marked: dict[S, None] = {}
        """Streams that are due for service."""

    @abc.abstractmethod
    def find_listener(self, address: bytes, port: int) -> object:
        """Return the listener for connections to an address and port of the guest; None: there is none."""

    def settings_for(self, listener: object, far: bytes) -> Settings:
        """Return the settings of a connection from ``far`` to a listener."""
        return self.settings(far)

    def is_full(self, listener: object) -> bool:
        """Report whether a listener takes no more connections for now, because earlier ones were not accepted."""
        return False

    @abc.abstractmethod
    def make(self, key: bytes, conn: Connection, listener: object) -> S:
        """Return the stream of a new connection."""

    def free_key(self, address: bytes, port: int, own: bytes | None = None, own_port: int = 0) -> bytes:
        """Return the flow key of a new connection to ``address``, from a free port unless ``own_port`` names one.

        Raises:
            OSError: EADDRINUSE: there is a connection from ``own_port``.
        """
        random = self.guest.random
        source = own or self.guest.source_for(address)
        while (
            key := flow_key(address, port, source, own_port or random.randrange(49152, 65536))
        ) in self.streams:
            if own_port:
                raise OSError(errno.EADDRINUSE, f"port {own_port} is in use")
        return key

    def open(self, key: bytes, rcv_buffer: int) -> S:
        """Start a connection whose arriving segments have this flow key."""
        stream = self._open(key, self.settings(split_key(key).source, rcv_buffer))
        stream.conn.connect(self.guest.now)
        self.mark(stream)
        return stream

    def settings(self, far: bytes, rcv_buffer: int = 1 << 20) -> Settings:
        """Return the settings of a connection to ``far``."""
        family = family_of(far)
        mss = self.guest.mtu_for(far) - family.header_length - tcp.HEADER_LENGTH
        return Settings(
            mss=mss, peer_mss=_PEER_MSS[family.version], rcv_buffer=rcv_buffer, rcv_buffer_initial=rcv_buffer
        )

    def _open(
        self, key: bytes, settings: Settings, listener: object = None, previous: Connection | None = None
    ) -> S:
        random = self.guest.random
        iss, ts_offset = random.getrandbits(32), random.getrandbits(32)
        if previous is not None:
            iss, ts_offset = next_iss(previous, iss), previous.ts_offset
        stream = self.streams[key] = self.make(
            key, Connection(settings, iss, ts_offset=ts_offset, stats=self.stats), listener
        )
        return stream

    def mark(self, stream: S) -> None:
        """Schedule ``stream`` for service."""
        self.marked[stream] = None

    def service(self) -> bool:
        """Serve the scheduled streams; False if there were none."""
        if not self.marked:
            return False
        marked, self.marked = self.marked, {}
        now = self.guest.now
        for stream in marked:
            stream.service(now)
        return True

    def forget(self, key: bytes, stream: S) -> None:
        """Remove a closed connection."""
        if self.streams.get(key) is stream:
            del self.streams[key]

    def input(self, header: Packet, packet: memoryview) -> None:
        """Handle a segment with a correct checksum."""
        segment = packet[header.header_length : header.total_length]
        self.take_segment(header.source, header.destination, segment)

    def take_segment(self, source: bytes, destination: bytes, packet: memoryview) -> None:
        """Handle a segment: header and payload, with a correct checksum."""
        guest = self.guest
        if len(packet) < tcp.HEADER_LENGTH:
            guest.counters.malformed += 1
            return
        _, _, seq, ack, offset, flags, wnd, _, urg = tcp.HEADER.unpack_from(packet)
        data = (offset >> 4) * 4
        if not tcp.HEADER_LENGTH <= data <= len(packet):
            guest.counters.malformed += 1
            return
        options = tcp_options.parse(packet[tcp.HEADER_LENGTH : data])
        segment = Segment(seq, ack, flags, wnd, options, packet[data:], urg)
        self.arrive(source + destination + bytes(packet[:4]), segment, guest.now)

    def arrive(self, key: bytes, segment: Segment, now: int) -> None:
        """Give a segment to the connection of this flow key, or answer it."""
        stream = self.streams.get(key)
        previous = None
        flags = segment.flags
        if flags & (tcp.SYN | tcp.ACK | tcp.RST) == tcp.SYN:
            source, _, destination, port = split_key(key)
            listener = self.find_listener(destination, port)
            if listener is not None and self.is_full(listener):
                return  # the client tries again
            if listener is not None and stream is not None and reopens(stream.conn, segment):
                previous = stream.conn
                previous.close_with(0)
                self.mark(stream)
                stream = None
            if listener is not None and stream is None:
                stream = self._open(key, self.settings_for(listener, source), listener, previous)
                stream.conn.listen(now)
        if stream is not None:
            stream.input(segment, now)
            self.marked[stream] = None
        else:
            self._refuse(key, segment)

    def _refuse(self, key: bytes, segment: Segment) -> None:
        """Answer a segment of no connection."""
        self.guest.counters.unhandled += 1
        answer = reset_for(segment)
        _, far_port, own, port = split_key(key)
        if answer is not None and self.guest.is_own(own):
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
        elif trouble.error and stream.conn.state is SYN_SENT:
            stream.conn.close_with(trouble.error)
            self.mark(stream)
