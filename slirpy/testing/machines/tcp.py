"""A state machine for an implementation of TCP: slirpy's engine is its peer and the model."""

from __future__ import annotations

import sys
from random import Random
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from slirpy.errors import ConfigError
from slirpy.tcp import Connection, Segment, Settings, State
from slirpy.tcp.seq import HALF, MASK
from slirpy.testing.machines.forged import FORGED, forge, is_synchronized
from slirpy.testing.machines.subject import TcpSubject
from slirpy.units import MS, SECOND
from slirpy.wire.tcp import ACK, FIN, RST, SYN, flag_names

__all__ = ["TcpMachine"]

_STREAMS = Random(1).randbytes(1 << 18), Random(2).randbytes(1 << 18)
_ROUNDS = 20_000
_START = 1000 * SECOND

_sizes = st.sampled_from((1, 100, 1460, 3000, 20_000))
_places = st.integers(0, 5)
_counts = st.integers(1, 10)
_offsets = st.sampled_from((1, 100, 1000))


def _kinds(machine: TcpMachine) -> st.SearchStrategy[str]:
    return st.sampled_from(machine.forged)


class TcpMachine(RuleBasedStateMachine):
    """Writes, closes, and a path that loses, delays, repeats and reorders; for a subclass with :meth:`make_subject`.

    After each step it checks that the subject sends nothing but what was written, within the window of the peer, and
    acknowledges nothing that was not sent; and that what each side reads is what the other has written, in order, and
    nothing after the end. When the rules are over, the path becomes perfect, both sides close, and within
    :attr:`patience` everything must have arrived and both connections must have ended. Without faults an example is
    an ordinary connection. As a test::

        class MyMachine(TcpMachine):
            def make_subject(self):
                return MySubject()

        TestMine = MyMachine.TestCase
    """

    peer_settings: ClassVar[Settings] = Settings(user_timeout=10**9 * SECOND, syn_timeout=10**9 * SECOND)
    """Settings of the peer."""
    patience: ClassVar[float] = 1800.0
    """Seconds of virtual time until the end, once the path is perfect."""
    most_bytes: ClassVar[int] = 100_000
    """Bytes that each side writes at most, up to 262144."""
    forged: ClassVar[tuple[str, ...]] = ()
    """Kinds of segments that an attacker outside of the path sends to the subject: any of :data:`FORGED`.

    An implementation of RFC 9293 survives them all; by default there are none.
    """

    def __init__(self) -> None:
        super().__init__()
        for kind in self.forged:
            if kind not in FORGED:
                raise ConfigError(f'forged has "{kind}"; the kinds are {", ".join(FORGED)}')
        self.now = _START
        self.subject: TcpSubject | None = None
        self.peer = Connection(self.peer_settings)
        self.to_subject: list[Segment] = []
        """Segments under way to the subject, in the order of sending."""
        self.to_peer: list[Segment] = []
        self._written = [0, 0]  # by the subject, by the peer
        self._read = [0, 0]
        self._closed = [False, False]
        self._iss: int | None = None  # the subject's
        self._sent = 0  # numbers that the subject has used, from its SYN on
        self._active = False  # the subject has opened the connection
        self._edge: int | None = None  # right edge of the widest window that the peer has announced

    def make_subject(self) -> TcpSubject:
        """Make the end under test. Override it.

        Raises:
            ConfigError: it is not overridden.
        """
        raise ConfigError(f"{type(self).__name__} has no make_subject(); return a TcpSubject from it")

    # ------------------------------------------------------------------------------------ rules

    @initialize(active=st.booleans(), iss=st.sampled_from((0, MASK, MASK - 1000, 1 << 31)))
    def opens(self, active: bool, iss: int) -> None:
        """Open both ends, one of them actively."""
        self.peer = Connection(self.peer_settings, iss=iss)
        self.subject = self.make_subject()
        if not isinstance(self.subject, TcpSubject):
            raise ConfigError(f"make_subject() must return a TcpSubject; it returned {self.subject!r}")
        self._active = active
        if active:
            self.peer.listen(self.now)
        else:
            self.peer.connect(self.now)
        self.subject.open(self.now, active=active)
        self._output()

    @rule(size=_sizes)
    def subject_writes(self, size: int) -> None:
        """Write the next bytes of the subject's stream, as many as it takes."""
        if self.subject is not None and not self._closed[0] and not self.subject.closed:
            begin = self._written[0]
            taken = self.subject.write(_STREAMS[0][begin : min(begin + size, self.most_bytes)])
            self._written[0] += taken
            self._output()

    @rule(size=_sizes)
    def peer_writes(self, size: int) -> None:
        """Write the next bytes of the peer's stream."""
        if not self._closed[1] and self.peer.state is not State.CLOSED:
            begin = self._written[1]
            data = _STREAMS[1][begin : min(begin + size, self.most_bytes, begin + self.peer.write_room())]
            if data:
                self.peer.write(data)
                self._written[1] += len(data)
                self._output()

    @rule()
    def subject_closes(self) -> None:
        """Close the subject's direction."""
        if self.subject is not None and not self._closed[0]:
            self._closed[0] = True
            self.subject.close()
            self._output()

    @rule()
    def peer_closes(self) -> None:
        """Close the peer's direction."""
        if not self._closed[1]:
            self._closed[1] = True
            if self.peer.state is not State.CLOSED:
                self.peer.shutdown()
            self._output()

    @rule(count=_counts)
    def arrive(self, count: int) -> None:
        """Deliver the oldest segments of both ways, in order."""
        for _ in range(count):
            self._to_subject(0)
            self._to_peer(0)

    @precondition(lambda self: self.to_subject or self.to_peer)
    @rule(to_subject=st.booleans(), which=_places)
    def lose(self, to_subject: bool, which: int) -> None:
        """Lose a segment."""
        wire = self.to_subject if to_subject else self.to_peer
        if wire:
            del wire[which % len(wire)]

    @precondition(lambda self: self.to_subject or self.to_peer)
    @rule(to_subject=st.booleans(), which=_places)
    def repeat(self, to_subject: bool, which: int) -> None:
        """Let a segment arrive twice."""
        wire = self.to_subject if to_subject else self.to_peer
        if wire:
            wire.append(wire[which % len(wire)])

    @precondition(lambda self: self.to_subject or self.to_peer)
    @rule(to_subject=st.booleans(), which=_places)
    def overtake(self, to_subject: bool, which: int) -> None:
        """Deliver a segment before those that were sent earlier."""
        if to_subject:
            self._to_subject(which)
        else:
            self._to_peer(which)

    @precondition(lambda self: self.forged and self._is_attackable)
    @rule(kind=st.runner().flatmap(_kinds), offset=_offsets)
    def forge(self, kind: str, offset: int) -> None:
        """Let a forged segment arrive, which must change nothing."""
        if self._is_attackable and self.subject is not None and self._iss is not None:
            segment = forge(kind, self.peer, self._iss + self._sent, offset, self.now)
            self.subject.input(segment, self.now)
            self._output()
            assert not self.subject.closed, f"a forged segment ({kind}) has ended the connection: {self}"

    @rule(ms=st.sampled_from((1, 50, 250, 1000, 5000)))
    def wait(self, ms: int) -> None:
        """Let time pass, from deadline to deadline."""
        end = self.now + ms * MS
        for _ in range(_ROUNDS):
            following = self._deadline()
            if following is None or following > end:
                break
            self.now = following
            self._output()
        self.now = max(self.now, end)
        self._output()

    # ------------------------------------------------------------------------------- invariants

    @invariant()
    def delivers_what_was_written(self) -> None:
        """Check what both sides have read: a prefix of what the other has written, and nothing after the end."""
        if self.subject is None:
            return
        sides = (
            ("subject", self.subject.read(), self.subject.ended),
            ("peer", self.peer.read(), self._peer_ended),
        )
        for side, (name, data, ended) in enumerate(sides):
            stream, begin = _STREAMS[1 - side], self._read[side]
            end = begin + len(data)
            assert end <= self._written[1 - side], f"the {name} has read more than was written"
            assert data == stream[begin:end], (
                f"the {name} has read other bytes than were written, from {begin} on"
            )
            self._read[side] = end
            if ended:
                assert self._closed[1 - side], f"the {name} has seen an end that was not sent"
                assert end == self._written[1 - side], f"the {name} has seen the end before all data"
        self._output()

    def teardown(self) -> None:
        """Make the path perfect, close both sides, and wait for the end, unless a check has failed before."""
        if self.subject is not None and sys.exc_info()[1] is None:
            self._finish(self.subject)

    def _finish(self, subject: TcpSubject) -> None:
        self.subject_closes()
        self.peer_closes()
        limit = self.now + int(self.patience * SECOND)
        for _ in range(_ROUNDS):
            if self.to_subject or self.to_peer:
                self.now += MS
                self.arrive(max(len(self.to_subject), len(self.to_peer)))
                self.delivers_what_was_written()
                continue
            if subject.closed and self.peer.state is State.CLOSED:
                break
            following = self._deadline()
            assert following is not None, f"nothing happens any more, and it has not ended: {self}"
            assert following <= limit, f"it has not ended after {self.patience:g} s: {self}"
            self.now = following
            self._output()
        else:
            raise AssertionError(f"segments without an end: {self}")
        self.delivers_what_was_written()
        assert self._read[1] == self._written[0], f"the peer lacks data: {self}"
        assert self._read[0] == self._written[1], f"the subject lacks data: {self}"

    def __str__(self) -> str:
        una, nxt = (self.peer.snd_una - self.peer.iss) & MASK, (self.peer.snd_nxt - self.peer.iss) & MASK
        return (
            f"at {self.now / SECOND:g} s the peer is {self.peer.state.value}, has sent {nxt} and {una} are"
            f" acknowledged; written by the subject {self._written[0]}, read {self._read[0]};"
            f" written by the peer {self._written[1]}, read {self._read[1]}"
        )

    # ------------------------------------------------------------------------------------- inside

    @property
    def _peer_ended(self) -> bool:
        return self.peer.fin_received and not self.peer.rcv_pending

    @property
    def _is_attackable(self) -> bool:
        """True while both ends have a connection that no forged segment may end."""
        return self.subject is not None and not self.subject.closed and is_synchronized(self.peer, self._active)

    def _deadline(self) -> int | None:
        assert self.subject is not None
        times = [each for each in (self.subject.deadline(), self.peer.deadline()) if each is not None]
        return max(min(times), self.now) if times else None

    def _to_subject(self, which: int) -> None:
        if self.to_subject and self.subject is not None:
            self.subject.input(self.to_subject.pop(which % len(self.to_subject)), self.now)
            self._output()

    def _to_peer(self, which: int) -> None:
        if self.to_peer:
            self.peer.receive(self.to_peer.pop(which % len(self.to_peer)), self.now)
            self._output()

    def _output(self) -> None:
        """Send what is due on both sides."""
        if self.subject is None:
            return
        self.peer.handle_timeout(self.now)
        self.to_subject += self.peer.segments_to_send(self.now)
        if self.peer.state is not State.CLOSED and self.peer.irs is not None:
            edge = self.peer.rcv_adv
            if self._edge is None or (edge - self._edge) & MASK < HALF:
                self._edge = edge
        for segment in self.subject.output(self.now):
            self._check(segment)
            self.to_peer.append(segment)

    def _check(self, segment: Segment) -> None:
        """Check a segment of the subject."""
        flags, data = segment.flags, bytes(segment.payload)
        if flags & SYN:
            assert self._iss in (None, segment.seq), "the subject's SYN has got another sequence number"
            self._iss = segment.seq
        if flags & RST or self._iss is None:
            return
        self._sent = max(self._sent, (segment.seq + segment.length - self._iss) & MASK)
        begin = (segment.seq + bool(flags & SYN) - self._iss - 1) & MASK
        text = f"the subject's segment {flag_names(flags)} {begin}:{begin + len(data)}"
        if data:
            assert begin + len(data) <= self._written[0], f"{text} has data that were not written"
            assert data == _STREAMS[0][begin : begin + len(data)], f"{text} has other bytes than were written"
            if self._edge is not None:
                beyond = (self._iss + 1 + begin + len(data) - self._edge) & MASK
                assert not 1 < beyond < HALF, f"{text} goes {beyond} bytes beyond the window"
        if flags & FIN:
            assert self._closed[0], f"{text} ends a stream that is not closed"
            assert begin + len(data) == self._written[0], f"{text} ends the stream before all data"
        if flags & ACK and self.peer.state not in (State.CLOSED, State.LISTEN):
            ahead = (segment.ack - self.peer.snd_max) & MASK
            assert not 0 < ahead < HALF, f"{text} acknowledges {ahead} bytes that were never sent"
