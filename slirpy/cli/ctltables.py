"""Tables of ``slirpy ctl``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slirpy.audit.text import plain
from slirpy.records import NamedTuple

__all__ = ["Column", "print_table", "print_values"]

_UNLIMITED = 1000
"""Width of a table for a program, which must not be wrapped."""


class Column(NamedTuple):
    """A column of a table.

    Args:
        name: its heading.
        value: the key of a row that it shows, or a function of the row.
        right: align to the right.
    """

    name: str
    value: str | Callable[[Mapping[str, Any]], object]
    right: bool = False

    def of(self, row: Mapping[str, Any]) -> str:
        """The text of a row in this column, without control characters."""
        found = row[self.value] if isinstance(self.value, str) else self.value(row)
        return plain(str(found))


def print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a table on standard output; its lines are cut only on a terminal."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.name, justify="right" if column.right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(column.of(row)) for column in columns))
    _print(table)


def print_values(values: Mapping[str, Any]) -> None:
    """Write names and values, one pair a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    for name, value in values.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(Text(plain(name)), Text(plain(text)))
    _print(table)


def _print(table: Table) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_UNLIMITED)
    console.print(table)
