"""docs/reference/tcp-throughput.md says what the engine does now. In virtual time, so to the last digit."""

from __future__ import annotations

import pytest

from tests.support.repository import load

RENEW = "if that is what you meant: python benchmarks/virtual.py --write"

virtual = load("benchmarks/virtual.py")
WRITTEN = virtual.written(virtual.PAGE.read_text())
CELLS = [(name, loss, rtt) for name in ("cubic", "reno") for loss in virtual.LOSSES for rtt in virtual.RTTS]


def quick(loss: float, rtt: int) -> bool:
    """Report whether a case carries little data, so that it is fast."""
    return loss >= 1 and rtt >= 100


@pytest.mark.parametrize(
    ("name", "loss", "rtt"),
    [pytest.param(*cell, marks=[] if quick(*cell[1:]) else pytest.mark.long) for cell in CELLS],
)
def test_a_figure(name: str, loss: float, rtt: int) -> None:
    assert virtual.cell(name, loss, rtt) == WRITTEN[name, loss, rtt], RENEW


def test_the_page_is_whole() -> None:
    assert list(WRITTEN) == CELLS
    assert virtual.PAGE.read_text().startswith(virtual.TEXT), RENEW


def test_the_same_twice() -> None:
    assert virtual.carry("cubic", 1.0, 20, seed=7) == virtual.carry("cubic", 1.0, 20, seed=7)
    assert virtual.carry("cubic", 1.0, 20, seed=7) != virtual.carry("cubic", 1.0, 20, seed=8)


@pytest.mark.long
@pytest.mark.parametrize("rtt", [10, 20, 100, 200])
def test_detection_by_time_carries_no_less_at_a_loss_of_5_percent(rtt: int) -> None:
    """Losses on both sides of the path, retransmissions among them. Without it, timeouts follow, and cost more."""
    by_time, by_count = (
        sum(virtual.carry("cubic", 5.0, rtt, seed=seed, rack=rack).mbits for seed in range(1, 9))
        for rack in (True, False)
    )
    assert by_time >= by_count
    reno = 8e-6 * 1448 * 1.22 / (rtt / 1000) / 0.05**0.5
    assert by_count / 8 < 1.5 * reno, (
        "a threshold from data that the peer has reported is unfair to other flows"
    )
