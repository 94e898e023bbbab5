"""SYNs for a connection in TIME-WAIT: every case of RFC 6191, section 2."""

from __future__ import annotations

from typing import Any

import pytest

from slirpy.tcp import Segment, TcpOptions, next_iss, reopens
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import State
from tests.unit.tcp.script import ISS, Script, flag_bits, passive

LAST = 5000
"""The peer's last timestamp."""


def in_time_wait(timestamps: bool) -> Script:
    ts: dict[str, Any] = {"timestamps": (LAST, 0)} if timestamps else {}
    s = passive(**ts)
    s.shutdown()
    s.recv("FA", 1, 2, **ts)
    s.out.clear()
    return s.state(State.TIME_WAIT)


def syn(s: Script, seq: int, tsval: int | None, flags: str = "S") -> Segment:
    timestamps = None if tsval is None else (tsval & MASK, 0)
    return Segment((s.conn.rcv_nxt + seq) & MASK, 0, flag_bits(flags), 65535, TcpOptions(timestamps=timestamps))


@pytest.mark.rfc("9293", "MAY-2")
@pytest.mark.rfc("9293", "SHLD-4")
@pytest.mark.rfc("6191", "2 newer")
@pytest.mark.rfc("6191", "2 number")
@pytest.mark.rfc("6191", "2 otherwise")
@pytest.mark.parametrize(
    ("before", "tsval", "seq", "wanted"),
    [
        # The connection before used timestamps, and the new one would.
        (True, LAST + 1, 10, True),
        (True, LAST + 1, -10, True),
        (True, LAST + (1 << 31) - 1, -10, True),
        (True, LAST, 0, True),
        (True, LAST, 10, True),
        (True, LAST, -1, False),
        (True, LAST - 1, 10, False),
        (True, LAST - 1, -10, False),
        # It used them, the new one would not.
        (True, None, 0, True),
        (True, None, 10, True),
        (True, None, -1, False),
        # It did not, the new one would.
        (False, 1, 10, True),
        (False, 1, -10, True),
        # Neither.
        (False, None, 0, True),
        (False, None, (1 << 31) - 1, True),
        (False, None, -1, False),
        (False, None, 1 << 31, False),
    ],
)
def test_a_newer_syn_reopens_a_connection(before: bool, tsval: int | None, seq: int, wanted: bool) -> None:
    s = in_time_wait(before)
    assert reopens(s.conn, syn(s, seq, tsval)) is wanted


@pytest.mark.parametrize("flags", ["SA", "SR", "SRA", "SF", "A", "", "F", "FA", "R"])
def test_nothing_but_a_syn_reopens(flags: str) -> None:
    s = in_time_wait(True)
    assert not reopens(s.conn, syn(s, 10, LAST + 1, flags))


def test_no_other_state_reopens() -> None:
    s = passive()
    assert not reopens(s.conn, syn(s, 10, LAST + 1))
    s.shutdown().recv("A", 1, 2)
    assert not reopens(s.state(State.FIN_WAIT_2).conn, syn(s, 10, LAST + 1))


@pytest.mark.rfc("9293", "MAY-2")
@pytest.mark.rfc("6191", "2 ours")
@pytest.mark.parametrize("ahead", [1, 1000, (1 << 31) - 1])
def test_numbers_of_our_own_only_grow(ahead: int) -> None:
    conn = in_time_wait(False).conn
    assert conn.snd_max == (ISS + 2) & MASK
    assert next_iss(conn, (conn.snd_max + ahead) & MASK) == (conn.snd_max + ahead) & MASK
    for behind in (0, 1, 70_000, (1 << 31) - 1):
        chosen = next_iss(conn, (conn.snd_max - behind) & MASK)
        assert 65_535 < (chosen - conn.snd_max) & MASK < 1 << 31
