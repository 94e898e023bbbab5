"""TCP connections of a run, found in its frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address

from slirpy.checks import whole
from slirpy.config.text import with_port
from slirpy.errors import ConfigError
from slirpy.ladder.numbering import Numbered, Numbering, Place, Tcp
from slirpy.ladder.packets import Packet, read_packet
from slirpy.testing.sim.trace import FrameRecord, Record, Trace
from slirpy.wire.tcp import ACK, SYN

__all__ = ["Passage", "TraceConnection", "chosen_connection", "find_connections"]


@dataclass(frozen=True, slots=True)
class Passage:
    """A segment with the frame that carried it.

    Attributes:
        record: the frame, with its fate.
        packet: addresses and ports.
        segment: fields of the header.
        shown: numbers counted from the beginning of the connection.
        from_client: whether the client sent it.
    """

    record: FrameRecord
    packet: Packet
    segment: Tcp
    shown: Numbered
    from_client: bool


@dataclass(slots=True)
class TraceConnection:
    """A TCP connection.

    Attributes:
        number: position among the connections of the run, from 0, in the order of their first segments.
        hosts: names of the client's and the server's host.
        places: address and port of both.
        passages: its segments, in the order in which they were sent.
    """

    number: int
    hosts: tuple[str, str]
    places: tuple[Place, Place]
    passages: list[Passage] = field(default_factory=list)

    @property
    def frames(self) -> list[FrameRecord]:
        """The frames that carried its segments."""
        return [each.record for each in self.passages]

    @property
    def trouble(self) -> int:
        """Number of segments that a fault hit, or that were sent again."""
        return sum(each.shown.again or bool(each.record.fate) for each in self.passages)

    def __str__(self) -> str:
        (client, server), (one, other) = self.hosts, self.places
        return f"connection {self.number}: {_end(client, one)} - {_end(server, other)}"


def _end(host: str, place: Place) -> str:
    return f"{host} {with_port(ip_address(place[0]), place[1])}"


def find_connections(records: Iterable[Record]) -> list[TraceConnection]:
    """Return the TCP connections among records, in the order of their first segments.

    The client is the sender of the first SYN, or of the first segment if there is no SYN.
    """
    found: list[TraceConnection] = []
    current: dict[frozenset[Place], TraceConnection] = {}
    numbering = Numbering()
    for record in records:
        if not isinstance(record, FrameRecord):
            continue
        packet = read_packet(record.time, "", record.frame)
        if packet is None or packet.tcp is None:
            continue
        segment = packet.tcp
        ends = frozenset((packet.source, packet.destination))
        connection = current.get(ends)
        if connection is None or (segment.flags & (SYN | ACK) == SYN and _is_new(connection, packet, segment)):
            connection = current[ends] = TraceConnection(
                len(found), (record.source, record.target), (packet.source, packet.destination)
            )
            found.append(connection)
        shown = numbering.number(packet.source, packet.destination, segment)
        connection.passages.append(
            Passage(record, packet, segment, shown, packet.source == connection.places[0])
        )
    return found


def chosen_connection(trace: Trace, number: int) -> TraceConnection:
    """Return the TCP connection of this number.

    Raises:
        ConfigError: there is no such connection, or not a whole number.
    """
    found = find_connections(trace.records)
    if not found:
        raise ConfigError(f"connection {number!r}: the run has no TCP connection")
    return found[whole("connection", number, 0, len(found) - 1)]


def _is_new(connection: TraceConnection, packet: Packet, segment: Tcp) -> bool:
    """Report whether a SYN begins a connection that reuses the ports: not a retransmission, nor the other end's."""
    first = next((each for each in connection.passages if each.segment.flags & SYN), None)
    if first is None or first.packet.source != packet.source:
        return any(not each.segment.flags & SYN for each in connection.passages)
    return first.segment.seq != segment.seq
