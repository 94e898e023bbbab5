"""Many at once: streams, idle connections, equal shares, round trips while bulk data passes, and a soak."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from networks import NETWORKS, Network, missing, slirpy
from processes import GATEWAY, BenchmarkError, Endpoint, Iperf, congestion, memory_kib
from report import Bar, Report, count, main, median, positive, ratio, show

DIRECTIONS = {"guest to host": (), "host to guest": ("-R",)}
MTU = 1500
PATIENCE = 120.0
STREAMS_BAR, IDLE_BAR, JAIN_BAR, P99_BAR = 0.9, 0.95, 0.95, 5.0
GROWTH_BAR = 8.0
"""MiB that the network may grow after the first quarter of the soak."""
SLICE = 5
"""Seconds of a step of the soak."""
SOAK_IDLE = 500
DNS, QUERY = "10.0.2.3", "123401000001000000000000096c6f63616c686f73740000010001"
MINUTE, HOUR = 60, 3600


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=count, default=2, help="length of each measurement")
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")
    parser.add_argument("--streams", type=count, default=64, help="streams beside the row with one")
    parser.add_argument("--flows", type=count, default=16, help="flows that should get equal shares")
    parser.add_argument("--idle", type=count, default=4000, help="idle connections beside the row with none")
    parser.add_argument(
        "--soak", type=positive, metavar="SECONDS", nargs="?", const=HOUR,
        help=f"only the soak: everything on, all kinds of traffic; without SECONDS an hour, {MINUTE} for a look",
    )  # fmt: skip


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements, or the soak."""
    lacking = missing("slirpy")
    if lacking is not None:
        raise BenchmarkError(lacking)
    if arguments.soak:
        return _soak(arguments.soak)
    report = Report(
        "Many at once",
        f"slirpy alone, guest MTU {MTU}, medians of {arguments.rounds} runs of {arguments.seconds} s in turns. Jain's"
        " index of the flows' rates is 1 if all are equal, and 1/n if one of n gets everything.",
        ["what", "direction", "few", "many", "ratio"],
    )
    with ExitStack() as stack:
        server = stack.enter_context(Endpoint())
        bare = stack.enter_context(NETWORKS["slirpy"](MTU))
        loaded = stack.enter_context(NETWORKS["slirpy"](MTU))
        port = server.ask("serve", kind="echo")["port"]
        loaded.guest.ask("idle", PATIENCE, address=GATEWAY[4], port=port, count=arguments.idle)
        for _ in range(arguments.rounds):
            _round(report, server, bare, loaded, arguments)
    for direction in DIRECTIONS:
        one, many = f"x1, {direction}", f"x{arguments.streams}, {direction}"
        _compare(report, f"{arguments.streams} streams to one, Gbit/s", direction, one, many, STREAMS_BAR)
        alone, together = (
            median(report.samples[f"loopback x{n}, {direction}"]) for n in (1, arguments.streams)
        )
        what = "the same on the loopback, without slirpy, Gbit/s"
        report.rows.append((what, direction, show(alone), show(together), ratio(together, alone)))
        crowd = f"x1, {direction}, idle"
        _compare(report, f"bulk, {arguments.idle:,} idle to none, Gbit/s", direction, one, crowd, IDLE_BAR)
        index = report.median(f"Jain, {direction}")
        report.rows.append((f"Jain's index of {arguments.flows} flows", direction, "", show(index, 3), ""))
        if index is not None:
            what = f"Jain's index of {arguments.flows} flows, {direction}"
            report.bars.append(Bar(what, index, JAIN_BAR, at_least=True))
        p99 = _percentile(report.samples[f"latency beside bulk, {direction}, us"], 99) / 1000
        quiet = _percentile(report.samples["latency, us"], 99) / 1000
        row = ("99 % of round trips beside bulk within, ms", direction, show(quiet), show(p99), "")
        report.rows.append(row)
        what = f"{row[0].removesuffix(', ms')}, {direction}"
        report.bars.append(Bar(what, p99, P99_BAR, at_least=False, unit=" ms"))
    what = f"round trips a second, {arguments.idle:,} idle to none"
    _compare(report, what, "", "round trips", "round trips, idle", IDLE_BAR)
    return report


def _round(
    report: Report, server: Endpoint, bare: Network, loaded: Network, arguments: argparse.Namespace
) -> None:
    """Measure everything once."""
    seconds = arguments.seconds
    for direction, flags in DIRECTIONS.items():
        for name, network, streams in (
            (f"x1, {direction}", bare, 1),
            (f"x{arguments.streams}, {direction}", bare, arguments.streams),
            (f"x1, {direction}, idle", loaded, 1),
        ):
            with Iperf() as iperf:
                rate, _ = iperf.client(network.guest, seconds, *flags, "-P", str(streams), "-t", str(seconds))
            report.sample(name, rate / 1e9)
        for streams in (1, arguments.streams):
            with Iperf() as iperf:
                options = *flags, "-P", str(streams), "-t", str(seconds)
                rate, _ = iperf.client(server, seconds, *options, local=True)
            report.sample(f"loopback x{streams}, {direction}", rate / 1e9)
        shares = _equal_flows(server, bare.guest, arguments.flows, seconds, up=not flags)
        report.sample(f"Jain, {direction}", sum(shares) ** 2 / (len(shares) * sum(n * n for n in shares)))
        with Iperf() as iperf:
            argv = [*iperf.tcp, "-t", str(seconds + 1), *flags]
            bare.guest.ask("begin", argv=argv)
            for each in _latencies(server, bare.guest, seconds):
                report.sample(f"latency beside bulk, {direction}, us", each)
            done = bare.guest.ask("finish", timeout=PATIENCE)
            if done["status"]:
                raise BenchmarkError(f"iperf3: {done['output'].strip()[-300:]}")
    for name, network in (("round trips", bare), ("round trips, idle", loaded)):
        port = server.ask("serve", kind="echo")["port"]
        answer = network.guest.ask("round_trips", PATIENCE, address=GATEWAY[4], port=port, seconds=seconds)
        report.sample(name, answer["count"] / answer["seconds"])
    for each in _latencies(server, bare.guest, seconds):
        report.sample("latency, us", each)


def _latencies(server: Endpoint, guest: Endpoint, seconds: float) -> list[float]:
    """Return microseconds of round trips, a sample of them."""
    port = server.ask("serve", kind="echo")["port"]
    found = guest.ask("latencies", PATIENCE, address=GATEWAY[4], port=port, seconds=seconds)["us"]
    return [float(each) for each in found]


def _equal_flows(server: Endpoint, guest: Endpoint, flows: int, seconds: float, *, up: bool) -> list[int]:
    """Return the bytes of each of some bulk flows that ran at the same time."""
    port = server.ask("bulk_listen", address="127.0.0.1", congestion=congestion())["port"]
    guest.ask("bulk_connect", address=GATEWAY[4], port=port, count=flows, congestion=congestion())
    server.ask("bulk_accept", count=flows)
    with ThreadPoolExecutor(2) as pool:
        ends = [
            pool.submit(end.ask, "bulk", seconds + PATIENCE, send=send, seconds=seconds)
            for end, send in ((guest, up), (server, not up))
        ]
        received = [end.result()["bytes"] for end in ends][1 if up else 0]
    for end in (guest, server):
        end.ask("bulk_close")
    return [int(number) for number in received]


def _compare(report: Report, what: str, direction: str, few: str, many: str, bar: float) -> None:
    """Add a row, and its bar: the ratio of the medians, of ``many`` to ``few``."""
    before, after = median(report.samples[few]), median(report.samples[many])
    if not before or not after:
        return
    digits = 2 if before < 1000 else 0
    report.rows.append((what, direction, show(before, digits), show(after, digits), f"{after / before:.2f}x"))
    name = f"{what.removesuffix(', Gbit/s')}{', ' if direction else ''}{direction}"
    report.bars.append(Bar(name, after / before, bar, at_least=True, unit="x"))


def _percentile(values: list[float], part: int) -> float:
    """Return the value below which so many per cent of the values are."""
    return sorted(values)[len(values) * part // 100]


# --------------------------------------------------------------------------------------------- soak


def _soak(seconds: float) -> Report:
    """Run all kinds of traffic for some time, with everything on, and see whether the network grows or fails.

    Every exchange is checked by its program; the first one that fails ends the benchmark with its error.
    """
    report = Report(
        "Soak",
        f"{seconds:g} s of bulk data both ways, {SOAK_IDLE} idle and many short connections, round trips, datagrams"
        " and DNS queries, with audit, control, keep-alive, a cache and rules. Each row is a quarter of the time.",
        ["quarter", "bulk, Gbit/s", "short connections", "round trips", "DNS answers", "resident, MiB"],
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        server = stack.enter_context(Endpoint())
        settings = (
            "--audit", str(Path(folder, "audit")), "--control", f"unix:{folder}/control", "--memory", "256MiB",
            "--tcp-keepalive", "30", "--dns-cache", "1000", "--tftp", folder, "--deny", "192.0.2.0/24",
        )  # fmt: skip
        network = stack.enter_context(slirpy(MTU, *settings))
        port = server.ask("serve", kind="echo")["port"]
        network.guest.ask("idle", PATIENCE, address=GATEWAY[4], port=port, count=SOAK_IDLE)
        end = time.monotonic() + seconds
        for quarter in range(4):
            until = end - seconds * (3 - quarter) / 4
            sums = dict.fromkeys(("connects", "round_trips", "datagrams"), 0)
            while time.monotonic() < until:
                for name, number in _slice(report, server, network, quarter).items():
                    sums[name] += number
            resident = memory_kib(network.pid, "VmRSS") / 1024
            report.sample("resident, MiB", resident)
            numbers = (f"{number:,}" for number in sums.values())
            rate = show(report.median(f"bulk {quarter}"))
            report.rows.append((str(quarter + 1), rate, *numbers, show(resident, 1)))
    sizes = report.samples["resident, MiB"]
    growth = max(sizes[1:]) - sizes[0]
    report.bars.append(Bar("growth after the first quarter", growth, GROWTH_BAR, at_least=False, unit=" MiB"))
    return report


def _slice(report: Report, server: Endpoint, network: Network, quarter: int) -> dict[str, int]:
    """Run a few seconds of everything at once; returns how often each small exchange succeeded."""
    guest = network.guest
    with Iperf() as iperf:
        argv = [*iperf.tcp, "-t", str(SLICE), "--bidir", "-J"]
        guest.ask("begin", argv=argv)
        port = server.ask("serve", kind="echo")["port"]
        found = {
            name: int(guest.ask(name, PATIENCE, address=address, port=at, **more)["count"])
            for name, address, at, more in (
                ("connects", GATEWAY[4], port, {"count": 200}),
                ("round_trips", GATEWAY[4], port, {"seconds": 1.0}),
                ("datagrams", DNS, 53, {"seconds": 1.0, "payload": QUERY}),
            )
        }
        done = guest.ask("finish", PATIENCE, timeout=PATIENCE)
    if done["status"]:
        raise BenchmarkError(f"iperf3: {done['output'].strip()[-300:]}")
    report.sample(f"bulk {quarter}", guest_rate(done["output"]))
    return found


def guest_rate(output: str) -> float:
    """Return the Gbit/s of both directions in iperf3's JSON."""
    ends = json.loads(output)["end"]
    return (
        float(sum(ends[name]["bits_per_second"] for name in ("sum_received", "sum_received_bidir_reverse")))
        / 1e9
    )


if __name__ == "__main__":
    main(__doc__, options, measure)
