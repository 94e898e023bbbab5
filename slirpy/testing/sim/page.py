"""A run as a page for a browser: one file, which loads nothing else.

Ladder, diagrams and log are side by side; hosts, connections and words select rows; light and dark follow the
reader's system. Everything that comes from the run is data, and is inserted as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

from slirpy.testing.sim.connections import TraceConnection
from slirpy.testing.sim.pagestyle import SCRIPT, STYLE
from slirpy.testing.sim.plot import plot
from slirpy.testing.sim.rows import Row, rows_of
from slirpy.testing.sim.trace import FrameRecord, NoteRecord, Trace

__all__ = ["SIGNATURE", "page"]

SIGNATURE = "<!-- report by slirpy -->"
_ROWS = 20_000
"""Most rows of a page: the last ones."""
_DRAWINGS = 12
"""Most connections that are drawn."""


def page(
    title: str,
    summary: Sequence[str],
    plan: Sequence[tuple[str, bool]],
    sockets: str,
    trace: Trace,
    connections: Sequence[TraceConnection],
) -> str:
    """Return the text of an HTML file.

    Args:
        title: of the page.
        summary: lines at the top.
        plan: faults in words, and whether each has hit something.
        sockets: a table as text.
        trace: the run.
        connections: its TCP connections.
    """
    rows = rows_of(trace.records)
    left_out = max(len(rows) - _ROWS, 0)
    notes = [each for each in trace.records if isinstance(each, NoteRecord)]
    drawn = sorted(connections, key=lambda each: (each.trouble, len(each.passages)), reverse=True)[:_DRAWINGS]
    drawings = "".join(
        f'<div class="drawing" data-number="{each.number}" hidden>{plot(each, notes, width=760, height=300)}</div>'
        for each in drawn
    )
    choices = "".join(
        f'<option value="{each.number}">{escape(str(each))}</option>' for each in connections[:1000]
    )
    faults = "".join(f'<li class="{"hit" if hit else "idle"}">{escape(words)}</li>' for words, hit in plan)
    data = json.dumps(_data(rows[left_out:], connections, left_out), separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{SIGNATURE}
<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>
<style>{STYLE}</style></head><body>
<header><h1>{escape(title)}</h1>{"".join(f"<p>{escape(line)}</p>" for line in summary)}
{f"<details open><summary>faults</summary><ul>{faults}</ul></details>" if faults else ""}
<details><summary>sockets</summary><pre>{escape(sockets)}</pre></details></header>
<form id="filter"><span id="hosts"></span>
<label>connection <select id="connection"><option value="">all</option>{choices}</select></label>
<label><input type="checkbox" id="trouble"> only what faults hit</label>
<label>search <input type="search" id="words"></label><output id="count"></output></form>
<main><section id="ladder" aria-label="ladder" tabindex="0"><div id="names"></div><div id="rows"></div></section>
<aside><section id="drawings" aria-label="time-sequence diagram">{drawings}</section>
<section id="log" aria-label="log"></section></aside></main>
<noscript><p>The ladder needs JavaScript; the text file beside this page has one without.</p></noscript>
<script type="application/json" id="data">{data}</script>
<script>{SCRIPT}</script></body></html>
"""


def _data(rows: Sequence[Row], connections: Sequence[TraceConnection], left_out: int) -> dict[str, object]:
    """Return what the script of the page shows."""
    number = {id(record): each.number for each in connections for record in each.frames}
    hosts = {
        name: position for position, name in enumerate(dict.fromkeys(n for row in rows for n in row.hosts))
    }
    shown: list[list[object]] = []
    for row in rows:
        record = row.record
        if isinstance(record, FrameRecord):
            fate = "" if row.fate is None else row.fate.value
            source, target = hosts[record.source], hosts[record.target]
            shown.append([row.time, source, target, fate, row.label, row.remark, number.get(id(record), -1)])
        else:
            shown.append([row.time, hosts.get(record.host, -1), -1, record.kind, row.label, "", -1])
    return {"hosts": list(hosts), "rows": shown, "leftOut": left_out}
