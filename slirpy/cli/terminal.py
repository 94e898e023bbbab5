"""Terminal and signal handling of ``slirpy run``."""

from __future__ import annotations

import os
import signal

from slirpy.cli import linux
from slirpy.cli.init import FORWARDED
from slirpy.cli.sandbox import Sandbox

__all__ = ["Signals", "Terminal"]

_FATAL = set(FORWARDED) - {signal.SIGWINCH, signal.SIGCONT}


class Signals:
    """Signals as data: from now on they are blocked, and read from a descriptor."""

    def __init__(self) -> None:
        self.previous_mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        """Signals that were blocked before."""
        self._descriptor = linux.signal_descriptor(FORWARDED)

    def fileno(self) -> int:
        """The descriptor, readable when a signal is pending."""
        return self._descriptor

    def fatal(self) -> int | None:
        """Read pending signals, and return the first that would have ended the program."""
        for number in linux.read_signals(self._descriptor):
            if number in _FATAL and signal.getsignal(number) is not signal.SIG_IGN:
                return number
        return None

    def forward(self, sandbox: Sandbox) -> None:
        """Read pending signals, and report them to the sandbox, which passes on those sent to slirpy alone."""
        for number in linux.read_signals(self._descriptor):
            sandbox.signal(number)


class Terminal:
    """Notes whether slirpy is the terminal's foreground job, so that it can become so again when CMD has ended.

    A shell as CMD creates its own process group and puts that in the foreground. It cannot undo this at its
    end, because our group has no number inside its PID namespace. The next process to read the terminal, such as the
    script that started slirpy, would be stopped.
    """

    def __init__(self) -> None:
        self._descriptor = -1
        try:
            self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            self._foreground = os.tcgetpgrp(self._descriptor) == os.getpgrp()
        except OSError:
            self._foreground = False  # not a terminal

    def restore(self) -> None:
        """Take the terminal back from a process group that has ended."""
        if self._foreground:
            try:
                os.killpg(os.tcgetpgrp(self._descriptor), 0)
            except ProcessLookupError:
                old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
                try:
                    os.tcsetpgrp(self._descriptor, os.getpgrp())
                except OSError:
                    pass  # the terminal is gone
                signal.pthread_sigmask(signal.SIG_SETMASK, old)
            except OSError:
                pass
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
