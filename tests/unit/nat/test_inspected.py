"""The far side that waits for an inspector, without a network."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.interfaces import KEPT_MAX, UNDECIDED, Buffer, Finding, Passed, Refused
from slirpy.nat.inspected import LINGER, TURN, InspectedStream
from tests.support.owners import PeerNotes, StreamNotes

NAME = ("a.example",)


class Peer(PeerNotes):
    """A far side that takes ``room`` bytes in all; None: any number."""

    level_triggered = True

    def __init__(self, room: int | None = None) -> None:
        super().__init__()
        self.room = room
        self.taken = b""
        self.said = bytearray()

    def send(self, buffers: Sequence[Buffer]) -> int:
        data = b"".join(buffers)
        if self.room is not None:
            data = data[: self.room]
            self.room -= len(data)
        self.taken += data
        return len(data)

    def recv(self, limit: int) -> bytes | None:
        data = bytes(self.said[:limit])
        del self.said[:limit]
        return data or None


class Inspector:
    """Answers as a list says, and then with its last answer."""

    def __init__(self, *findings: Finding, end: Finding = UNDECIDED) -> None:
        self.findings = list(findings)
        self.at_end = end
        self.fed: list[bytes] = []

    def feed(self, data: bytes) -> Finding:
        self.fed.append(data)
        return self.findings.pop(0) if len(self.findings) > 1 else self.findings[0]

    def end(self) -> Finding:
        return self.at_end


class Hearing(Inspector):
    """An inspector of HTTP: it hears the far side, and lets bodies pass unread."""

    body: int | None = 0

    def __init__(self, *findings: Finding) -> None:
        super().__init__(*findings)
        self.server = b""
        self.skipped = 0

    def heard(self, data: bytes) -> None:
        self.server += data

    def skip(self, count: int) -> None:
        self.skipped += count
        if self.body is not None:
            self.body -= count


class Bench:
    """A stream with its surroundings. ``later`` has the calls that a network would make."""

    def __init__(self, inspector: Inspector, room: int | None = None) -> None:
        self.owner = StreamNotes()
        self.peer = Peer(room)
        self.inspector = inspector
        self.found: list[Passed | Refused] = []
        self.aside: list[InspectedStream] = []
        self.later: list[tuple[int, Callable[[], None]]] = []
        self.stream = InspectedStream(
            self.peer, self.owner, inspector, self.found.append, self.aside.append, self._later
        )

    def _later(self, delay: int, call: Callable[[], None]) -> None:
        assert callable(call)
        self.later.append((delay, call))

    def turn(self) -> list[int]:
        """Make the calls that are due at once or later; returns their delays."""
        later, self.later = self.later, []
        for _, call in later:
            call()
        return [delay for delay, _ in later]


def test_nothing_goes_on_before_it_has_passed() -> None:
    bench = Bench(Inspector(UNDECIDED, Passed("tls", NAME)))
    assert bench.stream.send([b"he", b"ll"]) == 4
    assert bench.peer.taken == b""
    assert bench.turn() == []
    assert bench.stream.send([b"o"]) == 1
    assert bench.peer.taken == b"hello"
    assert bench.found == [Passed("tls", NAME)]
    assert bench.aside == []  # not within send()
    assert bench.turn() == [0]
    assert bench.aside == [bench.stream]
    assert bench.stream.send([b"!"]) == 1
    assert bench.inspector.fed == [b"hell", b"o"]
    assert bench.peer.taken == b"hello!"


def test_the_stream_steps_aside_once() -> None:
    bench = Bench(Inspector(Passed("ssh")), room=3)
    assert bench.stream.send([b"SSH-2"]) == 5
    assert bench.later == []  # two bytes are left
    assert bench.stream.send([b"more"]) == 0
    bench.peer.room = 1
    bench.stream.resume()
    assert bench.later == []
    bench.peer.room = None
    bench.stream.resume()
    bench.stream.resume()
    assert bench.stream.send([b"more"]) == 4
    assert bench.turn() == [0]
    assert bench.aside == [bench.stream]
    assert bench.peer.taken == b"SSH-2more"


def test_a_refused_client_without_an_answer_is_reset_at_the_next_flush() -> None:
    bench = Bench(Inspector(Refused("not this one")))
    assert bench.stream.send([b"x"]) == 1
    assert bench.peer.calls == ["abort"]
    assert bench.owner.calls == []  # not within send()
    assert bench.turn() == [0]
    assert bench.owner.errors == [errno.ECONNABORTED]
    assert bench.aside == []


def test_a_refused_client_may_read_the_reason() -> None:
    bench = Bench(Inspector(Refused("not this one", answer=b"HTTP/1.1 403")))
    bench.peer.said += b"secret"
    before = bench.stream.level_triggered
    assert bench.stream.send([b"x"]) == 1
    assert (before, bench.stream.level_triggered) == (True, False)
    assert bench.turn() == [0, LINGER]
    assert bench.owner.calls == ["readable", "failed"]
    assert [bench.stream.recv(5), bench.stream.recv(100), bench.stream.recv(5)] == [b"HTTP/", b"1.1 403", b""]
    # Whatever it says or does now reaches nobody.
    assert bench.stream.send([b"abc", b"de"]) == 5
    bench.stream.resume()
    bench.stream.shutdown()
    assert bench.later == []
    assert (bench.peer.taken, bench.peer.calls) == (b"", ["abort"])
    assert len(bench.found) == 1


def test_a_later_refusal_aborts_the_stream() -> None:
    bench = Bench(Inspector(Passed("http/1", NAME, more=True), Refused("another host")), room=0)
    assert bench.stream.send([b"GET"]) == 3
    bench.peer.room = 3
    bench.stream.resume()
    assert bench.stream.send([b"GET"]) == 3
    assert (bench.peer.taken, bench.peer.calls) == (b"GET", ["abort"])
    bench.peer.room = None
    bench.turn()
    assert bench.aside == []


def test_names_are_reported_once() -> None:
    passed = Passed("http/1", NAME, more=True)
    other = Passed("http/1", ("b.example",), more=True)
    bench = Bench(Inspector(passed, passed, Passed("http/1", (), more=True), other, passed))
    for _ in range(5):
        assert bench.stream.send([b"x"]) == 1
    assert bench.found == [passed, other]
    assert bench.peer.taken == b"xxxxx"
    assert bench.later == []  # it stays


def test_a_flow_without_a_name_is_reported_once() -> None:
    passed = Passed("http/1", (), more=True)
    bench = Bench(Inspector(passed))
    for _ in range(3):
        bench.stream.send([b"x"])
    assert bench.found == [passed]


def test_incomplete_requests_wait() -> None:
    bench = Bench(Inspector(Passed("http/1", NAME, more=True, held=2), Passed("http/1", (), more=True)))
    assert bench.stream.send([b"GET /ab"]) == 7
    assert bench.peer.taken == b"GET /"
    assert bench.stream.send([b"c"]) == 1
    assert bench.peer.taken == b"GET /abc"


def test_a_turn_is_bounded() -> None:
    bench = Bench(Inspector(UNDECIDED))
    assert bench.stream.send([bytes(TURN), bytes(1)]) == TURN
    assert bench.owner.calls == []
    assert bench.turn() == [0]
    assert bench.owner.calls == ["writable"]
    assert bench.stream.send([bytes(TURN)]) == TURN
    assert bench.later == []
    assert list(map(len, bench.inspector.fed)) == [TURN, TURN]


class Holding(Inspector):
    """An inspector that passes one byte, and holds all later ones."""

    def feed(self, data: bytes) -> Finding:
        super().feed(data)
        return Passed("http/1", NAME, more=True, held=sum(map(len, self.fed)) - 1)


@pytest.mark.parametrize("passed", [0, 1])
def test_buffered_bytes_are_bounded(passed: int) -> None:
    bench = Bench(Holding(UNDECIDED) if passed else Inspector(UNDECIDED))
    sent = bench.stream.send([bytes(1)]) - passed
    while sent < KEPT_MAX:
        sent += bench.stream.send([bytes(min(TURN, KEPT_MAX - sent))])
    assert (len(bench.found), len(bench.peer.taken)) == (passed, passed)
    bench.stream.send([b"x"])
    assert isinstance(bench.found[-1], Refused)
    assert "too much" in bench.found[-1].reason
    assert (len(bench.peer.taken), bench.peer.calls) == (passed, ["abort"])


@pytest.mark.parametrize(
    ("end", "passes"), [(UNDECIDED, False), (Refused("without a name"), False), (Passed("other"), True)]
)
def test_a_client_that_ends_undecided(end: Finding, passes: bool) -> None:
    bench = Bench(Inspector(UNDECIDED, end=end))
    bench.stream.send([b"hello"])
    bench.stream.shutdown()
    assert (bytes(bench.peer.taken), bench.peer.calls) == (
        (b"hello", ["shutdown"]) if passes else (b"", ["abort"])
    )
    reason = getattr(bench.found[0], "reason", None)
    assert reason == (
        None if passes else "without a name" if end != UNDECIDED else "the client ended before it said a name"
    )


def test_a_shutdown_waits_for_accepted_bytes() -> None:
    bench = Bench(Inspector(Passed("ssh")), room=1)
    bench.stream.send([b"SSH"])
    bench.stream.shutdown()
    assert bench.peer.calls == []
    bench.peer.room = None
    bench.stream.resume()
    bench.stream.resume()
    assert (bench.peer.taken, bench.peer.calls) == (b"SSH", ["shutdown"])


def test_an_end_behind_a_request_is_passed_on_without_the_incomplete_next_one() -> None:
    finding = Passed("http/1", NAME, more=True, held=2)
    bench = Bench(Inspector(finding, end=Refused("never asked")))
    bench.stream.send([b"GET /ab"])
    bench.stream.shutdown()
    assert bench.found == [finding]
    assert (bench.peer.taken, bench.peer.calls) == (b"GET /", ["shutdown"])


def test_bodies_pass_unread() -> None:
    inspector = Hearing(Passed("http/1", NAME, more=True))
    bench = Bench(inspector)
    inspector.body = 100  # before anything has passed, everything is read
    assert bench.stream.send([b"PUT"]) == 3
    assert inspector.fed == [b"PUT"]
    inspector.body = 4
    assert bench.stream.send([b"bo", b"dyGET"]) == 7
    assert inspector.fed == [b"PUT", b"GET"]
    assert (inspector.body, inspector.skipped) == (0, 4)
    inspector.body = None
    assert bench.stream.send([b"tunnel", b"led"]) == 9
    assert inspector.skipped == 13
    assert bench.peer.taken == b"PUTbodyGETtunnelled"


def test_a_far_side_without_room_for_a_body() -> None:
    inspector = Hearing(Passed("http/1", NAME, more=True))
    bench = Bench(inspector)
    bench.stream.send([b"PUT"])
    inspector.body, bench.peer.room = 6, 2
    assert bench.stream.send([b"bodybodyGET"]) == 2
    assert (inspector.skipped, inspector.fed) == (2, [b"PUT"])
    assert bench.stream.send([b"dybo"]) == 0
    bench.peer.room = None
    assert bench.stream.send([b"dybo"]) == 4
    assert inspector.skipped == 6


def test_kept_bytes_are_no_body() -> None:
    inspector = Hearing(Passed("http/1", NAME, more=True, held=1))
    bench = Bench(inspector)
    bench.stream.send([b"GET"])
    inspector.body = None
    bench.stream.send([b"E"])
    assert inspector.fed == [b"GET", b"E"]


def test_the_inspector_reads_the_far_side() -> None:
    inspector = Hearing(UNDECIDED, Passed("http/1", NAME, more=True, held=3), Passed("http/1", (), more=True))
    bench = Bench(inspector)
    bench.stream.send([b"G"])
    bench.peer.said += b"early"
    assert bench.stream.recv(100) == b"early"
    assert inspector.fed == [b"G"]  # nothing has passed that its words could let go
    bench.stream.send([b"ET /"])
    assert bench.peer.taken == b"GE"
    bench.peer.said += b"101 yes"
    assert bench.stream.recv(4) == b"101 "
    assert bench.peer.taken == b"GET /"
    assert (inspector.server, inspector.fed[-1]) == (b"early101 ", b"")
    assert bench.stream.recv(100) == b"yes"
    assert inspector.fed[-2:] == [b"ET /", b""]  # nothing is kept any more
    assert bench.stream.recv(100) is None


def test_an_inspector_that_is_done_does_not_read_the_far_side() -> None:
    inspector = Hearing(Passed("tls", NAME))
    bench = Bench(inspector)
    bench.stream.send([b"hello"])
    bench.peer.said += b"answer"
    assert bench.stream.recv(100) == b"answer"
    assert inspector.server == b""


def test_ends_reach_the_far_side() -> None:
    bench = Bench(Inspector(UNDECIDED))
    bench.stream.abort()
    bench.stream.close()
    assert bench.peer.calls == ["abort", "close"]


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=12),
    st.integers(0, 200),
    st.lists(st.integers(0, 20), max_size=30),
)
def test_bytes_keep_their_order_and_number(pieces: list[bytes], passes_after: int, rooms: list[int]) -> None:
    """The far side gets all bytes in order, in pieces of any size, and none before the name."""

    class AfterBytes(Inspector):
        count = 0

        def feed(self, data: bytes) -> Finding:
            self.count += len(data)
            return Passed("tls", NAME) if self.count >= passes_after else UNDECIDED

    bench = Bench(AfterBytes(UNDECIDED), room=0)
    said = b""
    for piece in pieces:
        said += piece[: bench.stream.send([piece])]
        if len(said) < passes_after:
            assert bench.peer.taken == b""
        if rooms:
            bench.peer.room = rooms.pop()
            bench.stream.resume()
        assert said.startswith(bytes(bench.peer.taken))
    bench.peer.room = None
    bench.stream.resume()
    assert bytes(bench.peer.taken) == (said if bench.found else b"")
