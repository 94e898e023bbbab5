"""One end of a connection in virtual time: the bare engine, with no stack and no sockets around it."""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from slirpy.stats import Stats
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
from slirpy.tcp.options import parse
from slirpy.tcp.pathmtu import refused_by_icmp, too_big
from slirpy.tcp.segment import as_segments
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import SYNCHRONIZED
from slirpy.testing.packetdrill.systems import SYSTEMS, System
from slirpy.units import MS
from slirpy.wire.icmp import Trouble
from slirpy.wire.ip import V4, Family
from slirpy.wire.tcp import ACK, FIN, HEADER_LENGTH, PSH, RST, SYN, URG

__all__ = ["FailureError", "Host", "Sent", "pattern"]

START = 10_000 * MS
"""The engine's time at the start of a script: many programs treat zero specially."""
MOST_ROUNDS = 100_000
DEFAULT_MSS = 536
_INTERACTIVE = 40 * MS
"""Data answered by data within this time belongs to a dialogue (Linux's pingpong mode)."""
_PERIOD = 251  # a prime, so that bytes of neighbouring segments differ whatever their size
_PATTERN = bytes(range(_PERIOD)) * 2
_TIMESTAMPS = 12
_LARGEST_FIELD = 0xFFFF


class FailureError(Exception):
    """The connection deviated from the script."""


def pattern(offset: int, length: int) -> bytes:
    """Return the bytes from ``offset`` on of the streams in both directions."""
    start = offset % _PERIOD
    repeated = _PATTERN[:_PERIOD] * (length // _PERIOD + 2)
    return repeated[start : start + length]


@dataclass(slots=True)
class Sent:
    """A sent segment; sequence numbers count from the first of each side."""

    time: int
    """Nanoseconds from the start of the script."""
    seq: int
    ack: int
    flags: int
    win: int
    options: bytes
    data: bytes
    urg: int = 0


class Host:
    """The engine, its clock, and the segments that it has sent.

    Args:
        settings: settings of the connections.
        iss: initial sequence number of the connection.
        irs: added to the peer's sequence numbers in the script.
        ts_offset: start of the timestamp clock.
        system: system whose defaults apply.
        segment_size: maximum payload bytes of an arriving segment; longer ones are cut. 0: no limit.
        family: IP version.
    """

    def __init__(
        self,
        settings: Settings,
        iss: int,
        irs: int,
        ts_offset: int,
        system: System = SYSTEMS["slirpy"],
        segment_size: int = 0,
        family: Family = V4,
    ) -> None:
        self.defaults = settings
        """Settings of a new socket."""
        self.settings = settings
        self.system = system
        self.shown_rcvbuf = system.shown_rcvbuf
        """SO_RCVBUF of a new socket, if it differs from the size of its window."""
        self._segment_size = segment_size
        self.family = family
        self.stats = Stats()
        self.iss, self.irs = iss, irs
        self._ts_offset = ts_offset
        self.time = START
        self.sent: deque[Sent] = deque()
        """Sent segments that have not yet been compared."""
        self.transcript: list[tuple[int, bool, Segment | Sent]] = []
        """Time, whether it arrived, and segment: the whole history, for the ladder."""
        self.listening = False
        self.rcv_mss = DEFAULT_MSS
        """The largest segment received, or the assumed one."""
        self.quick_acks = system.quick_acks
        """Number of further segments to acknowledge at once."""
        self._heard_at = -_INTERACTIVE
        """Time of the last arrival of data."""
        self.conn = self._new()
        self.established: Connection | None = None
        """The last established connection."""
        self._established_at = START
        self.on_flush: Callable[[], None] = lambda: None
        """Called when the state may have changed."""
        self.after_segment: Callable[[], None] = lambda: None
        """Called when a segment has arrived, before the answer."""

    def fresh(self) -> None:
        """Make a new connection with the defaults, for a new socket; the previous one is forgotten."""
        self.settings = self.defaults
        self.after_segment = lambda: None
        self.conn = self._new()

    def _new(self) -> Connection:
        self._began = len(self.transcript)
        self.rcv_mss = DEFAULT_MSS
        self.quick_acks = self.system.quick_acks
        return Connection(self.settings, self.iss, ts_offset=self._ts_offset, stats=self.stats)

    @property
    def now(self) -> int:
        """Nanoseconds from the start of the script."""
        return self.time - START

    # -------------------------------------------------------------------------------------- opening

    def listen(self) -> None:
        """Open passively; also again, for the next connection."""
        self.listening = True
        self.conn.listen(self.time)

    def connect(self) -> None:
        """Open actively."""
        self.conn.connect(self.time)
        self.flush()

    def renew(self, settings: Settings) -> None:
        """Apply other settings, before the connection is opened or while it is open."""
        self.settings = settings
        self.conn.configure(settings)
        if self.conn.state is State.LISTEN:
            self.conn = self._new()
            self.conn.listen(self.time)

    def redefine(self, changes: dict[str, object]) -> None:
        """Change the defaults of sockets that are opened later, and of those not yet open.

        Raises:
            ConfigError: invalid settings.
        """
        self.defaults = replace(self.defaults, **changes)  # type: ignore[arg-type] # each value fits its argument
        settings = replace(self.settings, **changes)  # type: ignore[arg-type] # each value fits its argument
        if self.conn.state in (State.CLOSED, State.LISTEN):
            self.renew(settings)
        else:
            self.settings = settings

    # ----------------------------------------------------------------------------------------- time

    def advance(self, to: int) -> None:
        """Advance the time to ``to``, nanoseconds from the start; meets the deadlines on the way."""
        while self.step(to):
            pass

    def step(self, to: int) -> bool:
        """Advance to the next deadline, or to ``to`` if none comes before; False if ``to`` was reached."""
        deadline = self.conn.deadline()
        if deadline is None or deadline - START > to:
            self.time = max(self.time, to + START)
            return False
        if deadline > self.time:
            self.time = deadline
        before = deadline
        self.flush()
        deadline = self.conn.deadline()
        if deadline is not None and deadline <= self.time and deadline == before:
            raise FailureError("the connection does not act on its own deadline")
        return True

    def flush(self) -> None:
        """Let the connection send everything that is due."""
        expire(self.conn, self.time)
        rounds = 0
        emit = as_segments(self._emit)
        while output(self.conn, self.time, emit):
            rounds += 1
            if rounds > MOST_ROUNDS:
                raise FailureError("the connection never stops sending")
        self.on_flush()

    def _emit(self, segment: Segment) -> None:
        flags, wnd, data = segment.flags, segment.wnd, bytes(segment.payload)
        if not flags & ACK and segment.ack:
            raise FailureError("the connection sends an ACK field without the flag")
        ack = (segment.ack - self.irs) & MASK if flags & ACK else 0
        # A reset without ACK flag and connection has a number chosen by the peer; all others count from ours.
        relative = (segment.seq - self.iss) & MASK
        options = segment.options.encode()
        self._record(Sent(self.now, relative, ack, flags, wnd, options, data, segment.urg))
        if data and self.time - self._heard_at <= _INTERACTIVE:
            self.quick_acks = 0
        offset = relative - 1 + (flags & SYN != 0)
        if data != pattern(offset, len(data)):
            raise FailureError(f"the connection sends other bytes at {relative} than were written there")

    def _record(self, sent: Sent) -> None:
        self.sent.append(sent)
        self.transcript.append((self.now, False, sent))

    def count(self, *, inbound: bool, data: bool = False) -> int:
        """Return the number of segments exchanged, or only of those with data."""
        return sum(
            came is inbound
            and not (data and not len(segment.payload if isinstance(segment, Segment) else segment.data))
            for _, came, segment in self.transcript
        )

    def outbound(self) -> list[Sent]:
        """Return the segments sent by this connection, except resets."""
        own = self.transcript[self._began :]
        return [sent for _, _, sent in own if isinstance(sent, Sent) and not sent.flags & RST]

    def last(self, *, inbound: bool, data: bool) -> int:
        """Return the time of the last segment in a direction, or of the last one with data, in the engine's time.

        Without one: the time at which the connection was established.
        """
        for at, came, segment in reversed(self.transcript[self._began :]):
            payload = segment.payload if isinstance(segment, Segment) else segment.data
            if came is inbound and (len(payload) or not data):
                return at + START
        return self._established_at

    # -------------------------------------------------------------------------------------- network

    def arrive(self, segment: Segment) -> None:
        """Deliver a segment; sequence numbers are those of the wire. The answer is sent at once."""
        self.transcript += [(self.now, True, piece) for piece in self._cut(segment)]
        self._take(segment)
        self.flush()

    def _cut(self, segment: Segment) -> list[Segment]:
        """Cut a long segment into those that it stands for. They arrive together, as from a device that joins them
        (GRO).
        """
        size, data = self._segment_size, segment.payload
        if not size or len(data) <= size or segment.flags & SYN:
            return [segment]
        pieces = []
        for at in range(0, len(data), size):
            last = at + size >= len(data)
            flags = segment.flags if last else segment.flags & ~(FIN | PSH)
            urg = max(segment.urg - at, 0)
            if not urg:
                flags &= ~URG
            seq, payload = (segment.seq + at) & MASK, data[at : at + size]
            pieces.append(segment._replace(seq=seq, flags=flags, payload=payload, urg=urg))
        return pieces

    def _take(self, segment: Segment) -> None:
        if self.listening and reopens(self.conn, segment):
            self.iss = next_iss(self.conn, self.iss)  # the script counts from this number from now on
            self.conn.close_with(0)
        if self.conn.state is State.CLOSED and self.listening:
            self.conn = self._new()
            self.conn.listen(self.time)
        conn = self.conn
        if conn.state is State.CLOSED:
            self._refuse(segment)
            return
        before = conn.state
        if self.system.rounded and conn.rcv_limit > _LARGEST_FIELD and not conn.wscale_ok:
            conn.rcv_adv = (conn.rcv_nxt + conn.rcv_limit - conn.rcv_pending) & MASK
        segment_arrives(conn, segment, self.time)
        if before not in SYNCHRONIZED and conn.state in SYNCHRONIZED:
            self.established, self._established_at = conn, self.time
            self._round(conn)
        if segment.payload:
            self._heard(conn, len(segment.payload))
        self.after_segment()

    def _refuse(self, segment: Segment) -> None:
        if (reset := reset_for(segment)) is not None:
            seq, ack, flags = reset
            # Without an ACK to take its number from it is 0, which is not one of our numbers.
            seq = (seq - self.iss) & MASK if segment.flags & ACK else seq
            ack = (ack - self.irs) & MASK if flags & ACK else 0
            self._record(Sent(self.now, seq, ack, flags, 0, b"", b""))

    def _round(self, conn: Connection) -> None:
        if self.system.rounded:
            mss = conn.mss + (_TIMESTAMPS if conn.ts_ok else 0)
            size = -(-self.settings.rcv_buffer_initial // mss) * mss
            self.shown_rcvbuf = size
            if conn.wscale_ok:
                conn.rcv_limit = min(size, conn.rcv_limit_max)
            else:
                # all of it is accepted, though the header field cannot express such a window
                conn.rcv_limit = size

    def _heard(self, conn: Connection, length: int) -> None:
        self.rcv_mss = max(self.rcv_mss, min(length, self._segment_size or length, self.settings.mss))
        self._heard_at = self.time
        if self.quick_acks and conn.delack_at:
            self.quick_acks -= 1
            conn.ack_now = True

    def segment(
        self, seq: int, ack: int, flags: int, win: int, options: bytes, length: int, urg: int = 0
    ) -> Segment:
        """Make a segment of the peer from numbers as in a script."""
        data = pattern(seq - 1 + (flags & SYN != 0), length)
        wire_ack = (ack + self.iss) & MASK
        return Segment((seq + self.irs) & MASK, wire_ack, flags, win, parse(options), memoryview(data), urg)

    def refused(self, trouble: Trouble, seq: int, length: int) -> None:
        """Deliver an ICMP message about a sent segment."""
        wire_seq = (seq + self.iss) & MASK
        if trouble.error == errno.EMSGSIZE:
            header = self.family.header_length
            total = header + HEADER_LENGTH + (_TIMESTAMPS if self.conn.ts_ok else 0) + length
            least = self.family.least_mtu
            too_big(self.conn, wire_seq, trouble.mtu, total, ip_header=header, least_mtu=least)
        else:
            refused_by_icmp(self.conn, wire_seq, trouble.error, trouble.hard)
        self.flush()
