"""Streams to programs, threads and tasks on this machine: socket pairs.

A :class:`LocalStream` is one end of a pair; the other belongs to a :class:`Worker`: a program, a thread or a task of
this process. :class:`WorkerPool` limits the number of workers that run at a time. A connection beyond the limit waits
for its turn, with the guest's SYN unanswered. So a guest that opens a thousand connections sees some of them open
late, and the number of processes on the host stays bounded. Guests take turns.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Sequence

from slirpy.fair import RoundRobin
from slirpy.host.opensockets import OpenSockets
from slirpy.host.socketstream import SocketStream
from slirpy.interfaces import Buffer, ServiceNetwork, StreamOwner, Timer
from slirpy.records import Protocol
from slirpy.units import MS

__all__ = ["LocalStream", "Worker", "WorkerPool", "tcp_pair"]

_LOOK = 500 * MS
"""Interval at which running workers are checked for their end."""
_LOOK_SOON = 20 * MS
"""The shorter interval while connections wait, and after a worker has ended."""
CLOSE_SECONDS = 1.0
"""Seconds that all workers together get to end when the network closes."""
THROWN_MAX = 1 << 20
"""Bytes that a guest may send to an ended worker before it gets a reset."""
WAITING_MAX = 1024
"""Connections that may wait for their turn."""


class Worker(Protocol):
    """The user of the other end of a pair."""

    tcp: bool
    """True if it needs a TCP socket of the loopback."""
    failed: bool
    """True if the worker failed, so its end of stream must be reported as a reset. Set before its socket closes."""
    broken: bool
    """True if the failure was its own; set when it has ended."""

    def start(self, sock: socket.socket) -> None:
        """Take over the other end of the pair, unless this raises.

        Raises:
            OSError: the worker cannot be started.
        """

    def hang_up(self, reset: bool, now: int) -> None:
        """End the worker's connection; with ``reset``, by an error."""

    def ended(self, now: int) -> bool:
        """Report whether all of the worker has ended; called at intervals, with the time in nanoseconds."""

    def kill(self, until: float) -> None:
        """End the worker by ``until`` of :func:`time.monotonic`; the network is closed already."""

    def abandon(self) -> None:
        """Close this process's copy of the socket, in a forked child; the rest belongs to the parent."""


class WorkerPool:
    """The workers of one kind.

    Args:
        network: provides the timer for checking workers.
        limit: maximum number that run at a time.
    """

    def __init__(self, network: ServiceNetwork, limit: int) -> None:
        self._network = network
        self._limit = limit
        self._running: list[Worker] = []
        self._waiting: RoundRobin[LocalStream] = RoundRobin()
        self._timer: Timer | None = None
        self._look = 0

    def enter(self, stream: LocalStream, guest: bytes) -> None:
        """Start the worker of a stream, at once or in its turn.

        Beyond the limit of waiting streams one fails: this one, or the newest of the guest that has most.
        """
        self.collect()
        if len(self._running) < self._limit and not self._waiting:
            self._begin(stream)
        elif len(self._waiting) < WAITING_MAX:
            self._waiting.add(stream, guest)
        else:
            refused = self._waiting.to_evict(guest)
            if refused is None:
                refused = stream
            else:
                self._waiting.remove(refused)
                self._waiting.add(stream, guest)
            self._network.stats.guestfwd_refused += 1
            refused.fail(errno.ECONNREFUSED)
        self._watch()

    def leave(self, stream: LocalStream, reset: bool) -> None:
        """Remove a stream that has ended."""
        if not self._waiting.remove(stream):
            stream.worker.hang_up(reset, self._network.now)
        self._watch(soon=True)

    def collect(self) -> None:
        """Forget the workers that have ended, and start the next in turn."""
        now = self._network.now
        running, self._running = self._running, []
        for worker in running:
            if worker.ended(now):
                self._network.stats.guestfwd_broken += worker.broken
            else:
                self._running.append(worker)
        while self._waiting and len(self._running) < self._limit:
            self._begin(self._waiting.next())

    def _begin(self, stream: LocalStream) -> None:
        if stream.begin():
            self._running.append(stream.worker)

    def _watch(self, soon: bool = False) -> None:
        if not self._running and not self._waiting:
            return
        due = self._network.now + (_LOOK_SOON if self._waiting or soon else _LOOK)
        if self._timer is not None:
            if self._look <= due:
                return
            self._timer.cancel()
        self._look = due
        self._timer = self._network.call_at(due, self._alarm)

    def _alarm(self) -> None:
        self._timer = None
        self.collect()
        self._watch()

    def close(self) -> None:
        """End all workers. Their streams are closed already."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._waiting.clear()
        until = time.monotonic() + CLOSE_SECONDS
        for worker in self._running:
            worker.hang_up(True, self._network.now)
        for worker in self._running:
            worker.kill(until)
        self._running.clear()

    def abandon(self) -> None:
        """Release all workers, in a forked child."""
        for worker in self._running:
            worker.abandon()
        self._running.clear()


class LocalStream(SocketStream):
    """One end of a pair whose other end belongs to a worker; a :class:`~slirpy.interfaces.StreamPeer`.

    A worker may end without having read everything. A socket reports that as a reset, but the worker has finished:
    its output is complete, and further data from the guest is discarded, within a limit.
    """

    __slots__ = ("_pool", "_reset", "_thrown", "worker")

    def __init__(
        self, sockets: OpenSockets, owner: StreamOwner, pool: WorkerPool, worker: Worker, guest: bytes
    ) -> None:
        super().__init__(sockets, None, owner)
        self._pool: WorkerPool | None = pool
        self._reset = False
        self._thrown = -1  # bytes discarded, once the worker has ended
        self.worker = worker
        pool.enter(self, guest)

    def begin(self) -> bool:
        """Make the pair and start the worker; False on failure, which is reported to the owner."""
        owner = self._owner
        assert owner is not None
        try:
            ours, theirs = tcp_pair() if self.worker.tcp else socket.socketpair()
        except OSError as error:
            self.fail(error.errno or errno.EIO)
            return False
        try:
            self.worker.start(theirs)
        except OSError:
            theirs.close()
            ours.close()
            self.fail(errno.ECONNREFUSED)
            return False
        ours.setblocking(False)
        self._sock = ours
        self._sockets.opened(self)
        if self._shut:
            self._shut_down(ours)
        self.start_accepted(owner)
        owner.connected()
        if self._wants_room and self._sock is not None:
            owner.writable()
        return True

    def fail(self, error: int) -> None:
        """Report to the owner that there will be no connection."""
        owner, self._owner, self._pool = self._owner, None, None
        if owner is not None:
            owner.failed(error)

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Send data while there is a reader; see :meth:`slirpy.interfaces.StreamPeer.send`."""
        if self._thrown < 0:
            if self._sock is None:
                self._wants_room = True  # it waits for its turn, unless it is over
                return 0
            sent = super().send(buffers)
            if self._thrown < 0:
                return sent
        length = sum(map(len, buffers))
        self._thrown += length
        if self._thrown > THROWN_MAX and self._ended:
            super()._fail(OSError(errno.EPIPE, ""))
        return length

    def send_urgent(self, data: bytes) -> int:
        """Send an urgent byte as ordinary data: programs do not use urgent data."""
        return self.send((data,))

    def recv(self, limit: int) -> bytes | None:
        """Receive data; the end of a failed worker's output is reported as a reset."""
        data = super().recv(limit)
        if data is None and self._thrown >= 0:
            data = super().recv(limit)  # a reset is reported once, and unread data comes after it
        if data == b"" and self.worker.failed and self._sock is not None:
            super()._fail(OSError(errno.ECONNRESET, ""))
            return None
        return data

    def _fail(self, error: OSError) -> None:
        owner = self._owner
        if error.errno in (errno.EPIPE, errno.ECONNRESET) and owner is not None:
            self._thrown = max(self._thrown, 0)
            owner.readable()
        else:
            super()._fail(error)

    def abort(self) -> None:
        """Abort the stream: the guest has reset the connection."""
        self._reset = True
        super().abort()
        self._leave()  # it may never have begun

    def close(self) -> None:
        """Release everything: both directions are finished."""
        super().close()
        self._leave()

    def _release(self) -> None:
        super()._release()
        self._leave()

    def _leave(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            self._owner = None
            pool.leave(self, self._reset)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected TCP sockets of the loopback. No other process can be at either end.

    Raises:
        OSError: the system has no more sockets.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        ours = socket.create_connection(listener.getsockname(), timeout=1.0)
        try:
            listener.settimeout(1.0)
            while True:
                theirs, name = listener.accept()
                if name == ours.getsockname():
                    break
                theirs.close()  # another process connected to this port first
        except BaseException:
            ours.close()
            raise
    for sock in (ours, theirs):
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs
