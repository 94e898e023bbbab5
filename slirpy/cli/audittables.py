"""Tables and the timeline of ``slirpy audit``. Text from guests is escaped before it reaches a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, TextIO

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from slirpy.audit.reading import Integrity, is_refusal, name_of
from slirpy.audit.text import plain
from slirpy.cli.tables import amount, console_for, print_parts
from slirpy.config.text import with_port
from slirpy.reprs import counted

__all__ = ["Summary", "describe"]

ROWS = 40
"""Largest number of rows of a table."""
KEYS_MAX = 100_000
"""Number of names, and of refusals, that are distinguished; those beyond are added up in one row."""
PORTS_SHOWN = 8
_REST = "(others)"
_STYLES = {"metadata": "bold red", "host": "red", "private": "yellow"}


class _Name:
    """Totals of one name."""

    def __init__(self) -> None:
        self.flows = self.refused = self.queries = self.bytes_in = self.bytes_out = 0


class _Refusal:
    """Refusals of one guest, destination and reason, at any ports."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.count = 0
        self.first = self.last = str(record["time"])
        self.severity = str(record.get("severity", "other"))
        self.ports: set[int] = set()

    def add(self, record: dict[str, Any]) -> None:
        """Count a record."""
        self.count += _whole(record.get("count")) if record["event"] == "omitted" else 1
        self.last = str(record["time"])
        port = record.get("destination_port")
        if type(port) is int and len(self.ports) <= PORTS_SHOWN:
            self.ports.add(port)

    def ends(self) -> str:
        """The ports, as they stand behind an address."""
        if len(self.ports) > PORTS_SHOWN:
            return ", many ports"
        return ":" + ",".join(map(str, sorted(self.ports))) if self.ports else ""


class Summary:
    """Totals of the records that are added, in a bounded amount of memory.

    Args:
        timeline: number of the last records to show.
    """

    def __init__(self, timeline: int) -> None:
        self._last: deque[dict[str, Any]] = deque(maxlen=timeline)
        self._names: dict[str, _Name] = {}
        self._refusals: dict[tuple[str, str, str], _Refusal] = {}
        self._counts: dict[str, int] = {}
        self._first = self._end = ""

    def add(self, record: dict[str, Any]) -> None:
        """Add a record."""
        event = record["event"]
        self._first = self._first or record["time"]
        self._end = record["time"]
        self._counts[event] = self._counts.get(event, 0) + 1
        self._last.append(record)
        if is_refusal(record):
            self._add_refusal(record)
        if event in ("open", "end", "query", "refused"):
            self._add_name(record, event)

    def _add_name(self, record: dict[str, Any], event: str) -> None:
        key = name_of(record)
        if key not in self._names and len(self._names) >= KEYS_MAX:
            key = _REST
        name = self._names.setdefault(key, _Name())
        if event == "query":
            name.queries += 1
        elif event == "end":
            name.flows += 1
            name.bytes_in += _whole(record.get("bytes_in"))
            name.bytes_out += _whole(record.get("bytes_out"))
        elif is_refusal(record):
            name.refused += 1

    def _add_refusal(self, record: dict[str, Any]) -> None:
        reason = record.get("reason") or record.get("rule") or record.get("outcome") or ""
        key = _guest(record), _goal({**record, "destination_port": None}), str(reason)
        if key not in self._refusals and len(self._refusals) >= KEYS_MAX:
            key = _REST, "", ""
        self._refusals.setdefault(key, _Refusal(record)).add(record)

    def show(self, file: TextIO, integrity: Integrity) -> None:
        """Write the tables.

        Raises:
            OSError: the file cannot be written.
        """
        console = console_for(file)
        parts: list[RenderableType] = [self._head(integrity)]
        if self._names:
            parts += [Text("\nTotals by name", style="bold"), self._name_table()]
        if self._refusals:
            parts += [Text("\nRefused", style="bold"), self._refusal_table()]
        if self._last:
            parts += [Text("\nTimeline", style="bold"), _timeline(self._last)]
        print_parts(console, parts, file)

    def _head(self, integrity: Integrity) -> Text:
        chosen = sum(self._counts.values())
        text = Text(
            f"{counted(integrity.records, 'record')} of {counted(integrity.runs, 'run')}, {chosen} selected"
        )
        if chosen:
            text.append(f", from {plain(self._first)} to {plain(self._end)}")
        if integrity.counted:
            text.append(f"\n{integrity.counted} events are only counted: too many at once, or the log was lost")
        if integrity.unreadable:
            text.append(f"\n{integrity.unreadable} lines could not be read", style="yellow")
        if integrity.missing:
            text.append(
                f"\n{integrity.missing} records are missing, and the logs do not say why", style="bold red"
            )
        return text

    def _name_table(self) -> RenderableType:
        rows = sorted(
            self._names.items(),
            key=lambda item: (item[1].bytes_in + item[1].bytes_out, item[1].refused),
            reverse=True,
        )
        table = _table(
            ("name", False), *((head, True) for head in ("flows", "refused", "lookups", "in", "out"))
        )
        for key, name in rows[:ROWS]:
            numbers = (str(name.flows), str(name.refused), str(name.queries))
            cells = (plain(key), *numbers, amount(name.bytes_in), amount(name.bytes_out))
            table.add_row(*map(Text, cells))
        return _with_rest(table, len(rows))

    def _refusal_table(self) -> RenderableType:
        order = list(_STYLES)
        rows = sorted(
            self._refusals.items(),
            key=lambda item: (
                order.index(item[1].severity) if item[1].severity in order else len(order),
                -item[1].count,
            ),
        )
        table = _table(
            ("guest", False), ("destination", False), ("class", False), ("times", True), ("first", False),
            ("last", False), ("rule or reason", False),
        )  # fmt: skip
        for (guest, goal, reason), found in rows[:ROWS]:
            cells = (
                guest,
                goal + found.ends(),
                found.severity,
                str(found.count),
                _clock(found.first),
                _clock(found.last),
                reason,
            )
            style = _STYLES.get(found.severity, "")
            table.add_row(*(Text(plain(cell), style=style) for cell in cells))
        return _with_rest(table, len(rows))


def _with_rest(table: Table, rows: int) -> RenderableType:
    if rows > ROWS:
        table.caption = f"and {rows - ROWS} more"
    return table


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left"
    )
    for heading, number in columns:
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return table


def _timeline(records: Iterable[dict[str, Any]]) -> Table:
    table = _table(("time", False), ("guest", False), ("event", False), ("what", False))
    day = ""
    for record in records:
        style = "red" if is_refusal(record) else ""
        date, clock = str(record["time"])[:10], _clock(record["time"])
        if date != day:
            table.add_row(Text(plain(date), style="bold"))
            day = date
        cells = (clock, _guest(record), str(record["event"]), describe(record))
        table.add_row(*(Text(plain(cell), style=style) for cell in cells))
    return table


def _clock(time: object) -> str:
    return str(time)[11:19]


def _whole(value: object) -> int:
    return value if type(value) is int else 0


def _guest(record: dict[str, Any]) -> str:
    """The guest of a record, as briefly as possible."""
    source = record.get("source") or record.get("address") or record.get("mac")
    if source:
        return str(source)
    return "" if record.get("link") is None else f"link {record['link']}"


def _goal(record: dict[str, Any]) -> str:
    """The destination of a record, with its name."""
    if record["event"] == "omitted":
        sample = record.get("sample")
        return ", ".join(map(str, sample)) + ", ..." if isinstance(sample, list) and sample else "several"
    if record.get("destination") is None:
        return " ".join(str(record[key]) for key in ("type", "name") if record.get(key))
    where = str(record["destination"])
    port = record.get("destination_port")
    if port is not None:
        where = with_port(where, port)
    name = name_of(record)
    return f"{record.get('protocol')} {where}" + (
        f" ({name})" if name and name != record["destination"] else ""
    )


def describe(record: dict[str, Any]) -> str:
    """The contents of a record in a line; it has to be escaped for a terminal."""
    get = record.get
    match record["event"]:
        case "end":
            moved = f"in {amount(_whole(get('bytes_in')))}, out {amount(_whole(get('bytes_out')))}"
            return f"{_goal(record)}: {get('end')} after {get('duration')} s, {moved}"
        case "open" | "refused" | "inspected":
            why = get("reason") or get("rule")
            said = get("said")
            heard = f", says {', '.join(map(str, said))}" if isinstance(said, list) and said else ""
            arrow = "from " if get("inbound") else ""
            return f"{arrow}{_goal(record)}{heard}: {get('verdict')}" + (f" ({why})" if why else "")
        case "query":
            return f"{_goal(record)}: {get('outcome')}"
        case "answer":
            found = get("addresses")
            addresses = ", ".join(map(str, found)) if isinstance(found, list) else ""
            return f"{_goal(record)}: {get('rcode')} {addresses}".rstrip()
        case "lease":
            return f"{get('address')} {get('what')} to {get('mac')} {get('lease') or ''}".rstrip()
        case "link":
            return f"link {get('link')} ({get('kind')}) {'attached' if get('up') else 'detached'}"
        case "omitted" | "lost":
            why = get("reason") or f"{get('kind')}, {get('severity')}: {_goal({**record, 'event': 'omitted'})}"
            return f"{get('count')} records, {get('first')} to {get('last')}: {why}"
        case "start" | "policy":
            rules = get("rules")
            return f"{get('policy')}" + (f", {len(rules)} rules" if isinstance(rules, list) and rules else "")
        case "stop":
            return f"{get('records')} records"
    return " ".join(
        f"{key}={value}" for key, value in record.items() if key not in ("v", "run", "time", "event")
    )
