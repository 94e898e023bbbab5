"""Time from start to ready, and from ready to the first ping, of networks for an existing namespace."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack

from processes import BenchmarkError
from report import Bar, Report, count, main, ratio, show

READY = "ready to first ping"
START = "start to ready"
BAR = 1.5
"""Longest time from ready to the first ping, in times of slirp4netns'."""
PATIENCE = 20.0
PROGRAMS = {
    "slirpy attach": (sys.executable, "-m", "slirpy", "attach"),
    "slirpy-slirp4netns": (
        sys.executable,
        "-c",
        "from slirpy.cli.slirp4netns.main import main; main()",
        "--configure",
    ),
    "slirp4netns": ("slirp4netns", "--configure"),
}
_PROBE = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
sock.settimeout(20)
print("waiting", flush=True)
sys.stdin.readline()
sock.sendto(bytes.fromhex("0800f7fd00010001"), ("10.0.2.2", 0))
while sock.recv(100)[20:21] != bytes(1):
    pass
print("answered", flush=True)
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--rounds", type=count, default=15, help="measurements of each program")


def measure(arguments: argparse.Namespace) -> Report:
    """Run all measurements: a new namespace each time, the programs in turns."""
    report = Report(
        "Attach",
        f"Medians of {arguments.rounds} runs in turns, in milliseconds. A network is attached to a new namespace and"
        " configured; then a process that waits in the namespace sends one ping to the gateway.",
        ["network", START, "in slirp4netns'", READY, "in slirp4netns'"],
    )
    programs = {name: words for name, words in PROGRAMS.items() if shutil.which(words[0])}
    for lacking in PROGRAMS.keys() - programs.keys():
        report.remarks.append(f"{lacking} was left out: it is not installed")
    for _ in range(arguments.rounds):
        for name, words in programs.items():
            started, answered = _attach(words)
            report.sample(f"{name}: {START}", started * 1000)
            report.sample(f"{name}: {READY}", answered * 1000)
    theirs = {what: report.median(f"slirp4netns: {what}") for what in (START, READY)}
    for name in programs:
        row = [name]
        for what in (START, READY):
            ours = report.median(f"{name}: {what}")
            row += [show(ours), "" if name == "slirp4netns" else ratio(ours, theirs[what])]
        report.rows.append(tuple(row))
        ours, reference = report.median(f"{name}: {READY}"), theirs[READY]
        if name != "slirp4netns" and ours is not None and reference:
            report.bars.append(Bar(f"{name}, {READY}", ours / reference, BAR, at_least=False, unit="x"))
    return report


def _attach(words: tuple[str, ...]) -> tuple[float, float]:
    """Attach a program to a new namespace. Returns the seconds to ready, and from there to the first answer."""
    with ExitStack() as stack:
        probe = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", _PROBE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.enter_context(probe)
        stack.callback(probe.kill)
        assert probe.stdin is not None
        assert probe.stdout is not None
        probe.stdout.readline()
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        begin = time.perf_counter()
        program = subprocess.Popen(
            [*words, f"--ready-fd={writer}", str(probe.pid), "tap0"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(writer,),
        )
        stack.enter_context(program)
        stack.callback(program.kill)
        os.close(writer)
        if os.read(reader, 1) != b"1":
            raise BenchmarkError(
                f"{' '.join(words)} ended before it was ready, with status {program.wait(PATIENCE)}"
            )
        ready = time.perf_counter()
        probe.stdin.write("\n")
        probe.stdin.flush()
        if not probe.stdout.readline():
            raise BenchmarkError(f"{' '.join(words)} did not answer the ping")
        return ready - begin, time.perf_counter() - ready


if __name__ == "__main__":
    main(__doc__, options, measure)
