"""TCP sockets of programs: listening, connecting, connected."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from slirpy.errors import ConfigError
from slirpy.interfaces import AcceptedStream, Buffer
from slirpy.testing.sim.socketapi.ends import End, Received, failure, would_block
from slirpy.testing.sim.socketapi.options import SETTINGS, configured
from slirpy.testing.sim.streams import HostListener, HostStream
from slirpy.testing.sim.wellknown import reachable

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["StreamEnd"]

_SOMAXCONN = 4096
_LEAST_BUFFER = 1152
"""Bytes of data that the smallest receive buffer of Linux holds."""


class StreamEnd(End):
    """A TCP socket: a :class:`~slirpy.interfaces.StreamOwner`.

    Attributes:
        stream: the connection; None: there is none yet, or any more.
        listener: the listening port; None: it does not listen.
        connecting: True until a connection attempt succeeds or fails.
        dead: True once the connection has failed.
    """

    type = socket.SOCK_STREAM

    def __init__(self, host: Host, family: int) -> None:
        super().__init__(host, family)
        self.stream: HostStream | None = None
        self.listener: HostListener | None = None
        self.connecting = False
        self.dead = False
        self.shut_read = False
        self.shut_write = False
        self._bound: tuple[bytes, int] | None = None
        self._backlog = 0
        self._accepted: deque[StreamEnd] = deque()
        self._peeked = b""

    # ----------------------------------------------------------------------------- callbacks of streams

    def connected(self) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.connected`."""
        self.connecting = False
        self.changed()

    def readable(self) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.readable`."""
        self.changed()

    def writable(self) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.writable`."""
        self.changed()

    def failed(self, error: int) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.failed`."""
        self.error = error
        if self.connecting:
            self.connecting = False
            self.stream = None
        else:
            self.dead = True
        self.changed()

    # ------------------------------------------------------------------------------------ readiness

    def can_read(self) -> bool:
        if self.listener is not None:
            return bool(self._accepted)
        if self.error or self.dead or self.shut_read or self._peeked:
            return True
        stream = self.stream
        return stream is not None and not self.connecting and stream.has_news()

    def can_write(self) -> bool:
        if self.error or self.dead or self.shut_write:
            return True
        if self.stream is None:
            return self.listener is None
        return not self.connecting and self.stream.has_room

    def ended(self) -> bool:
        if self.dead or self.shut_read:
            return True
        return bool(self.error) if self.stream is None else self.stream.ended

    def hung_up(self) -> bool:
        if self.dead:
            return True
        if self.stream is None:
            return self.listener is None
        return self.shut_write and (self.stream.ended or self.shut_read)

    # -------------------------------------------------------------------------------------- addresses

    @property
    def local(self) -> tuple[bytes, int] | None:
        if self.stream is not None:
            return self.stream.local
        if self.listener is not None:
            return self.listener.address
        return self._bound

    def remote(self) -> tuple[bytes, int]:
        if self.stream is None or self.connecting or self.dead:
            raise failure(errno.ENOTCONN)
        return self.stream.remote

    def bind(self, address: bytes, port: int) -> None:
        if self.local is not None:
            raise failure(errno.EINVAL)
        self._bound = (
            address,
            self.host.socket_layer.reserve(self, address, port, dual=self.dual, reuse=self._reuses_address),
        )

    def _reuses_address(self) -> bool:
        return bool(self.option(socket.SOL_SOCKET, socket.SO_REUSEADDR))

    # --------------------------------------------------------------------------------------- listening

    def listen(self, backlog: int) -> None:
        self._backlog = min(max(backlog, 0), _SOMAXCONN)
        if self.listener is not None:
            return
        if self.stream is not None:
            raise failure(errno.EINVAL)
        if self._bound is None:
            self.bind(bytes(4 if self.family == socket.AF_INET else 16), 0)
        assert self._bound is not None
        self.listener = self.host.socket_layer.listen(*self._bound, self._accept, dual=self.dual)
        self.listener.rcv_buffer = self._receive_buffer()
        self.listener.is_full = lambda: len(self._accepted) > self._backlog

    def _accept(self, accepted: AcceptedStream) -> StreamEnd:
        stream = accepted.peer
        assert isinstance(stream, HostStream)
        end = StreamEnd(self.host, self.family)
        end.options.update(self.options)
        end.stream, end.sender = stream, stream.remote
        end._configure()
        self._accepted.append(end)
        self.changed()
        return end

    def accept(self) -> StreamEnd:
        if self.listener is None:
            raise failure(errno.EINVAL)
        if not self._accepted:
            raise would_block()
        return self._accepted.popleft()

    # -------------------------------------------------------------------------------------- connecting

    def connect(self, address: bytes, port: int) -> None:
        if self.listener is not None or (self.stream is not None and not self.connecting):
            raise failure(errno.EISCONN)
        if self.connecting:
            raise failure(errno.EALREADY)
        self.raise_error()
        self.connecting = True
        try:
            self.stream = self.host.socket_layer.connect(
                reachable(address),
                port,
                self,
                self._bound or (None, 0),
                self._receive_buffer(),
            )
        except OSError:
            self.connecting = False
            raise
        self._configure()
        raise BlockingIOError(errno.EINPROGRESS, "Operation now in progress")

    # ------------------------------------------------------------------------------------------- data

    def send(self, buffers: Sequence[Buffer], to: tuple[bytes, int] | None = None) -> int:
        self.raise_error()
        stream = self.stream
        if stream is None or self.dead or self.shut_write:
            raise failure(errno.EPIPE)
        if self.connecting:
            raise would_block()
        sent = stream.send(buffers)
        if not sent and any(len(each) for each in buffers):
            self.raise_error()
            raise would_block()
        return sent

    def receive(self, limit: int, peek: bool = False) -> Received:
        stream = self.stream
        if stream is None:
            self.raise_error()
            raise failure(errno.ENOTCONN)
        if self.connecting:
            raise would_block()
        if peek or self._peeked:
            if stream.available:
                self._peeked += stream.recv(stream.available) or b""
            if self._peeked:
                data = self._peeked[:limit]
                if not peek:
                    self._peeked = self._peeked[limit:]
                return Received(data)
        taken = stream.recv(limit) if limit else b""
        if taken is None:
            self.raise_error()
            if self.dead or self.shut_read:
                return Received(b"")
            raise would_block()
        return Received(taken)

    def shutdown(self, how: int) -> None:
        if self.listener is not None:
            self._stop_listening()
        elif self.stream is None or self.connecting or self.dead:
            raise failure(errno.ENOTCONN)
        else:
            if how in (socket.SHUT_RD, socket.SHUT_RDWR):
                self.shut_read = True
            if how in (socket.SHUT_WR, socket.SHUT_RDWR) and not self.shut_write:
                self.shut_write = True
                self.stream.shutdown()
        self.changed()

    def _stop_listening(self) -> None:
        assert self.listener is not None
        self.listener.close()
        self.listener = None
        for end in self._accepted:
            if end.stream is not None:
                end.stream.abort()
        self._accepted.clear()

    def close(self) -> None:
        if self.listener is not None:
            self._stop_listening()
        self.host.socket_layer.unreserve(self)
        if self.stream is not None:
            if self._peeked:
                self.stream.abort()  # unread
                return
            linger = self.option(socket.SOL_SOCKET, socket.SO_LINGER)
            if isinstance(linger, bytes) and linger[:1] == b"\1" and not any(linger[4:]):
                self.stream.abort()
            else:
                self.stream.close()

    # ---------------------------------------------------------------------------------------- options

    def set_option(self, level: int, name: int, value: int | bytes) -> None:
        if (level, name) in SETTINGS:
            base = self.host.stack.tcp.base if self.stream is None else self.stream.conn.settings
            try:
                configured(base, {**self.options, (level, name): value})
            except ConfigError:
                raise failure(errno.EINVAL) from None
        super().set_option(level, name, value)
        self._configure()

    def _receive_buffer(self) -> int:
        """Return the size that the program has chosen; 0: none."""
        size = self.options.get((socket.SOL_SOCKET, socket.SO_RCVBUF))
        return max(size, _LEAST_BUFFER) if isinstance(size, int) else 0

    def _configure(self) -> None:
        """Apply the options to the connection."""
        if self.stream is not None:
            conn = self.stream.conn
            settings = configured(conn.settings, self.options)
            if settings is not conn.settings:
                conn.configure(settings)
                self.stream.act()
            size = self._receive_buffer()
            if size and size != conn.rcv_limit_max:
                # The handshake has fixed the largest number that the window field can express.
                conn.rcv_limit = conn.rcv_limit_max = min(size, 0xFFFF << conn.rcv_wscale)
        if self.listener is not None:
            self.listener.rcv_buffer = self._receive_buffer()
