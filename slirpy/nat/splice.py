"""Two streams of the host joined: each receives what the other sends, with back-pressure both ways.

No TCP connection of a guest lies in between, so there are no frames for captures to record.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from slirpy.core.flows import FlowInfo, describe, ending
from slirpy.core.network import Network
from slirpy.fair import Group
from slirpy.interfaces import StreamPeer

__all__ = ["End", "Splice"]

READ_SIZE = 1 << 16
READS = 16
"""Reads from one end in one turn."""


class End:
    """One end; the :class:`~slirpy.interfaces.StreamOwner` of its peer."""

    __slots__ = ("_splice", "ended", "error", "open", "passed", "peer", "pending", "readable_now", "shut")

    def __init__(self, splice: Splice, peer: StreamPeer | None) -> None:
        self._splice = splice
        self.peer = peer
        self.open = peer is not None
        self.error = 0
        self.readable_now = self.open
        self.ended = self.shut = False
        self.pending = memoryview(b"")
        """Bytes that were received here and that the other end has not taken yet."""
        self.passed = 0
        """Bytes that were received here and that the other end has taken."""

    def connected(self) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        self.open = True
        if self._splice.on_outcome is not None:
            self._splice.on_outcome(0)
        self._splice.mark()

    def readable(self) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        self.readable_now = True
        self._splice.mark()

    def writable(self) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        self._splice.mark()

    def failed(self, error: int) -> None:
        """See :class:`~slirpy.interfaces.StreamOwner`."""
        self.error = error
        self.peer = None
        self._splice.mark()

    def urgent(self, data: bytes) -> None:
        """Treat an urgent byte as an ordinary one, in its place."""
        self.pending = memoryview(bytes(self.pending) + data)


class Splice:
    """A client's connection to a forward, and one to a port of the guest's own loopback.

    Args:
        network: serves it at each flush when it is marked.
        client: the client's connection to the forward.
        place: the client's address and port.
        service: address and port of the guest's loopback.
        key: unique among all splices.
        over: called once, at the end, with one of :data:`~slirpy.core.flows.ENDS`.
    """

    __slots__ = (
        "_network",
        "_over",
        "_service",
        "dirty",
        "far",
        "key",
        "last_activity",
        "near",
        "on_outcome",
        "place",
        "share",
        "started",
    )

    def __init__(
        self,
        network: Network,
        client: StreamPeer,
        place: tuple[bytes, int],
        service: tuple[bytes, int],
        key: bytes,
        over: Callable[[Splice, str], None],
    ) -> None:
        self._network = network
        self._over: Callable[[Splice, str], None] | None = over
        self.on_outcome: Callable[[int], None] | None = None
        """Called with 0 when the service has accepted the connection."""
        self.place = place
        self._service = service
        self.key = key
        self.share: Group[Splice] | None = None
        self.started = self.last_activity = network.now
        self.dirty = False
        self.near = End(self, client)
        self.far = End(self, None)

    def mark(self) -> None:
        """Ask for :meth:`service` at the next flush."""
        if not self.dirty:
            self.dirty = True
            self._network.dirty.append(self)

    def service(self, now: int) -> None:
        """Move data in both directions."""
        near, far = self.near, self.far
        if self._over is None:
            return
        if self._error():
            self.abort(self._error())
            return
        if not far.open:
            return
        moved = self._carry(near, far)
        moved += self._carry(far, near)
        if moved:
            self.last_activity = now
        if self._error():
            self.abort(self._error())
        elif near.shut and far.shut:
            self._end("CLOSED")

    def _error(self) -> int:
        return self.near.error or self.far.error

    def _carry(self, source: End, target: End) -> int:
        """Move data from one end to the other; return how many bytes were taken."""
        before = source.passed
        for _ in range(READS):
            if source.pending:
                taken = target.peer.send((source.pending,)) if target.peer is not None else 0
                source.passed += taken
                source.pending = source.pending[taken:]
                if source.pending:
                    return source.passed - before  # the target calls writable() when there is room
            if source.ended or not source.readable_now or source.peer is None:
                break
            source.readable_now = False
            data = source.peer.recv(READ_SIZE)
            if data is not None:
                source.readable_now = True
                source.ended = not data
                source.pending = (
                    memoryview(bytes(source.pending) + data) if source.pending else memoryview(data)
                )
        else:
            self.mark()  # others have their turn first
        if source.ended and not source.pending and not target.shut and target.peer is not None:
            target.shut = True
            target.peer.shutdown()
        return source.passed - before

    def abort(self, error: int) -> None:
        """Reset both ends, as far as they are open. Harmless when repeated."""
        for end in (self.near, self.far):
            if end.peer is not None:
                end.peer.abort()
                end.peer = None
        self._end(ending(error))

    def _end(self, how: str) -> None:
        over, self._over = self._over, None
        for end in (self.near, self.far):
            if end.peer is not None:
                end.peer.close()
                end.peer = None
        if over is not None:
            over(self, how)

    def info(self, now: int, end: str | None = None) -> FlowInfo:
        """Snapshot of this splice; ``end`` is how it ended, if it has."""
        return self.snapshot(now, end)()

    def snapshot(self, now: int, end: str | None = None) -> Callable[[], FlowInfo]:
        """Return a function that describes this splice as it is now, whatever becomes of it."""
        return partial(
            describe,
            "tcp",
            end or ("ESTABLISHED" if self.far.open else "CONNECTING"),
            self._service,
            self.place,
            True,
            (self.far.passed, self.near.passed),
            (0, 0),
            (len(self.far.pending), len(self.near.pending)),
            self.started,
            self.last_activity,
            now,
        )
