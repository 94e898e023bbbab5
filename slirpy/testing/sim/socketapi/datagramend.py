"""UDP sockets of programs."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slirpy.interfaces import Buffer, IcmpReport
from slirpy.testing.sim.datagrams import HostDatagram
from slirpy.testing.sim.socketapi.ends import End, Received, failure, would_block
from slirpy.testing.sim.wellknown import reachable

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["DatagramEnd"]

RECEIVE_BUFFER = 212_992
"""Bytes of datagrams that wait to be read, as ``net.core.rmem_default`` of Linux; what does not fit is lost."""
OVERHEAD = 768
"""Bytes of the buffer that each datagram takes in addition to its payload, about what Linux counts."""
_ANY = {socket.AF_INET: bytes(4), socket.AF_INET6: bytes(16)}


class DatagramEnd(End):
    """A UDP socket: a :class:`~slirpy.interfaces.DatagramOwner`.

    Attributes:
        overflows: number of datagrams that were lost because the program did not read.
    """

    type = socket.SOCK_DGRAM

    def __init__(self, host: Host, family: int) -> None:
        super().__init__(host, family)
        self.overflows = 0
        self._datagram: HostDatagram | None = None
        self._queue: deque[Received] = deque()
        self._size = 0
        self._shut = False

    # ----------------------------------------------------------------------------- callbacks of the host

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        """See :meth:`slirpy.interfaces.DatagramOwner.datagram`."""
        limit = self.options.get((socket.SOL_SOCKET, socket.SO_RCVBUF))
        size = len(payload) + OVERHEAD
        if self._size + size > (2 * limit if isinstance(limit, int) else RECEIVE_BUFFER):
            self.overflows += 1
            return
        self._size += size
        self._queue.append(Received(payload, (address, port)))
        self.changed()

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        """See :meth:`slirpy.interfaces.DatagramOwner.datagram_error`; only connected sockets report errors."""
        if self._datagram is not None and self._datagram.remote is not None:
            self.error = error
            self.changed()

    # ------------------------------------------------------------------------------------ readiness

    def can_read(self) -> bool:
        return bool(self._queue) or self.error != 0 or self._shut

    def has_input(self) -> bool:
        return bool(self._queue) or self._shut

    def can_write(self) -> bool:
        return True

    # ------------------------------------------------------------------------------- calls of programs

    @property
    def local(self) -> tuple[bytes, int] | None:
        datagram = self._datagram
        if datagram is None:
            return None
        address, port = datagram.address
        if datagram.remote is not None and not any(address):
            address = self.host.stack.source_for(datagram.remote[0])
        return address, port

    def remote(self) -> tuple[bytes, int]:
        if self._datagram is None or self._datagram.remote is None:
            raise failure(errno.ENOTCONN)
        return self._datagram.remote

    def bind(self, address: bytes, port: int) -> None:
        if self._datagram is not None:
            raise failure(errno.EINVAL)
        self._open(address, port)

    def _open(self, address: bytes, port: int) -> HostDatagram:
        shared = any(
            self.option(socket.SOL_SOCKET, name)
            for name in (socket.SO_REUSEADDR, getattr(socket, "SO_REUSEPORT", -1))
        )
        bind = self.host.socket_layer.bind
        self._datagram = bind(address, port, self, dual=self.dual, shared=shared)
        return self._datagram

    def _opened(self) -> HostDatagram:
        return self._datagram or self._open(_ANY[socket.AddressFamily(self.family)], 0)

    def connect(self, address: bytes, port: int) -> None:
        self._opened().remote = reachable(address), port

    def disconnect(self) -> None:
        if self._datagram is not None:
            self._datagram.remote = None

    def send(self, buffers: Sequence[Buffer], to: tuple[bytes, int] | None = None) -> int:
        self.raise_error()
        datagram = self._opened()
        place = to or datagram.remote
        if place is None:
            raise failure(errno.EDESTADDRREQ)
        address, port = place
        payload = b"".join(buffers)
        ttl = self.option(socket.IPPROTO_IP, socket.IP_TTL)
        error = datagram.send(payload, reachable(address), port, ttl if isinstance(ttl, int) else 0)
        if error:
            raise failure(error)
        return len(payload)

    def receive(self, limit: int, peek: bool = False) -> Received:
        self.raise_error()
        if not self._queue:
            if self._shut:
                return Received(b"")
            raise would_block()
        found = self._queue[0]
        if not peek:
            self._queue.popleft()
            self._size -= len(found.data) + OVERHEAD
        if len(found.data) > limit:
            return Received(found.data[:limit], found.sender, truncated=True)
        return found

    def shutdown(self, how: int) -> None:
        self.remote()  # ENOTCONN
        if how != socket.SHUT_WR:
            self._shut = True
            self.changed()

    def close(self) -> None:
        if self._datagram is not None:
            self._datagram.close()
