"""The machine for TCP implementations: slirpy's own passes, a toy passes, and its planted bugs are found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from slirpy import ConfigError
from slirpy.tcp import Segment, Settings, State, TcpOptions
from slirpy.tcp.seq import HALF, MASK
from slirpy.testing.machines import FORGED, ConnectionSubject, TcpMachine, TcpSubject, from_bytes, to_bytes
from slirpy.wire.tcp import ACK, PSH, RST, SYN
from tests.unit.testing.machines.toy import Toy

LOOKING = settings(
    max_examples=400, deadline=None, database=None, derandomize=True, stateful_step_count=30,
    suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink], report_multiple_bugs=False,
)  # fmt: skip
PASSING = settings(LOOKING, max_examples=40)


def machine_of(make: Callable[[], TcpSubject], **more: object) -> type[TcpMachine]:
    return type("Machine", (TcpMachine,), {"make_subject": lambda self: make(), **more})


@pytest.mark.parametrize("peer", [Settings(), Settings(rcv_buffer=3000), Settings(mss=100, nodelay=True)])
def test_slirpys_own_passes(peer: Settings) -> None:
    run_state_machine_as_test(
        machine_of(lambda: ConnectionSubject(iss=0xFFFFFFF0), peer_settings=peer), settings=PASSING
    )


def test_small_buffers_of_the_subject_pass() -> None:
    small = Settings(rcv_buffer=700, snd_buffer=900)
    run_state_machine_as_test(machine_of(lambda: ConnectionSubject(small)), settings=PASSING)


def test_a_toy_passes() -> None:
    run_state_machine_as_test(machine_of(Toy, most_bytes=5000), settings=PASSING)


@pytest.mark.long
@pytest.mark.parametrize(
    ("bug", "complaint"), [("early", "the subject has (read|seen the end)"), ("window", "beyond the window")]
)
def test_planted_bugs_are_found(bug: str, complaint: str) -> None:
    machine = machine_of(lambda: Toy(bug), most_bytes=5000, peer_settings=Settings(rcv_buffer=300))
    if bug == "early":
        machine.peer_settings = Settings()
    with pytest.raises(AssertionError, match=complaint):
        run_state_machine_as_test(machine, settings=settings(LOOKING, phases=[Phase.generate]))


def test_the_example_is_small() -> None:
    """A segment that comes twice needs an opening, a write, and a repetition."""
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine_of(lambda: Toy("repeats"), most_bytes=5000), settings=LOOKING)
    steps = [line for note in caught.value.__notes__ for line in note.splitlines() if "state." in line]
    steps = [step for step in steps if "delivers_what" not in step]
    assert "opens" in steps[0]
    assert any("peer_writes(size=1)" in step for step in steps)
    assert len(steps) <= 6, "\n".join(steps)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s._replace(payload=b"?" * len(s.payload)), "has other bytes than were written"),
        (
            lambda s: s._replace(payload=bytes(s.payload) + b"?"),
            "has data that were not written|has other bytes",
        ),
        (lambda s: s._replace(ack=s.ack + 1000), "that were never sent"),
        (lambda s: s._replace(flags=s.flags | 1), "ends a stream that is not closed|ends the stream before"),
    ],
)
def test_segments_are_checked(change: Callable[[Segment], Segment], complaint: str) -> None:
    class Liar(ConnectionSubject):
        def output(self, now: int) -> list[Segment]:
            return [change(each) if each.payload else each for each in super().output(now)]

    with pytest.raises(AssertionError, match=complaint):
        run_state_machine_as_test(machine_of(Liar), settings=settings(LOOKING, phases=[Phase.generate]))


def test_a_subject_that_sleeps_is_noticed() -> None:
    class Sleeper(ConnectionSubject):
        def output(self, now: int) -> list[Segment]:
            return []

    with pytest.raises(AssertionError, match="it has not ended after 1800 s"):
        run_state_machine_as_test(machine_of(Sleeper), settings=settings(LOOKING, phases=[Phase.generate]))


def test_a_machine_needs_a_subject() -> None:
    with pytest.raises(ConfigError, match=r"has no make_subject\(\)"):
        run_state_machine_as_test(TcpMachine, settings=settings(LOOKING, phases=[Phase.generate]))
    with pytest.raises(ConfigError, match="must return a TcpSubject"):
        run_state_machine_as_test(
            machine_of(lambda: 5),  # type: ignore[arg-type,return-value] # the mistake
            settings=settings(LOOKING, phases=[Phase.generate]),
        )


def test_segments_travel_as_bytes() -> None:
    segment = Segment(1, 2, ACK | PSH, 5, TcpOptions(timestamps=(3, 4)), b"hello", 0)
    raw = to_bytes(segment, 5, 6)
    assert raw[:4] == b"\0\5\0\6"
    assert from_bytes(raw, "10.0.0.1", "10.0.0.2") == segment
    assert from_bytes(raw[:-1] + b"?", "10.0.0.1", "10.0.0.2") is None
    assert from_bytes(raw[:19]) is None
    six = to_bytes(segment, source="fec0::1", destination="fec0::2")
    assert from_bytes(six, "fec0::1", "fec0::2") == segment


class Gullible(ConnectionSubject):
    """Slirpy's engine, which is made to believe a kind of forged segments."""

    def __init__(self, believes: str) -> None:
        super().__init__()
        self.believes = believes

    def input(self, segment: Segment, now: int) -> None:
        conn = self.connection
        if conn.state is not State.LISTEN and conn.irs is not None:
            behind = (segment.seq - conn.rcv_nxt) & MASK >= HALF
            if self.believes == "syn" and segment.flags & SYN and segment.seq != conn.irs:
                conn.abort()
            if segment.flags & RST and self.believes == ("old-reset" if behind else "reset"):
                segment = segment._replace(seq=conn.rcv_nxt)
            if 0 < (segment.ack - conn.snd_max) & MASK < HALF and segment.flags & ACK:
                if self.believes == "ack" and not segment.payload:
                    conn.abort()
                if self.believes == "data":
                    segment = segment._replace(ack=conn.snd_una)
            if self.believes == "data-beyond" and 1 << 29 < (segment.seq - conn.rcv_nxt) & MASK < HALF:
                segment = segment._replace(seq=conn.rcv_nxt)
        super().input(segment, now)


@pytest.mark.parametrize("kind", FORGED)
def test_forged_segments_find_credulous_engines(kind: str) -> None:
    machine = machine_of(lambda: Gullible(kind), forged=(kind,))
    with pytest.raises(
        AssertionError, match=r"forged segment|than (was|were) written|never sent|lacks data|not ended"
    ):
        run_state_machine_as_test(machine, settings=settings(LOOKING, phases=[Phase.generate]))


def test_slirpys_own_survives_forged_segments() -> None:
    machine = machine_of(lambda: ConnectionSubject(iss=0xFFFFFFF0), forged=tuple(FORGED))
    run_state_machine_as_test(machine, settings=PASSING)


def test_a_forged_kind_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match='forged has "rst"; the kinds are reset, old-reset, syn'):
        machine_of(ConnectionSubject, forged=("rst",))()
