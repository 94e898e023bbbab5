"""Drivers that poll a network for its user: a thread, or the event loop of :mod:`asyncio`.

Nothing is imported before it is needed: ``import slirpy`` does not load asyncio.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from slirpy.drive.mailbox import Mailbox

if TYPE_CHECKING:
    import asyncio

__all__ = ["LoopDriver", "ThreadDriver", "running_loop", "through_loop"]


Poll: TypeAlias = Callable[[float | None], None]
"""Processes one batch; waits at most this many seconds (None: forever) for work."""
PollUntil: TypeAlias = Callable[[float | None, Callable[[], object]], None]
"""Processes batches until a function returns true."""
OnFrame: TypeAlias = Callable[[bytes], object]


class ThreadDriver:
    """Polls in a daemon thread until :meth:`halt`.

    Args:
        poll: polls the network.
        mailbox: the network's; the new thread becomes its owner. It is closed when the thread ends.
        failed: called in the thread with each exception of a poll; the thread then continues.
    """

    def __init__(self, poll: PollUntil, mailbox: Mailbox, failed: Callable[[BaseException], None]) -> None:
        self._poll = poll
        self._mailbox = mailbox
        self._failed = failed
        self._halted = False
        self._thread = threading.Thread(target=self._run, name="slirpy", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._mailbox.owner = threading.get_ident()  # before the first frame, for the calls of its on_frame
        try:
            while not self._halted:
                try:
                    self._poll(None, self._is_halted)
                except BaseException as error:
                    self._failed(error)
        finally:
            self._mailbox.close()

    def _is_halted(self) -> bool:
        return self._halted

    def halt(self) -> None:
        """Let the thread end after its batch. Called by that thread."""
        self._halted = True

    def join(self) -> None:
        """Wait until the thread has ended; does nothing from within the thread itself."""
        if self._thread is not threading.current_thread():
            self._thread.join()


class LoopDriver:
    """Polls when the running event loop reports that the poller's descriptor is readable, or at the deadline.

    Exceptions of a poll go to the loop's exception handler.

    Args:
        poll: polls the network; calls :meth:`arm` at its end.
        timeout: seconds until ``poll`` is due even if nothing happens, or None.
        descriptor: readable when there is work.

    Raises:
        NotImplementedError: the loop cannot wait for a descriptor (Windows' proactor loop).
    """

    def __init__(self, poll: Poll, timeout: Callable[[], float | None], descriptor: int) -> None:
        import asyncio

        self._poll = poll
        self._timeout = timeout
        self._descriptor = descriptor
        self._loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(descriptor, poll, 0.0)
        self.arm()

    def _due(self) -> None:
        self._timer = None
        self._poll(0.0)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop."""
        return self._loop

    @property
    def running(self) -> bool:
        """True if the loop runs."""
        return self._loop.is_running()

    def arm(self) -> None:
        """Set the timer for the current deadline, which may have moved; it may fire a little early.

        A timer that is too early is kept. It finds no work and is set again, which is cheaper than moving it with
        every acknowledgement.
        """
        delay = self._timeout()
        if delay is None:
            return
        when = self._loop.time() + delay
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._due)

    def close(self) -> None:
        """Stop using the loop."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop."""
    import asyncio

    return asyncio.get_running_loop()


def through_loop() -> Callable[[OnFrame], OnFrame]:
    """Wrap a function so that a call from any thread is made soon by the running event loop."""
    import asyncio

    loop = asyncio.get_running_loop()

    def through(on_frame: OnFrame) -> OnFrame:
        return lambda frame: loop.call_soon_threadsafe(on_frame, frame)

    return through
