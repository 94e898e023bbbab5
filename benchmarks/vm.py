"""Throughput of a Linux guest in QEMU (without KVM): iperf3 to the host's loopback and back, next to -netdev user.

Each measurement uses a freshly booted guest. QEMU's own network has no option for its MTU, so it is measured at 1500
and is the peer of both.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from processes import BenchmarkError, Iperf
from report import Bar, Report, count, main, ratio, show

OWN = "QEMU user"
DIRECTIONS = {"guest to host": "", "host to guest": "-R"}
BARS = {(1500, "guest to host"): 1.4, (1500, "host to guest"): 1.0, (65520, "guest to host"): 3.0,
        (65520, "host to guest"): 2.0}  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[1]


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--mtu", type=int, nargs="+", default=[1500, 65520], help="MTU of the guest, with slirpy"
    )
    parser.add_argument(
        "--seconds", type=count, default=5, help="duration of one measurement; iperf3 takes whole ones"
    )
    parser.add_argument("--rounds", type=count, default=3, help="measurements of each; the median counts")


def measure(arguments: argparse.Namespace) -> Report:
    """Boot guests in turn, and compare.

    Raises:
        BenchmarkError: QEMU, a kernel or iperf3 is missing, or a guest failed.
    """
    sys.path.append(str(REPOSITORY))  # the tests boot the same guest
    from tests.system import qemu

    report = Report(
        "Guests in QEMU",
        "Gbit/s of one TCP connection by iperf3 in a Linux guest with a virtio card, QEMU without KVM.",
        ("network", "MTU", "direction", "Gbit/s", "times QEMU user"),
    )
    names = [OWN, *(f"slirpy {mtu}" for mtu in arguments.mtu)]
    for _ in range(arguments.rounds):
        for name in names:
            with Iperf() as up, Iperf() as down:
                client = f"iperf3 -J -c 10.0.2.2 -t {arguments.seconds:g} -p"
                script = (
                    f"{qemu.DHCP}\n{client} {up.port} >/tmp/up\n{client} {down.port} -R >/tmp/down\n"
                    "for way in up down; do echo \"$way $(tr -d '\\n\\t' </tmp/$way)\"; done\n"
                )
                try:
                    argv = [qemu.QEMU, *qemu.machine(script, "iperf3")]
                except qemu.MissingError as error:
                    raise BenchmarkError(str(error)) from None
                if name == OWN:
                    argv += ["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"]
                else:
                    argv = [sys.executable, "-m", "slirpy", "qemu", "--mtu", name.split()[1], "--", *argv]
                with qemu.Guest(argv) as guest:
                    boot = guest.finish(60 + 3 * arguments.seconds)
                for direction, word in zip(DIRECTIONS, ("up", "down"), strict=True):
                    report.sample(f"{direction} {name} Gbit/s", _rate(boot.after(word + " ")))
    for name in names:
        mtu = 1500 if name == OWN else int(name.split()[1])
        for direction in DIRECTIONS:
            rate = report.median(f"{direction} {name} Gbit/s")
            own = report.median(f"{direction} {OWN} Gbit/s")
            times = "" if name == OWN else ratio(rate, own)
            report.rows.append(
                (name.split()[0] if name != OWN else OWN, str(mtu), direction, show(rate, 3), times)
            )
            limit = BARS.get((mtu, direction))
            if name != OWN and limit is not None and rate and own:
                what = f"{direction} at MTU {mtu}, times QEMU's own"
                report.bars.append(Bar(what, rate / own, limit, at_least=True, unit="x"))
    return report


def _rate(text: str) -> float:
    try:
        return float(json.loads(text)["end"]["sum_received"]["bits_per_second"]) / 1e9
    except (ValueError, KeyError):
        raise BenchmarkError(f"iperf3 in the guest: {text[-300:]}") from None


if __name__ == "__main__":
    main(__doc__, options, measure)
