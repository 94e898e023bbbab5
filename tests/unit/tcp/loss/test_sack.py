"""Recovery from losses: told of by SACK (RFC 2018, 2883, 6675), or by duplicate ACKs alone (RFC 6582, 3042).

Loss detection by time (RFC 8985) is turned off here, see ``test_rack.py``.

Numbers are relative, as in ``script.py``; ``segment(n)`` is the number at which our n-th segment begins, from 0.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from slirpy.tcp import Connection, Settings
from slirpy.tcp.congestion import Reno
from slirpy.tcp.loss import sack
from slirpy.tcp.reassembly import Reassembly
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import IRS, ISS, MS, Script, passive

MSS = 1460


def segment(n: int) -> int:
    return 1 + n * MSS


def sack_blocks(*blocks: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """SACK blocks of the peer's, from segment to segment (the second is the first that it lacks)."""
    return tuple(((ISS + segment(a)) & MASK, (ISS + segment(b)) & MASK) for a, b in blocks)


def classic(settings: Settings | None = None, **opts: Any) -> Script:
    """A connection that notices losses by counting alone, and halves its window."""
    return passive(replace(settings or Settings(), rack=False, congestion=Reno), **opts)


def sending(segments: int, **opts: Any) -> Script:
    """A connection with so many segments on their way, and a congestion window that is full."""
    s = classic(wnd=65535, sack_permitted=True, **opts)
    s.conn.cc.cwnd = segments * MSS
    s.write(bytes(segments * MSS))
    assert [sent.seq for sent in s.out] == [segment(n) for n in range(segments)]
    s.out.clear()
    return s


def acknowledge(s: Script, ack: int, *blocks: tuple[int, int], **more: Any) -> list[int]:
    """Acknowledge up to a segment and SACK blocks; returns the segments that are sent in response."""
    s.recv("A", 1, segment(ack), sack=sack_blocks(*blocks), **more)
    numbers = [(sent.seq - 1) // MSS for sent in s.out]
    s.out.clear()
    return numbers


def got(s: Script) -> list[tuple[int, int]]:
    """SACK blocks that we have sent, relative to the peer's numbers."""
    blocks = s.out.pop().options.sack
    s.silence()
    return [((a - s.irs) & MASK, (b - s.irs) & MASK) for a, b in blocks]


# ------------------------------------------------------------------------------------ the scoreboard


def board(segments: int) -> Connection:
    conn = Connection(Settings(), 0xFFFFFF00)
    conn.mss = 1000
    conn.snd_una = 0xFFFFFF00
    conn.snd_max = conn.snd_nxt = (conn.snd_una + segments * 1000) & MASK
    return conn


def at(conn: Connection, *blocks: tuple[int, int]) -> list[tuple[int, int]]:
    return [((conn.snd_una + a) & MASK, (conn.snd_una + b) & MASK) for a, b in blocks]


@pytest.mark.rfc("6675", "4 update")
def test_the_scoreboard_is_a_set_of_bytes() -> None:
    rng = Random(1)
    for _ in range(200):
        conn = board(4)
        model: set[int] = set()
        for _ in range(rng.randrange(1, 12)):
            a = rng.randrange(-50, 4050)
            b = a + rng.randrange(-10, 400)
            valid = 0 < a < b <= 4000
            fresh = valid and not set(range(a, b)) <= model
            assert sack.learn(conn, at(conn, (a, b))) is fresh
            if valid:
                model |= set(range(a, b))
            held = [((x - conn.snd_una) & MASK, (y - conn.snd_una) & MASK) for x, y in conn.sacked]
            assert all(y < x2 for (_, y), (x2, _) in itertools.pairwise(held)), "disjoint, sorted, with holes"
            assert {n for x, y in held for n in range(x, y)} == model
            low, high = sorted((rng.randrange(4001), rng.randrange(4001)))
            missing = sack.gaps(conn, (conn.snd_una + low) & MASK, (conn.snd_una + high) & MASK)
            inside = {
                n for x, y in missing for n in range((x - conn.snd_una) & MASK, ((x - conn.snd_una) & MASK) + y)
            }
            assert inside == set(range(low, high)) - model
            assert sack.sacked_below(conn, (conn.snd_una + high) & MASK) == len(model & set(range(high)))


@pytest.mark.rfc("6675", "4 is-lost")
def test_loss_needs_three_ranges_or_more_than_two_segments() -> None:
    conn = board(20)
    sack.learn(conn, at(conn, (1000, 1001), (3000, 3001)))
    assert sack.lost_edge(conn) == conn.snd_una
    sack.learn(conn, at(conn, (5000, 5001)))
    assert sack.lost_edge(conn) == (conn.snd_una + 1000) & MASK
    conn = board(20)
    sack.learn(conn, at(conn, (1000, 3000)))
    assert sack.lost_edge(conn) == conn.snd_una
    sack.learn(conn, at(conn, (3000, 3001)))
    assert sack.lost_edge(conn) == (conn.snd_una + 1000) & MASK


@pytest.mark.rfc("6675", "4 pipe")
def test_the_pipe_counts_data_not_lost_and_retransmissions() -> None:
    conn = board(10)
    conn.high_rxt = conn.snd_una
    sack.learn(conn, at(conn, (1000, 2000), (3000, 6000)))
    edge = sack.lost_edge(conn)
    assert edge == (conn.snd_una + 3000) & MASK
    assert sack.pipe(conn, edge) == 4000
    conn.high_rxt = (conn.snd_una + 2500) & MASK
    assert sack.pipe(conn, edge) == 4000 + 1000 + 500
    conn.sacked = []
    assert sack.pipe(conn, sack.lost_edge(conn)) == 10_000 + 2500  # not lost, and sent again: twice on its way


def test_the_scoreboard_has_a_bound() -> None:
    conn = board(20)
    for n in range(sack.MAX_RANGES + 100):
        sack.learn(conn, at(conn, (10 + 4 * n, 12 + 4 * n)))
    assert len(conn.sacked) == sack.MAX_RANGES
    assert sack.learn(conn, at(conn, (10, 15)))  # joining two of them is news all the same


# --------------------------------------------------------------------------------- recovery with SACK


@pytest.mark.rfc("6675", "5 half")
@pytest.mark.rfc("6675", "5 end")
def test_one_loss_is_made_good_without_a_timeout() -> None:
    s = sending(10)
    s.write(bytes(20 * MSS)).silence()
    assert acknowledge(s, 0, (1, 2)) == [10]  # limited transmit
    assert acknowledge(s, 0, (1, 3)) == [11]
    assert acknowledge(s, 0, (1, 4)) == [0]
    assert (s.conn.cc.cwnd, s.conn.recover) == (5 * MSS, (ISS + segment(12)) & MASK)  # half of 10, not of 12
    # 12 on their way, 3 received, the first lost and sent again: 9 in the pipe. At 5 each arrival lets one go.
    assert [acknowledge(s, 0, (1, n)) for n in (5, 6, 7, 8, 9, 10)] == [[], [], [], [], [12], [13]]
    assert acknowledge(s, 12) == [14, 15, 16]
    assert not s.conn.in_recovery
    assert s.conn.cc.cwnd == 5 * MSS
    assert s.conn.stats.tcp_fast_retransmits == s.conn.stats.tcp_recovery_retransmits == 1
    assert s.conn.stats.tcp_retransmits == 0


def test_many_losses_in_one_round_trip() -> None:
    s = sending(20)
    assert acknowledge(s, 0, (1, 2)) == []
    assert acknowledge(s, 0, (3, 4), (1, 2)) == []
    assert acknowledge(s, 0, (5, 6), (3, 4), (1, 2)) == [0]
    # Of 20 three were received and one is lost and was sent again: 17 in the pipe, and 10 fit. Each arrival is one
    # less, and each second one shows that another is lost.
    assert [acknowledge(s, 0, (n, n + 1), (n - 2, n - 1), (n - 4, n - 3)) for n in range(7, 20, 2)] == [
        [], [], [], [2], [4, 6], [8, 10], [12, 14]
    ]  # fmt: skip
    # The last two have too little behind them to be lost, but nothing new is there to be sent.
    assert [acknowledge(s, 2 * n) for n in range(1, 11)] == [[16], [18], *[[]] * 8]
    assert not s.conn.in_recovery
    assert s.conn.flight == 0
    assert s.conn.stats.tcp_retransmits == 0


def test_one_ack_can_tell_enough() -> None:
    """Of a peer or a path that joins segments there may be no third duplicate."""
    s = sending(10)
    assert acknowledge(s, 0, (1, 10)) == [0]
    assert s.conn.in_recovery


@pytest.mark.rfc("6675", "2")
@pytest.mark.rfc("3042", "2 sack")
def test_an_ack_without_new_sack_information_is_no_duplicate() -> None:
    s = sending(10)
    for _ in range(5):
        assert acknowledge(s, 0, (1, 2)) == []
    for _ in range(5):
        assert acknowledge(s, 0) == []
    assert s.conn.dupacks == 1
    assert not s.conn.in_recovery


@pytest.mark.rfc("6675", "4 next 2")
def test_new_segments_go_before_doubtful_ones() -> None:
    s = sending(10)
    acknowledge(s, 0, (1, 4))
    s.conn.cc.cwnd = 20 * MSS
    assert acknowledge(s, 0, (5, 6), (1, 4)) == [4]  # nothing new is there: NextSeg, rule (3)
    s = sending(10)
    acknowledge(s, 0, (1, 4))
    s.write(bytes(2 * MSS))
    s.out.clear()
    s.conn.cc.cwnd = 20 * MSS
    assert acknowledge(s, 0, (5, 6), (1, 4)) == [10, 11, 4]  # rule (2) first, then rule (3)
    assert acknowledge(s, 0, (7, 8), (5, 6), (1, 4)) == [6]


@pytest.mark.rfc("6675", "4 next 3")
def test_doubtful_ones_are_sent_when_the_window_takes_no_new_ones() -> None:
    s = sending(10)
    s.write(bytes(2 * MSS)).silence()
    acknowledge(s, 0, (1, 4), wnd=10 * MSS)
    s.conn.cc.cwnd = 20 * MSS
    assert acknowledge(s, 0, (5, 6), (1, 4), wnd=10 * MSS) == [4]


@pytest.mark.rfc("6675", "6")
def test_recovery_starts_the_timer_anew_and_times_nothing() -> None:
    s = sending(10)
    assert s.conn.deadline() == s.now + 200 * MS
    before = s.conn.rtt.srtt
    s.wait(150 * MS)
    assert acknowledge(s, 0, (1, 4)) == [0]
    assert s.conn.deadline() == s.now + 200 * MS  # RFC 6675, section 6
    s.wait(20 * MS)
    acknowledge(s, 10)
    assert s.conn.rtt.srtt == before  # Karn: without timestamps nobody knows which of the two was answered


@pytest.mark.rfc("6675", "4 next 4")
def test_the_last_segment_is_rescued() -> None:
    s = sending(6)
    assert acknowledge(s, 0, (1, 5)) == [0]  # 0 and 5 are lost
    assert s.conn.cc.cwnd == 3 * MSS
    assert acknowledge(s, 5) == [5]  # nothing was received behind it: NextSeg, rule (4)
    s.recv("A", 1, segment(5)).silence()  # once
    assert acknowledge(s, 6) == []
    assert (s.conn.stats.tcp_retransmits, s.conn.stats.tcp_recovery_retransmits) == (0, 2)


def test_a_lost_fin_is_rescued() -> None:
    s = classic(sack_permitted=True)
    s.write(bytes(5 * MSS))
    s.shutdown()
    s.out.clear()
    assert acknowledge(s, 0, (1, 4)) == [0]
    s.conn.cc.cwnd = 10 * MSS
    s.recv("A", 1, segment(4))
    s.send("FA", segment(4), 1, bytes(MSS))
    s.silence()


def test_the_window_bounds_new_data_in_recovery_too() -> None:
    s = sending(10)
    s.write(bytes(20 * MSS)).silence()
    s.recv("A", 1, 1, wnd=10 * MSS).silence()
    assert acknowledge(s, 0, (1, 9), wnd=10 * MSS) == [0]
    s.conn.cc.cwnd = 20 * MSS
    assert acknowledge(s, 0, (1, 10), wnd=10 * MSS) == []


def test_bursts_fill_holes_where_the_link_cuts() -> None:
    s = classic(Settings(max_burst=8 * MSS), wnd=65535, sack_permitted=True)
    s.conn.cc.cwnd = 40 * MSS
    s.write(bytes(40 * MSS))
    s.out.clear()
    s.recv("A", 1, 1, sack=sack_blocks((12, 40)))
    assert [((sent.seq - 1) // MSS, len(sent.data) // MSS) for sent in s.out] == [(0, 1), (1, 8), (9, 3)]


def test_holes_are_filled_with_the_right_bytes() -> None:
    data = Random(2).randbytes(30 * MSS)
    s = classic(wnd=65535, sack_permitted=True)
    s.conn.cc.cwnd = 30 * MSS
    for n in range(0, len(data), 5000):
        s.write(data[n : n + 5000])
    s.out.clear()
    s.recv("A", 1, 1, sack=sack_blocks((3, 4), (5, 9), (11, 30)))
    for sent in s.out:
        assert sent.data == data[sent.seq - 1 : sent.seq - 1 + len(sent.data)]
    assert [(sent.seq - 1) // MSS for sent in s.out] == [0, 1, 2, 4, 9, 10]


@pytest.mark.rfc("2018", "8 keep")
def test_a_peer_that_reneges_gets_everything_again() -> None:
    """RFC 2018, section 8: reneging. What it does not acknowledge is sent again, whatever it has said."""
    s = sending(8)
    assert acknowledge(s, 0, (1, 8)) == [0]
    assert acknowledge(s, 1) == [1]
    assert s.conn.stats.tcp_sack_reneging == 1
    s.wait(200 * MS)
    assert s.send("A", segment(1))
    s.silence()
    for n in range(2, 9):
        acknowledge(s, n)
    assert s.conn.flight == 0


@pytest.mark.rfc("2018", "5 timeout")
@pytest.mark.rfc("2018", "5 first")
@pytest.mark.rfc("6675", "5.1")
def test_a_timeout_clears_the_scoreboard_and_learns_again() -> None:
    s = sending(10)
    acknowledge(s, 0, (1, 2), (3, 4))
    s.wait(200 * MS)
    assert s.conn.sacked == []
    assert s.send("A", segment(0))
    s.silence()
    assert s.conn.cc.cwnd == MSS
    assert acknowledge(s, 1, (3, 4), (5, 9)) == [1, 2]  # slow start, around what is there
    assert not s.conn.in_recovery  # no new recovery before SND.UNA has passed what was sent by then
    assert acknowledge(s, 2, (3, 4), (5, 9)) == [4, 9]
    assert acknowledge(s, 10) == []
    assert s.conn.flight == 0
    s.write(b"more")
    s.send("PA", segment(10), data=b"more")


def test_going_back_around_blocks_reaches_the_fin() -> None:
    s = classic(sack_permitted=True)
    s.write(bytes(4 * MSS))
    s.shutdown()
    s.out.clear()
    s.wait(200 * MS)
    s.send("A", 1)
    s.recv("A", 1, segment(1), sack=sack_blocks((2, 3)))
    s.send("A", segment(1))
    s.send("A", segment(3), 1, bytes(MSS))
    s.silence()
    s.recv("A", 1, segment(3))
    s.send("FA", segment(4), 1, b"")
    s.recv("A", 1, segment(4) + 1).silence()
    assert s.conn.flight == 0


@pytest.mark.parametrize("block", [(-5, 3), (0, 3), (5, 5), (6, 5), (5, 11), (1 << 19, 1 << 20), (11, 12)])
def test_blocks_that_cannot_be(block: tuple[int, int]) -> None:
    s = sending(10)
    assert acknowledge(s, 0, block) == []
    assert s.conn.sacked == []


def test_blocks_without_permission_say_nothing() -> None:
    s = classic()
    s.write(bytes(5 * MSS))
    s.out.clear()
    assert acknowledge(s, 0, (1, 4)) == []
    assert s.conn.sacked == []


# ------------------------------------------------------------------------------------- without SACK


@pytest.mark.rfc("6675", "5 limited")
@pytest.mark.rfc("3042", "2")
def test_limited_transmit() -> None:
    """RFC 3042: a segment each for the first two duplicates, beyond the congestion window but not the peer's."""
    s = classic(wnd=65535)
    s.write(bytes(20 * MSS))
    assert len(s.out) == 10
    s.out.clear()
    for n in (10, 11):
        s.recv("A", 1, 1)
        s.send("A", segment(n))
        s.silence()
    s.recv("A", 1, 1)
    s.send("A", segment(0))
    s.silence()
    assert s.conn.cc.cwnd == 5 * MSS  # half of what was on its way before
    s = classic(wnd=10 * MSS)
    s.write(bytes(20 * MSS))
    s.out.clear()
    s.recv("A", 1, 1, wnd=10 * MSS).silence()


@pytest.mark.rfc("3042", "2 window")
def test_limited_transmit_is_for_new_data_and_for_two_duplicates() -> None:
    s = classic(wnd=65535)
    s.write(bytes(30 * MSS))
    s.out.clear()
    s.wait(200 * MS)
    s.send("A", segment(0))
    for _ in range(3):
        s.recv("A", 1, 1).silence()  # what is old is left to slow start
    s.recv("A", 1, segment(9))
    s.conn.cc.cwnd = s.conn.flight
    before = s.conn.snd_max
    for _ in range(5):
        s.recv("A", 1, segment(9))  # no new recovery: SND.UNA is not where we were at the timeout
    assert not s.conn.in_recovery
    assert (s.conn.snd_max - before) & MASK == 2 * MSS


def test_after_a_timeout_a_closed_window_is_probed_also_with_blocks() -> None:
    s = sending(10)
    s.wait(200 * MS)
    s.send("A", segment(0))
    s.recv("A", 1, segment(1), wnd=0, sack=sack_blocks((3, 4))).silence()
    s.wait(400 * MS)
    s.send("A", segment(1), 1, bytes(1))
    s.silence()
    assert s.conn.stats.tcp_zero_window_probes == 1


def test_newreno_inflates_and_deflates() -> None:
    s = classic(wnd=65535)
    s.write(bytes(20 * MSS))
    s.out.clear()
    for _ in range(3):
        s.recv("A", 1, 1)
    s.out.clear()
    assert s.conn.cc.cwnd + s.conn.inflation == 8 * MSS
    for _ in range(4):
        s.recv("A", 1, 1).silence()  # 12 on their way
    s.recv("A", 1, 1)
    s.send("A", segment(12))
    s.recv("A", 1, segment(4))  # partial: the next hole, and as much new as has gone
    s.send("A", segment(4))
    s.send("A", segment(13))
    s.silence()
    s.recv("A", 1, segment(12))
    assert not s.conn.in_recovery
    assert s.conn.cc.cwnd == 3 * MSS  # two on their way and one more: no burst
    assert s.conn.inflation == 0


# ------------------------------------------------------------------------------------ what we tell


def test_the_newest_blocks_come_first_and_are_repeated() -> None:
    s = classic(sack_permitted=True)
    for seq in (11, 31, 51, 71, 91):
        s.recv("A", seq, 1, data=b"x" * 10)
        s.out, told_now = s.out[-1:], s.out[-1].options.sack
        assert (told_now[0][0] - s.irs) & MASK == seq
    assert got(s) == [(91, 101), (71, 81), (51, 61), (31, 41)]  # RFC 2018, section 4; the oldest has no room
    s.recv("A", 21, 1, data=b"x" * 10)
    assert got(s) == [(11, 41), (91, 101), (71, 81), (51, 61)]


@pytest.mark.rfc("2018", "3 room")
def test_beside_timestamps_there_is_room_for_three() -> None:
    s = classic(sack_permitted=True, timestamps=(5, 0))
    for seq in (11, 31, 51, 71):
        s.out.clear()
        s.recv("A", seq, 1, data=b"x" * 10, timestamps=(5, 0))
    assert got(s) == [(71, 81), (51, 61), (31, 41)]


@pytest.mark.parametrize(
    ("first", "seq", "length", "blocks"),
    [
        ([(1, 100)], 1, 100, [(1, 101)]),  # all of it is old
        ([(1, 100)], 51, 30, [(51, 81)]),
        ([(1, 100)], 51, 100, [(51, 101)]),  # the old part of it
        ([(1, 100), (151, 10)], 51, 150, [(51, 101)]),  # and of two parts the first
        ([(201, 100)], 201, 100, [(201, 301), (201, 301)]),  # early, and came before
        ([(201, 100)], 211, 10, [(211, 221), (201, 301)]),
        ([(201, 100)], 251, 100, [(251, 301), (201, 351)]),
        ([(201, 100), (401, 100)], 201, 300, [(201, 301), (201, 501)]),  # the first of several
        ([(11, 10)], 1, 30, [(11, 21)]),  # early once, in its turn now
        ([(11, 10)], 1, 10, []),  # nothing twice
        ([(201, 100)], 301, 100, [(201, 401)]),
    ],
)
def test_duplicate_data_is_reported_by_dsack(
    first: list[tuple[int, int]], seq: int, length: int, blocks: list[tuple[int, int]]
) -> None:
    """RFC 2883, section 4."""
    s = classic(sack_permitted=True)
    for start, size in first:
        s.recv("A", start, 1, data=bytes(size))
    s.wait(20 * MS)
    s.out.clear()
    s.recv("A", seq, 1, data=bytes(length))
    assert got(s) == blocks if blocks or s.out else not s.conn.dsack
    assert s.conn.stats.tcp_dsacks_out == (len(blocks) > 0 and blocks != [(201, 401)])
    # Told once.
    s.recv("A", 901, 1, data=b"x")
    assert got(s)[0] == (901, 902)


def test_no_blocks_are_sent_without_sack_permitted() -> None:
    s = classic()
    s.recv("A", 1, 1, data=bytes(100))
    s.recv("A", 1, 1, data=bytes(100))
    assert got(s) == []
    s.recv("A", 51, 1, data=bytes(100)).silence()
    s.recv("A", 201, 1, data=bytes(10))
    assert got(s) == []


@pytest.mark.rfc("2018", "4 every")
def test_data_segments_carry_sack_blocks() -> None:
    """The blocks ride on it; a segment by itself would tell nothing more."""
    s = classic(sack_permitted=True)
    s.conn.write(b"answer")
    s.recv("A", 11, 1, data=b"early")
    sent = s.send("PA", 1, 1, b"answer")
    assert [((left - IRS) & MASK, (right - IRS) & MASK) for left, right in sent.options.sack] == [(11, 16)]
    s.silence()


def test_without_sack_a_duplicate_ack_goes_beside_data() -> None:
    """With data an ACK is no duplicate: both go."""
    s = classic()
    s.conn.write(b"answer")
    s.recv("A", 11, 1, data=b"early")
    s.send("PA", 1, 1, b"answer")
    s.send("A", 7, 1, b"")
    s.silence()


@pytest.mark.rfc("9293", "MUST-16")
@pytest.mark.parametrize("timestamps", [None, (7, 0)])
def test_blocks_take_their_room_from_the_segment(timestamps: tuple[int, int] | None) -> None:
    """Header, options and data together stay within the MSS that the peer has told; also where a link would cut."""
    s = classic(Settings(max_burst=65000), mss=1000, sack_permitted=True, timestamps=timestamps)
    s.conn.write(bytes(5000))
    for number in range(1, 6):
        s.recv("A", 20 * number, 1, data=b"early", flush=False, timestamps=timestamps)
    s.flush()
    blocks = 4 if timestamps is None else 3
    size = 1000 - 4 - 8 * blocks - (0 if timestamps is None else 12)
    assert [len(sent.data) for sent in s.out if sent.data] == [size] * 5 + [5000 - 5 * size]
    assert all(len(sent.options.sack) == blocks for sent in s.out if sent.data)


def test_tiny_segments_have_no_room_for_blocks() -> None:
    """Data must get on, and the blocks go by themselves."""
    s = classic(mss=64, sack_permitted=True)
    s.conn.write(bytes(64))
    s.recv("A", 11, 1, data=b"early")
    assert s.send("PA", 1, 1, bytes(64)).options.sack == ()
    assert got(s) == [(11, 16)]


@pytest.mark.rfc("2883", "4 once")
def test_a_data_segment_carries_a_dsack_once() -> None:
    s = classic(sack_permitted=True)
    s.recv("A", 1, 1, data=b"twice")
    s.read()
    s.out.clear()
    s.conn.write(b"answer" * 400)
    s.recv("A", 1, 1, data=b"twice")
    assert [len(sent.options.sack) for sent in s.out] == [1, 0]


@pytest.mark.rfc("2883", "5")
def test_received_dsacks_are_not_sack_information() -> None:
    """Such blocks are neither SACK information nor a duplicate ACK."""
    s = sending(10)
    for _ in range(3):
        assert acknowledge(s, 2, (0, 1)) == []
    assert acknowledge(s, 2, (4, 5), (3, 5)) == []
    assert s.conn.stats.tcp_dsacks_in == 4
    assert s.conn.sacked == [((ISS + segment(3)) & MASK, (ISS + segment(5)) & MASK)]
    assert not s.conn.in_recovery


def test_overlap_and_order_of_the_queue() -> None:
    queue = Reassembly()
    for start in (20, 40, 60):
        queue.insert(10, start, b"x" * 10)
    assert queue.overlap(10, 10, 10) is None
    assert queue.overlap(10, 15, 100) == (20, 30)
    assert queue.overlap(10, 45, 1) == (45, 46)
    assert queue.overlap(10, 70, 5) is None
    assert queue.ranges() == [(20, 30), (40, 50), (60, 70)]
    assert queue.ranges([45, 41, 100]) == [(40, 50), (20, 30), (60, 70)]


@pytest.mark.parametrize("rack", [False, True])
@pytest.mark.parametrize("more", [0, 20])
def test_a_loss_in_the_same_batch_as_an_advance_reduces_the_window_once(rack: bool, more: int) -> None:
    """Without more to send, what was on its way counts; with it, what would have been sent in between too."""
    s = passive(Settings(rack=rack, congestion=Reno), wnd=65535, sack_permitted=True)
    s.conn.cc.cwnd = 10 * MSS
    s.conn.cc.ssthresh = 2 * MSS
    s.write(bytes((10 + more) * MSS))
    assert len(s.out) == 10
    s.recv("A", 1, segment(5), flush=False)
    for n in range(7, 11):
        s.recv("A", 1, segment(5), sack=sack_blocks((6, n)), flush=False)
    s.flush()
    assert s.conn.in_recovery
    assert s.conn.cc.cwnd // MSS == (5 if more else 2)
