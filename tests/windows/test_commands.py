"""The commands that need no Linux, started as programs; also on a Windows Python under Wine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.repository import REPOSITORY, environment

SLIRPY = (sys.executable, "-m", "slirpy")
SECONDS = 240
"""Wine starts a Python in many seconds beside other tests."""
MAC = bytes.fromhex("525400123456")
ARP = (  # who has 10.0.2.2?
    b"\xff" * 6
    + MAC
    + bytes.fromhex("08060001080006040001")
    + MAC
    + bytes((10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2))
)


def run(*arguments: str) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(
        [*SLIRPY, *arguments],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@contextmanager
def started(*arguments: str) -> Iterator[str]:
    """Start a command that serves, and give the first line that it writes."""
    with subprocess.Popen(
        [*SLIRPY, *arguments],
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
            assert process.poll() is None
        finally:
            process.kill()


def gateway_answers(port: int) -> None:
    """Be a guest of QEMU's: ask for the gateway's address."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as guest, guest.makefile("rb") as file:
        guest.sendall(len(ARP).to_bytes(4, "big") + ARP)
        while True:
            frame = file.read(int.from_bytes(file.read(4), "big"))
            assert frame
            if frame[:6] == MAC and frame[12:14] == b"\x08\x06":
                assert frame[28:32] == bytes((10, 0, 2, 2))
                return


def test_demo() -> None:
    steps = run("demo", "--size", "1")
    assert "check sha256" in steps
    assert "done" in steps


def test_packetdrill() -> None:
    assert "limited-transmit.pkt" in run("packetdrill", "tests/packetdrill/rfc3042/limited-transmit.pkt")


def test_listen() -> None:
    with started("listen", "tcp:127.0.0.1:0") as line:
        assert line.startswith("-netdev stream,")
        gateway_answers(int(line.split("addr.port=")[1].split()[0]))


def test_switch() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    place = f"stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={port}"
    with started("switch", "-netdev", "user", "-netdev", place) as line:
        assert line == "slirpy: 2 ports are joined\n"
        gateway_answers(port)
