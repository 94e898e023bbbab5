"""A service manager that does what systemd does: passes listening sockets, and hears what the service says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.repository import environment

__all__ = ["Manager", "listening"]

# As systemd does after fork: descriptors from 3 on, and the number of the process that the program will have.
_EXEC = """
import os, sys
for target, source in enumerate(map(int, sys.argv[1].split(",") if sys.argv[1] else []), 100):
    os.dup2(source, target)
count = len(sys.argv[1].split(",")) if sys.argv[1] else 0
for index in range(count):
    os.dup2(100 + index, 3 + index)
    os.close(100 + index)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """Starts one service.

    Args:
        folder: for the socket of notifications.
        abstract: whether that socket has an abstract name.
    """

    def __init__(self, folder: Path, *, abstract: bool = False) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.settimeout(20)
        self.name = f"@slirpy-test-{os.getpid()}-{id(self)}" if abstract else str(folder / "notify")
        self.sock.bind("\0" + self.name[1:] if abstract else self.name)
        self.process: subprocess.Popen[str] | None = None

    def start(
        self,
        *argv: str,
        sockets: Mapping[str, socket.socket] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start ``slirpy`` with these arguments, and these listening sockets by their names."""
        passed = dict(sockets or {})
        variables = {"NOTIFY_SOCKET": self.name}
        if passed:
            variables |= {"LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": ":".join(passed)}
        variables |= more or {}
        numbers = [sock.fileno() for sock in passed.values()]
        launch = [sys.executable, "-c", _EXEC, ",".join(map(str, numbers))]
        self.process = subprocess.Popen(
            [*launch, sys.executable, "-m", "slirpy", *argv],
            env=environment() | variables,
            pass_fds=numbers,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def heard(self) -> dict[str, str]:
        """The next notification, its assignments."""
        lines = self.sock.recv(65536).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def expect(self, *names: str) -> list[dict[str, str]]:
        """Wait for notifications with these names, in order; those of other names are passed over."""
        found: list[dict[str, str]] = []
        while len(found) < len(names):
            said = self.heard()
            if names[len(found)] in said:
                found.append(said)
        return found

    def rest(self) -> Sequence[dict[str, str]]:
        """All that has been said and not heard."""
        self.sock.setblocking(False)
        found = []
        try:
            while True:
                found.append(self.heard())
        except BlockingIOError:
            return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()
        if not self.name.startswith("@"):
            os.unlink(self.name)
        if self.process is not None:
            with self.process:
                self.process.kill()


def listening(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening Unix socket."""
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    if kind is socket.SOCK_STREAM:
        sock.listen()
    return sock
