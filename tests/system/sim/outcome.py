"""The outcome of a scenario: what the programs report, and what was on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slirpy.tcp.seq import HALF, MASK
from slirpy.testing.sim.segments import seen
from slirpy.testing.sim.trace import FrameRecord, Trace
from slirpy.units import SECOND
from slirpy.wire import ethernet, ipv4, tcp
from tests.system.sim.programs import Log

__all__ = ["Outcome", "outcome_of"]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a scenario.

    Attributes:
        facts: what the programs report, by side.
        times: seconds since the client's start.
        resent: for each side the seconds at which it sent a segment again.
        largest: for each side the largest IP packet that arrived.
    """

    facts: dict[str, Any]
    times: dict[str, float]
    resent: dict[str, list[float]]
    largest: dict[str, int]


def outcome_of(logs: dict[str, Log], trace: Trace, began: float) -> Outcome:
    """Put together what the programs and the frames tell.

    Args:
        logs: of client and server.
        trace: the frames.
        began: virtual seconds of the client's start in the trace.
    """
    start = logs["client"].times["start"]
    times = {
        f"{side} {label}": when - start
        for side, log in logs.items()
        for label, when in log.times.items()
        if label != "start"
    }
    resent: dict[str, list[float]] = {"client": [], "server": []}
    largest = {"client": 0, "server": 0}
    ends: dict[tuple[bytes, int, bytes, int], int] = {}
    for record in trace.records:
        if not isinstance(record, FrameRecord) or record.source not in resent:
            continue
        if record.arrivals:
            length = len(record.frame) - ethernet.HEADER_LENGTH
            largest[record.source] = max(largest[record.source], length)
        packet = seen(record.frame)
        if packet is None or packet.protocol != ipv4.TCP or packet.flags & tcp.RST:
            continue
        length = packet.length + bool(packet.flags & tcp.SYN) + bool(packet.flags & tcp.FIN)
        key = packet.source, packet.source_port, packet.target, packet.target_port
        end = (packet.seq + length) & MASK
        known = None if packet.flags & tcp.SYN and key not in ends else ends.get(key)
        if length and known is not None and (end - known - 1) & MASK >= HALF:
            resent[record.source].append(record.time / SECOND - began)
        elif length:
            ends[key] = end
    return Outcome({side: log.facts for side, log in logs.items()}, times, resent, largest)
