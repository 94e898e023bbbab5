"""HyStart++ (RFC 9406): when the first slow start of CUBIC ends."""

from __future__ import annotations

import pytest

from slirpy.tcp.congestion import Cubic
from slirpy.tcp.congestion.hystart import CSS_ROUNDS

MSS = 1000
MS = 1_000_000
SECOND = 1_000 * MS


def one_round(cc: Cubic, rtt: int, *, last: int | None = None, samples: int = 1000) -> None:
    """A window is acknowledged, a segment at a time.

    Args:
        rtt: nanoseconds that each measures; the first ones of a round are met by the emptiest queue.
        last: what those after the first eight measure instead.
        samples: how many measure something.
    """
    for n in range(cc.cwnd // MSS):
        measured = rtt if last is None or n < 8 else last
        cc.on_ack(MSS, measured if n < samples else 0, rtt, SECOND)


@pytest.mark.rfc("9406", "4.2")
def test_doubling_goes_on_while_round_trips_stay_as_they_are() -> None:
    cc = Cubic(MSS)
    for n in range(1, 10):
        one_round(cc, 20 * MS)
        assert cc.cwnd == 10 * MSS << n
    assert cc.ssthresh == 1 << 30


@pytest.mark.rfc("9406", "4.2")
@pytest.mark.parametrize(
    ("before", "longer"),
    [(MS, 5 * MS), (20 * MS, 24 * MS), (80 * MS, 90 * MS), (400 * MS, 416 * MS)],
    ids=["4 ms at least", "4 ms", "an eighth", "16 ms at most"],
)
def test_the_rtt_threshold_is_an_eighth_within_4_to_16_ms(before: int, longer: int) -> None:
    """An eighth of the round trip, but 4 to 16 ms."""
    for rtt, grows in ((longer - 1, 2), (longer, 1.25)):
        cc = Cubic(MSS)
        one_round(cc, before)
        one_round(cc, before)
        one_round(cc, rtt)
        start = cc.cwnd
        one_round(cc, rtt)
        assert cc.cwnd / start == pytest.approx(grows, rel=0.02)


@pytest.mark.rfc("9406", "4.2")
def test_slow_start_ends_after_five_conservative_rounds() -> None:
    cc = Cubic(MSS)
    one_round(cc, 20 * MS)
    one_round(cc, 30 * MS)
    for _ in range(CSS_ROUNDS):
        assert cc.ssthresh == 1 << 30
        one_round(cc, 30 * MS)
    one_round(cc, 30 * MS)
    assert cc.ssthresh < 100 * MSS
    assert cc.cwnd >= cc.ssthresh
    assert cc.epoch == SECOND
    assert cc.cwnd_prior == cc.ssthresh  # RFC 9438, section 4.10
    assert (cc.k, cc.w_max) == (0, cc.ssthresh)


@pytest.mark.rfc("9406", "4.2")
def test_noise_does_not_end_it() -> None:
    cc = Cubic(MSS)
    one_round(cc, 20 * MS)
    one_round(cc, 30 * MS)
    one_round(cc, 30 * MS)
    one_round(cc, 29 * MS)  # shorter than when the conservative part began
    for _ in range(3):
        before = cc.cwnd
        one_round(cc, 29 * MS)
        assert cc.cwnd == pytest.approx(2 * before, rel=0.02)
    assert cc.ssthresh == 1 << 30


@pytest.mark.rfc("9406", "4.2")
def test_the_least_of_a_round_counts() -> None:
    """A queue that our own burst makes, and that is gone again, is none."""
    cc = Cubic(MSS)
    for n in range(1, 8):
        one_round(cc, 20 * MS, last=60 * MS)
        assert cc.cwnd == 10 * MSS << n


@pytest.mark.rfc("9406", "4.2")
def test_seven_measurements_are_too_few() -> None:
    cc = Cubic(MSS)
    one_round(cc, 20 * MS)
    for n in range(2, 8):
        one_round(cc, 200 * n * MS, samples=7)
        assert cc.cwnd == 10 * MSS << n


@pytest.mark.rfc("9406", "4.3")
@pytest.mark.parametrize("reduce", ["on_loss", "on_timeout"])
def test_only_the_first_slow_start_is_watched(reduce: str) -> None:
    cc = Cubic(MSS)
    one_round(cc, 20 * MS)
    getattr(cc, reduce)(1000 * MSS)
    cc.cwnd = 10 * MSS
    for n in range(1, 6):
        one_round(cc, 50 * n * MS)
        assert cc.cwnd == 10 * MSS << n


@pytest.mark.rfc("9406", "4.3")
def test_hystart_continues_after_a_spurious_loss() -> None:
    cc = Cubic(MSS)
    one_round(cc, 20 * MS)
    one_round(cc, 20 * MS)
    cc.on_loss(cc.cwnd)
    cc.undo()
    one_round(cc, 40 * MS)
    before = cc.cwnd
    one_round(cc, 40 * MS)
    assert cc.cwnd < 1.3 * before
