"""Servers of an event loop in virtual time."""

from __future__ import annotations

import inspect
import socket
import ssl as tls
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any

from slirpy.interfaces import AcceptedStream, StreamOwner
from slirpy.testing.sim.aio.bases import LoopBase, Server
from slirpy.testing.sim.aio.readiness import simulated
from slirpy.testing.sim.aio.transport import StreamTransport
from slirpy.testing.sim.current import PROGRAM
from slirpy.testing.sim.socketapi import SimSocket
from slirpy.testing.sim.socketapi.streamend import StreamEnd
from slirpy.testing.sim.streams import HostStream

__all__ = ["Servers"]

_TAKES_TRANSPORT = len(inspect.signature(Server._attach).parameters) > 1
"""True if the server is passed the transport of each connection, as from Python 3.13 on."""


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


class Servers(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """The part of the loop that makes servers."""

    endpoints: dict[Any, None]

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
        ssl_handshake_timeout: float | None = None, ssl_shutdown_timeout: float | None = None, *_: Any, **__: Any,
    ) -> None:  # fmt: skip
        timeouts = ssl_handshake_timeout, ssl_shutdown_timeout
        end = simulated(sock).end
        assert isinstance(end, StreamEnd)
        assert end.listener is not None
        serving = _Serving(self, sock, protocol_factory, server, sslcontext, timeouts)
        end.listener.accept = serving.accept
        waiting = end._accepted
        while waiting:
            stream = waiting.popleft().stream
            assert stream is not None
            serving.accept(AcceptedStream(stream, *stream.remote))

    def _stop_serving(self, sock: Any) -> None:
        for endpoint in list(self.endpoints):
            if isinstance(endpoint, _Serving) and endpoint.sock is sock:
                endpoint.release()

    def attach(self, server: Any, transport: StreamTransport) -> None:
        """Report a connection to its server."""
        server._attach(transport) if _TAKES_TRANSPORT else server._attach()

    def detach(self, server: Any, transport: StreamTransport) -> None:
        """Report the end of a connection to its server."""
        server._detach(transport) if _TAKES_TRANSPORT else server._detach()
