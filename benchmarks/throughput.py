"""iperf3 between a namespace and the host's loopback: slirpy, slirp4netns and pasta in turns."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from networks import NETWORKS, Network, missing
from processes import BenchmarkError, Iperf, cpu_seconds
from report import Bar, Report, count, main, ratio, show

GIB = 1 << 30
DIRECTIONS = {"guest to host": (), "host to guest": ("-R",)}
SMALL, LARGE = 1500, 65520
BARS = {
    ("guest to host", 1, SMALL): 8.0,
    ("host to guest", 1, SMALL): 4.0,
    ("guest to host", 1, LARGE): 2.4,
    ("host to guest", 1, LARGE): 1.1,
    ("guest to host", 4, LARGE): 1.8,
    ("host to guest", 4, LARGE): 1.1,
}
"""Minimum ratio by direction, connections and MTU: at MTU 1500 to slirp4netns, at 65520 to the best of all peers."""
CPU_BARS = {"guest to host": 0.11, "host to guest": 0.25}
"""Maximum ratio of the processor time of one connection to that of slirp4netns, at MTU 1500."""
FAMILY_BAR = 0.95
"""Minimum ratio of IPv6 to IPv4, with one connection."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--seconds", type=count, default=2, help="length of each measurement; iperf3 takes whole ones"
    )
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")
    parser.add_argument(
        "--mtu", type=count, nargs="+", default=[1500], help="MTU of the guest: 1500, 65520, ..."
    )
    parser.add_argument("--parallel", type=count, nargs="+", default=[1, 4], help="connections at a time")
    parser.add_argument(
        "--ip", type=int, choices=(4, 6), nargs="+", default=[4, 6], help="IP families; 6 with slirpy only"
    )
    parser.add_argument(
        "--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="networks to compare"
    )


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements."""
    report = Report(
        "Throughput",
        f"iperf3, TCP, medians of {arguments.rounds} runs of {arguments.seconds:g} s in turns."
        " CPU is that of the network process alone, in seconds to a GiB.",
        ["MTU", "direction", "connections", "network", "IP", "Gbit/s", "slirpy is", "CPU s/GiB"],
    )
    for mtu in arguments.mtu:
        with ExitStack() as stack:
            networks = _start(arguments.networks, mtu, stack, report)
            for parallel in arguments.parallel:
                for direction in DIRECTIONS:
                    _measure(report, networks, mtu, parallel, direction, arguments)
    return report


def _start(names: list[str], mtu: int, stack: ExitStack, report: Report) -> list[Network]:
    networks = []
    for name in names:
        lacking = missing(name)
        try:
            if lacking is not None:
                raise BenchmarkError(lacking)
            networks.append(stack.enter_context(NETWORKS[name](mtu)))
        except BenchmarkError as error:
            if name == "slirpy":
                raise
            report.remarks.append(f"{name} at MTU {mtu} was left out: {error}")
    return networks


def _measure(
    report: Report,
    networks: list[Network],
    mtu: int,
    parallel: int,
    direction: str,
    arguments: argparse.Namespace,
) -> None:
    seconds = arguments.seconds
    flags = (*DIRECTIONS[direction], "-P", str(parallel), "-t", f"{seconds:g}")
    runs = [
        (f"{'' if family == 4 else 'IPv6 '}mtu={mtu} {direction} x{parallel} {network.name}", network, family)
        for network in networks
        for family in arguments.ip
        if family == 4 or network.name == "slirpy"
    ]
    for _ in range(arguments.rounds):
        for case, network, family in runs:
            with Iperf(family) as server:
                before = cpu_seconds(network.pid)
                rate, moved = server.client(network.guest, seconds, *flags)
                used = cpu_seconds(network.pid) - before
            report.sample(f"{case} Gbit/s", rate / 1e9)
            if moved:
                report.sample(f"{case} CPU s/GiB", used * GIB / moved)
    ours = report.median(f"mtu={mtu} {direction} x{parallel} slirpy Gbit/s")
    for case, network, family in runs:
        median, cpu_median = report.median(f"{case} Gbit/s"), report.median(f"{case} CPU s/GiB")
        times = "" if network.name == "slirpy" else ratio(ours, median)
        columns = (str(mtu), direction, str(parallel), network.name, f"IPv{family}")
        report.rows.append((*columns, show(median), times, show(cpu_median)))
        if family == 6 and parallel == 1 and ours and median:
            what = f"{direction} at MTU {mtu}, IPv6 to IPv4"
            report.bars.append(Bar(what, median / ours, FAMILY_BAR, at_least=True, unit="x"))
    _add_bars(report, direction, parallel, mtu)


def _add_bars(report: Report, direction: str, connections: int, mtu: int) -> None:
    """Compare with the peers that were measured."""
    bar = BARS.get((direction, connections, mtu))
    case = f"{direction} x{connections}"
    ours = report.median(f"mtu={mtu} {case} slirpy Gbit/s")
    peers = [name for name in NETWORKS if name == "slirp4netns" or (mtu == LARGE and name != "slirpy")]
    rates = {name: rate for name in peers if (rate := report.median(f"mtu={mtu} {case} {name} Gbit/s"))}
    if bar is None or not ours or not rates:
        return
    best = max(rates, key=lambda name: rates[name])
    what = f"{direction} at MTU {mtu}, {connections} connection{'s' * (connections > 1)}, times {best}"
    report.bars.append(Bar(what, ours / rates[best], bar, at_least=True, unit="x"))
    used = [report.median(f"mtu={mtu} {case} {name} CPU s/GiB") for name in ("slirpy", best)]
    if mtu == SMALL and connections == 1 and used[0] and used[1]:
        what = f"processor time, {direction} at MTU {mtu}, times {best}"
        report.bars.append(Bar(what, used[0] / used[1], CPU_BARS[direction], at_least=False, unit="x"))


if __name__ == "__main__":
    main(__doc__, options, measure)
