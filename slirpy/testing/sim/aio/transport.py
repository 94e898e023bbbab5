"""Streams of asyncio on the TCP of a simulated host."""

from __future__ import annotations

import logging
from asyncio import BufferedProtocol, constants
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from contextvars import Context
from errno import ECONNRESET, EPIPE
from typing import Any

from slirpy.interfaces import Buffer
from slirpy.reprs import never_raises
from slirpy.testing.sim.aio.bases import FlowControl
from slirpy.testing.sim.aio.handles import SimHandle, run_handle
from slirpy.testing.sim.names import sockaddr
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.socketapi.ends import failure
from slirpy.testing.sim.streams import HostStream

__all__ = ["StreamTransport"]

_READ = 256 * 1024
"""Maximum bytes of one call of ``data_received``, as asyncio has it."""
logger = logging.getLogger("asyncio")


class StreamTransport(FlowControl):  # type: ignore[misc] # a private class of asyncio
    """A transport on a stream: the owner of the stream.

    All calls of the protocol are made by one call of the loop at a time, so that their order never depends on that of
    the loop.

    Args:
        loop: the event loop.
        stream: an established stream, which has no other owner from now on.
        make: returns the protocol, in the context of the transport.
        context: the context of all calls of the protocol.
        made: called after the protocol's ``connection_made``.
        server: the server that has accepted the stream; None: there is none.
        sock: the program's socket of the stream; None: there is none.
    """

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK
    # How it begins; set once here, because a test may make thousands.
    _protocol: Any = None
    _buffered = False
    _waiting = False
    """A call of :meth:`_events` is under way."""
    _conn_lost = 0
    _error = 0
    _failure: BaseException | None = None
    _closing = _closed = _paused = _eof = _ended = False
    _empty_waiter: Any = None

    def __init__(
        self,
        loop: Any,
        stream: HostStream,
        make: Callable[[], Any],
        context: Context | None,
        made: Callable[[], object] | None = None,
        server: Any = None,
        sock: Any = None,
    ) -> None:
        super().__init__(None, loop)
        self._sock = sock
        self._stream = stream
        self._make: Callable[[], Any] | None = make
        self._made = made
        self._server = server
        self._buffer = bytearray()
        self._handle = SimHandle(self._events, (), loop, context)
        self._host: Any = self._handle.processor
        self._ready = loop.scheduler.ready
        if server is not None:
            loop.attach(server, self)
        stream.owner = self
        self._wake()

    @property
    def program(self) -> Program | None:
        """The program to which it belongs."""
        program: Program | None = self._handle.program
        return program

    @never_raises
    def __repr__(self) -> str:
        state = " closed" if self._closed else " closing" if self._closing else ""
        return f"<StreamTransport {self._stream!r}{state}, {len(self._buffer)} bytes to write>"

    # -------------------------------------------------------------------------- calls of the stream

    def connected(self) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.connected`."""

    def readable(self) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.readable`."""
        if not self._waiting:
            self._wake()

    writable = readable

    def failed(self, error: int) -> None:
        """See :meth:`slirpy.interfaces.StreamOwner.failed`."""
        self._error = EPIPE if error == ECONNRESET and self._ended else error
        self._wake()

    def _wake(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._ready.append((self._host, run_handle, self._handle))

    # ------------------------------------------------------------------------- calls of the protocol

    def _events(self) -> None:
        """Make the calls of the protocol that are due."""
        self._waiting = False
        if self._closed:
            return
        if self._make is not None:
            self._begin()
            if self._conn_lost or self._error or self._stream.has_news():
                self._wake()  # the protocol's tasks run first, as with asyncio
            return
        if self._conn_lost:
            self._end()
            return
        if self._buffer:
            self._write_buffer()
        if not (self._paused or self._closing or self._ended):
            self._read()
        if self._error and not self._conn_lost and (self._buffer or not (self._paused or self._ended)):
            self._fatal_error(failure(self._error))

    def _begin(self) -> None:
        assert self._make is not None
        make, self._make = self._make, None
        if self._protocol is None:
            self.set_protocol(make())
        self._protocol.connection_made(self)
        if self._made is not None:
            made, self._made = self._made, None
            made()

    def _read(self) -> None:
        stream = self._stream
        while True:
            try:
                if self._buffered:
                    into = memoryview(self._protocol.get_buffer(-1))
                    if not len(into):
                        raise RuntimeError("get_buffer() returned an empty buffer")
                    data = stream.recv(len(into))
                    if data:
                        into[: len(data)] = data
                        self._protocol.buffer_updated(len(data))
                else:
                    data = stream.recv(_READ)
                    if data:
                        self._protocol.data_received(data)
                if data == b"":
                    self._ended = True
                    if not self._protocol.eof_received():
                        self.close()
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # of the protocol
                self._fatal_error(error, "Fatal error: a call of the protocol failed.")
                return
            if not data or self._paused or self._closing or not stream.has_news():
                return

    def _end(self) -> None:
        self._closed = self._closing = True
        protocol, self._protocol = self._protocol, None
        try:
            if protocol is not None:
                protocol.connection_lost(self._failure)
        finally:
            self._failure = None
            self._handle.cancel()  # else a circle, which would wait for the garbage collector
            (self._sock or self._stream).close()
            if self._server is not None:
                self._loop.detach(self._server, self)
                self._server = None
            if self._empty_waiter is not None and not self._empty_waiter.done():
                self._empty_waiter.set_exception(ConnectionError("Connection is closed by peer"))

    # -------------------------------------------------------------------------- reading, for programs

    def set_protocol(self, protocol: Any) -> None:
        """See :meth:`asyncio.BaseTransport.set_protocol`."""
        self._protocol = protocol
        self._buffered = isinstance(protocol, BufferedProtocol)

    def get_protocol(self) -> Any:
        """See :meth:`asyncio.BaseTransport.get_protocol`."""
        return self._protocol

    def is_reading(self) -> bool:
        """See :meth:`asyncio.ReadTransport.is_reading`."""
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        """See :meth:`asyncio.ReadTransport.pause_reading`."""
        if not self._closing:
            self._paused = True

    def resume_reading(self) -> None:
        """See :meth:`asyncio.ReadTransport.resume_reading`."""
        if self._paused and not self._closing:
            self._paused = False
            self._wake()

    # -------------------------------------------------------------------------- writing, for programs

    def write(self, data: Buffer) -> None:
        """See :meth:`asyncio.WriteTransport.write`."""
        if not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._empty_waiter is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if not data:
            return
        if self._conn_lost:
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += 1
            return
        if self._error:
            self._fatal_error(failure(self._error))
            return
        if not self._buffer:
            sent = self._stream.send((data,))
            if sent == len(data):
                return
            data = memoryview(data)[sent:]
        self._buffer += data
        self._maybe_pause_protocol()

    def writelines(self, list_of_data: Any) -> None:
        """See :meth:`asyncio.WriteTransport.writelines`."""
        self.write(b"".join(list_of_data))

    def _write_buffer(self) -> None:
        if self._error:
            return
        sent = self._stream.send((self._buffer,))
        if not sent:
            return
        del self._buffer[:sent]
        self._maybe_resume_protocol()  # may write
        if self._buffer:
            return
        if self._empty_waiter is not None and not self._empty_waiter.done():
            self._empty_waiter.set_result(None)
        if self._closing:
            self._lose(None)
        elif self._eof:
            self._stream.shutdown()

    def get_write_buffer_size(self) -> int:
        """See :meth:`asyncio.WriteTransport.get_write_buffer_size`."""
        return len(self._buffer)

    def can_write_eof(self) -> bool:
        """See :meth:`asyncio.WriteTransport.can_write_eof`."""
        return True

    def write_eof(self) -> None:
        """See :meth:`asyncio.WriteTransport.write_eof`."""
        if self._closing or self._eof:
            return
        self._eof = True
        if not self._buffer:
            self._stream.shutdown()

    # --------------------------------------------------------------------------------------- the end

    def is_closing(self) -> bool:
        """See :meth:`asyncio.BaseTransport.is_closing`."""
        program = self._handle.program
        return self._closing or self._loop.disposing or (program is not None and program.over)

    def close(self) -> None:
        """See :meth:`asyncio.BaseTransport.close`."""
        if self._closing:
            return
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        """See :meth:`asyncio.WriteTransport.abort`."""
        self._force_close(None)

    def _lose(self, error: BaseException | None) -> None:
        self._conn_lost += 1
        self._failure = error
        self._wake()

    def _force_close(self, error: BaseException | None) -> None:
        if not self._conn_lost:
            self._buffer.clear()
            self._closing = True
            self._lose(error)

    def _fatal_error(self, error: BaseException, message: str = "Fatal error on transport") -> None:
        if not isinstance(error, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": error, "transport": self, "protocol": self._protocol}
            )
        self._force_close(error)

    def release(self) -> None:
        """Leave the stream as the system does for a killed process."""
        self._closed = self._closing = True
        self._stream.close()

    # ------------------------------------------------------------------------------------- sendfile

    def _make_empty_waiter(self) -> Any:
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        self._empty_waiter = self._loop.create_future()
        if not self._buffer:
            self._empty_waiter.set_result(None)
        return self._empty_waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None

    # ------------------------------------------------------------------------------------ what it is

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See :meth:`asyncio.BaseTransport.get_extra_info`: sockname, peername, socket."""
        if name == "peername":
            return sockaddr(*self._stream.remote)
        if name == "sockname":
            return sockaddr(*self._stream.local)
        if name == "socket":
            if self._sock is None:
                self._sock = self._loop.socket_of(self._stream, self._host)
            return TransportSocket(self._sock)
        return default
