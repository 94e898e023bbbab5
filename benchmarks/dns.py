"""DNS queries per second through slirpy, and the delay of answers, from outside and from the cache."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from processes import ENDPOINT, START_SECONDS, BenchmarkError, Endpoint, Process, cpu_seconds
from report import Bar, Report, count, main, positive, show

TRAFFIC = (Path(__file__).parent / "dns_traffic.py").read_text()
SERVER = "10.0.2.3"
NAMES = 100
"""Number of different names in the load that the cache answers."""
DEATH_SECONDS = 1.0
"""Seconds until the first of two resolvers is stopped: it stays reachable, but silent."""
BAR_TAKE_OVER = 2000
BAR_RATE = 2000
BAR_MILLISECONDS = 10


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rate", type=positive, default=float(BAR_RATE), help="queries per second")
    parser.add_argument("--seconds", type=positive, default=2.0, help="length of each measurement")
    parser.add_argument("--outstanding", type=count, default=32, help="queries in progress in the fastest load")
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each kind")


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements."""
    report = Report(
        "DNS",
        f"Medians of {arguments.rounds} runs in turns. A program in a namespace asks {SERVER} for addresses over UDP,"
        " either each time for a new name, which slirpy asks of a resolver on the host's loopback, or for one of"
        f" {NAMES} names, which its cache has. At last the first of two resolvers falls silent after"
        f" {DEATH_SECONDS:g} s. Evenly spread, a delay counts from the moment when the query was due."
        " CPU is that of slirpy alone, for each query.",
        ["names", "queries", "answered a second", "median ms", "99 % ms", "longest ms", "lost", "CPU us"],
    )
    if sys.platform != "linux":
        raise BenchmarkError("needs Linux")
    loads: dict[tuple[str, str], dict[str, Any]] = {}
    spread = f"{arguments.rate:g} a second"
    for names, number in (("new", None), ("cached", NAMES)):
        loads[names, spread] = {"rate": arguments.rate, "names": number, "outstanding": 10_000}
        fastest = {"rate": None, "names": number, "outstanding": arguments.outstanding}
        loads[names, f"{arguments.outstanding} at a time"] = fastest
    with ExitStack() as stack:
        _, port = _resolver(stack)
        guest = _guest(stack, port)
        first = 0
        for _ in range(arguments.rounds):
            for (names, queries), details in loads.items():
                if names == "new":
                    first += 1_000_000
                more = {"seconds": arguments.seconds, "first": first if names == "new" else 0}
                _measure(report, f"{names}, {queries}", guest, details | more)
    for _ in range(arguments.rounds):
        _measure_death(report, f"the resolver dies, {spread}", arguments.rate)
    loads["the resolver dies", spread] = {}
    for names, queries in loads:
        case = f"{names}, {queries}: "
        values = [
            report.median(case + what) for what in ("a second", "median", "99 %", "longest", "lost", "CPU")
        ]
        digits = (0, 2, 2, 1, 0, 0)
        report.rows.append((names, queries, *map(show, values, digits)))
    _bars(report, spread, arguments.rate)
    return report


def _resolver(stack: ExitStack) -> tuple[int, int]:
    """Start a resolver on the loopback; returns its process and port."""
    process = stack.enter_context(Process([sys.executable, "-c", TRAFFIC, "serve"]))
    return process.pid, json.loads(process.line(START_SECONDS))["port"]


def _guest(stack: ExitStack, *ports: int) -> Endpoint:
    """Make a namespace whose network is slirpy with these resolvers."""
    argv = [sys.executable, "-m", "slirpy", "run"]
    for port in ports:
        argv += ["--dns", f"127.0.0.1:{port}"]
    process = Process([*argv, "--", sys.executable, "-c", ENDPOINT])
    return stack.enter_context(Endpoint(process))


def _measure_death(report: Report, case: str, rate: float) -> None:
    """Measure a guest's queries while the first of two resolvers falls silent."""
    with ExitStack() as stack:
        first, port = _resolver(stack)
        guest = _guest(stack, port, _resolver(stack)[1])
        death = threading.Timer(DEATH_SECONDS, os.kill, (first, signal.SIGSTOP))
        stack.callback(os.kill, first, signal.SIGCONT)
        death.start()
        stack.callback(death.join)
        stack.callback(death.cancel)
        details = {"rate": rate, "names": None, "outstanding": 10_000, "first": 0, "seconds": 3 * DEATH_SECONDS}
        _measure(report, case, guest, details)


def _bars(report: Report, spread: str, rate: float) -> None:
    if rate < BAR_RATE:
        return
    for case, what, limit, words in (
        (f"new, {spread}: ", "99 %", BAR_MILLISECONDS, "99 % of the answers to new names"),
        (
            f"the resolver dies, {spread}: ",
            "longest",
            BAR_TAKE_OVER,
            "longest wait when the first resolver dies",
        ),
    ):
        value, lost = report.median(case + what), report.median(case + "lost")
        if value is not None and lost is not None:
            report.bars.append(Bar(f"{words}, {spread}", value, limit, at_least=False, unit=" ms"))
            report.bars.append(Bar("lost answers there", lost, 0, at_least=False))


def _measure(report: Report, case: str, guest: Endpoint, details: dict[str, Any]) -> None:
    pid = guest.process.pid
    argv = [sys.executable, "-c", TRAFFIC, "load", SERVER, json.dumps(details)]
    before = cpu_seconds(pid)
    limit = details["seconds"] + START_SECONDS
    done = guest.ask("run", limit + 5, argv=argv, timeout=limit)
    used = cpu_seconds(pid) - before
    try:
        result = json.loads(done["output"])
    except ValueError:
        raise BenchmarkError(f"the load failed: {done['errors'].strip()[-300:]}") from None
    delays = result["delays"]
    if not delays:
        raise BenchmarkError(f"{case}: no query was answered")
    report.sample(f"{case}: a second", result["answered"] / result["seconds"])
    report.sample(f"{case}: median", delays[len(delays) // 2])
    report.sample(f"{case}: 99 %", delays[len(delays) * 99 // 100])
    report.sample(f"{case}: longest", delays[-1])
    report.sample(f"{case}: lost", result["sent"] - result["answered"])
    report.sample(f"{case}: CPU", used * 1e6 / result["sent"])


if __name__ == "__main__":
    main(__doc__, options, measure)
