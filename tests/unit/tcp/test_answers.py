"""A batch must not hide from the peer what segments one by one would have shown it.

Duplicate ACKs, SACK blocks, D-SACKs, answers to probes: one for each segment that wants one, and never more ACKs than
segments. A batch in order is acknowledged once.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from slirpy.tcp import Settings, State
from slirpy.tcp.answers import MAX_NOTED
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import MS, Script, Sent, passive

MSS = 1000
Blocks = list[tuple[int, int]]


def arrive(s: Script, *numbers: int, size: int = MSS, **opts: Any) -> list[Sent]:
    """Segments in one batch, by number; the first one's is 0. What is sent for them."""
    for number in numbers:
        s.recv("A", 1 + number * MSS, 1, data=bytes(size), flush=False, **opts)
    s.flush()
    sent, s.out = s.out, []
    assert all(each.flags == "A" and not each.data for each in sent)
    return sent


def acked(sent: list[Sent]) -> list[int]:
    """Number of segments that each ACK acknowledges."""
    return [((each.ack or 1) - 1) // MSS for each in sent]


def blocks(s: Script, sent: list[Sent]) -> list[Blocks]:
    """The SACK blocks of each ACK, as numbers of segments."""
    first = s.irs + 1
    return [
        [(((left - first) & MASK) // MSS, ((right - first) & MASK) // MSS) for left, right in each.options.sack]
        for each in sent
    ]


def edges(s: Script, sent: list[Sent]) -> set[int]:
    """Right edges of the windows."""
    return {(each.ack or 0) + (each.wnd << s.conn.rcv_wscale) for each in sent}


# -------------------------------------------------------------------------------- behind a hole


@pytest.mark.rfc("5681", "4.2 each")
@pytest.mark.parametrize("count", [1, 2, 3, 10, 60])
def test_each_segment_behind_a_hole_gets_a_duplicate_ack(count: int) -> None:
    s = passive()
    sent = arrive(s, *range(1, 1 + count))
    assert acked(sent) == [0] * count
    assert len(edges(s, sent)) == 1, "an ACK with another window is no duplicate"


@pytest.mark.rfc("5681", "4.2 each")
@pytest.mark.parametrize("count", [2, 5])
def test_data_in_order_before_a_hole_costs_no_duplicate_ack(count: int) -> None:
    s = passive(mss=MSS)
    for number in (*range(count), *range(count + 1, count + 4)):
        s.recv("A", 1 + number * MSS, 1, data=bytes(MSS), flush=False)
    s.conn.consume(s.conn.rcv_pending)  # the user takes them before anything is sent
    s.flush()
    assert acked(s.out) == [count] * 4
    assert len(edges(s, s.out)) == 1


@pytest.mark.rfc("5681", "4.2 gap")
@pytest.mark.rfc("5681", "4.2 each")
def test_a_hole_that_is_filled_is_acknowledged_before_the_next_one_is_reported() -> None:
    s = passive()
    assert acked(arrive(s, 1, 2, 0, 4, 5, 6, 3)) == [0, 0, 3, 3, 3, 3, 7]


@pytest.mark.rfc("5681", "4.2 each")
def test_an_end_behind_a_hole_gets_an_ack_of_its_own() -> None:
    s = passive()
    s.recv("A", 1 + MSS, 1, data=bytes(MSS), flush=False)
    s.recv("FA", 1 + 2 * MSS, 1, flush=False)
    s.recv("A", 1, 1, data=bytes(MSS))
    assert [each.ack for each in s.out] == [1, 1, 1 + 2 * MSS + 1]
    s.state(State.CLOSE_WAIT)
    s = passive()
    s.recv("FA", 1 + MSS, 1, flush=False)
    s.recv("A", 1, 1, data=bytes(MSS))
    assert [each.ack for each in s.out] == [1, 1 + MSS + 1], (
        "nothing is queued, and the end is missing something"
    )


@pytest.mark.rfc("5681", "4.2 each")
@pytest.mark.parametrize("batch", [True, False])
def test_an_end_behind_a_hole_that_comes_again_is_answered_again(batch: bool) -> None:
    """A peer that lost its tail probes with its last segment, which is the end."""
    s = passive()
    for _ in range(3):
        s.recv("FA", 1 + MSS, 1, flush=not batch)
    s.flush()
    assert acked(s.out) == [0, 0, 0]


@pytest.mark.rfc("9293", "MUST-58")
def test_a_batch_in_order_has_one_ack() -> None:
    s = passive()
    assert acked(arrive(s, *range(20))) == [20]
    for number in range(20, 23):
        s.recv("FA" if number == 22 else "A", 1 + number * MSS, 1, data=bytes(MSS), flush=False)
    s.flush()
    assert [each.ack for each in s.out] == [1 + 23 * MSS + 1], "the end included"


@pytest.mark.rfc("9293", "MUST-58")
def test_acks_without_text_want_no_answer() -> None:
    s = passive()
    s.recv("A", 1 + MSS, 1, data=bytes(MSS), flush=False)
    for _ in range(5):
        s.recv("A", 1 + 2 * MSS, 1, flush=False)
    s.flush()
    assert acked(s.out) == [0]


@pytest.mark.rfc("2018", "4 first")
@pytest.mark.parametrize("timestamps", [None, (7, 0)])
def test_each_ack_reports_the_segment_that_caused_it_first(timestamps: tuple[int, int] | None) -> None:
    s = passive(sack_permitted=True, timestamps=timestamps)
    numbers = [2, 4, 6, 8, 10, 12, 1, 14]
    sent = arrive(s, *numbers, timestamps=timestamps)
    firsts = [each[0] for each in blocks(s, sent)]
    assert firsts == [(2, 3), (4, 5), (6, 7), (8, 9), (10, 11), (12, 13), (1, 3), (14, 15)]
    assert max(len(each) for each in blocks(s, sent)) == (4 if timestamps is None else 3)


# ------------------------------------------------------------------------------- what came twice


@pytest.mark.rfc("2883", "4 once")
def test_each_duplicate_is_reported() -> None:
    s = passive(sack_permitted=True)
    arrive(s, *range(6))
    sent = arrive(s, 0, 2, 4)
    assert blocks(s, sent) == [[(0, 1)], [(2, 3)], [(4, 5)]]
    assert acked(sent) == [6] * 3
    sent = arrive(s, 8, 8, 9, 9)
    assert blocks(s, sent) == [[(8, 9)], [(8, 9), (8, 9)], [(8, 10)], [(9, 10), (8, 10)]]


@pytest.mark.rfc("2883", "4.2")
def test_a_duplicate_and_a_segment_that_is_old_in_part_are_both_reported() -> None:
    s = passive(sack_permitted=True)
    arrive(s, 0, 1)
    s.recv("A", 1, 1, data=bytes(MSS), flush=False)
    s.recv("A", 1 + MSS, 1, data=bytes(2 * MSS), flush=False)
    s.flush()
    assert blocks(s, s.out) == [[(0, 1)], [(1, 2)]]
    assert acked(s.out) == [2, 3]


@pytest.mark.rfc("9293", "3.10.7.4")
def test_old_segments_are_answered_one_by_one_without_sack_too() -> None:
    s = passive()
    arrive(s, 0, 1, 2)
    assert acked(arrive(s, 0, 1, 2)) == [3] * 3


# --------------------------------------------------------------------- others that want an answer


@pytest.mark.rfc("9293", "MUST-66")
def test_each_probe_of_a_closed_window_is_answered() -> None:
    s = passive(Settings(rcv_buffer=2 * MSS))
    assert acked(arrive(s, 0, 1)) == [2]
    assert acked(arrive(s, 2, 2, 2, size=1)) == [2] * 3


@pytest.mark.rfc("9293", "3.10.7.4")
def test_each_segment_beyond_the_window_is_answered() -> None:
    s = passive()
    assert acked(arrive(s, 100, 101, 102)) == [0] * 3


@pytest.mark.rfc("7323", "5.3")
def test_each_segment_that_paws_refuses_is_answered() -> None:
    s = passive(timestamps=(1000, 0))
    assert acked(arrive(s, 0, 1, 2, timestamps=(999, 0))) == [0] * 3


@pytest.mark.rfc("5961", "7")
def test_challenges_keep_to_their_limit_in_a_batch() -> None:
    s = passive()
    for _ in range(10):
        s.recv("S", 5, flush=False)
        s.recv("R", 5, flush=False)
        s.recv("A", 0, 1, flush=False)
    s.flush()
    assert [each.ack for each in s.out] == [1]
    assert s.conn.stats.tcp_challenges_suppressed == 29


@pytest.mark.rfc("5961", "7")
def test_one_segment_is_not_answered_twice() -> None:
    """At a closed window text is answered, and so is an ACK that cannot be."""
    s = passive(Settings(rcv_buffer=2 * MSS))
    arrive(s, 0, 1)
    s.recv("A", 1 + 2 * MSS, 5000, data=b"x")
    assert acked(s.out) == [2]


# --------------------------------------------------------------------------------------- bounds


def test_acks_of_a_batch_are_bounded_and_the_rest_share_the_last() -> None:
    s = passive(Settings(rcv_buffer_initial=1 << 20), wscale=7, sack_permitted=True)
    arrive(s, *range(40))
    s.conn.consume(s.conn.rcv_pending)
    arrive(s, 40, 41)
    count = MAX_NOTED + 50
    sent = arrive(s, *range(43, 43 + count))
    assert len(sent) == MAX_NOTED + 1
    assert blocks(s, sent)[-1][0] == (43, 43 + count)


def test_noted_acks_leave_once_and_before_data() -> None:
    s = passive()
    for number in (1, 2, 3):
        s.recv("A", 1 + number * MSS, 1, data=bytes(MSS), flush=False)
    s.write(b"data")
    assert [(each.flags, each.ack) for each in s.out] == [("A", 1), ("A", 1), ("PA", 1), ("A", 1)]
    s.out.clear()
    s.wait(5 * MS).silence()


def test_a_closed_connection_says_nothing_any_more() -> None:
    s = passive()
    for number in (1, 2, 3):
        s.recv("A", 1 + number * MSS, 1, data=bytes(MSS), flush=False)
    s.recv("R", 1)
    s.silence().state(State.CLOSED)


def test_the_first_segment_after_a_syn_is_the_answer_to_it() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0, wnd=65535, mss=1460, flush=False)
    for number in (200, 300):
        s.recv("A", 1 + number * MSS, 1, data=bytes(MSS), flush=False)
    s.flush()
    s.send("SA", 0, 1)
    s.silence()


@pytest.mark.rfc("7323", "4.3 early")
def test_a_duplicate_ack_in_a_batch_echoes_the_same_timestamp() -> None:
    s = passive(timestamps=(1000, 0))
    for number, stamp in ((1, 1001), (2, 1002), (0, 1003)):
        s.recv("A", 1 + number * MSS, 1, data=bytes(MSS), timestamps=(stamp, 0), flush=False)
    s.flush()
    echoes = [each.options.timestamps[1] for each in s.out if each.options.timestamps]
    assert echoes == [1000, 1000, 1003]


# ---------------------------------------------------------------------------- beside one by one


def knowledge(s: Script, sent: list[Sent]) -> tuple[dict[int, int], list[Blocks], set[tuple[int, int]]]:
    """Knowledge that a peer gains: duplicates of each number, D-SACKs in their order, ranges that arrived."""
    duplicates: dict[int, int] = {}
    last = None
    doubled: list[Blocks] = []
    ranges: set[tuple[int, int]] = set()
    for ack, found in zip(acked(sent), blocks(s, sent), strict=True):
        duplicates[ack] = duplicates.get(ack, -1) + 1
        assert last is None or ack >= last, "ACKs never go back"
        last = ack
        first = found[:1]
        if first and (first[0][0] < ack or any(a <= first[0][0] and first[0][1] <= b for a, b in found[1:])):
            doubled.append(first)
            found = found[1:]
        ranges.update(found)
    return duplicates, doubled, ranges


@pytest.mark.rfc("5681", "4.2 each")
@pytest.mark.rfc("2883", "4 once")
@pytest.mark.parametrize("sack", [False, True])
def test_acks_of_a_batch_inform_like_acks_of_single_segments(sack: bool) -> None:
    random = Random(7)
    for _ in range(300):
        numbers = [random.randrange(12) for _ in range(random.randrange(1, 20))]
        if not sack:
            numbers = list(dict.fromkeys(numbers))
        alone, together = passive(sack_permitted=sack), passive(sack_permitted=sack)
        one_by_one = [each for number in numbers for each in arrive(alone, number)]
        batch = arrive(together, *numbers)
        assert len(batch) <= len(numbers)
        duplicates, doubled, ranges = knowledge(alone, one_by_one)
        found = knowledge(together, batch)
        if not sack:
            assert all(found[0].get(ack, 0) >= count for ack, count in duplicates.items()), numbers
        assert found[1] == doubled, numbers
        assert found[2] >= ranges, numbers
