"""Results: medians, tables in Markdown, JSON, and the facts about the machine, without which they are worthless."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from processes import BenchmarkError, congestion, raise_limits

__all__ = [
    "Bar",
    "Report",
    "common_options",
    "count",
    "facts",
    "main",
    "median",
    "positive",
    "ratio",
    "show",
    "write_json",
    "write_svg",
]


_NUMBERS = re.compile(r"\[[-\d.e+,\s]+\]")
"""A list of numbers, which takes one line in a file."""


@dataclass
class Bar:
    """A target, and the measured value."""

    what: str
    value: float
    limit: float
    at_least: bool
    """True if ``limit`` is a minimum or a maximum."""
    unit: str = ""
    digits: int | None = None
    """Digits after the point; None: 2 for values below 2, such as ratios, and 1 for others."""

    @property
    def held(self) -> bool:
        """Report whether the target is met."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        """Return the target as an item of a Markdown list."""
        digits = self.digits if self.digits is not None else 2 if abs(self.value) < 2 else 1
        sign, verdict = "at least" if self.at_least else "at most", "held" if self.held else "**missed**"
        return f"- {self.what}: {self.value:.{digits}f}{self.unit}, bar {sign} {self.limit:g}{self.unit}: {verdict}"


@dataclass
class Report:
    """The results of one benchmark."""

    title: str
    note: str
    """Explanation of the figures in a sentence or two."""
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Omissions and their reasons."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """Every single measurement, by subject."""

    def sample(self, what: str, value: float) -> None:
        """Keep one measurement."""
        self.samples.setdefault(what, []).append(value)

    def median(self, what: str) -> float | None:
        """Return the median of the measurements of a name; None without any."""
        return median(self.samples.get(what, []))

    def markdown(self) -> str:
        """Return heading, note, table, bars and remarks."""
        lines = [f"## {self.title}", "", self.note, ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + "---|" * len(self.columns)]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        if self.bars:
            lines += ["", *(bar.line() for bar in self.bars)]
        if self.remarks:
            lines += ["", *(f"- {remark}" for remark in self.remarks)]
        return "\n".join(lines) + "\n"


def median(values: Sequence[float]) -> float | None:
    """Return the median, or None without values."""
    return statistics.median(values) if values else None


def show(value: float | None, digits: int = 2) -> str:
    """Format a number for a table; a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(ours: float | None, theirs: float | None) -> str:
    """Return ours divided by theirs."""
    return "-" if ours is None or not theirs else f"{ours / theirs:.2f}x"


def _first_line(*argv: str) -> str | None:
    if shutil.which(argv[0]) is None:
        return None
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        return None
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version() -> str:
    from slirpy import __version__

    revision = None
    if shutil.which("git") is not None:
        repository = str(Path(__file__).parent)
        revision = _first_line("git", "-C", repository, "describe", "--always", "--dirty")
    return __version__ + (f" ({revision})" if revision else "")


def facts() -> dict[str, str]:
    """Return facts about the machine, and the versions of all participants."""
    load = "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    found = {
        "slirpy": _version(),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "load before": load,
    }
    if sys.platform == "linux":
        found["congestion control"] = congestion()
    for tool in ("slirp4netns", "pasta", "iperf3"):
        found[tool] = _first_line(tool, "--version") or "not installed"
    return found


def common_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` and ``--svg``."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every measurement to FILE too")
    parser.add_argument(
        "--svg", metavar="FOLDER", type=Path, help="write charts into FOLDER too; needs the extra plots"
    )


def positive(text: str) -> float:
    """Read an option's value: a number above 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def count(text: str) -> int:
    """Read an option's value: a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def write_json(path: Path, reports: Sequence[Report], machine: Mapping[str, str]) -> None:
    """Write all facts, rows, bars and measurements, these with five digits."""
    found = [asdict(report) for report in reports]
    for each in found:
        each["samples"] = {
            name: [float(f"{value:.5g}") for value in values] for name, values in each["samples"].items()
        }
    text = json.dumps({"facts": machine, "reports": found}, indent=1)
    path.write_text(_NUMBERS.sub(lambda list_: re.sub(r"\s+", " ", list_[0]), text) + "\n")


def write_svg(folder: Path, reports: Sequence[Report]) -> None:
    """Write the charts of all reports.

    Raises:
        BenchmarkError: matplotlib is missing, or the folder cannot be written.
    """
    try:
        import charts  # matplotlib takes a second to load

        for report in reports:
            for path in charts.write(report, folder):
                print(path, file=sys.stderr)
    except ModuleNotFoundError:
        raise BenchmarkError("--svg needs matplotlib: install the extra plots") from None
    except OSError as error:
        raise BenchmarkError(f"--svg {folder}: {error.strerror}") from None


def main(
    description: str | None,
    options: Callable[[argparse.ArgumentParser], None],
    measure: Callable[[argparse.Namespace], Report],
) -> Report:
    """Run the command line of a benchmark, and return what it has reported."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options(parser)
    common_options(parser)
    arguments = parser.parse_args()
    raise_limits()
    machine = facts()
    try:
        report = measure(arguments)
        print(report.markdown())
        print("; ".join(f"{name} {value}" for name, value in machine.items()))
        if arguments.json is not None:
            write_json(arguments.json, [report], machine)
        if arguments.svg is not None:
            write_svg(arguments.svg, [report])
    except BenchmarkError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    return report
