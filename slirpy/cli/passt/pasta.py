"""``slirpy-pasta``: a network namespace with the host's own addresses and routes, by the command line of pasta(1)."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from slirpy.cli import main as program
from slirpy.errors import ConfigError, LinkError

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.cli.passt.arguments import Given
    from slirpy.cli.passt.inside import Inside
    from slirpy.cli.passt.spawn import Spawned
    from slirpy.interfaces import Link

__all__ = ["main", "pasta"]

_FAILED = 1
"""Exit status of every failure, as with pasta."""
_TICK = 1.0
"""Seconds between two looks at the tables of sockets, and at the file of the namespace."""

_COLUMN = 32
"""Column of the descriptions in ``--help``."""
USAGE = (
    "Usage: slirpy-pasta [OPTION]... [COMMAND [ARG]...]",
    "       slirpy-pasta [OPTION]... PID",
    "       slirpy-pasta [OPTION]... --netns PATH|NAME",
    "",
    "Give a network namespace the addresses and routes of the host. Without PID or",
    "--netns, run COMMAND, by default a shell, in new namespaces. With them, go to",
    "the background once the network is there.",
    "",
    "Options:",
)
SPECS = (
    "",
    "SPEC is none, auto (the default: follow the listeners of the other side), all,",
    "or ports: 22, 22-80, 22:2222, 192.0.2.1/22, %eth0/22, 2000-5000,~3000-3010,",
    "~25. It may be repeated.",
)


def main() -> NoReturn:
    """Run the program with the arguments of the process, and exit."""
    program.run(partial(_checked, sys.argv[1:]))


def _checked(arguments: Sequence[str]) -> int:
    from slirpy.errors import SlirpyError

    try:
        return pasta(arguments)
    except SlirpyError as error:
        program.fail(str(error), _FAILED)


def pasta(arguments: Sequence[str]) -> int:
    """Run the program. Returns the exit status.

    Raises:
        SlirpyError: a mistake on the command line, or something that cannot be had.
    """
    from slirpy.cli.passt.arguments import read_arguments

    given = read_arguments("pasta", arguments)
    if given.has("help"):
        print(_help())
        return 0
    if given.has("version"):
        from slirpy._version import __version__

        print(f"slirpy-pasta {__version__}")
        return 0
    if sys.platform != "linux":
        raise ConfigError("slirpy-pasta needs the namespaces of Linux")
    return _Run(given).run()


def _help() -> str:
    from textwrap import wrap

    from slirpy.cli.passt.arguments import OPTIONS

    lines = []
    for row in OPTIONS:
        if "pasta" in row.programs.split():
            flags = f"{f'-{row.short}, ' if row.short else '    '}--{row.long} {row.value}"
            lines += wrap(
                row.help, 79, initial_indent=f"  {flags:<{_COLUMN - 2}}", subsequent_indent=_COLUMN * " "
            )
    return "\n".join((*USAGE, *lines, *SPECS))


class _Run:
    """One run of the program."""

    def __init__(self, given: Given) -> None:
        from slirpy.cli.passt.forwarding import read_ports
        from slirpy.cli.passt.guest import guest_network

        self._given = given
        self._target, self._command = _target_of(given)
        self._ports = read_ports(given)
        _check_others(given)
        self._user = _user_of(given)
        self._network = guest_network(given)
        self._status: int | None = None
        self._quiet = given.has("quiet")

    def run(self) -> int:
        """Serve until the end. Returns the exit status."""
        given = self._given
        with ExitStack() as stack:
            if self._target is not None or given.has("fd"):
                ready = None if given.has("foreground") or given.has("debug") else _background()
                return self._serve_existing(stack, ready)
            from slirpy.cli.passt.spawn import Spawned

            netns_only = given.has("netns-only")
            spawned = stack.enter_context(Spawned(self._command, self._user, netns_only=netns_only))
            return self._serve(stack, str(spawned.pid), spawned=spawned)

    def _serve_existing(self, stack: ExitStack, ready: int | None) -> int:
        descriptor = self._given.last("fd")
        if descriptor is None:
            return self._serve(stack, str(self._target), ready=ready)
        return self._serve(stack, None, ready=ready, link=_descriptor(*descriptor))

    def _serve(
        self,
        stack: ExitStack,
        target: str | None,
        *,
        spawned: Spawned | None = None,
        ready: int | None = None,
        link: int | None = None,
    ) -> int:
        """Serve a namespace, or a link that the caller has opened."""
        given, network = self._given, self._network
        files = _Files(given, stack)
        inside, process, path = None, None, None
        if target is not None:
            from slirpy.cli.attach.target import NAMED, find_namespaces, same_namespace
            from slirpy.cli.passt.inside import Inside

            by_name = given.has("netns")
            namespaces = find_namespaces(
                target if not by_name or "/" in target else f"{NAMED}/{target}",
                userns_path=given.text("userns"),
                netns_only=given.has("netns-only"),
            )
            stack.callback(namespaces.close)
            if same_namespace(namespaces.net, "net"):
                raise LinkError(f"{target} is in the network namespace of slirpy-pasta itself; name another")
            process = None if spawned is not None else namespaces.process
            if process is None and spawned is None:
                path = target if "/" in target else f"{NAMED}/{target}"
            inside = stack.enter_context(Inside(namespaces, network.interface))
        from slirpy import Slirp
        from slirpy.cli import serving
        from slirpy.cli.capture import FrameLog
        from slirpy.cli.passt.forwarding import Ports
        from slirpy.cli.passt.services import ServiceFilter

        serving.allow_descriptors()
        serving.keep_heap()
        log = FrameLog(given.text("pcap"), "-" if given.has("trace") else None, stack)
        net = stack.enter_context(Slirp(network.config))
        plugged = _link(inside.tap if inside is not None else link, network.config.mtu, self._end)
        stack.callback(plugged.close)
        if inside is not None:
            inside.configure(network.inside)
            self._join_loopbacks(net, inside)
        ports = Ports(net, inside, network.addresses, stack)
        ports.open(self._ports)
        off = [name for name in ("no-dhcp", "no-dhcpv6", "no-ndp", "no-ra") if given.has(name)]
        logged = log.wrap(plugged, network.interface)
        net.attach_link(ServiceFilter(logged, off) if off else logged)
        ending = stack.enter_context(
            serving.Ending(lambda: serving.report([*net.closed_flows(), *net.flows()], net.stats))
        )
        net.watch(ending.fileno(), ending.read)
        self._report()
        if self._user is not None:
            _preload()
            _become(self._user)
        if spawned is not None:
            error = spawned.start()
            if error:
                why = "not found" if error == errno.ENOENT else os.strerror(error).lower()
                program.fail(f"{self._command[0]!r}: {why}", _FAILED)
            net.watch(spawned.fileno(), lambda _: self._end(spawned.read()))
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)  # those keys are the command's business
        if process is not None:
            from slirpy.cli.attach.lifetime import watch_process

            watched = watch_process(net, process, self._end)
            if watched is not None:
                stack.callback(os.close, watched)
        files.write()
        if ready is not None:
            _detach(ready)
        watcher = None if path is None or given.has("no-netns-quit") else _FileWatch(path)
        while self._status is None and ending.status is None:
            if ports.follows:
                ports.follow()
            if watcher is not None and watcher.gone():
                break
            net.poll(_TICK if ports.follows or watcher is not None else None)
        if spawned is not None:
            spawned.close()  # ends what the command has left, and with it its connections
            serving.drain(net)
        if given.has("debug"):
            serving.report([*net.closed_flows(), *net.flows()], net.stats)
        return ending.status if self._status is None and ending.status is not None else self._status or 0

    def _join_loopbacks(self, net: Slirp, inside: Inside) -> None:
        import socket

        def ready(descriptor: int) -> None:
            if not inside.read():
                net.unwatch(descriptor)
                self._end()

        net.watch(inside.fileno(), ready)
        if self._given.has("no-splice"):
            return
        for version, address in self._network.addresses.items():
            family = socket.AF_INET if version == 4 else socket.AF_INET6
            net.reach_guest_loopback(address, partial(inside.open_socket, family=family), local=True)

    def _report(self) -> None:
        from slirpy.cli.streams import write_line

        if not self._quiet:
            for text in self._network.lines():
                write_line(text)

    def _end(self, status: int = 0) -> None:
        if self._status is None:
            self._status = status


class _Files:
    """The files that the program writes."""

    def __init__(self, given: Given, stack: ExitStack) -> None:
        from slirpy.cli.pidfile import PidFile

        pid = given.last("pid")
        self._pid = None if pid is None else stack.enter_context(PidFile(*pid))
        log = given.last("log-file")
        if log is not None:
            try:
                descriptor = os.open(log[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                raise ConfigError(f'{log[0]} "{log[1]}": cannot be written: {why}') from None
            os.dup2(descriptor, 2)
            os.close(descriptor)

    def write(self) -> None:
        """Write the process id."""
        if self._pid is not None:
            self._pid.write()


class _FileWatch:
    """The file of a namespace, whose removal ends the program."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = self._look()

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def gone(self) -> bool:
        """Report whether the file is another one now, or none."""
        return self._look() != self._known


def _target_of(given: Given) -> tuple[str | None, list[str]]:
    """The namespace to join, and the command to run.

    Raises:
        ConfigError: the words exclude each other.
    """
    rest = given.rest
    netns = given.text("netns")
    if netns is not None:
        if rest:
            raise ConfigError(f"--netns names the namespace already; leave {rest[0]!r} out")
        return netns, []
    if len(rest) == 1 and rest[0].isascii() and rest[0].isdigit():
        if given.has("fd"):
            raise ConfigError("-F has its own network card; leave the PID out")
        return rest[0], []
    if given.has("userns"):
        raise ConfigError("--userns belongs to a namespace that exists; give a PID or --netns")
    if given.has("fd") and rest:
        raise ConfigError(f"-F has its own network card; leave {rest[0]!r} out")
    return None, rest or [os.environ.get("SHELL") or "/bin/sh"]


def _check_others(given: Given) -> None:
    for option in ("log-size", "stats"):
        last = given.last(option)
        if last is not None and not (last[1].isascii() and last[1].isdigit() and int(last[1])):
            raise ConfigError(f'{last[0]} "{last[1]}" is not a positive number')
    if given.has("quiet") and given.has("debug"):
        raise ConfigError("-q and -d exclude each other; leave one out")
    if given.has("userns") and given.has("netns-only"):
        raise ConfigError("--userns and --netns-only exclude each other; leave one out")


def _user_of(given: Given) -> tuple[int, int] | None:
    """The user to become; None: stay.

    Raises:
        ConfigError: there is no such user, or this one may not become it.
    """
    import grp
    import pwd

    last = given.last("runas")
    if last is None:
        if os.geteuid() != 0 or given.has("netns-only"):
            return None
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            return 65534, 65534
        return nobody.pw_uid, nobody.pw_gid
    typed, text = last
    name, colon, group = text.partition(":")
    try:
        if name.isascii() and name.isdigit():
            user, own = int(name), int(name)
        else:
            entry = pwd.getpwnam(name)
            user, own = entry.pw_uid, entry.pw_gid
        if colon:
            own = int(group) if group.isascii() and group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f'{typed} "{text}": there is no such user or group') from None
    if os.geteuid() != 0 and (user, own) != (os.geteuid(), os.getegid()):
        raise ConfigError(f'{typed} "{text}": only root becomes another user; leave it out')
    return (user, own) if os.geteuid() == 0 else None


def _become(user: tuple[int, int]) -> None:
    from slirpy.cli.passt.spawn import become

    become(user)


def _preload() -> None:
    """Import what is imported late otherwise: another user may not be allowed to read it."""
    import slirpy.cli.tables
    import slirpy.nat.introduced  # noqa: F401


def _descriptor(typed: str, text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else -1
    try:
        os.fstat(number)
    except OSError:
        raise ConfigError(f'{typed} "{text}" is no open descriptor; the caller must pass it on') from None
    os.set_inheritable(number, False)
    return number


def _link(descriptor: int | None, mtu: int, ended: Callable[[], object]) -> Link:
    """The link behind a descriptor: a TAP interface, or a socket with frames as QEMU sends them."""
    import socket

    from slirpy.links.stream import StreamLink
    from slirpy.links.tap import TapLink

    assert descriptor is not None
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return StreamLink(socket.socket(fileno=descriptor))
    return TapLink(descriptor, mtu, on_gone=ended)


def _background() -> int:
    """Go on in a child. The parent waits until the child is ready or has ended, and exits then.

    Returns:
        The descriptor by which the child says that it is ready.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        return writer
    os.close(writer)
    if os.read(reader, 1):
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _detach(ready: int) -> None:
    """Leave the session and the standard streams of the caller, and let it go on."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.close(null)
    os.write(ready, b"1")
    os.close(ready)
