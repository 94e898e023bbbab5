"""``slirpy listen`` in a process of its own, and the card of a guest that it serves."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys

from tests.support.repository import environment


class Listening:
    """``slirpy listen`` in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "slirpy", "listen", *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.card = shlex.split(self._process.stdout.readline())
        """QEMU's arguments, as printed."""
        self.forward = 0
        if "--hostfwd" in arguments:
            assert self._process.stderr is not None
            line = self._process.stderr.readline()
            self.forward = int(re.findall(r":(\d+) ->", line)[0])

    def end(self) -> str:
        """End it as Ctrl-C does, and return what is left of its standard error."""
        self._process.send_signal(signal.SIGINT)
        _, errors = self._process.communicate(timeout=20)
        assert self._process.returncode == -signal.SIGINT, errors
        return errors

    def __enter__(self) -> Listening:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


CARD = ["-device", "virtio-net-pci,netdev=n"]
