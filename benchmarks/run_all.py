"""All benchmarks, as one Markdown document with the facts about the machine. Takes some minutes; ``--quick``: one."""

from __future__ import annotations

import argparse
import sys
import time
from types import ModuleType

import attach
import dns
import embedded
import faults
import firmware
import grub
import ipxe
import latency
import many
import memory
import rules
import start
import tftp
import throughput
import udp
import vm
from processes import BenchmarkError, raise_limits
from report import Report, common_options, facts, write_json, write_svg

BENCHMARKS: dict[str, ModuleType] = {
    "throughput": throughput,
    "memory": memory,
    "latency": latency,
    "rules": rules,
    "many": many,
    "udp": udp,
    "dns": dns,
    "embedded": embedded,
    "faults": faults,
    "vm": vm,
    "tftp": tftp,
    "ipxe": ipxe,
    "grub": grub,
    "firmware": firmware,
    "attach": attach,
    "start": start,
}
ARGUMENTS = {"throughput": ["--mtu", "1500", "65520"]}
QUICK = {
    "throughput": ["--seconds", "1", "--rounds", "3", "--networks", "slirpy", "slirp4netns"],
    "memory": ["--rounds", "1", "--mib", "256"],
    "latency": ["--seconds", "0.5", "--connects", "300", "--rounds", "3"],
    "rules": ["--rounds", "3"],
    "many": ["--seconds", "1", "--rounds", "1", "--idle", "1000"],
    "udp": ["--seconds", "1", "--rounds", "3"],
    "dns": ["--rounds", "1"],
    "embedded": ["--rounds", "3", "--mib", "16"],
    "faults": ["--rounds", "1", "--length", "0.4"],
    "vm": ["--rounds", "1", "--seconds", "2"],
    "tftp": ["--rounds", "1"],
    "ipxe": ["--rounds", "1"],
    "grub": ["--rounds", "1"],
    "attach": ["--rounds", "5"],
    "start": ["--rounds", "5"],
}


def run(name: str, arguments: list[str]) -> Report:
    """Run one benchmark, with its own options."""
    module = BENCHMARKS[name]
    parser = argparse.ArgumentParser(prog=name)
    module.options(parser)
    report = module.measure(parser.parse_args(arguments))
    assert isinstance(report, Report)
    return report


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter and fewer measurements")
    parser.add_argument("--only", nargs="+", choices=list(BENCHMARKS), default=list(BENCHMARKS))
    common_options(parser)
    options = parser.parse_args()
    raise_limits()
    machine = facts()
    print("# Benchmarks of slirpy\n")
    print("| | |\n|---|---|")
    print("\n".join(f"| {name} | {value} |" for name, value in machine.items()) + "\n", flush=True)
    reports, failed = [], False
    for name in options.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        start = time.monotonic()
        try:
            report = run(name, (QUICK if options.quick else ARGUMENTS).get(name, []))
        except BenchmarkError as error:
            print(f"## {name.capitalize()}\n\nFailed: {error}\n", flush=True)
            failed = True
            continue
        reports.append(report)
        print(report.markdown(), flush=True)
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    if options.json is not None:
        write_json(options.json, reports, machine)
    if options.svg is not None:
        write_svg(options.svg, reports)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
