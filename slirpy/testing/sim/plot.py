"""Time-sequence diagrams of TCP connections as SVG, in the manner of tcptrace.

Time runs to the right, sequence numbers upwards. Each segment is a vertical stroke at the time at which it was sent:
retransmissions in another colour, lost ones crossed. The lower line is what the sender knew to be acknowledged, the
upper one the edge of the peer's window; strokes between them are blocks that SACK reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape

from slirpy.testing.sim.connections import TraceConnection
from slirpy.testing.sim.sequence import Mark, Series, series_of
from slirpy.testing.sim.trace import NoteRecord
from slirpy.units import SECOND

__all__ = ["SIGNATURE", "STYLE", "plot"]

SIGNATURE = "<!-- time-sequence diagram by slirpy -->"
STYLE = """
.tsd { --ink:#24292f; --soft:#d0d7de; --paper:#ffffff; --sent:#0969da; --again:#d1242f; --ack:#1a7f37;
  --win:#9a6700; --sack:#8250df; font:12px system-ui,sans-serif; color:var(--ink) }
@media (prefers-color-scheme: dark) { .tsd { --ink:#c9d1d9; --soft:#30363d; --paper:#0d1117; --sent:#58a6ff;
  --again:#ff7b72; --ack:#56d364; --win:#e3b341; --sack:#bc8cff } }
.tsd text { fill:var(--ink) } .tsd path { fill:none; stroke-width:1.5 }
.tsd .grid { stroke:var(--soft); stroke-width:.7 } .tsd .win { stroke:var(--win) } .tsd .ack { stroke:var(--ack) }
.tsd .sent { stroke:var(--sent) } .tsd .again { stroke:var(--again); stroke-width:2.5 }
.tsd .lost { stroke:var(--again); stroke-dasharray:2 2 } .tsd .cross { stroke:var(--again) }
.tsd .late { stroke:var(--sent); stroke-dasharray:1 3 }
.tsd .sack { stroke:var(--sack); stroke-width:3 } .tsd .end { stroke:var(--ink) }
.tsd .fault { stroke:var(--again); stroke-dasharray:6 4; opacity:.6 }
"""
_LEFT, _TOP, _RIGHT, _BOTTOM = 78, 44, 16, 34
_TITLED = 3000
"""Most segments of a diagram that have a tooltip each."""
_LEGEND = (
    ("sent", "sent"),
    ("again", "retransmission"),
    ("lost", "lost"),
    ("late", "delayed"),
    ("ack", "acknowledged"),
    ("win", "window"),
    ("sack", "SACK"),
    ("fault", "fault"),
)


def plot(
    connection: TraceConnection, notes: Iterable[NoteRecord] = (), *, width: int = 960, height: int = 420
) -> str:
    """Return a diagram of a connection as the text of an SVG file: a panel for each direction that carried data.

    Args:
        connection: the connection.
        notes: faults among them are drawn as vertical lines.
        width, height: pixels of a panel.
    """
    both = series_of(connection)
    panels = [series for series in both if series.has_data] or [both[0]]
    faults = [note for note in notes if note.kind == "fault"]
    span = _span(both)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tsd" viewBox="0 0 {width} {height * len(panels)}"'
        f' width="{width}" height="{height * len(panels)}" role="img">',
        SIGNATURE,
        f"<title>{escape(str(connection))}</title><style>{STYLE}</style>",
        '<rect width="100%" height="100%" style="fill:var(--paper)"/>',
    ]
    for number, series in enumerate(panels):
        parts.append(f'<g transform="translate(0 {number * height})">')
        parts += _panel(series, faults, span, width, height)
        parts.append("</g>")
    parts.append("</svg>\n")
    return "\n".join(parts)


def _span(both: Iterable[Series]) -> tuple[int, int]:
    """Return the first and the last moment of a connection."""
    times: list[int] = []
    for series in both:
        marks = [*series.sent, *series.again, *series.lost, *series.ends]
        times += [mark.time for mark in marks] + [time for mark in marks for time in mark.arrivals]
        times += [time for time, _ in series.acked]
    start = min(times, default=0)
    return start, max(max(times, default=0), start + 1)


def _panel(
    series: Series, faults: Sequence[NoteRecord], span: tuple[int, int], width: int, height: int
) -> list[str]:
    start, stop = span
    marks = [*series.sent, *series.again, *series.lost, *series.ends, *series.sacked]
    top = max([mark.end for mark in marks] + [number for _, number in series.acked], default=0)
    # A window that is far larger than the data would flatten them.
    top = max([top, *(edge for _, edge in series.window if 2 * edge <= 3 * top), 1])
    across, up = width - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(time: int) -> float:
        return round(_LEFT + (min(max(time, start), stop) - start) / (stop - start) * across, 1)

    def y(number: int) -> float:
        return round(_TOP + up - min(max(number, 0), top) / top * up, 1)

    parts = _axes(start, stop, top, x, y, width, height)
    parts.append(f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(series.name)}</text>')
    for note in faults:
        if start <= note.time <= stop:
            parts.append(_path("fault", f"M{x(note.time)} {_TOP}V{_TOP + up}", note.text))
    parts += [_steps("win", series.window, x, y), _steps("ack", series.acked, x, y)]
    for kind, chosen, least in (
        ("sent", series.sent, 2),
        ("lost", series.lost, 6),
        ("sack", series.sacked, 2),
        ("again", series.again, 6),
    ):
        parts += _strokes(kind, chosen, least, x, y)
    for mark in series.late:
        for arrival in mark.arrivals:
            parts.append(_path("late", f"M{x(mark.time)} {y(mark.end)}H{x(arrival)}", mark.text))
    for mark in series.lost:
        left, middle = x(mark.time), (y(mark.begin) + y(mark.end)) / 2
        parts.append(_path("cross", f"M{left - 4} {middle - 4}l8 8m0 -8l-8 8", mark.text))
    for mark in series.ends:
        left, at = x(mark.time), y(mark.begin)
        parts.append(_path("end", f"M{left} {at - 5}l5 5l-5 5l-5 -5z", mark.text))
    used = {
        "sent": series.sent, "again": series.again, "lost": series.lost, "late": series.late, "ack": series.acked,
        "win": series.window, "sack": series.sacked, "fault": faults,
    }  # fmt: skip
    return parts + _legend([(kind, name) for kind, name in _LEGEND if used[kind]])


def _axes(
    start: int,
    stop: int,
    top: int,
    x: Callable[[int], float],
    y: Callable[[int], float],
    width: int,
    height: int,
) -> list[str]:
    parts = []
    for number in _ticks(0, top, 6):
        at = y(int(number))
        parts.append(f'<path class="grid" d="M{_LEFT} {at}H{width - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4}" text-anchor="end">{int(number):,}</text>')
    for second in _ticks(start / SECOND, stop / SECOND, 8):
        at = x(round(second * SECOND))
        parts.append(f'<path class="grid" d="M{at} {_TOP}V{height - _BOTTOM}"/>')
        parts.append(f'<text x="{at}" y="{height - _BOTTOM + 16}" text-anchor="middle">{second:g} s</text>')
    return parts


def _ticks(lowest: float, highest: float, count: int) -> list[float]:
    """Return about ``count`` round numbers of a range."""
    rough = (highest - lowest) / count
    if rough <= 0:
        return [lowest]
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    first = math.ceil(lowest / step)
    return [round(number * step, 12) for number in range(first, math.floor(highest / step) + 1)]


def _path(kind: str, line: str, title: str = "") -> str:
    if not title:
        return f'<path class="{kind}" d="{line}"/>'
    return f'<path class="{kind}" d="{line}"><title>{escape(title)}</title></path>'


def _strokes(
    kind: str, marks: Sequence[Mark], least: int, x: Callable[[int], float], y: Callable[[int], float]
) -> list[str]:
    """Draw a vertical stroke of ``least`` pixels or more for each mark; as one path if there are many."""
    lines = []
    for mark in marks:
        low, high = y(mark.begin), y(mark.end)
        lines.append(f"M{x(mark.time)} {max(low, high + least)}V{high}")
    if len(lines) > _TITLED:
        return [_path(kind, "".join(lines))]
    return [_path(kind, line, mark.text) for line, mark in zip(lines, marks, strict=True)]


def _steps(
    kind: str, points: Sequence[tuple[int, int]], x: Callable[[int], float], y: Callable[[int], float]
) -> str:
    """Draw a line that keeps each value until the next one."""
    line = "".join(
        f"{'H' if number else 'M'}{x(time)}{'V' if number else ' '}{y(value)}"
        for number, (time, value) in enumerate(points)
    )
    return _path(kind, line) if line else ""


def _legend(entries: Sequence[tuple[str, str]]) -> list[str]:
    parts, at = [], _LEFT
    for kind, name in entries:
        parts.append(f'<path class="{kind}" d="M{at} 30h16"/><text x="{at + 20}" y="34">{name}</text>')
        at += 30 + round(6.8 * len(name))
    return parts
