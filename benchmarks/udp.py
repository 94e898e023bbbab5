"""UDP datagrams between a namespace and the host's loopback by iperf3: slirpy and slirp4netns in turns."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack

from networks import NETWORKS, missing
from processes import START_SECONDS, BenchmarkError, Endpoint, Iperf, cpu_seconds
from report import Bar, Report, count, main, positive, ratio, show

DIRECTIONS = {"guest to host": (), "host to guest": ("-R",)}
BAR = 1.0
"""Datagrams delivered: at least so many times slirp4netns, each way."""


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=positive, default=2.5, help="length of each measurement")
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")
    parser.add_argument("--size", type=count, nargs="+", default=[1400], help="payload of a datagram in bytes")
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=list(NETWORKS),
        default=["slirpy", "slirp4netns"],
        help="what to compare",
    )


def measure(arguments: argparse.Namespace) -> Report:
    """Run it all."""
    report = Report(
        "UDP",
        f"iperf3, UDP as fast as it goes, medians of {arguments.rounds} runs of {arguments.seconds:g} s in turns."
        " Delivered is what the receiver got; the rest was dropped somewhere on the way.",
        ["payload", "direction", "network", "delivered/s", "slirpy is", "lost", "CPU us each"],
    )
    with ExitStack() as stack:
        networks = []
        for name in arguments.networks:
            lacking = missing(name)
            if lacking is not None and name == "slirpy":
                raise BenchmarkError(lacking)
            if lacking is not None:
                report.remarks.append(f"{name} was left out: {lacking}")
                continue
            networks.append(stack.enter_context(NETWORKS[name](1500)))
        for size in arguments.size:
            for direction, flags in DIRECTIONS.items():
                case = f"{size} bytes {direction}"
                for _ in range(arguments.rounds):
                    for network in networks:
                        before = cpu_seconds(network.pid)
                        delivered, lost, seconds = _run(network.guest, size, arguments.seconds, *flags)
                        used = cpu_seconds(network.pid) - before
                        report.sample(f"{case} {network.name} delivered/s", delivered / seconds)
                        report.sample(f"{case} {network.name} lost", lost / max(delivered + lost, 1))
                        report.sample(f"{case} {network.name} CPU us", used * 1e6 / max(delivered, 1))
                ours = report.median(f"{case} slirpy delivered/s")
                for network in networks:
                    rate = report.median(f"{case} {network.name} delivered/s")
                    lost_share = report.median(f"{case} {network.name} lost")
                    cost = report.median(f"{case} {network.name} CPU us")
                    times = "" if network.name == "slirpy" else ratio(ours, rate)
                    share = "" if lost_share is None else f"{lost_share:.0%}"
                    report.rows.append(
                        (str(size), direction, network.name, show(rate, 0), times, share, show(cost))
                    )
                    if network.name == "slirp4netns" and size == 1400 and ours and rate:
                        what = f"UDP, {direction}, datagrams delivered, times slirp4netns"
                        report.bars.append(Bar(what, ours / rate, BAR, at_least=True, unit="x"))
    return report


def _run(guest: Endpoint, size: int, seconds: float, *flags: str) -> tuple[int, int, float]:
    """Datagrams delivered, datagrams lost, and for how long it went."""

    with Iperf() as server:
        argv = ["iperf3", "-c", "10.0.2.2", "-p", str(server.port), "-J", "-u", "-b", "0", "-l", str(size)]
        limit = seconds + START_SECONDS
        answer = guest.ask("run", limit + 5, argv=[*argv, "-t", f"{seconds:g}", *flags], timeout=limit)
        try:
            total = json.loads(answer["output"])["end"]["sum"]
            packets, lost = int(total["packets"]), int(total["lost_packets"])
            return packets - lost, lost, float(total["seconds"])
        except (ValueError, KeyError):
            raise BenchmarkError(f"iperf3: {(answer['output'] or answer['errors']).strip()[-300:]}") from None


if __name__ == "__main__":
    main(__doc__, options, measure)
