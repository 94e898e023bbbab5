"""``slirpy switch`` as a process: guests behind sockets, as QEMU would be, with slirpy's own port and without."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from slirpy.testing import Guest
from tests.support import waiting
from tests.support.framing import framed, take_frames
from tests.unit.cli.command import command_of

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs unix sockets")

SECONDS = 20.0


@contextmanager
def switch(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, once it has said that it is ready."""
    argv = [sys.executable, "-m", "slirpy", "switch", *arguments]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line.endswith("ports are joined\n"):
                    break
            else:
                pytest.fail(f"ended with {process.wait()}")
            yield process
        finally:
            process.kill()


def listening(path: Path) -> str:
    return f"stream,server=on,addr.type=unix,addr.path={path}"


class Machine:
    """A guest in Python at the end of a unix stream, with QEMU's framing."""

    def __init__(self, path: Path, number: int) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(path))
        self._buffer = bytearray()
        mac = bytes((0x52, 0x54, 0, 0, 0, number))
        self.guest = Guest(self._send, random=Random(number), now=time.monotonic_ns(), mac=mac)

    def _send(self, frame: bytes) -> None:
        self.sock.sendall(framed(frame))

    def read(self) -> None:
        data = self.sock.recv(1 << 16)
        assert data, "the switch has hung up"
        self._buffer += data
        for frame in take_frames(self._buffer):
            self.guest.input(frame, time.monotonic_ns())


@contextmanager
def machines(*paths: Path) -> Iterator[list[Machine]]:
    with ExitStack() as stack:
        made = [Machine(path, number + 1) for number, path in enumerate(paths)]
        for machine in made:
            stack.callback(machine.sock.close)
        yield made


def until(made: list[Machine], done: Callable[[], object]) -> None:
    """Carry the guests on until ``done()``."""

    def step() -> None:
        ready, _, _ = select.select([machine.sock for machine in made], [], [], 0.02)
        for machine in made:
            if machine.sock in ready:
                machine.read()
            machine.guest.advance(time.monotonic_ns())

    waiting.until(done, step, lambda: [machine.guest.counters for machine in made], SECONDS)


def meet(made: list[Machine]) -> None:
    """All of them ping each other."""
    pings = [
        a.guest.ping(b.guest.address) for a in made for b in made if a is not b and b.guest.address is not None
    ]
    assert pings
    until(made, lambda: all(ping.reply == ping.payload for ping in pings))


def test_guests_with_slirpys_own_port(folder: Path) -> None:
    paths = [folder / "one", folder / "two"]
    with switch(
        "-netdev", "user,net=10.9.0.0/24", *(f"--netdev={listening(path)}" for path in paths)
    ) as process:
        with machines(*paths) as made:
            clients = [machine.guest.dhcp() for machine in made]
            until(made, lambda: all(client.bound for client in clients))
            addresses = {str(machine.guest.address) for machine in made}
            assert addresses == {"10.9.0.15", "10.9.0.16"}
            meet(made)
            pings = [machine.guest.ping("10.9.0.2") for machine in made]
            until(made, lambda: all(ping.reply for ping in pings))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    assert not any(path.exists() for path in paths)


def test_slirpys_own_port_has_all_options_of_a_network(folder: Path) -> None:
    """A host program at an address of the network, and a host port that is reported."""
    path = folder / "one"
    echo = f"guestfwd=tcp:10.0.2.100:7-cmd:{sys.executable} -c 'print(input()[::-1])'"
    argv = ["-netdev", f"user,{echo},hostfwd=tcp::0-:80", "-netdev", listening(path)]
    with switch(*argv, "--stats") as process:
        with machines(path) as made:
            made[0].guest.configure("10.0.2.15", 24)
            stream = made[0].guest.connect("10.0.2.100", 7)
            stream.write(b"hello\n")
            until(made, lambda: stream.received == b"olleh\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
        assert process.stderr is not None
        assert "guestfwd_flows" in process.stderr.read()


def test_capture_and_trace_name_the_ports(folder: Path) -> None:
    one, two, capture, trace = (folder / name for name in ("one", "two", "out.pcapng", "trace"))
    named = listening(one).replace("stream,", "stream,id=left,")
    options = [f"--capture={capture}", f"--trace={trace}", "-netdev", "user", "-netdev", named]
    with switch(*options, "-netdev", listening(two)) as process:
        with machines(one, two) as made:
            for number, machine in enumerate(made):
                machine.guest.configure(f"10.0.2.{number + 21}", 24)
            ping = made[0].guest.ping("10.0.2.22")
            until(made, lambda: ping.reply)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM
    data = capture.read_bytes()
    assert b"left" in data
    assert b"stream1" in data
    assert data.count(ping.payload) == 4  # question and answer, each in at one port and out at the other
    lines = [line.split(" ", 1)[1] for line in trace.read_text().splitlines() if "ICMP" in line]
    assert [line[:12].rstrip() for line in lines] == ["left in  IP", "stream1 out", "stream1 in", "left out IP"]


STREAM = (
    "stream,server=on,addr.type=unix,addr.path={folder}/between",
    "stream,addr.type=unix,addr.path={folder}/between,reconnect=1",
)
DGRAM = (
    "dgram,local.type=unix,local.path={folder}/a,remote.type=unix,remote.path={folder}/b",
    "dgram,local.type=unix,local.path={folder}/b,remote.type=unix,remote.path={folder}/a",
)


@pytest.mark.parametrize(("hub", "ends"), [([], STREAM), (["--hub"], STREAM), ([], DGRAM)])
def test_two_switches_joined(folder: Path, hub: list[str], ends: tuple[str, str]) -> None:
    one, two = folder / "one", folder / "two"
    left, right = (end.format(folder=folder) for end in ends)
    with (
        switch(*hub, "-netdev", listening(one), "-netdev", left),
        switch(*hub, "-netdev", listening(two), "-netdev", right, "--stats") as second,
        machines(one, two) as made,
    ):
        for number, machine in enumerate(made):
            machine.guest.configure(f"10.0.2.{number + 1}", 24)
        meet(made)
        second.send_signal(signal.SIGINT)
        assert second.wait(10) == -signal.SIGINT
        assert second.stderr is not None
        assert ("switch_flooded" if hub else "switch_forwarded") in second.stderr.read()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-netdev", "user"], "two ports or more"),
        (["-netdev", "user", "-netdev", "user,net=10.0.3.0/24"], "only one port may be user"),
        (["-netdev", "user,nte=1", "-netdev", "socket,connect=127.0.0.1:1"], "did you mean net"),
        (["-netdev", "user", "-netdev", "strem,a=b"], "did you mean stream"),
        ([], "netdev"),
    ],
)
def test_mistakes_are_reported_in_one_line(arguments: list[str], text: str) -> None:
    argv = [sys.executable, "-m", "slirpy", "switch", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False, env=os.environ)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        ([], {"hub": False, "guard": True, "mtu": 1500}),
        (["--no-guard", "--mtu", "9000"], {"hub": False, "guard": False, "mtu": 9000}),
        (["--hub"], {"hub": True, "guard": True, "mtu": 1500}),
    ],
)
def test_flags_of_the_network(flags: list[str], given: dict[str, object]) -> None:
    arguments = ["-netdev", "user", "-netdev", "tap", *flags]
    with command_of("switch").make_context("switch", arguments) as context:
        assert {name: context.params[name] for name in given} == given
