"""Waits of blocking programs, as sockets and locks see them."""

from __future__ import annotations

import abc
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from slirpy.records import Protocol
from slirpy.testing.sim.errors import escaped
from slirpy.units import SECOND

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["RUNNING", "WaitingThread", "after", "current_waiter", "wait_for", "waiter"]

T = TypeVar("T")


class WaitingThread(abc.ABC):
    """A thread of a blocking program."""

    @abc.abstractmethod
    def suspend(self, call: str, deadline: int | None) -> bool:
        """Let others run until :meth:`wake` is called, or until ``deadline``.

        Args:
            call: name of the call that waits, for reports.
            deadline: virtual nanoseconds; None: no limit.

        Returns:
            False if the deadline has passed without a call of :meth:`wake`.
        """

    @abc.abstractmethod
    def wake(self) -> None:
        """Let the thread go on as soon as its host's processor is free. Harmless when it does not wait."""


class _Running(threading.local):
    """The thread of a blocking program that runs now, for each real thread. A context variable would not do:
    functions may run in a copy of another context, as those of ``asyncio.to_thread``.
    """

    waiter: WaitingThread | None = None


RUNNING = _Running()
"""Set by the threads themselves."""


def current_waiter() -> WaitingThread | None:
    """Return the thread that runs now; None: no blocking program is running, but a task, or a test."""
    return RUNNING.waiter


def waiter(call: str, instead: str) -> WaitingThread:
    """Return the thread that runs now, for a call that waits.

    Args:
        call: name of the call, for the error.
        instead: advice, for the error.

    Raises:
        EscapeError: what runs now is not a blocking program, so that the wait would stop the whole network.
    """
    found = current_waiter()
    if found is None:
        raise escaped(f"{call} would wait outside of a blocking program, and stop the network; {instead}")
    return found


class Watchable(Protocol):
    """An object that programs can wait for."""

    host: Host

    def watch(self, call: Callable[[], object]) -> None:
        """Call ``call()`` whenever its state may have changed."""

    def unwatch(self, call: Callable[[], object]) -> None:
        """Undo one :meth:`watch`."""


def wait_for(what: Watchable, call: str, attempt: Callable[[], T], limit: float | None) -> T:
    """Return ``attempt()`` as soon as it does not raise :class:`BlockingIOError`.

    Args:
        what: the object on which the result depends.
        call: name of the call, for errors.
        attempt: function that is tried each time the object has changed.
        limit: seconds on the clock of the host; None: no limit.

    Raises:
        TimeoutError: the limit has passed.
        EscapeError: see :func:`waiter`.
    """
    thread = waiter(call, "use asyncio's own calls in an asyncio program")
    deadline = None if limit is None else after(what.host, limit)
    what.watch(thread.wake)
    try:
        while True:
            woken = thread.suspend(call, deadline)
            try:
                return attempt()
            except BlockingIOError:
                if not woken:
                    raise TimeoutError("timed out") from None
    finally:
        what.unwatch(thread.wake)


def after(host: Host, seconds: float) -> int:
    """Return the virtual time at which ``seconds`` have passed on the clock of a host."""
    clock, now = host.clock, host.net.now
    return clock.network_time(clock.monotonic(now) + math.ceil(seconds * SECOND))
