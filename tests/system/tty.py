"""A terminal, and programs on it."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.user import User


class Terminal:
    """The master's side of a terminal whose session leader is a command."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = 15.0) -> str:
        """Read until ``text`` comes, and return what came up to its end."""
        end = time.monotonic() + seconds
        while text not in self.text:
            ready, _, _ = select.select([self.master], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                pytest.fail(f"{text!r} did not come within {seconds} s; what came: {self.text!r}")
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # EIO: the last process has closed its side
                piece = b""
            if not piece:
                pytest.fail(f"the terminal ended before {text!r}; what came: {self.text!r}")
            self.text += piece.decode()
        cut = self.text.index(text) + len(text)
        seen, self.text = self.text[:cut], self.text[cut:]
        return seen

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@contextmanager
def terminal(user: User, *command: str) -> Iterator[Terminal]:
    master, slave = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        cwd=user.folder,
        env=user.environment(PS1="prompt> ", TERM="dumb"),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    tty = Terminal(master, process)
    with process:
        try:
            yield tty
        finally:
            process.kill()
            if tty.master >= 0:
                os.close(tty.master)


SHELL = ("bash", "--norc", "--noprofile", "-i")
