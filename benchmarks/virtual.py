"""Throughput of the TCP engine in virtual time, over (loss x round-trip time): docs/reference/tcp-throughput.md.

Two connections and a path between them: a bottleneck with a queue that drops the excess, a delay, and seeded random
losses of data and acknowledgements alike. The figures do not depend on the clock or the machine, only on the engine,
and a test compares them to the last digit. After a change of the engine that moves them, run::

    python benchmarks/virtual.py --write
"""

from __future__ import annotations

import argparse
import heapq
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from slirpy.interfaces import CongestionFactory
from slirpy.stats import Stats
from slirpy.tcp import Connection, Segment, Settings
from slirpy.tcp.congestion import ALGORITHMS

if TYPE_CHECKING:
    from report import Report

__all__ = ["LOSSES", "PAGE", "RTTS", "carry", "cell", "page", "written"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "tcp-throughput.md"
MS = 1_000_000
SECOND = 1_000 * MS
LOSSES = (0.0, 0.1, 1.0, 5.0)
"""Per cent of the packets, in each direction."""
RTTS = (1, 10, 20, 100, 200)
"""Milliseconds without queueing."""
RATE = 50_000_000
"""Bits per second through the bottleneck."""
QUEUE = 128
"""Packets that may wait before it."""
DURATION = 10 * SECOND
MTU = 1500
SEEDS = {0.0: 1, 0.1: 2, 1.0: 3, 5.0: 3}
"""Number of transfers averaged for a figure."""
_HEADERS = 40
_BUFFER = 8 << 20
_CHUNK = bytes(1 << 16)


TEXT = f"""# TCP throughput over loss and delay

How fast the [TCP engine](../tcp.md) is by its rules alone, over loss and round-trip time. Two connections of
slirpy's talk through a path of {RATE // 1_000_000} Mbit/s with a queue of {QUEUE} packets that drops what does not
fit. The MTU is {MTU}, and packets are lost at random, data and acknowledgements alike. All of it happens in virtual
time: no clock and no machine plays a part, so the figures are the same everywhere, and a change of the engine that
costs speed is seen here. How fast the code runs is another matter, which `make bench` measures.

Each cell: **Mbit/s** of payload in the first {DURATION // SECOND} s, handshake and slow start included, where
{RATE * (MTU - 52) / MTU / 1e6:.1f} are possible; in brackets how many segments were sent again, and how many
timeouts there were. With losses it is the mean of some transfers.

`python benchmarks/virtual.py --write` makes this page and prints the changes; `tests/sim/test_tcp_throughput.py`
fails when it is not what the engine does now."""
"""Text before the tables."""


@dataclass(frozen=True)
class Figures:
    """The results of one transfer."""

    mbits: float
    """Payload that arrived in order, divided by the whole time."""
    again: int
    """Segments that were retransmitted."""
    timeouts: int


class End:
    """A connection, and the path to the other one."""

    def __init__(self, path: Journey, settings: Settings, iss: int, *, bottleneck: bool) -> None:
        self.path = path
        self.conn = Connection(settings, iss, stats=Stats())
        self.other: End = self
        self.bottleneck = bottleneck
        self.free_at = 0
        """Time at which the bottleneck has sent everything that waits before it."""

    def send(self, segment: Segment) -> None:
        """Send a segment on its way."""
        path = self.path
        at = path.now
        if self.bottleneck:
            bits = 8 * (_HEADERS + len(segment.options.encode()) + len(segment.payload))
            free_at = max(self.free_at, at)
            if (free_at - at) * RATE > QUEUE * 8 * MTU * SECOND:
                return
            at = self.free_at = free_at + bits * SECOND // RATE
        if path.random.random() * 100 < path.loss:
            return
        path.put(at + path.delay, self.other, segment)


class Journey:
    """A sender, a receiver, the path between them, and the time."""

    def __init__(
        self, congestion: CongestionFactory, loss: float, rtt: int, seed: int, *, rack: bool = True
    ) -> None:
        self.now = SECOND
        self.loss = loss
        self.delay = rtt * MS // 2
        self.random = Random(seed)
        self._due: list[tuple[int, int, End, Segment | None]] = []
        self._count = 0
        settings = Settings(
            mss=MTU - _HEADERS, rcv_buffer=_BUFFER, snd_buffer=_BUFFER, congestion=congestion, rack=rack
        )
        self.sender = End(self, settings, 0xFFFF_0000, bottleneck=True)
        self.receiver = End(self, settings, 0x7FFF_0000, bottleneck=False)
        self.sender.other, self.receiver.other = self.receiver, self.sender
        self.delivered = 0

    def put(self, at: int, end: End, segment: Segment | None) -> None:
        """Schedule an event at ``end``: a segment arrives, or a deadline passes."""
        self._count += 1  # simultaneous events happen in this order
        heapq.heappush(self._due, (at, self._count, end, segment))

    def run(self, duration: int) -> None:
        """Transfer bulk data from one to the other."""
        self.sender.conn.connect(self.now)
        self.receiver.conn.listen(self.now)
        finish = self.now + duration
        self._turn(self.sender)
        while self._due[0][0] <= finish:
            self.now, _, end, segment = heapq.heappop(self._due)
            if segment is not None:
                end.conn.receive(segment, self.now)
            elif (deadline := end.conn.deadline()) is None or deadline > self.now:
                continue  # it was postponed
            self._turn(end)

    def _turn(self, end: End) -> None:
        """Do the user's part, then everything that is due."""
        conn, now = end.conn, self.now
        if end is self.sender:
            while conn.write_room() >= len(_CHUNK):
                conn.write(_CHUNK)
        elif conn.rcv_pending:
            self.delivered += conn.rcv_pending
            conn.consume(conn.rcv_pending)
        conn.handle_timeout(now)
        for segment in conn.segments_to_send(now):
            end.send(segment)
        if (deadline := conn.deadline()) is not None:
            self.put(deadline, end, None)


def carry(
    congestion: str, loss: float, rtt: int, *, duration: int = DURATION, seed: int = 1, rack: bool = True
) -> Figures:
    """Run one transfer.

    Args:
        congestion: name of the congestion control.
        loss: per cent of the packets, in each direction.
        rtt: milliseconds.
        duration: nanoseconds.
        seed: seed of the losses.
        rack: whether losses are detected by time (RFC 8985); otherwise by counting alone.
    """
    journey = Journey(ALGORITHMS[congestion], loss, rtt, seed, rack=rack)
    journey.run(duration)
    stats = journey.sender.conn.stats
    return Figures(
        journey.delivered * 8 * SECOND / duration / 1e6,
        stats.tcp_recovery_retransmits + stats.tcp_retransmits,
        stats.tcp_retransmits,
    )


@cache
def transfers(congestion: str, loss: float, rtt: int) -> tuple[Figures, ...]:
    """Run the transfers of a combination. Each is run once."""
    return tuple(carry(congestion, loss, rtt, seed=seed) for seed in range(1, SEEDS[loss] + 1))


def _mean(runs: Sequence[Figures], name: str) -> float:
    return float(sum(getattr(run, name) for run in runs)) / len(runs)


def cell(congestion: str, loss: float, rtt: int) -> str:
    """Return the table's entry for a combination: the mean of several transfers."""
    runs = transfers(congestion, loss, rtt)
    return f"**{_mean(runs, 'mbits'):.2f}** ({_mean(runs, 'again'):.0f}, {_mean(runs, 'timeouts'):.1f})"


def page() -> str:
    """Return the page of the documentation. Takes half a minute."""
    parts = [TEXT]
    for name in ALGORITHMS:
        parts.append(f"## {name}")
        rows = ["| loss | " + " | ".join(f"{rtt} ms" for rtt in RTTS) + " |", "|---" * (len(RTTS) + 1) + "|"]
        for loss in LOSSES:
            cells = (cell(name, loss, rtt) for rtt in RTTS)
            rows.append(f"| {loss:g} % | {' | '.join(cells)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def written(text: str) -> dict[tuple[str, float, int], str]:
    """Return the cells of a page, by congestion control, loss and round-trip time."""
    found: dict[tuple[str, float, int], str] = {}
    for section in text.split("\n## ")[1:]:
        name, *lines = section.splitlines()
        for line in lines:
            if line.startswith("|") and " % |" in line:
                loss, *cells = (part.strip() for part in line.strip("|").split("|"))
                found |= {(name, float(loss[:-2]), rtt): text for rtt, text in zip(RTTS, cells, strict=True)}
    return found


def results() -> Report:
    """Return the throughput of all transfers, for ``--json`` and ``--svg``."""
    from report import Report, show  # a test loads this file alone

    report = Report(
        "Virtual time",
        f"Mbit/s of payload in the first {DURATION // SECOND} s, over losses and round-trip times.",
        ["congestion control", "loss", *(f"{rtt} ms" for rtt in RTTS)],
    )
    for name in ALGORITHMS:
        for loss in LOSSES:
            row = [name, f"{loss:g} %"]
            for rtt in RTTS:
                runs = transfers(name, loss, rtt)
                for run in runs:
                    report.sample(f"{name}, loss {loss:g} %, {rtt} ms, Mbit/s", run.mbits)
                row.append(show(_mean(runs, "mbits")))
            report.rows.append(row)
    return report


def main() -> int:
    """Print the page, or write it."""
    from report import common_options, facts, write_json, write_svg

    parser = argparse.ArgumentParser(description="Throughput of the TCP engine in virtual time.")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} in the documentation")
    common_options(parser)
    arguments = parser.parse_args()
    text = page()
    if arguments.write:
        before = written(PAGE.read_text()) if PAGE.exists() else {}
        PAGE.write_text(text)
        for (name, loss, rtt), now in written(text).items():
            if before.get((name, loss, rtt)) != now:
                print(f"{name}, {loss:g} %, {rtt} ms: {before.get((name, loss, rtt))} -> {now}")
    else:
        print(text, end="")
    if arguments.json is not None:
        write_json(arguments.json, [results()], facts())
    if arguments.svg is not None:
        write_svg(arguments.svg, [results()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
