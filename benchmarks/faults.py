"""TCP over a bad network: a Linux kernel and slirpy, next to two Linux kernels, with the same faults in between."""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import ENDPOINT, START_SECONDS, BenchmarkError, Endpoint, Process, cpu_seconds
from report import Bar, Report, count, main, positive, ratio, show

MS = 1_000_000
ADDRESS = "10.0.2.2"
DIRECTIONS = ("to slirpy", "from slirpy")
NAMES = ("slirpy", "Linux")
BAR = 0.9
"""Minimum goodput, relative to that of two Linux kernels."""
BUFFERS = ("tcp_rmem", "tcp_wmem")
FEW_TURNS = 3
"""Measurements in a round of a single connection over a network with losses, which depends on chance."""
LIMIT = 100_000
"""Frames that may be in flight; no window reaches this."""


@dataclass(frozen=True)
class Case:
    """A kind of bad network."""

    name: str
    delay: int
    """Milliseconds in each direction."""
    connections: int
    """Connections at a time. They do not disturb each other: each is limited by its own losses."""
    seconds: float
    faults: dict[str, Any] = field(default_factory=dict)
    together: bool = True
    """True if both contenders run at the same time; otherwise in turns, because the processor may be the limit."""
    turns: int = 1
    """Measurements in a round."""

    def settings(self, bad: bool) -> dict[str, Any]:
        """Return the settings for ``faulty.py``; connections are opened while there is only the delay."""
        return {"delay": self.delay * MS, "limit": LIMIT, **(self.faults if bad else {})}


def _cases() -> list[Case]:
    cases = []
    for delay, seconds in ((1, 4.0), (20, 6.0), (100, 10.0)):
        for loss in (0.001, 0.01, 0.05):
            together = delay > 1
            # As many as the processor can carry: the lower the loss rate, the larger the influence of chance.
            connections = 64 if delay == 100 else 24 if loss >= 0.01 else 8
            if not together:
                connections = 4 if loss >= 0.01 else 1
            turns = FEW_TURNS if connections == 1 else 1
            cases.append(
                Case(f"loss {100 * loss:g} %", delay, connections, seconds, {"loss": loss}, together, turns)
            )
    rate = {"rate": 50_000_000, "queue": 250_000}
    for name, faults in {
        "a link of 50 Mbit/s": {},
        "reordering 1 %": {"reorder": 0.01, "reorder_delay": 10 * MS},
        "reordering 10 %": {"reorder": 0.1, "reorder_delay": 10 * MS},
        "duplication 1 %": {"duplicate": 0.01},
    }.items():
        cases.append(Case(name, 20, 1, 6.0, {**rate, **faults}, turns=FEW_TURNS if faults else 1))
    cases.append(Case("corruption 1 %", 20, 24, 6.0, {"corrupt": 0.01}))
    return cases


CASES = _cases()


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=2, help="rounds, each with other seeds")
    parser.add_argument(
        "--length", type=positive, default=1.0, help="factor on the usual length of a measurement"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TEXT", help="only cases whose name or delay contains TEXT"
    )
    parser.add_argument("--directions", nargs="+", choices=DIRECTIONS, default=DIRECTIONS, metavar="WAY")
    parser.add_argument("--capture", type=Path, metavar="FOLDER", help="write the frames at slirpy, as pcapng")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first round")


class Contender:
    """Two ends, and the carrier of frames between them."""

    def __init__(self, name: str, seed: int, stack: ExitStack, capture: Path | None) -> None:
        self.name = name
        program = [sys.executable, "-c", ENDPOINT]
        self.guest = stack.enter_context(Endpoint(Process(["unshare", "-n", *program])))
        pids = [self.guest.process.pid]
        if name == "Linux":
            self.host = stack.enter_context(Endpoint(Process(["unshare", "-n", *program])))
            pids.append(self.host.process.pid)
        else:
            self.host = stack.enter_context(Endpoint())
        argv = [sys.executable, str(Path(__file__).with_name("faulty.py")), str(seed), *map(str, pids)]
        if capture is not None:
            argv += ["--capture", str(capture)]
        self.carrier = stack.enter_context(Endpoint(Process(argv)))

    def run(self, case: Case, direction: str, length: float) -> tuple[list[float], float]:
        """Return the Mbit/s of each connection, and the share of a processor that the carrier used."""
        seconds = case.seconds * length
        self.carrier.ask("faults", **case.settings(False))
        port = self.host.ask("bulk_listen", address="127.0.0.1" if self.name == "slirpy" else ADDRESS)["port"]
        self.guest.ask("bulk_connect", address=ADDRESS, port=port, count=case.connections)
        self.host.ask("bulk_accept", count=case.connections)
        self.carrier.ask("faults", **case.settings(True))
        before = cpu_seconds(self.carrier.process.pid)
        up = direction == "to slirpy"
        with ThreadPoolExecutor(2) as pool:
            ends = [
                pool.submit(end.ask, "bulk", seconds + START_SECONDS, send=send, seconds=seconds)
                for end, send in ((self.guest, up), (self.host, not up))
            ]
            received = ends[1 if up else 0].result()["bytes"]
            ends[0 if up else 1].result()
        used = cpu_seconds(self.carrier.process.pid) - before
        self.guest.ask("bulk_close")
        self.host.ask("bulk_close")
        return [8e-6 * number / seconds for number in received], used / seconds


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements.

    Raises:
        BenchmarkError: this machine cannot run it.
    """
    for tool in ("unshare", "nsenter", "ip", "ethtool", "sysctl"):
        if shutil.which(tool) is None:
            raise BenchmarkError(f"needs {tool}")
    if os.geteuid() != 0:
        raise BenchmarkError("needs root, for interfaces in network namespaces")
    cases = [
        case
        for case in CASES
        if not arguments.only or any(text in f"{case.name}, {case.delay} ms" for text in arguments.only)
    ]
    report = Report(
        "A bad network",
        "Mbit/s of one TCP connection between a Linux kernel and slirpy, and between two Linux kernels, over the same"
        f" faults. Medians of all connections of {arguments.rounds} runs, each with other chances. The delay and the"
        " faults are those of each way: a round trip takes twice the delay. CPU is the part of a core that the"
        " process that carries the frames took; near 100 % it is the bound.",
        ["network", "delay", "direction", "slirpy", "Linux", "slirpy is", "CPU slirpy, Linux"],
    )
    for number in range(arguments.rounds):
        with ExitStack() as stack:
            contenders = [
                Contender(name, arguments.seed + number, stack, _capture(arguments.capture, name, number))
                for name in NAMES
            ]
            for case in cases:
                for direction in arguments.directions:
                    for _ in range(case.turns):
                        _run(report, contenders, case, direction, arguments.length)
            for contender in contenders:
                print(contender.name, contender.carrier.ask("counters"), file=sys.stderr)
    ratios: dict[str, float] = {}
    for case in cases:
        for direction in arguments.directions:
            _row(report, case, direction, ratios)
    if ratios:
        worst = min(ratios, key=lambda what: ratios[what])
        low = sum(ratio < BAR for ratio in ratios.values())
        what = f"the least of {len(ratios)} is {worst}, times two Linux kernels ({low} below the bar)"
        report.bars.append(Bar(what, ratios[worst], BAR, at_least=True, unit="x"))
    limits = (f"{name} {' '.join(Path(f'/proc/sys/net/ipv4/{name}').read_text().split())}" for name in BUFFERS)
    report.remarks.append(f"Linux's buffers: {', '.join(limits)}. slirpy's: as configured by default.")
    return report


def _capture(folder: Path | None, name: str, number: int) -> Path | None:
    return None if folder is None else folder / f"{name}-{number}.pcapng"


def _run(report: Report, contenders: Sequence[Contender], case: Case, direction: str, length: float) -> None:
    def one(contender: Contender) -> None:
        rates, used = contender.run(case, direction, length)
        what = f"{case.name}, {case.delay} ms, {direction}, {contender.name}"
        for rate in rates:
            report.sample(f"{what}, Mbit/s", rate)
        report.sample(f"{what}, CPU", used)

    run: Callable[..., Any] = map
    with ThreadPoolExecutor(len(contenders)) as pool:
        if case.together:
            run = pool.map
        list(run(one, contenders))


def _row(report: Report, case: Case, direction: str, ratios: dict[str, float]) -> None:
    what = f"{case.name}, {case.delay} ms, {direction}"
    ours, theirs = (report.median(f"{what}, {name}, Mbit/s") for name in NAMES)
    used = [statistics.median(report.samples[f"{what}, {name}, CPU"]) for name in NAMES]
    cpu = ", ".join(f"{share:.0%}" for share in used)
    row = (case.name, f"{case.delay} ms", direction, show(ours), show(theirs), ratio(ours, theirs), cpu)
    report.rows.append(row)
    if ours is not None and theirs:
        ratios[what] = ours / theirs


if __name__ == "__main__":
    main(__doc__, options, measure)
