"""The first difference between two runs that should be the same."""

from __future__ import annotations

from slirpy.testing.sim.trace import FrameRecord, Record, Trace
from slirpy.testing.text import seconds

__all__ = ["first_difference"]


def first_difference(one: Trace, other: Trace) -> str:
    """Describe the first record in which two traces differ; empty: they are the same."""
    for number, (first, second) in enumerate(zip(one.records, other.records, strict=False)):
        if _words(first) != _words(second):
            return f"record {number}: first {_shown(first)}, then {_shown(second)}"
    if len(one.records) != len(other.records):
        number = min(len(one.records), len(other.records))
        longer, which = (one, "first") if len(one.records) > number else (other, "second")
        return f"record {number} is only in the {which} run: {_shown(longer.records[number])}"
    return ""


def _words(record: Record) -> tuple[object, ...]:
    if isinstance(record, FrameRecord):
        return record.time, record.source, record.target, record.frame, record.arrivals, record.fault
    return record.time, record.host, record.kind, record.text


def _shown(record: Record) -> str:
    at = f"at {seconds(record.time)}"
    if isinstance(record, FrameRecord):
        frame = record.frame.hex() if len(record.frame) <= 80 else f"{record.frame[:80].hex()}..."
        fault = f" ({record.fault})" if record.fault else ""
        return f"{at} {record.source} -> {record.target}, {len(record.frame)} bytes{fault}: {frame}"
    return f"{at} {record.host or 'the network'}: {record.kind}: {record.text}"
