"""The inside of ``slirpy run``: the first process of the new namespaces, and CMD.

Three processes begin here. The *founder*, forked from slirpy, creates the namespaces, forks and ends. Its
child is *init*, process 1 of the new PID namespace. When it ends, for whatever reason, the kernel kills all
others in the namespace, and it ends when slirpy does, because it requests that signal. CMD is init's child.

The founder is forked before slirpy imports much, and waits for its job: to fork a process takes the longer the more
memory it has, and four forks follow from this one.

CMD enters a second user and mount namespace before it starts (:mod:`slirpy.cli.border`), so init and its mounts
are out of its reach.

All stay in slirpy's session. CMD has its own process group, as the job of a shell has: what it sends to its
group reaches nobody outside. If slirpy is the terminal's foreground job, and reads from and writes to the terminal,
the group of CMD becomes the foreground job. Otherwise it does so when it stops because it needs the terminal
(``SIGTTIN``, ``SIGTTOU``): slirpy may be part of a pipeline whose other end reads the keyboard.
Signals that slirpy gets come to init as messages: those of the terminal are for CMD's group, others for CMD. In the
foreground, a *listener* in CMD's group learns whether Ctrl-C was a key or a signal from CMD. Init cannot be that:
the kernel keeps the number of a group while it has members, and process 1 ends only when all other numbers are free.

The conversation, over a :class:`~slirpy.cli.channel.Channel`:

===================  ============================================================
from inside          to inside
===================  ============================================================
                     ``job`` + descriptor of a file, from which to read it
``unshared``         ``mapped``: user and group ids are
``init`` (its pid)   ``adopted``: the founder is reaped, init is slirpy's child
``tap`` + descriptor ``settings``
``ready``            ``start`` (true: CMD gets the terminal)
``exec`` (errno, 0)  ``signal`` (number) and ``group`` (false: CMD only), any number of times
``stopped`` (signal  ``terminal``: CMD's group becomes the foreground job, and continues
that stopped CMD)
``socket`` (errno)   ``socket`` (kind), any number of times: an IPv4 socket of the
and a descriptor     namespace, answered in order
``exit`` (status)
and ``key`` (signal
that a key sent, 0)
``error`` (text)     (at any moment up to ``ready``, in place of the others)
===================  ============================================================
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TextIO

from slirpy.cli import border, linux, namespace
from slirpy.cli.border import Border
from slirpy.cli.channel import Channel, GoneError, expect
from slirpy.cli.hide import protect_kernel
from slirpy.cli.supervisor import Supervisor
from slirpy.errors import LinkError
from slirpy.links.tuntap import open_tap
from slirpy.records import NamedTuple

__all__ = ["FORWARDED", "Job", "explain_namespaces", "found", "receive_job", "send_job"]

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
    signal.SIGTSTP,
)
"""Signals to slirpy that are meant for CMD. They are blocked in slirpy and in init, and read as data."""

_NAMESPACES = {
    "user": linux.CLONE_NEWUSER,  # first, since it gives the privileges for the others
    "mnt": linux.CLONE_NEWNS,
    "net": linux.CLONE_NEWNET,
    "pid": linux.CLONE_NEWPID,
}
"""Kinds of namespaces, under the names that the kernel's limits use."""
_SOCKETS = "/proc/self/net/unix"


class Job(NamedTuple):
    """A command, and how to run it."""

    command: Sequence[str]
    """CMD and its arguments."""
    mask: Iterable[int]
    """Signals to block in CMD."""
    border: Border
    terminal: bool = False
    """True if there is a controlling terminal."""
    output: bool = True
    """True if CMD has slirpy's standard output; otherwise, its output goes to standard error."""


def send_job(channel: Channel, job: Job) -> None:
    """Send the founder its job. A file carries it, since a command line may be longer than a message.

    Raises:
        OSError: no file can be made.
    """
    border = {name: getattr(job.border, name) for name in job.border.__slots__}
    if border["environment"] is os.environ:
        del border["environment"]  # the founder has the same
    content = job._replace(mask=[*map(int, job.mask)])._asdict() | {"border": border}
    with open(os.memfd_create("job"), "w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        channel.send({"job": True}, file.fileno())


def receive_job(channel: Channel) -> Job:
    """Wait for the job.

    Raises:
        GoneError: slirpy has ended, or needs no founder.
        LinkError: the file did not arrive.
    """
    received = channel.receive()
    if received is None:
        raise GoneError
    if received[1] is None:
        raise LinkError("the job did not arrive: out of descriptors? see `ulimit -n`")
    os.lseek(received[1], 0, os.SEEK_SET)
    with open(received[1], encoding="utf-8") as file:
        content = json.load(file)
    border: dict[str, Any] = {
        name: tuple(value) if type(value) is list else value for name, value in content["border"].items()
    }
    return Job(**content | {"border": Border(**border)})


def found(channel: Channel) -> NoReturn:
    """Act as the founder, in a newly forked process. Never returns.

    Args:
        channel: to slirpy.
    """
    try:
        _found(channel, receive_job(channel))
    except GoneError:
        pass
    except Exception as error:
        # Report every exception to the other side: nothing would catch it here, in a copy of the program.
        channel.send({"error": str(error) or type(error).__name__})
    finally:
        os._exit(1)  # no reader is left


def _found(channel: Channel, job: Job) -> None:
    if not job.output:
        os.dup2(2, 1)
    terminal = _open_terminal() if job.terminal else -1
    sockets = _open_sockets() if job.border.closed else None
    # Read before the first is made: inside, the limits are others.
    limits = {kind: _sysctl(f"user.max_{kind}_namespaces") for kind in _NAMESPACES}
    for kind, flag in _NAMESPACES.items():  # one at a time, so that an exhausted limit can be named
        try:
            linux.unshare(flag)
        except OSError as error:
            channel.send({"error": explain_namespaces(error, kind, limits[kind])})
            raise GoneError from None
    channel.send({"unshared": True})
    expect(channel, "mapped")
    pid = os.fork()
    if pid == 0:
        _init(channel, job, sockets, terminal)
    else:
        channel.send({"init": pid})


def _open_terminal() -> int:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1  # it has gone


def _open_sockets() -> TextIO | None:
    """The list of the host's Unix sockets, which can be read later, from another network namespace."""
    try:
        return open(_SOCKETS, encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None


def _init(channel: Channel, job: Job, sockets: TextIO | None, terminal: int) -> None:
    expect(channel, "adopted")
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    # If slirpy ended before that call, the next receive reports it.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Python's handler would raise in this process and in CMD's.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    without_suid = _set_up(channel, job.border, sockets or ())
    channel.send({"ready": True})
    foreground = bool(expect(channel, "start")["start"])
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD, signal.SIGTTOU, *FORWARDED))
    signals = linux.signal_descriptor((signal.SIGCHLD, *FORWARDED))
    linux.read_signals(signals)  # earlier ones are slirpy's business
    group, keys = _lead(signals)
    pid = _spawn(channel, job, group, terminal if foreground else -1, bounded=without_suid)
    if not foreground:
        os.kill(group, signal.SIGKILL)  # the group lives on; _reap() takes its leader
    if pid is not None:
        Supervisor(channel, signals, pid, group, terminal, keys if foreground else -1).run()


def _set_up(channel: Channel, border: Border, sockets: Iterable[str]) -> bool:
    """Set up the namespaces. Returns whether the kernel ignores rights that a program's file gives to it."""
    try:
        namespace.keep_mounts_private()
    except OSError as error:
        channel.send({"error": explain_namespaces(error)})
        raise GoneError from None
    try:
        descriptor, _ = open_tap(namespace.TAP)
    except LinkError as error:
        channel.send({"error": str(error)})
        raise GoneError from None
    channel.send({"tap": True}, descriptor)
    os.close(descriptor)
    settings = namespace.Settings(*expect(channel, "settings")["settings"])
    namespace.set_kernel_parameters()
    namespace.set_ipv6_parameters(settings.tap, ipv6=any(":" in each[0] for each in settings.addresses))
    try:
        namespace.configure_interfaces(settings)
    except OSError as error:
        channel.send({"error": f"cannot configure the network of the namespace: {error.strerror}"})
        raise GoneError from None
    try:
        warning = namespace.private_mounts(settings.dns, settings.search, border, sockets)
        without_suid = not border.privileged and _lock()
    except OSError as error:
        channel.send(
            {"error": f"cannot replace files in the namespace: {error.filename or ''} {error.strerror}"}
        )
        raise GoneError from None
    if warning is not None:
        channel.send({"warning": warning})
    return without_suid


def _lock() -> bool:
    """Take from the mounts what CMD could use against the host. Returns False if the kernel is too old for a part."""
    complete = True
    try:
        linux.set_mount_flags("/")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        complete = False
    if os.stat("/proc/sys/kernel").st_uid == 0:  # user 0 outside is user 0 here, so slirpy was started by root
        protect_kernel()
    return complete


def _lead(signals: int) -> tuple[int, int]:
    """Start the leader of CMD's group, which is also the listener: a leader could not begin a session, as CMD may.

    Returns its process id, and a pipe from which to read the signals that keys sent to the group.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                select.select([signals], [], [])
                keys = [number for number, from_terminal in linux.read_origins(signals) if from_terminal]
                os.write(writer, bytes(keys))
        finally:
            os._exit(0)
    os.setpgid(pid, pid)
    os.close(writer)
    return pid, reader


def _spawn(channel: Channel, job: Job, group: int, terminal: int, *, bounded: bool) -> int | None:
    """Start CMD in a process group, and report whether that was possible. Returns its process id, or None.

    ``terminal`` is the descriptor of a terminal whose foreground job it becomes, or -1.
    """
    inner, ours = Channel.pair()  # close-on-exec: success shows as the end of the conversation
    pid = os.fork()
    if pid == 0:
        ours.close()
        _become(inner, job, group, terminal, bounded=bounded)
    inner.close()
    while (received := ours.receive()) is not None:
        message = received[0]
        if "unshared" in message:
            ours.send({"mapped": _map_all(pid)})
        elif "missing" in message:
            channel.send(message)
        else:
            channel.send(message)
            return None
    channel.send({"exec": 0})
    return pid


def _map_all(pid: int) -> bool:
    """Map all users and groups of this namespace to themselves in that of ``pid``. Returns False if there is one."""
    try:
        for kind in ("uid", "gid"):
            with open(f"/proc/self/{kind}_map") as file:
                ranges = [line.split() for line in file]
            if len(ranges) == 1 and ranges[0][2] == "1":
                return False
            with open(f"/proc/{pid}/{kind}_map", "w") as file:
                file.write("".join(f"{start} {start} {count}\n" for start, _, count in ranges))
    except OSError:
        return False  # no /proc of our own, in a container
    return True


def _become(channel: Channel, job: Job, group: int, terminal: int, *, bounded: bool) -> NoReturn:
    """Become CMD. Reports why that failed."""
    try:
        os.setpgid(0, group)
        if terminal >= 0:
            try:
                os.tcsetpgrp(terminal, group)
            except OSError:
                pass  # not its controlling terminal
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)  # Python ignores them, and children inherit that
        if job.border.hides():
            _enter_folder_again()
        linux.close_on_exec(job.border.descriptors)
        mapped = False
        if not job.border.privileged:
            border.enter_namespaces()
            channel.send({"unshared": True})
            mapped = bool(expect(channel, "mapped")["mapped"])
        missing = border.shut_in(job.border, mapped, bounded)
        if missing:
            channel.send({"missing": missing})
    except Exception as error:
        # As in found(): this copy of the program must not go on.
        why = error.strerror if isinstance(error, OSError) else str(error)
        what = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
        channel.send(
            {"error": f"cannot shut the command in: {what}{why}; --privileged runs it without a border"}
        )
        os._exit(127)
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, job.mask)
        os.execvpe(job.command[0], list(job.command), job.border.variables())
    except OSError as error:
        channel.send({"exec": error.errno})
    except ValueError:  # an empty name
        channel.send({"exec": errno.ENOENT})
    finally:
        os._exit(127)


def _enter_folder_again() -> None:
    """Enter the current folder by its name: the one that the process is in may be hidden by now."""
    try:
        os.chdir(os.getcwd())
    except OSError:
        os.chdir("/")


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
