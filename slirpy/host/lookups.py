"""The host's resolver library, which blocks: a few threads call it and pass the answers to the driving thread.

The threads are daemons: nothing can end a lookup that hangs, and a program must still be able to exit. They
and the socket that wakes the poller are created by the first lookup.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from slirpy import forks
from slirpy.interfaces import READ, NameAnswer, Poller

__all__ = ["LOOKUPS_MAX", "THREADS", "Lookups"]

THREADS = 8
LOOKUPS_MAX = 256
"""Lookups in progress, including those that wait for a thread."""

Done: TypeAlias = Callable[[NameAnswer], None]

_NO_ADDRESS = {getattr(socket, name) for name in ("EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)} - {
    socket.EAI_NONAME
}


class Lookups:
    """Looks up names for one thread.

    Args:
        poller: poller of that thread.
    """

    __slots__ = (
        "_answers",
        "_closed",
        "_lock",
        "_made_at",
        "_poller",
        "_receiver",
        "_sender",
        "_tasks",
        "_threads",
        "_waiting",
    )

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._made_at = forks.count
        self._lock = threading.Lock()
        self._tasks: queue.SimpleQueue[tuple[str, Done] | None] = queue.SimpleQueue()
        self._answers: deque[tuple[Done, NameAnswer]] = deque()
        self._waiting = 0
        self._threads = 0
        self._closed = False
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None

    def start(self, name: str, done: Done) -> bool:
        """Look a name up; see :meth:`slirpy.interfaces.HostNetwork.lookup`."""
        if self._closed or self._waiting >= LOOKUPS_MAX:
            return False
        if self._receiver is None:
            try:
                self._receiver, self._sender = socket.socketpair()
            except OSError:
                return False  # no descriptors are left
            self._receiver.setblocking(False)
            self._sender.setblocking(False)
            self._poller.register(self._receiver.fileno(), READ, self._ready)
        self._waiting += 1
        if self._threads < min(self._waiting, THREADS):
            try:
                threading.Thread(target=self._work, name="slirpy-lookup", daemon=True).start()
                self._threads += 1
            except RuntimeError:  # the system has no more threads
                if not self._threads:
                    self._waiting -= 1
                    return False
        self._tasks.put((name, done))
        return True

    def close(self) -> None:
        """Stop calling back. Threads end with their current lookup. Harmless when repeated."""
        if forks.is_fork(self._made_at):  # a fork has no threads, and one of them may have held the lock
            self._closed = True
        else:
            with self._lock:
                if self._closed:
                    return
                self._closed = True
            for _ in range(self._threads):
                self._tasks.put(None)
        if self._receiver is not None and self._sender is not None:
            self._poller.unregister(self._receiver.fileno())
            self._receiver.close()
            self._sender.close()
        self._answers.clear()

    def _ready(self, mask: int) -> None:
        """Deliver the results of the threads, in the driving thread."""
        receiver = self._receiver
        assert receiver is not None
        try:
            receiver.recv(LOOKUPS_MAX)
        except BlockingIOError:
            pass  # spurious wake-up
        while self._answers and not self._closed:
            done, answer = self._answers.popleft()
            self._waiting -= 1
            done(answer)

    def _work(self) -> None:
        """Run one of the threads."""
        while (task := self._tasks.get()) is not None and not self._closed:
            name, done = task
            answer = _ask(name)
            with self._lock:
                if self._closed or self._sender is None:
                    return
                self._answers.append((done, answer))
                try:
                    self._sender.send(b"\0")
                except BlockingIOError:
                    pass  # it is full, so the reader is woken anyway


def _ask(name: str) -> NameAnswer:
    try:
        # As bytes: Python would apply IDNA to text, and reject names that are not valid IDNA.
        found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_NONAME:
            return NameAnswer((), False)
        return NameAnswer((), True if error.errno in _NO_ADDRESS else None)
    except (OSError, UnicodeError):
        return NameAnswer((), None)
    addresses = []
    for family, _, _, _, place in found:
        host = place[0]
        if family in (socket.AF_INET, socket.AF_INET6) and isinstance(host, str):
            try:
                addresses.append(socket.inet_pton(family, host.partition("%")[0]))
            except OSError:
                continue
    return NameAnswer(tuple(addresses), True)
