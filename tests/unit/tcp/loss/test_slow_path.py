"""``slow_path_only`` follows from what loss detection and recovery are doing, whatever changes that."""

from __future__ import annotations

import pytest

from slirpy.tcp import Settings
from tests.unit.tcp.loss.segments import BOTH, COUNTING, MSS, RACK, sack_blocks, sending
from tests.unit.tcp.script import MS, Script, passive


def recovery_and_slow_path(s: Script) -> tuple[bool, bool]:
    return s.conn.in_recovery, s.conn.slow_path_only


@BOTH
def test_a_recovery_uses_the_slow_path_until_it_ends(settings: Settings) -> None:
    s = sending(settings, 10)
    assert recovery_and_slow_path(s) == (False, False)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((1, 5)))
    assert recovery_and_slow_path(s) == (True, True)
    s.recv("A", 1, 1 + 10 * MSS, wnd=60_000)
    assert recovery_and_slow_path(s) == (False, False)


def test_so_does_a_recovery_without_sack() -> None:
    s = passive(Settings(sack=False), wnd=60_000)
    s.write(bytes(10 * MSS))
    for _ in range(3):
        s.recv("A", 1, 1, wnd=60_000)
    assert recovery_and_slow_path(s) == (True, True)
    s.recv("A", 1, 1 + 10 * MSS, wnd=60_000)
    assert recovery_and_slow_path(s) == (False, False)


@pytest.mark.parametrize(
    "settings", [RACK, COUNTING, Settings(sack=False)], ids=["rack", "counting", "newreno"]
)
def test_a_time_out_ends_a_recovery(settings: Settings) -> None:
    """Without timestamps no echo is awaited either."""
    s = sending(settings, 10)
    for n in range(3):
        s.recv("A", 1, 1, wnd=60_000, **({"sack": sack_blocks((1, 3 + n))} if settings.sack else {}))
    assert recovery_and_slow_path(s) == (True, True)
    s.wait(2000 * MS)
    assert s.conn.stats.tcp_retransmits >= 1
    assert recovery_and_slow_path(s) == (False, False)


def probed() -> Script:
    """A segment is on its way, and a probe that repeats it."""
    s = sending(RACK, 1)
    s.wait(100 * MS)
    assert s.conn.stats.tcp_tail_probes == 1
    return s


def test_a_probe_uses_the_slow_path_until_it_is_answered() -> None:
    s = probed()
    assert recovery_and_slow_path(s) == (False, True)
    s.recv("A", 1, 1 + MSS, wnd=60_000)
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((0, 1)))
    s.write(b"x")
    assert recovery_and_slow_path(s) == (False, False)


def test_an_echo_is_awaited_after_a_time_out_but_not_after_a_second_one() -> None:
    s = passive(RACK, wnd=60_000, sack_permitted=True, timestamps=(1, 0))
    s.write(bytes(2 * MSS))
    for time_outs in (1, 2):
        while s.conn.retries < time_outs:
            deadline = s.conn.deadline()
            assert deadline is not None
            s.wait(deadline - s.now)
        assert s.conn.slow_path_only == (time_outs == 1)
