"""Terminal and signal handling of ``slirpy run``."""

from __future__ import annotations

import os
import signal

from slirpy.cli import linux
from slirpy.cli.init import FORWARDED
from slirpy.cli.sandbox import Sandbox

__all__ = ["Signals", "Terminal"]

_FATAL = set(FORWARDED) - {signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP}


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
        """Read pending signals, and pass them on: those of the terminal to CMD's group, others to CMD."""
        for number, from_terminal in linux.read_origins(self._descriptor):
            sandbox.signal(number, group=from_terminal or number in (signal.SIGTSTP, signal.SIGCONT))

    def suspend(self, number: int) -> bool:
        """Stop slirpy's process group as the kernel would, by ``SIGTSTP``, ``SIGTTIN`` or ``SIGTTOU``.

        Returns when somebody has continued it. Returns False at once if the kernel does not stop it, because no
        shell would notice.
        """
        os.killpg(0, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})  # stops here
        signal.pthread_sigmask(signal.SIG_BLOCK, {number} & set(FORWARDED))
        if signal.SIGCONT not in signal.sigpending():
            return False
        signal.sigtimedwait({signal.SIGCONT}, 0)
        return True


class Terminal:
    """The terminal that slirpy and CMD share. One of them is its foreground job.

    A shell as CMD puts its own jobs in the foreground. It cannot undo this at its end, because our group has no
    number inside its PID namespace. The next process to read the terminal, such as the script that started slirpy,
    would be stopped.
    """

    def __init__(self) -> None:
        self.descriptor = -1
        """Descriptor of the terminal; -1 if there is none."""
        try:
            self.descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:
            pass  # not a terminal
        self._foreground = self._is_foreground()

    def _is_foreground(self) -> bool:
        try:
            return self.descriptor >= 0 and os.tcgetpgrp(self.descriptor) == os.getpgrp()
        except OSError:
            return False  # the terminal is gone

    def at_start(self) -> bool:
        """Report whether CMD should be the foreground job from the start: it alone reads and writes the terminal."""
        return self._foreground and all(map(os.isatty, (0, 1, 2)))

    def stopped(self, sandbox: Sandbox, signals: Signals, number: int) -> None:
        """Handle the signal that has stopped CMD, as a shell does whose job has stopped."""
        if number not in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU) or self.descriptor < 0:
            return
        if number == signal.SIGTSTP or not self._is_foreground():
            if number == signal.SIGTSTP and self._foreground:
                self._take()
            if not signals.suspend(number):
                # Nobody will continue us, nor CMD: end it as the kernel ends stopped jobs without a shell.
                sandbox.signal(signal.SIGHUP, group=True)
                sandbox.signal(signal.SIGCONT, group=True)
                return
        self._foreground = self._is_foreground()
        if self._foreground:
            sandbox.give_terminal()
        else:
            sandbox.signal(signal.SIGCONT, group=True)

    def _take(self) -> None:
        """Become the foreground job."""
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            os.tcsetpgrp(self.descriptor, os.getpgrp())
        except OSError:
            pass  # the terminal is gone
        signal.pthread_sigmask(signal.SIG_SETMASK, old)

    def pass_on(self, number: int) -> None:
        """Send the signal of a key that has ended CMD to the programs around slirpy, which were not in its group."""
        if number in (signal.SIGINT, signal.SIGQUIT) and self.descriptor >= 0:
            os.killpg(0, number)  # blocked here

    def restore(self) -> None:
        """Take the terminal back from a process group that has ended."""
        if self._foreground:
            try:
                os.killpg(os.tcgetpgrp(self.descriptor), 0)
            except ProcessLookupError:
                self._take()
            except OSError:
                pass
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
