"""A run drawn as a ladder: a column for each host, frames with their fates, and the programs' lines in between.

::

    time [s]  client    server
    0.000000    ├────────►│     40000 > 443 SYN seq=0 mss=1460 wscale=5 sackOK TS
    0.000000    │         ▪ listening
    0.020000    ├───────x │     40000 > 443 ACK seq=1 ack=1 len=1448, lost: partition
    0.020000    ├┄┄┄┄┄┄┄┄ │     40000 > 443 ACK seq=1449 ack=1 len=1448, hold: arrives +60.000 ms
    0.080000    │┄┄┄┄┄┄┄┄►│     40000 > 443 ACK seq=1449 ack=1 len=1448, sent at 0.020000

An arrow stands at the time at which a frame was sent. A frame that a fault delayed or repeated has another line,
dotted, at each arrival.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from slirpy.checks import amount, instance, switch
from slirpy.config.values import as_text, listed
from slirpy.testing.sim.connections import chosen_connection
from slirpy.testing.sim.rows import Fate, Row, clock_text, rows_of
from slirpy.testing.sim.trace import FrameRecord, Trace

__all__ = ["host_ladder"]

_NARROWEST = 60
_TIGHT, _WIDE = 8, 22
"""Least and greatest distance of two columns, in characters."""
_LABEL, _REMARK = 32, 24
"""Characters of a label that a remark leaves room for, and of a remark that are always shown."""
_LINES = 8
"""Most lines of a note."""
_OTHERS = "others"


@dataclass(frozen=True, slots=True)
class _Style:
    pole: str
    start: str
    start_left: str
    line: str
    dotted: str
    left: str
    right: str
    lost: str
    note: str
    bar: str


_UNICODE = _Style("│", "├", "┤", "─", "┄", "◄", "►", "x", "▪", "═")
_ASCII = _Style("|", "|", "|", "-", ".", "<", ">", "x", "*", "=")


def host_ladder(
    trace: Trace,
    *,
    hosts: Collection[str] | None = None,
    connection: int | None = None,
    last: int | None = None,
    width: int = 110,
    ascii_only: bool = False,
) -> str:
    """Draw a run as a ladder with a column for each host.

    Args:
        trace: the run.
        hosts: draw only frames from or to these hosts, and their notes. None: all.
        connection: draw only frames of one TCP connection: its number, from 0, in the order of first segments.
        last: draw only the last rows, at most this many; numbers still count from the beginning.
        width: characters per line, 60 or more.
        ascii_only: draw with ASCII characters only.

    Returns:
        Lines without a newline at the end. If there are too many hosts for the width, those with the fewest rows
        share a column.

    Raises:
        ConfigError: an argument of another type, or out of range, or a connection that there is not.
    """
    instance("trace", trace, Trace, "a Trace, such as net.trace")
    amount("width", width, _NARROWEST)
    switch("ascii_only", ascii_only)
    names = None if hosts is None else {as_text("a host", name) for name in listed("hosts", hosts)}
    only = None if connection is None else chosen_connection(trace, connection).frames
    rows = rows_of(trace.records, names, only)
    if last is not None:
        rows = rows[-last:] if amount("last", last) else []
    if not rows:
        return "no frames"
    drawing = _Drawing(rows, width, _ASCII if ascii_only else _UNICODE)
    return "\n".join(drawing.lines(rows))


class _Drawing:
    def __init__(self, rows: Sequence[Row], width: int, style: _Style) -> None:
        self._style = style
        self._width = width
        self._clock = max(len("time [s]"), len(clock_text(rows[-1].time)))
        order = dict.fromkeys(host for row in rows for host in row.hosts)
        most = max((width // 2 - self._clock) // _TIGHT, 2)
        if len(order) > most:
            busy = Counter(host for row in rows for host in row.hosts).most_common(most - 1)
            kept = {host for host, _ in busy}
            order = dict.fromkeys([*(host for host in order if host in kept), _OTHERS])
        names = list(order) or [""]
        gaps = max(len(names) - 1, 1)
        self._gap = min(max(*(len(name) + 2 for name in names), _TIGHT, 10), _WIDE)
        self._gap = max(min(self._gap, (width // 2 - self._clock) // gaps), _TIGHT)
        first = self._clock + 2 + min(len(names[0]), self._gap - 2) // 2
        self._columns = {name: first + number * self._gap for number, name in enumerate(names)}
        self._text = first + (len(names) - 1) * self._gap + 3

    def lines(self, rows: Sequence[Row]) -> list[str]:
        """Return the heading, and a line for each row, several for a note of several lines."""
        found = [self._heading()]
        for row in rows:
            found += self._note(row) if row.fate is None else [self._frame(row, row.fate)]
        return [line.rstrip()[: self._width] for line in found]

    def _heading(self) -> str:
        cells = [" "] * self._width
        cells[: self._clock] = f"{'time [s]':>{self._clock}}"
        for name, column in self._columns.items():
            shown = name if len(name) < self._gap else f"{name[: self._gap - 3]}.."
            start = column - len(shown) // 2
            cells[start : start + len(shown)] = shown
        return "".join(cells)

    def _cells(self, time: int) -> list[str]:
        cells = [" "] * self._text
        cells[: self._clock] = f"{clock_text(time):>{self._clock}}"
        for column in self._columns.values():
            cells[column] = self._style.pole
        return cells

    def _column(self, host: str) -> int:
        return self._columns.get(host, self._columns.get(_OTHERS, 0))

    def _frame(self, row: Row, fate: Fate) -> str:
        record, style = row.record, self._style
        assert isinstance(record, FrameRecord)
        cells = self._cells(row.time)
        source, target = self._column(record.source), self._column(record.target)
        if source == target:  # both are among the others
            cells[source] = style.start
        else:
            step = 1 if source < target else -1
            line = style.dotted if fate in (Fate.LATE, Fate.ARRIVAL) else style.line
            for column in range(source + step, target, step):
                cells[column] = line
            if fate is not Fate.ARRIVAL:
                cells[source] = style.start if step > 0 else style.start_left
            if fate is Fate.LOST:
                cells[target - step], cells[target - 2 * step] = " ", style.lost
            elif fate is not Fate.LATE:
                cells[target - step] = style.right if step > 0 else style.left
            else:
                cells[target - step] = " "
        room = self._width - self._text
        remark = f", {row.remark}" if row.remark else ""
        remark = _shortened(remark, max(room - min(len(row.label), _LABEL), _REMARK))
        label = row.label
        if not {record.source, record.target} <= self._columns.keys():
            label = f"{record.source} > {record.target}: {label}"
        return "".join(cells) + _shortened(label, room - len(remark)) + remark

    def _note(self, row: Row) -> list[str]:
        """Draw a note: at its host's column, or across all of them."""
        texts = row.label.splitlines() or [""]
        if len(texts) > _LINES:
            texts = [
                *texts[: _LINES // 2],
                f"... {len(texts) - _LINES + 1} more lines",
                *texts[1 - _LINES // 2 :],
            ]
        lines = []
        for number, text in enumerate(texts):
            cells = self._cells(row.time)
            if number:
                cells[: self._clock] = " " * self._clock
            if row.hosts:
                column = self._column(row.hosts[0])
                mark = self._style.note if not number else self._style.pole
            else:
                column = min(self._columns.values())
                mark = self._style.bar * 2
            cells[column:] = [f"{mark} {_shortened(text, self._width - column - len(mark) - 1)}"]
            lines.append("".join(cells))
        return lines


def _shortened(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: max(room - 2, 0)]}.."
