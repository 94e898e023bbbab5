"""Adapters for implementations of TCP that a :class:`~slirpy.testing.machines.tcp.TcpMachine` tries."""

from __future__ import annotations

import abc
from ipaddress import IPv4Address

from slirpy.addresses import AnyAddress, address_bytes
from slirpy.checks import instance, octets, whole
from slirpy.errors import ConfigError
from slirpy.reprs import never_raises
from slirpy.tcp import Connection, Segment, Settings, State
from slirpy.tcp.options import parse
from slirpy.wire import ipv4, tcp
from slirpy.wire.checksum import checksum, ones_sum
from slirpy.wire.ip import family_of

__all__ = ["ConnectionSubject", "TcpSubject", "from_bytes", "to_bytes"]

_SOURCE, _DESTINATION = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


class TcpSubject(abc.ABC):
    """One end of a connection in an implementation under test: the adapter that you write.

    Segments are :class:`slirpy.tcp.Segment`; :func:`from_bytes` and :func:`to_bytes` translate for an implementation
    that takes bytes. Times are integer nanoseconds. No method waits.
    """

    @abc.abstractmethod
    def open(self, now: int, *, active: bool) -> None:
        """Send a SYN (``active``), or wait for that of the peer."""

    @abc.abstractmethod
    def input(self, segment: Segment, now: int) -> None:
        """Take a segment that has arrived."""

    @abc.abstractmethod
    def output(self, now: int) -> list[Segment]:
        """Handle the timers that are due, and return the segments to send now. Called after every other call."""

    @abc.abstractmethod
    def deadline(self) -> int | None:
        """Return the time at which a timer is due; None: there is none."""

    @abc.abstractmethod
    def write(self, data: bytes) -> int:
        """Take data to send; returns the number of bytes that fitted into the send buffer."""

    @abc.abstractmethod
    def read(self) -> bytes:
        """Return all data that have arrived in order and were not read before."""

    @abc.abstractmethod
    def close(self) -> None:
        """Send a FIN after the data; nothing is written afterwards. Data may still arrive."""

    @property
    @abc.abstractmethod
    def ended(self) -> bool:
        """True once all data and the FIN of the peer have arrived."""

    @property
    @abc.abstractmethod
    def closed(self) -> bool:
        """True once the connection is over: after TIME-WAIT, a reset, or when it has given up."""


class ConnectionSubject(TcpSubject):
    """Slirpy's own engine as the subject.

    Args:
        settings: of the connection; None: the default ones.
        iss: initial sequence number; None: a random one.

    Raises:
        ConfigError: an argument of another type, or out of range.
    """

    def __init__(self, settings: Settings | None = None, iss: int | None = 0) -> None:
        self.connection = Connection(settings if settings is not None else Settings(), iss=iss)

    @never_raises
    def __repr__(self) -> str:
        return f"<ConnectionSubject of {self.connection!r}>"

    def open(self, now: int, *, active: bool) -> None:
        """Connect or listen."""
        if active:
            self.connection.connect(now)
        else:
            self.connection.listen(now)

    def input(self, segment: Segment, now: int) -> None:
        """Pass on a segment."""
        self.connection.receive(segment, now)

    def output(self, now: int) -> list[Segment]:
        """Handle timers and return segments."""
        self.connection.handle_timeout(now)
        return self.connection.segments_to_send(now)

    def deadline(self) -> int | None:
        """Return the time of the next timer."""
        return self.connection.deadline()

    def write(self, data: bytes) -> int:
        """Write as much as the buffer takes."""
        taken = data[: self.connection.write_room()]
        if taken:
            self.connection.write(taken)
        return len(taken)

    def read(self) -> bytes:
        """Read all that has arrived."""
        return self.connection.read()

    def close(self) -> None:
        """Shut the sending direction down."""
        self.connection.shutdown()

    @property
    def ended(self) -> bool:
        """True once the FIN of the peer has arrived in order, and all was read."""
        return self.connection.fin_received and not self.connection.rcv_pending

    @property
    def closed(self) -> bool:
        """True in the state CLOSED."""
        return self.connection.state is State.CLOSED


def to_bytes(
    segment: Segment,
    source_port: int = 1000,
    destination_port: int = 2000,
    source: AnyAddress = _SOURCE,
    destination: AnyAddress = _DESTINATION,
) -> bytes:
    """Encode a segment from its TCP header on, with the checksum for the given ends.

    Raises:
        ConfigError: not a Segment, a port that is not from 0 to 65535, or ends that are not two addresses of one
            family.
    """
    instance("segment", segment, Segment, "a slirpy.tcp.Segment")
    whole("source_port", source_port, 0, 65535)
    whole("destination_port", destination_port, 0, 65535)
    options = segment.options.encode()
    header = tcp.HEADER.pack(
        source_port, destination_port, segment.seq, segment.ack, (tcp.HEADER_LENGTH + len(options)) << 2,
        segment.flags, segment.wnd, 0, segment.urg,
    )  # fmt: skip
    raw = header + options + bytes(segment.payload)
    value = checksum(raw, _pseudo(source, destination, len(raw)))
    return raw[:16] + value.to_bytes(2, "big") + raw[18:]


def from_bytes(
    raw: bytes, source: AnyAddress = _DESTINATION, destination: AnyAddress = _SOURCE
) -> Segment | None:
    """Decode a segment; None if it is cut short or its checksum is wrong for the given ends.

    Raises:
        ConfigError: not bytes, or ends that are not two addresses of one family.
    """
    octets("raw", raw)
    if len(raw) < tcp.HEADER_LENGTH or (ones_sum(raw) + _pseudo(source, destination, len(raw))) % 65535:
        return None
    _, _, seq, ack, offset, flags, wnd, _, urg = tcp.HEADER.unpack_from(raw)
    start = (offset >> 4) * 4
    if not tcp.HEADER_LENGTH <= start <= len(raw):
        return None
    return Segment(seq, ack, flags, wnd, parse(raw[tcp.HEADER_LENGTH : start]), raw[start:], urg)


def _pseudo(source: AnyAddress, destination: AnyAddress, length: int) -> int:
    ends = address_bytes("source", source), address_bytes("destination", destination)
    if len(ends[0]) != len(ends[1]):
        raise ConfigError(f"source {source!s} and destination {destination!s} must be of one IP family")
    return family_of(ends[0]).pseudo_sum(*ends, ipv4.TCP, length)
