"""UDP datagrams between a namespace and the host's loopback by iperf3: slirpy and slirp4netns in turns."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack

from networks import NETWORKS, missing
from processes import START_SECONDS, BenchmarkError, Endpoint, Iperf, cpu_seconds
from report import Bar, Report, count, main, ratio, show

DIRECTIONS = {"guest to host": (), "host to guest": ("-R",)}
BAR = 1.0
"""Minimum ratio of delivered datagrams to slirp4netns, in each direction."""
FAMILY_BAR = 0.95
"""Minimum ratio of IPv6 to IPv4, in each direction."""
FRAGMENTS_RATE = "1G"
FRAGMENTS_BAR = 0.9
"""Minimum ratio for datagrams of 2900 bytes at :data:`FRAGMENTS_RATE`, from guest to host."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--seconds", type=count, default=2, help="length of each measurement; iperf3 takes whole ones"
    )
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")
    parser.add_argument("--size", type=count, nargs="+", default=[1400], help="payload of a datagram in bytes")
    parser.add_argument(
        "--fragments",
        type=count,
        nargs="*",
        default=[2900],
        help="payloads longer than the MTU, sent at 1 Gbit/s (slirp4netns may crash above 2900)",
    )
    parser.add_argument(
        "--ip", type=int, choices=(4, 6), nargs="+", default=[4, 6], help="IP families; 6 with slirpy only"
    )
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=list(NETWORKS),
        default=["slirpy", "slirp4netns"],
        help="networks to compare",
    )


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements."""
    report = Report(
        "UDP",
        f"iperf3, UDP as fast as it goes or at the rate given, medians of {arguments.rounds} runs of"
        f" {arguments.seconds:g} s in turns. Delivered is what the receiver got; the rest was dropped somewhere on"
        " the way.",
        ["payload", "direction", "network", "IP", "delivered/s", "slirpy is", "lost", "CPU us each"],
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
                runs = [
                    (f"{size} bytes {direction} {network.name} IPv{family}", network, family)
                    for network in networks
                    for family in arguments.ip
                    if family == 4 or network.name == "slirpy"
                ]
                for _ in range(arguments.rounds):
                    for case, network, family in runs:
                        before = cpu_seconds(network.pid)
                        delivered, lost, seconds = _run(
                            network.guest, size, arguments.seconds, *flags, family=family
                        )
                        used = cpu_seconds(network.pid) - before
                        report.sample(f"{case} delivered/s", delivered / seconds)
                        report.sample(f"{case} lost", lost / max(delivered + lost, 1))
                        report.sample(f"{case} CPU us", used * 1e6 / max(delivered, 1))
                ours = report.median(f"{size} bytes {direction} slirpy IPv4 delivered/s")
                for case, network, family in runs:
                    rate = report.median(f"{case} delivered/s")
                    lost_share = report.median(f"{case} lost")
                    cost = report.median(f"{case} CPU us")
                    times = "" if network.name == "slirpy" else ratio(ours, rate)
                    share = "" if lost_share is None else f"{lost_share:.0%}"
                    columns = (str(size), direction, network.name, f"IPv{family}")
                    report.rows.append((*columns, show(rate, 0), times, share, show(cost)))
                    if size != 1400 or not ours or not rate:
                        continue
                    if network.name == "slirp4netns":
                        what = f"UDP, {direction}, datagrams delivered, times slirp4netns"
                        report.bars.append(Bar(what, ours / rate, BAR, at_least=True, unit="x"))
                    if family == 6:
                        what = f"UDP, {direction}, datagrams delivered, IPv6 to IPv4"
                        report.bars.append(Bar(what, rate / ours, FAMILY_BAR, at_least=True, unit="x"))
    _measure_fragments(arguments, report, [network.name for network in networks])
    return report


def _measure_fragments(arguments: argparse.Namespace, report: Report, names: list[str]) -> None:
    """Measure datagrams in fragments. Each run has its own network, since one that crashes must not affect the
    others.
    """
    for size in arguments.fragments:
        for direction, flags in DIRECTIONS.items():
            case = f"{size} bytes {direction} at {FRAGMENTS_RATE}"
            for _ in range(arguments.rounds):
                for name in names:
                    try:
                        with NETWORKS[name](1500) as network:
                            before = cpu_seconds(network.pid)
                            delivered, lost, seconds = _run(
                                network.guest, size, arguments.seconds, *flags, rate=FRAGMENTS_RATE
                            )
                            used = cpu_seconds(network.pid) - before
                    except (BenchmarkError, OSError) as error:
                        if name == "slirpy":
                            raise
                        report.remarks.append(f"{name}, {case}: no result ({error})")
                        continue
                    report.sample(f"{case} {name} delivered/s", delivered / seconds)
                    report.sample(f"{case} {name} lost", lost / max(delivered + lost, 1))
                    report.sample(f"{case} {name} CPU us", used * 1e6 / max(delivered, 1))
            ours = report.median(f"{case} slirpy delivered/s")
            for name in names:
                rate = report.median(f"{case} {name} delivered/s")
                lost_share = report.median(f"{case} {name} lost")
                times = "" if name == "slirpy" else ratio(ours, rate)
                share = "" if lost_share is None else f"{lost_share:.0%}"
                cost = report.median(f"{case} {name} CPU us")
                payload = f"{size}, {FRAGMENTS_RATE}bit/s"
                report.rows.append((payload, direction, name, "IPv4", show(rate, 0), times, share, show(cost)))
                if name == "slirp4netns" and size == 2900 and not flags and ours and rate:
                    what = (
                        "UDP in fragments of 2900-byte datagrams at 1 Gbit/s, guest to host, times slirp4netns"
                    )
                    report.bars.append(Bar(what, ours / rate, FRAGMENTS_BAR, at_least=True, unit="x"))


def _run(
    guest: Endpoint, size: int, seconds: int, *flags: str, rate: str = "0", family: int = 4
) -> tuple[int, int, float]:
    """Return the datagrams delivered, the datagrams lost, and the duration; ``rate`` as iperf3's ``-b``."""

    with Iperf(family) as server:
        argv = ["iperf3", "-c", server.gateway, "-p", str(server.port), "-J", "-u", "-b", rate, "-l", str(size)]
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
