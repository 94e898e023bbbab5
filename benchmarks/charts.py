"""Charts of any benchmark's results, as SVG: its table as bars, and its latencies as a distribution.

``--svg FOLDER`` of a benchmark draws what was just measured. This program draws the file that ``--json FILE`` has
written, also later and elsewhere::

    python benchmarks/charts.py docs/assets/latency.json docs/assets --only "one CPU"

Needs the extra ``plots`` (matplotlib). The background is transparent, and the colours suit light and dark pages.
Equal figures give equal files.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot  # after the choice of the backend
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Report

__all__ = ["Bars", "bars_of", "distributions_of", "draw_bars", "draw_distributions", "read", "write"]

COLOURS = {
    "slirpy": "#009688",
    "slirp4netns": "#e08e45",
    "pasta": "#8e7cc3",
    "Linux": "#e08e45",
    "relay": "#808080",
}
"""A colour for each contender."""
OTHERS = ("#009688", "#e08e45", "#8e7cc3", "#c2185b", "#5b8def", "#808080")
"""Colours for all others, in turn."""
STYLES = ("-", "--", ":", "-.")
"""Line styles of several distributions of one contender."""
MANY = 6
"""Cases that stand beside each other; more lie below each other."""
WIDE = 50
"""Ratio of the largest to the smallest figure from which on the scale is logarithmic."""
GRAY = "#808080"
"""Text and axes: equally far from white and black."""

_NETWORK = "network"
"""Column of the contender, in tables with a row for each; as the first column it is what both are measured over."""
_NUMBER = re.compile(r"^-?[\d,]+(\.\d+)?( [A-Za-z]+)?$")
_LATENCY = re.compile(r"\blatency\b.*, us$")
"""Names of samples that are single latencies, in microseconds."""


class Bars:
    """A group of bars for each case, and in it a bar for each contender.

    Args:
        unit: what the figures are; empty if the cases say it.
        cases: label of each case.
        figures: by contender, one for each case; NaN for none.
    """

    def __init__(self, unit: str, cases: list[str], figures: dict[str, list[float]]) -> None:
        self.unit, self.cases, self.figures = unit, cases, figures


# ------------------------------------------------------------------------------- what is to be drawn


def bars_of(report: Report) -> list[Bars]:
    """Return what a table shows as bars.

    In a table with a column for the network, each row has the figures of one contender: each column of numbers after
    that one is a chart. Otherwise each column of numbers at the end is a contender, all in one chart.
    """
    columns, rows = list(report.columns), report.rows
    if _NETWORK in columns[1:]:
        at = columns.index(_NETWORK)
        values = [i for i in range(at + 1, len(columns)) if _is_number(rows, i)]
        names = [i for i in range(min(values, default=0)) if i != at]
        return [_of_rows(columns, rows, names, at, value) for value in values]
    texts = [i for i in range(len(columns)) if not (_is_number(rows, i) or _is_ratio(rows, i))]
    last = max(texts, default=0)  # numbers before it, such as a delay, name the case
    cases = _labels(columns, rows, list(range(last + 1)))
    figures = {
        columns[i]: [_number(row[i]) for row in rows]
        for i in range(last + 1, len(columns))
        if _is_number(rows, i)
    }
    return [Bars("", cases, figures)] if figures else []


def _of_rows(columns: list[str], rows: Sequence[Sequence[str]], names: list[int], at: int, value: int) -> Bars:
    """Return the bars of one column of numbers, whose contenders are in the column ``at``."""
    labels = _labels(columns, rows, names)
    figures: dict[str, dict[str, float]] = {}
    for label, row in zip(labels, rows, strict=True):
        figures.setdefault(row[at], {})[label] = _number(row[value])
    cases = list(dict.fromkeys(labels))
    nan = float("nan")
    return Bars(
        columns[value], cases, {name: [by.get(case, nan) for case in cases] for name, by in figures.items()}
    )


def _labels(columns: list[str], rows: Sequence[Sequence[str]], names: list[int]) -> list[str]:
    """Return a label for each row, of those columns that differ. A number alone says nothing: its column precedes."""
    telling = [i for i in names if len({row[i] for row in rows}) > 1] or names[:1]
    return ["\n".join(_label(columns[i], row[i]) for i in telling if row[i]) for row in rows]


def _label(column: str, value: str) -> str:
    """Return what a cell says by itself: ``MTU 1500``, ``4 connections``, or a text as it is."""
    if not _NUMBER.match(value):
        return value
    return f"{value} {column}" if column.endswith("s") else f"{column} {value}"


def distributions_of(report: Report) -> dict[str, list[float]]:
    """Return the latencies in a report, in microseconds, by what was measured, as far as that differs."""
    found = {
        name.removesuffix(", us"): sorted(values)
        for name, values in report.samples.items()
        if _LATENCY.search(name) and len(values) > 1
    }
    parts = [name.split(", ") for name in found]
    common = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    return {
        ", ".join(part for part in name.split(", ") if part not in common): values
        for name, values in found.items()
    }


def _is_number(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Report whether a column has numbers, and perhaps gaps."""
    values = [row[column] for row in rows if row[column] not in ("", "-")]
    return bool(values) and all(_NUMBER.match(value) for value in values)


def _is_ratio(rows: Sequence[Sequence[str]], column: int) -> bool:
    """Report whether a column compares others, or has several figures in a cell."""
    return any(re.match(r"^[\d.]+[x%]", row[column]) for row in rows)


def _number(text: str) -> float:
    found = re.match(r"-?[\d,]+(\.\d+)?", text)
    return float(found[0].replace(",", "")) if found else float("nan")


def read(path: Path, only: Sequence[str] = ()) -> list[Report]:
    """Read the reports that ``--json`` has written.

    Args:
        path: the file.
        only: texts that a row, or the name of a measurement, must contain to be kept.

    Raises:
        ValueError: the file has no results of a benchmark.
    """
    results: Any = json.loads(path.read_text())
    try:
        reports = [
            Report(
                each["title"],
                each["note"],
                each["columns"],
                [row for row in each["rows"] if all(text in " ".join(row) for text in only)],
                samples={
                    name: values
                    for name, values in each["samples"].items()
                    if all(text in name for text in only)
                },
            )
            for each in results["reports"]
        ]
    except (KeyError, TypeError):
        reports = []
    if not reports:
        raise ValueError("these are no results of a benchmark")
    return reports


# ------------------------------------------------------------------------------------------ drawing


def draw_bars(bars: Bars, path: Path) -> None:
    """Write grouped bars to an SVG file: beside each other, and more than a few cases below each other."""
    known = [value for values in bars.figures.values() for value in values if value > 0]
    lying, wide = len(bars.cases) > MANY, bool(known) and max(known) > WIDE * min(known)
    groups = len(bars.cases) * max(len(bars.figures), 2)
    figure, axes = _figure(1 + 0.22 * groups if lying else 3.6)
    thickness = 0.8 / len(bars.figures)
    for number, (name, values) in enumerate(bars.figures.items()):
        places = [case + (number - (len(bars.figures) - 1) / 2) * thickness for case in range(len(bars.cases))]
        draw = axes.barh if lying else axes.bar
        drawn = draw(places, values, thickness * 0.92, label=name, color=_colour(name, number))
        axes.bar_label(drawn, labels=[_short(value) for value in values], padding=2, fontsize=8 if lying else 9)
    scale = "log" if wide else "linear"
    if lying:
        axes.set_yticks(range(len(bars.cases)), [case.replace("\n", ", ") for case in bars.cases])
        axes.set_ylim(len(bars.cases) - 0.5, -0.5)
        axes.set_xscale(scale)
        axes.margins(x=0.12)
        axes.set_xlabel(bars.unit)
    else:
        axes.set_xticks(range(len(bars.cases)), bars.cases)
        axes.set_yscale(scale)
        axes.set_ylabel(bars.unit)
    axes.legend(frameon=False, ncols=len(bars.figures), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, path)


def draw_distributions(latencies: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write the distribution of latencies in microseconds to an SVG file: the part that took no longer."""
    figure, axes = _figure(3.6)
    drawn: dict[str, int] = {}
    for number, (name, values) in enumerate(latencies.items()):
        contender = next((each for each in COLOURS if name.endswith(each)), "")
        style = drawn[contender] = drawn.get(contender, -1) + 1
        line = STYLES[style % len(STYLES)] if contender else "-"
        axes.ecdf(values, label=name, color=_colour(contender, number), linestyle=line)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("microseconds of a round trip (less is better)")
    axes.set_ylabel("part of the round trips")
    axes.legend(frameon=False)
    _save(figure, path)


def _figure(height: float) -> tuple[Figure, Axes]:
    """Make a figure of so many inches, in the style of all charts."""
    pyplot.rcParams.update(
        {
            "axes.edgecolor": GRAY,
            "axes.labelcolor": GRAY,
            "font.family": "sans-serif",
            "svg.fonttype": "none",
            "svg.hashsalt": "slirpy",
            "text.color": GRAY,
            "xtick.color": GRAY,
            "ytick.color": GRAY,
        }
    )
    figure, axes = pyplot.subplots(figsize=(8, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _colour(name: str, number: int) -> str:
    return COLOURS.get(name) or OTHERS[number % len(OTHERS)]


def _short(value: float) -> str:
    """Format a figure with three digits or more, so that small and large ones stand beside each other."""
    if value != value:
        return ""
    rounded = abs(float(f"{value:.3g}"))
    return f"{value:,.{0 if rounded >= 100 else 1 if rounded >= 10 else 2}f}"


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def _stem(text: str) -> str:
    return re.sub(r"\W+", "-", text.lower()).strip("-")


def write(report: Report, folder: Path) -> list[Path]:
    """Write the charts of a report into a folder, which is made; returns the files.

    The first one has the name of the report. Further ones add what they show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = _stem(report.title)
    written: list[Path] = []
    for bars in bars_of(report):
        if bars.cases:
            written.append(folder / f"{stem}{f'-{_stem(bars.unit)}' if written else ''}.svg")
            draw_bars(bars, written[-1])
    latencies = distributions_of(report)
    if latencies:
        written.append(folder / f"{stem}-distribution.svg")
        draw_distributions(latencies, written[-1])
    return written


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Charts of a benchmark's results, as SVG.")
    parser.add_argument("results", type=Path, help="what --json of a benchmark has written")
    parser.add_argument("folder", type=Path, help="folder of the charts")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="only rows and measurements that contain every TEXT",
    )
    arguments = parser.parse_args()
    try:
        for report in read(arguments.results, arguments.only):
            for path in write(report, arguments.folder):
                print(path)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
