"""The cost of control: throughput with a program that asks the control socket, as the page does, and without one.

Rounds alternate. What counts is the data moved per second of CPU time of the process with the network, which other
programs on the machine disturb less than the time of day. The one that asks is another process, which also runs, and
asks nothing, in the rounds without control.

Looks come by the clock, so on a machine with other work to do, more of them fall on a second of CPU time. The cost of
a look, and its share of a whole processor, do not depend on that.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from random import Random

from report import Bar, Report, count, main, positive, show

from slirpy import Config, Slirp
from slirpy.testing import Guest

ASKER = """
import sys, time
from slirpy.control import ControlClient
client = ControlClient(sys.argv[1])
print(flush=True)
while True:
    if sys.argv[3] == "True":
        client.ask("GET", "/v1")
        client.ask("GET", "/v1/flows", query={"limit": 2000})
        print(flush=True)
    time.sleep(float(sys.argv[2]))
"""
SERVER_PORT = 9
BLOCK = 1 << 16
BAR = 0.99


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


def measure(seconds: float, rounds: int, every: float) -> Report:
    """Measure bytes per second of CPU time without control and with it."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    rounds_seen: list[tuple[int, float, int]] = []  # bytes, CPU time, looks of those with control
    with tempfile.TemporaryDirectory() as folder, Slirp(Config(resolvers=[])) as net:
        attach(net)
        place = f"unix:{folder}/ctl"
        net.serve_control(place)
        net.start()
        data = bytes(BLOCK)
        with net.connect("10.0.2.15", SERVER_PORT) as sock:
            for number in range(2 * rounds):
                asked = bool(number % 2)
                command = [sys.executable, "-c", ASKER, place, str(every), str(asked)]
                asker = subprocess.Popen(command, stdout=subprocess.PIPE)
                assert asker.stdout is not None
                asker.stdout.readline()  # it has started
                moved, cpu, end = 0, time.process_time(), time.monotonic() + seconds
                while time.monotonic() < end:
                    sock.sendall(data)
                    moved += len(data)
                used = time.process_time() - cpu
                rates[asked].append(moved / used)
                asker.kill()
                if asked:
                    rounds_seen.append((moved, used, asker.communicate()[0].count(b"\n")))
                else:
                    asker.communicate()
        net.stop()
    report = Report(
        title="Control",
        note=f"Data moved per second of CPU time, medians of {rounds} rounds of {seconds:g} s each; in those with"
        f" control a client asks for the state of the network and its flows every {every:g} s.",
        columns=("rounds", "MB per CPU second", "a look, ms of CPU time", "share of a processor"),
    )
    for asked, name in ((False, "without"), (True, "controlled")):
        for rate in rates[asked]:
            report.sample(name, rate)
    without, controlled = statistics.median(rates[False]), statistics.median(rates[True])
    for moved, used, looks in rounds_seen:
        report.sample("look", (used - moved / without) / max(looks, 1))
    look = statistics.median(report.samples["look"])
    report.rows.append(("without control", show(without / 1e6), "-", "-"))
    report.rows.append(("with control", show(controlled / 1e6), show(look * 1e3), f"{look / every:.2%}"))
    report.bars.append(
        Bar("throughput with control, to that without", controlled / without, BAR, at_least=True)
    )
    return report


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--seconds", type=positive, default=2.0, help="length of a round")
    parser.add_argument("--rounds", type=count, default=10, help="rounds of each kind")
    parser.add_argument("--every", type=positive, default=0.5, help="seconds between two looks at the network")


if __name__ == "__main__":
    main(__doc__, options, lambda given: measure(given.seconds, given.rounds, given.every))
