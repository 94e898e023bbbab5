"""The polls of a network: descriptors, time, the guests' frames, and calls from other threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from threading import get_ident
from typing import Final, TypeVar

from slirpy.checks import descriptor, is_whole
from slirpy.config.values import FOR_EVER, function, wait_seconds
from slirpy.drive.drivers import LoopDriver, ThreadDriver
from slirpy.drive.mailbox import LIMIT, Mailbox
from slirpy.drive.nic import Nic
from slirpy.errors import ConfigError, StateError
from slirpy.errortext import strerror
from slirpy.host.poller import MAX_EVENTS, SelectorPoller
from slirpy.interfaces import READ, WRITE
from slirpy.mypyc import mypyc_attr
from slirpy.stack import Stack
from slirpy.units import SECOND

__all__ = ["Polled"]

ROUNDS: Final = 64
"""Rounds per call when a guest answers frames from within ``on_frame``."""
BUDGET: Final = 1024
"""Frames of such answers per call; the rest waits for the next call."""

_T = TypeVar("_T")


@mypyc_attr(allow_interpreted_subclasses=True)
class Polled:
    """The part of :class:`slirpy.Slirp` that works in each poll, whoever makes it.

    A subclass first makes the poller, then the objects that use it.
    """

    _stack: Stack

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._poller = SelectorPoller()
        self._watched: set[int] = set()
        self._inbox: list[Callable[[], object]] = []
        self._busy = self._interrupted = False
        self._closed = self._closing = False
        self._mailbox: Mailbox | None = None
        self._background: ThreadDriver | None = None
        self._loop: LoopDriver | None = None
        self._failure: BaseException | None = None
        self._pid = os.getpid()
        self._forked = False

    # ------------------------------------------------------------------------------ your descriptors

    def watch(self, fd: int, ready: Callable[[int], object], events: int = READ) -> None:
        """Wait for one of your descriptors together with those of the network.

        A program with few descriptors then needs no other loop, however the network is driven. ``ready`` is called
        during each poll at which the descriptor is ready, by the thread that drives the network, and should read the
        available data. It may send frames, plug in links, and call ``unwatch``. Its exceptions are treated like
        those of ``on_frame``.

        Args:
            fd: descriptor of a socket, pipe or terminal; on Windows of a socket. It remains the caller's.
            ready: called with the events that occurred.
            events: ``selectors.EVENT_READ``, ``selectors.EVENT_WRITE``, or both together.

        Raises:
            ConfigError: there is no such descriptor, or it cannot be waited for (a regular file).
            StateError: it is watched already, or the network is closed.
        """
        function("ready", ready, " of the events that are there")
        descriptor("fd", fd)
        if not is_whole(events) or not events or events & ~(READ | WRITE):
            raise ConfigError(f"events {events!r}: give selectors.EVENT_READ, EVENT_WRITE, or both")

        def tell(mask: int) -> None:
            ready(mask)

        def register() -> None:
            try:
                self._poller.register(fd, events, tell)
            except ValueError:
                raise StateError(f"descriptor {fd} is watched already; call unwatch({fd}) first") from None
            except OSError as error:
                why = strerror(error.errno or 0).lower()
                raise ConfigError(
                    f"descriptor {fd} cannot be watched: {why}; use that of an open socket or pipe"
                ) from None
            self._watched.add(fd)

        self._check_open()
        self._call(register)

    def unwatch(self, fd: int) -> None:
        """Stop waiting for a descriptor. Call this before closing it. Harmless when it is not watched.

        Raises:
            ConfigError: ``fd`` is not a number, or out of range.
        """
        descriptor("fd", fd)

        def unregister() -> None:
            if fd in self._watched:
                self._watched.remove(fd)
                self._poller.unregister(fd)

        if not self._closed:
            self._call(unregister)

    # ----------------------------------------------------------------------------------------- time

    def poll(self, timeout: float | None = 0.0) -> None:
        """Process sockets, links and timers; returns when something was done, or after ``timeout`` seconds.

        Each call does a bounded amount of work: with ``timeout=0`` it takes a few milliseconds at most, and
        :meth:`timeout` is 0 if work is left.

        Args:
            timeout: seconds to wait for work. A negative number, such as ``next_tick - now()`` when the tick is
                late, counts as 0. None, infinity, or more than 23 days: wait until there is work.

        Raises:
            ConfigError: ``timeout`` is not a number.
            StateError: the network is closed, another thread polls it, or the call comes from within ``on_frame``.
        """
        if self._busy or self._closed or self._mailbox is not None:
            self._check_may_poll()
        if type(timeout) is not float or not 0.0 <= timeout <= FOR_EVER:
            timeout = wait_seconds("timeout", timeout)
        self._poll(timeout)

    def _check_may_poll(self) -> None:
        self._check_open()
        if self._busy and not self._foreign():
            raise StateError("poll() was called from within on_frame; return from there first")
        if self._background is not None or self._foreign():
            raise StateError("another thread polls this network already: that of start(), or of an event loop")

    def poll_until(self, done: Callable[[], object], timeout: Callable[[], float | None] | None = None) -> None:
        """Poll until ``done()`` is true. Costs less for each event than a loop of :meth:`poll`.

        It also returns if the network is closed from within.

        Args:
            done: tells whether to return. It is called before each poll, so it should only look at something.
            timeout: called before each poll, whose longest wait it returns; None: until there is work.

        Raises:
            ConfigError: an argument is not a function, or ``timeout`` returned no number.
            StateError: the network is closed, another thread polls it, or the call comes from within ``on_frame``.
        """
        function("done", done, " without arguments")
        if timeout is not None:
            function("timeout", timeout, " without arguments")
        wait: Callable[[], object] | None = timeout  # wait_seconds() checks its results
        self._check_may_poll()
        while not (done() or self._closed):
            limit = None if wait is None else wait_seconds("timeout", wait())
            self._check_may_poll()  # start() may have been called from within
            self._poll(limit, done if wait is None else None)

    def _poll(self, timeout: float | None, done: Callable[[], object] | None = None) -> None:
        """Poll once; with ``done``, until that is true or the network belongs to another driver.

        One text with local names for all that a turn needs: it runs for each event.
        """
        stack, poller, clock, mailbox = self._stack, self._poller, self._clock, self._mailbox
        network, wait, entries = stack.network, poller.wait, poller.entries
        heap = network.timers.heap
        now = clock() if heap else 0
        while True:
            # As _timeout() says.
            limit = timeout
            if network.dirty or poller.pending or self._inbox or self._interrupted:
                limit = 0.0
                self._interrupted = False
            elif heap:
                due = (heap[0][0] - now) / SECOND
                if limit is None or due < limit:
                    limit = due if due > 0.0 else 0.0
            self._busy = True
            try:
                ready = wait(limit, MAX_EVENTS)
                network.now = now = clock()  # as tick() does with a time from elsewhere
                if len(ready) == 1 and not poller.pending:  # as serve() does
                    ((fd, bits),) = ready
                    entry = entries.get(fd)
                    if entry is not None:
                        if bits == READ and entry[0] & READ:
                            entry[1](READ)
                        else:
                            poller.serve(ready)
                elif ready or poller.pending:
                    poller.serve(ready)
                    now = clock()
                if self._inbox or self._loop is not None:
                    self._run()
                else:
                    stack.flush(now)
                    self._busy = False
                    if self._inbox:
                        self._run()
            except BaseException:
                self._busy = False
                self._interrupted = True  # other links' frames may still wait
                if self._loop is not None:
                    self._loop.arm()
                raise
            if done is None or self._closed or self._mailbox is not mailbox or done():
                return

    def _input(self, nic: Nic, views: Sequence[memoryview], checksummed: bool, gso_size: int) -> int:
        mailbox = self._mailbox
        if self._busy or self._closed or mailbox is not None:
            if mailbox is None or mailbox.owner == get_ident():
                if self._closing:
                    return len(views)  # the guest answers the last frames that it gets
                if self._busy:
                    return self._keep(nic, views, checksummed, gso_size)
                if self._closed:
                    self._check_usable(nic)
            else:
                self._check_usable(nic)
                self._raise_failure()
                deliver = partial(self._deliver, nic, checksummed, gso_size)
                return mailbox.offer([partial(deliver, bytes(view)) for view in views])
        sink = nic.inner.sink
        if sink is None:
            self._check_usable(nic)
            self._stack.stats.drop_nic_closed += len(views)  # a link around this one has closed it
            return len(views)
        self._stack.tick(self._clock())
        try:
            for view in views:
                sink.input(view, checksummed, gso_size)
        finally:
            self._run()  # in any case before the caller may use the buffers again
        return len(views)

    def _keep(self, nic: Nic, views: Sequence[memoryview], checksummed: bool, gso_size: int) -> int:
        """Queue frames that come from within ``on_frame``, to be handled after it."""
        self._check_usable(nic)
        taken = min(len(views), max(LIMIT - len(self._inbox), 0))
        deliver = partial(self._deliver, nic, checksummed, gso_size)
        self._inbox += [partial(deliver, bytes(view)) for view in views[:taken]]
        self._refused(len(views) - taken)
        return taken

    def _deliver(self, nic: Nic, checksummed: bool, gso_size: int, frame: bytes) -> bool | None:
        sink = nic.inner.sink
        if sink is None:
            self._stack.stats.drop_nic_closed += 1
            return None
        return sink.input(frame, checksummed, gso_size)

    def _refused(self, frames: int) -> None:
        self._stack.stats.drop_nic_queue_full += frames

    def _run(self) -> None:
        """Flush, and handle what the guest sent from within ``on_frame``, a bounded number of times."""
        rounds = handled = 0
        try:
            while True:
                if self._inbox:
                    inbox, self._inbox = self._inbox, []
                    for note in inbox:
                        note()
                    handled += len(inbox)
                self._busy = self._interrupted = True
                self._stack.flush(self._clock())
                self._busy = self._interrupted = False
                if not self._inbox:
                    return
                rounds += 1
                if handled >= BUDGET or rounds >= ROUNDS:
                    return
        finally:
            self._busy = False  # if on_frame raised, other links' frames still wait, as _interrupted says
            if self._loop is not None:
                self._loop.arm()

    def _timeout(self) -> float | None:
        deadline = self._stack.deadline()
        if self._inbox or self._interrupted or self._poller.pending:
            return 0.0
        return None if deadline is None else max(deadline - self._clock(), 0) / SECOND

    def timeout(self) -> float | None:
        """Return the seconds until :meth:`poll` is due, 0 or more, if nothing happens before; None: never.

        The value changes with each call of :meth:`poll` and :meth:`Nic.send`: ask again before each wait.
        (:meth:`Stack.deadline` is a point in time, in nanoseconds.)

        Raises:
            StateError: the network is closed.
        """
        return self._call(self._timeout)

    def fileno(self) -> int | None:
        """Return a descriptor that is readable when there is work for :meth:`poll`; None on systems without one.

        It is epoll's (Linux) or kqueue's (macOS, BSD), and stays the same until :meth:`close`. Windows has none. It
        does not become readable because of :meth:`timeout`.

        Raises:
            StateError: the network is closed.
        """
        self._check_open()
        return self._poller.fileno()

    # ---------------------------------------------------------------------- calls from other threads

    def _failed(self, error: BaseException) -> None:
        if self._failure is None and not self._closed:
            self._failure = error

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _foreign(self) -> bool:
        """Report whether another thread drives the network."""
        mailbox = self._mailbox
        return mailbox is not None and mailbox.foreign()

    def _call(self, call: Callable[[], _T]) -> _T:
        """Make a call in the thread to which the network belongs.

        Raises:
            StateError: the network is closed.
        """
        self._check_open()
        return self._look(call)

    def _look(self, call: Callable[[], _T]) -> _T:
        """Make a read-only call likewise. It is also allowed after the end, but not in a forked child."""
        if self._forked:
            self._check_open()
        mailbox = self._mailbox
        if mailbox is not None and mailbox.foreign():
            self._raise_failure()
            return mailbox.call(call)
        try:
            return call()
        finally:
            if self._loop is not None and not self._busy:
                self._loop.arm()  # the call may have moved the deadline

    def _check_open(self) -> None:
        if self._forked:
            raise StateError(
                f"this network belongs to process {self._pid}, of which this one is a fork; make another Slirp here"
            )
        if self._closed:
            raise StateError("this network is closed; make another Slirp")

    def _check_usable(self, nic: Nic) -> None:
        self._check_open()
        if nic.closed:
            raise StateError("this network card was removed; attach another")
