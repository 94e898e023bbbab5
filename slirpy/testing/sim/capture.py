"""Captures of a run: pcapng with the fate of each frame as a comment, log lines, and keys of TLS connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge

from slirpy.testing.sim.trace import FrameRecord, NoteRecord, Record, Trace
from slirpy.wire import pcapng

__all__ = ["capture"]


def capture(
    trace: Trace, *, host: str | None = None, lost: bool = True, keys: str = "", epoch: int = 0
) -> bytes:
    """Return a run as the content of a pcapng file, which Wireshark and tshark read.

    Frames that a fault hit have a comment (filter: ``frame.comment``). Lines of the trace are entries of a journal
    between the frames.

    Args:
        trace: the run.
        host: the host whose interface is captured: its frames at the time at which they were sent, those for it at
            their arrivals. None: all frames of all hosts, as they were sent, each on the interface of its sender.
        lost: whether to include frames that never arrived.
        keys: secrets of TLS connections, in the key log format; they are stored in the file, so Wireshark decrypts.
        epoch: nanoseconds since 1970 at which virtual time began.
    """
    records: Iterable[Record] = trace.records
    names = sorted({each.source for each in trace.records if isinstance(each, FrameRecord)})
    if host is not None:
        names = [host]
    numbers = {name: number for number, name in enumerate(names)}
    parts = [pcapng.header(names)]
    if keys:
        parts.append(pcapng.tls_keys(keys))
    arrivals = () if host is None else _arrivals(trace, host)
    for time, record in merge(_sendings(records, host, lost), arrivals, key=lambda each: each[0]):
        if isinstance(record, NoteRecord):
            parts.append(pcapng.journal_entry(epoch + time, record.host or "network", record.line))
        else:
            inbound = record.source != host if host is not None else False
            number = numbers[record.source if host is None else host]
            parts.append(pcapng.record(epoch + time, (record.frame,), inbound, number, record.fate))
    return b"".join(parts)


def _sendings(records: Iterable[Record], host: str | None, lost: bool) -> Iterator[tuple[int, Record]]:
    """Yield lines, and frames at the time at which they were sent."""
    for record in records:
        if isinstance(record, NoteRecord) or (
            (host is None or record.source == host) and (lost or record.arrivals)
        ):
            yield record.time, record


def _arrivals(trace: Trace, host: str) -> list[tuple[int, Record]]:
    """List the frames for a host at their arrivals, in order of time."""
    found: list[tuple[int, Record]] = [
        (arrival, record)
        for record in trace.records
        if isinstance(record, FrameRecord) and record.target == host
        for arrival in record.arrivals
    ]
    return sorted(found, key=lambda each: each[0])
