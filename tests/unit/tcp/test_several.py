"""Several at once: blocks, holes, pieces and spans that one segment or one output brings together.

What is right for one of them need not be right for the second; and the edges, a byte to either side.
"""

from __future__ import annotations

import pytest

from slirpy.tcp import Settings, State, output
from slirpy.tcp.congestion.hystart import HyStart
from slirpy.tcp.emit import MAX_PIECES, resend, sack_length
from slirpy.tcp.loss import rack, sack
from slirpy.tcp.loss.spans import AGAIN
from slirpy.tcp.loss.state import RackState
from tests.unit.tcp.batches import answers, arrive
from tests.unit.tcp.loss.segments import BOTH, COUNTING, MSS, RACK, number, sack_blocks, sending, sent
from tests.unit.tcp.script import ISS, MS, SECOND, Script, passive


def rack_of(s: Script) -> RackState:
    assert s.conn.rack is not None
    return s.conn.rack


@pytest.mark.rfc("6937", "3 proportional")
def test_all_data_that_one_ack_covers_counts_as_delivered() -> None:
    s = sending(RACK, 10)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((1, 2), (3, 5)), flush=False)
    assert rack_of(s).delivered == 3 * MSS, "two blocks"
    s.recv("A", 1, 1 + 5 * MSS, wnd=60_000, flush=False)
    assert rack_of(s).delivered == 5 * MSS, "two holes"


@pytest.mark.rfc("6937", "3 proportional")
def test_all_pieces_of_one_output_count_as_sent_again() -> None:
    s = sending(RACK, 40)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((20, 40)), flush=False)
    output(s.conn, s.now, s._emit)
    assert sent(s) == list(range(MAX_PIECES))
    assert rack_of(s).prr.out == MAX_PIECES * MSS
    assert rack_of(s).resent == MAX_PIECES


@pytest.mark.rfc("6937", "3 bound")
def test_news_is_news_once() -> None:
    s = sending(RACK, 10)
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((5, 10)))
    assert s.conn.in_recovery
    assert (rack_of(s).has_news, rack_of(s).safe_ack, rack_of(s).delivered) == (False, False, 0)


@BOTH
@pytest.mark.rfc("6675", "4 update")
def test_a_block_may_begin_one_byte_after_snd_una(settings: Settings) -> None:
    s = sending(settings, 4)
    block = ((ISS + 2) & 0xFFFFFFFF, number(1))
    s.recv("A", 1, 1, wnd=60_000, sack=(block,), flush=False)
    assert s.conn.sacked == [block]
    assert sack.sacked_below(s.conn, s.conn.snd_max) == MSS - 1


@pytest.mark.rfc("6675", "4 is-lost")
def test_two_ranges_together_are_more_than_two_segments() -> None:
    s = sending(RACK, 8)
    assert sack.learn(s.conn, sack_blocks((1, 2), (3, 5)))
    assert sack.lost_edge(s.conn) == number(1)
    s = sending(RACK, 8)
    assert sack.learn(s.conn, sack_blocks((1, 2), (3, 4)))
    assert sack.lost_edge(s.conn) == s.conn.snd_una, "two segments, not more"


@pytest.mark.rfc("2018", "8 keep")
def test_data_a_peer_has_reneged_on_is_lost_at_once() -> None:
    s = sending(RACK, 8)
    rack.on_reneging(s.conn, rack_of(s))
    assert rack.survey(s.conn, rack_of(s)) == (0, [(number(0), 8 * MSS)])


@pytest.mark.rfc("8985", "6.2 lost")
def test_the_last_sent_segment_ends_at_the_end_of_its_span() -> None:
    """The first segment was sent again, after the second one; both are acknowledged together."""
    s = sending(RACK, 2)
    state = rack_of(s)
    first, again = s.now - 5 * MS, s.now - 2 * MS
    state.spans.items[:] = [(number(0), again, AGAIN), (number(1), first, 0)]
    rack.on_ack(s.conn, state, number(2), 2 * MSS, None, s.now)
    assert (state.xmit_at, state.end_seq) == (again, number(1))


@pytest.mark.rfc("8985", "6.2 spurious")
def test_an_echo_tells_which_copy_has_arrived_and_no_more_than_that() -> None:
    for late, expected in ((1, 5 * MS), (0, 2 * MS)):
        s = sending(RACK, 2)
        state = rack_of(s)
        state.min_rtt = 0
        first, again = s.now - 5 * MS, s.now - 2 * MS
        s.conn.ts_offset = 0
        state.spans.items[:] = [(number(0), again, AGAIN), (number(1), first, 0)]
        rack.on_ack(s.conn, state, number(2), 2 * MSS, s.conn.timestamp(again) - late, s.now)
        assert s.now - state.xmit_at == expected, "what lies behind it is looked at all the same"


@pytest.mark.rfc("5681", "4.3")
def test_new_data_after_a_timeout_keeps_to_the_congestion_window() -> None:
    """Around the block, and on behind it: no more than the congestion window together."""
    s = sending(RACK, 20)
    s.write(bytes(40 * MSS)).silence()
    s.wait(1000 * MS)
    s.out.clear()
    s.conn.cc.cwnd = 10 * MSS
    s.recv("A", 1, 1 + MSS, wnd=60_000, sack=sack_blocks((2, 20)))
    assert sent(s) == [1, *range(20, 20 + s.conn.cc.cwnd // MSS - 1)]


def test_a_fin_that_is_sent_again_takes_a_number() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.write(bytes(100))
    s.shutdown()
    s.out.clear()
    assert resend(s.conn, s.conn.snd_una, 1000, s.now, s._emit) == 101
    assert resend(s.conn, s.conn.snd_una, 100, s.now, s._emit) == 100
    assert resend(s.conn, (s.conn.snd_una + 100) & 0xFFFFFFFF, 1000, s.now, s._emit) == 1
    assert [(one.flags, len(one.data)) for one in s.out] == [("FA", 100), ("A", 100), ("FA", 0)]


@pytest.mark.rfc("9293", "MUST-20")
def test_the_user_timeout_counts_from_the_transmission() -> None:
    s = passive(Settings(rack=False, user_timeout=60 * SECOND))
    s.wait(1000 * SECOND)
    s.write(b"x")
    s.wait(59 * SECOND).state(State.ESTABLISHED)
    assert len(s.out) > 3
    s.wait(1 * SECOND).state(State.CLOSED)


@pytest.mark.rfc("2018", "3 room")
def test_room_is_left_for_each_sack_block_and_for_a_dsack() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.recv("A", 1001, 1, data=b"x" * 100)
    s.recv("A", 2001, 1, data=b"x" * 100)
    conn = s.conn
    assert sack_length(conn) == 4 + 8 * 2
    conn.dsack = (1, 2)
    assert sack_length(conn) == 4 + 8 * 3
    conn.mss = 2 * (4 + 8 * 4)
    assert sack_length(conn) == 4 + 8 * 3
    conn.mss -= 1
    assert sack_length(conn) == 0, "half of a segment would be options"


@pytest.mark.rfc("9406", "4.2")
def test_a_round_lasts_to_its_last_byte() -> None:
    """The eighth measurement of a round comes with the last byte of it, and is enough to compare."""
    start = HyStart()
    assert [start.growth(1, 20 * MS, 8) for _ in range(8)] == [1] * 8
    assert [start.growth(1, 40 * MS, 8) for _ in range(8)] == [1] * 7 + [0]


def test_segments_behind_a_hole_get_one_ack_each() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    arrive(s, 1, 3)
    arrive(s, 1, 1)
    answers(s)
    arrive(s, 5, 3)
    assert answers(s) == [3, 3, 3]
    arrive(s, 8, 1)
    assert answers(s) == [3]
    arrive(s, 9, 2)
    assert answers(s) == [3, 3]


@pytest.mark.rfc("9293", "SHLD-14")
def test_both_of_two_acks_offer_the_same_edge() -> None:
    s = passive(wnd=65535)
    arrive(s, 1, 3)
    arrive(s, 1, 1)
    answers(s)
    arrive(s, 4, 10)
    assert len(s.out) == 2
    edges = {(one.ack or 0) + (one.wnd << s.conn.rcv_wscale) for one in s.out}
    assert edges == {(s.conn.rcv_adv - s.irs) & 0xFFFFFFFF}


@pytest.mark.rfc("8985", "7.3")
def test_a_probe_with_new_data_is_not_sent_again() -> None:
    s = sending(RACK, 4)
    s.write(bytes(2 * MSS)).silence()
    s.wait(100 * MS)
    assert sent(s) == [4]
    assert not rack_of(s).tlp_is_retrans
    assert rack_of(s).spans.items[-1][::2] == (number(4), 0)
    assert not rack_of(s).spans.was_resent(number(4))


@pytest.mark.rfc("8985", "7.4")
@pytest.mark.rfc("8985", "6.2 dsack")
def test_a_dsack_counts_only_if_a_probe_did_not_cause_it() -> None:
    s = sending(RACK, 3)
    s.wait(100 * MS)
    assert sent(s) == [2]
    state = rack_of(s)
    assert state.tlp_is_retrans
    s.recv("A", 1, 1 + 3 * MSS, sack=sack_blocks((2, 3)))
    assert (state.dsacks, state.tlp_end) == (0, None)
    s.recv("A", 1, 1 + 3 * MSS, sack=sack_blocks((1, 2)))
    assert state.dsacks == 1


@pytest.mark.rfc("8985", "7.4")
def test_only_an_ack_without_anything_else_ends_the_account_of_a_probe() -> None:
    s = sending(RACK, 3)
    s.wait(100 * MS)
    assert sent(s) == [2]
    state = rack_of(s)
    end = state.tlp_end
    assert end == number(3)
    s.recv("A", 1, 1 + 3 * MSS)
    assert state.tlp_end == end, "one of both copies"
    s.recv("A", 1, 1 + 3 * MSS, data=b"x")
    assert state.tlp_end == end, "a segment with data"
    s.recv("A", 2, 1 + 3 * MSS)
    assert state.tlp_end is None, "the other copy"


@pytest.mark.rfc("6675", "5 begin")
def test_in_a_recovery_by_counting_nothing_is_counted_any_more() -> None:
    s = sending(COUNTING, 20)
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((5, 10)))
    assert s.conn.in_recovery
    before = s.conn.dupacks
    s.recv("A", 1, 1, wnd=60_000, sack=sack_blocks((5, 12)))
    assert s.conn.dupacks == before
    assert s.conn.stats.tcp_fast_retransmits == 1


@pytest.mark.rfc("2018", "3 room")
def test_where_blocks_have_no_room_no_piece_carries_them() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.recv("A", 1001, 1, data=b"x" * 100)
    s.out.clear()
    s.conn.mss = 64
    s.write(bytes(3 * 64))
    assert [(len(one.data), one.options.sack) for one in s.out] == [(64, ())] * 3


def test_a_window_that_one_byte_has_filled_was_full() -> None:
    for beyond, growth in ((1, 100), (0, 0)):
        s = passive(RACK)
        s.write(bytes(100))
        s.conn.cwnd_filled = (s.conn.snd_una + beyond) & 0xFFFFFFFF
        before = s.conn.cc.cwnd
        s.recv("A", 1, 101)
        assert s.conn.cc.cwnd == before + growth


@pytest.mark.rfc("6298", "3")
def test_a_retransmitted_syn_is_never_measured() -> None:
    for again in (False, True):
        s = Script()
        s.conn.connect(s.now)
        s.flush()
        s.now += 20 * MS
        if again:
            s.conn.go_back()  # as where the path turns out to be narrower: no timeout has passed
            s.flush()
        assert [one.flags for one in s.out] == ["S"] * (1 + again)
        s.now += 20 * MS
        s.recv("SA", 0, 1)
        assert s.conn.rtt.srtt == (0 if again else 40 * MS)
