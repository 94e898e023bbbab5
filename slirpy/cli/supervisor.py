"""The work of init while CMD of ``slirpy run`` runs: see :mod:`slirpy.cli.init`."""

from __future__ import annotations

import os
import select
import signal
import socket

from slirpy.cli import linux
from slirpy.cli.channel import Channel, GoneError

__all__ = ["Supervisor"]

_KEY_SECONDS = 0.05
"""Longest time from the end of CMD until the listener reports which key caused it."""


class Supervisor:
    """Work of init while CMD runs: reap processes that end, and pass on signals."""

    def __init__(
        self, channel: Channel, signals: int, command: int, group: int, terminal: int, keys: int
    ) -> None:
        self._channel = channel
        self._signals = signals
        self._command = command
        self._group = group
        self._terminal = terminal
        self._keys = keys
        self._status: int | None = None
        self._key = 0

    def run(self) -> None:
        """Return when CMD has ended and its status has been reported."""
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        poll.register(self._channel.fileno(), select.POLLIN)
        while self._status is None:
            for ready, _ in poll.poll():
                if ready == self._signals:
                    self._read_signals()
                else:
                    self._obey()
        self._channel.send({"exit": self._status, "key": self._key})

    def _obey(self) -> None:
        """Carry out slirpy's requests."""
        received = self._channel.receive()
        if received is None:
            raise GoneError
        message, _ = received
        if "signal" in message:
            self._forward(message["signal"], message["group"])
        elif "terminal" in message:
            self._give_terminal()
        elif "socket" in message:
            self._open_socket(message["family"], message["socket"])

    def _open_socket(self, family: int, kind: int) -> None:
        """Hand out a socket of this namespace."""
        try:
            with socket.socket(family, kind) as sock:
                self._channel.send({"socket": 0}, sock.fileno())
        except OSError as error:
            self._channel.send({"socket": error.errno})

    def _read_signals(self) -> None:
        linux.read_signals(self._signals)  # all but SIGCHLD are slirpy's business
        self._reap()

    def _reap(self) -> None:
        """Reap all processes that have ended. Keep the status of CMD, in a shell's form, if it is among them."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid != self._command:
                continue
            if os.WIFSTOPPED(wait_status):
                self._channel.send({"stopped": os.WSTOPSIG(wait_status)})
                continue
            code = os.waitstatus_to_exitcode(wait_status)
            self._status = code if code >= 0 else 128 - code
            if self._keys >= 0 and -code in (signal.SIGINT, signal.SIGQUIT):
                heard = select.select([self._keys], [], [], _KEY_SECONDS)[0]
                self._key = -code if heard and -code in os.read(self._keys, 64) else 0

    def _give_terminal(self) -> None:
        try:
            os.tcsetpgrp(self._terminal, self._group)
        except OSError:
            pass  # the terminal, or all of the group, is gone
        self._forward(signal.SIGCONT, group=True)

    def _forward(self, number: int, group: bool) -> None:
        """Pass on a signal to CMD, or to its group; and to CMD in any case, which may have left the group."""
        self._reap()
        if self._status is not None:
            return
        in_group = os.getpgid(self._command) == self._group
        if group:
            try:
                os.killpg(self._group, number)
            except ProcessLookupError:
                pass
        if not (group and in_group):
            os.kill(self._command, number)
