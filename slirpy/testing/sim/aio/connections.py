"""Connections and servers of an event loop in virtual time."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl as tls
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from slirpy.testing.sim.aio.bases import LoopBase, SSLProtocol, set_nodelay
from slirpy.testing.sim.aio.readiness import simulated
from slirpy.testing.sim.aio.transport import StreamTransport
from slirpy.testing.sim.names import packed
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.socketapi import SimSocket
from slirpy.testing.sim.socketapi.streamend import StreamEnd
from slirpy.testing.sim.streams import HostStream
from slirpy.testing.sim.wellknown import reachable

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["Connections"]


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
        future = self.create_future()
        stream = self.host().socket_layer.connect(reachable(address), place[1], _Attempt(future, place), local)
        try:
            await future
        except BaseException:
            stream.close()
            raise
        return _Established(stream)

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None, server: Any = None, **_: Any
    ) -> StreamTransport:
        made = None if waiter is None else partial(_wake, waiter)
        if isinstance(sock, _Established):
            return StreamTransport(self, sock.stream, lambda: protocol, None, made, server)
        end = simulated(sock).end
        assert isinstance(end, StreamEnd)
        stream = end.stream
        if stream is None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
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

    def socket_of(self, stream: HostStream, host: Host) -> SimSocket:
        """Return a socket for a stream that was made without one."""
        end = StreamEnd(host, socket.AF_INET if len(stream.local[0]) == 4 else socket.AF_INET6)
        end.options[socket.IPPROTO_TCP, socket.TCP_NODELAY] = 1
        end.stream = stream
        return SimSocket.of(end)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
