"""Drivers of a network, and the ways in for frames and calls from other threads."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Sequence
from functools import partial
from threading import get_ident
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from slirpy import forks
from slirpy.config.values import FOR_EVER, descriptor, function, is_whole, wait_seconds
from slirpy.drive.drivers import LoopDriver, ThreadDriver, running_loop, through_loop
from slirpy.drive.mailbox import LIMIT, Mailbox
from slirpy.drive.nic import Nic
from slirpy.errors import ConfigError, StateError
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import READ, WRITE
from slirpy.stack import Stack
from slirpy.targets.opener import LocalTargetOpener
from slirpy.units import SECOND

__all__ = ["Driven"]

ROUNDS = 64
"""Rounds per call when a guest answers frames from within ``on_frame``."""
BUDGET = 1024
"""Frames of such answers per call; the rest waits for the next call."""

_T = TypeVar("_T")


class Driven(abc.ABC):
    """The part of :class:`slirpy.Slirp` that is driven: by its owner's calls, by a thread, or by an event loop.

    A subclass first makes the poller, then the objects that use it.
    """

    _stack: Stack
    _local: LocalTargetOpener

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._poller = SelectorPoller()
        self._nics: list[Nic] = []
        self._watched: set[int] = set()
        self._inbox: list[Callable[[], object]] = []
        self._busy = self._interrupted = False
        self._closed = self._closing = False
        self._mailbox: Mailbox | None = None
        self._thread: ThreadDriver | None = None
        self._loop: LoopDriver | None = None
        self._through: Callable[[Callable[[bytes], object]], Callable[[bytes], object]] | None = None
        self._failure: BaseException | None = None
        self._pid = os.getpid()
        self._forked = False
        forks.tell_in_child(self, type(self).forked)

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
                why = os.strerror(error.errno or 0).lower()
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
        self._check_open()
        if self._busy and not self._foreign():
            raise StateError("poll() was called from within on_frame; return from there first")
        if self._thread is not None or self._foreign():
            raise StateError("another thread polls this network already: that of start(), or of an event loop")
        if type(timeout) is not float or not 0.0 <= timeout <= FOR_EVER:
            timeout = wait_seconds("timeout", timeout)
        self._poll(timeout)

    def _poll(self, timeout: float | None) -> None:
        due = self._timeout()
        if due is not None:
            timeout = due if timeout is None else min(timeout, due)
        self._busy = True
        try:
            self._poller.poll(timeout, before=self._tick)
        except BaseException:
            if self._loop is not None:
                self._loop.arm()
            raise
        finally:
            self._busy = False
        self._run()

    def _tick(self) -> None:
        self._stack.tick(self._clock())

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

    def _deliver(self, nic: Nic, checksummed: bool, gso_size: int, frame: bytes) -> None:
        sink = nic.inner.sink
        if sink is None:
            self._stack.stats.drop_nic_closed += 1
        else:
            sink.input(frame, checksummed, gso_size)

    def _refused(self, frames: int) -> None:
        self._stack.stats.drop_nic_queue_full += frames

    def _run(self) -> None:
        """Flush, and handle what the guest sent from within ``on_frame``, a bounded number of times."""
        stack = self._stack
        rounds = handled = 0
        try:
            while True:
                if self._inbox:
                    inbox, self._inbox = self._inbox, []
                    for note in inbox:
                        note()
                    handled += len(inbox)
                self._busy = self._interrupted = True
                stack.flush(self._clock())
                self._busy = self._interrupted = False
                rounds += 1
                if not self._inbox or handled >= BUDGET or rounds >= ROUNDS:
                    return
        finally:
            self._busy = False  # if on_frame raised, other links' frames still wait, as _interrupted says
            if self._loop is not None:
                self._loop.arm()

    def _timeout(self) -> float | None:
        deadline = self._stack.deadline()
        if self._inbox or self._interrupted:
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

    # ------------------------------------------------------------------------- threads and event loops

    def start(self) -> None:
        """Poll in a background thread, a daemon, until :meth:`stop` or :meth:`close`.

        ``on_frame`` is called in that thread. It may call anything but :meth:`poll`, and must not wait for a lock
        whose holder waits for a call of this network (``Nic.send`` never waits). Its exceptions do not end the
        thread: the first one is raised by the next call from another thread, or by :meth:`stop`.

        Raises:
            StateError: the network is closed or driven already, or the call comes from within ``on_frame``.
        """
        self._check_open()
        if self._busy or self._mailbox is not None:
            raise StateError("this network is driven already; call stop() first, and not from within on_frame")
        self._mailbox = Mailbox(self._poller, self._refused)
        self._thread = ThreadDriver(self._poll, self._mailbox, self._failed)

    def stop(self) -> None:
        """End the background thread, after sending everything queued so far. Harmless when repeated, or without a
        thread.

        From within ``on_frame`` it only requests the end; call it again from outside before you poll yourself. After
        that, all calls have to come from one thread again.

        Raises:
            BaseException: an exception of ``on_frame`` in that thread that no other call has raised; the thread has
                ended.
        """
        if self._end_thread():
            self._thread = self._mailbox = None
            self._raise_failure()

    def _end_thread(self) -> bool:
        """Try to end the background thread; returns whether it ended. Its mailbox stays, closed, and refuses new
        calls.
        """
        thread, mailbox = self._thread, self._mailbox
        if thread is None or mailbox is None:
            return False
        if not mailbox.foreign():
            thread.halt()
            return False
        try:
            mailbox.call(thread.halt)
        except StateError:
            pass  # already ended
        thread.join()
        return True

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

    async def __aenter__(self) -> Self:
        """Let the running event loop drive the network, until the end of the ``async with``, which closes it.

        Exceptions of ``on_frame`` go to the loop's exception handler. If the loop cannot wait for descriptors (as on
        Windows), a background thread does so; ``on_frame`` is still called in the loop.
        """
        self._check_open()
        if self._busy or self._mailbox is not None:
            raise StateError("this network is driven already; call stop() first, and not from within on_frame")
        descriptor = self.fileno()
        try:
            if descriptor is None:
                raise NotImplementedError  # raised by asyncio loops that cannot wait for a descriptor
            self._loop = LoopDriver(self._poll, self._timeout, descriptor)
            self._local.loop = self._loop.loop
            self._mailbox = Mailbox(self._poller, self._refused, get_ident())
        except NotImplementedError:
            self._through = through_loop()
            self._local.loop = running_loop()
            for nic in self._nics:
                nic.inner.on_frame = self._through(nic.inner.on_frame)
            self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------ end

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

    def close(self) -> None:
        """Stop, reset all connections on both sides, and release everything. Harmless when repeated.

        Does nothing in a process that was forked from the one that made the network: the network continues there.

        Raises:
            StateError: an event loop drives the network in another thread; close it there.
            BaseException: as :meth:`stop`; the network is closed all the same.
        """
        if self._closed:
            return
        if self._loop is not None and self._foreign() and self._loop.running:
            raise StateError("an event loop drives this network; close it in the loop's thread")
        ended = self._end_thread()
        try:
            self._shut()
        finally:
            if ended:
                self._raise_failure()

    def _shut(self) -> None:
        if self._closed:
            return  # another thread was faster
        self._closed = self._closing = True
        try:
            self._stack.close()
        finally:
            self._closing = False
            self._inbox.clear()
            for port in list(self._stack.ports):
                self._stack.detach(port)
            self._nics.clear()
            self._watched.clear()
            if self._loop is not None:
                self._loop.close()
                self._loop = None
            if self._mailbox is not None:
                self._mailbox.close()
            self._release()
            self._poller.close()
            self._thread = self._mailbox = None

    def forked(self) -> None:
        """Release everything in a forked child. Called only by :mod:`slirpy.forks`.

        Descriptors are closed, so that connections of the parent end although the child continues. Nothing is sent,
        written or removed, no lock is taken, and nothing waits for a thread: the child has none.
        """
        mailbox = self._mailbox
        self._forked = self._closed = True
        self._busy = self._interrupted = self._closing = False
        self._thread = self._mailbox = self._loop = None
        self._inbox = []
        for port in list(self._stack.ports):
            port.closed = True
            forks.abandon(port.link)
        self._stack.ports.clear()
        self._nics.clear()
        self._watched.clear()
        if mailbox is not None:
            mailbox.abandon()
        self._release()
        self._poller.close()

    def __reduce__(self) -> NoReturn:
        raise StateError("a network cannot leave its process; pass its Config, and make a Slirp from it there")

    @abc.abstractmethod
    def _release(self) -> None:
        """Close the users of the poller."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
