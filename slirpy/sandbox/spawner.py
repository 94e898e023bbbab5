"""A process that starts programs for one that may not: forked before the sandbox, it knows the programs in advance.

The sandboxed process may be under a guest's control. So requests are records of fixed forms, each checked; a request
names a program by its number in a list that was complete before the sandbox, and cannot add arguments; and the number
of running programs is bounded. The sandboxed process cannot ask for anything but these programs, their end, and a few
files, which are opened for reading. Descriptors pass with the messages (``SCM_RIGHTS``).

A request is an operation and two numbers, then data of the operation:

========= ====================== ==============================================================
REGISTER  0, quiet               path and arguments, separated by zero bytes; before SEAL only
SEAL      0, 0
RUN       program, 0             the flow, or nothing; and a socket, which becomes its standard
                                 input and output
ENDED     job, 0
SIGNAL    job, signal            ``SIGTERM`` or ``SIGKILL``
OPEN      file, 0
ALLOW     0, 0                   path of the next file; before SEAL only
========= ====================== ==============================================================

The answer is an ``errno`` value, 0 for success, and a number; that of OPEN comes with a descriptor.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from ipaddress import ip_address
from struct import Struct
from struct import error as struct_error
from typing import Any, NoReturn

from slirpy.errors import ConfigError
from slirpy.sandbox.arguments import paths

__all__ = ["FLOW", "RUNNING", "Spawner", "active", "discard", "prepare", "take", "use"]

FLOW = Struct("<B16sH16sH")
"""Family (4 or 6), source address and port, destination address and port; addresses are padded with zero bytes."""
RUNNING = -1 << 30
"""The status of a program that has not ended."""

_REQUEST = Struct("<BIi")
_ANSWER = Struct("<ii")
_REGISTER, _SEAL, _RUN, _ENDED, _SIGNAL, _OPEN, _ALLOW = range(7)
_LONGEST = 1 << 17
_PROGRAMS_MAX, _FILES_MAX, _JOBS_MAX = 1024, 1024, 128
_SECONDS = 10.0
"""Longest time that an answer may take."""
_IGNORED = (
    "SIGINT",
    "SIGTERM",
    "SIGHUP",
    "SIGQUIT",
    "SIGUSR1",
    "SIGUSR2",
    "SIGALRM",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
)
_DEFAULT = [getattr(signal, name) for name in (*_IGNORED, "SIGPIPE", "SIGCHLD") if hasattr(signal, name)]


class Spawner:
    """A helper process that starts programs for this one, which may not do so once it is confined.

    Args:
        files: paths of files that it may open for reading, on request.

    Raises:
        ConfigError: ``files`` is not a list of paths.
        OSError: the process cannot be started.
    """

    def __init__(self, files: Sequence[str] = ()) -> None:
        known = paths("files", files)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._programs: dict[tuple[str, tuple[str, ...], bool], int] = {}
        self.files: tuple[str, ...] = ()
        between = os.fork()
        if between == 0:
            # Its child becomes nobody's: a program may count its own, or wait for all of them.
            if os.fork() == 0:
                _close_all_but(theirs.fileno())
                _serve(theirs)
            os._exit(0)
        os.waitpid(between, 0)
        theirs.close()
        ours.settimeout(_SECONDS)
        self._sock = ours
        self.allow(known)

    def __repr__(self) -> str:
        return f"<Spawner of {len(getattr(self, '_programs', ()))} programs>"

    def allow(self, files: Sequence[str]) -> None:
        """Let it open further files for reading, on request.

        Raises:
            ConfigError: ``files`` is not a list of paths.
            OSError: ``EPERM`` if the list is complete already.
        """
        for path in paths("files", files):
            self._ask(_ALLOW, data=os.fsencode(path))
            self.files += (path,)

    def register(self, path: str, arguments: Sequence[str], quiet: bool) -> int:
        """Make a program known, and return its number. The same program has the same number.

        Args:
            path: of the program.
            arguments: the first is its name.
            quiet: discard its standard error.

        Raises:
            OSError: ``EPERM`` if the list is complete already.
        """
        key = path, tuple(arguments), quiet
        if key not in self._programs:
            data = b"\0".join(os.fsencode(each) for each in (path, *arguments))
            self._programs[key] = self._ask(_REGISTER, 0, quiet, data)[0]
        return self._programs[key]

    def seal(self) -> None:
        """Complete the lists. From now on no other program can be started, and no other file opened."""
        self._ask(_SEAL)

    def run(self, program: int, sock: socket.socket, flow: bytes = b"") -> int:
        """Start a program, and return the number of the job.

        Args:
            program: its number.
            sock: its standard input and output.
            flow: addresses for its environment, as :data:`FLOW` packs them, or nothing.

        Raises:
            OSError: it cannot be started, or too many run.
        """
        return self._ask(_RUN, program, 0, flow, [sock.fileno()])[0]

    def ended(self, job: int) -> int:
        """Return the exit code of a job as :func:`os.waitstatus_to_exitcode` gives it, or :data:`RUNNING`.

        A job that has been reported once is forgotten, and counts as ended successfully from then on.
        """
        try:
            return self._ask(_ENDED, job)[0]
        except OSError:
            return 0  # the spawner is gone, and it cannot be asked again

    def signal(self, job: int, number: int) -> None:
        """Send ``SIGTERM`` or ``SIGKILL`` to the process group of a job."""
        try:
            self._ask(_SIGNAL, job, number)
        except OSError:
            pass  # it has ended

    def open(self, path: str) -> int:
        """Open one of its files for reading, and return the descriptor.

        Raises:
            OSError: the file cannot be opened, or is not one of them.
        """
        if path not in self.files:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)
        descriptor = self._ask(_OPEN, self.files.index(path))[1]
        if descriptor is None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)
        return descriptor

    def close(self) -> None:
        """End it. Programs that run go on. Harmless when repeated."""
        self._sock.close()

    def _ask(
        self, operation: int, first: int = 0, second: int = 0, data: bytes = b"", sockets: Sequence[int] = ()
    ) -> tuple[int, int | None]:
        socket.send_fds(self._sock, [_REQUEST.pack(operation, first, second) + data], sockets)
        answer, descriptors, _, _ = socket.recv_fds(self._sock, _ANSWER.size, 1)
        if len(answer) != _ANSWER.size:
            raise OSError(errno.EPIPE, "the process that starts programs has ended")
        error, value = _ANSWER.unpack(answer)
        if error:
            raise OSError(error, os.strerror(error))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return value, descriptors[0] if descriptors else None


class _Server:
    """The inside of the other process."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._programs: list[tuple[str, list[str], bool]] = []
        self._sealed = False
        self._jobs: dict[int, int] = {}
        self._next = 1

    def answer(self, request: bytes, descriptors: Sequence[int]) -> tuple[int, int | None]:
        """Carry out a request. Returns a number, and a descriptor to send or None.

        Raises:
            OSError, ValueError, IndexError, KeyError: the request is wrong, or cannot be carried out.
        """
        operation, first, second = _REQUEST.unpack_from(request)
        data = request[_REQUEST.size :]
        if operation == _RUN:
            (sock,) = descriptors
            return self._run(first, sock, data), None
        if operation == _REGISTER:
            return self._register(data, bool(second)), None
        if operation == _ALLOW:
            return self._allow(data), None
        if data or descriptors:
            raise ValueError
        if operation == _SEAL:
            self._seal()
            return 0, None
        if operation == _ENDED:
            return self._ended(first), None
        if operation == _SIGNAL and second in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(self._jobs[first], second)
            return 0, None
        if operation == _OPEN:
            return 0, os.open(self._files[first], os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        raise ValueError

    def _seal(self) -> None:
        """Complete the list. Without programs, this process needs no rights but to read its files."""
        # Imported here because they load ctypes, which programs without a sandbox do not need.
        from slirpy.sandbox import capabilities, seccomp
        from slirpy.sandbox.syscalls import machine

        self._sealed = True
        name = machine()
        if self._programs or name is None:
            return
        for step in (
            capabilities.no_new_privileges,
            capabilities.drop_bounding_set,
            capabilities.drop_capabilities,
            capabilities.not_dumpable,
            partial(seccomp.install, seccomp.self_filter(name, (), ())),
        ):
            with suppress(OSError):  # the other process tells what this system lacks
                step()

    def _register(self, data: bytes, quiet: bool) -> int:
        if self._sealed or len(self._programs) >= _PROGRAMS_MAX:
            raise PermissionError(errno.EPERM, "")
        path, *arguments = map(os.fsdecode, data.split(b"\0"))
        if not arguments:
            raise ValueError
        self._programs.append((path, arguments, quiet))
        return len(self._programs) - 1

    def _allow(self, path: bytes) -> int:
        if self._sealed or len(self._files) >= _FILES_MAX:
            raise PermissionError(errno.EPERM, "")
        self._files.append(os.fsdecode(path))
        return len(self._files) - 1

    def _run(self, program: int, sock: int, flow: bytes) -> int:
        if not stat.S_ISSOCK(os.fstat(sock).st_mode) or len(self._jobs) >= _JOBS_MAX:
            raise OSError(errno.EAGAIN, "")
        path, arguments, quiet = self._programs[program]
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, sock, 0), (os.POSIX_SPAWN_DUP2, sock, 1)]
        if quiet:
            actions.append((os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0))
        pid = os.posix_spawn(
            path,
            arguments,
            os.environ | _variables(flow),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULT,
        )
        number, self._next = self._next, self._next + 1
        self._jobs[number] = pid
        return number

    def _ended(self, job: int) -> int:
        pid, status = os.waitpid(self._jobs[job], os.WNOHANG)
        if not pid:
            return RUNNING
        del self._jobs[job]
        return os.waitstatus_to_exitcode(status)


def _variables(flow: bytes) -> dict[str, str]:
    """Describe the connection by the variables of UCSPI, which many programs for inetd use."""
    if not flow:
        return {}
    try:
        family, source, source_port, destination, port = FLOW.unpack(flow)
    except struct_error:
        raise ValueError from None
    size = {4: 4, 6: 16}[family]
    return {
        "PROTO": "TCP",
        "TCPREMOTEIP": str(ip_address(source[:size])),
        "TCPREMOTEPORT": str(source_port),
        "TCPLOCALIP": str(ip_address(destination[:size])),
        "TCPLOCALPORT": str(port),
    }


def _close_all_but(kept: int) -> None:
    """Close all descriptors from 3 on but one: others wait for the last copy of some to be closed."""
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(sock: socket.socket) -> NoReturn:
    """Answer requests until the other side has ended. Never returns."""
    try:
        for name in _IGNORED:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        server = _Server()
        while True:
            request, descriptors, _, _ = socket.recv_fds(sock, _LONGEST, 4)
            if not request:
                break
            error, value, opened = 0, 0, None
            try:
                value, opened = server.answer(request, descriptors)
            except OSError as problem:
                error = problem.errno or errno.EIO
            except (ValueError, LookupError, struct_error):
                error = errno.EINVAL
            socket.send_fds(sock, [_ANSWER.pack(error, value)], [] if opened is None else [opened])
            for descriptor in (*descriptors, *(() if opened is None else (opened,))):
                os.close(descriptor)
    finally:
        os._exit(0)


active: Spawner | None = None
"""The spawner that starts the programs of this process; None: this process starts them itself."""


def use(spawner: Spawner | None) -> None:
    """Start the programs of this process by a spawner from now on; None: this process starts them itself.

    Raises:
        ConfigError: not a Spawner.
    """
    if spawner is not None and not isinstance(spawner, Spawner):
        raise ConfigError(f"spawner must be a Spawner, or None; given was {spawner!r}")
    global active
    active = spawner


_prepared: Spawner | None = None


def prepare() -> None:
    """Fork the next spawner that :func:`take` returns now, while this process is small.

    Raises:
        OSError: the process cannot be started.
    """
    global _prepared
    _prepared = Spawner()


def take(files: Sequence[str] = ()) -> Spawner:
    """Return the spawner that was prepared, or else a new one.

    Args:
        files: as for :class:`Spawner`.

    Raises:
        ConfigError: ``files`` is not a list of paths.
        OSError: the process cannot be started.
    """
    global _prepared
    spawner, _prepared = _prepared, None
    if spawner is None:
        return Spawner(files)
    spawner.allow(files)
    return spawner


def discard() -> None:
    """End the spawner that was prepared, if no one has taken it."""
    global _prepared
    if _prepared is not None:
        _prepared.close()
    _prepared = None
