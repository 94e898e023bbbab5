"""The ends of ``socketpair()``: two connected sockets in the memory of one host."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slirpy.interfaces import Buffer
from slirpy.testing.sim.socketapi.ends import End, Received, failure, would_block

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["PairEnd"]

BUFFER = 212_992
"""Bytes that one end accepts before the other reads."""


class PairEnd(End):
    """One end; what it sends is received by the other at once."""

    type = socket.SOCK_STREAM

    def __init__(self, host: Host) -> None:
        super().__init__(host, getattr(socket, "AF_UNIX", socket.AF_INET))
        self._other: PairEnd = self
        self._received = bytearray()
        self._ended = False  # the other end sends nothing more
        self._shut_write = False

    @classmethod
    def both(cls, host: Host) -> tuple[PairEnd, PairEnd]:
        """Return two ends of a new pair."""
        one, other = cls(host), cls(host)
        one._other, other._other = other, one
        return one, other

    @classmethod
    def pipe(cls, host: Host) -> tuple[PairEnd, PairEnd]:
        """Return the end to read from, and the end to write to, of a new pipe."""
        reading, writing = cls.both(host)
        reading._shut_write = writing._ended = True
        return reading, writing

    @property
    def local(self) -> tuple[bytes, int] | None:
        return None

    def remote(self) -> tuple[bytes, int]:
        return b"", 0

    def can_read(self) -> bool:
        return bool(self._received) or self._ended

    def can_write(self) -> bool:
        return self._shut_write or len(self._other._received) < BUFFER

    def ended(self) -> bool:
        return self._ended

    def hung_up(self) -> bool:
        return self._ended and self._shut_write

    def send(self, buffers: Sequence[Buffer], to: tuple[bytes, int] | None = None) -> int:
        if self._shut_write:
            raise failure(errno.EPIPE)
        data = b"".join(buffers)
        room = BUFFER - len(self._other._received)
        if data and room <= 0:
            raise would_block()
        self._other._received += data[:room]
        self._other.changed()
        return min(len(data), room)

    def receive(self, limit: int, peek: bool = False) -> Received:
        if not self._received:
            if self._ended:
                return Received(b"")
            raise would_block()
        data = bytes(self._received[:limit])
        if not peek:
            was_full = len(self._received) >= BUFFER
            del self._received[:limit]
            if was_full:
                self._other.changed()
        return Received(data)

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self._shut_write = True
            self._other._ended = True
        if how != socket.SHUT_WR:
            self._ended = True
            self._other._shut_write = True
        self._other.changed()
        self.changed()

    def close(self) -> None:
        self.shutdown(socket.SHUT_RDWR)
