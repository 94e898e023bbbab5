"""The simulator beside two Linux kernels: ``python -m benchmarks.truth --rounds 5 --out docs/assets``.

Runs the scenarios of ``tests/system/sim`` once in virtual time and several times in real time, with the same faults,
prints a table, and writes ``truth.json`` and the plots ``truth-times.svg`` and ``truth-sequence.svg``. Needs
root on Linux. The plots have no background, and their colours suit light and dark pages.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from slirpy.testing.sim.network import Network
from slirpy.testing.sim.segments import seen
from slirpy.testing.sim.trace import FrameRecord
from slirpy.units import SECOND
from slirpy.wire import ipv4, tcp

SIMULATED = "#009688"
LINUX = "#e08e45"
GRAY = "#808080"
"""Text and axes: equally far from white and black."""
WIDTH = 760
LEFT = 230
ROW = 18
EXAMPLE = "loss of 1 %"
"""The scenario whose segments are drawn."""

Point = tuple[float, float, bool]
"""Seconds, KiB from the beginning of the stream, and whether the segment was lost."""


def outcome_text(facts: dict[str, Any]) -> str:
    """Describe the facts of a scenario."""
    words = []
    for side in ("client", "server"):
        known = facts[side]
        for name, value in known.items():
            if name == "error":
                words.append(f"{side}: {value}")
            elif name == "received":
                words.append(f"{side}: {value[0]:,} bytes")
            elif name in ("answers", "right", "arrived"):
                what = "datagram" if name == "arrived" else "answer"
                words.append(f"{side}: {value} {what}{'' if value == 1 else 's'}")
    return "; ".join(words)


def _times(found: dict[str, Any]) -> tuple[float, list[float]]:
    """Return the time of a scenario that is shown: simulated, and in each real run."""
    shown = found["shown"]
    return found["simulated"]["times"][shown], [run["times"][shown] for run in found["linux"]]


def table(results: dict[str, Any]) -> str:
    """Return a table of Markdown."""
    lines = [
        "| scenario | outcome, equal in both | simulated | Linux: median (range) | difference | reason |",
        "|---|---|--:|--:|--:|---|",
    ]
    for name, found in results.items():
        ours, theirs = _times(found)
        middle = statistics.median(theirs)
        spread = f"{middle:.3f} s ({min(theirs):.3f} to {max(theirs):.3f})"
        text = outcome_text(found["simulated"]["facts"])
        cells = name, text, f"{ours:.3f} s", spread, f"{(middle - ours) * 1000:+.0f} ms", found["reason"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def segments(net: Network) -> list[Point]:
    """Return the data segments of the client's first connection."""
    points: list[Point] = []
    first: tuple[int, float] | None = None
    for record in net.trace.records:
        packet = seen(record.frame) if isinstance(record, FrameRecord) and record.source == "client" else None
        if packet is None or packet.protocol != ipv4.TCP or not isinstance(record, FrameRecord):
            continue
        if packet.flags & tcp.SYN and first is None:
            first = packet.seq, record.time / SECOND
        elif packet.length and first is not None:
            offset = (packet.seq - first[0]) & 0xFFFFFFFF
            points.append((record.time / SECOND - first[1], offset / 1024, record.lost))
    return points


def _svg(height: int, parts: Iterable[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"'
    return "\n".join([f'{head} font-size="12" fill="{GRAY}">', *parts, "</svg>"]) + "\n"


def _legend(y: int) -> list[str]:
    return [
        f'<circle cx="{LEFT}" cy="{y}" r="4" fill="{SIMULATED}"/><text x="{LEFT + 10}" y="{y + 4}">simulated</text>',
        f'<circle cx="{LEFT + 110}" cy="{y}" r="4" fill="{LINUX}"/>'
        f'<text x="{LEFT + 120}" y="{y + 4}">between two Linux kernels</text>',
    ]


def _axis(bottom: int, top: int, most: float, unit: float, right: int) -> list[str]:
    parts = []
    for number in range(int(most / unit) + 1):
        x = LEFT + (right - LEFT) * number * unit / most
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="{GRAY}" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number * unit:g} s</text>')
    return parts


def times_plot(results: dict[str, Any]) -> str:
    """Return a plot of the time of each scenario in both worlds, as SVG."""
    right, top = WIDTH - 20, 30
    most = max(max(_times(found)[1]) for found in results.values()) * 1.05
    bottom = top + ROW * len(results)
    parts = _legend(12) + _axis(bottom, top, most, 0.5, right)
    for number, (name, found) in enumerate(results.items()):
        y = top + ROW * number + ROW // 2
        simulated, linux = _times(found)
        places = [LEFT + (right - LEFT) * when / most for when in linux]
        ours = LEFT + (right - LEFT) * simulated / most
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{name}</text>')
        parts.append(f'<path d="M{min(places):.1f} {y}H{max(places):.1f}" stroke="{LINUX}" stroke-width="2"/>')
        parts.append(f'<circle cx="{statistics.median(places):.1f}" cy="{y}" r="4" fill="{LINUX}"/>')
        parts.append(f'<circle cx="{ours:.1f}" cy="{y}" r="4" fill="{SIMULATED}" fill-opacity="0.8"/>')
    return _svg(bottom + 24, parts)


def sequence_plot(simulated: Sequence[Point], linux: Sequence[Point]) -> str:
    """Return a time-sequence diagram of both worlds, as SVG: lost segments are crosses."""
    left, right, top, bottom = 60, WIDTH - 20, 30, 330
    width = max(when for when, _, _ in (*simulated, *linux)) * 1.03
    height = max(place for _, place, _ in (*simulated, *linux)) * 1.03
    parts = _legend(12)
    for number in range(int(width / 0.05) + 1):
        x = left + (right - left) * number * 0.05 / width
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number * 50} ms</text>')
    for kib in range(0, int(height) + 1, 128):
        y = bottom - (bottom - top) * kib / height
        parts.append(f'<path d="M{left} {y:.1f}H{right}" stroke="{GRAY}" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{kib} KiB</text>')
    for colour, points in ((LINUX, linux), (SIMULATED, simulated)):
        for when, place, lost in points:
            x, y = left + (right - left) * when / width, bottom - (bottom - top) * place / height
            if lost:
                cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
                parts.append(f'<path d="{cross}" stroke="{colour}" stroke-width="2"/>')
            else:
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="{colour}"/>')
    return _svg(bottom + 24, parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs in real time")
    parser.add_argument("--out", type=Path, default=Path("docs/assets"), help="folder of the results")
    options = parser.parse_args()
    from tests.system.sim.compare import unequal
    from tests.system.sim.scenarios import SCENARIOS
    from tests.system.sim.worlds import real, several, virtual

    results: dict[str, Any] = {}
    rounds = [several(SCENARIOS, at_once=1) for _ in range(options.rounds)]
    for name, scenario in SCENARIOS.items():
        simulated, _ = virtual(name)
        linux = [each[name] for each in rounds]
        for each in linux:
            problems = unequal(scenario, simulated, each)
            if problems:
                raise SystemExit(f"{name}: {'; '.join(problems)}")
        results[name] = {
            "simulated": vars(simulated),
            "linux": [vars(each) for each in linux],
            "reason": scenario.reason,
            "shown": scenario.shown,
        }
    out: Path = options.out
    (out / "truth.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")
    (out / "truth-times.svg").write_text(times_plot(results))
    plot = sequence_plot(segments(virtual(EXAMPLE)[1]), segments(real(EXAMPLE)[1]))
    (out / "truth-sequence.svg").write_text(plot)
    print(table(results))


if __name__ == "__main__":
    main()
