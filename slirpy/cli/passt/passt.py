"""``slirpy-passt``: a machine with the host's own address, by the command line of passt(1).

QEMU connects by a Unix socket, or starts the program itself and passes a connected socket (``-netdev passt,path=`` of
QEMU 10.1). Frames are those of QEMU's ``stream``: a length of four bytes, then the frame.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NoReturn

from slirpy.cli.passt.arguments import Given
from slirpy.cli.passt.process import (
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
from slirpy.links.endpoint import unix
from slirpy.links.stream import StreamLink

__all__ = ["main", "passt"]

PATHS = 64
"""Number of paths that are tried if none is given."""
_PATIENCE = 3.0
"""Seconds that a predecessor, which QEMU is ending, has to release its process file."""
USAGE = (
    "Usage: slirpy-passt [OPTION]...",
    "",
    "Give a machine of QEMU the addresses of the host. Without -F, wait for QEMU at a",
    "Unix socket, by default the first free one of /tmp/passt_1.socket to",
    f"/tmp/passt_{PATHS}.socket, and go to the background. With QEMU 10.1 or newer,",
    "-netdev passt,path=slirpy-passt starts it.",
    "",
    "Options:",
)
SPECS = (
    "",
    "SPEC is none (the default), all, or ports: 22, 22-80, 22:2222, 192.0.2.1/22,",
    "%eth0/22, 2000-5000,~3000-3010, ~25. It may be repeated.",
)


def main() -> NoReturn:
    """Run the program with the arguments of the process, and exit."""
    run_program(passt)


def passt(arguments: Sequence[str]) -> int:
    """Serve a machine. Returns the exit status.

    Raises:
        SlirpyError: a mistake on the command line, or something that cannot be had.
    """
    given = read_or_show("passt", arguments, USAGE, SPECS)
    if given is None:
        return 0
    _check(given)
    if sys.platform != "linux":
        raise ConfigError("slirpy-passt needs Linux; on other systems use slirpy listen")
    return _Run(given).run()


def _check(given: Given) -> None:
    if given.rest:
        raise ConfigError(f"{given.rest[0]!r}: passt takes options only; slirpy-pasta runs commands")
    if given.has("vhost-user"):
        raise ConfigError(
            "--vhost-user: slirpy does not share memory with machines; leave it out, and frames go by a socket"
        )
    if given.has("repair-path"):
        raise ConfigError("--repair-path is for the migration of machines with --vhost-user; leave it out")
    if given.has("fd") and given.has("socket"):
        raise ConfigError("-F and -s exclude each other: the connection is there, or is still to come")
    check_others(given)


class _Run:
    """One run of the program."""

    def __init__(self, given: Given) -> None:
        from slirpy.cli.passt.forwarding import read_ports
        from slirpy.cli.passt.guest import guest_network

        self._given = given
        self._ports = read_ports(given, machine=True)
        self._user = user_of(given)
        self._network = guest_network(given, machine=True)
        self._ended = False

    def run(self) -> int:
        """Serve until the end. Returns the exit status."""
        from slirpy import Slirp
        from slirpy.cli import serving
        from slirpy.cli.capture import FrameLog
        from slirpy.cli.passt.forwarding import Ports
        from slirpy.cli.passt.services import without_services

        given, network = self._given, self._network
        descriptor = None if (fd := given.last("fd")) is None else inherited_descriptor(*fd)
        with ExitStack() as stack:
            ready = None if given.has("foreground") or given.has("debug") else go_to_background()
            files = _output_files(given, stack)
            link = StreamLink(_connected(*fd, descriptor)) if fd and descriptor is not None else _listen(given)
            stack.callback(link.close)
            if fd is not None or given.has("one-off"):
                link.on_state = self._changed
            self._report(link)
            serving.allow_descriptors()
            serving.keep_heap()
            log = FrameLog(given.text("pcap"), "-" if given.has("trace") else None, stack)
            net = stack.enter_context(Slirp(network.config))
            Ports(net, None, network.addresses, stack).open(self._ports)
            net.attach_link(without_services(log.wrap(link, "guest"), given))
            ending = stack.enter_context(
                serving.Ending(lambda: serving.report([*net.closed_flows(), *net.flows()], net.stats))
            )
            net.watch(ending.fileno(), ending.read)
            files.write()  # by the user to whom the file belongs
            if self._user is not None:
                preload()
                become_user(self._user)
            if ready is not None:
                detach(ready)
            shut_in(given, network.config, stack, files)
            net.poll_until(lambda: self._ended or ending.status is not None)
            if self._ended:
                serving.drain(net)
            if given.has("debug"):
                serving.report([*net.closed_flows(), *net.flows()], net.stats)
            return 0 if self._ended or ending.status is None else ending.status

    def _changed(self, connected: bool) -> None:
        self._ended = self._ended or not connected

    def _report(self, link: StreamLink) -> None:
        from slirpy.cli.streams import write_line

        if self._given.has("quiet"):
            return
        for text in self._network.lines():
            write_line(text)
        if link.address is not None:
            write_line(f"UNIX domain socket bound at {link.address.qemu().rpartition('=')[2]}")
            write_line(f"QEMU: -netdev stream,id=n0,{link.address.qemu()} -device virtio-net-pci,netdev=n0")


def _output_files(given: Given, stack: ExitStack) -> OutputFiles:
    """Open the files to write. QEMU starts the next process with the same file while the one before still ends."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return OutputFiles(given, stack)
        except LinkError:
            if not given.has("fd") or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _connected(typed: str, text: str, descriptor: int) -> socket.socket:
    """The connected socket that the caller has passed on.

    Raises:
        ConfigError: it is no connected stream socket.
    """
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        raise ConfigError(f'{typed} "{text}" is no socket; the caller must pass a connected one') from None
    try:
        sock.getpeername()
        if sock.type != socket.SOCK_STREAM:
            raise ConfigError(
                f'{typed} "{text}" is a socket for datagrams; the caller must pass one for a stream'
            )
    except OSError:
        raise ConfigError(f'{typed} "{text}" is not connected; use -s for a socket to listen on') from None
    return sock


def _listen(given: Given) -> StreamLink:
    """Listen at the path that was given, or at the first free one.

    Raises:
        LinkError: the path is in use, or cannot be had.
    """
    path = given.last("socket")
    if path is not None:
        try:
            return StreamLink.listen(unix(path[1]))
        except (ConfigError, LinkError) as error:
            raise LinkError(f"{path[0]} {path[1]}: {error}") from None
    for number in range(1, PATHS + 1):
        try:
            return StreamLink.listen(unix(f"/tmp/passt_{number}.socket"))
        except LinkError as error:
            last = error
    raise LinkError(
        f"all of /tmp/passt_1.socket to /tmp/passt_{PATHS}.socket are taken ({last}); choose one with -s"
    )
