"""``slirpy-pasta``: a network namespace with the host's own addresses and routes, by the command line of pasta(1)."""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from slirpy.cli import main as program
from slirpy.cli.passt.arguments import Given
from slirpy.cli.passt.process import (
    FAILED,
    OutputFiles,
    become_user,
    check_others,
    detach,
    go_to_background,
    inherited_descriptor,
    preload,
    read_or_show,
    run_program,
    shut_in,
    user_of,
)
from slirpy.errors import ConfigError, LinkError

if TYPE_CHECKING:
    from slirpy import Slirp
    from slirpy.cli.passt.inside import Inside
    from slirpy.cli.passt.spawn import Spawned
    from slirpy.interfaces import Link

__all__ = ["main", "pasta"]

_TICK = 1.0
"""Seconds between two looks at the tables of sockets, and at the file of the namespace."""

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
    run_program(pasta)


def pasta(arguments: Sequence[str]) -> int:
    """Serve a namespace. Returns the exit status.

    Raises:
        SlirpyError: a mistake on the command line, or something that cannot be had.
    """
    given = read_or_show("pasta", arguments, USAGE, SPECS)
    if given is None:
        return 0
    if sys.platform != "linux":
        raise ConfigError("slirpy-pasta needs the namespaces of Linux")
    return _Run(given).run()


class _Run:
    """One run of the program."""

    def __init__(self, given: Given) -> None:
        from slirpy.cli.passt.forwarding import read_ports
        from slirpy.cli.passt.guest import guest_network

        self._given = given
        self._target, self._command = _target_of(given)
        self._ports = read_ports(given)
        check_others(given)
        self._user = user_of(given)
        self._network = guest_network(given)
        self._status: int | None = None
        self._quiet = given.has("quiet")

    def run(self) -> int:
        """Serve until the end. Returns the exit status."""
        given = self._given
        with ExitStack() as stack:
            if self._target is not None or given.has("fd"):
                ready = None if given.has("foreground") or given.has("debug") else go_to_background()
                return self._serve_existing(stack, ready)
            from slirpy.cli.passt.spawn import Spawned

            netns_only = given.has("netns-only")
            spawned = stack.enter_context(Spawned(self._command, self._user, netns_only=netns_only))
            return self._serve(stack, str(spawned.pid), spawned=spawned)

    def _serve_existing(self, stack: ExitStack, ready: int | None) -> int:
        descriptor = self._given.last("fd")
        if descriptor is None:
            return self._serve(stack, str(self._target), ready=ready)
        return self._serve(stack, None, ready=ready, link=inherited_descriptor(*descriptor))

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
        files = OutputFiles(given, stack)
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
        from slirpy.cli.passt.services import without_services

        serving.allow_descriptors()
        serving.keep_heap()
        log = FrameLog(given.text("pcap"), "-" if given.has("trace") else None, stack)
        net = stack.enter_context(Slirp(network.config))
        plugged = open_link(inside.tap if inside is not None else link, network.config.mtu, self._end)
        stack.callback(plugged.close)
        if inside is not None:
            inside.configure(network.inside)
            self._join_loopbacks(net, inside)
        ports = Ports(net, inside, network.addresses, stack)
        ports.open(self._ports)
        net.attach_link(without_services(log.wrap(plugged, network.interface), given))
        ending = stack.enter_context(
            serving.Ending(lambda: serving.report([*net.closed_flows(), *net.flows()], net.stats))
        )
        net.watch(ending.fileno(), ending.read)
        self._report()
        files.write()  # by the user to whom the file belongs
        if self._user is not None:
            preload()
            become_user(self._user)
        if process is not None:
            from slirpy.cli.attach.lifetime import watch_process

            watched = watch_process(net, process, self._end)
            if watched is not None:
                stack.callback(os.close, watched)
        if ready is not None:
            detach(ready)
        shut_in(given, network.config, stack, files, signals=() if spawned is None else (spawned.pid,))
        if spawned is not None:
            error = spawned.start()
            if error:
                missing = error == errno.ENOENT or not _is_anywhere(self._command[0])
                why = "not found" if missing else os.strerror(error).lower()
                program.fail(f"{self._command[0]!r}: {why}", FAILED)
            net.watch(spawned.fileno(), lambda _: self._end(spawned.read()))
            for number in (signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_IGN)  # those keys are the command's business
        watcher = None if path is None or given.has("no-netns-quit") else _FileWatch(path)

        def look() -> bool:
            ports.follow()
            return watcher is not None and watcher.gone()

        serve_until(
            net,
            lambda: self._status is not None or ending.status is not None,
            look if ports.follows or watcher is not None else None,
        )
        if spawned is not None:
            net.unwatch(spawned.fileno())
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


class _FileWatch:
    """The file of a namespace, whose removal ends the program."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known = self._look()

    def _look(self) -> tuple[int, int] | None:
        for look in (os.stat, os.lstat):
            try:
                found = look(self._path)
            except PermissionError:
                continue  # a link to the namespace of a process, which a confined one may not look at
            except OSError:
                break
            return found.st_dev, found.st_ino
        return None

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
        raise ConfigError("--userns belongs to an existing namespace; give a PID or --netns")
    if given.has("fd") and rest:
        raise ConfigError(f"-F has its own network card; leave {rest[0]!r} out")
    return None, rest or [os.environ.get("SHELL") or "/bin/sh"]


def serve_until(net: Slirp, over: Callable[[], bool], look: Callable[[], bool] | None) -> None:
    """Serve a network until ``over``, or until ``look``, which is called once a second, returns True."""
    if look is None:
        net.poll_until(over)
        return
    due = 0.0
    while not over():
        if (now := time.monotonic()) >= due:  # the kernel takes milliseconds for a table of sockets
            due = now + _TICK
            if look():
                return
        net.poll(max(due - time.monotonic(), 0.0))


def open_link(descriptor: int | None, mtu: int, ended: Callable[[], object]) -> Link:
    """The link behind a descriptor: a TAP interface, or a socket with frames as QEMU sends them.

    Args:
        descriptor: of the interface or the socket.
        mtu: of the interface.
        ended: called when the interface is gone, or the other end of the socket is closed.
    """
    import socket

    from slirpy.links.stream import StreamLink
    from slirpy.links.tap import TapLink

    assert descriptor is not None
    if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        link = StreamLink(socket.socket(fileno=descriptor))
        link.on_state = lambda connected: None if connected else ended()
        return link
    return TapLink(descriptor, mtu, on_gone=ended)


def _is_anywhere(program: str) -> bool:
    """Report whether a program exists: the system also says EACCES where a folder of PATH may not be searched."""
    folders = [""] if "/" in program else os.environ.get("PATH", os.defpath).split(os.pathsep)
    return any(os.path.exists(os.path.join(folder, program)) for folder in folders)
