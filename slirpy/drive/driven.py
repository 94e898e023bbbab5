"""Drivers of a network: its owner's calls, a thread, or an event loop; and the end of a network."""

from __future__ import annotations

import abc
from collections.abc import Callable
from threading import get_ident
from types import TracebackType
from typing import NoReturn, Self

from slirpy import forks
from slirpy.drive.drivers import LoopDriver, ThreadDriver, running_loop, through_loop
from slirpy.drive.mailbox import Mailbox
from slirpy.drive.nic import Nic
from slirpy.drive.polled import Polled
from slirpy.errors import StateError
from slirpy.targets.opener import LocalTargetOpener

__all__ = ["Driven"]


class Driven(Polled, abc.ABC):
    """The part of :class:`slirpy.Slirp` that is driven: by its owner's calls, by a thread, or by an event loop."""

    _local: LocalTargetOpener

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self._nics: list[Nic] = []
        self._through: Callable[[Callable[[bytes], object]], Callable[[bytes], object]] | None = None
        forks.tell_in_child(self, type(self).forked)

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
        self._background = ThreadDriver(self._poll, self._mailbox, self._failed)

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
            self._background = self._mailbox = None
            self._raise_failure()

    def _end_thread(self) -> bool:
        """Try to end the background thread; returns whether it ended. Its mailbox stays, closed, and refuses new
        calls.
        """
        thread, mailbox = self._background, self._mailbox
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

    def close(self) -> None:
        """Stop, reset all connections on both sides, and release everything. Harmless when repeated.

        Does nothing in a process that was forked from the one that made the network: the network continues there.

        Raises:
            StateError: an event loop drives the network in another thread; close it there.
            BaseException: as :meth:`stop`; the network is closed nevertheless.
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
            self._background = self._mailbox = None

    def forked(self) -> None:
        """Release everything in a forked child. Called only by :mod:`slirpy.forks`.

        Descriptors are closed, so that connections of the parent end although the child continues. Nothing is sent,
        written or removed, no lock is taken, and nothing waits for a thread: the child has none.
        """
        mailbox = self._mailbox
        self._forked = self._closed = True
        self._busy = self._interrupted = self._closing = False
        self._background = self._mailbox = self._loop = None
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
