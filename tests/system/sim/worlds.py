"""The two worlds in which a scenario runs: virtual time, and two kernels with a relay between them in real time.

The relay is a :class:`~slirpy.testing.sim.network.Network`, too: its paths, faults and trace are those of the
simulator, but its hosts are network namespaces, and its clock is that of the machine.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NoReturn

from slirpy.links import open_tap
from slirpy.links.faultypath import Faults
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.path import Deliver, Path
from slirpy.units import SECOND
from tests.system.sim.outcome import Outcome, outcome_of
from tests.system.sim.programs import PROGRAMS, SERVER, Log
from tests.system.sim.scenarios import SCENARIOS, Scenario

__all__ = ["real", "several", "virtual"]

CLONE_NEWNET = 0x40000000
LONGEST = 30.0
"""Seconds after which a real run is given up."""
ADDRESSES = {"server": SERVER, "client": "198.18.0.2"}
MESSAGE = 65536


def virtual(name: str) -> tuple[Outcome, Network]:
    """Run a scenario in virtual time."""
    scenario = SCENARIOS[name]
    serve, talk = PROGRAMS[name]
    ready: list[bool] = []
    logs = {"client": Log(lambda: None), "server": Log(lambda: ready.append(True))}
    with Network(1, path=scenario.path) as net:
        hosts = {side: net.host(side, address) for side, address in ADDRESSES.items()}
        serving = hosts["server"].run(serve(logs["server"]), name="server")
        net.until(lambda: ready)
        began = arrange(net, scenario)
        net.run(talk(logs["client"]), on="client")
        net.until(lambda: serving.done)
        net.run_for(scenario.linger)
    return outcome_of(logs, net.trace, began), net


def arrange(net: Network, scenario: Scenario) -> float:
    """Set up the faults of a scenario, and return the seconds at which that was."""
    scenario.arrange(net)
    net.inject(*scenario.faults)
    return net.now / SECOND


# ------------------------------------------------------------------------------------- real time


class Relay(Network):
    """A network whose hosts are elsewhere: what arrives at them is written to their interfaces."""

    def __init__(self, path: Faults) -> None:
        super().__init__(1, path=path)
        self.interfaces: dict[str, int] = {}
        self._zero = time.monotonic_ns()

    def _add_path(self, source: Host, target: Host, faults: Faults, deliver: Deliver) -> Path:
        def write(frame: bytes, *_: object) -> None:
            os.write(self.interfaces[target.name], frame)

        return super()._add_path(source, target, faults, write)

    def advance(self) -> float:
        """Do what is due by the machine's clock, and return the seconds until more is."""
        scheduler = self.scheduler
        while True:
            now = time.monotonic_ns() - self._zero
            following = scheduler.run_next(now)
            if following is None or following > now:
                scheduler.now = now
                return 1.0 if following is None else (following - now) / SECOND

    def forward(self, host: Host) -> None:
        """Take the frames that wait at the interface of a host."""
        for _ in range(64):
            try:
                frame = os.read(self.interfaces[host.name], MESSAGE)
            except BlockingIOError:
                return
            self.advance()
            self._transmit(host, frame)


class Side:
    """A program in a process with a network of its own."""

    def __init__(self, name: str, side: str) -> None:
        self.log = Log(lambda: None)
        self.ended = False
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if not self.pid:
            self.control.close()
            live(name, side, theirs)
        theirs.close()
        message, fds, _, _ = socket.recv_fds(self.control, MESSAGE, 1)
        if not fds:
            raise RuntimeError(message.decode())
        self.interface = fds[0]
        os.set_blocking(self.interface, False)

    def receive(self) -> bytes:
        """Receive a message; the last one is the program's report."""
        message = self.control.recv(MESSAGE)
        if message != b"ready":
            report = json.loads(message or b'{"failure": "the process has died"}')
            if "failure" in report:
                raise RuntimeError(report["failure"])
            self.log.facts, self.log.times = report["facts"], report["times"]
            self.ended = True
        return message

    def close(self) -> None:
        self.control.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.interface)


def live(name: str, side: str, control: socket.socket) -> NoReturn:
    """Run a program in a namespace, and report; in a process of its own."""
    try:
        interface = settle_in(side)
        socket.send_fds(control, [b"interface"], [interface])
        os.close(interface)
        if side == "client":
            control.recv(MESSAGE)
        socket.socket = CubicSocket  # type: ignore[misc] # for this process
        log = Log(lambda: control.send(b"ready"))
        asyncio.run(PROGRAMS[name][side == "client"](log))
        control.send(json.dumps({"facts": log.facts, "times": log.times}).encode())
        control.recv(MESSAGE)  # the end
    except BaseException:
        control.send(json.dumps({"failure": traceback.format_exc()}).encode())
    finally:
        os._exit(0)


class CubicSocket(socket.socket):
    """A socket with CUBIC, as slirpy's hosts have it, whatever the machine's default is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (self.family, self.type) == (socket.AF_INET, socket.SOCK_STREAM):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")


def settle_in(side: str) -> int:
    """Move to a new network namespace, with an interface in it; returns its descriptor."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w") as file:
        file.write("1")
    interface, _ = open_tap("tap0", offloads=False)
    macs = {each: f"02:00:00:00:00:0{number}" for number, each in enumerate(ADDRESSES, 1)}
    (other,) = (each for each in ADDRESSES if each != side)
    commands = (
        f"link set tap0 address {macs[side]}\naddress add {ADDRESSES[side]}/15 dev tap0\nlink set tap0 up\n"
        f"neighbor replace {ADDRESSES[other]} lladdr {macs[other]} dev tap0 nud permanent\n"
    )
    subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
    return interface


def real(name: str) -> tuple[Outcome, Network]:
    """Run a scenario between two kernels; needs root, and a process with one thread."""
    scenario = SCENARIOS[name]
    net = Relay(scenario.path)
    hosts = {side: net.host(side, address) for side, address in ADDRESSES.items()}
    sides = {side: Side(name, side) for side in ADDRESSES}
    net.interfaces = {side: each.interface for side, each in sides.items()}
    readers: dict[int, Callable[[], object]] = {
        sides[side].interface: partial(net.forward, host) for side, host in hosts.items()
    }
    try:
        sides["server"].receive()
        net.advance()
        began = arrange(net, scenario)
        sides["client"].control.send(b"go")
        give_up = time.monotonic() + LONGEST
        last = 0.0
        for each in sides.values():
            readers[each.control.fileno()] = each.receive
        while not last or time.monotonic() < last:
            wait = net.advance()
            for fd in select.select(list(readers), (), (), max(min(wait, 0.05), 0))[0]:
                readers[fd]()
            for each in sides.values():
                if each.ended:
                    readers.pop(each.control.fileno(), None)
            if not last and all(each.ended for each in sides.values()):
                last = time.monotonic() + scenario.linger
            if time.monotonic() > give_up:
                raise TimeoutError(f"{name}: {[(side, each.ended) for side, each in sides.items()]}")
    finally:
        for each in sides.values():
            each.close()
    return outcome_of({side: each.log for side, each in sides.items()}, net.trace, began), net


def main(at_once: int, names: list[str]) -> None:
    """Run scenarios between kernels, so many at once, and print a line of JSON for each."""
    waiting, running = list(names), set[int]()
    while waiting or running:
        while waiting and len(running) < at_once:
            name = waiting.pop()
            pid = os.fork()
            if not pid:
                try:
                    report = {"name": name, "outcome": vars(real(name)[0])}
                except BaseException:
                    report = {"name": name, "failure": traceback.format_exc()}
                os.write(1, json.dumps(report).encode() + b"\n")
                os._exit(0)
            running.add(pid)
        running.remove(os.wait()[0])


def several(names: Collection[str], at_once: int = 6) -> dict[str, Outcome]:
    """Run scenarios between kernels, in processes of their own, so many at once.

    Raises:
        RuntimeError: one of them failed.
    """
    argv = [sys.executable, "-m", __name__, str(at_once), *names]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10 * LONGEST, check=True)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    failures = [report["failure"] for report in reports if "failure" in report]
    if failures:
        raise RuntimeError("\n".join(failures))
    return {report["name"]: Outcome(**report["outcome"]) for report in reports}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
