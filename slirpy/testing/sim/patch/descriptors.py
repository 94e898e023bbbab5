"""Calls on descriptors in programs: those of simulated sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import Replacements
from slirpy.testing.sim.socketapi.ends import FIRST_DESCRIPTOR, End, close_descriptor, descriptors
from slirpy.testing.sim.socketapi.pairend import PairEnd
from slirpy.testing.sim.waiting import wait_for

__all__ = ["replace_descriptors"]

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def _for_ends(real: Callable[..., Any], simulated: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that does something else with descriptors of sockets than with those of files."""

    def call(host: Host, fd: Any, *args: Any) -> Any:
        number = fd if isinstance(fd, int) else fd.fileno()
        if number < FIRST_DESCRIPTOR:
            return real(fd, *args)
        return simulated(host, number, *args)

    return call


def _wait(end: End, call: str, attempt: Callable[[], Any]) -> Any:
    try:
        return attempt()
    except BlockingIOError:
        if end.nonblocking:
            raise
    return wait_for(end, call, attempt, None)


def _read(host: Host, fd: int, length: int, /) -> bytes:
    end = descriptors(host.net).find(fd)
    return bytes(_wait(end, "os.read()", lambda: end.receive(length).data))


def _write(host: Host, fd: int, data: Any, /) -> int:
    end = descriptors(host.net).find(fd)
    return int(_wait(end, "os.write()", lambda: end.send([data])))


def _sendfile(host: Host, out_fd: int, in_fd: int, offset: int | None, count: int) -> int:
    end = descriptors(host.net).find(out_fd)
    data = os.read(in_fd, count) if offset is None else os.pread(in_fd, count, offset)
    sent = int(_wait(end, "os.sendfile()", lambda: end.send([data])))
    if offset is None and sent < len(data):
        os.lseek(in_fd, sent - len(data), os.SEEK_CUR)
    return sent


def _get_blocking(host: Host, fd: int, /) -> bool:
    return not descriptors(host.net).find(fd).nonblocking


def _set_blocking(host: Host, fd: int, blocking: bool, /) -> None:
    descriptors(host.net).find(fd).nonblocking = not blocking


def _pipe(host: Host) -> tuple[int, int]:
    table = descriptors(host.net)
    reading, writing = PairEnd.pipe(host)
    return table.add(reading), table.add(writing)


def _fcntl(host: Host, fd: int, command: int, argument: int = 0, /) -> int:
    import fcntl

    end = descriptors(host.net).find(fd)
    if command == fcntl.F_GETFL:
        return os.O_RDWR | (_NONBLOCK if end.nonblocking else 0)
    if command == fcntl.F_SETFL:
        end.nonblocking = bool(argument & _NONBLOCK)
        return 0
    if command == fcntl.F_GETFD:
        return fcntl.FD_CLOEXEC
    if command == fcntl.F_SETFD:
        return 0
    raise escaped(f"fcntl.fcntl() with command {command} is not simulated for sockets; use F_GETFL or F_SETFL")


def replace_descriptors(all_of_it: Replacements) -> None:
    """Replace the calls of ``os`` and ``fcntl`` that programs use on sockets."""
    for name, simulated in (
        ("read", _read),
        ("write", _write),
        ("close", lambda host, fd: close_descriptor(host.net, fd)),
        ("sendfile", _sendfile),
        ("get_blocking", _get_blocking),
        ("set_blocking", _set_blocking),
    ):
        real = getattr(os, name, None)
        if real is not None:
            all_of_it.value("socket", real, _for_ends(real, simulated))
    all_of_it.value("socket", os.pipe, _pipe)
    if sys.platform != "win32":
        import fcntl

        all_of_it.value("socket", fcntl.fcntl, _for_ends(fcntl.fcntl, _fcntl))
