"""TLS on simulated sockets: OpenSSL works on memory, and the socket carries its records."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from slirpy.testing.sim.socketapi.simsocket import SimSocket

__all__ = ["SimTLSSocket", "wrap_socket"]

T = TypeVar("T")

_HEADER = 5
_RECORD = 16_384
"""Most bytes of a program in one record."""


class SimTLSSocket(SimSocket, ssl.SSLSocket):
    """A TLS socket of a program; :func:`wrap_socket` makes it."""

    _sslobj: Any
    _context: Any  # ssl.SSLContext, with its private methods
    _session: ssl.SSLSession | None
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _unsent: bytearray
    _head: bytearray  # of a record that is arriving
    _body: int  # bytes that are missing of it

    def _start(self) -> None:
        """Begin with TLS on a connected socket."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent, self._head, self._body = bytearray(), bytearray(), 0
        self.end.host.net.tls_keys.watch(self._context)
        self._sslobj = self._context._wrap_bio(
            self._incoming,
            self._outgoing,
            self.server_side,
            server_hostname=self.server_hostname,
            owner=self,
            session=self._session,
        )
        if self.do_handshake_on_connect:
            if self._timeout == 0.0:
                raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
            self.do_handshake()

    # --------------------------------------------------------------------------------- driving OpenSSL

    def _flush(self) -> None:
        """Send what OpenSSL has produced.

        Raises:
            ssl.SSLWantWriteError: the socket is non-blocking, and there is no room.
        """
        self._unsent += self._outgoing.read()
        end, unsent = self.end, self._unsent

        def attempt() -> None:
            while unsent:
                del unsent[: end.send([bytes(unsent)])]

        try:
            self._call("send", attempt)
        except BlockingIOError:
            raise ssl.SSLWantWriteError(
                ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)"
            ) from None

    def _drive(self, what: str, call: Callable[[], T]) -> T:
        """Return ``call()``, with records in and out as it needs them."""
        while True:
            if self._unsent:
                self._flush()
            try:
                result = call()
            except ssl.SSLWantReadError:
                self._flush()
                self._fill(what)
            except ssl.SSLError:
                self._flush_quietly()  # the alert
                raise
            else:
                self._flush_quietly()
                return result

    def _flush_quietly(self) -> None:
        """Send as far as possible; the rest goes with the next call."""
        if self._outgoing.pending:
            try:
                self._flush()
            except (ssl.SSLWantWriteError, ConnectionError):
                pass

    def _fill(self, what: str) -> None:
        """Receive more for OpenSSL, and no more than it needs: what follows the record stays in the socket."""
        end = self.end
        wanted = self._body or _HEADER - len(self._head)
        try:
            data = self._call(what, lambda: end.receive(wanted)).data
        except BlockingIOError:
            raise ssl.SSLWantReadError(
                ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)"
            ) from None
        if not data:
            self._incoming.write_eof()
            return
        self._incoming.write(data)
        if self._body:
            self._body -= len(data)
        else:
            self._head += data
            if len(self._head) == _HEADER:
                self._body = int.from_bytes(self._head[3:], "big")
                self._head.clear()

    # ----------------------------------------------------------------------------------- calls of TLS

    def do_handshake(self, block: bool = False) -> None:
        timeout = self._timeout
        if timeout == 0.0 and block:
            self._timeout = None
        try:
            self._drive("do_handshake", self._sslobj.do_handshake)
        finally:
            self._timeout = timeout

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - the name of ssl.SSLSocket
        try:
            if buffer is None:
                return self._drive("read", lambda: self._sslobj.read(len))
            return self._drive("read", lambda: self._sslobj.read(len, buffer))
        except ssl.SSLZeroReturnError:
            return b"" if buffer is None else 0
        except ssl.SSLEOFError:
            if not self.suppress_ragged_eofs:
                raise
            return b"" if buffer is None else 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")[:_RECORD]
        if not len(view):
            return 0
        if self._timeout == 0.0 and not self.end.can_write():
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)")
        return int(self._drive("write", lambda: self._sslobj.write(view)))

    def unwrap(self) -> socket.socket:
        self._drive("unwrap", self._sslobj.shutdown)
        self._sslobj = None
        return self

    def pending(self) -> int:
        return int(self._sslobj.pending()) if self._sslobj is not None else 0

    # ------------------------------------------------------------------------------ calls of sockets

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        self._no_flags("recv", flags)
        return bytes(self.read(buflen)) if self._sslobj is not None else super().recv(buflen, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self._no_flags("recv_into", flags)
        view = memoryview(buffer).cast("B")
        if self._sslobj is None:
            return super().recv_into(buffer, nbytes or 0, flags)
        return int(self.read(nbytes or len(view), view)) if nbytes or len(view) else 0

    def send(self, data: Any, flags: int = 0) -> int:
        self._no_flags("send", flags)
        return self.write(data) if self._sslobj is not None else super().send(data, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self._no_flags("sendall", flags)
        if self._sslobj is None:
            super().sendall(data, flags)
            return
        view, at = memoryview(data).cast("B"), 0
        while at < len(view):
            at += self.write(view[at : at + _RECORD])

    def _no_flags(self, name: str, flags: int) -> None:
        if flags:
            raise ValueError(f"non-zero flags not allowed in calls to {name}() on {type(self)}")

    def recvfrom(self, *args: Any) -> Any:
        raise ValueError(f"recvfrom not allowed on instances of {type(self)}")

    def recvfrom_into(self, *args: Any, **kwargs: Any) -> Any:
        raise ValueError(f"recvfrom_into not allowed on instances of {type(self)}")

    def sendto(self, *args: Any) -> Any:
        raise ValueError(f"sendto not allowed on instances of {type(self)}")

    def recvmsg(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"recvmsg not allowed on instances of {type(self)}")

    def recvmsg_into(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"recvmsg_into not allowed on instances of {type(self)}")

    def sendmsg(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"sendmsg not allowed on instances of {type(self)}")

    def dup(self) -> Any:
        raise NotImplementedError(f"Can't dup() {type(self).__name__} instances")

    def shutdown(self, how: int, /) -> None:
        self._sslobj = None
        super().shutdown(how)

    def connect(self, address: Any, /) -> None:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        super().connect(address)
        self._connected = True
        self._start()

    def accept(self) -> tuple[SimTLSSocket, Any]:
        accepted, place = SimSocket.accept(self)
        return wrap_socket(
            self._context,
            accepted,
            server_side=True,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
        ), place


def wrap_socket(
    context: ssl.SSLContext,
    sock: SimSocket,
    server_side: bool = False,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    server_hostname: str | bytes | None = None,
    session: ssl.SSLSession | None = None,
) -> SimTLSSocket:
    """Return a TLS socket in place of a simulated one, as :meth:`ssl.SSLContext.wrap_socket` does.

    Args:
        context: the context.
        sock, server_side, do_handshake_on_connect, suppress_ragged_eofs, server_hostname, session: see there.

    Raises:
        ValueError: arguments that do not fit together.
        OSError: the handshake has failed.
    """
    if sock.type != socket.SOCK_STREAM:
        raise NotImplementedError("only stream sockets are supported")
    if server_side and (server_hostname or session is not None):
        raise ValueError("server_hostname and session can only be specified in client mode")
    if context.check_hostname and not server_hostname:
        raise ValueError("check_hostname requires server_hostname")
    timeout = sock.gettimeout()
    made = SimTLSSocket.__new__(SimTLSSocket)
    SimSocket.__init__(made, sock.family, sock.type, sock.proto, sock.detach())
    made._context, made._session, made._sslobj = context, session, None
    made.server_side = server_side
    made.server_hostname = made._context._encode_hostname(server_hostname)
    made.do_handshake_on_connect = do_handshake_on_connect
    made.suppress_ragged_eofs = suppress_ragged_eofs
    made.settimeout(timeout)
    try:
        made.getpeername()
    except OSError:
        made._connected = False
        return made
    made._connected = True
    try:
        made._start()
    except (OSError, ValueError):
        made.close()
        raise
    return made
