"""Lines of a ladder of hosts: frames, their later arrivals, and the programs' lines, in order of time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from heapq import merge

from slirpy.ladder.labels import segment_label
from slirpy.ladder.numbering import Numbering
from slirpy.ladder.packets import read_packet
from slirpy.testing.sim.trace import FrameRecord, NoteRecord, Record
from slirpy.units import SECOND
from slirpy.wire.describe import describe

__all__ = ["Fate", "Row", "clock_text", "rows_of"]


class Fate(Enum):
    """The meaning of an arrow."""

    SENT = "sent"
    LOST = "lost"
    LATE = "late"
    """Sent now; a fault delays or repeats it, and each arrival is another row."""
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a ladder.

    Attributes:
        time: nanoseconds.
        record: the frame or the note.
        fate: of a frame; None for a note.
        label: description of the frame, or the text of the note.
        remark: what happened to the frame; empty if nothing did.
    """

    time: int
    record: Record
    fate: Fate | None
    label: str
    remark: str = ""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts that it concerns; none if it concerns the whole network."""
        record = self.record
        if isinstance(record, FrameRecord):
            return record.source, record.target
        return (record.host,) if record.host else ()


def clock_text(time: int) -> str:
    """Format virtual nanoseconds as seconds."""
    return f"{time / SECOND:.6f}"


def rows_of(
    records: Sequence[Record], hosts: Collection[str] | None = None, only: Collection[Record] | None = None
) -> list[Row]:
    """Return the rows of a trace.

    Args:
        records: records in order; sequence numbers count from the first of each connection.
        hosts: leave out frames that neither come from nor go to one of these, and notes of others. None: all.
        only: leave out other frames than these; notes stay.
    """
    wanted = None if only is None else set(map(id, only))
    sent: list[Row] = []
    later: list[Row] = []
    numbering = Numbering()
    for record in records:
        if isinstance(record, NoteRecord):
            if hosts is None or not record.host or record.host in hosts:
                sent.append(Row(record.time, record, None, record.line))
            continue
        label = _label(record, numbering)
        if (hosts is not None and record.source not in hosts and record.target not in hosts) or (
            wanted is not None and id(record) not in wanted
        ):
            continue
        what = record.fate
        if not record.arrivals:
            sent.append(Row(record.time, record, Fate.LOST, label, what))
        elif not what:
            sent.append(Row(record.time, record, Fate.SENT, label))
        else:
            sent.append(Row(record.time, record, Fate.LATE, label, what))
            remark = f"sent at {clock_text(record.time)}"
            later += [Row(arrival, record, Fate.ARRIVAL, label, remark) for arrival in record.arrivals]
    later.sort(key=_time_of)
    return list(merge(sent, later, key=_time_of))


def _time_of(row: Row) -> int:
    return row.time


def _label(record: FrameRecord, numbering: Numbering) -> str:
    packet = read_packet(record.time, "", record.frame)
    if packet is None:
        return describe(record.frame)
    if packet.tcp is None:
        return packet.label
    return segment_label(packet, packet.tcp, numbering, ports=True)
