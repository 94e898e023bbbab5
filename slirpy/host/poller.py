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
from typing import Final, TypeAlias

from slirpy import forks
from slirpy.errors import StateError
from slirpy.fair import TURN
from slirpy.interfaces import READ, WRITE, Poller
from slirpy.mypyc import mypyc_attr
from slirpy.records import Protocol

__all__ = ["HANGUP", "MAX_EVENTS", "URGENT", "SelectorPoller"]

HANGUP: Final = 4
"""An event in addition to READ and WRITE: the connection was reset, or has ended in both directions.

A descriptor registered for HANGUP alone still reports a reset while nothing is read or written. Only epoll can do
that; other mechanisms never report the event, and a reset is noticed at the next read or write.
"""

URGENT: Final = 8
"""An event in addition to READ, and only where that is watched: urgent data is available. Reported only by epoll."""

Handler: TypeAlias = Callable[[int], None]

MAX_EVENTS: Final = 64
"""Events of an ordinary wait. More would cost each wait the memory for them."""
_GROUP_EVENTS: Final = 64


def _unregistered(mask: int) -> None:
    """Stand in for the function of a descriptor that is not registered any more."""


_UNREGISTERED: Final = 0, _unregistered


class _Backend(Protocol):
    """The system's waiting mechanism behind a :class:`SelectorPoller`."""

    masks: tuple[int, ...]
    """Translates the bits that ``wait`` reports (modulo 32) to READ, WRITE and HANGUP."""

    def change(self, fd: int, old: int, new: int) -> None: ...

    def wait(self, timeout: float | None, most: int) -> list[tuple[int, int]]: ...

    def fileno(self) -> int | None: ...

    def close(self) -> None: ...


# EPOLLIN is 1, EPOLLPRI 2, EPOLLOUT 4, EPOLLERR 8, EPOLLHUP 16. The last two are reported unasked, and mean that
# neither reading nor writing would block.
_EPOLL_MASKS: Final = tuple(
    (READ | WRITE | HANGUP if bits & 24 else (READ if bits & 1 else 0) | (WRITE if bits & 4 else 0))
    | (URGENT if bits & 2 else 0)
    for bits in range(32)
)
_SELECTOR_MASKS: Final = tuple(range(4)) * 8


class _Epoll:
    __slots__ = ("_epoll", "masks", "wait")

    def __init__(self) -> None:
        self.masks = _EPOLL_MASKS
        self._epoll = select.epoll()
        self.wait: Callable[[float | None, int], list[tuple[int, int]]] = self._epoll.poll

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

    def fileno(self) -> int | None:
        return self._epoll.fileno()

    def close(self) -> None:
        self._epoll.close()


class _Selector:
    __slots__ = ("_selector", "masks")

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.masks = _SELECTOR_MASKS
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

    def wait(self, timeout: float | None, most: int) -> list[tuple[int, int]]:
        if sys.platform == "win32" and timeout is not None and not self._selector.get_map():
            time.sleep(timeout)  # on Windows select() without any socket is an error
            return []
        return [(key.fd, mask) for key, mask in self._selector.select(timeout)]

    def fileno(self) -> int | None:
        fileno = getattr(self._selector, "fileno", None)
        return None if fileno is None else int(fileno())

    def close(self) -> None:
        self._selector.close()


@mypyc_attr(allow_interpreted_subclasses=True)
class SelectorPoller:
    """A :class:`slirpy.interfaces.Poller` for one thread.

    Args:
        selector: the mechanism to wait with; None uses the best of the system.
    """

    __slots__ = ("_again", "_backend", "_gone", "_made_at", "_many", "_masks", "_served",
                 "entries", "pending", "wait")  # fmt: skip

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        backend: _Backend
        if selector is not None:
            backend = _Selector(selector)
        elif hasattr(select, "epoll"):
            backend = _Epoll()
        elif sys.platform == "win32":
            from slirpy.host.winselect import WindowsSelect

            backend = WindowsSelect()
        else:
            backend = _Selector(selectors.DefaultSelector())
        self._backend = backend
        self.wait: Callable[[float | None, int], list[tuple[int, int]]] = backend.wait
        """Waits until something is ready, and returns it for :meth:`serve`: the first half of :meth:`poll`. The
        timeout is in seconds and not negative; it is 0 if work is :attr:`pending`. The second argument is
        :data:`MAX_EVENTS`."""
        self._masks = backend.masks
        self.entries: dict[int, tuple[int, Handler]] = {}
        """Events and function of each registered descriptor. Others only look at it."""
        self._gone: set[int] = set()
        self._again: dict[int, None] = {}
        self.pending = False
        """True if the next poll has work without waiting, because of :meth:`again`."""
        self._many: set[int] = set()
        """Descriptors of groups."""
        self._served: set[int] = set()
        """Descriptors of groups that have had their turn, while others have yet to."""
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
        if fd in self.entries:
            raise ValueError(f"descriptor {fd} is registered already; use modify, or unregister it first")
        self._change(fd, 0, events)
        self.entries[fd] = (events, ready)

    def modify(self, fd: int, events: int, ready: Handler) -> None:
        """Change the events to wait for; 0 waits for nothing.

        Raises:
            KeyError: it is not registered.
        """
        old = self.entries[fd][0]
        if old != events:
            self._change(fd, old, events)
        self.entries[fd] = (events, ready)

    def unregister(self, fd: int) -> None:
        """Forget a descriptor. Call this before the descriptor is closed.

        Raises:
            KeyError: it is not registered.
        """
        events, _ = self.entries.pop(fd)
        if self._again:
            self._again.pop(fd, None)
            self.pending = bool(self._again)
        self._many.discard(fd)
        self._change(fd, events, 0)
        self._gone.add(fd)

    def again(self, fd: int) -> None:
        """Call the function of ``fd`` with READ at the next poll, which does not wait.

        Nothing is called if the descriptor is not registered for READ by then.
        """
        self._again[fd] = None
        self.pending = True

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
        if self.pending or (timeout_seconds is not None and timeout_seconds < 0.0):
            timeout_seconds = 0.0  # for a negative number, epoll would wait forever
        batch = self.wait(timeout_seconds, MAX_EVENTS)
        if before is not None:
            before()
        return self.serve(batch)

    def serve(self, batch: list[tuple[int, int]]) -> int:
        """Call the functions of what :attr:`wait` has returned; returns the number of events."""
        if self.pending:
            return self._serve_again(batch)
        if len(batch) != 1:
            return self._handle(batch)
        # As _call() does, for the one event of a small exchange.
        ((fd, bits),) = batch
        events, ready = self.entries.get(fd, _UNREGISTERED)
        if bits == READ == events & READ:
            ready(READ)
        elif mask := self._masks[bits & 31] & events:
            ready(mask)
        return 1

    def _serve_again(self, batch: list[tuple[int, int]]) -> int:
        """Call the functions of :meth:`again` after those of descriptors that are ready."""
        again, self._again = self._again, {}
        self.pending = False
        count = self._handle(batch)
        ready = {fd for fd, bits in batch if self._masks[bits & 31] & READ}
        for fd in again:
            entry = self.entries.get(fd)
            if entry is not None and entry[0] & READ and fd not in ready and fd not in self._gone:
                entry[1](READ)
        return count + len(again)

    def _handle(self, batch: list[tuple[int, int]]) -> int:
        """Call the functions of ready descriptors, those of groups last; returns the number of events."""
        if len(batch) >= MAX_EVENTS and isinstance(self._backend, _Epoll):
            # Without a limit, in case that a link is ready as well: it does not wait behind a thousand sockets.
            batch = self.wait(0.0, len(self.entries))
        # A handler may unregister a descriptor whose event is still to come in this batch, and a new socket may
        # reuse its number by then. The event is not the new socket's, which waits for the next poll.
        self._gone.clear()
        many = self._many
        if many:
            crowd = [event for event in batch if event[0] in many]
            if crowd:
                for event in batch:
                    if event[0] not in many:
                        self._call(*event)
                return len(batch) - len(crowd) + self._take_turns(crowd)
        for event in batch:
            self._call(*event)
        return len(batch)

    def _call(self, fd: int, bits: int) -> None:
        entry = self.entries.get(fd)
        if entry is not None and fd not in self._gone:
            mask = self._masks[bits & 31] & entry[0]
            if mask:
                entry[1](mask)

    def _take_turns(self, crowd: list[tuple[int, int]]) -> int:
        """Call the functions of as many descriptors of groups as may have a turn; returns their number.

        The others are reported again by the next poll, where those come first that had no part in this one.
        """
        served = self._served
        if served:
            crowd.sort(key=lambda event: event[0] in served)
            if crowd[0][0] in served:
                served.clear()
        end = time.monotonic_ns() + TURN
        for number, (fd, bits) in enumerate(crowd, 1):
            self._call(fd, bits)
            if number < len(crowd) and (number >= _GROUP_EVENTS or time.monotonic_ns() >= end):
                served.update(fd for fd, _ in crowd[:number])
                return number
        served.clear()
        return len(crowd)

    def group(self) -> Poller:
        """Make a poller for many descriptors that must not delay the others.

        Each poll of this one serves at most 64 of all groups, or as many as are served in :data:`~slirpy.fair.TURN`,
        and everything that is ready outside them: a guest's link is served soon, however many sockets are busy.
        """
        return _Group(self, self._many)

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when something is ready (epoll's or kqueue's own), or None.

        An event loop can wait for this poller through it, as for any other descriptor.
        """
        return self._backend.fileno()

    def close(self) -> None:
        """Forget everything; registered descriptors stay open. Harmless when repeated, and in a forked child."""
        self.entries.clear()
        if self._made_at == forks.count or isinstance(self._backend, _Epoll):  # a child inherits no kqueue
            self._backend.close()


class _Group:
    """See :meth:`SelectorPoller.group`."""

    __slots__ = ("_many", "_parent", "again", "modify", "unregister")

    def __init__(self, parent: SelectorPoller, many: set[int]) -> None:
        self._parent, self._many = parent, many
        self.again, self.modify, self.unregister = parent.again, parent.modify, parent.unregister

    def register(self, fd: int, events: int, ready: Handler) -> None:
        self._parent.register(fd, events, ready)
        self._many.add(fd)
