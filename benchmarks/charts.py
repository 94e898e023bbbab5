"""Charts of any benchmark's report, as SVG: its table as bars, and its latencies as a distribution.

Needs the extra ``plots`` (matplotlib), as :mod:`plot` does, which has the style.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import plot
from report import Report

__all__ = ["bars_of", "distributions_of", "write"]

_NETWORK = "network"
"""Column of the contender, in tables with a row for each; as the first column it is what both are measured over."""
_NUMBER = re.compile(r"^-?[\d,]+(\.\d+)?( [A-Za-z]+)?$")
_LATENCY = re.compile(r"\blatency\b.*, us$")
"""Names of samples that are single latencies, in microseconds."""


def bars_of(report: Report) -> tuple[str, list[str], dict[str, list[float]]]:
    """Return what a table shows as bars: the unit, the cases, and the figures of each contender; NaN for none.

    In a table with a column for the network, each row is a figure of one contender: the first number after that
    column. Otherwise each column of numbers is a contender.
    """
    columns, rows = list(report.columns), report.rows
    if _NETWORK in columns[1:]:
        at = columns.index(_NETWORK)
        value = next((i for i in range(at + 1, len(columns)) if _is_number(rows, i)), at)
        names = [i for i in range(value) if i != at]
        cases: list[str] = []
        figures: dict[str, dict[str, float]] = {}
        for row in rows:
            case = "\n".join(row[i] for i in names)
            if case not in cases:
                cases.append(case)
            figures.setdefault(row[at], {})[case] = _number(row[value])
        nan = float("nan")
        return (
            columns[value],
            cases,
            {name: [by.get(case, nan) for case in cases] for name, by in figures.items()},
        )
    numbers = [i for i in range(1, len(columns)) if _is_number(rows, i)]
    names = [i for i in range(len(columns)) if i not in numbers and not _is_ratio(rows, i)]
    cases = ["\n".join(row[i] for i in names if row[i]) for row in rows]
    return "", cases, {columns[i]: [_number(row[i]) for row in rows] for i in numbers}


def distributions_of(report: Report) -> dict[str, list[float]]:
    """Return the latencies in a report, in microseconds, by what was measured."""
    return {
        name.removesuffix(", us"): sorted(values)
        for name, values in report.samples.items()
        if _LATENCY.search(name) and len(values) > 1
    }


def write(report: Report, folder: Path) -> list[Path]:
    """Write the charts of a report into a folder, which is made; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"\W+", "-", report.title.lower()).strip("-")
    written: list[Path] = []
    unit, cases, figures = bars_of(report)
    if cases and figures:
        written.append(folder / f"{stem}.svg")
        plot.draw(cases, figures, written[-1], unit)
    latencies = distributions_of(report)
    if latencies:
        written.append(folder / f"{stem}-distribution.svg")
        plot.draw_distributions(latencies, written[-1])
    return written


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
