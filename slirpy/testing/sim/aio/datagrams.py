"""UDP of an event loop in virtual time."""

from __future__ import annotations

import asyncio
import socket
from asyncio import transports
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from typing import Any

from slirpy.interfaces import Buffer
from slirpy.reprs import never_raises
from slirpy.testing.sim.aio.bases import LoopBase
from slirpy.testing.sim.aio.handles import SimHandle
from slirpy.testing.sim.aio.readiness import simulated
from slirpy.testing.sim.socketapi import SimSocket

__all__ = ["DatagramTransport", "Datagrams"]

_READ = 256 * 1024
_BLOCKED = BlockingIOError, InterruptedError


class DatagramTransport(transports.DatagramTransport):
    """A transport on a UDP socket.

    As those of streams, it has one call of the loop at a time for all calls of its protocol.

    Args:
        loop: the event loop.
        sock: the socket, which it closes.
        protocol: receiver of datagrams and errors.
        address: the only address to which it sends; None: any.
        waiter: future that is set after ``connection_made``.
    """

    def __init__(
        self, loop: Any, sock: SimSocket, protocol: Any, address: Any, waiter: asyncio.Future[None] | None
    ) -> None:
        super().__init__({"socket": TransportSocket(sock)})
        self._loop = loop
        self._sock = sock
        self._end = sock.end
        self._protocol = protocol
        self._address = address
        self._waiter = waiter
        self._handle = SimHandle(self._events, (), loop, None)
        self._waiting = self._made = self._closing = self._closed = False
        self._lost = False
        self._failure: BaseException | None = None
        self._end.watch(self._wake)
        loop.endpoints[self] = None
        self._wake()

    @property
    def program(self) -> Any:
        """The program to which it belongs."""
        return self._handle.program

    @never_raises
    def __repr__(self) -> str:
        return f"<DatagramTransport {self._sock!r}{' closing' if self._closing else ''}>"

    def _wake(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._loop.scheduler.soon(self._handle.processor, self._handle._run)

    def _events(self) -> None:
        """Make the calls of the protocol that are due."""
        self._waiting = False
        if not self._made:
            self._made = True
            self._protocol.connection_made(self)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        while not self._closing and self._end.can_read():
            try:
                data, sender = self._sock.recvfrom(_READ)
            except _BLOCKED:
                break
            except OSError as error:
                self._protocol.error_received(error)
            else:
                self._protocol.datagram_received(data, sender)
        if self._lost and not self._closed:
            self.release()
            self._protocol.connection_lost(self._failure)

    def sendto(self, data: Buffer, addr: Any = None) -> None:
        """See :meth:`asyncio.DatagramTransport.sendto`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._address is not None:
            if addr not in (None, self._address):
                raise ValueError(f"Invalid address: must be None or {self._address}")
            addr = self._address
        if self._lost:
            return
        try:
            if self.get_extra_info("peername") is not None:
                self._sock.send(data)
            else:
                self._sock.sendto(data, addr)
        except _BLOCKED:
            return
        except OSError as error:
            self._protocol.error_received(error)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See :meth:`asyncio.BaseTransport.get_extra_info`: sockname, peername, socket."""
        if name in ("sockname", "peername"):
            if self._closed:
                return default
            try:
                return self._sock.getsockname() if name == "sockname" else self._sock.getpeername()
            except OSError:
                return default
        return super().get_extra_info(name, default)

    def set_protocol(self, protocol: Any) -> None:
        """See :meth:`asyncio.BaseTransport.set_protocol`."""
        self._protocol = protocol

    def get_protocol(self) -> Any:
        """See :meth:`asyncio.BaseTransport.get_protocol`."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Return 0: datagrams are sent or lost, but never wait."""
        return 0

    def is_closing(self) -> bool:
        """See :meth:`asyncio.BaseTransport.is_closing`."""
        return self._closing

    def close(self) -> None:
        """See :meth:`asyncio.BaseTransport.close`."""
        self._lose(None)

    def abort(self) -> None:
        """See :meth:`asyncio.DatagramTransport.abort`."""
        self._lose(None)

    def _lose(self, error: BaseException | None) -> None:
        if not self._lost:
            self._closing = self._lost = True
            self._failure = error
            self._wake()

    def release(self) -> None:
        """Close the socket."""
        self._closed = self._closing = True
        self._loop.endpoints.pop(self, None)
        self._end.unwatch(self._wake)
        self._sock.close()


class Datagrams(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """The part of the loop that makes UDP sockets."""

    getaddrinfo: Callable[..., Any]

    async def create_datagram_endpoint(
        self, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, *, family: int = 0,
        proto: int = 0, flags: int = 0, reuse_address: bool | None = None, reuse_port: bool | None = None,
        allow_broadcast: bool | None = None, sock: Any = None,
    ) -> tuple[DatagramTransport, Any]:  # fmt: skip
        """See :meth:`asyncio.loop.create_datagram_endpoint`."""
        options = {
            "local_addr": local_addr, "remote_addr": remote_addr, "family": family, "proto": proto, "flags": flags,
            "reuse_port": reuse_port, "allow_broadcast": allow_broadcast,
        }  # fmt: skip
        if sock is None:
            if reuse_address:
                raise ValueError(
                    "Passing `reuse_address=True` is no longer supported, as the usage of SO_REUSEPORT"
                )
            names = [socket.SO_REUSEPORT] * bool(reuse_port) + [socket.SO_BROADCAST] * bool(allow_broadcast)
            pairs = await self._pairs(local_addr, remote_addr, family, proto, flags)
            sock = self._first(pairs, names, bool(allow_broadcast))
        elif sock.type != socket.SOCK_DGRAM:
            raise ValueError(f"A UDP Socket was expected, got {sock!r}")
        elif any(options.values()):
            given = ", ".join(f"{name}={value}" for name, value in options.items() if value)
            raise ValueError(
                f"socket modifier keyword arguments can not be used when sock is specified. ({given})"
            )
        else:
            pairs = []
            sock.setblocking(False)
        remote = next((pair[1] for _, pair in pairs if allow_broadcast and pair[1] is not None), None)
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = self._make_datagram_transport(sock, protocol, remote, waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _pairs(self, local: Any, remote: Any, family: int, proto: int, flags: int) -> list[Any]:
        """Return for each family the addresses that the names of both ends have."""
        if not (local or remote):
            if not family:
                raise ValueError("unexpected address family")
            return [((family, proto), [None, None])]
        found: dict[Any, list[Any]] = {}
        for index, address in enumerate((local, remote)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) >= 2):
                raise TypeError("2-tuple is expected")
            infos = await self.getaddrinfo(
                *address[:2], family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
            for its_family, _, its_proto, _, place in infos:
                pair = found.setdefault((its_family, its_proto), [None, None])
                if pair[index] is None:
                    pair[index] = place
        wanted = [
            (key, pair)
            for key, pair in found.items()
            if not ((local and pair[0] is None) or (remote and pair[1] is None))
        ]
        if not wanted:
            raise ValueError("can not get address information")
        return wanted

    def _first(self, pairs: list[Any], names: list[int], broadcast: bool) -> SimSocket:
        """Return a socket of the first family that has one."""
        failure: OSError | None = None
        for (family, proto), (local, remote) in pairs:
            sock = SimSocket(family, socket.SOCK_DGRAM, proto)
            try:
                sock.setblocking(False)
                for name in names:
                    sock.setsockopt(socket.SOL_SOCKET, name, 1)
                if local is not None:
                    sock.bind(local)
                if remote is not None and not broadcast:
                    sock.connect(remote)
            except OSError as error:
                sock.close()
                failure = failure or error
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        assert failure is not None
        raise failure

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None, extra: Any = None
    ) -> DatagramTransport:
        loop: Any = self
        return DatagramTransport(loop, simulated(sock), protocol, address, waiter)
