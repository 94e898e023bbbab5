"""Functions of this process behind guestfwd, with one thread for each connection."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeAlias

from slirpy.interfaces import FlowRequest

__all__ = ["THREADS", "ThreadWorker"]

THREADS = 64
"""Maximum number of threads at a time, for all rules together."""

ThreadHandler: TypeAlias = Callable[[socket.socket, FlowRequest], object]


class ThreadWorker:
    """``handler(connection, flow)`` in a daemon thread; a :class:`~slirpy.targets.localstream.Worker`.

    The socket is closed when the handler returns. An exception goes to :func:`threading.excepthook`, and the guest's
    connection is reset.
    """

    __slots__ = ("_flow", "_handler", "_sock", "_thread", "broken", "failed", "tcp")

    def __init__(self, handler: ThreadHandler, flow: FlowRequest) -> None:
        self._handler = handler
        self._flow = flow
        self._thread: threading.Thread | None = None
        self._sock: socket.socket | None = None
        self.tcp = self.failed = self.broken = False

    def start(self, sock: socket.socket) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.start`."""
        self._sock = sock
        self._thread = threading.Thread(target=self._run, args=(sock,), name="slirpy-guestfwd", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # the system's limit
            raise OSError(*error.args) from None

    def _run(self, sock: socket.socket) -> None:
        with sock:
            try:
                self._handler(sock, self._flow)
            except (BrokenPipeError, ConnectionResetError):
                self.failed = True  # the guest has gone, which needs no report
            except Exception:  # any exception of a user's function ends its connection and is reported
                self.failed = True
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def hang_up(self, reset: bool, now: int) -> None:
        """Shut the socket down: the handler reads the end, or its writes fail; nothing else can end a thread."""

    def ended(self, now: int) -> bool:
        """Report whether the handler has returned."""
        return self._thread is None or not self._thread.is_alive()

    def kill(self, until: float) -> None:
        """Abandon a handler that does not notice the end."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(max(until - time.monotonic(), 0))

    def abandon(self) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.abandon`."""
        if self._sock is not None:
            self._sock.close()
