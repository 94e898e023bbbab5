"""The operating system's network: real, non-blocking sockets."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from slirpy import forks
from slirpy.errortext import strerror
from slirpy.host.addresses import NON_BLOCKING, family_of, name_of, new_socket, place_of
from slirpy.host.ipoptions import hear_errors, hear_local
from slirpy.host.opensockets import OpenSocket, OpenSockets
from slirpy.host.outbound import OutboundDatagram, Source
from slirpy.host.ping import SocketPing, open_ping
from slirpy.host.socketdatagram import SocketDatagram, WildcardDatagram
from slirpy.host.socketstream import SocketStream, tune
from slirpy.interfaces import (
    READ,
    AcceptedStream,
    Acceptor,
    DatagramOwner,
    NameAnswer,
    PingOwner,
    Poller,
    StreamOwner,
)
from slirpy.paths import bind_unix, inode_of, remove_unix

if TYPE_CHECKING:
    from slirpy.host.lookups import Lookups

__all__ = ["SocketDatagram", "SocketHost", "SocketListener", "SocketPing", "SocketStream"]

_BATCH: Final = 64  # connections taken from one listener before others get their turn
_BACKLOG: Final = 1024
_UDP_BUFFER: Final = 1 << 20  # bytes that may wait for the next poll; the system may allow less
_NOBODY: Final = b"\x7f\0\0\1", 0  # a client of a unix socket has no address
_NOT_OWN: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL)
"""Errors with which the system refuses to bind a socket to an address of another host, or of no known family."""
_EXHAUSTED: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class SocketListener(OpenSocket):
    """A :class:`~slirpy.interfaces.Listener` on a TCP socket, or on a unix socket at ``path``."""

    __slots__ = ("_accept", "_inode", "_made_at", "_path", "_sock", "_sockets", "address")

    def __init__(
        self, sockets: OpenSockets, sock: socket.socket, accept: Acceptor, path: str | None = None
    ) -> None:
        self._sockets = sockets
        self._sock: socket.socket | None = sock
        self._accept: Acceptor | None = accept
        self._path = path
        self._made_at = forks.count
        self._inode = inode_of(path) if path is not None else None
        self.address: tuple[bytes, int] = place_of(sock.getsockname()) if path is None else _NOBODY
        sockets.poller.register(sock.fileno(), READ, self._ready)

    def _ready(self, mask: int) -> None:
        for _ in range(_BATCH):
            sock = self._sock
            accept = self._accept
            if sock is None or accept is None:
                return
            try:
                connection, name = sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause(sock)
                    return
                continue  # that connection died in the queue (ECONNABORTED, and Linux passes on network errors)
            try:
                connection.setblocking(False)
                if self._path is None:
                    tune(connection)
            except OSError:  # macOS: it was reset in the queue
                connection.close()
                continue
            stream = SocketStream(self._sockets, connection, None)
            self._sockets.opened(stream)
            address, port = place_of(name) if self._path is None else _NOBODY
            stream.start_accepted(accept(AcceptedStream(stream, address, port)))

    def _pause(self, sock: socket.socket) -> None:
        """Stop accepting: there is no descriptor for the waiting connection, and trying again at once would spin."""
        self._sockets.poller.modify(sock.fileno(), 0, self._ready)
        self._sockets.paused.add(self.resume)

    def resume(self) -> None:
        """Try again, now that a descriptor may be free."""
        if self._sock is not None:
            self._sockets.poller.modify(self._sock.fileno(), READ, self._ready)

    def close(self) -> None:
        """Stop listening; see :meth:`slirpy.interfaces.Listener.close`."""
        sock = self._sock
        if sock is None:
            return
        self._sock = None
        self._accept = None
        self._sockets.poller.unregister(sock.fileno())
        self._sockets.paused.discard(self.resume)
        sock.close()
        if self._path is not None and not forks.is_fork(self._made_at):
            remove_unix(self._path, self._inode)
        self._sockets.released(self)


class SocketHost:
    """A :class:`~slirpy.interfaces.HostNetwork` made of the operating system's sockets.

    Args:
        poller: reports ready sockets; must be polled for anything to happen.
        source: outgoing address or interface of sockets; None: the system's choice.

    Attributes:
        sockets: the open sockets. Other modules that open sockets for the same network register them there.
    """

    __slots__ = ("_closed", "_lookups", "_source", "sockets")

    def __init__(self, poller: Poller, source: Source | None = None) -> None:
        self.sockets = OpenSockets(poller)
        self._source = source
        self._lookups: Lookups | None = None
        self._closed = False

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> SocketStream:
        """Start to connect; see :meth:`slirpy.interfaces.HostNetwork.connect_tcp`."""
        try:
            sock = new_socket(family_of(address), socket.SOCK_STREAM | NON_BLOCKING)
        except OSError as error:
            owner.failed(error.errno or errno.EIO)
            return SocketStream(self.sockets, None, None)
        if self._source is not None:
            try:
                self._source.bind(sock, address)
            except OSError as error:
                sock.close()
                owner.failed(error.errno or errno.EIO)
                return SocketStream(self.sockets, None, None)
        stream = SocketStream(self.sockets, sock, owner)
        self.sockets.opened(stream)
        stream.start_connecting(address, port, ttl)
        return stream

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> SocketListener:
        """Listen at an address of the host; see :meth:`slirpy.interfaces.HostNetwork.listen_tcp`.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = new_socket(family_of(address), socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":  # there SO_REUSEADDR would let two programs share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._bind(sock, address, port)
            sock.listen(_BACKLOG)
            listener = SocketListener(self.sockets, sock, accept)
        except BaseException:
            sock.close()
            raise
        self.sockets.opened(listener)
        return listener

    def listen_unix(self, path: str, accept: Acceptor) -> SocketListener:
        """Listen at the path of a unix socket; see :meth:`slirpy.interfaces.HostNetwork.listen_unix`.

        Raises:
            OSError: the path cannot be used.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, strerror(errno.EAFNOSUPPORT))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            bind_unix(sock, path)
            sock.listen(_BACKLOG)
            listener = SocketListener(self.sockets, sock, accept, path)
        except BaseException:
            sock.close()
            raise
        self.sockets.opened(listener)
        return listener

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> SocketDatagram | OutboundDatagram | int:
        """Open a socket for outward datagrams; see :meth:`slirpy.interfaces.HostNetwork.open_udp`."""
        anywhere = bytes(4 if family == 4 else 16)
        source = self._source
        try:
            if source is None:
                return self._open_udp(anywhere, 0, owner)
            here = source.outbound.source(len(anywhere)) or anywhere
            outward = self._open_udp(here, 0, owner, source=source)
            if source.outbound.loopback and source.outbound.interface is None:
                return outward
            return OutboundDatagram(outward, lambda size: self._open_udp(bytes(size), 0, owner))
        except OSError as error:
            return error.errno or errno.EIO

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> SocketDatagram:
        """Open a UDP socket bound to an address of the host; see :meth:`slirpy.interfaces.HostNetwork.bind_udp`.

        Raises:
            OSError: the address cannot be bound.
        """
        return self._open_udp(address, port, owner, answers=not any(address))

    def _open_udp(
        self,
        address: bytes,
        port: int,
        owner: DatagramOwner,
        *,
        source: Source | None = None,
        answers: bool = False,
    ) -> SocketDatagram:
        sock = new_socket(family_of(address), socket.SOCK_DGRAM)
        try:
            if source is not None:
                source.to_interface(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UDP_BUFFER)
            hear_errors(sock)
            self._bind(sock, address, port)
            kind = WildcardDatagram if answers and hear_local(sock) else SocketDatagram
            peer = kind(self.sockets, sock, owner)
        except BaseException:
            sock.close()
            raise
        self.sockets.opened(peer)
        return peer

    def open_ping(self, owner: PingOwner, family: int = 4) -> SocketPing | int:
        """Open a socket for ICMP echo; see :meth:`slirpy.interfaces.HostNetwork.open_ping`."""
        peer = open_ping(self.sockets, owner, self._source, family)
        if not isinstance(peer, int):
            self.sockets.opened(peer)
        return peer

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        """Ask the host's resolver library; see :meth:`slirpy.interfaces.HostNetwork.lookup`."""
        if self._lookups is None:
            if self._closed:
                return False
            from slirpy.host.lookups import Lookups

            self._lookups = Lookups(self.sockets.poller)
        return self._lookups.start(name, done)

    @staticmethod
    def is_own(address: bytes) -> bool:
        """Report whether an address is one of this host's, on whatever interface: a socket can be bound to it."""
        try:
            with new_socket(family_of(address), socket.SOCK_DGRAM) as sock:
                sock.bind(name_of(address, 0))
        except OSError as error:
            return error.errno not in _NOT_OWN
        return True

    def close(self) -> None:
        """Close all open sockets. Harmless when repeated."""
        self._closed = True
        if self._lookups is not None:
            self._lookups.close()
        self.sockets.close()

    @staticmethod
    def _bind(sock: socket.socket, address: bytes, port: int) -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name_of(address, port))
