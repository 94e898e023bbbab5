"""The cost of control: throughput with a program that asks the control socket, as the page does, and without one.

Rounds alternate. What counts is the data moved per second of CPU time of the process with the network, which other
programs on the machine disturb less than the time of day. The one that asks is another process, which also runs, and
asks nothing, in the rounds without control.

Looks come by the clock, so on a machine with other work to do, more of them fall on a second of CPU time. The cost of
a look, and its share of a whole processor, do not depend on that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

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


def measure(seconds: float, rounds: int, every: float) -> dict[str, float]:
    """Bytes per second of CPU time without control and with it, and their ratio: medians of the rounds."""
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
    without, controlled = statistics.median(rates[False]), statistics.median(rates[True])
    look = statistics.median((used - moved / without) / max(looks, 1) for moved, used, looks in rounds_seen)
    return {
        "without": without,
        "controlled": controlled,
        "ratio": controlled / without,
        "look": look,
        "share": look / every,
    }


def main() -> None:
    """Measure, and print or write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a round")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each kind")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between two looks at the network")
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE")
    given = parser.parse_args()
    if given.seconds <= 0 or given.rounds < 1 or given.every <= 0:
        parser.error("--seconds, --rounds and --every are greater than 0")
    found = measure(given.seconds, given.rounds, given.every)
    print(f"without     {found['without'] / 1e6:10.2f} MB per CPU second")
    print(f"controlled  {found['controlled'] / 1e6:10.2f} MB per CPU second")
    print(f"ratio       {found['ratio']:10.4f}")
    print(f"a look      {found['look'] * 1000:10.2f} ms of CPU time, {found['share']:.2%} of a processor")
    if given.json:
        Path(given.json).write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
