"""The table and the plots of ``benchmarks/truth.py``."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.repository import REPOSITORY

RESULTS: dict[str, Any] = {
    "lost SYN": {
        "simulated": {
            "times": {"client end": 1.04},
            "facts": {"client": {"answers": 1, "error": "ETIMEDOUT"}, "server": {"received": [1000, "00"]}},
        },
        "linux": [{"times": {"client end": when}} for when in (1.05, 1.09, 1.06)],
        "reason": "none",
        "shown": "client end",
    }
}


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    return importlib.import_module("truth")


def test_table(truth: ModuleType) -> None:
    """A row has the median, the range, and the difference."""
    row = (
        "| lost SYN | client: 1 answer; client: ETIMEDOUT; server: 1,000 bytes | 1.040 s"
        " | 1.060 s (1.050 to 1.090) | +20 ms | none |\n"
    )
    assert truth.table(RESULTS).endswith(row)


def test_plots(truth: ModuleType) -> None:
    """Both are well-formed, and show each point."""
    times = ElementTree.fromstring(truth.times_plot(RESULTS))
    assert len(times.findall("{*}circle")) == 4  # two of them in the legend
    points = [(0.01, 1.4, False), (0.02, 2.8, True)]
    sequence = truth.sequence_plot(points, points[:1])
    assert sequence.count("m0 -8l-8 8") == 1
    assert len(ElementTree.fromstring(sequence).findall("{*}circle")) == 4
