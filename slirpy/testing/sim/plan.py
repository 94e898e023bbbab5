"""A plan of faults at work: finds the segments that are named, and counts what each fault has hit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from slirpy.records import NamedTuple
from slirpy.tcp.seq import HALF, MASK
from slirpy.testing.sim.faults import (
    Corrupt,
    Crash,
    Cut,
    Delay,
    Flow,
    FlowFault,
    Lose,
    Repeat,
    Reset,
    Slow,
    Stall,
    TimedFault,
)
from slirpy.testing.sim.injected import Injected
from slirpy.testing.sim.partition import Partition
from slirpy.testing.sim.path import Path
from slirpy.testing.sim.segments import Seen, reset_frame, seen
from slirpy.testing.sim.trace import FrameRecord
from slirpy.units import MS
from slirpy.wire import ethernet, ipv4, tcp

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host
    from slirpy.testing.sim.topology import Topology

__all__ = ["Injections", "actions"]


class _Where(NamedTuple):
    flow: Flow
    n: int
    """Number of the new segment."""
    carried: int
    """Bytes of new data of this direction, with this segment."""


class _Direction:
    """One direction of a connection, as far as it has been seen."""

    __slots__ = ("carried", "count", "end", "flow")

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.count = 0
        self.carried = 0
        self.end: int | None = None  # sequence number after the newest byte


_Key = tuple[int, bytes, int, bytes, int]


class Tracker:
    """Numbers connections and their new segments, from the frames of all paths."""

    def __init__(self) -> None:
        self._directions: dict[_Key, _Direction] = {}
        self._isn: dict[_Key, int] = {}
        self._opened: dict[tuple[str, str, str], int] = {}

    def place(self, source: str, target: str, packet: Seen) -> _Where | None:
        """Return the place of a packet in its flow; None: it carries nothing new, or belongs to no known flow."""
        key = packet.protocol, packet.source, packet.source_port, packet.target, packet.target_port
        direction = self._directions.get(key)
        if packet.protocol == ipv4.UDP:
            if direction is None:
                direction = self._open(key, source, target, "udp")
            direction.count += 1
            direction.carried += packet.length
            return _Where(direction.flow, direction.count - 1, direction.carried)
        if packet.flags & (tcp.SYN | tcp.ACK) == tcp.SYN and self._isn.get(key) != packet.seq:
            self._isn[key] = packet.seq
            direction = self._open(key, source, target, "tcp")
        if direction is None or packet.flags & tcp.RST:
            return None
        length = packet.length + bool(packet.flags & tcp.SYN) + bool(packet.flags & tcp.FIN)
        end = (packet.seq + length) & MASK
        if not length or (direction.end is not None and (end - direction.end - 1) & MASK >= HALF):
            return None
        direction.end = end
        direction.count += 1
        direction.carried += packet.length
        return _Where(direction.flow, direction.count - 1, direction.carried)

    def _open(self, key: _Key, source: str, target: str, protocol: str) -> _Direction:
        """Take note of a new flow, and return the direction of its first packet."""
        pair = source, target, protocol
        number = self._opened.get(pair, 0)
        self._opened[pair] = number + 1
        kind, own, own_port, far, far_port = key
        there = Flow(source, target, number, protocol="tcp" if protocol == "tcp" else "udp")
        back = Flow(source, target, number, back=True, protocol=there.protocol)
        self._directions[kind, far, far_port, own, own_port] = _Direction(back)
        direction = self._directions[key] = _Direction(there)
        return direction


class Injections:
    """All faults of single segments of a network: :meth:`apply` is the plan of its paths.

    Args:
        past: frames that were sent before, which count for the numbers of connections and segments.
        insert: called with the names of two hosts, a frame that a box on the way sends in the name of the first to
            the second, and the reason.
    """

    def __init__(self, past: list[FrameRecord], insert: Callable[[str, str, bytes, str], None]) -> None:
        self._tracker = Tracker()
        self._insert = insert
        self._faults: dict[tuple[Flow, int], list[Injected]] = {}
        self._resets: dict[Flow, list[Injected]] = {}
        for record in past:
            packet = seen(record.frame)
            if packet is not None:
                self._tracker.place(record.source, record.target, packet)

    def add(self, injected: Injected) -> None:
        """Add a fault."""
        fault = injected.fault
        if isinstance(fault, Reset):
            self._resets.setdefault(fault.flow, []).append(injected)
        elif isinstance(fault, FlowFault):
            self._faults.setdefault((fault.flow, fault.n), []).append(injected)

    def apply(self, path: Path, record: FrameRecord) -> bool:
        """Decide about a frame; False if it goes its way as usual."""
        packet = seen(record.frame)
        where = None if packet is None else self._tracker.place(path.source, path.target, packet)
        if packet is None or where is None:
            return False
        reset = self._reset(record, where)
        delay, copies, changed = 0, 1, reset is not None
        for injected in self._faults.get(where[:2], ()):
            injected.hits.append(record.time)
            record.fault = ", ".join(filter(None, (record.fault, str(injected.fault))))
            changed = True
            match injected.fault:
                case Lose():
                    copies = 0
                case Delay(ms=ms):
                    delay += ms * MS
                case Repeat():
                    copies += copies > 0
                case Corrupt(bit=bit):
                    record.frame = _flipped(record.frame, bit)
                    record.changed = True
        if changed:
            path.send(record, delay, copies)
        if reset is not None:
            self._insert(path.source, path.target, reset_frame(record.frame, packet, forward=True), reset)
            self._insert(path.target, path.source, reset_frame(record.frame, packet, forward=False), reset)
        return changed

    def _reset(self, record: FrameRecord, where: _Where) -> str | None:
        """Return the fault that resets the connection at this segment, which itself goes on; None: there is none."""
        for injected in self._resets.get(where.flow, ()):
            fault = injected.fault
            if (
                isinstance(fault, Reset)
                and not injected.hits
                and where.n
                and where.carried >= fault.after_bytes
            ):
                injected.hits.append(record.time)
                return str(fault)
        return None


def _flipped(frame: bytes, bit: int) -> bytes:
    """Return a frame with one bit of its IP packet inverted."""
    size = 8 * (len(frame) - ethernet.HEADER_LENGTH)
    place = 8 * ethernet.HEADER_LENGTH + bit % size
    changed = bytearray(frame)
    changed[place >> 3] ^= 0x80 >> (place & 7)
    return bytes(changed)


def actions(
    net: Topology, fault: TimedFault, hosts: list[Host], hits: list[int]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the functions that begin and end a fault of a network; ``hosts`` are those of its places."""
    host, other = hosts[0], hosts[-1]
    if isinstance(fault, Cut):
        paths = [net.path(host, other)]
        if not fault.oneway:
            paths.append(net.path(other, host))
        partition = Partition(net.scheduler, net.trace, str(fault), paths, hits)
        return partition.begin, partition.heal
    if isinstance(fault, Slow):
        path = net.path(host, other)
        return partial(path.slow, fault.rate, hits), partial(path.unslow, hits)
    reset = isinstance(fault, Crash) and fault.reset

    def begin() -> None:
        hits.append(net.now)
        if isinstance(fault, Stall):
            host.pause()
        else:
            host.crash(reset=reset)

    def end() -> None:
        if isinstance(fault, Stall):
            host.resume()
        elif host.crashed:
            host.restart()

    return begin, end
