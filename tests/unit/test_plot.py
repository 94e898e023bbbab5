"""``benchmarks/plot.py``: medians of the right rows, and the same picture from the same figures."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.repository import REPOSITORY, load

PROGRAM = REPOSITORY / "benchmarks" / "plot.py"
RESULTS = {
    "facts": {},
    "reports": [
        {
            "samples": {
                "mtu=1500 guest to host x1 slirpy Gbit/s": [10.0, 12.0, 11.0],
                "mtu=1500 guest to host x1 slirpy CPU s/GiB": [0.5],
                "mtu=1500 guest to host x4 slirpy Gbit/s": [99.0],
                "mtu=1500 guest to host x1 pasta Gbit/s": [2.0],
                "mtu=1500 host to guest x1 slirpy Gbit/s": [13.5],
                "echo slirpy Gbit/s": [1.0],
            }
        }
    ],
}


@pytest.fixture(scope="module")
def plot() -> ModuleType:
    return load("benchmarks/plot.py")


def test_medians_of_each_case(plot: ModuleType) -> None:
    cases, rates = plot.figures(RESULTS)
    assert cases == ["MTU 1500\nguest to host", "MTU 1500\nhost to guest"]
    assert rates["slirpy"] == [11.0, 13.5]
    assert rates["pasta"][0] == 2.0
    assert math.isnan(rates["pasta"][1])
    assert plot.figures(RESULTS, connections=4) == (["MTU 1500\nguest to host"], {"slirpy": [99.0]})


def test_the_same_figures_give_the_same_file(plot: ModuleType, tmp_path: Path) -> None:
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    for path in (one, two):
        plot.draw(*plot.figures(RESULTS), path)
    text = one.read_text()
    assert text == two.read_text()
    for word in ("slirpy", "pasta", "11.0", "13.5", "guest to host"):
        assert word in text


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"facts": {}, "reports": []})])
def test_no_figures_are_one_line(text: str, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(text)
    done = subprocess.run(
        [sys.executable, PROGRAM, results, tmp_path / "out.svg"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.svg").exists()
