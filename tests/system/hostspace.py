"""A network namespace that plays the host, and programs that take its addresses and routes into another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.system.user import User

__all__ = ["ADDRESS", "ADDRESS6", "GATEWAY", "SLIRPY_PASTA", "HostSpace", "Shell", "host_space", "interface"]

SECONDS = 60
ADDRESS, GATEWAY, ADDRESS6 = "192.0.2.18", "192.0.2.1", "2001:db8::18"
SLIRPY_PASTA = (sys.executable, "-c", "from slirpy.cli.passt.pasta import main; main()")
_SETUP = f"""
set -e
ip link set lo up
ip link add uplink0 type veth peer name other0
ip link set uplink0 address 02:00:00:00:00:18
ip address add {ADDRESS}/24 dev uplink0
ip address add {ADDRESS6}/64 dev uplink0 nodad
ip link set other0 up
ip link set uplink0 up
ip route add default via {GATEWAY}
ip route add 198.51.100.0/24 via 192.0.2.7
ip -6 route add default via fe80::1 dev uplink0
echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
echo there
exec sleep 600
"""


@dataclass(frozen=True)
class HostSpace:
    """The process that keeps the namespace alive."""

    process: subprocess.Popen[str]
    user: User

    def argv(self, *argv: str) -> list[str]:
        """The command line of a program of the user's in the namespace. Its process is the one that is started."""
        return ["nsenter", f"--target={self.process.pid}", "--net", "--", *self.user.prefix(), *argv]

    def run(self, *argv: str, timeout: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        return subprocess.run(
            self.argv(*argv),
            cwd=self.user.folder,
            env=self.user.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program."""
        return subprocess.Popen(
            self.argv(*argv),
            cwd=self.user.folder,
            env=self.user.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @contextmanager
    def shell(self, program: Sequence[str], *options: str) -> Iterator[Shell]:
        """Run a shell inside, by pasta or its like."""
        with self.start(*program, *options, "--", "sh") as process:
            try:
                yield Shell(process)
            finally:
                process.kill()

    @contextmanager
    def server(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """Run a server of the host's, which says so once it listens."""
        with self.start(*argv) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "listening\n"
                yield process
            finally:
                process.kill()


@dataclass(frozen=True)
class Shell:
    """A shell in the guest's namespace."""

    process: subprocess.Popen[str]

    def run(self, command: str) -> str:
        """Run a command, and return its output and its errors."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{{ {command}\n}} 2>&1; echo; echo END\n")
        lines = []
        while (line := stdout.readline()) not in ("END\n", ""):
            lines.append(line)
        return "".join(lines).strip("\n")

    def json(self, command: str) -> Any:
        """The output of a command, as JSON."""
        return json.loads(self.run(command))

    def end(self, status: int = 0) -> int:
        """End it with a status. Returns the program's."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"exit {status}\n")
        return self.process.wait(SECONDS)


def interface(shell: Shell, name: str) -> tuple[list[str], list[str]]:
    """The global addresses of an interface, and the routes of both families, as text."""
    addresses = [
        f"{each['local']}/{each['prefixlen']}"
        for link in shell.json(f"ip -json address show dev {name}")
        for each in link["addr_info"]
        if each["scope"] == "global"
    ]
    routes = [
        f"{route['dst']} {route.get('gateway', '')} {route['dev']}"
        for family in ("-4", "-6")
        for route in shell.json(f"ip -json {family} route")
        if not route["dst"].startswith("fe80")
    ]
    return sorted(addresses), sorted(routes)


@contextmanager
def host_space(user: User) -> Iterator[HostSpace]:
    """Make one. It takes root."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", _SETUP], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "there\n"
            yield HostSpace(process, user)
        finally:
            os.kill(process.pid, signal.SIGKILL)
