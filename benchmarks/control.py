"""The cost of control: throughput while a page of `--web` is open, in that while nobody asks.

A scripted guest sends to a server on the host, in step with slirpy, so that the same bytes are always the same work.
Short rounds take turns, with one look and without; in a look, another process asks what the page asks, on one
connection, as a browser does. Throughput is bytes for each second of CPU time of this process, all threads together,
and that clock also ends the rounds: so the network is as busy as it can be, whatever else the machine does, and the
client's own work does not count. Rounds are short because the machine's other work changes what a byte costs from
second to second by more than a look does. A look costs what its round moves less; a page looks twice a second.

A look is also measured by the clocks of the threads: that of HTTP beside traffic, and the network's while nothing
else is to do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack

from processes import BenchmarkError, Endpoint
from report import Bar, Report, count, main, positive, show
from scripted import PLAIN, Case, Guest, TapNetwork

ASKER = """
import http.client, socket, sys

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1].removeprefix("unix:"))

connection = Connection("localhost")

def ask(path):
    connection.request("GET", path)
    connection.getresponse().read()

for number, _ in enumerate(sys.stdin):
    ask("/v1/flows?limit=2000")
    if number % 4 == 0:
        ask("/v1")
        ask("/v1/forwards")
        ask("/v1/leases")
    print(flush=True)
"""
LOOKS_A_SECOND = 2
"""By one page."""
BAR = 0.99
HTTP = "slirpy-control"
"""Name of the thread."""
UNIT = 1 << 16
"""Bytes to send between two looks at the clock."""
IDLE_LOOKS = 20


class Asker:
    """Another process, which looks at the network on request.

    Args:
        place: where the network is controlled.
    """

    def __init__(self, place: str) -> None:
        command = [sys.executable, "-c", ASKER, place]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        os.set_blocking(self._answers.fileno(), False)
        self._open = 0

    def look(self) -> None:
        """Order a look; does not wait for it."""
        self._orders.write(b"\n")
        self._open += 1

    def busy(self) -> bool:
        """Report whether looks are not over yet."""
        answers = self._answers.read()
        if answers == b"":
            raise BenchmarkError("the program that asks has ended")
        self._open -= len(answers or b"")
        return self._open > 0

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def busy_round(guest: Guest, asker: Asker, seconds: float, *, look: bool) -> tuple[float, float]:
    """Move data for some CPU time. Returns bytes for each second of it, and the CPU seconds of HTTP."""
    moved, http, start = 0, http_seconds(), time.process_time()
    if look:
        asker.look()
    while time.process_time() - start < seconds:
        moved += guest.upload(UNIT)[1]
    settle(guest, asker)
    return moved / (time.process_time() - start), http_seconds() - http


def settle(guest: Guest, asker: Asker) -> None:
    """Drive the network until it has answered."""
    assert isinstance(guest.network, TapNetwork)
    while asker.busy():
        guest.network.net.poll(0.001)


def http_seconds() -> float:
    """The CPU time of the thread of HTTP, or 0 before it has started."""
    for thread in threading.enumerate():
        if thread.name == HTTP and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0


def measure(rounds: int, seconds: float) -> Report:
    """Measure throughput with and without looks, and the CPU time of looks by thread."""
    report = Report(
        title="Control",
        note=f"Segments of 1500 bytes to the host, {rounds} pairs of rounds of {1e3 * seconds:g} ms of CPU time, one"
        " of them with a look. Medians; those of ratios and costs are of the pairs.",
        columns=("", "MB a CPU second", "in that without", "a look, ms", "of it: HTTP", "network"),
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Endpoint())
        case = Case("", PLAIN[4], sockets=True, tap=True)
        guest = Guest(case, server.ask("serve", kind="sink")["port"], None, lambda work: work())
        assert isinstance(guest.network, TapNetwork)
        net = guest.network.net
        stack.callback(guest.network.close)
        net.serve_control(f"unix:{folder}/ctl")
        asker = Asker(f"unix:{folder}/ctl")
        stack.callback(asker.close)
        guest.connect()
        guest.upload(1 << 22)
        for _ in range(IDLE_LOOKS):  # the first look loads and opens what the others find
            asker.look()
        settle(guest, asker)
        for number in range(rounds):
            found = {}
            for look in (False, True) if number % 2 else (True, False):
                found[look], http = busy_round(guest, asker, seconds, look=look)
                if look:
                    report.sample("HTTP", http * 1e3)
            report.sample("without", found[False])
            report.sample("with", found[True])
            report.sample("ratio", found[True] / found[False])
        own = time.thread_time()
        for _ in range(IDLE_LOOKS):
            asker.look()
            settle(guest, asker)
        report.sample("network", (time.thread_time() - own) / IDLE_LOOKS * 1e3)
    _add_rows(report, seconds)
    return report


def _add_rows(report: Report, seconds: float) -> None:
    """Add the rows and the bar."""
    without, with_look, ratio, http, network = (
        statistics.median(report.samples[name]) for name in ("without", "with", "ratio", "HTTP", "network")
    )
    pairs = report.samples["ratio"]
    error = 1.25 * statistics.stdev(pairs) / len(pairs) ** 0.5  # of a median
    cost = (1 - ratio) * seconds
    page = 1 - cost * LOOKS_A_SECOND
    report.rows.append(("nobody asks", show(without / 1e6, 1), "", "", "", ""))
    costs = (show(cost * 1e3), show(http), show(network))
    report.rows.append(("a look in each round", show(with_look / 1e6, 1), show(ratio, 3), *costs))
    report.rows.append((f"a page: {LOOKS_A_SECOND} looks a second", "", show(page, 4), "", "", ""))
    bar = Bar("throughput with a page, to that while nobody asks", page, BAR, at_least=True, digits=4)
    report.bars.append(bar)
    page_error = error * seconds * LOOKS_A_SECOND
    report.remarks.append(f"standard errors: {error:.3f} of the ratio, {page_error:.4f} of that for a page")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=positive, default=0.05, help="CPU time of a round")
    parser.add_argument("--rounds", type=count, default=400, help="pairs of rounds")


if __name__ == "__main__":
    main(__doc__, options, lambda given: measure(given.rounds, given.seconds))
