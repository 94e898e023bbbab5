"""Keep-alives, where a script cannot look."""

from __future__ import annotations

import errno

import pytest

from slirpy.errors import ConfigError
from slirpy.tcp import Settings, State
from tests.unit.tcp.script import SECOND, Script, passive

ASKING = Settings(keepalive=True, keepalive_idle=60 * SECOND, keepalive_interval=10 * SECOND, keepalive_count=3)


@pytest.mark.rfc("9293", "MUST-25")
@pytest.mark.rfc("9293", "MUST-28")
def test_defaults() -> None:
    settings = Settings()
    assert not settings.keepalive
    assert settings.keepalive_idle >= 2 * 3600 * SECOND
    assert settings.keepalive_count >= 2
    assert passive().conn.deadline() is None


@pytest.mark.rfc("9293", "MUST-24")
def test_they_can_be_turned_on_and_off_for_each_connection() -> None:
    s = passive()
    s.conn.configure(ASKING)
    s.flush()
    s.wait(60 * SECOND)
    s.send("A", 0, 1, b"")
    s.conn.configure(Settings())
    s.flush()
    assert s.conn.deadline() is None
    s.wait(10_000 * SECOND).silence().state(State.ESTABLISHED)


def test_received_segments_do_not_move_the_timer() -> None:
    """Moving it with every segment would cost every segment."""
    s = passive(ASKING)
    deadline = s.conn.deadline()
    for i in range(5):
        s.wait(10 * SECOND)
        s.recv("A", 1 + 3000 * i, 1, data=bytes(3000))
        s.read()
        assert s.conn.deadline() == deadline
    s.out.clear()
    s.wait(59 * SECOND).silence()
    s.wait(1 * SECOND)
    s.send("A", 0, 15_001, b"")


def test_a_shorter_user_timeout_holds_at_once() -> None:
    s = passive()
    s.write(b"x")
    s.wait(20 * SECOND)
    s.out.clear()
    s.conn.configure(Settings(user_timeout=25 * SECOND))
    s.wait(4 * SECOND).state(State.ESTABLISHED)
    s.wait(1 * SECOND).state(State.CLOSED)
    assert s.conn.error == errno.ETIMEDOUT


@pytest.mark.parametrize("state", ["FIN_WAIT_1", "CLOSING", "LAST_ACK", "TIME_WAIT"])
def test_no_keepalive_is_sent_in_other_states(state: str) -> None:
    s = passive(ASKING)
    if state == "LAST_ACK":
        s.recv("FA", 1, 1)
    s.shutdown()
    if state in ("CLOSING", "TIME_WAIT"):
        s.recv("FA", 1, 2 if state == "TIME_WAIT" else 1)
    s.state(State[state]).wait(50 * SECOND)
    assert s.conn.stats.tcp_keepalives == 0


@pytest.mark.rfc("9293", "MUST-29")
@pytest.mark.parametrize(
    "wrong",
    [{"keepalive_count": 1}, {"keepalive_idle": 0}, {"keepalive_interval": -1}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_make_no_sense(wrong: dict[str, int]) -> None:
    for keepalive in (True, "keepalive_count" in wrong):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} {next(iter(wrong.values()))}"):
            Settings(keepalive=keepalive, **wrong)  # type: ignore[arg-type] # each is a number


def test_an_answer_in_the_same_instant() -> None:
    s = passive(ASKING)
    s.wait(60 * SECOND)
    s.send("A", 0, 1, b"")
    s.recv("A", 1, 1)
    s.wait(59 * SECOND).silence()
    s.wait(1 * SECOND)
    s.send("A", 0, 1, b"")


def test_the_interval_may_be_longer_than_the_silence() -> None:
    settings = Settings(
        keepalive=True, keepalive_idle=5 * SECOND, keepalive_interval=20 * SECOND, keepalive_count=2
    )
    s = passive(settings)
    for silence in (5, 20):
        s.wait(silence * SECOND)
        s.send("A", 0, 1, b"")
        s.silence()
    s.wait(19 * SECOND).silence().state(State.ESTABLISHED)
    s.wait(1 * SECOND).state(State.CLOSED)


def test_keepalives_are_sent_in_close_wait() -> None:
    s = passive(ASKING)
    s.recv("FA", 1, 1)
    s.send("A", 1, 2)
    s.wait(60 * SECOND).state(State.CLOSE_WAIT)
    s.send("A", 0, 2, b"")


@pytest.mark.rfc("9293", "MUST-21")
def test_a_shorter_user_timeout_holds_for_probes_too() -> None:
    s = passive(wnd=10)
    s.write(bytes(20))
    s.recv("A", 1, 11, wnd=0)
    s.out.clear()
    s.wait(20 * SECOND)
    first = 200 * SECOND // 1000  # after the window closed: from there the timeout counts
    assert s.conn.stats.tcp_zero_window_probes > 3
    s.conn.configure(Settings(user_timeout=25 * SECOND))
    s.wait(5 * SECOND + first - 1).state(State.ESTABLISHED)
    s.wait(1).state(State.CLOSED)


def test_the_user_timeout_is_not_that_of_a_syn() -> None:
    s = Script(Settings(user_timeout=2 * SECOND))
    s.conn.connect(s.now)
    s.flush()
    start, times = s.now, []
    while (deadline := s.conn.deadline()) is not None and deadline < start + 100 * SECOND:
        s.wait(deadline - s.now)
        times.append((s.now - start) // SECOND)
        before = s.conn.deadline()
        s.conn.configure(Settings(user_timeout=1 * SECOND))
        assert s.conn.deadline() == before
    assert times == [1, 3, 7, 15, 31, 63]


@pytest.mark.rfc("7323", "5.5")
def test_a_timestamp_of_the_handshake_is_fresh_however_long_the_machine_runs() -> None:
    s = Script(now=100 * 24 * 3600 * SECOND)
    s.conn.listen(s.now)
    s.recv("S", 0, timestamps=(5000, 0))
    s.recv("A", 1, 1, timestamps=(4000, 0)).state(State.SYN_RECEIVED)
    assert s.conn.stats.drop_tcp_paws == 1
