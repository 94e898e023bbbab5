"""Congestion control: CUBIC beside a model of it in floating point, Reno, and what the engine tells them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slirpy.config.options import CONGESTION
from slirpy.interfaces import CongestionControl
from slirpy.tcp import Settings
from slirpy.tcp.congestion import ALGORITHMS, Cubic, Reno, initial_window
from slirpy.tcp.congestion.cubic import cube_root
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import MS, SECOND, Script, passive

MSS = 1000
UNKNOWN = 1 << 30


class Model:
    """RFC 9438 as it stands there: segments, seconds, floating point. Congestion avoidance after a loss."""

    C, ALPHA = 0.4, 3 * (1 - 0.7) / (1 + 0.7)

    def __init__(self, cwnd: float, w_max: float, cwnd_prior: float) -> None:
        self.cwnd = self.w_est = cwnd
        self.cwnd_prior = cwnd_prior
        self.w_max = max(w_max, cwnd)
        self.k = ((self.w_max - cwnd) / self.C) ** (1 / 3)

    def w_cubic(self, t: float) -> float:
        moved: float = self.C * (t - self.k) ** 3
        return moved + self.w_max

    def ack(self, t: float, rtt: float, segments: float, seen: Cubic) -> None:
        """Segments are acknowledged. Within two bytes of where the rules change either rule may be followed, as what
        was ``seen`` shows: whole bytes are compared there, and the steps differ by more than rounding does.
        """
        doubt = 2 / seen.mss
        slow, fast = (self.w_est + alpha * segments / self.cwnd for alpha in (self.ALPHA, 1.0))
        if abs(self.w_est - self.cwnd_prior) < doubt:
            self.w_est = min(slow, fast, key=lambda w_est: abs(w_est - seen.w_est / 1024 / seen.mss))
        else:
            self.w_est = slow if self.w_est < self.cwnd_prior else fast
        reno = max(self.cwnd, self.w_est)
        target = min(max(self.w_cubic(t + rtt), self.cwnd), 1.5 * self.cwnd)
        curve = self.cwnd + (target - self.cwnd) / self.cwnd * segments
        ahead = self.w_cubic(t) - self.w_est
        if abs(ahead) < doubt:
            self.cwnd = min(reno, curve, key=lambda cwnd: abs(cwnd - seen.cwnd / seen.mss))
        else:
            self.cwnd = reno if ahead < 0 else curve


def lost(cwnd: int, *, flight: int | None = None, mss: int = MSS) -> Cubic:
    """After a loss at this window, which was the first."""
    cc = Cubic(mss)
    cc.cwnd = cwnd
    cc.on_loss(cwnd if flight is None else flight)
    return cc


# --------------------------------------------------------------------------------------------- arithmetic


@given(st.integers(0, 1 << 200))
def test_cube_root(n: int) -> None:
    root = cube_root(n)
    assert root**3 <= n < (root + 1) ** 3


@pytest.mark.parametrize("root", [1, 2, 3, 10**9, 3 * 10**12])
def test_cube_root_of_cubes(root: int) -> None:
    assert [cube_root(root**3 + d) for d in (-1, 0, 1)] == [root - 1, root, root]


@pytest.mark.rfc("9438", "4.2")
@given(
    segments=st.integers(4, 3000),
    rtt=st.integers(10_000, 500 * MS),
    per_ack=st.integers(1, 3),
    mss=st.sampled_from((536, 1000, 1448, 8960)),
    rounds=st.integers(1, 12),
    start=st.integers(1, 1 << 62),
)
# The curves cross at the second one.
@example(segments=44, rtt=84_002_445, per_ack=2, mss=536, rounds=1, start=1)
# Reno comes to where it was before.
@example(segments=7, rtt=497_709_770, per_ack=1, mss=536, rounds=4, start=1)
def test_growth_is_that_of_the_model(
    segments: int, rtt: int, per_ack: int, mss: int, rounds: int, start: int
) -> None:
    """With equal ACKs, evenly spread over round trips, the difference never exceeds rounding errors."""
    cc = lost(segments * mss, mss=mss)
    model = Model(cc.cwnd / mss, segments, segments)
    now, acks = start, 0
    end = start + rounds * rtt
    while now < end and acks < 400:
        cc.on_ack(per_ack * mss, rtt, rtt, now)
        model.ack((now - start) / 1e9, rtt / 1e9, min(per_ack, model.cwnd), cc)
        now += rtt * per_ack * mss // cc.cwnd + 1
        acks += 1
        assert cc.cwnd / mss == pytest.approx(model.cwnd, rel=1e-3, abs=0.01)
    assert cc.k / 1e9 == pytest.approx(model.k, rel=1e-6, abs=1e-8)


@pytest.mark.rfc("9438", "4.2 bound")
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("on_ack"), st.integers(1, 1 << 20), st.integers(0, 10 * SECOND)),
            st.tuples(st.sampled_from(("on_loss", "on_timeout")), st.integers(0, 1 << 31)),
            st.tuples(st.sampled_from(("on_unused", "on_idle", "undo"))),
        ),
        max_size=60,
    ),
    st.sampled_from((Cubic, Reno)),
    st.sampled_from((8, 536, 1448, 65483)),
)
def test_the_window_stays_within_its_bounds(events: list[tuple[Any, ...]], made: Any, mss: int) -> None:
    cc: CongestionControl = made(mss)
    now = 1
    for name, *values in events:
        before = cc.cwnd
        if name == "on_ack":
            acked, passed = values
            now += passed
            cc.on_ack(acked, passed, passed, now)
            assert before <= cc.cwnd <= max(before + acked, before * 3 // 2)
            assert cc.cwnd >= min(before + 1, before + acked) or made is Cubic
        elif name == "on_unused":
            cc.on_unused(now)
            assert cc.cwnd == before
        elif name == "undo":
            cc.undo()
            assert cc.cwnd >= before
        else:
            getattr(cc, name)(*values)
            assert cc.cwnd <= max(before, values[0] if values else 0, 2 * mss)
        assert type(cc.cwnd) is int
        assert cc.cwnd >= min(mss, before)
        assert cc.ssthresh >= 2 * mss


# ------------------------------------------------------------------------------------------- CUBIC's rules


@pytest.mark.rfc("9438", "4.6")
def test_multiplicative_decrease() -> None:
    cc = lost(100 * MSS)
    assert (cc.cwnd, cc.ssthresh, cc.w_max) == (70 * MSS, 70 * MSS, 100 * MSS)
    cc = lost(2 * MSS)
    assert (cc.cwnd, cc.ssthresh) == (2 * MSS, 2 * MSS)
    cc = lost(100 * MSS, flight=50 * MSS)
    assert (cc.cwnd, cc.w_max) == (35 * MSS, 100 * MSS)  # what was on its way counts, not what might have been


@pytest.mark.rfc("9438", "4.7")
def test_fast_convergence() -> None:
    cc = lost(100 * MSS)
    cc.on_loss(70 * MSS)
    assert cc.w_max == 70 * MSS * 17 // 20  # it had not come back to 100: (1 + 0.7) / 2 of where it was
    cc.cwnd = 90 * MSS
    cc.on_loss(90 * MSS)
    assert cc.w_max == 90 * MSS


@pytest.mark.rfc("9438", "4.4")
@pytest.mark.rfc("9438", "4.5")
def test_the_curve_comes_back_after_k_and_goes_on() -> None:
    cc = lost(1000 * MSS)
    now = 5 * SECOND
    cc.on_ack(MSS, 0, 0, now)
    k = (300 / 0.4) ** (1 / 3)
    assert cc.k / 1e9 == pytest.approx(k)
    seen = {}
    for tenth in range(1, 200):
        for _ in range(60):
            cc.on_ack(10 * MSS, 100 * MS, 100 * MS, now + tenth * 100 * MS)
        seen[tenth] = cc.cwnd / MSS
    assert seen[round(10 * k)] == pytest.approx(1000, rel=0.01)
    assert seen[10] - seen[1] > 10 * (seen[91] - seen[82])  # concave: ever slower
    assert seen[199] - seen[190] > 10 * (seen[100] - seen[91])  # convex: ever faster


@pytest.mark.rfc("9438", "4.2 bound")
def test_no_more_than_half_as_much_again_in_a_round_trip() -> None:
    cc = lost(10 * MSS)
    cc.on_ack(1, 0, 0, SECOND)
    before = cc.cwnd
    cc.on_ack(cc.cwnd, 0, 0, 100 * SECOND)  # the curve is at 400 thousand segments
    assert cc.cwnd == before * 3 // 2


@pytest.mark.rfc("9438", "4.3")
def test_where_round_trips_are_short_it_is_as_fast_as_reno() -> None:
    """In the time of a thousand round trips of a millisecond the curve has moved by nothing."""
    cc = lost(20 * MSS)
    now, acked = SECOND, 0
    while cc.w_est >> 10 < 20 * MSS:
        cc.on_ack(MSS, MS, MS, now)
        now += MS * MSS // cc.cwnd
        acked += 1
        assert cc.cwnd == max(cc.w_est >> 10, 14 * MSS)
    # W_est grows by 9/17 of a segment a round trip ...
    assert acked == pytest.approx(6 * 17 * 17 / 9, rel=0.05)
    before, acked = cc.cwnd, 0
    while cc.cwnd < before + 6 * MSS:
        cc.on_ack(MSS, MS, MS, now)
        acked += 1
    assert acked == pytest.approx(6 * 23, rel=0.05)  # ... and from where it was before the loss by one


@pytest.mark.rfc("9438", "4.3")
def test_reno_s_own_pace_begins_exactly_at_the_former_window() -> None:
    for short, numerator in ((1, 9), (0, 17)):
        cc = lost(20 * MSS)
        cc.on_ack(1, MS, MS, SECOND)
        cc.w_est = before = (20 * MSS << 10) - short
        cc.on_ack(MSS, MS, MS, SECOND)
        assert cc.w_est - before == (MSS * MSS << 10) // (14 * MSS) * numerator // 17


@pytest.mark.rfc("9438", "4.8")
def test_time_out() -> None:
    cc = Cubic(MSS)
    cc.cwnd = 100 * MSS
    cc.on_timeout(50 * MSS)
    assert (cc.cwnd, cc.ssthresh) == (MSS, 35 * MSS)
    while cc.cwnd < 35 * MSS:
        assert cc.epoch is None
        cc.on_ack(MSS, 0, 0, SECOND)
    cc.on_ack(MSS, 0, 0, 2 * SECOND)
    assert cc.epoch == 2 * SECOND
    assert (cc.k, cc.w_max, cc.w_est >> 10) == (0, 35 * MSS, 35 * MSS + 9 * MSS // 17 // 35)


@pytest.mark.rfc("9438", "4.9")
@pytest.mark.parametrize("reduce", ["on_loss", "on_timeout"])
def test_undo(reduce: str) -> None:
    def grown() -> Cubic:
        cc = lost(100 * MSS)
        for n in range(50):
            cc.on_ack(MSS, 0, 10 * MS, SECOND + n * MS)
        return cc

    def state(cc: Cubic) -> list[object]:
        return [getattr(cc, name) for name in Cubic.__slots__ if name not in ("_before", "_fraction", "_start")]

    cc = grown()
    getattr(cc, reduce)(cc.cwnd)
    cc.on_ack(MSS, 0, 10 * MS, 2 * SECOND)
    cc.undo()
    assert state(cc) == state(grown())
    cc.cwnd = 5 * MSS
    cc.undo()  # a second time nothing happens
    assert cc.cwnd == 5 * MSS


def test_undo_leaves_a_window_that_has_grown_further() -> None:
    for cc in (Cubic(MSS), Reno(MSS)):
        cc.on_loss(10 * MSS)
        cc.cwnd = 50 * MSS
        cc.undo()
        assert (cc.cwnd, cc.ssthresh) == (50 * MSS, UNKNOWN)


@pytest.mark.rfc("5681", "3.1 initial-ssthresh")
def test_undo_of_nothing() -> None:
    for cc in (Cubic(MSS), Reno(MSS)):
        cc.undo()
        assert (cc.cwnd, cc.ssthresh) == (10 * MSS, UNKNOWN)


@pytest.mark.rfc("9438", "5.8")
def test_time_in_which_the_window_is_not_filled_does_not_count() -> None:
    busy, paused = lost(1000 * MSS), lost(1000 * MSS)
    for n in range(100):
        for cc in (busy, paused):
            cc.on_ack(MSS, 0, 0, SECOND + n * 10 * MS)
    paused.on_unused(2 * SECOND)
    busy.on_ack(MSS, 0, 0, 2 * SECOND)
    paused.on_ack(MSS, 0, 0, 60 * SECOND)
    assert paused.cwnd == busy.cwnd
    busy.on_ack(MSS, 0, 0, 3 * SECOND)
    paused.on_ack(MSS, 0, 0, 61 * SECOND)  # the pause is over, and counts once
    assert paused.cwnd == busy.cwnd


# ------------------------------------------------------------------------------------------- Reno and both


@pytest.mark.rfc("9293", "MAY-18")
def test_names() -> None:
    assert tuple(ALGORITHMS) == CONGESTION
    assert Settings().congestion is ALGORITHMS["cubic"] is Cubic
    assert ALGORITHMS["reno"] is Reno


@pytest.mark.rfc("6928", "2")
@pytest.mark.parametrize("made", ALGORITHMS.values())
@pytest.mark.parametrize(("mss", "window"), [(536, 5360), (1460, 14_600), (4000, 14_600), (8960, 17_920)])
def test_initial_window(made: Any, mss: int, window: int) -> None:
    assert made(mss).cwnd == initial_window(mss) == window


@pytest.mark.rfc("5681", "3.1")
@pytest.mark.rfc("9438", "4.10")
@pytest.mark.parametrize("made", ALGORITHMS.values())
def test_slow_start_ends_at_the_threshold(made: Any) -> None:
    cc: CongestionControl = made(MSS)
    cc.on_timeout(20 * MSS)
    for expected in (2, 4, 8):
        cc.on_ack(cc.cwnd, 0, 0, SECOND)
        assert cc.cwnd == expected * MSS
    cc.on_ack(500 * MSS, 0, 0, SECOND)  # what a filled hole acknowledges at once
    assert cc.cwnd == cc.ssthresh == (14 if made is Cubic else 10) * MSS


@pytest.mark.rfc("6928", "2 restart")
@pytest.mark.rfc("5681", "4.1")
@pytest.mark.parametrize("made", ALGORITHMS.values())
def test_idle(made: Any) -> None:
    cc: CongestionControl = made(MSS)
    cc.cwnd = 100 * MSS
    cc.ssthresh = 50 * MSS
    cc.on_idle()
    assert (cc.cwnd, cc.ssthresh) == (10 * MSS, 75 * MSS)
    cc.cwnd = 3 * MSS
    cc.on_idle()
    assert cc.cwnd == 3 * MSS


# -------------------------------------------------------------------------------- what the engine tells it


class Diary(Reno):
    """Algorithm that records its calls."""

    __slots__ = ("told",)

    def __init__(self, mss: int) -> None:
        super().__init__(mss)
        self.told: list[tuple[object, ...]] = []

    def on_ack(self, acked: int, rtt: int, srtt: int, now: int) -> None:
        self.told.append(("ack", acked, rtt, srtt))
        super().on_ack(acked, rtt, srtt, now)

    def on_unused(self, now: int) -> None:
        self.told.append(("unused", now))

    def on_idle(self) -> None:
        self.told.append(("idle",))
        super().on_idle()


def diary(**opts: Any) -> tuple[Script, list[tuple[object, ...]]]:
    s = passive(Settings(congestion=Diary), wnd=65535, mss=MSS, **opts)
    assert isinstance(s.conn.cc, Diary)
    return s, s.conn.cc.told


@pytest.mark.rfc("9438", "4.1")
def test_acknowledgements_of_a_full_window() -> None:
    s, told = diary()
    s.write(bytes(30 * MSS)).wait(40 * MS)
    s.recv("A", 1, 1 + MSS).wait(5 * MS)
    s.recv("A", 1, 1 + 3 * MSS)
    srtt = s.conn.rtt.srtt
    assert 0 < srtt < 40 * MS  # the handshake was quicker
    assert told == [("ack", MSS, 40 * MS, srtt), ("ack", 2 * MSS, 0, srtt)]  # one segment is timed


def test_each_acknowledgement_with_a_timestamp_measures() -> None:
    s, told = diary(timestamps=(7, 0))
    s.write(bytes(30 * MSS))
    first = s.send("A").options.timestamps
    assert first is not None
    s.wait(40 * MS).recv("A", 1, 1 + MSS, timestamps=(8, first[0]))
    s.recv("A", 1, 1 + 2 * MSS, timestamps=(8, first[0]))
    assert [entry[:3] for entry in told] == [("ack", MSS, 40 * MS)] * 2


@pytest.mark.rfc("9438", "5.8")
def test_a_user_that_writes_little_does_not_open_the_window() -> None:
    s, told = diary()
    for n in range(50):
        s.write(bytes(5 * MSS)).wait(MS)
        s.recv("A", 1, 1 + 5 * MSS * (n + 1))
    assert told == []
    assert s.conn.cc.cwnd == 10 * MSS


@pytest.mark.rfc("9438", "5.8")
def test_a_window_that_was_full_and_is_not_any_more() -> None:
    s, told = diary()
    s.write(bytes(12 * MSS)).wait(MS)
    s.recv("A", 1, 1 + 5 * MSS)  # the whole of it is on its way: what is left of the ten counts
    s.recv("A", 1, 1 + 10 * MSS)
    s.recv("A", 1, 1 + 12 * MSS)
    s.write(bytes(MSS)).wait(MS).recv("A", 1, 1 + 13 * MSS)
    s.write(bytes(MSS)).wait(MS).recv("A", 1, 1 + 14 * MSS)
    assert [entry[0] for entry in told] == ["ack", "ack", "unused"]
    assert s.conn.cc.cwnd == 20 * MSS
    s.write(bytes(20 * MSS)).wait(MS).recv("A", 1, 1 + 15 * MSS)
    assert told[-1][0] == "ack"


@pytest.mark.rfc("9438", "5.8")
def test_the_peers_window_bounds_ours() -> None:
    s, told = diary()
    s.conn.snd_wnd = 12 * MSS
    s.write(bytes(300 * MSS))
    for n in range(100):
        s.recv("A", 1, 1 + 2 * MSS * (n + 1), wnd=12 * MSS).wait(MS)
    assert s.conn.flight == 12 * MSS
    assert s.conn.cc.cwnd <= 24 * MSS
    assert told[-1][0] == "unused"


@pytest.mark.rfc("5681", "4.1")
def test_idle_is_longer_than_the_time_out_since_something_was_sent() -> None:
    s, told = diary()
    s.write(bytes(10 * MSS)).wait(MS).recv("A", 1, 1 + 10 * MSS)
    rto = s.conn.rtt.rto
    s.wait(rto - MS).write(bytes(10 * MSS)).wait(MS).recv("A", 1, 1 + 20 * MSS)
    assert ("idle",) not in told
    s.wait(rto).write(bytes(MSS))
    assert told[-1] == ("idle",)
    assert s.conn.cc.cwnd == 10 * MSS
    s.write(bytes(MSS))  # not again for what follows
    assert told.count(("idle",)) == 1


@pytest.mark.rfc("5681", "4.1")
def test_a_retransmission_ends_the_idle_period() -> None:
    s, told = diary()
    s.write(bytes(10 * MSS)).wait(150 * MS)
    for _ in range(3):
        s.recv("A", 1, 1)
    s.wait(100 * MS).recv("A", 1, 1 + 10 * MSS).write(bytes(MSS))
    assert s.conn.rtt.rto < 250 * MS
    assert ("idle",) not in told


@pytest.mark.rfc("5681", "4.1")
def test_the_window_after_an_idle_time_is_in_force_at_once() -> None:
    s, _ = diary()
    s.write(bytes(30 * MSS)).wait(MS)
    s.recv("A", 1, 1 + 10 * MSS).wait(MS).recv("A", 1, 1 + 30 * MSS)
    assert s.conn.cc.cwnd > 20 * MSS
    s.out.clear()
    s.wait(10 * SECOND).write(bytes(30 * MSS))
    assert len(s.out) == 10


def test_there_is_new_data_to_send_in_a_recovery() -> None:
    """Data that the peer reports to have left the network makes room for new data; without any, the path runs dry."""
    s = passive(Settings(congestion=Reno), wnd=1 << 15, wscale=6, mss=MSS, sack_permitted=True)
    s.conn.cc.cwnd = 400 * MSS
    s.recv("A", 1, 1, wnd=1 << 15)
    s.write(bytes(s.conn.write_room()))
    assert s.conn.flight == 400 * MSS
    una = s.conn.snd_una
    s.recv("A", 1, 1, wnd=1 << 15, sack=(((una + MSS) & MASK, (una + 390 * MSS) & MASK),))
    assert s.conn.in_recovery
    assert s.conn.cc.cwnd == 200 * MSS
    assert s.conn.flight > 400 * MSS  # what had been written ahead
    s.conn.write(bytes(s.conn.write_room()))
    assert s.conn.snd_buf.length - s.conn.flight == 1 << 16  # and as much lies ready again
