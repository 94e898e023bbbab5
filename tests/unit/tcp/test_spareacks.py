"""A batch in order is acknowledged once, or twice where ACKs get lost."""

from __future__ import annotations

import pytest

from tests.unit.tcp.batches import MSS, TEXT, answers, arrive
from tests.unit.tcp.script import passive


@pytest.mark.parametrize("sack", [True, False])
def test_a_path_that_loses_data_alone_has_one_ack_a_batch_with_sack_and_two_without(sack: bool) -> None:
    s = passive(wnd=65535, sack_permitted=sack)
    arrive(s, 1, 10)
    assert answers(s) == [10]
    arrive(s, 12, 5)
    assert answers(s) == [10] * 5
    arrive(s, 11, 1)
    assert answers(s) == [16]
    arrive(s, 17, 10)
    assert answers(s) == ([26] if sack else [21, 26])


@pytest.mark.parametrize(
    ("count", "told"), [(2, [5]), (3, [4, 6]), (4, [5, 7]), (10, [8, 13]), (32, [19, 35]), (33, [36])]
)
@pytest.mark.rfc("5681", "4.2 delayed")
def test_where_acks_are_lost_half_a_batch_is_acknowledged_too(count: int, told: list[int]) -> None:
    s = passive(wnd=65535)
    arrive(s, 1, 3)
    arrive(s, 1, 1)  # again
    assert answers(s) == [3, 3]
    edge = s.conn.rcv_adv
    arrive(s, 4, count)
    assert all((sent.ack or 0) + (sent.wnd << s.conn.rcv_wscale) >= (edge - s.irs) for sent in s.out)
    assert answers(s) == told
    s.silence()


def test_a_segment_behind_a_hole_gets_an_ack_of_its_own_and_no_spare_one() -> None:
    s = passive(wnd=65535)
    arrive(s, 1, 3)
    arrive(s, 1, 1)
    answers(s)
    for n in (4, 5, 6, 8):
        s.recv("A", 1 + (n - 1) * MSS, 1, data=TEXT, flush=False)
    s.flush()
    assert answers(s) == [6, 6]


def test_a_repeated_ack_without_data_indicates_no_loss() -> None:
    s = passive(wnd=65535)
    arrive(s, 1, 3)
    s.recv("A", 0, 1)
    arrive(s, 4, 6)
    assert answers(s)[-1:] == [9]
    assert not s.conn.spare_acks


@pytest.mark.rfc("2018", "8 renege")
def test_no_ack_looks_like_reneging() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    arrive(s, 1, 3)
    arrive(s, 1, 1)
    answers(s)
    arrive(s, 5, 4)
    assert answers(s) == [3] * 4
    arrive(s, 4, 1)
    assert answers(s) == [8], "one segment, one ACK"
    arrive(s, 9, 4)
    assert answers(s) == [10, 12]


def test_all_acks_report_the_blocks_and_one_the_duplicate() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    arrive(s, 1, 3)
    arrive(s, 1, 1)
    answers(s)
    arrive(s, 5, 1)
    assert answers(s) == [3]
    arrive(s, 5, 3)
    blocks = [[(right - left) // MSS for left, right in sent.options.sack] for sent in s.out]
    assert blocks == [[1, 1], [2], [3]]
