"""Resident memory of the network process: while a GiB passes in each direction, and the share of idle connections."""

from __future__ import annotations

import argparse

from networks import NETWORKS, Network, missing
from processes import Endpoint, Iperf, memory_kib
from report import Bar, Report, count, main, ratio, show

MIB = 1024  # in KiB
NAMES = ("slirpy", "slirp4netns")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--mib", type=count, default=1024, help="MiB to transfer in each direction")
    parser.add_argument("--connections", type=count, default=1000, help="idle connections")
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each kind")


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements, each with a fresh network, since memory is seldom given back."""
    mib, connections = arguments.mib, arguments.connections
    report = Report(
        "Memory",
        f"MiB resident of the network process at guest MTU 1500, medians of {arguments.rounds}. Idle connections"
        " have carried one byte each way.",
        ["what", "slirpy", "slirp4netns", "slirpy is"],
    )
    names = []
    for name in NAMES:
        lacking = missing(name)
        if lacking is None:
            names.append(name)
        else:
            report.remarks.append(f"{name} was left out: {lacking}")
    start = "after the start"
    up, down = f"peak, {mib} MiB guest to host", f"peak, {mib} MiB host to guest as well"
    added = f"added by {connections} idle connections"
    for _ in range(arguments.rounds):
        for name in names:
            with NETWORKS[name](1500) as network:
                report.sample(f"{start}: {name}", memory_kib(network.pid, "VmRSS") / MIB)
                _transfer(network, mib)
                report.sample(f"{up}: {name}", memory_kib(network.pid, "VmHWM") / MIB)
                _transfer(network, mib, "-R")
                report.sample(f"{down}: {name}", memory_kib(network.pid, "VmHWM") / MIB)
            with NETWORKS[name](1500) as network, Endpoint() as server:
                report.sample(f"{added}: {name}", _idle(network, server, connections) / MIB)
    for what in (start, up, down, added):
        ours, theirs = report.median(f"{what}: slirpy"), report.median(f"{what}: slirp4netns")
        report.rows.append((what, show(ours, 1), show(theirs, 1), ratio(ours, theirs)))
    peak, idle = report.median(f"{down}: slirpy"), report.median(f"{added}: slirpy")
    if peak is not None and idle is not None:
        report.bars.append(Bar("slirpy's peak while data passes", peak, 80, at_least=False, unit=" MiB"))
        if connections == 1000:
            report.bars.append(Bar("1,000 idle connections add", idle, 16, at_least=False, unit=" MiB"))
    return report


def _transfer(network: Network, mib: int, *flags: str) -> None:
    with Iperf() as server:
        server.client(network.guest, 120, "-n", f"{mib}M", *flags)


def _idle(network: Network, server: Endpoint, connections: int) -> int:
    """Return the KiB that idle connections add; the first few are not counted, as they load code into memory."""
    port = server.ask("serve", kind="echo")["port"]
    network.guest.ask("idle", address="10.0.2.2", port=port, count=3)
    before = memory_kib(network.pid, "VmRSS")
    network.guest.ask("idle", 120, address="10.0.2.2", port=port, count=connections)
    return memory_kib(network.pid, "VmRSS") - before


if __name__ == "__main__":
    main(__doc__, options, measure)
