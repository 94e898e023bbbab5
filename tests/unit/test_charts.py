"""``benchmarks/charts.py``: the right figures of each kind of table, and files that can be repeated."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.repository import REPOSITORY


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """``charts`` and ``report``, which import each other by their plain names."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    return importlib.import_module("charts"), importlib.import_module("report")


def test_a_row_for_each_network(modules: tuple[ModuleType, ModuleType]) -> None:
    charts, report = modules
    rows = [
        ("1500", "up", "slirpy", "IPv4", "1,010.5", "", "0.7"),
        ("1500", "up", "pasta", "IPv4", "7", "1.5x", "-"),
        ("1500", "down", "slirpy", "IPv4", "11", "", "0.8"),
    ]
    found = report.Report("T", "", ["MTU", "direction", "network", "IP", "Gbit/s", "slirpy is", "CPU"], rows)
    unit, cases, figures = charts.bars_of(found)
    assert (unit, cases) == ("Gbit/s", ["1500\nup\nIPv4", "1500\ndown\nIPv4"])
    assert figures["slirpy"] == [1010.5, 11.0]
    assert figures["pasta"][0] == 7.0
    assert math.isnan(figures["pasta"][1])


def test_a_column_for_each_contender(modules: tuple[ModuleType, ModuleType]) -> None:
    charts, report = modules
    rows = [
        ("loss 1 %", "to slirpy", "2.50", "1.25", "2.00x", "3%, 4%"),
        ("none", "to slirpy", "-", "9.00", "-", ""),
    ]
    found = report.Report("T", "", ["network", "way", "slirpy", "Linux", "slirpy is", "CPU"], rows)
    _, cases, figures = charts.bars_of(found)
    assert cases == ["loss 1 %\nto slirpy", "none\nto slirpy"]
    assert figures["Linux"] == [1.25, 9.0]
    assert figures["slirpy"][0] == 2.5
    assert math.isnan(figures["slirpy"][1])


def test_equal_reports_give_equal_files(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    charts, report = modules
    rows = [(f"case {number}", str(number + 1)) for number in range(9)]
    found = report.Report("Many at once", "", ["what", "value"], rows)
    found.samples = {
        "latency, us": [3.0, 1.0, 2.0],
        "latency beside bulk, up, us": [5.0, 6.0],
        "rate": [1.0, 2.0],
    }
    assert charts.distributions_of(found) == {"latency": [1.0, 2.0, 3.0], "latency beside bulk, up": [5.0, 6.0]}
    one, two = (charts.write(found, tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in one] == ["many-at-once.svg", "many-at-once-distribution.svg"]
    assert [path.read_text() for path in one] == [path.read_text() for path in two]
    assert "case 8" in one[0].read_text()
    assert "latency beside bulk, up" in one[1].read_text()
    assert charts.write(report.Report("Nothing", "", ["what"]), tmp_path) == []
