"""slirpy.testing.tcp: two connections over a wire, and one connection with a script."""

from __future__ import annotations

from random import Random

import pytest

from slirpy.errors import ConfigError
from slirpy.tcp import Connection, Segment, Settings, State
from slirpy.testing import Pair, Script, UnmetError, flag_bits, flag_letters
from slirpy.units import MS, SECOND
from slirpy.wire.tcp import SYN

# ------------------------------------------------------------------------------------------------ Pair


def test_two_connections_over_a_perfect_wire() -> None:
    pair = Pair(delay=5 * MS)
    pair.connect()
    assert pair.now == 15 * MS, "SYN, SYN,ACK, ACK"
    pair.a.write(b"ping")
    pair.run_until(lambda: pair.b_received == b"ping")
    assert pair.now == 20 * MS
    pair.b.write(b"pong")
    pair.run(5 * MS)
    assert (bytes(pair.a_received), pair.now) == (b"pong", 25 * MS)


def test_a_lossy_wire() -> None:
    dice = Random(1)
    pair = Pair(wire=lambda sender, segment: None if dice.random() < 0.2 else dice.randrange(3) * MS)
    pair.connect()
    data = Random(2).randbytes(200_000)
    pair.a.write(data)
    pair.a.shutdown()
    pair.b.shutdown()
    pair.run_until(lambda: pair.a.state is pair.b.state is State.CLOSED, 600 * SECOND)
    assert pair.b_received == data
    lost = [crossing for crossing in pair.transcript if not crossing.arrivals]
    assert 0.1 < len(lost) / len(pair.transcript) < 0.3


def test_a_wire_may_repeat_a_segment() -> None:
    pair = Pair(wire=lambda sender, segment: [0, 2 * MS] if segment.payload else 0)
    pair.connect()
    pair.a.write(b"twice")
    pair.run(10 * MS)
    assert pair.b_received == b"twice"
    [crossing] = [crossing for crossing in pair.transcript if crossing.segment.payload]
    assert (crossing.sender, crossing.arrivals) == ("a", (crossing.time + MS, crossing.time + 3 * MS))
    assert pair.b.stats.tcp_dsacks_out == 1


def test_a_wire_may_change_the_order() -> None:
    def wire(sender: str, segment: Segment) -> int:
        return 3 * MS if segment.payload[:1] == b"1" else 0

    pair = Pair(Connection(Settings(mss=100, timestamps=False), 0), wire=wire)
    pair.connect()
    pair.a.write(b"1" * 100 + b"2" * 100)
    pair.run(SECOND)
    assert pair.b_received == b"1" * 100 + b"2" * 100
    assert pair.b.stats.tcp_out_of_order == 1


def test_data_may_be_left_unread() -> None:
    pair = Pair(read=False)
    pair.connect()
    pair.a.write(b"wait")
    pair.run(SECOND)
    assert (pair.b.rcv_pending, pair.b.read()) == (4, b"wait")
    assert not pair.b_received


def test_an_unmet_condition_shows_the_state() -> None:
    pair = Pair(wire=lambda sender, segment: None)
    with pytest.raises(UnmetError, match=r"not within 600 s of virtual time\n") as caught:
        pair.connect()
    text = str(caught.value)
    assert "a: <Connection CLOSED: 0 bytes to read, 0 unacknowledged, error 110>" in text
    assert "0.000 ms  a: S seq=0 len=0 win=65535, lost" in text
    assert pair.now == 600 * SECOND
    assert all(crossing.segment.flags == SYN for crossing in pair.transcript)


def test_a_summary_has_relative_numbers_and_arrivals() -> None:
    pair = Pair()
    pair.connect()
    assert "1.000 ms  b: SA seq=0 ack=1 len=0 win=65535, arrives at 2.000" in pair.summary()


def test_time_passes_though_nothing_happens() -> None:
    pair = Pair(now=7)
    pair.run(3)
    assert pair.now == 10
    with pytest.raises(UnmetError):
        pair.run_until(lambda: False, 5)
    assert pair.now == 15


def test_a_world_that_goes_round_and_round_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair(delay=0)
    pair.connect()
    monkeypatch.setattr(Connection, "deadline", lambda self: 0)
    with pytest.raises(UnmetError, match="endless events at 0 ns"):
        pair.run(1)


@pytest.mark.parametrize("wrong", [{"delay": 0.5}, {"delay": -1}, {"now": 0.1}, {"wire": 3}])
def test_arguments_of_a_pair_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Pair(**wrong)  # type: ignore[arg-type] # the mistake


def test_calls_of_a_pair_are_checked() -> None:
    pair = Pair(wire=lambda sender, segment: 0.5)  # type: ignore[arg-type, return-value] # the mistake
    with pytest.raises(ConfigError, match="duration"):
        pair.run(0.5)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match="limit"):
        pair.run_until(lambda: True, 0.5)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match="predicate"):
        pair.run_until(True)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match="the delay that wire returned"):
        pair.connect()


# ---------------------------------------------------------------------------------------------- Script


def accepted() -> Script:
    """A connection that the script has opened."""
    script = Script()
    script.conn.listen(script.now)
    script.inject("S", 0, mss=1460)
    assert script.expect("SA", 0, 1).options.mss == 1460
    return script.inject("A", 1, 1).silence().state(State.ESTABLISHED)


def test_a_script() -> None:
    script = accepted()
    script.inject("PA", 1, 1, data=b"question").silence()
    assert script.read() == b"question"
    script.write(b"answer").expect("AP", 1, 9, b"answer")
    deadline = script.conn.deadline()
    assert deadline is not None
    script.wait(deadline - script.now).expect("PA", 1, 9, b"answer")
    script.inject("A", 9, 7).silence()
    script.shutdown().expect("FA", 7, 9)
    script.state(State.FIN_WAIT_1)


def test_a_batch_is_answered_once() -> None:
    script = accepted()
    for n in range(4):
        script.inject("A", 1 + 1460 * n, 1, data=bytes(1460), flush=False)
    script.flush()
    script.expect("A", 1, 1 + 4 * 1460)
    script.silence()


def test_an_unmet_expectation_is_described() -> None:
    script = accepted()
    with pytest.raises(UnmetError, match="expected A, but nothing was sent; <Connection ESTABLISHED"):
        script.expect("A")
    for flags, seq, ack, data, text in (
        ("A", 1, 1, b"x", "expected A, but this was sent: <Sent PA "),
        ("PA", 2, 1, b"x", "expected seq=2, but"),
        ("PA", 1, 2, b"x", "expected ack=2, but"),
        ("PA", 1, 1, b"y", "expected data=b'y', but this was sent: <Sent PA seq=1 ack=1 len=1 b'x'"),
    ):
        script = accepted().write(b"x")
        with pytest.raises(UnmetError, match=text):
            script.expect(flags, seq, ack, data)
    with pytest.raises(UnmetError, match="expected silence"):
        accepted().write(b"x").silence()
    with pytest.raises(UnmetError, match="expected CLOSED: <Connection ESTABLISHED"):
        accepted().state(State.CLOSED)
    with pytest.raises(ConfigError, match="duration"):
        accepted().wait(0.5)  # type: ignore[arg-type] # the mistake


def test_a_deadline_that_does_not_move_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    script = accepted()
    monkeypatch.setattr(Connection, "deadline", lambda self: script.now)
    with pytest.raises(UnmetError, match="does not lie ahead"):
        script.wait(1)


def test_flags_as_letters() -> None:
    assert (flag_bits("SA"), flag_bits(""), flag_letters(18), flag_letters(63)) == (18, 0, "SA", "SFRPAU")
    for wrong in ("X", "SS", "s"):
        with pytest.raises(ConfigError, match="each once"):
            flag_bits(wrong)
