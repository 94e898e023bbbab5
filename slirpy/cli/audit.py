"""``slirpy audit``: tables and a timeline of audit logs."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, BinaryIO

import click

from slirpy.audit.reading import Filter, Integrity, read_records
from slirpy.audit.severity import Severity
from slirpy.cli.flags import Command
from slirpy.errors import ConfigError
from slirpy.errortext import strerror

__all__ = ["audit", "moment"]

STANDARD = "-"
_AGO = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

EXAMPLES = """
\b
Examples:
  slirpy run --audit audit.jsonl -- CMD
  slirpy audit audit.jsonl        what was reached, what was refused, and when
  slirpy audit --refused --severity private audit.jsonl
  slirpy audit --name '*.example.org' --since 2h audit.1.jsonl audit.jsonl
  slirpy audit --guest 10.0.2.15 --json audit.jsonl | jq .destination
"""


def moment(option: str, text: str, now: datetime) -> str:
    """A time in UTC as records have it.

    Args:
        option: the flag, for messages.
        text: a time by ISO 8601, local unless it says otherwise; or ``90s``, ``15m``, ``2h``, ``7d`` before ``now``.
        now: the present time.

    Raises:
        ConfigError: it cannot be read.
    """
    if ago := _AGO.fullmatch(text):
        try:
            found = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:
            return "0"
    else:
        try:
            found = datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ConfigError(
                f'{option} "{text}" is not a time: write 2026-01-31T12:00:00Z, or 90s, 15m, 2h, 7d for so long ago'
            ) from None
    return found.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--name", metavar="NAME", help="Only this name or address; * and ? stand for any characters.")
@click.option(
    "--guest",
    metavar="GUEST",
    help="Only this guest: its address, MAC address, lease, or number of its link.",
)
@click.option(
    "--since",
    metavar="TIME",
    help="Only from TIME on: 2026-01-31T12:00:00Z, or 90s, 15m, 2h, 7d ago.",
)
@click.option("--until", metavar="TIME", help="Only before TIME.")
@click.option(
    "--severity",
    type=click.Choice([str(level) for level in Severity]),
    help="Only destinations of this class, or of one that matters more.",
)
@click.option(
    "--timeline", metavar="N", type=click.IntRange(0), default=40, help="Show the last N events.  [default: 40]"
)
@click.option(
    "--json", "as_json", is_flag=True, help="Write the selected records, one a line, instead of tables."
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def audit(
    files: Sequence[str],
    refused: bool,
    name: str | None,
    guest: str | None,
    since: str | None,
    until: str | None,
    severity: str | None,
    timeline: int,
    as_json: bool,
) -> None:
    """Show what audit logs say: totals by name, refusals, and a timeline.

    FILE is a log that --audit has written; - is standard input. Several are read in the order of their beginnings,
    such as those that a log rotation has left. Lines that were cut short are counted and left out. The exit status is
    1 if records are missing whose loss the logs do not mention, and 2 for a mistake in the options.
    """
    now = datetime.now(UTC)
    wanted = Filter(
        refused,
        name or "",
        guest or "",
        moment("--since", since, now) if since else "",
        moment("--until", until, now) if until else "",
        Severity(severity) if severity else None,
    )
    integrity = Integrity()
    with ExitStack() as stack:
        records = (record for record in _records(files, integrity, stack) if wanted.matches(record))
        if as_json:
            for record in records:
                print(_line(record))
        else:
            from slirpy.cli.audittables import Summary

            summary = Summary(timeline)
            for record in records:
                summary.add(record)
            summary.show(sys.stdout, integrity)
    if integrity.missing:
        raise SystemExit(1)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")).replace("\x7f", "\\u007f")


def _records(files: Sequence[str], integrity: Integrity, stack: ExitStack) -> Iterator[dict[str, Any]]:
    """The records of all files, in the order of the first ones.

    Raises:
        ConfigError: a file cannot be read.
    """
    begun = []
    for number, name in enumerate(files):
        records = read_records(_lines(name, stack), integrity)
        first = next(records, None)
        if first is not None:
            begun.append((first["time"], number, chain([first], records)))
    for _, _, found in sorted(begun, key=lambda each: each[:2]):
        yield from found


def _lines(name: str, stack: ExitStack) -> Iterable[bytes]:
    try:
        if name == STANDARD:
            return _checked(name, sys.stdin.buffer)
        return _checked(name, stack.enter_context(open(name, "rb")))
    except OSError as error:
        raise _unreadable(name, error) from None


def _checked(name: str, file: BinaryIO) -> Iterator[bytes]:
    try:
        while line := file.readline(1 << 21):
            yield line
    except OSError as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: OSError) -> ConfigError:
    return ConfigError(f'FILE "{name}": {strerror(error.errno or 0).lower()}')
