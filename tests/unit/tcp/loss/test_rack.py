"""Loss detection by time (RFC 8985) and proportional rate reduction (RFC 6937): the parts, and more."""

from __future__ import annotations

from random import Random

import pytest

from slirpy.tcp import Settings
from slirpy.tcp.loss import rack, undo
from slirpy.tcp.loss.prr import ProportionalRate
from slirpy.tcp.loss.spans import AGAIN, GRAIN, MAX_SPANS, Spans
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import ISS, MS, passive

MSS = 1000
START = MASK - 2000


@pytest.mark.rfc("8985", "6.1")
def test_spans_are_a_map_from_numbers_to_times() -> None:
    rng = Random(7)
    for _ in range(100):
        spans = Spans()
        model: dict[int, tuple[int, int]] = {}
        una = nxt = 0
        now = 1000
        for _ in range(60):
            now += rng.randrange(1, 50)
            action = rng.randrange(3)
            if action == 0:
                size = rng.randrange(1, 200)
                spans.on_sent((START + nxt) & MASK, now, 0, 0)
                model |= dict.fromkeys(range(nxt, nxt + size), (now, 0))
                nxt += size
            elif action == 1 and nxt > una:
                a, b = sorted((rng.randrange(una, nxt + 1), rng.randrange(una, nxt + 1)))
                if a < b:
                    spans.on_resent((START + a) & MASK, (START + b) & MASK, (START + nxt) & MASK, now)
                    model |= dict.fromkeys(range(a, b), (now, AGAIN))
            elif nxt > una:
                una = rng.randrange(una, nxt + 1)
                spans.on_ack((START + una) & MASK)
            for n in {una, (una + nxt) // 2, nxt - 1}:
                if una <= n < nxt:
                    assert spans.items[spans.locate((START + n) & MASK)][1:] == model[n]
            starts = [(start - START) & MASK for start, _, _ in spans.items]
            assert starts == sorted(set(starts))
            assert not starts[1:] or starts[1] >= una


def test_order_within_a_nanosecond() -> None:
    """New data, a retransmission and new data again leave at the same time of a virtual clock: their order counts."""
    spans = Spans()
    spans.on_sent(0, 500, 0, 0)
    spans.on_sent(100, 1000, 0, 0)
    spans.on_resent(0, 50, 200, 1000)
    spans.on_sent(200, 1000, 0, 32 << GRAIN)
    assert spans.items == [(0, 1001, AGAIN), (50, 500, 0), (100, 1000, 0), (200, 1001, 0)]


def test_new_data_after_a_retransmission_begins_a_span() -> None:
    """New data after a retransmission begins a span: in an earlier one it would seem lost once that arrives."""
    spans = Spans()
    spans.on_sent(0, 1000, 0, 0)
    spans.on_resent(0, 50, 100, 1010)
    spans.on_sent(100, 1020, 0, 32 << GRAIN)
    assert spans.items == [(0, 1010, AGAIN), (50, 1000, 0), (100, 1020, 0)]


def test_segments_sent_close_together_share_a_span() -> None:
    spans = Spans()
    srtt = 32 << GRAIN
    for n in range(33):
        spans.on_sent(n, 1000 + n, 0, srtt)
    assert spans.items == [(0, 1000, 0)]
    spans.on_sent(40, 1033, 0, srtt)
    assert spans.items == [(0, 1000, 0), (40, 1033, 0)]
    spans.on_sent(50, 1033, AGAIN, srtt)
    assert spans.items[2:] == [(50, 1033, AGAIN)]


def test_spans_have_a_bound_and_err_on_the_late_side() -> None:
    spans = Spans()
    for n in range(MAX_SPANS + 10):
        spans.on_sent(n, 1000 * n, 0, 0)
    assert len(spans.items) == MAX_SPANS
    assert spans.items[-1] == (MAX_SPANS - 1, 1000 * (MAX_SPANS + 9), 0)


@pytest.mark.rfc("6937", "3 proportional")
def test_the_flight_comes_down_in_proportion() -> None:
    prr = ProportionalRate()
    prr.begin(20 * MSS, 10 * MSS, 0)
    pipe, sent = 19 * MSS, 0
    for n in range(1, 19):
        prr.on_ack(MSS, pipe, MSS, safe=False)
        allowed = max(prr.window - pipe, 0) // MSS * MSS
        prr.out += allowed
        sent += allowed
        pipe += allowed - MSS
        assert abs(sent - n * MSS / 2) <= MSS, "one for every two that arrive"
    assert 9 * MSS <= pipe <= 11 * MSS


@pytest.mark.rfc("6937", "3 bound")
def test_a_flight_that_losses_have_emptied_grows_as_in_slow_start() -> None:
    prr = ProportionalRate()
    prr.begin(20 * MSS, 10 * MSS, 0)
    prr.on_ack(MSS, 2 * MSS, MSS, safe=False)
    assert prr.window == 3 * MSS  # conservation of packets
    prr.out += MSS
    prr.on_ack(MSS, 2 * MSS, MSS, safe=True)
    assert prr.window == 4 * MSS
    prr.out += 2 * MSS
    prr.on_ack(50 * MSS, 4 * MSS, MSS, safe=True)
    assert prr.window == 10 * MSS  # never beyond the target


@pytest.mark.rfc("6937", "3 first")
def test_the_fast_retransmission_goes_out_at_once() -> None:
    prr = ProportionalRate()
    prr.begin(20 * MSS, 10 * MSS, MASK)
    prr.on_ack(1, 18 * MSS, MSS, safe=False)
    assert prr.window == 19 * MSS
    prr.on_sent(9)
    assert prr.out == 10


@pytest.mark.rfc("8985", "7.3")
def test_the_last_segment_may_be_a_fin_alone() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.write(bytes(3 * 1460))
    s.shutdown()
    s.out.clear()
    s.wait(1000 * MS)
    probe = s.out[0]
    assert (probe.flags, probe.seq, len(probe.data)) == ("FA", 1 + 2 * 1460, 1460)
    assert s.conn.stats.tcp_tail_probes == 1


@pytest.mark.rfc("8985", "7.4")
@pytest.mark.rfc("8985", "7.3")
def test_a_probe_is_no_time_out() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.write(bytes(3 * 1460))
    window = s.conn.cc.cwnd
    s.wait(12 * MS)
    assert (s.conn.stats.tcp_tail_probes, s.conn.cc.cwnd, s.conn.retries) == (1, window, 0)


def test_an_ack_in_the_same_batch_prevents_a_probe() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.write(bytes(3 * 1460))
    s.out.clear()
    s.now += 50 * MS  # nobody looked at the clock in time
    s.recv("A", 1, 1 + 1460)
    s.silence()
    assert s.conn.stats.tcp_tail_probes == 0


def test_rack_can_be_turned_off() -> None:
    s = passive(Settings(rack=False), wnd=65535, sack_permitted=True)
    assert s.conn.rack is None
    s.write(bytes(3 * 1460))
    s.out.clear()
    s.wait(150 * MS)
    s.silence()


# ------------------------------------------------------------------------------- the reordering window


@pytest.mark.rfc("8985", "6.2 window")
@pytest.mark.rfc("8985", "6.2 dsack")
@pytest.mark.rfc("8985", "6.2 persist")
def test_the_reordering_window_is_a_quarter_and_grows_by_needless_retransmissions() -> None:
    conn = passive(wnd=65535, sack_permitted=True).conn
    state = conn.rack
    assert state is not None
    state.min_rtt = 40 * MS
    assert state.reordering_window(100 * MS, certain=True) == 0
    assert state.reordering_window(100 * MS, certain=False) == 10 * MS
    state.reordering_seen = True
    assert state.reordering_window(100 * MS, certain=True) == 10 * MS
    rack.on_dsack(conn, state)
    assert state.reordering_window(100 * MS, certain=True) == 10 * MS, "nothing was sent again"
    state.resent = 100
    rack.on_dsack(conn, state)
    assert state.reordering_window(100 * MS, certain=True) == 20 * MS
    for _ in range(20):
        conn.snd_una = conn.snd_max
        conn.snd_max = (conn.snd_max + 10) & MASK
        rack.on_dsack(conn, state)
        rack.on_dsack(conn, state)  # once a round trip
    assert state.reordering_window(1000 * MS, certain=True) == 22 * 10 * MS
    assert state.reordering_window(100 * MS, certain=True) == 100 * MS, "never more than a round trip"
    for _ in range(15):
        state.recovery_ended()
    assert state.reo_wnd_mult == 22
    state.recovery_ended()
    assert state.reo_wnd_mult == 1


@pytest.mark.rfc("2018", "8 keep")
def test_a_peer_that_reneges_is_sent_everything_again() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.write(bytes(8 * 1460))
    s.out.clear()
    told = ((ISS + 1 + 1460) & MASK, (ISS + 1 + 8 * 1460) & MASK)
    s.now += 5 * MS
    s.recv("A", 1, 1, sack=(told,))
    assert [sent.seq for sent in s.out] == [1]
    s.out.clear()
    for n in range(1, 9):
        s.now += 5 * MS
        s.recv("A", 1, 1 + n * 1460)
    assert s.conn.stats.tcp_sack_reneging == 1
    assert [sent.seq for sent in s.out] == [1 + n * 1460 for n in range(1, 8)]
    assert s.conn.flight == 0
    assert s.conn.stats.tcp_retransmits == 0


@pytest.mark.rfc("6937", "3 bound")
def test_an_ack_that_reveals_more_losses_is_not_safe() -> None:
    s = passive(wnd=65535, sack_permitted=True)
    s.write(bytes(10 * 1460))
    state = s.conn.rack
    assert state is not None
    s.now += 5 * MS
    s.recv("A", 1, 1 + 1460, flush=False)
    state.safe_ack = True
    rack.detect(s.conn, state, s.now)
    assert state.safe_ack
    told = ((ISS + 1 + 3 * 1460) & MASK, (ISS + 1 + 8 * 1460) & MASK)
    s.recv("A", 1, 1 + 1460, sack=(told,), flush=False)
    rack.detect(s.conn, state, s.now)
    assert state.has_lost
    assert not state.safe_ack


def test_records_of_retransmissions_are_bounded() -> None:
    conn = passive(wnd=65535, sack_permitted=True).conn
    state = conn.rack
    assert state is not None
    undo.begin(conn, state, 0, timeout=False)
    assert state.episode is not None
    for n in range(undo.MAX_RANGES):
        undo.on_resent(state, (conn.snd_una + 10 * n) & MASK, 5, False)
    assert len(state.episode.ranges or ()) == undo.MAX_RANGES
    undo.on_resent(state, (conn.snd_una + 5000) & MASK, 5, False)
    assert state.episode.ranges is None


@pytest.mark.rfc("3708", "3")
def test_reports_in_any_order_and_of_any_size_add_up() -> None:
    rng = Random(3)
    for _ in range(100):
        s = passive(wnd=65535, sack_permitted=True)
        conn, state = s.conn, s.conn.rack
        assert state is not None
        conn.snd_max = (conn.snd_una + 1000) & MASK
        undo.begin(conn, state, 0, timeout=False)
        missing = set(range(100, 300)) | set(range(500, 600))
        undo.on_resent(state, (conn.snd_una + 100) & MASK, 150, False)
        undo.on_resent(state, (conn.snd_una + 250) & MASK, 50, False)
        undo.on_resent(state, (conn.snd_una + 500) & MASK, 100, False)
        while missing:
            assert conn.stats.tcp_undone == 0
            a = rng.randrange(-50, 600)
            b = a + rng.randrange(1, 120)
            missing -= set(range(a, b))
            undo.on_dsack(conn, state, (conn.snd_una + a) & MASK, (conn.snd_una + b) & MASK, 0)
        assert conn.stats.tcp_undone == 1
        assert state.episode is None
