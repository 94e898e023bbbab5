"""The operating system's network: real, non-blocking sockets.

How readiness is handled decides what a busy flow costs:

* **Reading.** READ interest stays on, so that a flow whose owner keeps up needs no system call but ``recv``.
  Only an owner that was told and does not read (the guest's window is shut) makes it be dropped, once; the next
  ``recv`` takes it up again.
* **Writing.** WRITE interest is on only between a short ``send`` and the moment there is room.
* **A reset** must reach the guest at once, also while its window is shut. So a stream is always watched for
  :data:`~slirpy.host.poller.HANGUP`, where the system can do that (epoll). Elsewhere a reset that comes while
  neither READ nor WRITE is wanted is noticed at the next ``send`` or ``recv``.

Data that the socket holds when the reset comes still reaches an owner that is reading; one that is not loses
it, as with any TCP.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import TypeAlias

from slirpy.host.poller import HANGUP
from slirpy.interfaces import (
    READ,
    WRITE,
    AcceptedStream,
    Acceptor,
    Buffer,
    DatagramOwner,
    Poller,
    StreamOwner,
)

__all__ = ["SocketDatagram", "SocketHost", "SocketListener", "SocketStream"]

_HAS_SENDMSG = hasattr(socket.socket, "sendmsg")
_IOV_MAX = 1024  # buffers of one sendmsg; every system takes at least 1024 of them
_BATCH = 64  # connections or datagrams taken from one socket before others have their turn
_BACKLOG = 1024
_DATAGRAM_MAX = 65535
_LINGER_NOTHING = struct.pack(
    "hh" if sys.platform == "win32" else "ii", 1, 0
)  # on, for 0 seconds: close sends RST
_CONNECTING = (errno.EINPROGRESS, errno.EWOULDBLOCK)
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def _pack(name: tuple[str, int]) -> tuple[bytes, int]:
    """An address as :mod:`socket` gives it, as bytes and port."""
    host = name[0]
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), name[1]
    return socket.inet_aton(host), name[1]


def _family(address: bytes) -> socket.AddressFamily:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def _unpack(address: bytes, port: int) -> tuple[str, int]:
    return socket.inet_ntop(_family(address), address), port


class SocketStream:
    """A :class:`~slirpy.interfaces.StreamPeer` on a TCP socket."""

    __slots__ = (
        "_connecting",
        "_ended",
        "_events",
        "_fd",
        "_host",
        "_owner",
        "_shut",
        "_sock",
        "_told",
        "_wants_room",
    )

    def __init__(self, host: SocketHost, sock: socket.socket | None, owner: StreamOwner | None) -> None:
        self._host = host
        self._sock = sock  # None: closed, aborted or failed
        self._owner = owner
        self._fd = -1  # while it is registered with the poller, its descriptor
        self._events = 0
        self._connecting = False
        self._told = False  # the owner knows that there is something to read, and has not read since
        self._ended = False  # recv has met the end
        self._shut = False
        self._wants_room = False  # a send was refused while still connecting

    # --------------------------------------------------------------------------- what the owner calls

    def send(self, buffers: Sequence[Buffer]) -> int:
        """Hand bytes to the socket; see :meth:`slirpy.interfaces.StreamPeer.send`."""
        sock = self._sock
        if sock is None:
            return 0
        if self._connecting:
            self._wants_room = True
            return 0
        try:
            if len(buffers) == 1:
                sent = sock.send(buffers[0])
                wanted = len(buffers[0])
            elif _HAS_SENDMSG:
                sent = sock.sendmsg(buffers if len(buffers) <= _IOV_MAX else buffers[:_IOV_MAX])
                wanted = sum(map(len, buffers))
            else:
                data = b"".join(buffers)
                sent = sock.send(data)
                wanted = len(data)
        except BlockingIOError:
            self._watch(self._events | WRITE)
            return 0
        except OSError as error:
            self._fail(error)
            return 0
        if sent < wanted:
            self._watch(self._events | WRITE)
        return sent

    def recv(self, limit: int) -> bytes | None:
        """Take bytes from the socket; see :meth:`slirpy.interfaces.StreamPeer.recv`."""
        if self._ended:
            return b""
        sock = self._sock
        if sock is None or self._connecting:
            return None
        self._told = False
        try:
            data = sock.recv(limit)
        except BlockingIOError:
            data = None
        except OSError as error:
            self._fail(error)
            return None
        if data == b"":
            self._ended = True
            self._watch(self._events & ~READ)
        elif not self._events & READ:
            self._watch(self._events | READ | HANGUP)
        return data

    def shutdown(self) -> None:
        """Send a FIN after what was sent; see :meth:`slirpy.interfaces.StreamPeer.shutdown`."""
        self._shut = True
        if self._sock is not None and not self._connecting:
            self._shut_down(self._sock)

    def abort(self) -> None:
        """Close with a RST; see :meth:`slirpy.interfaces.StreamPeer.abort`."""
        if self._sock is not None:
            try:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOTHING)
            except OSError:
                pass  # macOS refuses options on a connection that the far side has reset already
            self._release()

    def close(self) -> None:
        """Close in good order; see :meth:`slirpy.interfaces.StreamPeer.close`."""
        self._release()

    # --------------------------------------------------------------------------------------- inside

    def _start_connecting(self, address: bytes, port: int) -> None:
        sock = self._sock
        assert sock is not None
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = sock.connect_ex(_unpack(address, port))
            if error in _CONNECTING:
                self._connecting = True
                self._watch(WRITE)
                return
        except OSError as problem:
            self._fail(problem)
            return
        self._connected(error)

    def _connected(self, error: int) -> None:
        """The outcome of connecting is known."""
        owner = self._owner
        if owner is None:
            return
        if error:
            self._fail(OSError(error, ""))
            return
        self._connecting = False
        self._watch(READ | HANGUP)
        if self._shut and self._sock is not None:
            self._shut_down(self._sock)
        owner.connected()
        if self._wants_room and self._sock is not None:
            owner.writable()

    def start_accepted(self, owner: StreamOwner) -> None:
        """Hand an accepted stream to its owner, unless it has been closed in the meantime."""
        if self._sock is not None:
            self._owner = owner
            self._watch(self._events | READ | HANGUP)

    def _watch(self, events: int) -> None:
        """Change what the poller waits for. Costs a system call, so only if it does change."""
        if events == self._events:
            return
        sock = self._sock
        if sock is None:
            return
        try:
            if self._fd < 0:
                fd = sock.fileno()
                self._host.poller.register(fd, events, self._ready)
                self._fd = fd
            else:
                self._host.poller.modify(self._fd, events, self._ready)
        except OSError as error:  # the system's bound on watched descriptors (ENOSPC)
            self._fail(error)
            return
        self._events = events

    def _ready(self, mask: int) -> None:
        owner = self._owner
        sock = self._sock
        if owner is None or sock is None:
            return
        if self._connecting:
            self._connected(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
            return
        if mask & WRITE:
            self._watch(self._events & ~WRITE)
            owner.writable()
            if self._sock is None:
                return
        if mask & READ:
            if not self._told:
                self._told = True
                owner.readable()
                return  # a reset is found by recv, after the data that came before it
            self._watch(self._events & ~READ)
        if mask & HANGUP:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._fail(OSError(error, ""))
            else:
                # Both directions have ended. That is told again and again, and only recv has anything to add.
                self._watch(0)

    @staticmethod
    def _shut_down(sock: socket.socket) -> None:
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset already (ENOTCONN); reading or the poller tells it

    def _fail(self, error: OSError) -> None:
        owner = self._owner
        self._release()
        if owner is not None:
            owner.failed(error.errno or errno.EIO)

    def _release(self) -> None:
        """Close the socket and cut every reference, so that the memory goes at once."""
        sock = self._sock
        if sock is None:
            return
        self._sock = None
        self._owner = None
        if self._fd >= 0:
            self._host.poller.unregister(self._fd)
            self._fd = -1
        try:
            sock.close()
        except OSError:
            pass  # a reset can be reported by close; the descriptor is gone all the same
        self._host.released(self)


class SocketListener:
    """A :class:`~slirpy.interfaces.Listener` on a TCP socket."""

    __slots__ = ("_accept", "_host", "_sock", "address")

    def __init__(self, host: SocketHost, sock: socket.socket, accept: Acceptor) -> None:
        self._host = host
        self._sock: socket.socket | None = sock
        self._accept: Acceptor | None = accept
        self.address: tuple[bytes, int] = _pack(sock.getsockname())
        host.poller.register(sock.fileno(), READ, self._ready)

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
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:  # macOS: it was reset in the queue
                connection.close()
                continue
            stream = SocketStream(self._host, connection, None)
            self._host.opened(stream)
            address, port = _pack(name)
            stream.start_accepted(accept(AcceptedStream(stream, address, port)))

    def _pause(self, sock: socket.socket) -> None:
        """There is no descriptor for the connection that waits: asking again at once would spin."""
        self._host.poller.modify(sock.fileno(), 0, self._ready)
        self._host.paused.add(self)

    def resume(self) -> None:
        """Try again, now that a descriptor may be free."""
        if self._sock is not None:
            self._host.poller.modify(self._sock.fileno(), READ, self._ready)

    def close(self) -> None:
        """Stop listening; see :meth:`slirpy.interfaces.Listener.close`."""
        sock = self._sock
        if sock is None:
            return
        self._sock = None
        self._accept = None
        self._host.poller.unregister(sock.fileno())
        self._host.paused.discard(self)
        sock.close()
        self._host.released(self)


class SocketDatagram:
    """A :class:`~slirpy.interfaces.DatagramPeer` on a UDP socket."""

    __slots__ = ("_address", "_host", "_owner", "_size", "_sock")

    def __init__(self, host: SocketHost, sock: socket.socket, owner: DatagramOwner) -> None:
        self._host = host
        self._sock: socket.socket | None = sock
        self._owner: DatagramOwner | None = owner
        self._address = _pack(sock.getsockname())
        self._size = len(self._address[0])
        host.poller.register(sock.fileno(), READ, self._ready)

    @property
    def address(self) -> tuple[bytes, int]:
        """The local address and port."""
        return self._address

    def send(self, payload: Buffer, address: bytes, port: int) -> int:
        """Send one datagram; see :meth:`slirpy.interfaces.DatagramPeer.send`."""
        sock = self._sock
        if sock is None:
            return errno.EBADF
        if len(address) != self._size:
            return errno.EAFNOSUPPORT
        try:
            sock.sendto(payload, _unpack(address, port))
        except OSError as error:
            return error.errno or errno.EIO
        return 0

    def _ready(self, mask: int) -> None:
        for _ in range(_BATCH):
            sock = self._sock
            owner = self._owner
            if sock is None or owner is None:
                return
            try:
                payload, name = sock.recvfrom(_DATAGRAM_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                owner.datagram_error(error.errno or errno.EIO)
                continue
            owner.datagram(payload, *_pack(name))

    def close(self) -> None:
        """Release the socket; see :meth:`slirpy.interfaces.DatagramPeer.close`."""
        sock = self._sock
        if sock is None:
            return
        self._sock = None
        self._owner = None
        self._host.poller.unregister(sock.fileno())
        sock.close()
        self._host.released(self)


_Open: TypeAlias = SocketStream | SocketListener | SocketDatagram


class SocketHost:
    """A :class:`~slirpy.interfaces.HostNetwork` made of the operating system's sockets.

    Args:
        poller: tells when sockets are ready; must be polled for anything to happen.
    """

    __slots__ = ("_open", "paused", "poller")

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self._open: set[_Open] = set()
        self.paused: set[SocketListener] = set()
        """Listeners that had no descriptor for a connection. They go on when one of our sockets has closed or
        opened, since either shows that there is a descriptor to be had."""

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner) -> SocketStream:
        """Start to connect; see :meth:`slirpy.interfaces.HostNetwork.connect_tcp`."""
        try:
            sock = socket.socket(_family(address), socket.SOCK_STREAM)
        except OSError as error:
            owner.failed(error.errno or errno.EIO)
            return SocketStream(self, None, None)
        stream = SocketStream(self, sock, owner)
        self.opened(stream)
        stream._start_connecting(address, port)
        return stream

    def listen_tcp(self, address: bytes, port: int, accept: Acceptor) -> SocketListener:
        """Listen at an address of the host; see :meth:`slirpy.interfaces.HostNetwork.listen_tcp`.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = socket.socket(_family(address), socket.SOCK_STREAM)
        try:
            if sys.platform == "win32":  # where SO_REUSEADDR would let two programs share a port
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._bind(sock, address, port)
            sock.listen(_BACKLOG)
            listener = SocketListener(self, sock, accept)
        except BaseException:
            sock.close()
            raise
        self.opened(listener)
        return listener

    def open_udp(self, owner: DatagramOwner, family: int = 4) -> SocketDatagram | None:
        """A socket for outward datagrams; see :meth:`slirpy.interfaces.HostNetwork.open_udp`."""
        try:
            return self.bind_udp(bytes(4 if family == 4 else 16), 0, owner)
        except OSError:
            return None

    def bind_udp(self, address: bytes, port: int, owner: DatagramOwner) -> SocketDatagram:
        """A socket bound to an address of the host; see :meth:`slirpy.interfaces.HostNetwork.bind_udp`.

        Raises:
            OSError: the address cannot be bound.
        """
        sock = socket.socket(_family(address), socket.SOCK_DGRAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            self._bind(sock, address, port)
            peer = SocketDatagram(self, sock, owner)
        except BaseException:
            sock.close()
            raise
        self.opened(peer)
        return peer

    def close(self) -> None:
        """Close everything that is open. Harmless when repeated."""
        for item in tuple(self._open):
            item.close()

    # -------------------------------------------------------------- for the sockets of this module

    def opened(self, item: _Open) -> None:
        """Remember what is open, so that :meth:`close` finds it."""
        self._open.add(item)
        self._resume()

    def released(self, item: _Open) -> None:
        """Forget what was closed."""
        self._open.discard(item)
        self._resume()

    def _resume(self) -> None:
        while self.paused:
            self.paused.pop().resume()

    @staticmethod
    def _bind(sock: socket.socket, address: bytes, port: int) -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(_unpack(address, port))
