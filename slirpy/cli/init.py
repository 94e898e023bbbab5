"""The inside of ``slirpy run``: the first process of the new namespaces, and CMD.

Three processes begin here. The *founder*, forked from slirpy, creates the namespaces, forks and ends. Its
child is *init*, process 1 of the new PID namespace. When it ends, for whatever reason, the kernel kills all
others in the namespace, and it ends when slirpy does, because it requests that signal. CMD is init's child.

All stay in slirpy's session and process group. So the terminal treats them as one job: Ctrl-C, Ctrl-\\ and
Ctrl-Z reach CMD from the terminal, and a shell as CMD can do job control. Signals that slirpy gets come to
init as messages, and init passes on those that were sent to slirpy alone. It recognises them by not having
received them itself: a signal to the group, from the terminal or a process, reaches init too.

The conversation, over a :class:`~slirpy.cli.channel.Channel`:

===================  ============================================================
from inside          to inside
===================  ============================================================
``unshared``         ``mapped``: user and group ids are
``init`` (its pid)   ``adopted``: the founder is reaped, init is slirpy's child
``tap`` + descriptor ``settings``
``ready``            ``start``
``exec`` (errno, 0)  ``signal`` (number), any number of times
``socket`` (errno)   ``socket`` (kind), any number of times: an IPv4 socket of the
and a descriptor     namespace, answered in order
``exit`` (status)
``error`` (text)     (at any moment up to ``ready``, in place of the others)
===================  ============================================================
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn

from slirpy.cli import linux, namespace
from slirpy.cli.channel import Channel, Message
from slirpy.errors import LinkError

__all__ = ["FORWARDED", "explain_namespaces", "found"]

FORWARDED = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGXCPU,
    signal.SIGPOLL,
    signal.SIGPWR,
    signal.SIGWINCH,
    signal.SIGCONT,
)
"""Signals to slirpy that are meant for CMD. They are blocked in slirpy and in init, and read as data."""

_NAMESPACES = {
    "user": linux.CLONE_NEWUSER,  # first, since it gives the privileges for the others
    "mnt": linux.CLONE_NEWNS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
}
"""Kinds of namespaces, under the names that the kernel's limits use."""
_SAME_SIGNAL_SECONDS = 0.5
_LATE_SIGNAL_SECONDS = 0.005


def found(channel: Channel, command: Sequence[str], mask: Iterable[int]) -> NoReturn:
    """Act as the founder, in a newly forked process. Never returns.

    Args:
        channel: to slirpy.
        command: CMD and its arguments.
        mask: the signals to block in CMD.
    """
    try:
        _found(channel, command, mask)
    except _GoneError:
        pass
    except Exception as error:
        # Report every exception to the other side: nothing would catch it here, in a copy of the program.
        channel.send({"error": str(error) or type(error).__name__})
    finally:
        os._exit(1)  # no reader is left


class _GoneError(Exception):
    """The other side has ended or given up."""


def _expect(channel: Channel, what: str) -> Message:
    received = channel.receive()
    if received is None or what not in received[0]:
        raise _GoneError
    return received[0]


def _found(channel: Channel, command: Sequence[str], mask: Iterable[int]) -> None:
    # Read before the first is made: inside, the limits are others.
    limits = {kind: _sysctl(f"user.max_{kind}_namespaces") for kind in _NAMESPACES}
    for kind, flag in _NAMESPACES.items():  # one at a time, so that an exhausted limit can be named
        try:
            linux.unshare(flag)
        except OSError as error:
            channel.send({"error": explain_namespaces(error, kind, limits[kind])})
            raise _GoneError from None
    channel.send({"unshared": True})
    _expect(channel, "mapped")
    pid = os.fork()
    if pid == 0:
        _init(channel, command, mask)
    else:
        channel.send({"init": pid})


def _init(channel: Channel, command: Sequence[str], mask: Iterable[int]) -> None:
    _expect(channel, "adopted")
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    # If slirpy ended before that call, the next receive reports it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Python's handler would raise in this process and in CMD's.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _set_up(channel)
    channel.send({"ready": True})
    _expect(channel, "start")
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, *FORWARDED))
    signals = linux.signal_descriptor((signal.SIGCHLD, *FORWARDED))
    linux.read_signals(signals)  # earlier ones are slirpy's business
    pid, error = _spawn(command, mask)
    channel.send({"exec": error})
    if error == 0:
        _Supervisor(channel, signals, pid).run()


def _set_up(channel: Channel) -> None:
    from slirpy.links.tap import open_tap

    try:
        namespace.keep_mounts_private()
    except OSError as error:
        channel.send({"error": explain_namespaces(error)})
        raise _GoneError from None
    try:
        descriptor, _ = open_tap(namespace.TAP)
    except LinkError as error:
        channel.send({"error": str(error)})
        raise _GoneError from None
    channel.send({"tap": True}, descriptor)
    os.close(descriptor)
    settings = namespace.Settings(*_expect(channel, "settings")["settings"])
    namespace.set_kernel_parameters(ipv6=any(":" in address for address, _, _ in settings.addresses))
    _in_helper(channel, lambda: namespace.configure_interfaces(settings))
    try:
        warning = namespace.private_mounts(settings.dns, settings.search)
    except OSError as error:
        channel.send({"error": f"cannot replace /etc/resolv.conf in the namespace: {error.strerror}"})
        raise _GoneError from None
    if warning is not None:
        channel.send({"warning": warning})


def _in_helper(channel: Channel, work: Callable[[], None]) -> None:
    """Do ``work`` in a separate process, because init stays, and the imports of ``work`` should not."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except Exception as error:
            # pyroute2 has its own errors, and this copy of the program must not go on with the caller's code.
            why = str(error) or type(error).__name__  # a MemoryError has no text
            channel.send({"error": f"cannot configure the network of the namespace: {why}"})
        finally:
            os._exit(status)
    _, result = os.waitpid(pid, 0)
    if result != 0:
        raise _GoneError


def _spawn(command: Sequence[str], mask: Iterable[int]) -> tuple[int, int]:
    """Start CMD. Returns its process id and 0, or the ``errno`` value that says why it cannot be started."""
    reader, writer = os.pipe()  # both are closed by exec, so success shows as the end of the pipe
    pid = os.fork()
    if pid == 0:
        try:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # Python ignores them, and children inherit that
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execvp(command[0], list(command))
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        except ValueError:  # an empty name
            os.write(writer, str(errno.ENOENT).encode())
        finally:
            os._exit(127)
    os.close(writer)
    failure = os.read(reader, 16)
    os.close(reader)
    return pid, int(failure or b"0")


class _Supervisor:
    """Work of init while CMD runs: reap processes that end, and pass on signals."""

    def __init__(self, channel: Channel, signals: int, command: int) -> None:
        self._channel = channel
        self._signals = signals
        self._command = command
        self._status: int | None = None
        self._own: dict[int, float] = {}
        """Time at which init itself received a signal."""

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
        self._channel.send({"exit": self._status})

    def _obey(self) -> None:
        """Carry out slirpy's requests."""
        received = self._channel.receive()
        if received is None:
            raise _GoneError
        message, _ = received
        if "signal" in message:
            self._forward(message["signal"])
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
        for number in linux.read_signals(self._signals):
            if number == signal.SIGCHLD:
                self._reap()
            else:
                self._own[number] = time.monotonic()

    def _reap(self) -> None:
        """Reap all processes that have ended. Keep the status of CMD, in a shell's form, if it is among them."""
        while True:
            try:
                pid, wait_status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._command:
                code = os.waitstatus_to_exitcode(wait_status)
                self._status = code if code >= 0 else 128 - code

    def _forward(self, number: int) -> None:
        """Pass on a signal that slirpy got, unless CMD got it at the same time as a member of our group."""
        if number not in self._own:  # the kernel signals a group one by one: it may be a moment late
            select.select([self._signals], [], [], _LATE_SIGNAL_SECONDS)
            self._read_signals()
        if self._status is not None:
            return
        got = self._own.pop(number, float("-inf"))
        to_the_group = time.monotonic() - got < _SAME_SIGNAL_SECONDS
        if not (to_the_group and os.getpgid(self._command) == os.getpgrp()):
            os.kill(self._command, number)


def explain_namespaces(error: OSError, kind: str = "user", limit: str | None = None) -> str:
    """Explain in one line why namespaces cannot be created, and which setting allows them.

    Args:
        error: the system's error.
        kind: of the namespace, as named in the kernel's limits.
        limit: how many of them are allowed.
    """
    if limit is not None and error.errno in (errno.ENOSPC, errno.EUSERS):
        name = f"user.max_{kind}_namespaces"
        return (
            f"cannot make {kind} namespaces: {error.strerror}; {name} is {limit}, all in use: allow more"
            f" with `sudo sysctl {name}=10000`"
        )
    settings = (
        ("user.max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
        ("kernel.unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
    )
    for name, forbids, remedy in settings:
        value = _sysctl(name)
        if value == forbids:
            return (
                f"cannot make user namespaces: {error.strerror}; {name} is {value}: allow them with `{remedy}`"
            )
    names = ", ".join(name for name, _, _ in settings)
    return (
        f"cannot make user namespaces: {error.strerror}; the kernel, a container or a security module"
        f" forbids it: see the sysctls {names}, or run slirpy outside the container"
    )


def _sysctl(name: str) -> str | None:
    """The value of a kernel setting, if it exists."""
    try:
        with open("/proc/sys/" + name.replace(".", "/")) as file:
            return file.read().strip()
    except OSError:
        return None
