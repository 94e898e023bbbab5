"""Locks between the threads of a program."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.waiting import wait_for

__all__ = ["SimLock"]


class SimLock:
    """A lock as ``threading.Lock()`` makes it; RLock, Condition, Event, Semaphore and queues are built on it.

    Args:
        host: the host whose program makes it.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._locked = False
        self._waiting: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<{'locked' if self._locked else 'unlocked'} SimLock of {self.host.name}>"

    def watch(self, call: Callable[[], object]) -> None:
        """Call ``call()`` when the lock is released; callers are served in their order."""
        self._waiting.append(call)

    def unwatch(self, call: Callable[[], object]) -> None:
        """Undo :meth:`watch`. Harmless without it."""
        if call in self._waiting:
            self._waiting.remove(call)

    def _take(self) -> bool:
        if self._locked:
            raise BlockingIOError
        self._locked = True
        return True

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See :meth:`threading.Lock.acquire`."""
        if not blocking and timeout != -1:
            raise ValueError("can't specify a timeout for a non-blocking call")
        if timeout < 0 and timeout != -1:
            raise ValueError("timeout value must be a non-negative number")
        try:
            return self._take()
        except BlockingIOError:
            if not blocking or timeout == 0:
                return False
        try:
            return wait_for(self, "Lock.acquire()", self._take, None if timeout == -1 else timeout)
        except TimeoutError:
            return False

    def release(self) -> None:
        """See :meth:`threading.Lock.release`."""
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False
        if self._waiting:
            self._waiting[0]()

    def locked(self) -> bool:
        """See :meth:`threading.Lock.locked`."""
        return self._locked

    def _at_fork_reinit(self) -> None:
        self._locked = False

    acquire_lock = acquire
    release_lock = release
    locked_lock = locked

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
