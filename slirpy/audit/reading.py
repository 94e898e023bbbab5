"""Reading of audit logs: whole or cut short, one or several, with gaps that are on record and others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from slirpy.audit.severity import Severity
from slirpy.records import NamedTuple

__all__ = ["Filter", "Integrity", "is_refusal", "name_of", "read_records"]

LINE_MAX = 1 << 20
"""Bytes of the longest line that is read; a log has none that long."""
_LEVELS = list(Severity)


class Integrity:
    """Counts of what was read, and of what is missing.

    Attributes:
        records: number of records.
        unreadable: number of lines that are no records, such as one that a crash has cut.
    """

    def __init__(self) -> None:
        self.records = 0
        self.unreadable = 0
        self._runs: dict[str, list[int]] = {}
        """By run: the records seen, the lowest and the highest number, and those that the log says are missing."""

    def note(self, record: dict[str, Any]) -> None:
        """Count a record."""
        self.records += 1
        seq = record["seq"]
        run = self._runs.setdefault(record["run"], [0, seq, seq, 0])
        run[0] += 1
        run[1], run[2] = min(run[1], seq), max(run[2], seq)
        if record["event"] in ("omitted", "lost"):
            run[3] += _number(record, "count")

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self._runs)

    @property
    def counted(self) -> int:
        """Number of events that the logs only count."""
        return sum(run[3] for run in self._runs.values())

    @property
    def missing(self) -> int:
        """Number of records that are missing without a word in the logs: somebody has removed them, or a file was
        left out.
        """
        return sum(max(run[2] - run[1] + 1 - run[0] - run[3], 0) for run in self._runs.values())


def read_records(lines: Iterable[bytes], integrity: Integrity) -> Iterator[dict[str, Any]]:
    """The records in lines of a log. Other lines are counted, and left out."""
    for line in lines:
        if not line.strip():
            continue
        record = None
        if len(line) <= LINE_MAX:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                pass
        if isinstance(record, dict) and _is_record(record):
            integrity.note(record)
            yield record
        else:
            integrity.unreadable += 1


def _is_record(record: dict[str, Any]) -> bool:
    return type(record.get("seq")) is int and all(
        isinstance(record.get(key), str) for key in ("run", "time", "event")
    )


def _number(record: dict[str, Any], key: str) -> int:
    value = record.get(key)
    return value if type(value) is int else 0


def is_refusal(record: dict[str, Any]) -> bool:
    """Report whether a record says that something was refused."""
    event = record["event"]
    if event == "refused":  # also after first bytes that were the reason
        return True
    if event == "omitted":
        return record.get("kind") == "refused"
    return event == "query" and record.get("outcome") not in ("local", "cached", "forwarded")


def name_of(record: dict[str, Any]) -> str:
    """The name, or else the address, that a record about a flow or about DNS is about; empty for others."""
    if record.get("host") is True:
        return "host"
    for key in ("said", "names"):
        names = record.get(key)
        if isinstance(names, list) and names:
            return str(names[0])
    return str(record.get("name") or record.get("destination") or "").lower()


class Filter(NamedTuple):
    """Conditions, all of which a record has to meet."""

    refused: bool = False
    """Only refusals."""
    name: str = ""
    """Only this name, or with ``*`` and ``?`` those of a pattern."""
    guest: str = ""
    """Only guests with this address, MAC address, lease or number of the link."""
    since: str = ""
    until: str = ""
    """Only records between these times, as RFC 3339 writes them in UTC."""
    severity: Severity | None = None
    """Only destinations of this class and more severe ones."""

    def matches(self, record: dict[str, Any]) -> bool:
        """Report whether a record meets all conditions."""
        time = record["time"]
        return (
            not (self.since and time < self.since)
            and not (self.until and time >= self.until)
            and (not self.refused or is_refusal(record))
            and (not self.name or self._has_name(record))
            and (not self.guest or self._has_guest(record))
            and (self.severity is None or self._is_severe(record, self.severity))
        )

    def _has_name(self, record: dict[str, Any]) -> bool:
        found = [record.get("name"), record.get("destination"), record.get("target")]
        for key in ("names", "said"):
            values = record.get(key)
            found += values if isinstance(values, list) else []
        wanted = self.name.lower().removesuffix(".")
        return any(
            isinstance(each, str) and fnmatchcase(each.lower().removesuffix("."), wanted) for each in found
        )

    def _has_guest(self, record: dict[str, Any]) -> bool:
        wanted = self.guest.lower()
        values = (record.get(key) for key in ("source", "mac", "lease", "link", "address"))
        return any(value is not None and str(value).lower() == wanted for value in values)

    @staticmethod
    def _is_severe(record: dict[str, Any], level: Severity) -> bool:
        found = record.get("severity")
        return found in list(Severity) and _LEVELS.index(Severity(found)) <= _LEVELS.index(level)
