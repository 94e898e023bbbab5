"""Sockets of another network namespace, for the loopback of the guest that lives there.

A socket belongs to the namespace of the process that opened it, even after it was passed to another process. So the
process inside only has to open sockets and pass them out; they are connected and used here. Each takes a moment to
arrive, and earlier calls are queued.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import TypeAlias

from slirpy.host.addresses import name_of
from slirpy.host.ipoptions import hear_errors
from slirpy.host.opensockets import OpenSockets
from slirpy.host.socketdatagram import SocketDatagram
from slirpy.host.socketstream import SocketStream
from slirpy.interfaces import Buffer, DatagramOwner, DatagramPeer, OneByOne, StreamOwner, StreamPeer

__all__ = ["InsideSockets", "SocketOpener"]

SocketOpener: TypeAlias = Callable[[socket.SocketKind, Callable[[socket.socket | None], None]], None]
"""Opens an IPv4 socket of a kind inside, and calls back with it or with None, at once or later."""
_LOOPBACKS = {4: b"\x7f\0\0\x01", 16: bytes(15) + b"\x01"}
_WAITING = 16
"""Datagrams that may wait for their socket."""


class InsideSockets:
    """The :class:`~slirpy.nat.inside.Inside` of a network namespace.

    Args:
        sockets: the open sockets of the guest's network.
        guest: address of the guest in the namespace, four or sixteen bytes. Its family is that of the loopback.
        open_socket: opens sockets in the namespace.
    """

    def __init__(self, sockets: OpenSockets, guest: bytes, open_socket: SocketOpener) -> None:
        self._sockets = sockets
        self._open_socket = open_socket
        self.guest = guest
        self._loopback = _LOOPBACKS[len(guest)]

    def connect_tcp(self, port: int, owner: StreamOwner) -> StreamPeer:
        """See :meth:`slirpy.nat.inside.Inside.connect_tcp`."""
        stream = _Stream(self._sockets, owner, (self._loopback, port))
        self._open_socket(socket.SOCK_STREAM, stream.arrive)
        return stream

    def open_udp(self, owner: DatagramOwner) -> DatagramPeer:
        """See :meth:`slirpy.nat.inside.Inside.open_udp`."""
        peer = _Datagrams(self._sockets, owner, self._loopback)
        self._open_socket(socket.SOCK_DGRAM, peer.arrive)
        return peer


class _Stream(SocketStream):
    """A connection to the loopback inside; its socket may not have arrived yet."""

    __slots__ = ("_over", "_service")

    def __init__(self, sockets: OpenSockets, owner: StreamOwner, service: tuple[bytes, int]) -> None:
        super().__init__(sockets, None, owner)
        self._service = service
        self._over = False

    def arrive(self, sock: socket.socket | None) -> None:
        """Use the socket that has arrived; None if it could not be opened."""
        if self._over:
            if sock is not None:
                sock.close()
        elif sock is None:
            owner, self._owner = self._owner, None
            if owner is not None:
                owner.failed(errno.EMFILE)
        else:
            self._sock = sock
            self._sockets.opened(self)
            self.start_connecting(*self._service)

    def abort(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.abort`."""
        super().abort()
        self._forget()

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.close`."""
        super().close()
        self._forget()

    def _forget(self) -> None:
        self._over = True
        self._owner = None


class _Datagrams(OneByOne):
    """A :class:`~slirpy.interfaces.DatagramPeer` inside; its socket may not have arrived yet."""

    __slots__ = ("_loopback", "_over", "_owner", "_peer", "_sockets", "_waiting")

    def __init__(self, sockets: OpenSockets, owner: DatagramOwner, loopback: bytes) -> None:
        self._loopback = loopback
        self._sockets = sockets
        self._owner: DatagramOwner | None = owner
        self._peer: SocketDatagram | None = None
        self._waiting: list[tuple[bytes, bytes, int]] = []
        self._over = False

    def arrive(self, sock: socket.socket | None) -> None:
        """Use the socket that has arrived; None if it could not be opened."""
        if self._over or self._owner is None:
            if sock is not None:
                sock.close()
            return
        waiting, self._waiting = self._waiting, []
        if sock is None:
            self._over = True
            for _ in waiting:
                if self._owner is not None:
                    self._owner.datagram_error(errno.EMFILE)
            return
        try:
            sock.setblocking(False)
            hear_errors(sock)
            sock.bind(name_of(self._loopback, 0))
            self._peer = SocketDatagram(self._sockets, sock, self._owner)
        except OSError as error:
            sock.close()
            self._over = True
            self._owner.datagram_error(error.errno or errno.EIO)
            return
        self._sockets.opened(self._peer)
        for payload, address, port in waiting:
            error_number = self._peer.send(payload, address, port)
            if error_number and self._owner is not None:
                self._owner.datagram_error(error_number)

    @property
    def address(self) -> tuple[bytes, int]:
        """Local address and port inside."""
        return (bytes(len(self._loopback)), 0) if self._peer is None else self._peer.address

    @property
    def mtu(self) -> int:
        """See :attr:`slirpy.interfaces.DatagramPeer.mtu`."""
        return 0 if self._peer is None else self._peer.mtu

    def send(
        self, payload: Buffer, address: bytes, port: int, ttl: int = 0, dont_fragment: bool | None = None
    ) -> int:
        """See :meth:`slirpy.interfaces.DatagramPeer.send`."""
        if self._peer is not None:
            return self._peer.send(payload, address, port, ttl, dont_fragment)
        if self._over:
            return errno.EBADF
        if len(self._waiting) == _WAITING:
            return errno.EAGAIN
        self._waiting.append((bytes(payload), address, port))
        return 0

    def close(self) -> None:
        """See :meth:`slirpy.interfaces.DatagramPeer.close`."""
        self._over = True
        self._owner = None
        self._waiting.clear()
        if self._peer is not None:
            self._peer.close()
