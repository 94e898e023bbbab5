"""Frames and calls from other threads, taken in order by the one thread that drives the network.

The network has no lock. While a thread or an event loop drives it, it belongs to that thread; another thread leaves
a note here, wakes the owner, and waits for the result if there is one. A lock around the network would work for
epoll, but not for ``select``, which ignores registrations made while it waits; and each batch would have to take it.
"""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import Final, TypeVar

from slirpy.errors import StateError
from slirpy.fair import TURN
from slirpy.interfaces import READ, Poller

__all__ = ["LIMIT", "Mailbox"]

LIMIT: Final = 1024
"""Frames that may wait."""
_BATCH: Final = 256  # notes handled before sockets and timers get their turn

_T = TypeVar("_T")


class _Call:
    """A call of another thread.

    Args:
        function: makes the call.
        done: called at its end, by the thread that drives the network.
    """

    __slots__ = ("done", "function")

    def __init__(self, function: Callable[[], object], done: Callable[[BaseException | None], object]) -> None:
        self.function = function
        self.done = done

    def __call__(self) -> None:
        failure = None
        try:
            self.function()
        except BaseException as error:
            failure = error
        finally:
            self.done(failure)


class Mailbox:
    """A bounded queue of notes, with a socket that wakes the poller of the thread that reads them.

    Args:
        poller: poller of the driving thread; :meth:`close` unregisters from it.
        refused: called in that thread with the number of notes dropped for lack of room.

    Attributes:
        owner: identity of the driving thread, as from :func:`threading.get_ident`; None until it runs.
    """

    __slots__ = (
        "_closed",
        "_lock",
        "_notes",
        "_poller",
        "_receiver",
        "_refused",
        "_sender",
        "_signaled",
        "_tell_refused",
        "owner",
    )

    def __init__(self, poller: Poller, refused: Callable[[int], None], owner: int | None = None) -> None:
        self.owner = owner
        self._poller = poller
        self._tell_refused = refused
        self._lock = threading.Lock()
        self._notes: deque[Callable[[], object]] = deque()
        self._signaled = self._closed = False
        self._refused = 0
        self._receiver, self._sender = socket.socketpair()
        self._receiver.setblocking(False)
        poller.register(self._receiver.fileno(), READ, self._ready)

    def foreign(self) -> bool:
        """Report whether the caller is not the thread that reads the notes."""
        return self.owner != threading.get_ident()

    def offer(self, notes: Sequence[Callable[[], object]]) -> int:
        """Leave as many notes as there is room for, without waiting; returns their number."""
        with self._lock:
            room = 0 if self._closed else max(LIMIT - len(self._notes), 0)
            taken = min(room, len(notes))
            self._refused += len(notes) - taken
            if taken:
                self._notes.extend(notes[:taken])
                self._signal()
        return taken

    def call(self, function: Callable[[], _T]) -> _T:
        """Let the driving thread call ``function``; returns or raises its result.

        Raises:
            StateError: the network is no longer driven.
        """
        result: list[_T] = []
        failures: list[BaseException | None] = []
        over = threading.Event()

        def done(failure: BaseException | None) -> None:
            failures.append(failure)
            over.set()

        self.post(lambda: result.append(function()), done)
        over.wait()
        if failures[0] is not None:
            raise failures[0]
        return result[0]

    def post(self, function: Callable[[], object], done: Callable[[BaseException | None], object]) -> None:
        """Let the driving thread call ``function``, without waiting for it.

        The caller limits the number of its calls that wait here; a thread that uses :meth:`call` has one.

        Args:
            function: makes the call.
            done: called by that thread, with the exception of ``function`` or None; or with a StateError, if the
                network is no longer driven before it was called. It returns at once and raises nothing.

        Raises:
            StateError: the network is no longer driven.
        """
        with self._lock:
            if self._closed:
                raise _stopped()
            self._notes.append(_Call(function, done))
            self._signal()

    def _signal(self) -> None:
        """Wake the reader; at most one byte is ever in transit, so this cannot block."""
        if not self._signaled:
            self._signaled = True
            self._sender.send(b"\0")

    def _ready(self, mask: int) -> None:
        notes = self._notes
        end = monotonic_ns() + TURN
        for _ in range(_BATCH):
            if not notes or self._closed:
                break
            if notes.popleft()() and monotonic_ns() >= end:
                break
        with self._lock:
            if not notes and self._signaled and not self._closed:  # otherwise the socket stays readable
                self._signaled = False
                self._receiver.recv(1)
            refused, self._refused = self._refused, 0
        if refused:
            self._tell_refused(refused)

    def close(self) -> None:
        """Accept no more notes, and notify the waiting threads. Harmless when repeated."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._poller.unregister(self._receiver.fileno())
        self.abandon()
        while self._notes:
            note = self._notes.popleft()
            if isinstance(note, _Call):
                note.done(_stopped())

    def abandon(self) -> None:
        """Only close the descriptors, in a forked child: the lock may belong to a thread that does not exist here."""
        self._receiver.close()
        self._sender.close()


def _stopped() -> StateError:
    return StateError(
        "the network was stopped or closed while another thread used it; end that thread's use first"
    )
