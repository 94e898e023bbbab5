"""Connections of this program to guests, without a port of the host.

The program has one end of a socket pair, and the network the other, which it relays to the guest like the connection
of a forward. So what the program gets is a socket of the operating system, with all that these can do.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from slirpy.addresses import AnyAddress
from slirpy.checks import amount
from slirpy.config.values import FOR_EVER, wait_seconds
from slirpy.drive.driven import Driven
from slirpy.errors import StateError
from slirpy.errortext import strerror
from slirpy.host.sockets import SocketHost
from slirpy.host.socketstream import SocketStream
from slirpy.interfaces import StreamOwner

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

__all__ = ["Dialing", "GuestSocket"]


class GuestSocket(socket.socket):
    """A socket that is connected to a guest, made by :meth:`slirpy.Slirp.connect`.

    It is one of a pair of Unix sockets, or of TCP sockets on systems that have no pairs of those. Reading past a
    reset by the guest raises ConnectionResetError, as with TCP. Code that takes over the descriptor, such as
    :mod:`ssl`, sees an end of data instead.
    """

    def __init__(self, sock: socket.socket, guest: str, port: int, end: _End) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._guest = guest
        self._port = port
        self._end = end

    def getpeername(self) -> Any:
        """Return the guest, as it was named, and the port."""
        return self._guest, self._port

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """See :meth:`socket.socket.recv`."""
        data = super().recv(bufsize, flags)
        if not data and bufsize:
            self._end.check()
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """See :meth:`socket.socket.recv_into`."""
        count = super().recv_into(buffer, nbytes, flags)
        if not count and len(buffer):
            self._end.check()
        return count


class _End:
    """The end of a connection, as its socket reports it; written by the network's thread."""

    def __init__(self) -> None:
        self.error = 0

    def check(self) -> None:
        if self.error:
            raise OSError(self.error, strerror(self.error))


class _DialedStream(SocketStream):
    """The network's end of the pair.

    Args:
        settled: called with 0 once the guest has accepted the connection, or with an ``errno`` value if it has not.
    """

    __slots__ = ("_settled", "end")

    def __init__(self, host: SocketHost, sock: socket.socket, settled: Callable[[int], None]) -> None:
        super().__init__(host.sockets, sock, None)
        self.end = _End()
        self._settled: Callable[[int], None] | None = settled
        host.sockets.opened(self)

    def outcome(self, error: int) -> None:
        """Note that the guest has accepted the connection, or that it has ended by an error."""
        self.end.error = error
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(error)

    def abort(self) -> None:
        """See :meth:`slirpy.interfaces.StreamPeer.abort`."""
        self.end.error = self.end.error or (errno.ECONNRESET if self._settled is None else errno.ECONNREFUSED)
        self.outcome(self.end.error)
        super().abort()

    def give_up(self) -> None:
        """End the attempt, because nobody waits for it any more."""
        self._settled = None
        self._fail(OSError(errno.ECONNABORTED, ""))


class _Dial:
    """A connection that is being opened."""

    def __init__(self, stream: _DialedStream, near: socket.socket) -> None:
        self.stream = stream
        self.near = near


class Dialing(Driven):
    """The part of :class:`slirpy.Slirp` that connects this program to guests."""

    _host: SocketHost

    def connect(self, guest: AnyAddress, port: int, timeout: float | None = None) -> GuestSocket:
        """Connect to a TCP port of a guest, as its gateway; the host needs no port for it.

        If nothing else drives the network, this polls it until the guest has answered. After that, somebody has to:
        data move only while the network is driven.

        Args:
            guest: its address, or the host name in its lease.
            port: 1 to 65535.
            timeout: seconds to wait for the guest; None: those of the network's own connections, 75.

        Returns:
            A socket, in blocking mode. Use it as any other: wrap it with :mod:`ssl`, or pass it to a library.

        Raises:
            ConfigError: no guest can have the address, or none has the name, or another argument cannot be.
            StateError: the network is closed, or this is the thread that drives it and would wait for itself; use
                :meth:`open_connection` there.
            ConnectionRefusedError: the guest refused the connection.
            TimeoutError: it did not answer.
            OSError: the connection ended in another way, or the system has no descriptors left.
        """
        seconds = wait_seconds("timeout", timeout)
        self._check_open()
        driven = self._background is not None or self._mailbox is not None
        if (self._busy or driven) and not self._foreign():
            raise StateError(
                "connect() would wait for the thread that it is called from, which drives the network;"
                " use `await net.open_connection(...)`, or call it from another thread"
            )
        answer: list[int] = []
        answered = threading.Event()

        def settled(error: int) -> None:
            answer.append(error)
            answered.set()

        end = time.monotonic() + (FOR_EVER if seconds is None else seconds)
        dial = self._dial(guest, port, settled)
        try:
            if driven:
                self._await(answered, end)
            else:
                while not answer and time.monotonic() < end:
                    self._poll(end - time.monotonic())
            return self._answered(dial, guest, port, answer[0] if answer else errno.ETIMEDOUT)
        except BaseException:
            self._hang_up(dial)
            raise

    def _await(self, answered: threading.Event, end: float) -> None:
        """Wait for the thread that drives the network; it may be stopped meanwhile."""
        while (left := end - time.monotonic()) > 0 and not answered.wait(min(left, 1.0)):
            if self._mailbox is None and not answered.is_set():
                raise StateError("the network was stopped while connect() waited; stop it after that")

    async def open_connection(
        self, guest: AnyAddress, port: int, *, limit: int = 1 << 16
    ) -> tuple[StreamReader, StreamWriter]:
        """Connect to a TCP port of a guest, as :meth:`connect` does, by streams of :mod:`asyncio`.

        The network is driven by ``async with``, or by :meth:`start`. To limit the time, use :func:`asyncio.timeout`.

        Args:
            guest: its address, or the host name in its lease.
            port: 1 to 65535.
            limit: as for :func:`asyncio.open_connection`.

        Raises:
            ConfigError: as :meth:`connect`.
            StateError: the network is closed, or nothing drives it.
            OSError: as :meth:`connect`.
        """
        import asyncio

        amount("limit", limit, 1, " of bytes")
        self._check_open()
        if self._mailbox is None:
            raise StateError("nothing drives this network; use `async with net:` or net.start() first")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[int] = loop.create_future()

        def tell(error: int) -> None:
            if not answer.done():
                answer.set_result(error)

        def settled(error: int) -> None:
            try:
                loop.call_soon_threadsafe(tell, error)
            except RuntimeError:
                pass  # the loop has been closed, and nobody waits

        dial = self._dial(guest, port, settled)
        try:
            sock = self._answered(dial, guest, port, await answer)
        except BaseException:
            self._hang_up(dial)
            raise
        sock.setblocking(False)
        return await asyncio.open_connection(sock=sock, limit=limit)

    def dial(self, guest: AnyAddress, port: int, settled: Callable[[int], None]) -> socket.socket:
        """Start to connect to a TCP port of a guest, and return a socket at once. For control servers.

        Args:
            guest: its address, or the host name in its lease.
            port: 1 to 65535.
            settled: called by the thread that drives the network: with 0 once the guest has accepted the connection,
                or with an ``errno`` value.

        Raises:
            ConfigError: as :meth:`connect`.
        """
        return self._dial(guest, port, settled).near

    def _dial(self, guest: AnyAddress, port: int, settled: Callable[[int], None]) -> _Dial:
        def dial() -> _Dial:
            near, far = socket.socketpair()
            far.setblocking(False)
            stream = _DialedStream(self._host, far, settled)
            try:
                self._stack.tick(self._clock())
                owner: StreamOwner = self._stack.connect_guest(stream, guest, port, stream.outcome)
            except BaseException:
                near.close()
                stream.close()
                raise
            stream.start_accepted(owner)
            return _Dial(stream, near)

        made = self._call(dial)
        self._send_now()
        return made

    def _send_now(self) -> None:
        """Flush what a call has caused, unless the thread that drives the network is about to."""
        if not self._foreign() and not self._busy and not self._closed:
            self._run()

    def _answered(self, dial: _Dial, guest: AnyAddress, port: int, error: int) -> GuestSocket:
        name = guest if isinstance(guest, str) else str(guest)
        if error:
            raise OSError(error, f"{name} port {port}: {strerror(error).lower()}")
        return GuestSocket(dial.near, name, port, dial.stream.end)

    def _hang_up(self, dial: _Dial) -> None:
        dial.near.close()
        if not self._closed:
            try:
                self._call(dial.stream.give_up)
                self._send_now()
            except StateError:
                pass  # it has just been closed, which ended the connection
