"""Round trips and short connections a second, with none and with many idle connections beside."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import Any

from networks import NETWORKS, missing
from processes import Endpoint
from report import Report, count, main, positive, ratio, show

NAMES = ("slirpy", "slirp4netns")
PATIENCE = 120.0


def options(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=positive, default=1.0, help="of round trips a measurement")
    parser.add_argument("--connects", type=count, default=1000, help="short connections a measurement")
    parser.add_argument("--idle", type=count, default=1000, help="idle connections in the second part")
    parser.add_argument("--rounds", type=count, default=5, help="measurements of each kind")


def measure(arguments: argparse.Namespace) -> Report:
    """Run it all."""
    report = Report(
        "Latency",
        f"A second, medians of {arguments.rounds} runs in turns, guest MTU 1500. A round trip is one byte to an echo"
        " server on the host's loopback and back; a short connection is connect, one round trip, close.",
        ["what", "idle connections", "slirpy", "slirp4netns", "slirpy is"],
    )
    work: dict[str, tuple[str, dict[str, Any]]] = {
        "round trips": ("round_trips", {"seconds": arguments.seconds}),
        "short connections": ("connects", {"count": arguments.connects}),
    }
    with ExitStack() as stack:
        networks = []
        for name in NAMES:
            lacking = missing(name)
            if lacking is None:
                networks.append(stack.enter_context(NETWORKS[name](1500)))
            else:
                report.remarks.append(f"{name} was left out: {lacking}")
        for idle in (0, arguments.idle):
            server = stack.enter_context(Endpoint())
            for network in networks:
                if idle:
                    port = server.ask("serve", kind="echo")["port"]
                    network.guest.ask("idle", PATIENCE, address="10.0.2.2", port=port, count=idle)
            for what, (command, details) in work.items():
                for _ in range(arguments.rounds):
                    for network in networks:
                        # A new port each time: what is in TIME-WAIT belongs to another one.
                        place = {"address": "10.0.2.2", "port": server.ask("serve", kind="echo")["port"]}
                        answer = network.guest.ask(command, PATIENCE, **place, **details)
                        rate = answer["count"] / answer["seconds"]
                        report.sample(f"{what}, {idle} idle: {network.name}", rate)
                ours, theirs = (report.median(f"{what}, {idle} idle: {name}") for name in NAMES)
                report.rows.append((what, f"{idle:,}", show(ours, 0), show(theirs, 0), ratio(ours, theirs)))
    return report


if __name__ == "__main__":
    main(__doc__, options, measure)
