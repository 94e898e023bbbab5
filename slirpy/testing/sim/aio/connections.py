"""Connections and servers of an event loop in virtual time."""

from __future__ import annotations

import asyncio
import errno
import inspect
import socket
import ssl as tls
from collections.abc import Callable, Iterable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from slirpy.interfaces import AcceptedStream, StreamOwner
from slirpy.testing.sim.aio.bases import LoopBase, Server, SSLProtocol, set_nodelay
from slirpy.testing.sim.aio.transport import StreamTransport
from slirpy.testing.sim.current import PROGRAM
from slirpy.testing.sim.errors import EscapeError
from slirpy.testing.sim.names import packed
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.socketapi import SimSocket
from slirpy.testing.sim.socketapi.streamend import StreamEnd
from slirpy.testing.sim.streams import HostStream

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["Connections"]

_TELLS = len(inspect.signature(Server._attach).parameters) > 1
"""True if a server is given the transport with each connection, as since Python 3.13."""
_LOOPBACK = {4: bytes((127, 0, 0, 1)), 16: bytes(15) + b"\1"}


class _Established:
    """An established stream, in the place of a connected socket."""

    def __init__(self, stream: HostStream) -> None:
        self.stream = stream

    def setblocking(self, flag: bool) -> None: ...

    def close(self) -> None:
        self.stream.close()


class _Attempt:
    """The owner of a stream that connects."""

    def __init__(self, future: asyncio.Future[None], address: Any) -> None:
        self._future = future
        self._address = address

    def connected(self) -> None:
        if not self._future.done():
            self._future.set_result(None)

    def readable(self) -> None: ...

    def writable(self) -> None: ...

    def failed(self, error: int) -> None:
        if not self._future.done():
            self._future.set_exception(OSError(error, f"Connect call failed {self._address}"))


class _Serving:
    """A listening socket, whose connections get transports.

    Args:
        loop: the event loop.
        sock: the socket.
        factory: makes the protocol of each connection.
        server: the server.
        context: TLS context; None: plain TCP.
        timeouts: of handshake and shutdown, in seconds.
    """

    def __init__(
        self,
        loop: Any,
        sock: Any,
        factory: Callable[[], Any],
        server: Any,
        context: tls.SSLContext | None,
        timeouts: Any,
    ) -> None:
        self._loop = loop
        self.sock = sock
        self.program = PROGRAM.get()
        loop.endpoints[self] = None
        self._factory = factory
        self._server = server
        self._tls = context
        self._timeouts = timeouts
        self._context = copy_context()

    def release(self) -> None:
        """Stop listening."""
        self._loop.endpoints.pop(self, None)
        self.sock.close()

    def accept(self, accepted: AcceptedStream) -> StreamOwner:
        """Take a new connection."""
        stream = accepted.peer
        assert isinstance(stream, HostStream)
        make = self._factory if self._tls is None else self._wrapped
        return StreamTransport(self._loop, stream, make, self._context.copy(), server=self._server)

    def _wrapped(self) -> Any:
        handshake, shutdown = self._timeouts
        return self._loop.secured(
            self._factory(), self._tls, None, True,
            ssl_handshake_timeout=handshake, ssl_shutdown_timeout=shutdown,
        )  # fmt: skip


class Connections(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """The part of the loop that makes streams and servers."""

    scheduler: Scheduler
    host: Callable[[], Host]
    endpoints: dict[Any, None]
    secure: WeakSet[Any]

    # ----------------------------------------------------------------------------------- connecting

    async def _connect_sock(self, exceptions: Any, addr_info: Any, local_addr_infos: Any = None) -> Any:
        mine: list[OSError] = []
        exceptions.append(mine)
        family, _, _, _, address = addr_info
        try:
            local = self._local(family, local_addr_infos, mine)
            return await self._connect(family, address, local)
        except OSError as error:
            mine.append(error)
            raise
        finally:
            exceptions = mine = None  # type: ignore[assignment] # a circle of references, as in asyncio

    def _local(self, family: int, infos: Any, errors: list[OSError]) -> tuple[bytes | None, int]:
        """Return the address and port from which to connect."""
        if infos is None:
            return None, 0
        for own_family, _, _, _, own in infos:
            if own_family != family:
                continue
            address = packed(own[0], family)
            assert address is not None
            if not any(address) or self.host().stack.is_own(address):
                return address, own[1]
            text = f"error while attempting to bind on address {own!r}: cannot assign requested address"
            errors.append(OSError(errno.EADDRNOTAVAIL, text))
        raise errors.pop() if errors else OSError(f"no matching local address with {family=} found")

    async def _connect(self, family: int, place: Any, local: tuple[bytes | None, int]) -> _Established:
        address = packed(place[0], family)
        if address is None:
            raise OSError(errno.EINVAL, f"{place[0]!r} is not an address of the family")
        if not any(address):
            address = _LOOPBACK[len(address)]
        future = self.create_future()
        stream = self.host().sockets.connect(address, place[1], _Attempt(future, place), local)
        try:
            await future
        except BaseException:
            stream.close()
            raise
        return _Established(stream)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None
    ) -> StreamTransport:
        made = None if waiter is None else partial(_wake, waiter)
        if isinstance(sock, _Established):
            return StreamTransport(self, sock.stream, lambda: protocol, None, made, server)
        end: Any = getattr(sock, "end", None)
        stream = getattr(end, "stream", None)
        if stream is None:
            raise EscapeError(
                f"{sock!r} is not a connected socket of a simulated host; make it in a program, with socket.socket()"
            )
        set_nodelay(sock)
        transport = StreamTransport(self, stream, lambda: protocol, None, made, server, sock)
        if end.error:
            transport.failed(end.error)
        return transport

    def _make_ssl_transport(
        self, rawsock: Any, protocol: Any, sslcontext: Any, waiter: Any = None, **options: Any
    ) -> Any:
        extra, server = options.pop("extra", None), options.pop("server", None)
        wrapped = self.secured(
            protocol, sslcontext, waiter,
            options.pop("server_side", False), options.pop("server_hostname", None), **options,
        )  # fmt: skip
        self._make_socket_transport(rawsock, wrapped, extra=extra, server=server)
        return wrapped._app_transport

    async def start_tls(
        self, transport: Any, protocol: Any, sslcontext: Any, *, server_side: bool = False,
        server_hostname: str | None = None, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """See :meth:`asyncio.loop.start_tls`."""
        if not isinstance(sslcontext, tls.SSLContext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        wrapped = self.secured(
            protocol, sslcontext, waiter, server_side, server_hostname, call_connection_made=False,
            ssl_handshake_timeout=ssl_handshake_timeout, ssl_shutdown_timeout=ssl_shutdown_timeout,
        )  # fmt: skip
        transport.pause_reading()
        transport.set_protocol(wrapped)
        # At once, and not by two calls of the loop, whose order may be random.
        wrapped.connection_made(transport)
        transport.resume_reading()
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return wrapped._app_transport

    def secured(self, protocol: Any, sslcontext: Any, *args: Any, **options: Any) -> Any:
        """Return a new protocol of asyncio that has TLS, and another protocol above."""
        self.net.tls_keys.watch(sslcontext)
        protocol = SSLProtocol(self, protocol, sslcontext, *args, **options)
        self.secure.add(protocol)
        return protocol

    # -------------------------------------------------------------------------------------- serving

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, *, family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE, sock: Any = None, backlog: int = 100, ssl: Any = None,
        reuse_address: bool | None = None, reuse_port: bool | None = None, keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None, ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:  # fmt: skip
        """See :meth:`asyncio.loop.create_server`."""
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        if ssl is None and ssl_handshake_timeout is not None:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if ssl is None and ssl_shutdown_timeout is not None:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")
        if host is not None or port is not None:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            options = {socket.SO_REUSEADDR: reuse_address is not False}
            if reuse_port:
                options[socket.SO_REUSEPORT] = True
            if keep_alive:
                options[socket.SO_KEEPALIVE] = True
            sockets = self._bind(await self._places(host, port, family, flags), options)
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        elif sock.type != socket.SOCK_STREAM:
            raise ValueError(f"A Stream Socket was expected, got {sock!r}")
        else:
            sockets = [sock]
        for each in sockets:
            each.setblocking(False)
        timeouts = ssl_handshake_timeout, ssl_shutdown_timeout
        server = Server(self, sockets, protocol_factory, ssl, backlog, *timeouts)
        if start_serving:
            server._start_serving()
        return server

    async def _places(self, host: Any, port: Any, family: int, flags: int) -> list[Any]:
        """Return the addresses at which to listen, each once, in their order."""
        hosts = (
            [None]
            if host == ""
            else [host]
            if isinstance(host, str) or not isinstance(host, Iterable)
            else host
        )
        places: dict[Any, None] = {}
        for each in hosts:
            infos = await self.getaddrinfo(each, port, family=family, type=socket.SOCK_STREAM, flags=flags)
            places.update(dict.fromkeys(infos))
        return list(places)

    def _bind(self, places: list[Any], options: dict[int, bool]) -> list[Any]:
        sockets: list[SimSocket] = []
        try:
            for family, kind, proto, _, address in places:
                sockets.append(sock := SimSocket(family, kind, proto))
                for option, value in options.items():
                    sock.setsockopt(socket.SOL_SOCKET, option, value)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
                try:
                    sock.bind(address)
                except OSError as error:
                    reason = (error.strerror or "").lower()
                    raise OSError(
                        error.errno, f"error while attempting to bind on address {address!r}: {reason}"
                    ) from None
        except BaseException:
            for each in sockets:
                each.close()
            raise
        return sockets

    def _start_serving(
        self, protocol_factory: Any, sock: Any, sslcontext: Any = None, server: Any = None, backlog: int = 100,
        ssl_handshake_timeout: float | None = None, ssl_shutdown_timeout: float | None = None, *_: Any,
    ) -> None:  # fmt: skip
        timeouts = ssl_handshake_timeout, ssl_shutdown_timeout
        serving = _Serving(self, sock, protocol_factory, server, sslcontext, timeouts)
        sock.end.listener.accept = serving.accept
        waiting = sock.end._accepted
        while waiting:
            stream = waiting.popleft().stream
            serving.accept(AcceptedStream(stream, *stream.remote))

    def _stop_serving(self, sock: Any) -> None:
        for endpoint in list(self.endpoints):
            if isinstance(endpoint, _Serving) and endpoint.sock is sock:
                endpoint.release()

    def socket_of(self, stream: HostStream, host: Host) -> SimSocket:
        """Return a socket for a stream that was made without one."""
        end = StreamEnd(host, socket.AF_INET if len(stream.local[0]) == 4 else socket.AF_INET6)
        end.options[socket.IPPROTO_TCP, socket.TCP_NODELAY] = 1
        end.stream = stream
        return SimSocket.of(end)

    def attach(self, server: Any, transport: StreamTransport) -> None:
        """Tell a server of a connection."""
        server._attach(transport) if _TELLS else server._attach()

    def detach(self, server: Any, transport: StreamTransport) -> None:
        """Tell a server of the end of a connection."""
        server._detach(transport) if _TELLS else server._detach()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
