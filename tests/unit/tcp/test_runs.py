"""Runs of full segments: with ``Settings.emit_runs`` a piece stands for several, and nothing else changes."""

from __future__ import annotations

from random import Random

import pytest

from slirpy.tcp import Settings
from slirpy.tcp.emit import MAX_PIECES
from tests.unit.tcp.script import MS, Script, passive
from tests.unit.tcp.states import snapshot

MSS = 1460
_Segment = tuple[int, str, int | None, bytes, int]


def segments(s: Script) -> tuple[list[_Segment], int]:
    """The segments that have been emitted, cut if necessary, and the number of pieces."""
    pieces, s.out[:] = list(s.out), []
    found: list[_Segment] = []
    for piece in pieces:
        for at in range(0, len(piece.data) or 1, s.conn.mss):
            data = piece.data[at : at + s.conn.mss]
            flags = piece.flags if at + len(data) == len(piece.data) else "A"
            found.append((piece.seq + at, flags, piece.ack, data, piece.wnd))
    return found, len(pieces)


@pytest.mark.parametrize("rack", [True, False], ids=["RACK", "counting"])
@pytest.mark.parametrize("ts", [None, (1000, 0)], ids=["", "timestamps"])
@pytest.mark.parametrize("seed", range(12))
def test_the_segments_and_the_state_are_the_same(seed: int, ts: tuple[int, int] | None, rack: bool) -> None:
    """Windows, losses that duplicate ACKs report, timeouts, and pauses after which the window starts again."""
    random = Random(seed)
    twins = [
        passive(Settings(emit_runs=runs, rack=rack), wscale=7, sack_permitted=rack, timestamps=ts)
        for runs in (True, False)
    ]
    sent, saved = 1, 0
    for number in range(60):
        data = bytes([number]) * random.choice((0, 1, 1000, 5 * MSS, 20 * twins[0].conn.mss, 40_000))
        wait = random.choice((0, 0, 1, 30, 30, 900)) * MS
        una = random.choice((twins[0].conn.snd_una - twins[0].conn.iss & 0xFFFFFFFF, sent, sent - MSS, sent))
        wnd = random.choice((65535, 65535, 100, 30, 0, 200))
        stamp = None if ts is None else (1000 + number, twins[0].conn.timestamp(twins[0].now))
        outcome = []
        for s in twins:
            s.write(data)
            s.wait(wait)
            if una > 0:
                s.recv("A", 1, una, wnd=wnd, timestamps=stamp)
            found, pieces = segments(s)
            outcome.append((found, snapshot(s.conn)))
            saved += pieces if s is twins[1] else -pieces
        assert outcome[0] == outcome[1]
        sent = max([sent, *(seq + len(data) for seq, _, _, data, _ in outcome[0][0])])
    assert saved > 10


@pytest.mark.parametrize("limit", [64_000, 3 * MSS, 3 * MSS + 7])
def test_a_link_that_cuts_gets_whole_segments(limit: int) -> None:
    s = passive(Settings(max_burst=limit), wscale=7, timestamps=(1000, 0))
    s.conn.cc.cwnd = 1 << 20
    mss = s.conn.mss
    s.write(bytes(200 * mss))
    lengths = [len(piece.data) for piece in s.out]
    assert lengths[:-1] == [limit // mss * mss] * (len(lengths) - 1)
    s.out.clear()
    s.recv("A", 1, 1 + 2 * mss, wnd=65535, timestamps=(1001, s.conn.timestamp(s.now)))
    assert not any(len(piece.data) % mss for piece in s.out)


def test_a_link_that_cuts_gets_the_rest_by_itself() -> None:
    """A piece is a multiple of the MSS, even where its limit has room for a few bytes more."""
    s = passive(Settings(max_burst=3 * MSS), wscale=7, timestamps=(1000, 0))
    mss = s.conn.mss
    s.write(bytes(3 * mss + 5))
    assert [len(piece.data) for piece in s.out] == [3 * mss, 5]


@pytest.mark.parametrize("pause", [0, 100, 2000])
def test_after_a_pause_the_window_starts_again(pause: int) -> None:
    outcome = []
    for runs in (True, False):
        s = passive(Settings(emit_runs=runs), wscale=7, sack_permitted=True, timestamps=(1000, 0))
        mss = s.conn.mss
        for number in range(4):
            s.write(bytes(40 * mss))
            while s.out:
                end = s.out[-1].seq + len(s.out[-1].data)
                s.out.clear()
                s.recv("A", 1, end, wnd=65535, timestamps=(1001 + number, s.conn.timestamp(s.now)))
        s.wait(pause * MS)
        before = s.conn.cc.cwnd
        s.write(bytes(12 * mss))
        assert (s.conn.cc.cwnd < before) == (pause > 1000)
        outcome.append((segments(s)[0], snapshot(s.conn)))
    assert outcome[0] == outcome[1]


def test_a_run_is_as_long_as_a_turn_may_be() -> None:
    s = passive(Settings(emit_runs=True), wscale=7, timestamps=(1000, 0))
    s.conn.cc.cwnd = 1 << 20
    s.write(bytes(MAX_PIECES * s.conn.mss))
    s.write(bytes(3 * MAX_PIECES * s.conn.mss + 1))
    assert [len(piece.data) for piece in s.out][:2] == [MAX_PIECES * s.conn.mss] * 2
    assert max(len(piece.data) for piece in s.out) == MAX_PIECES * s.conn.mss
    assert s.out[-1].flags == "PA"
