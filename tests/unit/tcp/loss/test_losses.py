"""Losses made good, in corners that the files about the two ways to notice them do not reach.

Segments are named by their number, from 0; ``RACK`` detects by time (RFC 8985), ``COUNTING`` by counting (RFC 6675).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slirpy.tcp import Settings, output
from slirpy.tcp.emit import MAX_PIECES
from slirpy.tcp.loss import rack, undo
from slirpy.tcp.loss.spans import AGAIN, LOST
from slirpy.tcp.loss.state import RackState
from slirpy.tcp.seq import MASK
from tests.unit.tcp.loss.segments import BOTH, COUNTING, MSS, RACK, number, sack_blocks, sending, sent
from tests.unit.tcp.script import MS, Script, passive


def rounds(s: Script) -> list[list[int]]:
    """Numbers of the segments that are sent now, each time that it is asked to."""
    found = []
    more = True
    while more:
        more = output(s.conn, s.now, s._emit)
        found.append(sent(s))
    return found


@BOTH
def test_a_recovery_retransmits_in_rounds(settings: Settings) -> None:
    """Much that is lost goes out in several rounds, so that other connections have their turn."""
    s = sending(settings, 40)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((20, 40)), flush=False)
    found = rounds(s)
    assert len(found[0]) == MAX_PIECES + (settings is COUNTING)  # its fast retransmission is one more
    numbers = [n for one in found for n in one]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > MAX_PIECES
    assert len(found) == 2


@BOTH
def test_going_back_retransmits_in_rounds_and_reaches_new_data(settings: Settings) -> None:
    """After a timeout, retransmit around the SACKed data in rounds, then continue with new data."""
    s = sending(settings, 40)
    s.write(bytes(10 * MSS)).silence()
    s.wait(1000 * MS)
    assert s.conn.stats.tcp_retransmits >= 1
    s.out.clear()
    s.conn.cc.cwnd = 60 * MSS
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((20, 30), (35, 40)), flush=False)
    found = rounds(s)
    assert [len(one) for one in found] == [MAX_PIECES, 8 + 10]
    assert [n for one in found for n in one] == [*range(1, 20), *range(30, 35), *range(40, 50)]
    s.recv("A", 1, 1 + 50 * MSS, wnd=60_000).silence()
    assert s.conn.flight == 0


@BOTH
@pytest.mark.rfc("6675", "5.1")
def test_going_back_stops_where_the_congestion_window_ends(settings: Settings) -> None:
    s = sending(settings, 20)
    s.wait(1000 * MS)
    s.out.clear()
    s.conn.cc.cwnd = 2 * MSS
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((2, 5)))  # two more segments by slow start
    assert sent(s) == [1, 5, 6, 7][: s.conn.cc.cwnd // MSS]
    assert s.conn.cc.cwnd == 3 * MSS
    s.recv("A", 1, 1 + 5 * MSS, wnd=60_000)
    assert s.conn.cc.cwnd == 7 * MSS
    assert sent(s)[-1] == 11


@pytest.mark.rfc("6675", "5.1")
def test_sack_during_a_timeout_starts_a_recovery_after_it() -> None:
    """A recovery without a duplicate: the ACK that ends the repair after a timeout has no new SACK information."""
    s = sending(COUNTING, 4)
    s.wait(300 * MS)
    s.out.clear()
    s.recv("A", 1, 1 + MSS, wnd=60_000)
    assert sent(s) == [1, 2]
    s.conn.cc.cwnd = 40 * MSS
    s.write(bytes(10 * MSS))
    assert sent(s) == [*range(3, 14)]
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((6, 14))).silence()
    assert s.conn.stats.tcp_fast_retransmits == 0
    flight = 10 * MSS
    s.recv("A", 1, 1 + 4 * MSS, wnd=60_000, sack=sack_blocks((6, 14)))
    assert s.conn.stats.tcp_fast_retransmits == 1
    assert sent(s) == [4, 5]
    assert s.conn.cc.cwnd == flight // 2


@BOTH
def test_where_the_link_cuts_whole_segments_are_sent_again(settings: Settings) -> None:
    """In pieces as large as the link takes, but for what the congestion window holds back, and for the end."""
    s = sending(settings, 40)
    s.wait(1000 * MS)
    s.out.clear()
    s.conn.settings = replace(settings, max_burst=8 * MSS)
    s.conn.cc.cwnd = 17 * MSS + 700
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((10, 12), (38, 40)))
    assert [(one.seq - 1) / MSS for one in s.out] == [1, 9, 12, 20]
    assert [len(one.data) / MSS for one in s.out] == [8, 1, 8, 1]
    assert s.conn.cc.cwnd == 18 * MSS + 700


def test_a_recovery_by_time_sends_whole_segments_where_the_link_cuts() -> None:
    s = sending(RACK, 40)
    s.conn.settings = replace(RACK, max_burst=8 * MSS)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((20, 40)))
    assert [len(one.data) / MSS for one in s.out] == [8, 8, 4]
    assert s.conn.stats.tcp_recovery_retransmits == 3


def test_a_recovery_by_counting_sends_whole_segments_where_the_link_cuts() -> None:
    s = sending(COUNTING, 41)
    s.conn.settings = replace(COUNTING, max_burst=8 * MSS)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((25, 41)))
    assert s.conn.cc.cwnd == 41 * MSS // 2
    assert [len(one.data) / MSS for one in s.out] == [1, 8, 8, 3]
    assert s.conn.stats.tcp_recovery_retransmits == 4


def test_a_block_that_makes_no_sense_does_not_hide_the_next() -> None:
    s = sending(RACK, 10)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((30, 31), (4, 6), (0, 1), (8, 9)))
    assert s.conn.sacked == list(sack_blocks((4, 6), (8, 9)))


def test_reneging_in_the_middle_of_a_recovery() -> None:
    """The peer has thrown away the first of two ranges; what was sent again behind it stays sent."""
    s = sending(COUNTING, 14)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((2, 5), (6, 14)))
    assert sent(s) == [0, 1, 5]
    s.recv("A", 1, 1 + 2 * MSS, wnd=60_000)
    assert s.conn.stats.tcp_sack_reneging == 1
    assert sent(s)[0] == 2
    assert s.conn.high_rxt == number(6)


# ------------------------------------------------------------------------------------------- by time


def marks(
    items: list[tuple[int, int, int]],
    *,
    blocks: tuple[tuple[int, int], ...] = (),
    latest: tuple[int, int],
    rtt: int = 100 * MS,
    now: int,
    reorders: bool = True,
    total: int = 10,
    dupacks: int = 0,
    recovering: bool = False,
) -> tuple[list[tuple[int, int, int]], int, int, list[tuple[int, int]]]:
    """Run :func:`rack.detect` on spans: all numbers are of segments, times milliseconds.

    Answers the spans, how long to wait, and what :func:`rack.survey` makes of it: the pipe, and what is lost.
    """
    conn = passive(RACK, wnd=60_000, sack_permitted=True).conn
    state = conn.rack
    assert state is not None
    conn.snd_max = conn.snd_nxt = number(total)
    conn.sacked = list(sack_blocks(*blocks))
    state.spans.items = [(number(n), at * MS, bits) for n, at, bits in items]
    state.xmit_at, state.end_seq = latest[0] * MS, number(latest[1])
    state.rtt = state.min_rtt = rtt
    state.reordering_seen = reorders
    conn.rtt.srtt = rtt
    conn.dupacks, conn.in_recovery = dupacks, recovering
    wait = rack.detect(conn, state, now * MS)
    pipe, lost = rack.survey(conn, state)
    assert state.has_lost == any(bits & LOST for _, _, bits in state.spans.items) or not lost

    def plain(seq: int) -> int:
        return ((seq - number(0)) & MASK) // MSS

    spans = [(plain(seq), at // MS, bits) for seq, at, bits in state.spans.items]
    return spans, wait, pipe // MSS, [(plain(seq), length // MSS) for seq, length in lost]


@pytest.mark.rfc("8985", "6.2 timer")
@pytest.mark.rfc("8985", "6.2 lost")
@pytest.mark.parametrize(
    ("case", "spans", "wait", "pipe", "lost"),
    [
        # Sent at 0, and 100 ms + a quarter have passed: lost, but for what has arrived.
        (
            {"items": [(0, 0, 0), (4, 10, 0)], "blocks": ((4, 6),), "latest": (10, 6), "now": 125},
            [(0, 0, LOST), (4, 10, 0)], 0, 4, [(0, 4)],
        ),
        # Not yet.
        (
            {"items": [(0, 0, 0), (4, 10, 0)], "blocks": ((4, 6),), "latest": (10, 6), "now": 124},
            [(0, 0, 0), (4, 10, 0)], 1 * MS, 8, [],
        ),
        # On a path that does not reorder there is no wait once three segments have been SACKed.
        (
            {"items": [(0, 9, 0), (4, 10, 0)], "blocks": ((4, 7),), "latest": (10, 7), "now": 110, "reorders": False},
            [(0, 0, LOST), (4, 10, 0)], 0, 3, [(0, 4)],
        ),
        # Nor after three duplicates, nor in a recovery; after two it does.
        (
            {"items": [(0, 9, 0), (4, 10, 0)], "blocks": ((4, 5),), "latest": (10, 5), "now": 110, "reorders": False,
             "dupacks": 3},
            [(0, 0, LOST), (4, 10, 0)], 0, 5, [(0, 4)],
        ),
        (
            {"items": [(0, 9, 0), (4, 10, 0)], "blocks": ((4, 5),), "latest": (10, 5), "now": 110, "reorders": False,
             "recovering": True},
            [(0, 0, LOST), (4, 10, 0)], 0, 5, [(0, 4)],
        ),
        (
            {"items": [(0, 9, 0), (4, 10, 0)], "blocks": ((4, 5),), "latest": (10, 5), "now": 110, "reorders": False,
             "dupacks": 2},
            [(0, 9, 0), (4, 10, 0)], 24 * MS, 9, [],
        ),
        # What was sent at the same time is older only in front of what has arrived.
        (
            {"items": [(0, 0, 0)], "blocks": ((4, 7),), "latest": (0, 7), "now": 200},
            [(0, 0, LOST), (7, 0, 0)], 0, 3, [(0, 4)],
        ),
        # What was sent again at 50 is younger than what has arrived: it is not looked at.
        (
            {"items": [(0, 50, AGAIN), (1, 0, 0)], "blocks": ((4, 7),), "latest": (0, 7), "now": 200},
            [(0, 50, AGAIN), (1, 0, LOST), (7, 0, 0)], 0, 4, [(1, 3)],
        ),
        # It was sent later than the one behind it, so it waits longer, and the time of both counts.
        (
            {"items": [(0, 8, AGAIN), (1, 2, 0), (4, 9, 0)], "blocks": ((4, 7),), "latest": (9, 7), "now": 120},
            [(0, 8, AGAIN), (1, 2, 0), (4, 9, 0)], 13 * MS, 7, [],
        ),
        # What counted as lost stays so until it is sent again or arrives.
        (
            {"items": [(0, 0, AGAIN | LOST), (2, 0, 0)], "blocks": ((1, 2),), "latest": (0, 2), "now": 10},
            [(0, 0, AGAIN | LOST), (2, 0, 0)], 0, 8, [(0, 1)],
        ),
        # All of a lost span has arrived.
        (
            {"items": [(0, 0, 0), (2, 0, LOST), (4, 5, 0)], "blocks": ((2, 6),), "latest": (5, 6), "now": 20},
            [(0, 0, 0), (4, 5, 0)], 105 * MS, 6, [],
        ),
        # Holes between blocks, in spans that cross them.
        (
            {"items": [(0, 0, 0), (3, 0, AGAIN), (8, 9, 0)], "blocks": ((1, 2), (4, 5), (6, 9)), "latest": (9, 9),
             "now": 200},
            [(0, 0, LOST), (3, 0, AGAIN | LOST), (8, 9, 0)], 0, 1, [(0, 1), (2, 1), (3, 1), (5, 1)],
        ),
        # Neighbours that are lost become one.
        (
            {"items": [(0, 0, 0), (2, 1, 0), (4, 9, 0)], "blocks": ((4, 7),), "latest": (9, 7), "now": 200},
            [(0, 0, LOST), (4, 9, 0)], 0, 3, [(0, 4)],
        ),
        # Below SND.UNA nothing is lost.
        (
            {"items": [(-3, 0, 0), (2, 9, 0)], "blocks": ((3, 6),), "latest": (9, 6), "now": 200},
            [(0, 0, LOST), (6, 9, 0)], 0, 4, [(0, 3)],
        ),
    ],
)  # fmt: skip
def test_segments_are_marked_lost_by_time(
    case: dict[str, Any], spans: list[tuple[int, int, int]], wait: int, pipe: int, lost: list[tuple[int, int]]
) -> None:
    assert marks(**case) == (spans, wait, pipe, lost)


def test_acknowledged_data_is_not_lost() -> None:
    """Also if SND.UNA has moved into a span since somebody looked at it."""
    conn = passive(RACK, wnd=60_000, sack_permitted=True).conn
    state = conn.rack
    assert state is not None
    conn.snd_max = conn.snd_nxt = number(10)
    conn.snd_una = number(3)
    state.spans.items = [(number(0), 0, LOST), (number(5), 0, 0)]
    state.has_lost = True
    assert rack.survey(conn, state) == (5 * MSS, [(number(3), 2 * MSS)])


def test_a_late_ack_of_data_marked_lost_gives_no_rtt_or_reordering() -> None:
    """After a timeout, the SACKed data is not the data sent since then."""
    s = sending(RACK, 6)
    state = s.conn.rack
    assert state is not None
    s.wait(1000 * MS)
    s.out.clear()
    known = state.xmit_at, state.rtt, state.min_rtt
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((3, 5)))
    assert (state.xmit_at, state.rtt, state.min_rtt) == known
    assert not state.reordering_seen
    s.recv("A", 1, 1 + 6 * MSS, wnd=60_000).silence()


def test_a_recovery_starts_after_the_duplicate_count_is_reset() -> None:
    """An ACK that moves SND.UNA ends the count of duplicates; the reordering window passes afterwards."""
    s = sending(RACK, 10)
    state = s.conn.rack
    assert state is not None
    state.reordering_seen = True
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((1, 2), (3, 5))).silence()
    assert s.conn.dupacks == 1
    s.recv("A", 1, 1 + 2 * MSS, wnd=60_000).silence()
    assert s.conn.dupacks == 0
    s.wait(50 * MS)
    assert s.conn.in_recovery
    assert sent(s)[0] == 2
    assert s.conn.stats.tcp_fast_retransmits == 1


# ------------------------------------------------------------------------------------------ undoing


def test_there_may_be_nothing_to_undo() -> None:
    conn = passive(RACK, wnd=60_000, sack_permitted=True).conn
    state = RackState()
    undo.recovery_ended(conn, state)
    undo.on_dsack(conn, state, number(0), number(1), 0)
    undo.on_resent(state, number(0), MSS, False)
    assert state.episode is None
    assert conn.stats.tcp_undone == 0


@pytest.mark.rfc("3708", "3")
def test_after_a_time_out_only_the_first_segment_tells() -> None:
    s = sending(RACK, 6)
    state = s.conn.rack
    assert state is not None
    undo.begin(s.conn, state, s.now, timeout=True)
    undo.on_dsack(s.conn, state, number(1), number(2), s.now)
    undo.on_dsack(s.conn, state, number(-1), number(0), s.now)
    assert s.conn.stats.tcp_undone == 0
    undo.on_dsack(s.conn, state, number(0), number(1), s.now)
    assert s.conn.stats.tcp_undone == 1


@pytest.mark.rfc("3708", "3")
def test_dsack_about_a_retransmission_indicates_reordering() -> None:
    """Each report that is about a retransmission does; one that is about something else does not."""
    s = sending(RACK, 6)
    state = s.conn.rack
    assert state is not None
    undo.begin(s.conn, state, s.now, timeout=False)
    undo.on_resent(state, number(0), MSS, False)
    undo.on_resent(state, number(2), MSS, False)
    undo.on_dsack(s.conn, state, number(4), number(5), s.now)
    undo.on_dsack(s.conn, state, number(1), number(2), s.now)
    before = state.reordering_seen
    undo.on_dsack(s.conn, state, number(2), number(3), s.now)
    assert (before, state.reordering_seen) == (False, True)
    assert s.conn.stats.tcp_undone == 0
    undo.on_dsack(s.conn, state, number(0), number(1), s.now)
    assert s.conn.stats.tcp_undone == 1


@pytest.mark.rfc("3708", "3")
def test_dsack_does_not_undo_data_retransmitted_twice() -> None:
    s = sending(RACK, 6)
    state = s.conn.rack
    assert state is not None
    undo.begin(s.conn, state, s.now, timeout=False)
    undo.on_resent(state, number(0), MSS, False)
    undo.on_resent(state, number(0), MSS, True)
    undo.on_dsack(s.conn, state, number(0), number(1), s.now)
    assert s.conn.stats.tcp_undone == 0
