"""Waiting for descriptors: one callable each, level-triggered.

On Linux this is epoll itself, on Windows :mod:`slirpy.host.winselect`, elsewhere the best mechanism of
:mod:`selectors`: kqueue on macOS and the BSDs. Epoll is used without
:mod:`selectors` for two reasons: a ready descriptor then costs a dict lookup and a call, and epoll can watch a
descriptor for :data:`HANGUP` alone, which :mod:`selectors` cannot express.
"""

from __future__ import annotations

import select
import selectors
import sys
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

from slirpy import forks
from slirpy.errors import StateError
from slirpy.fair import TURN
from slirpy.interfaces import READ, WRITE

__all__ = ["HANGUP", "URGENT", "SelectorPoller"]

HANGUP = 4
"""An event in addition to READ and WRITE: the connection was reset, or has ended in both directions.

A descriptor registered for HANGUP alone still reports a reset while nothing is read or written. Only epoll can do
that; other mechanisms never report the event, and a reset is noticed at the next read or write.
"""

URGENT = 8
"""An event in addition to READ, and only where that is watched: urgent data is available. Reported only by epoll."""

Handler: TypeAlias = Callable[[int], None]

_MAX_EVENTS = 1024  # per wait; the kernel rotates when more are ready
_GROUP_EVENTS = 64


class _Backend(Protocol):
    """The system's waiting mechanism behind a :class:`SelectorPoller`."""

    masks: tuple[int, ...]
    """Translates the bits that ``wait`` reports (modulo 32) to READ, WRITE and HANGUP."""

    def change(self, fd: int, old: int, new: int) -> None: ...

    def wait(self, timeout: float | None) -> list[tuple[int, int]]: ...

    def fileno(self) -> int | None: ...

    def close(self) -> None: ...


class _Epoll:
    __slots__ = ("_epoll", "_limit")

    # EPOLLIN is 1, EPOLLPRI 2, EPOLLOUT 4, EPOLLERR 8, EPOLLHUP 16. The last two are reported unasked, and mean that
    # neither reading nor writing would block.
    masks = tuple(
        (READ | WRITE | HANGUP if bits & 24 else (READ if bits & 1 else 0) | (WRITE if bits & 4 else 0))
        | (URGENT if bits & 2 else 0)
        for bits in range(32)
    )

    def __init__(self, limit: int) -> None:
        self._epoll = select.epoll()
        self._limit = limit

    def change(self, fd: int, old: int, new: int) -> None:
        bits = (1 | (new & URGENT and 2) if new & READ else 0) | (4 if new & WRITE else 0)
        if not new:
            # Not modify(fd, 0): that would still report hang-ups, and poll would spin on them.
            if old:
                try:
                    self._epoll.unregister(fd)
                except OSError:
                    pass  # closed before it was unregistered, so the kernel has forgotten it already
        elif old:
            self._epoll.modify(fd, bits)
        else:
            self._epoll.register(fd, bits)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        return self._epoll.poll(timeout, self._limit)

    def fileno(self) -> int | None:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()


class _Selector:
    __slots__ = ("_selector",)

    masks = tuple(range(4)) * 8

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector

    def change(self, fd: int, old: int, new: int) -> None:
        old &= READ | WRITE
        new &= READ | WRITE
        if old == new:
            return
        if not new:
            self._selector.unregister(fd)
        elif old:
            self._selector.modify(fd, new)
        else:
            self._selector.register(fd, new)

    def wait(self, timeout: float | None) -> list[tuple[int, int]]:
        if sys.platform == "win32" and timeout is not None and not self._selector.get_map():
            time.sleep(timeout)  # on Windows select() without any socket is an error
            return []
        return [(key.fd, mask) for key, mask in self._selector.select(timeout)]

    def fileno(self) -> int | None:
        fileno = getattr(self._selector, "fileno", None)
        return None if fileno is None else int(fileno())

    def close(self) -> None:
        self._selector.close()


class SelectorPoller:
    """A :class:`slirpy.interfaces.Poller` for one thread.

    Args:
        selector: the mechanism to wait with; None uses the best of the system.
        limit: maximum number of descriptors reported per poll, if the system can rotate among them.
    """

    __slots__ = ("_again", "_backend", "_entries", "_gone", "_made_at", "_masks", "_served", "_wait")

    def __init__(self, selector: selectors.BaseSelector | None = None, limit: int = _MAX_EVENTS) -> None:
        backend: _Backend
        if selector is not None:
            backend = _Selector(selector)
        elif hasattr(select, "epoll"):
            backend = _Epoll(limit)
        elif sys.platform == "win32":
            from slirpy.host.winselect import WindowsSelect

            backend = WindowsSelect()
        else:
            backend = _Selector(selectors.DefaultSelector())
        self._backend = backend
        self._wait = backend.wait
        self._masks = backend.masks
        self._entries: dict[int, tuple[int, Handler]] = {}
        self._gone: set[int] = set()
        self._again: dict[int, None] = {}
        self._served: set[int] = set()
        self._made_at = forks.count

    def _change(self, fd: int, old: int, new: int) -> None:
        if self._made_at == forks.count:  # a forked child shares the epoll of its parent, which continues
            self._backend.change(fd, old, new)

    def register(self, fd: int, events: int, ready: Handler) -> None:
        """Call ``ready(mask)`` at each poll at which ``fd`` is ready for any of ``events``.

        Raises:
            ValueError: it is registered already.
            OSError: the system cannot wait for such a descriptor (a regular file, for example).
        """
        if fd in self._entries:
            raise ValueError(f"descriptor {fd} is registered already; use modify, or unregister it first")
        self._change(fd, 0, events)
        self._entries[fd] = (events, ready)

    def modify(self, fd: int, events: int, ready: Handler) -> None:
        """Change the events to wait for; 0 waits for nothing.

        Raises:
            KeyError: it is not registered.
        """
        old = self._entries[fd][0]
        if old != events:
            self._change(fd, old, events)
        self._entries[fd] = (events, ready)

    def unregister(self, fd: int) -> None:
        """Forget a descriptor. Call this before the descriptor is closed.

        Raises:
            KeyError: it is not registered.
        """
        events, _ = self._entries.pop(fd)
        self._again.pop(fd, None)
        self._change(fd, events, 0)
        self._gone.add(fd)

    def again(self, fd: int) -> None:
        """Call the function of ``fd`` with READ at the next poll, which does not wait.

        Nothing is called if the descriptor is not registered for READ by then.
        """
        self._again[fd] = None

    @property
    def pending(self) -> bool:
        """True if the next poll has work without waiting, because of :meth:`again`."""
        return bool(self._again)

    def poll(self, timeout_seconds: float | None, before: Callable[[], None] | None = None) -> int:
        """Wait until something is ready, call its function, and return the number of events.

        Args:
            timeout_seconds: return 0 after this time at the latest; 0 or less only checks; None waits forever.
            before: called after waiting and before the functions, to sample the time.

        Raises:
            StateError: this process is a fork of the one that made the poller.
        """
        if self._made_at != forks.count:
            raise StateError(
                "this poller belongs to the process that this one was forked from; make another here"
            )
        if timeout_seconds is not None and timeout_seconds < 0.0:
            timeout_seconds = 0.0  # epoll would wait forever
        if self._again:
            return self._poll_again(before)
        batch = self._wait(timeout_seconds)
        if before is not None:
            before()
        self._handle(batch)
        return len(batch)

    def _poll_again(self, before: Callable[[], None] | None) -> int:
        """Do not wait, and call the functions of :meth:`again` after those of descriptors that are ready."""
        again, self._again = self._again, {}
        batch = self._wait(0)
        if before is not None:
            before()
        self._handle(batch)
        ready = {fd for fd, bits in batch if self._masks[bits & 31] & READ}
        for fd in again:
            entry = self._entries.get(fd)
            if entry is not None and entry[0] & READ and fd not in ready and fd not in self._gone:
                entry[1](READ)
        return len(batch) + len(again)

    def _handle(self, batch: list[tuple[int, int]], end: int | None = None) -> int | None:
        """Call the functions of ready descriptors.

        At ``end``, in nanoseconds, the rest waits for the next poll. Returns the last descriptor in this case.
        """
        entries = self._entries
        masks = self._masks
        # A handler may unregister a descriptor whose event is still to come in this batch, and a new socket may
        # reuse its number by then. The event is not the new socket's, which waits for the next poll.
        gone = self._gone
        gone.clear()
        for fd, bits in batch:
            entry = entries.get(fd)
            if entry is None or fd in gone:
                continue
            events, ready = entry
            mask = masks[bits & 31] & events
            if mask:
                ready(mask)
                if end is not None and time.monotonic_ns() >= end:
                    return fd
        return None

    def group(self) -> SelectorPoller:
        """Make a nested poller, for many descriptors that must not delay the others.

        Each poll of this one reports at most 64 of the group, or as many as are served in
        :data:`~slirpy.fair.TURN`, and everything that is ready outside it: a guest's link is served soon, however
        many sockets are busy. If the system cannot nest pollers, this returns the poller itself. Close the group
        before its parent.
        """
        if not hasattr(select, "epoll") or not isinstance(self._backend, _Epoll):
            return self
        group = SelectorPoller(limit=_GROUP_EVENTS)
        fd = group.fileno()
        assert fd is not None
        self.register(fd, READ, group._take)
        return group

    def _take(self, mask: int) -> None:
        """Handle a group in a turn. One that ends early is continued by descriptors that had no part in it."""
        batch, served = self._wait(0), self._served
        if served:
            batch.sort(key=lambda event: event[0] in served)  # the system need not rotate among them
            if batch and batch[0][0] in served:
                served.clear()
        last = self._handle(batch, time.monotonic_ns() + TURN)
        if last is None:
            served.clear()
            return
        for fd, _ in batch:
            served.add(fd)
            if fd == last:
                return

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when something is ready (epoll's or kqueue's own), or None.

        An event loop can wait for this poller through it, as for any other descriptor.
        """
        return self._backend.fileno()

    def close(self) -> None:
        """Forget everything; registered descriptors stay open. Harmless when repeated, and in a forked child."""
        self._entries.clear()
        if self._made_at == forks.count or isinstance(self._backend, _Epoll):  # a child inherits no kqueue
            self._backend.close()
