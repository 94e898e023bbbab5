"""Tables of flows and counters for users, on a terminal of any width or in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from slirpy.config.text import with_port
from slirpy.stats import Stats

if TYPE_CHECKING:
    from slirpy.core.flows import FlowInfo

__all__ = ["amount", "console_for", "counter_table", "flow_table", "print_parts", "print_report"]

MOST_FLOWS = 40
"""Largest number of flows to show, those with the most bytes first. A last line counts the others."""
_WIDE, _NARROW = 114, 80  # widths from which all fields fit, and below which a line cannot hold a complete flow
_IPV4_ENDS = 2 * len("255.255.255.255:65535")
_OTHERS = 80  # characters of all columns but the two with addresses
_UNLIMITED = 200  # a file has no width; no table is wider than this


def console_for(file: TextIO) -> Console:
    """Create a console for ``file``: as wide as the terminal, or as wide as necessary if it is not one."""
    if file.isatty() or "COLUMNS" in os.environ:
        return Console(file=file, highlight=False, soft_wrap=False)
    return Console(file=file, highlight=False, width=_UNLIMITED)


def amount(count: int) -> str:
    """Format a number of bytes: ``999 B``, ``1.0 KiB``, ``12.3 MiB``."""
    if count < 1024:
        return f"{count} B"
    value = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


def _end(address: tuple[object, int] | None) -> str:
    if address is None:
        return "any"
    host, port = address
    return with_port(host, port)


def _longest_ends(flows: Sequence[FlowInfo]) -> int:
    """Characters of the longest two ends, in each of their columns; IPv6 addresses are longer."""
    return max(len(_end(flow.guest)) for flow in flows) + max(len(_end(flow.host)) for flow in flows)


def _table(*columns: tuple[str, bool]) -> Table:
    """Create an empty table. A column is a heading, and whether it contains numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, number in columns:
        table.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    return table


def flow_table(
    flows: Sequence[FlowInfo], width: int, *, most: int = MOST_FLOWS, ranked: bool = False
) -> RenderableType:
    """The table of flows, with as many columns as fit into ``width`` characters.

    Bytes and packets "in" come from the guest, "out" go to it, as in :class:`slirpy.stats.Stats`.

    Args:
        most: largest number of rows; a last line counts the others.
        ranked: whether the flows are already in order; otherwise those with the most bytes come first.
    """
    if not flows:
        return Text("No flows.")
    if not ranked:
        flows = sorted(flows, key=lambda flow: flow.bytes_in + flow.bytes_out, reverse=True)
    shown = flows[:most]
    names = [("proto", False), ("state", False), ("guest", False), ("", False), ("host", False)]
    if width < _NARROW:
        names = [("flow", False)]
    columns = [*names, ("in", True), ("out", True)]
    ends = _longest_ends(shown)
    wide = width >= _WIDE and (ends <= _IPV4_ENDS or width >= _OTHERS + ends)
    if wide:
        columns += [("packets in", True), ("packets out", True), ("age", True)]
    table = _table(*columns)
    for flow in shown:
        # The arrow shows the initiator: the guest, or a client outside through a forward.
        arrow, guest, host = "<-" if flow.inbound else "->", _end(flow.guest), _end(flow.host)
        cells = [flow.protocol, flow.state, guest, arrow, host]
        if width < _NARROW:
            cells = [f"{flow.protocol} {flow.state}\n{guest}\n{arrow}{host}"]
        cells += [amount(flow.bytes_in), amount(flow.bytes_out)]
        if wide:
            cells += [str(flow.packets_in), str(flow.packets_out), f"{flow.age:.1f} s"]
        table.add_row(*map(Text, cells))  # as a string, "[fec0::15]" would be a style
    rest = len(flows) - len(shown)
    return Group(table, Text(f"and {rest} more")) if rest else table


def counter_table(stats: Stats, width: int) -> RenderableType:
    """The table of counters that are not zero, with their descriptions if ``width`` allows."""
    counted = stats.nonzero()
    if not counted:
        return Text("No counters have counted.")
    described = width >= _NARROW
    meaning = stats.describe()
    table = _table(("counter", False), ("count", True), *([("what", False)] if described else []))
    for name, value in counted.items():
        table.add_row(*map(Text, (name, str(value), *([meaning[name]] if described else []))))
    return table


def print_report(flows: Sequence[FlowInfo], stats: Stats, file: TextIO) -> None:
    """Write the table of flows and the table of counters to ``file``.

    Raises:
        OSError: the file cannot be written.
    """
    console = console_for(file)
    parts = (
        Text("Flows", style="bold"),
        flow_table(flows, console.width),
        Text("\nCounters", style="bold"),
        counter_table(stats, console.width),
    )
    print_parts(console, parts, file)


def print_parts(console: Console, parts: Iterable[RenderableType], file: TextIO) -> None:
    """Print tables and their titles below each other: in a file, without the spaces that pad the cells of tables.

    Args:
        console: writes to ``file``.
        parts: the tables and titles.
        file: a terminal, or any file.
    """
    if file.isatty():
        console.print(*parts, sep="\n")
        return
    with console.capture() as capture:
        console.print(*parts, sep="\n")
    file.writelines(line.rstrip() + "\n" for line in capture.get().splitlines())
