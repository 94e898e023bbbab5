"""One end of a simulated TCP connection, as a program sees it through its socket.

Both ends are of the same class: the stack holds one, a :class:`~slirpy.testing.world.programs.Remote` the other. The
model covers what a socket shows: bytes that arrive in order after a latency, a bounded buffer, an end in each
direction, resets. Segments, windows and losses are not modelled: they belong to the host's kernel.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import Any

from slirpy.interfaces import Acceptor, Buffer, IcmpReport, StreamOwner
from slirpy.reprs import counted, never_raises
from slirpy.testing.text import socket_text
from slirpy.testing.world.base import SimWorld
from slirpy.testing.world.places import Key, Place

__all__ = ["SimListener", "SimStream"]


class SimStream:
    """A :class:`~slirpy.interfaces.StreamPeer` in memory.

    Args:
        sim: the simulation, which provides time and faults.
        local: address and port of this end.
        remote: address and port of the other end.
        capacity: bytes that this end may have sent and the other not yet received.
        near: whether it is the stack's end. Its calls are recorded, and scripted faults apply to it.
    """

    level_triggered = True

    __slots__ = (
        "_arrival",
        "_capacity",
        "_connected",
        "_ended",
        "_far",
        "_fin",
        "_inbox",
        "_near",
        "_owner",
        "_shut",
        "_sim",
        "_told",
        "_unread",
        "_wants_room",
        "alive",
        "local",
        "remote",
        "ttl",
    )

    def __init__(self, sim: SimWorld, local: Place, remote: Place, capacity: int, near: bool) -> None:
        self._sim = sim
        self.local = local
        self.remote = remote
        self.alive = True
        """True if it is neither closed nor aborted nor failed."""
        self.ttl = 0
        """Time to live of the stack's packets; 0: the system's default."""
        self._capacity = capacity
        self._near = near
        self._owner: StreamOwner | None = None
        self._far: SimStream | None = None
        self._connected = False
        self._inbox: deque[bytes] = deque()
        self._unread = 0  # bytes sent that the far program is not yet known to have received
        self._arrival = 0  # arrival of the last thing sent: later ones must not overtake it
        self._fin = False  # the far side's end has arrived
        self._ended = False  # recv has returned it
        self._shut = False
        self._told = False
        self._wants_room = False

    @property
    def ends(self) -> str:
        """Both addresses as text, this end's first."""
        return f"{socket_text(*self.local)} - {socket_text(*self.remote)}"

    @never_raises
    def __repr__(self) -> str:
        state = "closed" if not self.alive else "connected" if self._connected else "connecting"
        unread = sum(map(len, self._inbox))
        return (
            f"<SimStream {self.ends} {state}: {counted(unread, 'byte')} to read,"
            f" {self._unread} not yet read by the other end>"
        )

    # --------------------------------------------------------------------------- what the owner calls

    def send(self, buffers: Sequence[Buffer]) -> int:
        """See :meth:`slirpy.interfaces.StreamPeer.send`."""
        if not self.alive:
            return 0
        if not self._connected:
            self._wants_room = True
            return 0
        if self._shut:
            self.fail(errno.EPIPE)
            return 0
        offered = sum(map(len, buffers))
        room = min(offered, self._capacity - self._unread)
        taken = self._sim.limit_send(room) if self._near else room
        if taken:
            self._unread += taken
            self._to_far("_arrive", b"".join(buffers)[:taken])
        if taken < offered:
            self._wants_room = True
        if taken < room:  # a scripted short send: nothing else would announce the room
            self._sim.schedule(self._sim.now + self._sim.latency_ns, self._room, 0)
        self._record("send", taken)
        return taken

    def recv(self, limit: int) -> bytes | None:
        """See :meth:`slirpy.interfaces.StreamPeer.recv`."""
        if self._ended:
            return b""
        if not self.alive or not self._connected:
            return None
        self._told = False
        if not self._inbox:
            if not self._fin:
                return None
            self._ended = True
            return b""
        data = self._take(self._sim.limit_recv(limit) if self._near else limit)
        if self._far is not None:
            self._sim.schedule(self._sim.now + self._sim.latency_ns, self._far._room, len(data))
        if self._inbox or self._fin:
            self._sim.schedule(self._sim.now, self._tell)  # level-triggered: repeated while there is data
        return data

    def shutdown(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.shutdown`."""
        self._record("shutdown")
        if not self._shut:
            self._shut = True
            if self.alive and self._connected:
                self._to_far("_finish")

    def abort(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.abort`."""
        if self.alive:
            self._record("abort")
            self._to_far("_reset")
            self._release()

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.close`. Data sent before still arrives, then the end.

        As with a kernel's socket, the far side sees a reset if some of its data was never received.
        """
        if self.alive:
            self._record("close")
            if self._inbox or not self._connected:
                self._to_far("_reset")
            elif not self._shut:
                self._to_far("_finish")
            self._release()

    # ---------------------------------------------------------------------------- what SimHost calls

    def own(self, owner: StreamOwner) -> None:
        """Set the owner; there are no callbacks before."""
        if self.alive:
            self._owner = owner
            self._tell()

    def join(self, far: SimStream) -> None:
        """Make two streams the ends of one connection. This end is established as of now."""
        self._far = far
        far._far = self
        self._connected = True
        self._to_far("_establish")

    def fail(self, error: int, report: IcmpReport | None = None) -> None:
        """Kill the stream, and report it to the owner once."""
        if self.alive:
            owner = self._owner
            self._release()
            tell = getattr(owner, "reported", None)
            if report is not None and tell is not None:
                tell(report)
            if owner is not None:
                owner.failed(error)

    # ------------------------------------------------------------------------- what arrives, and when

    def _to_far(self, what: str, *args: Any) -> None:
        """Deliver something to the other end, after everything that was sent before."""
        if self._far is not None:
            self._arrival = max(self._arrival, self._sim.now + self._sim.latency_ns)
            self._sim.schedule(self._arrival, getattr(self._far, what), *args)

    def _establish(self) -> None:
        owner = self._owner
        if not self.alive or owner is None:
            return
        self._connected = True
        if self._shut:
            self._to_far("_finish")
        owner.connected()
        if self._wants_room and self.alive:
            self._wants_room = False
            owner.writable()

    def _arrive(self, data: bytes) -> None:
        if self.alive:
            self._inbox.append(data)
            self._tell()
        else:
            self._to_far("_reset")  # there is no receiver any more

    def _finish(self) -> None:
        self._fin = True
        self._tell()

    def _reset(self) -> None:
        self.fail(errno.ECONNRESET)

    def _room(self, read: int) -> None:
        self._unread -= read
        if self._wants_room and self._owner is not None and self._unread < self._capacity:
            self._wants_room = False
            self._owner.writable()

    def _tell(self) -> None:
        """Announce data to the owner, unless it was announced and not yet looked at."""
        owner = self._owner
        if owner is None or not self._connected or self._told or self._ended:
            return
        if self._inbox or self._fin:
            self._told = True
            owner.readable()

    def _take(self, limit: int) -> bytes:
        inbox = self._inbox
        parts: list[bytes] = []
        while inbox and limit:
            part = inbox.popleft()
            if len(part) > limit:
                inbox.appendleft(part[limit:])
                part = part[:limit]
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)

    def _record(self, name: str, detail: int | None = None) -> None:
        if self._near:
            self._sim.record(name, self.remote, detail)

    def _release(self) -> None:
        """Drop the owner, and separate the two ends once neither needs the other any more."""
        self.alive = False
        self._owner = None
        self._inbox.clear()
        far = self._far
        if far is not None and not far.alive:
            self._far = far._far = None
        self._sim.released(self)


class SimListener:
    """A :class:`~slirpy.interfaces.Listener` in memory."""

    __slots__ = ("_sim", "accept", "key", "near")

    def __init__(self, sim: SimWorld, key: Key, accept: Acceptor, near: bool) -> None:
        self._sim = sim
        self.key = key
        self.accept = accept
        self.near = near
        """True if it is the stack's."""

    @property
    def text(self) -> str:
        """The listening address as text."""
        return socket_text(*self.key)

    @never_raises
    def __repr__(self) -> str:
        return f"<SimListener {self.text}, of the {'stack' if self.near else 'outside world'}>"

    @property
    def address(self) -> Place:
        """The listening address."""
        address, port = self.key
        return address or b"", port or 0

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.Listener.close`."""
        self._sim.released(self)
