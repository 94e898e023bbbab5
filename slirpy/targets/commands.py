"""A program of the host as the far end of a connection, started as by inetd."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from typing import Any

from slirpy.config.guestfwd import Command
from slirpy.errors import ForwardError
from slirpy.interfaces import FlowRequest
from slirpy.sandbox import spawner
from slirpy.units import SECOND

__all__ = ["PROCESSES", "ProcessWorker", "find_program"]

PROCESSES = 64
"""Maximum number of programs at a time, of all rules together."""
TERM_GRACE = 2 * SECOND
"""Time from SIGTERM to SIGKILL."""
END_GRACE = 10 * SECOND
"""Time that a program may continue after its connection has closed normally."""
_KILL_SECONDS = 1.0
_DEFAULT = tuple(getattr(signal, name) for name in ("SIGPIPE", "SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD")
                 if hasattr(signal, name))  # fmt: skip


def find_program(name: str, what: str) -> str:
    """Return the path of a program; also searches the folders of system programs, which may be missing in ``PATH``.

    Raises:
        ForwardError: there is none, or this system cannot run it as required; ``what`` begins the text.
    """
    import shutil

    if not hasattr(os, "posix_spawn"):
        raise ForwardError(f"{what}: programs at the end of a connection need a Unix system; use tcp:host:port")
    folders = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    path = shutil.which(name, path=folders)
    if path is None:
        why = "is not executable" if os.path.exists(name) else "is not installed, or not in PATH"
        raise ForwardError(f'{what}: the program "{name}" {why}')
    return os.path.abspath(path)


class ProcessWorker:
    """One run of a program; a :class:`~slirpy.targets.localstream.Worker`.

    Standard input and output are the connection. The program has its own process group and default handling of all
    signals. It inherits other descriptors like any program that this process starts: standard error, no sockets.
    """

    __slots__ = (
        "_asked",
        "_command",
        "_flow",
        "_path",
        "_pid",
        "_spawner",
        "_until",
        "broken",
        "failed",
        "tcp",
    )

    def __init__(self, command: Command, path: str, flow: FlowRequest | None = None) -> None:
        self._command = command
        self._flow = flow
        self._path = path
        self._pid: int | None = None
        """Process id of the program, or the number of its job at a spawner."""
        self._spawner: spawner.Spawner | None = None
        self._until: int | None = None
        self._asked = False
        self.tcp = command.tcp
        self.failed = self.broken = False

    def start(self, sock: socket.socket) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.start`."""
        fd = sock.fileno()
        if fd < 2:
            # Our descriptor is closed, and this one has the same number: it would stay close-on-exec.
            raise OSError(errno.EBADF, "standard input or output is closed")
        if spawner.active is not None:
            self._start_elsewhere(spawner.active, sock)
            return
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, fd, 1)]
        if self._command.quiet:
            actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
        # Not subprocess: it would leave signals blocked in the child that are blocked here, as in `slirpy run`.
        self._pid = os.posix_spawn(
            self._path,
            self._command.argv,
            os.environ | self._names(),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULT,
        )
        sock.close()

    def _start_elsewhere(self, other: spawner.Spawner, sock: socket.socket) -> None:
        flow = b""
        if self._flow is not None:
            source, destination = self._flow.source.packed, self._flow.destination.packed
            family = 4 if len(source) == 4 else 6
            flow = spawner.FLOW.pack(
                family, source, self._flow.source_port, destination, self._flow.destination_port
            )
        command = self._command
        self._pid = other.run(other.register(self._path, command.argv, command.quiet), sock, flow)
        self._spawner = other
        sock.close()

    def _names(self) -> dict[str, str]:
        """Describe the connection by the variables of UCSPI, which many programs for inetd use."""
        flow = self._flow
        if flow is None:
            return {}
        return {
            "PROTO": "TCP",
            "TCPREMOTEIP": str(flow.source),
            "TCPREMOTEPORT": str(flow.source_port),
            "TCPLOCALIP": str(flow.destination),
            "TCPLOCALPORT": str(flow.destination_port),
        }

    def hang_up(self, reset: bool, now: int) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.hang_up`."""
        self._until = now if reset else now + END_GRACE
        if reset:
            self.ended(now)

    def ended(self, now: int) -> bool:
        """Report whether the program was reaped. After its grace time it is terminated, then killed."""
        if self._reap():
            return True
        if self._until is not None and now >= self._until:
            self._signal(signal.SIGKILL if self._asked else signal.SIGTERM)
            self._asked = True
            self._until = now + TERM_GRACE
        return False

    def kill(self, until: float) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.kill`."""
        if not self._wait(until):
            self._signal(signal.SIGKILL)
            self._asked = True
            self._wait(time.monotonic() + _KILL_SECONDS)  # bounded: the system may hold the process

    def abandon(self) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.abandon`. The program is the parent's and keeps the socket."""

    def _wait(self, until: float) -> bool:
        while not self._reap():
            if time.monotonic() >= until:
                return False
            time.sleep(0.002)
        return True

    def _reap(self) -> bool:
        if self._pid is None:
            return True
        if self._spawner is not None:
            code = self._spawner.ended(self._pid)
            if code == spawner.RUNNING:
                return False
            self._end(code)
            return True
        try:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
        except ChildProcessError:
            # This process is part of a program that waits for all children, or ignores them.
            pid, status = self._pid, 0
        if not pid:
            return False
        self._end(status)
        return True

    def _end(self, status: int) -> None:
        self._pid = None
        self.broken = status != 0 and not self._asked and not self._command.quiet

    def _signal(self, number: int) -> None:
        if self._pid is None:
            return
        if self._spawner is not None:
            self._spawner.signal(self._pid, number)
        else:
            try:
                os.killpg(self._pid, number)
            except (ProcessLookupError, PermissionError):
                pass
