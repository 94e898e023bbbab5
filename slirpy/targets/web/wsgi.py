"""A WSGI application (PEP 3333) as the far end of a connection."""

from __future__ import annotations

import io
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import h11

from slirpy.interfaces import FlowRequest
from slirpy.targets.web.http import (
    IDLE_SECONDS,
    PIECE,
    GoneError,
    HttpInput,
    has_body,
    plain,
    reason,
    without_hop_by_hop,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

__all__ = ["WsgiHandler"]


class WsgiHandler:
    """Serves an application on each connection; called in a separate thread for each.

    Several threads may call the application at the same time (``wsgi.multithread``), up to the limit of threads.
    Exceptions go to :func:`threading.excepthook`; the guest gets the status 500, or a reset if the answer had begun.
    """

    __slots__ = ("application",)

    def __init__(self, application: WSGIApplication) -> None:
        self.application = application

    def __call__(self, connection: socket.socket, flow: FlowRequest) -> None:
        """Serve one connection, until either side ends it."""
        connection.settimeout(IDLE_SECONDS)
        try:
            _Connection(self.application, connection, flow).run()
        except GoneError:
            pass


class _Body(io.RawIOBase):
    """``wsgi.input``: the request's body as it arrives."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = self._connection.body()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


class _Connection:
    def __init__(self, application: WSGIApplication, sock: socket.socket, flow: FlowRequest) -> None:
        self._application = application
        self._sock = sock
        self._flow = flow
        self._input = HttpInput()
        self._http = self._input.http
        self._started: tuple[int, bytes, list[tuple[bytes, bytes]]] | None = None
        self._sent = False
        self._method = b""

    def run(self) -> None:
        while True:
            http = self._http
            try:
                request = self._next()
                if not isinstance(request, h11.Request):
                    return
                self._serve(request)
                if http.our_state is not h11.DONE:
                    return
                while http.their_state is h11.SEND_BODY:  # what the application has not read
                    self._next()
                if http.their_state is not h11.DONE:
                    return
            except h11.RemoteProtocolError as error:
                if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    self._say(*plain(error.error_status_hint, self._method))
                return
            self._input.next_request()
            self._http = self._input.http
            self._method = b""

    def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._say(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            try:
                self._input.receive(self._sock.recv(PIECE))
            except OSError as error:
                raise GoneError from error
        return event

    def _say(self, *events: Any) -> None:
        for event in events:
            data = self._http.send(event)
            try:
                self._sock.sendall(data or b"")
            except OSError as error:
                raise GoneError from error

    def body(self) -> bytes:
        """Return more of the request's body; empty at its end."""
        if self._http.their_state is not h11.SEND_BODY:
            return b""
        event = self._next()
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    # ---------------------------------------------------------------------------------- one request

    def _serve(self, request: h11.Request) -> None:
        self._started, self._sent, self._method = None, False, request.method
        try:
            result = self._application(self._environ(request), self._start_response)
            try:
                self._answer(result)
            finally:
                close = getattr(result, "close", None)
                if close is not None:
                    close()
        except (GoneError, h11.RemoteProtocolError):
            raise
        except Exception:  # an application may raise anything: the guest gets a 500, the error is reported
            if self._sent:
                raise  # half of an answer must not look complete
            self._say(*plain(500, self._method))
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))

    def _answer(self, result: Iterable[bytes]) -> None:
        for piece in result:
            if piece:
                self._write(piece)
        if self._started is None:
            raise RuntimeError("the application did not call start_response")
        if not self._sent:
            self._begin()
        self._say(h11.EndOfMessage())

    def _write(self, piece: bytes) -> None:
        if self._started is None:
            raise RuntimeError("the application wrote before it called start_response")
        if not self._sent:
            self._begin()
        if has_body(self._method, self._started[0]):
            self._say(h11.Data(data=piece))

    def _begin(self) -> None:
        assert self._started is not None
        status, words, headers = self._started
        self._sent = True
        self._say(h11.Response(status_code=status, reason=words, headers=without_hop_by_hop(headers)))

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            if self._sent:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._started is not None:
            raise RuntimeError("the application called start_response twice, without exc_info")
        code, _, words = status.partition(" ")
        self._started = (
            int(code),
            words.encode("latin-1") or reason(int(code)),
            [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        )
        return self._write

    def _environ(self, request: h11.Request) -> WSGIEnvironment:
        flow = self._flow
        target, _, query = request.target.partition(b"?")
        if not target.startswith(b"/"):  # the absolute form, as for a proxy
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method.decode("latin-1"),
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(target).decode("latin-1"),
            "QUERY_STRING": query.decode("latin-1"),
            "SERVER_NAME": str(flow.destination),
            "SERVER_PORT": str(flow.destination_port),
            "SERVER_PROTOCOL": f"HTTP/{request.http_version.decode('latin-1')}",
            "REMOTE_ADDR": str(flow.source),
            "REMOTE_PORT": str(flow.source_port),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BufferedReader(_Body(self)),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers:
            key = name.decode("latin-1").upper().replace("-", "_")
            if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                key = f"HTTP_{key}"
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        return environ
