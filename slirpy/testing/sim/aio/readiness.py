"""Readers and writers of sockets in an event loop in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from slirpy.testing.sim.aio.bases import LoopBase
from slirpy.testing.sim.aio.handles import SimHandle
from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.socketapi import End, SimSocket, descriptors

__all__ = ["Readiness", "simulated"]

_MAKE = "make sockets in a program, with socket.socket()"
_CALLS = (
    "sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
    "sock_sendall", "sock_sendfile", "sock_sendto",
)  # fmt: skip
"""Calls of asyncio on a socket, their first argument."""


class _Watch:
    """A handle that runs whenever a socket is ready, as long as it is."""

    def __init__(self, scheduler: Scheduler, end: End, ready: Callable[[], bool], handle: SimHandle) -> None:
        self.handle = handle
        self._scheduler = scheduler
        self._end = end
        self._ready = ready
        self._waiting = False
        end.watch(self._changed)
        self._changed()

    def _changed(self) -> None:
        if not self._waiting and self._ready():
            self._waiting = True
            self._scheduler.soon(self.handle.processor, self._run)

    def _run(self) -> None:
        self._waiting = False
        program = self.handle.program
        if self._ready() and not (program is not None and program.over):
            self.handle._run()
            self._changed()

    def cancel(self) -> None:
        self.handle.cancel()
        self._ready = _never
        self._end.unwatch(self._changed)


def _never() -> bool:
    return False


def simulated(sock: Any) -> SimSocket:
    """Return a socket that is simulated.

    Raises:
        EscapeError: it is not; nothing has happened to it.
    """
    if not isinstance(sock, SimSocket):
        raise escaped(f"{sock!r} is not a socket of a simulated host; {_MAKE}")
    return sock


class Readiness(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """The part of the loop that watches sockets: ``add_reader``, ``add_writer``, and the ``sock_`` calls on them."""

    scheduler: Scheduler

    def _watches(self, kind: str) -> dict[int, _Watch]:
        found: dict[int, _Watch] = self.__dict__.setdefault(f"_{kind}_watches", {})
        return found

    def _add(self, kind: str, fd: Any, callback: Callable[..., object], args: tuple[Any, ...]) -> SimHandle:
        self._check_closed()
        number = fd if isinstance(fd, int) else fd.fileno()
        table = descriptors(self.net)
        if number not in table.ends:
            raise escaped(f"descriptor {number} is not a socket of a simulated host; {_MAKE}")
        end = table.find(number)
        handle: SimHandle = SimHandle(callback, args, self, None)
        self._remove(kind, number)
        ready = end.can_read if kind == "read" else end.can_write
        self._watches(kind)[number] = _Watch(self.scheduler, end, ready, handle)
        return handle

    def _remove(self, kind: str, fd: Any) -> bool:
        number = fd if isinstance(fd, int) else fd.fileno()
        watch = self._watches(kind).pop(number, None)
        if watch is None:
            return False
        watch.cancel()
        return True

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> SimHandle:
        return self._add("read", fd, callback, args)

    def _remove_reader(self, fd: Any) -> bool:
        return self._remove("read", fd)

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> SimHandle:
        return self._add("write", fd, callback, args)

    def _remove_writer(self, fd: Any) -> bool:
        return self._remove("write", fd)


def _guarded(name: str) -> Any:
    """Return a call of asyncio that refuses a socket that is not simulated, before it does anything."""
    call = getattr(LoopBase, name)

    @wraps(call)
    async def guarded(self: Readiness, sock: Any, *args: Any, **options: Any) -> Any:
        return await call(self, simulated(sock), *args, **options)

    return guarded


for _name in _CALLS:
    setattr(Readiness, _name, _guarded(_name))
