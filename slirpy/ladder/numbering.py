"""Relative sequence numbers, counted from the beginning of the connection that a segment belongs to.

Two ends may use the same ports for successive connections, and late segments of the old one may arrive while the new
one opens. A segment belongs to the old connection if its numbers lie within the data that the old one sent, and not
within that of the new one.
"""

from __future__ import annotations

from typing import TypeAlias

from slirpy.records import NamedTuple
from slirpy.tcp.options import TcpOptions
from slirpy.tcp.seq import HALF, MASK
from slirpy.wire.tcp import ACK, FIN, SYN

__all__ = ["Numbered", "Numbering", "Place", "Tcp"]

Place: TypeAlias = tuple[bytes, int]
"""An address and a port."""
_AHEAD = 1 << 24
"""Maximum distance of a segment beyond the data seen so far: frames may be missing from a capture."""


class Tcp(NamedTuple):
    """Header fields of a segment."""

    seq: int
    ack: int
    flags: int
    wnd: int
    length: int
    options: TcpOptions


class Numbered(NamedTuple):
    """The displayed numbers of a segment."""

    seq: int
    ack: int
    sack: tuple[tuple[int, int], ...]
    again: bool
    """True if all of it was sent before."""
    earlier: bool
    """True if it belongs to a connection that has a successor."""


class _Side:
    """The data sent by one end of a connection."""

    __slots__ = ("base", "by_syn", "top")

    def __init__(self, base: int, by_syn: bool) -> None:
        self.base = self.top = base
        self.by_syn = by_syn

    def holds(self, number: int, ahead: int) -> bool:
        """Report whether a number fits this side; a keep-alive's may be one below the first."""
        return relative(number, self.base) >= -1 and relative(number, self.top) <= ahead


_Connection: TypeAlias = dict[Place, _Side]


class Numbering:
    """Numbering of all connections in one drawing; segments must be given in the order in which they were sent."""

    def __init__(self) -> None:
        self._connections: dict[frozenset[Place], list[_Connection]] = {}  # the last two between the same ports

    def number(self, source: Place, destination: Place, tcp: Tcp) -> Numbered:
        """Count a segment."""
        known = self._connections.setdefault(frozenset((source, destination)), [{}])
        if tcp.flags & SYN:
            self._begin(known, source, destination, tcp)
        connection = known[-1]
        if len(known) > 1 and _is_earlier(known[0], connection, source, destination, tcp):
            connection = known[0]
        side = connection.setdefault(source, _Side(tcp.seq, by_syn=False))
        far = connection.get(destination)
        space = tcp.length + bool(tcp.flags & SYN) + bool(tcp.flags & FIN)
        again = space > 0 and relative(tcp.seq, side.base) >= 0 and relative(tcp.seq + space, side.top) <= 0
        if relative(tcp.seq + space, side.top) > 0:
            side.top = (tcp.seq + space) & MASK
        base = far.base if far is not None else (tcp.ack - 1) & MASK
        return Numbered(
            relative(tcp.seq, side.base),
            relative(tcp.ack, base),
            tuple((relative(begin, base), relative(end, base)) for begin, end in tcp.options.sack),
            again,
            connection is not known[-1],
        )

    @staticmethod
    def _begin(known: list[_Connection], source: Place, destination: Place, tcp: Tcp) -> None:
        """Handle a SYN: the first of a connection, the answer to one, or a retransmission."""
        connection = known[-1]
        side, far = connection.get(source), connection.get(destination)
        if side is not None and side.base == tcp.seq:
            return
        answers = bool(tcp.flags & ACK) and far is not None and relative(tcp.ack, far.base) == 1
        # Without ACK both ends may be opening at once; then neither has sent anything else.
        joins = far is None or (far.by_syn and (answers or (side is None and relative(far.top, far.base) <= 1)))
        if not joins or (side is not None and not answers):
            known[:] = [connection, {}]
            connection = known[-1]
        connection[source] = _Side(tcp.seq, by_syn=True)


def _is_earlier(old: _Connection, new: _Connection, source: Place, destination: Place, tcp: Tcp) -> bool:
    side, far = new.get(source), new.get(destination)
    if side is not None and side.holds(tcp.seq, _AHEAD):
        return False
    has_ack = bool(tcp.flags & ACK)
    if side is None and has_ack and far is not None and far.holds(tcp.ack, 0):
        return False
    side, far = old.get(source), old.get(destination)
    return (
        side is not None
        and side.holds(tcp.seq, 1)
        and (not has_ack or far is None or far.holds(tcp.ack, _AHEAD))
    )


def relative(number: int, base: int) -> int:
    """Return the distance between two numbers, negative if the second lies before the first."""
    distance = (number - base) & MASK
    return distance if distance < HALF else distance - MASK - 1
