"""The benchmarks start and explain themselves. They are never timed here."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tests.support.repository import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
PROGRAMS = (
    "throughput", "memory", "latency", "rules", "many", "control", "dns", "embedded", "instructions", "vm", "tftp",
    "ipxe", "grub", "firmware", "udp", "attach", "start", "faults", "virtual", "simulated", "run_all",
)  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks are for Unix")
@pytest.mark.parametrize("name", [*PROGRAMS, "__main__"])
def test_help(name: str) -> None:
    """``--help`` names the options, on standard output."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--json FILE" in done.stdout
    assert "--svg FOLDER" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks are for Unix")
def test_a_mistake_in_the_options_is_reported() -> None:
    """Options that make no sense are refused before anything is measured."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "throughput.py"), "--seconds", "-1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "-1 is not above 0" in done.stderr


def test_every_benchmark_is_documented() -> None:
    """The README of the benchmarks names each program."""
    text = (BENCHMARKS / "README.md").read_text()
    assert [name for name in PROGRAMS if f"{name}.py" not in text] == []


def test_a_count_above_the_stored_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only counts of the same build are compared, and only those above the tolerance miss their bar."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # they import each other by their plain names
    instructions, report = importlib.import_module("instructions"), importlib.import_module("report")
    here = {"Python": "3"}
    stored = {"build": here, "counts": {"segment": {"IPv4": 1000, "IPv6": 1000}}}
    counts = {"segment": {"IPv4": 1021, "IPv6": 1019}, "datagram": {"IPv4": 5}}
    found = report.Report("", "", [])
    instructions.compare(found, counts, stored, here, 2.0)
    assert [(bar.what, bar.held) for bar in found.bars] == [
        ("segment, IPv4, change", False),
        ("segment, IPv6, change", True),
    ]
    assert found.remarks == ["datagram, IPv4: not stored yet"]
    other = report.Report("", "", [])
    instructions.compare(other, counts, stored, {"Python": "4"}, 2.0)
    assert not other.bars
    assert "another build" in other.remarks[0]
