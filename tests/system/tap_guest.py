"""A guest that is a network namespace with a TAP interface."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from slirpy import Slirp
from tests.system.netns import NetworkNamespace

SECONDS = 60
MACS = [f"52:54:00:00:00:{number:02x}" for number in (10, 11, 12)]
ADDRESSES = ["10.0.2.15", "10.0.2.16", "10.0.2.17"]


class Guest(NetworkNamespace):
    """A network namespace with a TAP interface in it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.address, self.mac = ADDRESSES[number], MACS[number]

    def up(self, mtu: int, offloads: bool) -> None:
        """Set the interface up."""
        self.run("ip", "link", "set", "tap0", "address", self.mac)
        self.set_up(self.address, mtu, offloads)
        self.run("ip", "-6", "address", "add", self.six, "dev", "tap0", "nodad")

    @property
    def six(self) -> str:
        return f"fd00::{self.address.rpartition('.')[2]}/64"

    def fetch(self, url: str) -> bytes:
        """Return the answer of an HTTP server to the namespace."""
        argv = self.command("curl", "-sSf", "--max-time", "50", url)
        return subprocess.run(argv, stdout=subprocess.PIPE, timeout=SECONDS, check=True).stdout

    @contextmanager
    def serving(self, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A program that has printed "ready"."""
        argv = self.command(sys.executable, "-c", script, *arguments)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                yield process
            except BaseException:
                process.kill()
                raise


@contextmanager
def served(net: Slirp) -> Iterator[None]:
    """Let a thread serve a network, which must not fail."""
    stop = False
    errors: list[BaseException] = []

    def serve() -> None:
        try:
            while not stop:
                net.poll(0.05)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop = True
        thread.join()
    assert errors == []
