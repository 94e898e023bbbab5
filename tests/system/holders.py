"""Namespaces that exist before slirpy comes to them, and programs that are attached to them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.system.user import User

__all__ = ["Holder", "Served", "holder", "serve"]

SECONDS = 60


@dataclass(frozen=True)
class Holder:
    """The process that keeps a namespace alive."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """Process id, by which the namespace is named."""
        return self.process.pid

    def command(self, *argv: str) -> list[str]:
        """The command line of a program in the network namespace."""
        users = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", f"--target={self.pid}", "--net", *users, "--", *argv]

    def run(self, *argv: str, check: bool = True) -> str:
        """Run a command in the namespace, and return its output."""
        done = subprocess.run(self.command(*argv), capture_output=True, text=True, timeout=SECONDS, check=False)
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout + ("" if check else done.stderr)

    def interfaces(self) -> set[str]:
        """The names of the interfaces in the namespace."""
        lines = self.run("ip", "-oneline", "link").splitlines()
        return {line.split(": ")[1].partition("@")[0] for line in lines}

    def end(self) -> None:
        """End the namespace."""
        self.process.kill()
        self.process.wait()


@contextmanager
def holder(user: User) -> Iterator[Holder]:
    """A network namespace, in a user namespace of this user's."""
    unshare = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", "echo there; exec sleep 600"]
    process = subprocess.Popen(
        [*user.prefix(), *unshare], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    with process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "there\n"
            yield Holder(process)
        finally:
            process.kill()


@dataclass(frozen=True)
class Served:
    """A program that serves a namespace, or has failed to."""

    process: subprocess.Popen[str]
    exit_fd: int
    """Close it to end the program."""

    def status(self) -> int:
        """Exit status."""
        return self.process.wait(SECONDS)

    def hang_up(self) -> None:
        """Close the other end of the exit descriptor."""
        os.close(self.exit_fd)

    def error(self) -> str:
        """Wait for its end, and return its standard error."""
        self.status()
        assert self.process.stderr is not None
        return self.process.stderr.read()


@contextmanager
def serve(user: User, command: Sequence[str], *options: str, ready: bool = True) -> Iterator[Served]:
    """Start a program that attaches itself, and wait until it is ready.

    Args:
        user: its user.
        command: the program, and words before its options.
        options: its arguments; ``--ready-fd`` and ``--exit-fd`` come before them.
        ready: whether it is expected to become ready.
    """
    ready_read, ready_write = os.pipe()
    exit_read, exit_write = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, ready_read)
        process = subprocess.Popen(
            [*user.prefix(), *command, f"--ready-fd={ready_write}", f"--exit-fd={exit_read}", *options],
            cwd=user.folder,
            env=user.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(ready_write, exit_read),
        )
        os.close(ready_write)
        os.close(exit_read)
        served = Served(process, exit_write)
        with process:
            try:
                told = os.read(ready_read, 16)  # empty if it ends before
                if ready:
                    assert told == b"1", served.error()
                yield served
            finally:
                process.send_signal(signal.SIGKILL)
                try:
                    os.close(exit_write)
                except OSError:
                    pass  # hung up already
