"""The cost of rules by name: throughput and short connections under 10,000 of them, and without a policy."""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

from latency import PATIENCE
from networks import Network, missing, slirpy
from processes import GATEWAY, BenchmarkError, Endpoint, Iperf, cpu_nanoseconds, pin
from report import Bar, Report, count, main, median, show
from scripted import NAME, client_hello
from throughput import DIRECTIONS, GIB

WITHOUT, STRICT, OFF = "no policy", "tls=strict", "tls=off"
BAR_THROUGHPUT, BAR_CONNECTS = 0.97, 0.9
"""Minimum ratios to what passes without a policy."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rules", type=count, default=10_000, help="rules by name")
    parser.add_argument("--seconds", type=count, default=1, help="length of each measurement of throughput")
    parser.add_argument("--connects", type=count, default=500, help="short connections per measurement")
    parser.add_argument("--rounds", type=count, default=15, help="measurements of each kind")


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements. The networks exist side by side, and take turns."""
    lacking = missing("slirpy")
    if lacking is not None:
        raise BenchmarkError(lacking)
    report = Report(
        "Rules by name",
        f"Medians of {arguments.rounds} runs in turns, guest MTU 1500: without a policy, and under"
        f" {arguments.rules:,} rules by name, of which the last one allows the server. Throughput is one connection"
        f" of iperf3, {arguments.seconds} s a run. A TLS connection is a handshake, a byte each way, and its end."
        " ClientHellos are connections whose server returns the hello and nothing more: the most that reading it can"
        " cost. For both, network, guest and server share one CPU, and the rate is that to a second of their CPU"
        " time, which other programs hardly change. CPU is that of the network process alone, for a GiB or for each"
        " connection. A ratio is the median of those of each round.",
        ["what", "network", "Gbit/s or a second", "to no policy", "CPU s/GiB or us"],
    )
    with ExitStack() as stack:
        server = stack.enter_context(Endpoint())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        networks = {WITHOUT: _network(stack, [])}
        for mode in (STRICT, OFF):
            networks[mode] = _network(stack, ["--policy", str(_policy(folder, mode, arguments.rules))])
        _throughput(report, networks, arguments)
        _connects(report, networks, server, arguments)
    return report


def _policy(folder: Path, mode: str, number: int) -> Path:
    """Write a policy of so many rules, the last of which allows the server."""
    rules = [f"allow name-{index}.example:443" for index in range(number - 1)]
    rules.append(f"allow {NAME} {mode}")
    path = folder / f"{mode}.toml"
    path.write_text("rules = [\n" + "".join(f'    "{rule}",\n' for rule in rules) + "]\n")
    return path


def _network(stack: ExitStack, options: list[str]) -> Network:
    """Start a network with a DNS record of the server, the host's loopback, and let its guest look up the server."""
    network = stack.enter_context(slirpy(1500, "--dns-record", f"{NAME} A {GATEWAY[4]}", *options))
    done = network.guest.ask("run", argv=["getent", "ahostsv4", NAME], timeout=PATIENCE)
    if GATEWAY[4] not in done["output"]:
        raise BenchmarkError(f"{NAME} does not resolve: {done['errors'].strip()}")
    return network


def _throughput(report: Report, networks: dict[str, Network], arguments: argparse.Namespace) -> None:
    for direction, flags in DIRECTIONS.items():
        for _ in range(arguments.rounds):
            for name, network in networks.items():
                with Iperf() as iperf:
                    before = cpu_nanoseconds(network.pid)
                    rate, moved = iperf.client(
                        network.guest, arguments.seconds, "-t", str(arguments.seconds), *flags
                    )
                    used = cpu_nanoseconds(network.pid) - before
                report.sample(f"{direction}, {name}", rate / 1e9)
                report.sample(f"{direction}, {name}: CPU", used / 1e9 * GIB / moved)
        _compare(report, direction, BAR_THROUGHPUT, 2)


def _connects(
    report: Report, networks: dict[str, Network], server: Endpoint, arguments: argparse.Namespace
) -> None:
    cpu = min(os.sched_getaffinity(0))
    for end in (server, *(network.guest for network in networks.values())):
        end.ask("pin", cpus=[cpu])
    pin([network.pid for network in networks.values()], {cpu})
    certificate = str(Path(__file__).parent.parent / "tests" / "support" / "server.pem")
    kinds: dict[str, tuple[str, dict[str, str], str, dict[str, str]]] = {
        "TLS connections": ("serve_tls", {"certificate": certificate}, "handshakes", {"name": NAME}),
        "ClientHellos": ("serve", {"kind": "echo"}, "connects", {"payload": client_hello().hex()}),
    }
    for what, (serve, served, command, details) in kinds.items():
        for _ in range(arguments.rounds):
            for name, network in networks.items():
                port = server.ask(serve, **served)["port"]  # a new one: TIME-WAIT belongs to the others
                pids = (network.pid, server.process.pid)
                before = [cpu_nanoseconds(pid) for pid in pids]
                answer = network.guest.ask(
                    command, PATIENCE, address=GATEWAY[4], port=port, count=arguments.connects, **details
                )
                used = [cpu_nanoseconds(pid) - start for pid, start in zip(pids, before, strict=True)]
                seconds = answer["cpu"] + sum(used) / 1e9
                report.sample(f"{what}, {name}", arguments.connects / seconds)
                report.sample(f"{what}, {name}: CPU", used[0] / 1000 / arguments.connects)
        _compare(report, what, BAR_CONNECTS if what == "TLS connections" else None, 0)


def _compare(report: Report, what: str, bar: float | None, digits: int) -> None:
    """Add a row for each network, and a bar, if there is one, for each policy."""
    without = report.samples[f"{what}, {WITHOUT}"]
    for name in (WITHOUT, STRICT, OFF):
        values, cpu = report.samples[f"{what}, {name}"], report.median(f"{what}, {name}: CPU")
        times = median([value / other for value, other in zip(values, without, strict=True)])
        report.rows.append((what, name, show(median(values), digits), f"{show(times)}x", show(cpu, digits)))
        if bar is not None and name != WITHOUT and times is not None:
            report.bars.append(Bar(f"{what}, {name}", times, bar, at_least=True, unit="x"))


if __name__ == "__main__":
    main(__doc__, options, measure)
