"""The outside of ``slirpy run``: creates the namespaces' first process and talks to it (:mod:`slirpy.cli.init`)."""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from slirpy.cli import linux, namespace
from slirpy.cli.channel import Channel, Message, line, whole
from slirpy.cli.init import FORWARDED, Job, explain_namespaces, found, send_job
from slirpy.errors import SlirpyError
from slirpy.sandbox import spawner

__all__ = ["Sandbox", "SandboxError", "prepare"]

_Taker: TypeAlias = Callable[[socket.socket | None], None]

ASKED_MAX = 32
"""Largest number of socket requests at init. Further ones wait here, so that sending never blocks."""


class SandboxError(SlirpyError):
    """The namespaces cannot be created or configured."""


class _Founder:
    """The process that creates the namespaces, once it gets its job; see :mod:`slirpy.cli.init`.

    It ends when this process does, or closes the channel.
    """

    def __init__(self) -> None:
        self.channel, inner = Channel.pair()
        self.pid = os.fork()
        if self.pid == 0:
            self.channel.close()
            found(inner)
        inner.close()


_prepared: _Founder | None = None


def prepare() -> None:
    """Fork the founder of the next :class:`Sandbox`, and a spawner, now, while this process is small.

    Signals that are meant for CMD are blocked in them.
    """
    global _prepared
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
    _prepared = _Founder()
    with suppress(OSError):  # the sandbox of slirpy itself tries again, and names what is missing
        spawner.prepare()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class Sandbox:
    """Namespaces with a TAP interface in them, and CMD.

    Use it as a context manager: at its end every process in the namespaces is dead, and reaped if
    it is a child of slirpy.
    """

    def __init__(self, job: Job, warn: Callable[[str], object]) -> None:
        """Create the namespaces. CMD is not started yet.

        Args:
            job: what to run.
            warn: called with a line about each restriction.

        Raises:
            SandboxError: this system does not allow it; the text says what to do.
        """
        self._warn = warn
        self._asking: deque[tuple[int, socket.SocketKind, _Taker]] = deque()
        self._asked: deque[tuple[int, socket.SocketKind, _Taker]] = deque()
        global _prepared
        linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 1)  # init becomes our child when the founder ends
        founder, _prepared = _prepared or _Founder(), None
        self._channel = founder.channel
        self._child: int | None = founder.pid
        self.missing = ""
        """The parts of the border that this system lacks; usually empty."""
        self.stopped: Callable[[int], object] = lambda _: None
        """Called with the signal that has stopped CMD."""
        self.key = 0
        """The signal that a key of the terminal sent and that ended CMD; otherwise 0."""
        self.tap = -1
        """Descriptor of the TAP interface. The caller must close it."""
        try:
            send_job(self._channel, job)
            self._expect("unshared")
            self._map_ids(founder.pid)
            self._channel.send({"mapped": True})
            init = whole(self._expect("init")[0], "init", 1 << 22)
            os.waitpid(founder.pid, 0)
            self._child = init
            linux.prctl(linux.PR_SET_CHILD_SUBREAPER, 0)  # orphans of other programs are not reaped here
            self._channel.send({"adopted": True})
            descriptor = self._expect("tap")[1]
            if descriptor is None:
                raise SandboxError(
                    "the TAP device was opened but did not arrive: out of descriptors? see `ulimit -n`"
                )
            self.tap = descriptor
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """A descriptor that is readable when :meth:`read` has something to read."""
        return self._channel.fileno()

    def configure(self, settings: namespace.Settings) -> None:
        """Set up addresses, routes and the name server inside.

        Raises:
            SandboxError: the system refused.
        """
        self._channel.send({"settings": settings})
        self._expect("ready")

    @property
    def init(self) -> int:
        """Process id of the first process of the namespaces."""
        assert self._child is not None
        return self._child

    def start(self, *, foreground: bool = False) -> int:
        """Start CMD. Returns 0, or the ``errno`` value that says why that failed.

        Args:
            foreground: make it the foreground job of the terminal.

        Raises:
            SandboxError: CMD cannot be shut in.
        """
        self._channel.send({"start": foreground})
        return whole(self._expect("exec")[0], "exec", 4095)

    def signal(self, number: int, *, group: bool) -> None:
        """Send a signal to CMD, or with ``group`` to its process group."""
        self._channel.send({"signal": number, "group": group})

    def give_terminal(self) -> None:
        """Make CMD the foreground job of the terminal, and continue it."""
        self._channel.send({"terminal": True})

    def open_socket(
        self,
        kind: socket.SocketKind,
        done: _Taker,
        family: int = socket.AF_INET,
    ) -> None:
        """Request a socket of the namespace. :meth:`read` calls ``done`` with it, or with None."""
        if self._child is None:
            done(None)
            return
        self._asking.append((family, kind, done))
        self._ask()

    def _ask(self) -> None:
        while self._asking and len(self._asked) < ASKED_MAX:
            family, kind, done = self._asking.popleft()
            self._asked.append((family, kind, done))
            self._channel.send({"socket": int(kind), "family": int(family)})

    def read(self) -> int | None:
        """Handle messages from inside.

        Returns:
            None, or, if CMD has ended, its status as a shell gives it: 128 + n when signal n killed it.
        """
        received = self._channel.receive()
        if received is None:
            return 128 + signal.SIGKILL  # init was killed, and with it all the others
        message, descriptor = received
        if "exit" in message:
            self.key = whole(message, "key", signal.NSIG)
            return whole(message, "exit", 255)
        if "stopped" in message:
            self.stopped(whole(message, "stopped", signal.NSIG))
        if "socket" in message and self._asked:
            family, kind, done = self._asked.popleft()
            self._ask()
            done(None if descriptor is None else _checked(descriptor, family, kind))
        elif descriptor is not None:
            os.close(descriptor)
        return None

    def close(self) -> None:
        """Kill every process in the namespaces and wait until they are dead. Harmless when repeated."""
        self._channel.close()
        if self._child is None:
            return
        try:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        self._child = None

    def _expect(self, what: str) -> tuple[Message, int | None]:
        while True:
            received = self._channel.receive()
            if received is None:
                raise SandboxError("the first process of the namespaces was killed; was memory short?")
            message, descriptor = received
            if "warning" in message:
                self._warn(line(message, "warning"))
            elif "missing" in message:
                self.missing = line(message, "missing")
            elif what in message:
                return message, descriptor
            else:
                raise SandboxError(line(message, "error"))

    def _map_ids(self, pid: int) -> None:
        """Set the users and groups that exist in the namespaces.

        For root these are all that slirpy has, so that CMD may change to another user; otherwise slirpy's own, as
        root.
        """
        try:
            if os.geteuid() == 0 and self._map_all(pid):
                return
            with open(f"/proc/{pid}/setgroups", "w") as file:
                file.write("deny")  # the kernel requires that before an unprivileged group map
            _write_map(pid, "uid", f"0 {os.geteuid()} 1")
            _write_map(pid, "gid", f"0 {os.getegid()} 1")
        except OSError as error:
            raise SandboxError(explain_namespaces(error)) from None

    @staticmethod
    def _map_all(pid: int) -> bool:
        for kind in ("uid", "gid"):
            with open(f"/proc/self/{kind}_map") as file:
                ranges = [line.split() for line in file]
            try:
                _write_map(pid, kind, "".join(f"{start} {start} {count}\n" for start, _, count in ranges))
            except PermissionError:
                if kind == "gid":
                    raise
                return False
        return True


def _checked(descriptor: int, family: int, kind: socket.SocketKind) -> socket.socket | None:
    """Make a descriptor from inside the socket that it should be, and None of anything else."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None
    if sock.family != family or sock.type != kind or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        return None
    return sock


def _write_map(pid: int, kind: str, text: str) -> None:
    with open(f"/proc/{pid}/{kind}_map", "w") as file:
        file.write(text)
