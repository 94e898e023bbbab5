"""``select``, ``poll`` and ``epoll`` on simulated sockets."""

from __future__ import annotations

import errno
import select
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.socketapi.ends import FIRST_DESCRIPTOR, End, descriptors, failure
from slirpy.testing.sim.waiting import wait_for

__all__ = ["SimEpoll", "SimPoll", "select_ends"]

POLLIN = getattr(select, "POLLIN", 0x001)
POLLPRI = getattr(select, "POLLPRI", 0x002)
POLLOUT = getattr(select, "POLLOUT", 0x004)
POLLERR = getattr(select, "POLLERR", 0x008)
POLLHUP = getattr(select, "POLLHUP", 0x010)
POLLNVAL = getattr(select, "POLLNVAL", 0x020)
_READ = POLLIN | getattr(select, "POLLRDNORM", 0x040)
_WRITE = POLLOUT | getattr(select, "POLLWRNORM", 0x100)
_RDHUP = getattr(select, "POLLRDHUP", 0x2000)


class _Several:
    """Several open sockets to wait for."""

    def __init__(self, host: Host, ends: Iterable[End]) -> None:
        self.host = host
        self._ends = list(ends)

    def watch(self, call: Callable[[], object]) -> None:
        for end in self._ends:
            end.watch(call)

    def unwatch(self, call: Callable[[], object]) -> None:
        for end in self._ends:
            end.unwatch(call)


def _number(file: Any) -> int:
    """Return the descriptor of a file, which is a number, or has one."""
    number = file if isinstance(file, int) else file.fileno()
    if not isinstance(number, int):
        raise TypeError("argument must be an int, or have a fileno() method.")
    if number < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({number})")
    if number < FIRST_DESCRIPTOR:
        raise escaped(
            f"descriptor {number} is a real one, for which a program of a network cannot wait; use sockets, or"
            " socketpair(), made in the program"
        )
    return number


def _events(end: End) -> int:
    """Return what is ready, as ``poll`` has it."""
    found = (_READ if end.has_input() else 0) | (_WRITE if end.can_write() else 0)
    if end.ended():
        found |= _RDHUP
    if end.error:
        found |= POLLERR
    if end.hung_up():
        found |= POLLHUP
    return found


def _wait(host: Host, call: str, ends: Iterable[End], attempt: Callable[[], Any], timeout: float | None) -> Any:
    """Return ``attempt()`` once it is not empty, or after ``timeout`` seconds whatever it is."""
    found = attempt()
    if found or timeout == 0:
        return found

    def again() -> Any:
        nonlocal found
        found = attempt()
        if not found:
            raise BlockingIOError
        return found

    try:
        return wait_for(_Several(host, ends), call, again, timeout)
    except TimeoutError:
        return found


def select_ends(
    host: Host,
    rlist: Iterable[Any],
    wlist: Iterable[Any],
    xlist: Iterable[Any],
    timeout: float | None = None,
    /,
) -> tuple[list[Any], list[Any], list[Any]]:
    """Wait as :func:`select.select` does."""
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    table = descriptors(host.net)
    reading = [(each, table.find(_number(each))) for each in rlist]
    writing = [(each, table.find(_number(each))) for each in wlist]
    for each in xlist:
        table.find(_number(each))  # nothing ever is exceptional

    def attempt() -> tuple[list[Any], list[Any], list[Any]] | None:
        readable = [each for each, end in reading if _events(end) & (_READ | POLLERR | POLLHUP)]
        writable = [each for each, end in writing if _events(end) & (_WRITE | POLLERR)]
        return (readable, writable, []) if readable or writable else None

    ends = dict.fromkeys(end for _, end in reading + writing)
    return _wait(host, "select.select()", ends, attempt, timeout) or ([], [], [])


class SimPoll:
    """``select.poll()`` of a program.

    Args:
        host: the host of the program.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._masks: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT, /) -> None:
        """See :meth:`select.poll.register`."""
        self._masks[_number(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """See :meth:`select.poll.modify`."""
        number = _number(fd)
        if number not in self._masks:
            raise failure(errno.ENOENT)
        self._masks[number] = eventmask

    def unregister(self, fd: Any, /) -> None:
        """See :meth:`select.poll.unregister`."""
        del self._masks[_number(fd)]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """See :meth:`select.poll.poll`; the timeout is in milliseconds."""
        ends = descriptors(self._host.net).ends

        def attempt() -> list[tuple[int, int]]:
            found = []
            for number, mask in self._masks.items():
                end = ends.get(number)
                ready = POLLNVAL if end is None else _events(end) & (mask | POLLERR | POLLHUP)
                if ready:
                    found.append((number, ready))
            return found

        waited = [ends[number] for number in self._masks if number in ends]
        limit = None if timeout is None or timeout < 0 else timeout / 1000
        result: list[tuple[int, int]] = _wait(self._host, "poll.poll()", waited, attempt, limit)
        return result


_EDGE = 1 << 31
_ONESHOT = getattr(select, "EPOLLONESHOT", 0)
_DISABLED = -1
"""Mask of a descriptor that has had its one event; ``modify`` sets another."""


class SimEpoll:
    """``select.epoll()`` of a program, level-triggered.

    Args:
        host: the host of the program.
        sizehint: ignored.
        flags: ignored.
    """

    def __init__(self, host: Host, sizehint: int = -1, flags: int = 0) -> None:
        self._host = host
        self._ends: dict[int, tuple[End, int]] = {}
        self.closed = False

    def _check(self, fd: Any, eventmask: int = 0) -> int:
        if self.closed:
            raise ValueError("I/O operation on closed epoll object")
        if eventmask & _EDGE:
            raise escaped("EPOLLET is not simulated; use level-triggered events")
        return _number(fd)

    def register(self, fd: Any, eventmask: int = POLLIN | POLLPRI | POLLOUT) -> None:
        """See :meth:`select.epoll.register`."""
        number = self._check(fd, eventmask)
        end = descriptors(self._host.net).find(number)
        if number in self._ends:
            raise failure(errno.EEXIST)
        self._ends[number] = end, eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """See :meth:`select.epoll.modify`."""
        number = self._check(fd, eventmask)
        if number not in self._ends:
            raise failure(errno.ENOENT)
        self._ends[number] = self._ends[number][0], eventmask

    def unregister(self, fd: Any) -> None:
        """See :meth:`select.epoll.unregister`."""
        number = self._check(fd)
        if number not in self._ends:
            raise failure(errno.ENOENT)
        del self._ends[number]

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """See :meth:`select.epoll.poll`; the timeout is in seconds."""
        open_ends = descriptors(self._host.net).ends
        for number in [number for number in self._ends if number not in open_ends]:
            del self._ends[number]  # a kernel forgets what is closed

        def attempt() -> list[tuple[int, int]]:
            found: list[tuple[int, int]] = []
            for number, (end, mask) in self._ends.items():
                ready = _events(end) & (mask | POLLERR | POLLHUP) if mask >= 0 and number in open_ends else 0
                if ready and (maxevents < 0 or len(found) < maxevents):
                    found.append((number, ready))
            for number, _ in found:
                end, mask = self._ends[number]
                if mask & _ONESHOT:
                    self._ends[number] = end, _DISABLED
            return found

        limit = None if timeout is None or timeout < 0 else timeout
        waited = [end for end, _ in self._ends.values()]
        result: list[tuple[int, int]] = _wait(self._host, "epoll.poll()", waited, attempt, limit)
        return result

    def fileno(self) -> NoReturn:
        """Raise an error: nothing can wait for it."""
        raise escaped("epoll.fileno() is not simulated; poll the sockets themselves")

    def close(self) -> None:
        """See :meth:`select.epoll.close`."""
        self.closed = True
        self._ends.clear()

    def __enter__(self) -> SimEpoll:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
