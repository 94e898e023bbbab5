"""Rules of RFCs that are too small for a file of their own, and that no script can show."""

from __future__ import annotations

import pytest

from slirpy import ConfigError
from slirpy.stats import Stats
from slirpy.tcp import Settings
from slirpy.tcp.loss.state import PERSIST, RackState
from tests.unit.tcp.script import MS, passive


@pytest.mark.rfc("5961", "7 count")
def test_the_limit_of_challenges_of_one_connection_is_not_that_of_another() -> None:
    """Else one could learn by the one what somebody else has sent on the other."""
    stats = Stats()
    first, second = passive(), passive()
    for s in (first, second):
        s.conn.stats = stats
    for _ in range(10):
        first.recv("R", 100)
    assert (len(first.out), stats.tcp_challenge_acks) == (1, 1)
    second.recv("R", 100)
    assert (len(second.out), stats.tcp_challenge_acks) == (1, 2)


@pytest.mark.rfc("8985", "6.2 persist")
def test_a_reordering_window_that_was_widened_does_not_stay_for_ever() -> None:
    rack = RackState()
    rack.min_rtt = 100 * MS
    rack.reo_wnd_mult = 3
    for _ in range(PERSIST - 1):
        rack.recovery_ended()
        assert rack.reordering_window(100 * MS, certain=False) == 75 * MS
    rack.recovery_ended()
    assert rack.reordering_window(100 * MS, certain=False) == 25 * MS
    assert PERSIST == 16


@pytest.mark.rfc("9293", "MUST-40")
def test_no_acknowledgement_is_delayed_for_half_a_second() -> None:
    assert Settings().delayed_ack < 500 * MS
    assert Settings(delayed_ack=0).delayed_ack == 0
    assert Settings(delayed_ack=500 * MS - 1).delayed_ack == 500 * MS - 1
    for delay in (-1, 500 * MS):
        with pytest.raises(ConfigError, match=f"delayed_ack {delay} ns is not less than 500 ms"):
            Settings(delayed_ack=delay)


@pytest.mark.parametrize(
    "name", ["mss", "max_burst", "rcv_buffer", "rcv_buffer_initial", "snd_buffer", "r1", "time_wait"]
)
def test_sizes_that_make_no_sense_are_the_callers_mistake(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} -1 is too small; choose [01] or more"):
        Settings(**{name: -1})  # type: ignore[arg-type] # any of them, by name


@pytest.mark.parametrize(
    "name",
    ["mss", "peer_mss", "max_burst", "rcv_buffer", "rcv_buffer_initial", "snd_buffer", "r1", "keepalive_count"],
)
@pytest.mark.parametrize("value", ["1460", 1460.0, None, True])
def test_a_size_is_a_whole_number(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name} {value!r} is not a whole number"):
        Settings(**{name: value})  # type: ignore[arg-type] # any of them, by name


@pytest.mark.parametrize(
    "name", ["nodelay", "timestamps", "sack", "window_scaling", "rack", "keepalive", "idle_restart"]
)
@pytest.mark.parametrize("value", ["off", 0, 1, None])
def test_a_switch_is_true_or_false(name: str, value: object) -> None:
    """Python takes "off" for true."""
    with pytest.raises(ConfigError, match=f"{name} is True or False; given was {value!r}"):
        Settings(**{name: value})  # type: ignore[arg-type] # any of them, by name


def test_a_segment_size_that_the_option_cannot_say() -> None:
    with pytest.raises(ConfigError, match="mss 65536 is too large; choose 65535 or less"):
        Settings(mss=65536)
    with pytest.raises(ConfigError, match="peer_mss 65536 is too large; choose 65535 or less"):
        Settings(peer_mss=65536)
    assert Settings(mss=65535, peer_mss=65535).mss == 65535
