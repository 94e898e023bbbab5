"""Tests of TCP with the engine alone: two connections over a wire, or one connection and a script.

Both run in virtual time, without a stack, sockets or real waits. Two connections::

    dice = Random(1)
    pair = Pair(wire=lambda sender, segment: None if dice.random() < 0.1 else 0)  # every tenth is lost
    pair.connect()
    pair.a.write(b"hello")
    pair.run_until(lambda: pair.b_received == b"hello")

A connection whose peer is the test itself::

    script = Script()
    script.conn.listen(script.now)
    script.inject("S", 0, mss=1460)
    script.expect("SA", 0, 1)
    script.inject("A", 1, 1).silence()
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from slirpy.checks import instance, is_whole, nanoseconds, octets, switch, whole
from slirpy.config.values import as_text, function
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple
from slirpy.reprs import counted, never_raises
from slirpy.tcp import Connection, Segment, Settings, State, TcpOptions
from slirpy.tcp.segment import check_segment
from slirpy.tcp.seq import MASK
from slirpy.testing.errors import UnmetError
from slirpy.testing.text import seconds, shortened
from slirpy.testing.virtualtime import VirtualTime
from slirpy.units import MS, SECOND
from slirpy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG

__all__ = ["Crossing", "Pair", "Script", "Sent", "Wire", "flag_bits", "flag_letters"]

_LETTERS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "A": ACK, "U": URG}
_SHOWN = 24


def flag_bits(letters: str) -> int:
    """Return flags as bits: ``flag_bits("SA")`` is 18.

    Raises:
        ConfigError: a letter other than S, F, R, P, A and U, or the same letter twice.
    """
    if len(set(as_text("flags", letters))) < len(letters) or not set(letters) <= _LETTERS.keys():
        raise ConfigError(f"flags {letters!r}: write some of the letters {', '.join(_LETTERS)}, each once")
    return sum(_LETTERS[letter] for letter in letters)


def flag_letters(flags: int) -> str:
    """Return flags as letters, in the order S, F, R, P, A, U: ``flag_letters(18)`` is ``"SA"``.

    Args:
        flags: 0 to 255; other bits have no letters, and are left out.

    Raises:
        ConfigError: not such a number.
    """
    whole("flags", flags, 0, 0xFF)
    return "".join(letter for letter, bit in _LETTERS.items() if flags & bit)


def _check(segment: Segment) -> None:
    """Fail if no header can say what the engine wants to send."""
    assert 0 <= segment.wnd <= 0xFFFF, segment
    assert 0 <= segment.urg <= 0xFFFF, segment
    assert not segment.flags & ~sum(_LETTERS.values()), segment
    assert segment.flags & ACK or segment.ack == 0, segment


# ---------------------------------------------------------------------------------------- two connections


Wire: TypeAlias = Callable[[str, Segment], int | Sequence[int] | None]
"""Called for each segment that is sent, with ``"a"`` or ``"b"``, the name of its sender.

Returns additional nanoseconds of delay (0: the usual delay; more than that of later segments: out of order), None to
lose the segment, or a delay for each of several copies.
"""


class Crossing(NamedTuple):
    """A segment that was sent, and its fate."""

    time: int
    """Virtual nanoseconds at which it was sent."""
    sender: str
    """``"a"`` or ``"b"``."""
    segment: Segment
    arrivals: tuple[int, ...]
    """Times of its arrivals: normally one; none if it is lost."""


class Pair(VirtualTime):
    """Two connections, the wire between them, and the time.

    Args:
        a: a connection that is not open yet; None: one with the default settings.
        b: its peer, likewise.
        delay: nanoseconds that a segment takes, one way.
        wire: loses, delays and duplicates segments; see :data:`Wire`. May be replaced at any time.
        now: start of the clock, in nanoseconds.
        read: whether to read what arrives at once, into ``a_received`` and ``b_received``. If not, call
            :meth:`Connection.read <slirpy.tcp.connection.Connection.read>`.

    Raises:
        ConfigError: an argument of another type, a time that is not a whole number of nanoseconds, or a ``wire`` that
            cannot be called.

    Attributes:
        a, b: the connections. Call their methods directly; the next step sends what is due.
        now: virtual nanoseconds.
        a_received, b_received: data that has arrived at each end and has been read.
        transcript: every segment that was sent, lost ones included; see :class:`Crossing`.
    """

    def __init__(
        self,
        a: Connection | None = None,
        b: Connection | None = None,
        *,
        delay: int = MS,
        wire: Wire | None = None,
        now: int = 0,
        read: bool = True,
    ) -> None:
        for name, end in (("a", a), ("b", b)):
            if end is not None:
                instance(name, end, Connection, "a Connection")
        self.a = a if a is not None else Connection(iss=1000)
        self.b = b if b is not None else Connection(iss=5000)
        self.delay = nanoseconds("delay", delay)
        if wire is not None:
            function("wire", wire)
        self.wire = wire
        self.now = nanoseconds("now", now)
        self.read = switch("read", read)
        self.a_received = bytearray()
        self.b_received = bytearray()
        self.transcript: list[Crossing] = []
        self._ends = (("a", self.a, self.b, self.a_received), ("b", self.b, self.a, self.b_received))
        self._queue: list[tuple[int, int, Connection, Segment]] = []
        self._count = 0

    @never_raises
    def __repr__(self) -> str:
        lost = sum(not each.arrivals for each in self.transcript)
        a, b = (
            f"{name} {end.state.value} ({counted(len(received) + end.rcv_pending, 'byte')} in,"
            f" {end.snd_buf.length} unacknowledged)"
            for name, end, _, received in self._ends
        )
        return (
            f"<Pair at {seconds(self.now)}: {a}, {b}, {counted(len(self.transcript), 'segment')} ({lost} lost)>"
        )

    def connect(self) -> None:
        """Let ``a`` connect to ``b``, and advance the time until both are established.

        Raises:
            UnmetError: they were not within ten minutes.
        """
        self.b.listen(self.now)
        self.a.connect(self.now)
        ends = self.a, self.b
        self.run_until(lambda: all(end.state is State.ESTABLISHED for end in ends), 600 * SECOND)

    def summary(self) -> str:
        """Describe both ends and the last segments, for messages of failed tests."""
        lines = [
            f"at {self.now / SECOND:.6f} s: {len(self.transcript)} segments",
            f"a: {self.a}",
            f"b: {self.b}",
        ]
        for at, sender, segment, arrivals in self.transcript[-_SHOWN:]:
            number = segment.seq - (self.a.iss if sender == "a" else self.b.iss) & MASK
            ack = segment.ack - (self.b.iss if sender == "a" else self.a.iss) & MASK
            fate = ", ".join(f"arrives at {arrival / MS:.3f}" for arrival in arrivals) or "lost"
            lines.append(
                f"{at / MS:12.3f} ms  {sender}: {flag_letters(segment.flags) or '-'} seq={number}"
                f"{f' ack={ack}' if segment.flags & ACK else ''} len={len(segment.payload)} win={segment.wnd}, {fate}"
            )
        return "\n".join(lines)

    def _following(self) -> int | None:
        """Return the time of the next event, not before now; None: there is none."""
        times = [when for when in (self.a.deadline(), self.b.deadline()) if when is not None]
        if self._queue:
            times.append(self._queue[0][0])
        return max(min(times), self.now) if times else None

    def _round(self) -> None:
        """Deliver what arrives now, act on deadlines, and send what is due."""
        now, queue = self.now, self._queue
        while queue and queue[0][0] <= now:
            _, _, end, segment = heapq.heappop(queue)
            end.receive(segment, now)
            self._read()
        self._read()
        for sender, end, peer, _ in self._ends:
            end.handle_timeout(now)
            for segment in end.segments_to_send(now):
                self._carry(sender, peer, segment)

    def _read(self) -> None:
        if self.read:
            for _, end, _, received in self._ends:
                received += end.read()

    def _carry(self, sender: str, peer: Connection, segment: Segment) -> None:
        _check(segment)
        fate = self.wire(sender, segment) if self.wire is not None else 0
        copies: Sequence[int] = () if fate is None else (fate,) if isinstance(fate, int | float) else fate
        arrivals = tuple(
            self.now + self.delay + nanoseconds("the delay that wire returned", each) for each in copies
        )
        self.transcript.append(Crossing(self.now, sender, segment, arrivals))
        for arrival in arrivals:
            self._count += 1  # segments that arrive at the same time arrive in the order of sending
            heapq.heappush(self._queue, (arrival, self._count, peer, segment))


# ------------------------------------------------------------------------------- one connection and a script


@dataclass(frozen=True)
class Sent:
    """A segment that the connection has sent. Sequence numbers are relative, see :class:`Script`."""

    flags: str
    """Letters in the order S, F, R, P, A, U."""
    seq: int
    ack: int | None
    """None: the segment has no ACK flag."""
    data: bytes
    wnd: int
    """The value in the header, not scaled."""
    options: TcpOptions
    urg: int = 0

    @never_raises
    def __repr__(self) -> str:
        words = [self.flags or "no flags", f"seq={self.seq}"]
        words += [] if self.ack is None else [f"ack={self.ack}"]
        words += [f"len={len(self.data)} {shortened(self.data)}"] if self.data else []
        words += [f"win={self.wnd}"]
        words += [f"urg={self.urg}"] if self.urg else []
        words += [
            f"{name}={value}"
            for name, value in self.options._asdict().items()
            if value != TcpOptions._field_defaults[name]
        ]
        return f"<Sent {' '.join(words)}>"


class Script:
    """One connection, driven by hand. The test is its user, its peer, and its clock.

    Sequence numbers are relative: those of the connection count from its initial number ``iss``, those of the peer
    from ``irs``. So 0 is the SYN of each side, and 1 its first byte of data. Each method sends what is due
    afterwards; :meth:`expect` takes the segments one by one, and :meth:`silence` demands that none is left.

    Args:
        settings: of the connection; None: the defaults.
        iss: initial sequence number of the connection. The default wraps soon.
        irs: initial sequence number of the peer.
        now: start of the clock, in nanoseconds.

    Raises:
        ConfigError: an argument that cannot be used.

    Attributes:
        conn: the connection. It is not open: call ``conn.listen(now)``, or ``conn.connect(now)`` and :meth:`flush`.
        now: virtual nanoseconds; changed by :meth:`wait`.
        out: segments sent and not yet expected.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        iss: int = 0xFFFFFF00,
        irs: int = 0xFFFFFFF0,
        now: int = 10 * SECOND,
    ) -> None:
        self.conn = Connection(settings, iss)
        self.iss, self.irs = whole("iss", iss, 0, MASK), whole("irs", irs, 0, MASK)
        self.now = nanoseconds("now", now)
        self.out: list[Sent] = []

    @never_raises
    def __repr__(self) -> str:
        waiting = counted(len(self.out), "segment")
        return f"<Script at {seconds(self.now)}: {self.conn!r}, {waiting} not expected yet>"

    def flush(self) -> None:
        """Let the connection act on its deadlines, and send what is due."""
        self.conn.handle_timeout(self.now)
        for segment in self.conn.segments_to_send(self.now):
            self.take(segment)

    def take(self, segment: Segment) -> None:
        """Append a segment to ``out``. Only a test that drives the connection past this class needs to call it.

        Raises:
            ConfigError: not a segment that a header can express.
        """
        check_segment(segment)
        _check(segment)
        ack = segment.ack - self.irs & MASK if segment.flags & ACK else None
        flags, seq, data = flag_letters(segment.flags), segment.seq - self.iss & MASK, bytes(segment.payload)
        self.out.append(Sent(flags, seq, ack, data, segment.wnd, segment.options, segment.urg))

    def inject(
        self,
        flags: str,
        seq: int,
        ack: int = 0,
        wnd: int = 65535,
        data: bytes = b"",
        *,
        flush: bool = True,
        urg: int = 0,
        **options: Any,
    ) -> Self:
        """Let a segment of the peer arrive.

        Args:
            flags: letters out of S, F, R, P, A and U.
            seq, ack: relative; ``ack`` counts only with the flag A.
            wnd: window as in the header, not scaled.
            data: payload.
            flush: whether to send what is due; if not, this segment is one of a batch.
            urg: urgent pointer.
            options: fields of :class:`~slirpy.tcp.options.TcpOptions`, such as ``mss=1460``.

        Raises:
            ConfigError: an argument of another type, or one that a header cannot express.
        """
        octets("data", data)
        switch("flush", flush)
        bits = flag_bits(flags)
        for name, number in (("seq", seq), ("ack", ack)):
            if not is_whole(number):
                raise ConfigError(f"{name} {number!r} is not a sequence number")
        segment = Segment(
            self.irs + seq & MASK,
            self.iss + ack & MASK if "A" in flags else 0,
            bits,
            wnd,
            TcpOptions(**options),
            memoryview(data),
            urg,
        )
        self.conn.receive(segment, self.now)
        if flush:
            self.flush()
        return self

    def expect(
        self, flags: str, seq: int | None = None, ack: int | None = None, data: bytes | None = None
    ) -> Sent:
        """Take the next segment that the connection has sent, and compare it; arguments that are None match anything.

        Raises:
            ConfigError: an argument of another type.
            UnmetError: nothing was sent, or something else.
        """
        flag_bits(flags)
        for name, number in (("seq", seq), ("ack", ack)):
            if number is not None and not is_whole(number):
                raise ConfigError(f"{name} {number!r} is not a sequence number")
        if data is not None:
            octets("data", data)
        if not self.out:
            raise UnmetError(f"expected {flags}, but nothing was sent; {self.conn}")
        sent = self.out.pop(0)
        if flag_bits(sent.flags) != flag_bits(flags):
            raise UnmetError(f"expected {flags}, but this was sent: {sent}")
        for name, wanted, got in (
            ("seq", seq if seq is None else seq & MASK, sent.seq),
            ("ack", ack, sent.ack),
            ("data", data, sent.data),
        ):
            if wanted is not None and got != wanted:
                raise UnmetError(f"expected {name}={shortened(wanted)}, but this was sent: {sent}")
        return sent

    def silence(self) -> Self:
        """Demand that nothing else was sent.

        Raises:
            UnmetError: something was.
        """
        if self.out:
            raise UnmetError(f"expected silence: {self.out}")
        return self

    def wait(self, duration: int) -> Self:
        """Advance the time by ``duration`` nanoseconds, from deadline to deadline."""
        end = self.now + nanoseconds("duration", duration)
        while (deadline := self.conn.deadline()) is not None and deadline <= end:
            if deadline <= self.now:
                raise UnmetError(f"the deadline {deadline} does not lie ahead of {self.now}: {self.conn}")
            self.now = deadline
            self.flush()
        self.now = end
        return self

    def write(self, data: bytes) -> Self:
        """Write as the user of the connection does."""
        self.conn.write(data)
        self.flush()
        return self

    def read(self) -> bytes:
        """Read everything that has arrived."""
        data = self.conn.read()
        self.flush()
        return data

    def shutdown(self) -> Self:
        """End the connection's direction, after what was written."""
        self.conn.shutdown()
        self.flush()
        return self

    def state(self, state: State) -> Self:
        """Demand that the connection is in this state.

        Raises:
            ConfigError: not a State.
            UnmetError: it is in another.
        """
        instance("state", state, State, "a State")
        if self.conn.state is not state:
            raise UnmetError(f"expected {state.value}: {self.conn}")
        return self
