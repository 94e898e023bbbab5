"""docs/reference/tcp-throughput.md says what the engine does now. In virtual time, so to the last digit."""

from __future__ import annotations

import pytest

from tests.support.repository import load

RENEW = "if that is what you meant: python benchmarks/virtual.py --write"

virtual = load("benchmarks/virtual.py")
WRITTEN = virtual.written(virtual.PAGE.read_text())
CELLS = [(name, loss, rtt) for name in ("cubic", "reno") for loss in virtual.LOSSES for rtt in virtual.RTTS]


def quick(loss: float, rtt: int) -> bool:
    """Those that carry little are soon done."""
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
