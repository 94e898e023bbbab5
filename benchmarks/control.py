"""The cost of control: throughput while a page of `--web` is open, and without one.

Rounds alternate. Another process asks what the page asks, on one connection, as a browser does; in the rounds without
control it runs, and asks nothing. Threads are measured by their own clocks of CPU time, because that is repeatable:
the same bytes per second of the process differ by several percent from round to round, on a machine with other work.

What a look costs has three parts: the thread of HTTP while data is moved, the network's thread, which is measured
while nothing else is to do, and what the change of threads costs the network's thread for each byte. The first
bar is the throughput with control to that without, of all threads together; it includes the third part, and noise.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from random import Random

from processes import BenchmarkError
from report import Bar, Report, count, main, positive, show

from slirpy import Config, Slirp
from slirpy.testing import Guest

ASKER = """
import http.client, itertools, socket, sys, time

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1].removeprefix("unix:"))

connection = Connection("localhost")

def ask(path):
    connection.request("GET", path)
    connection.getresponse().read()

print(flush=True)
for number in itertools.count():
    if sys.argv[3] == "True":
        ask("/v1/flows?limit=2000")
        if number % 4 == 0:
            ask("/v1")
            ask("/v1/forwards")
            ask("/v1/leases")
        print(flush=True)
    time.sleep(float(sys.argv[2]))
"""
SERVER_PORT = 9
BLOCK = 1 << 16
BAR = 0.99
NETWORK, HTTP = "slirpy", "slirpy-control"
"""Names of the threads."""


def attach(net: Slirp) -> None:
    """Plug in a guest that takes what it is sent, and give it an address."""
    guest = Guest(lambda frame: nic.send(frame), random=Random(1), now=time.monotonic_ns())  # noqa: PLW0108 - nic is made below
    listener = guest.listen(SERVER_PORT)

    def take(frame: bytes) -> None:
        guest.input(frame, time.monotonic_ns())
        for stream in listener.accepted:
            stream.read()

    nic = net.attach(take)
    lease = guest.dhcp()
    while not lease.bound:
        net.poll(0.05)
        guest.advance(time.monotonic_ns())


class Round:
    """One round: CPU time of each thread, bytes moved, and looks.

    Args:
        place: where the network is controlled.
        every: seconds between two looks.
        asked: whether there are looks.
    """

    def __init__(self, place: str, every: float, asked: bool) -> None:
        command = [sys.executable, "-c", ASKER, place, str(every), str(asked)]
        self._asker = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._asker.stdout is not None
        self._asker.stdout.readline()  # it has started
        if asked and not self._asker.stdout.readline():  # the first look loads and opens what the others find
            raise BenchmarkError("the program that asks has ended")
        self._before = _clocks()
        self.moved = self.looks = 0
        self.cpu: dict[str, float] = {}

    def end(self) -> None:
        """End the round."""
        self.cpu = {name: cpu - self._before.get(name, 0.0) for name, cpu in _clocks().items()}
        self._asker.kill()
        self.looks = self._asker.communicate()[0].count(b"\n")


def _clocks() -> dict[str, float]:
    """The CPU time of each thread, in seconds."""
    return {
        thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.ident is not None
    }


def measure(seconds: float, rounds: int, every: float) -> Report:
    """Measure the CPU time of looks, and bytes per second of CPU time with and without them."""
    report = Report(
        title="Control",
        note=f"CPU time by thread, medians of {rounds} rounds of {seconds:g} s each; in those with control a client"
        f" asks every {every:g} s what an open page asks.",
        columns=("", "MB per CPU second", "a look, ms: HTTP", "a look, ms: network"),
    )
    with tempfile.TemporaryDirectory() as folder, Slirp(Config(resolvers=[])) as net:
        attach(net)
        place = f"unix:{folder}/ctl"
        net.serve_control(place)
        net.start()
        data = bytes(BLOCK)
        with net.connect("10.0.2.15", SERVER_PORT) as sock:
            for number in range(2 * rounds):
                busy = Round(place, every, bool(number % 2))
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    sock.sendall(data)
                    busy.moved += len(data)
                busy.end()
                name = "controlled" if number % 2 else "without"
                report.sample(name, busy.moved / sum(busy.cpu.values()))
                if busy.looks:
                    report.sample("http", busy.cpu[HTTP] / busy.looks)
        for _ in range(rounds):
            idle = Round(place, every, asked=True)
            time.sleep(seconds)
            idle.end()
            if idle.looks:
                report.sample("network", idle.cpu[NETWORK] / idle.looks)
        net.stop()
    without, controlled, http, network = (
        statistics.median(report.samples[name]) for name in ("without", "controlled", "http", "network")
    )
    report.rows.append(("without control", show(without / 1e6), "-", "-"))
    report.rows.append(("with control", show(controlled / 1e6), show(http * 1e3), show(network * 1e3)))
    report.bars.append(
        Bar("throughput with control, to that without", controlled / without, BAR, at_least=True)
    )
    left = 1 - (http + network) / every
    report.bars.append(
        Bar("share of a processor that looks leave to traffic", left, BAR, at_least=True, digits=4)
    )
    return report


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=positive, default=2.0, help="length of a round")
    parser.add_argument("--rounds", type=count, default=10, help="rounds of each kind")
    parser.add_argument("--every", type=positive, default=0.5, help="seconds between two looks at the network")


if __name__ == "__main__":
    main(__doc__, options, lambda given: measure(given.seconds, given.rounds, given.every))
