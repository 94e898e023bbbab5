"""Cost of a TCP segment within slirpy itself, in one process and without privileges.

The guest is a script (``scripted.py``), and only slirpy's work is counted, in processor time. "No sockets" is the
sans-I/O stack with a host network that transfers bytes at no cost; "sockets" is :class:`slirpy.Slirp` with a server
in another process. The kernel charges part of that server's loopback work to this process.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from processes import Endpoint
from report import Bar, Report, count, main, show
from scripted import OFFLOAD, PLAIN, Case, Guest, Sink, Source

BAR_US, BAR_GBITS = 8.0, 8.0
FAMILY_BAR = 1.1
"""Maximum cost of a frame over IPv6, in that of one over IPv4."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--mib", type=count, default=32, help="MiB to transfer in each measurement")
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")


def cases(family: int) -> tuple[Case, ...]:
    """Return the rows of the table for an IP family."""
    plain = PLAIN[family]
    large = 65160 // plain * plain
    return (
        Case("1500-byte segments, checksums", plain, family=family),
        Case("1500-byte segments, checksums, 16 to a flush", plain, batch=16, family=family),
        Case("64 KiB frames, offloads", large, OFFLOAD, family=family),
        Case("64 KiB frames, offloads, 8 to a flush", large, OFFLOAD, batch=8, family=family),
        Case("1500-byte segments, checksums", plain, sockets=True, family=family),
        Case("64 KiB frames, offloads", large, OFFLOAD, sockets=True, family=family),
    )


class Stopwatch:
    """Adds up the processor time of this process."""

    def __init__(self) -> None:
        self.spent = 0
        """Nanoseconds."""

    def __call__(self, work: Callable[[], object]) -> None:
        """Call ``work``, and add its time."""
        start = time.process_time_ns()
        work()
        self.spent += time.process_time_ns() - start


def cost(case: Case, direction: str, mib: int) -> tuple[float, float]:
    """Return the microseconds of processor time per frame, and payload bytes of the average frame."""
    source = direction == "host to guest"
    server = Endpoint() if case.sockets else None
    kind, address = "source" if source else "sink", "127.0.0.1" if case.family == 4 else "::1"
    port = server.ask("serve", kind=kind, address=address)["port"] if server is not None else 80
    peer = None if case.sockets else Source() if source else Sink()
    watch = Stopwatch()
    guest = Guest(case, port, peer, watch)
    try:
        guest.connect()
        move = guest.download if source else guest.upload
        move(4 << 20)  # until the congestion window is open and the interpreter has warmed up
        watch.spent = 0
        frames, moved = move(mib << 20)
        return watch.spent / frames / 1000, moved / frames
    finally:
        guest.network.close()
        if server is not None:
            server.close()


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements; the IP families take turns."""
    report = Report(
        "Embedded",
        f"Processor time of slirpy for a frame that carries TCP data, medians of {arguments.rounds} runs of"
        f" {arguments.mib} MiB, acknowledgements included. Gbit/s is what one core could carry at that cost.",
        ["host", "frames", "direction", "IP", "us a frame", "of IPv4", "payload a frame", "Gbit/s a core"],
    )
    for pair in zip(cases(4), cases(6), strict=True):
        for direction in ("guest to host", "host to guest"):
            if pair[0].batch > 1 and direction == "host to guest":
                continue  # batching there only affects acknowledgements
            for _ in range(arguments.rounds):
                for case in pair:
                    what = _name(case, direction)
                    spent, size = cost(case, direction, arguments.mib)
                    report.sample(f"{what}: us", spent)
                    report.sample(f"{what}: bytes", size)
                    report.sample(f"{what}: Gbit/s", size * 8 / spent / 1000)
            base = report.median(f"{_name(pair[0], direction)}: us")
            for case in pair:
                _add_row(report, case, direction, base)
    return report


def _name(case: Case, direction: str) -> str:
    host = "sockets" if case.sockets else "no sockets"
    return f"{host}, {case.name}, {direction}, IPv{case.family}"


def _add_row(report: Report, case: Case, direction: str, base: float | None) -> None:
    """Add a row, and its bars; ``base`` is the cost over IPv4."""
    what = _name(case, direction)
    us, size, rate = (report.median(f"{what}: {unit}") for unit in ("us", "bytes", "Gbit/s"))
    times = "" if case.family == 4 or us is None or not base else f"{us / base:.2f}x"
    host = "sockets" if case.sockets else "no sockets"
    row = (show(us), times, show(size, 0), show(rate))
    report.rows.append((host, case.name, direction, f"IPv{case.family}", *row))
    if us is None or rate is None or case.sockets:
        return
    if case.family == 6:
        if base:
            report.bars.append(Bar(f"{what}, times IPv4", us / base, FAMILY_BAR, at_least=False, unit="x"))
    elif case.batch == 1 and case.features is None:
        report.bars.append(Bar(f"{direction}, a segment", us, BAR_US, at_least=False, unit=" us"))
    elif case.batch == 1:
        bar = Bar(f"{direction}, 64 KiB frames", rate, BAR_GBITS, at_least=True, unit=" Gbit/s")
        report.bars.append(bar)


if __name__ == "__main__":
    main(__doc__, options, measure)
