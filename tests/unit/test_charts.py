"""``benchmarks/charts.py``: the right figures of each kind of table, and files that can be repeated."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.repository import REPOSITORY

PROGRAM = REPOSITORY / "benchmarks" / "charts.py"
COLUMNS = ["MTU", "direction", "connections", "network", "IP", "Gbit/s", "slirpy is", "CPU s"]
ROWS = [
    ("1500", "up", "1", "slirpy", "IPv4", "1,010.5", "", "0.7"),
    ("1500", "up", "1", "pasta", "IPv4", "7", "1.5x", "-"),
    ("65520", "down", "4", "slirpy", "IPv4", "11", "", "0.8"),
]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """``charts`` and ``report``, which import each other by their plain names."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    return importlib.import_module("charts"), importlib.import_module("report")


def test_a_row_for_each_network(modules: tuple[ModuleType, ModuleType]) -> None:
    """Each column of figures is a chart. Labels have what differs, and say what a number is."""
    charts, report = modules
    rate, cpu = charts.bars_of(report.Report("T", "", COLUMNS, ROWS))
    assert (rate.unit, rate.cases) == (
        "Gbit/s",
        ["MTU 1500\nup\n1 connections", "MTU 65520\ndown\n4 connections"],
    )
    assert rate.figures["slirpy"] == [1010.5, 11.0]
    assert rate.figures["pasta"][0] == 7.0
    assert math.isnan(rate.figures["pasta"][1])
    assert (cpu.unit, cpu.cases, cpu.figures["slirpy"]) == ("CPU s", rate.cases, [0.7, 0.8])


def test_a_column_for_each_contender(modules: tuple[ModuleType, ModuleType]) -> None:
    charts, report = modules
    rows = [
        ("loss 1 %", "1 ms", "to slirpy", "2.50", "1.25", "2.00x", "3%, 4%"),
        ("none", "20 ms", "from slirpy", "-", "9.00", "-", ""),
    ]
    found = report.Report("T", "", ["network", "delay", "way", "slirpy", "Linux", "slirpy is", "CPU"], rows)
    (bars,) = charts.bars_of(found)
    assert bars.cases == ["loss 1 %\ndelay 1 ms\nto slirpy", "none\ndelay 20 ms\nfrom slirpy"]
    assert bars.figures["Linux"] == [1.25, 9.0]
    assert list(bars.figures) == ["slirpy", "Linux"]
    assert bars.figures["slirpy"][0] == 2.5
    assert math.isnan(bars.figures["slirpy"][1])


def test_equal_reports_give_equal_files(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    charts, report = modules
    rows = [(f"case {number}", str(number + 1)) for number in range(9)]
    found = report.Report("Many at once", "", ["what", "value"], rows)
    found.samples = {
        "latency of one, up, us": [3.0, 1.0, 2.0],
        "latency of one, down, us": [5.0, 6.0],
        "rate": [1.0, 2.0],
    }
    assert charts.distributions_of(found) == {"up": [1.0, 2.0, 3.0], "down": [5.0, 6.0]}
    one, two = (charts.write(found, tmp_path / name) for name in ("one", "two"))
    assert [path.name for path in one] == ["many-at-once.svg", "many-at-once-distribution.svg"]
    assert [path.read_text() for path in one] == [path.read_text() for path in two]
    assert "case 8" in one[0].read_text()
    assert "down" in one[1].read_text()
    assert charts.write(report.Report("Nothing", "", ["what"]), tmp_path) == []


@pytest.mark.long
def test_stored_results_are_drawn_as_new_ones(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    """The file of ``--json`` gives the charts of ``--svg``, or those of some rows."""
    charts, report = modules
    found = report.Report("T", "", COLUMNS, ROWS, samples={"latency, up, us": [1.0, 2.0], "up": [3.0]})
    report.write_json(tmp_path / "results.json", [found], {})
    direct = charts.write(found, tmp_path / "direct")
    done = draw(tmp_path / "results.json", tmp_path / "later")
    assert [Path(line).name for line in done.stdout.splitlines()] == [path.name for path in direct]
    assert [Path(line).read_text() for line in done.stdout.splitlines()] == [
        path.read_text() for path in direct
    ]
    (some,) = charts.read(tmp_path / "results.json", ["1500", "up"])
    assert [row[3] for row in some.rows] == ["slirpy", "pasta"]
    assert list(charts.read(tmp_path / "results.json", ["up"])[0].samples) == ["latency, up, us", "up"]


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"facts": {}, "reports": []})])
def test_no_results_are_one_line(text: str, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(text)
    done = draw(results, tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def draw(results: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return subprocess.run(
        [sys.executable, PROGRAM, results, folder], capture_output=True, text=True, check=False, timeout=60
    )
