"""Round trips, short connections, datagrams and DNS queries per second, with and without many idle connections."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from typing import Any

from networks import NETWORKS, Network, missing, relay
from processes import Endpoint, cpu_nanoseconds, pin
from report import Report, count, main, positive, ratio, show

START = {"slirpy": NETWORKS["slirpy"], "slirp4netns": NETWORKS["slirp4netns"], "relay": relay}
"""The networks: slirpy, its peer, and the least that can be done in Python."""
NAMES = tuple(START)
PLACES = ("one", "any")
"""Main rows: network, guest and server share one CPU. Beside them: each runs where the system puts it. Then waking
another CPU costs more than the work, and is charged to whoever wakes it."""
PATIENCE = 120.0
GATEWAY, DNS = "10.0.2.2", "10.0.2.3"
DATAGRAM = bytes(64).hex()
QUERY = "123401000001000000000000096c6f63616c686f73740000010001"
"""A query for the address of localhost."""
SINGLE_SECONDS = 0.4
"""Time in which single round trips are measured, some 300 of them."""
OURS_ONLY = ("DNS queries",)
"""Rows of slirpy alone: slirp4netns answers no query itself."""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--seconds", type=positive, default=1.0, help="length of each measurement of round trips"
    )
    parser.add_argument("--connects", type=count, default=1000, help="short connections per measurement")
    parser.add_argument("--idle", type=count, default=1000, help="idle connections in the second part")
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements. Networks with and without idle connections exist side by side, and take turns too."""
    report = Report(
        "Latency",
        f"Medians of {arguments.rounds} runs in turns, guest MTU 1500. A round trip is one byte to an echo server on"
        " the host's loopback and back; a short connection is connect, one round trip, close. UDP is 64 bytes to an"
        " echo server and back, one at a time; DNS is a query for localhost, which the network answers. CPU is that"
        " of the network process alone, for each of them. On one CPU: network, guest and server share it, so that no"
        " figure depends on wake-ups between CPUs.",
        ["what", "where", "idle connections", "network", "a second", "slirpy is", "CPU us"],
    )
    work: dict[str, tuple[str, dict[str, Any]]] = {
        "round trips": ("round_trips", {"seconds": arguments.seconds}),
        "short connections": ("connects", {"count": arguments.connects}),
    }
    with ExitStack() as stack:
        server = stack.enter_context(Endpoint())
        echo = server.ask("serve_datagrams")["port"]
        work["UDP, 64 bytes"] = "datagrams", {
            "seconds": arguments.seconds, "address": GATEWAY, "port": echo, "payload": DATAGRAM
        }  # fmt: skip
        work["DNS queries"] = "datagrams", {
            "seconds": arguments.seconds, "address": DNS, "port": 53, "payload": QUERY
        }  # fmt: skip
        networks: list[tuple[int, Network]] = []
        for name in NAMES:
            lacking = missing(name)
            if lacking is not None:
                report.remarks.append(f"{name} was left out: {lacking}")
                continue
            for idle in (0, arguments.idle):
                network = stack.enter_context(START[name](1500))
                networks.append((idle, network))
                port = server.ask("serve", kind="echo")["port"]
                network.guest.ask("idle", PATIENCE, address="10.0.2.2", port=port, count=idle)
        everywhere = os.sched_getaffinity(0)
        places = dict(zip(PLACES, ({min(everywhere)}, everywhere), strict=True))
        for what, (command, details) in work.items():
            for _ in range(arguments.rounds):
                for place, cpus in places.items():
                    for idle, network in networks:
                        if what in OURS_ONLY and network.name != "slirpy":
                            continue
                        for end in (network.guest, server):  # the guest's process may be a child of another
                            end.ask("pin", cpus=sorted(cpus))
                        pin((network.pid,), cpus)
                        case = f"{what}, {place} CPU, {idle} idle, {network.name}"
                        _measure(report, case, network, server, command, details)
                        if command == "round_trips":
                            _single(report, f"{place} CPU, {idle} idle, {network.name}", network, server)
            for place in places:
                for idle in (0, arguments.idle):
                    _add_rows(report, what, place, idle)
    return report


def _add_rows(report: Report, what: str, place: str, idle: int) -> None:
    """Add a row for each network."""
    case = f"{what}, {place} CPU, {idle} idle"
    ours = report.median(f"{case}, slirpy: a second")
    for name in NAMES[:1] if what in OURS_ONLY else NAMES:
        rate = report.median(f"{case}, {name}: a second")
        cpu = report.median(f"{case}, {name}: CPU us")
        times = "" if name == "slirpy" else ratio(ours, rate)
        report.rows.append((what, f"{place} CPU", f"{idle:,}", name, show(rate, 0), times, show(cpu, 1)))


def _measure(
    report: Report, case: str, network: Network, server: Endpoint, command: str, details: dict[str, Any]
) -> None:
    # A new port each time: connections in TIME-WAIT belong to another one.
    port = server.ask("serve", kind="echo")["port"]
    before = cpu_nanoseconds(network.pid)
    answer = network.guest.ask(command, PATIENCE, **{"address": GATEWAY, "port": port, **details})
    used = cpu_nanoseconds(network.pid) - before
    report.sample(f"{case}: a second", answer["count"] / answer["seconds"])
    report.sample(f"{case}: CPU us", used / 1000 / answer["count"])


def _single(report: Report, case: str, network: Network, server: Endpoint) -> None:
    """Measure single round trips, a pause apart, for their distribution."""
    port = server.ask("serve", kind="echo")["port"]
    found = network.guest.ask("latencies", PATIENCE, address=GATEWAY, port=port, seconds=SINGLE_SECONDS)["us"]
    for each in found:
        report.sample(f"latency of a round trip, {case}, us", each)


if __name__ == "__main__":
    main(__doc__, options, measure)
