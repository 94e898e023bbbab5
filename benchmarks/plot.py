"""Plot of the figures of ``throughput.py --json FILE`` as bars, slirpy next to its peers: an SVG for the
documentation.

Needs the extra ``plots`` (matplotlib). The background is transparent, and the colours suit light and dark pages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot  # after the choice of the backend
from matplotlib.figure import Figure

COLOURS = {"slirpy": "#009688", "slirp4netns": "#e08e45", "pasta": "#8e7cc3"}
"""A colour for each network; others are gray."""
MANY = 6
"""Cases that stand beside each other."""
GRAY = "#808080"
"""Text and axes: equally far from white and black."""


def figures(results: Any, connections: int = 1) -> tuple[list[str], dict[str, list[float]]]:
    """Return the median throughputs.

    Args:
        results: output of ``throughput.py --json``.
        connections: use only rows with this many parallel connections.

    Returns:
        The cases, such as ``"MTU 1500\\nguest to host"``, and for each network its Gbit/s in each case; NaN where it
        was not measured.

    Raises:
        ValueError: there is no throughput among the results.
    """
    cases: list[str] = []
    rates: dict[str, dict[str, float]] = {}
    if not isinstance(results, dict):
        raise ValueError("these are no results of a benchmark")
    for report in results.get("reports", []):
        for what, values in report["samples"].items():
            if not what.endswith(" Gbit/s") or f" x{connections} " not in what or not what.startswith("mtu="):
                continue
            case, _, network = what.removesuffix(" Gbit/s").partition(f" x{connections} ")
            mtu, _, direction = case.removeprefix("mtu=").partition(" ")
            label = f"MTU {mtu}\n{direction}"
            if label not in cases:
                cases.append(label)
            rates.setdefault(network, {})[label] = statistics.median(values)
    if not cases:
        raise ValueError(f"no throughput of {connections} connections in these results")
    return cases, {name: [found.get(case, float("nan")) for case in cases] for name, found in rates.items()}


def _style() -> None:
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


def draw(
    cases: Sequence[str],
    rates: Mapping[str, Sequence[float]],
    path: Path,
    unit: str = "Gbit/s (more is better)",
) -> None:
    """Write grouped bars to an SVG file. Equal figures give equal files. More than a few cases lie, and go down."""
    if len(cases) > MANY:
        _draw_lying(cases, rates, path, unit)
        return
    _style()
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    width = 0.8 / len(rates)
    for number, (name, values) in enumerate(rates.items()):
        places = [case + (number - (len(rates) - 1) / 2) * width for case in range(len(cases))]
        bars = axes.bar(places, values, width * 0.92, label=name, color=COLOURS.get(name, GRAY))
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=9)
    axes.set_xticks(range(len(cases)), cases)
    axes.set_ylabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(rates), loc="upper center", bbox_to_anchor=(0.5, 1.14))
    _save(figure, path)


def _draw_lying(cases: Sequence[str], rates: Mapping[str, Sequence[float]], path: Path, unit: str) -> None:
    """Write one group of horizontal bars below the other, on a logarithmic scale: cases may differ by much."""
    _style()
    figure, axes = pyplot.subplots(
        figsize=(8, 1 + 0.22 * len(cases) * max(len(rates), 2)), layout="constrained"
    )
    height = 0.8 / len(rates)
    for number, (name, values) in enumerate(rates.items()):
        places = [case + (number - (len(rates) - 1) / 2) * height for case in range(len(cases))]
        bars = axes.barh(places, values, height * 0.92, label=name, color=COLOURS.get(name, GRAY))
        axes.bar_label(bars, fmt="{:,.4g}", padding=2, fontsize=8)
    axes.set_yticks(range(len(cases)), [case.replace("\n", ", ") for case in cases])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(rates), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, path)


def draw_distributions(latencies: Mapping[str, Sequence[float]], path: Path) -> None:
    """Write the distribution of latencies in microseconds to an SVG file: the part that took no longer."""
    _style()
    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    for name, values in latencies.items():
        axes.ecdf(values, label=name)
    axes.set_xscale("log")
    axes.set_xlabel("microseconds (less is better)")
    axes.set_ylabel("part of the round trips")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="output of throughput.py --json")
    parser.add_argument("svg", type=Path, help="the file to write")
    parser.add_argument("--connections", type=int, default=1, help="parallel connections")
    arguments = parser.parse_args()
    try:
        cases, rates = figures(json.loads(arguments.results.read_text()), arguments.connections)
        draw(cases, rates, arguments.svg)
    except (OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
