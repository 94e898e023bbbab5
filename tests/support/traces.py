"""Runs of one TCP connection between two hosts, as traces: the engine on both sides, and a wire with faults."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.tcp import Segment
from slirpy.tcp.options import build as build_options
from slirpy.testing import Pair
from slirpy.testing.sim.trace import FrameRecord, Trace
from slirpy.units import MS
from slirpy.wire import tcp
from slirpy.wire.checksum import checksum
from slirpy.wire.ip import Family, family_of

__all__ = ["ADDRESSES", "PORTS", "Run", "Verdict", "frame_of", "packet_frame"]

ADDRESSES = {"client": bytes((198, 18, 0, 1)), "server": bytes((198, 18, 0, 2))}
PORTS = {"client": 40000, "server": 443}
NAMES = {"a": "client", "b": "server"}
PEERS = {"client": "server", "server": "client"}
MACS = {"client": b"\x02\0\0\0\0\x01", "server": b"\x02\0\0\0\0\x02"}

Verdict = tuple[str, tuple[int, ...]]
"""A fault, and the delay of each delivery in nanoseconds."""


def packet_frame(source: str, protocol: int, payload: bytes) -> bytes:
    """A frame with an IPv4 packet to the other host."""
    target = PEERS[source]
    family: Family = family_of(ADDRESSES[source])
    header = family.build(ADDRESSES[source], ADDRESSES[target], protocol, len(payload), dont_fragment=True)
    return MACS[target] + MACS[source] + family.ethertype.to_bytes(2, "big") + header + payload


def frame_of(source: str, segment: Segment) -> bytes:
    """A frame with a TCP segment of the connection to the other host."""
    options = segment.options
    raw = build_options(
        mss=options.mss,
        wscale=options.wscale,
        sack_permitted=options.sack_permitted,
        timestamps=options.timestamps,
        sack=options.sack,
    )
    target = PEERS[source]
    header = tcp.HEADER.pack(
        PORTS[source],
        PORTS[target],
        segment.seq,
        segment.ack,
        (20 + len(raw)) << 2,
        segment.flags,
        segment.wnd,
        0,
        segment.urg,
    )
    data = header + raw + bytes(segment.payload)
    pseudo = family_of(ADDRESSES[source]).pseudo_sum(ADDRESSES[source], ADDRESSES[target], 6, len(data))
    data = data[:16] + checksum(data, pseudo).to_bytes(2, "big") + data[18:]
    return packet_frame(source, 6, data)


class Run:
    """A connection from the client to the server.

    Args:
        faults: called with the name of the sender, the number of the segment that it sends, from 0, and the segment;
            returns a :data:`Verdict`, or None.
        delay: nanoseconds each way.
        spacing: nanoseconds between the arrivals of segments that are sent together. 0: they arrive together, and
            :class:`~slirpy.testing.Pair` answers them together.
    """

    def __init__(
        self,
        faults: Callable[[str, int, Segment], Verdict | None] = lambda *_: None,
        *,
        delay: int = 10 * MS,
        spacing: int = 0,
    ) -> None:
        self._faults = faults
        self._spacing = spacing
        self._free = {"client": 0, "server": 0}
        self._counts = {"client": 0, "server": 0}
        self._reasons: list[str] = []
        self.trace = Trace()
        self.pair = Pair(delay=delay, wire=self._wire)
        self.pair.connect()

    def _wire(self, sender: str, segment: Segment) -> list[int]:
        source = NAMES[sender]
        number = self._counts[source]
        self._counts[source] += 1
        fault, delays = self._faults(source, number, segment) or ("", (0,))
        now = self.pair.now
        waits = max(self._free[source] - now, 0)
        self._free[source] = now + waits + self._spacing
        delays = tuple(each + waits for each in delays)
        arrivals = tuple(now + self.pair.delay + each for each in delays)
        self.trace.records.append(
            FrameRecord(now, source, PEERS[source], frame_of(source, segment), arrivals, fault)
        )
        return list(delays)

    def note(self, host: str, text: str) -> None:
        """Add a log line."""
        self.trace.note(self.pair.now, host, "log", text)

    def send(self, source: str, data: bytes) -> None:
        """Send data, and let time pass until they have arrived."""
        pair = self.pair
        end, received = (pair.a, pair.b_received) if source == "client" else (pair.b, pair.a_received)
        wanted = len(received) + len(data)
        end.write(data)
        pair.run_until(lambda: len(received) >= wanted)

    def close(self) -> None:
        """Close both ends, the client first."""
        self.pair.a.close()
        self.pair.run(200 * MS)
        self.pair.b.close()
        self.pair.run(500 * MS)
