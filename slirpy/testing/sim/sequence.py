"""The data of a time-sequence diagram: what one end of a connection sent, and what it learned of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from slirpy.testing.sim.connections import Passage, TraceConnection
from slirpy.wire.tcp import ACK, FIN, RST, SYN

__all__ = ["Mark", "Series", "series_of", "window_shifts"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A segment, or a block that the peer has reported.

    Attributes:
        time: nanoseconds: of sending, or of the arrival of a report.
        begin, end: sequence numbers, counted from the SYN.
        text: description.
        arrivals: when the segment arrived.
    """

    time: int
    begin: int
    end: int
    text: str
    arrivals: tuple[int, ...] = ()


@dataclass(slots=True)
class Series:
    """One direction of a connection, as its sender sees it.

    Attributes:
        name: the sender and the receiver.
        sent: segments that were sent once and arrived, in order of time.
        again: retransmissions that arrived.
        lost: segments that never arrived, retransmissions among them.
        late: segments that a fault delayed or repeated; they are in ``sent`` or ``again``, too.
        ends: SYN, FIN and RST.
        acked: times and acknowledged numbers, as the sender learned of them; numbers never decrease.
        window: times and the right edge of the window.
        sacked: blocks that were reported as received (RFC 2018), each at the first report.
    """

    name: str
    sent: list[Mark] = field(default_factory=list)
    again: list[Mark] = field(default_factory=list)
    lost: list[Mark] = field(default_factory=list)
    late: list[Mark] = field(default_factory=list)
    ends: list[Mark] = field(default_factory=list)
    acked: list[tuple[int, int]] = field(default_factory=list)
    window: list[tuple[int, int]] = field(default_factory=list)
    sacked: list[Mark] = field(default_factory=list)

    @property
    def has_data(self) -> bool:
        """True if data were sent."""
        return any(mark.begin < mark.end for marks in (self.sent, self.again, self.lost) for mark in marks)


def series_of(connection: TraceConnection) -> tuple[Series, Series]:
    """Return both directions of a connection: of the client's data, and of the server's."""
    client, server = connection.hosts
    found = Series(f"{client} > {server}"), Series(f"{server} > {client}")
    shifts = window_shifts(connection.passages)
    for passage in connection.passages:
        own, other = found if passage.from_client else found[::-1]
        _add_segment(own, passage)
        if passage.segment.flags & ACK:
            _add_report(other, passage, shifts[not passage.from_client])
    for series in found:
        for line in (series.acked, series.window):
            line.sort()
        highest = 0
        for position, (time, number) in enumerate(series.acked):
            highest = max(highest, number)
            series.acked[position] = time, highest
        series.sacked.sort(key=lambda mark: mark.time)
    return found


def window_shifts(passages: Sequence[Passage]) -> tuple[int, int]:
    """Return the window scale of both ends (RFC 7323, section 2.2): of the client, and of the server."""
    found = [
        next(
            (
                each.segment.options.wscale
                for each in passages
                if each.from_client is from_client and each.segment.flags & SYN
            ),
            None,
        )
        for from_client in (True, False)
    ]
    client, server = found
    return (0, 0) if client is None or server is None else (client, server)


def _add_segment(series: Series, passage: Passage) -> None:
    segment, record, shown = passage.segment, passage.record, passage.shown
    flags, length = segment.flags, segment.length
    begin = shown.seq + bool(flags & SYN)
    text = f"seq={begin} len={length}" + (" again" if shown.again else "")
    if record.fate:
        text += f", {record.fate}"
    mark = Mark(record.time, begin, begin + length, text, record.arrivals)
    if flags & (SYN | FIN | RST):
        names = " ".join(name for bit, name in ((SYN, "SYN"), (FIN, "FIN"), (RST, "RST")) if flags & bit)
        at = shown.seq if flags & SYN else begin + length
        series.ends.append(Mark(record.time, at, at, f"{names} {text}", record.arrivals))
    if not length:
        return
    (series.lost if record.lost else series.again if shown.again else series.sent).append(mark)
    if record.fate and record.arrivals:
        series.late.append(mark)


def _add_report(series: Series, passage: Passage, shift: int) -> None:
    """Add the acknowledgment, the window and the SACK blocks of a segment, at its first arrival."""
    if not passage.record.arrivals:
        return
    time, shown, segment = min(passage.record.arrivals), passage.shown, passage.segment
    series.acked.append((time, shown.ack))
    if not segment.flags & RST:
        scale = 0 if segment.flags & SYN else shift
        series.window.append((time, shown.ack + (segment.wnd << scale)))
    known = {(mark.begin, mark.end) for mark in series.sacked[-16:]}
    for begin, end in shown.sack:
        if (begin, end) not in known:
            series.sacked.append(Mark(time, begin, end, f"sack {begin}-{end}"))
