"""An ASGI application (version 3, HTTP and lifespan) as the far end of a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias
from urllib.parse import unquote

import h11

from slirpy.targets.web.http import (
    HEAD_MAX,
    IDLE_SECONDS,
    PIECE,
    GoneError,
    HttpInput,
    has_body,
    plain,
    reason,
    without_hop_by_hop,
)

__all__ = ["AsgiHandler"]

Message: TypeAlias = dict[str, Any]
Application: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class AsgiHandler:
    """Serves an application on each connection, as a handler of :mod:`asyncio` streams.

    Its lifespan starts before the first request, and ends with the event loop's tasks. WebSockets are not supported:
    a request for one is treated as an ordinary request. Exceptions of the application go to the loop's exception
    handler; the guest gets the status 500, or a reset if the answer had begun.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lifespan: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] | None = None
        self._state: Message = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, until either side ends it."""
        await asyncio.shield(self._start())
        try:
            await _Connection(self._application, self._state, reader, writer).run()
        except GoneError:
            pass

    def _start(self) -> asyncio.Future[None]:
        """Start the application, once in each event loop; the returned future is done when it has started."""
        loop = asyncio.get_running_loop()
        if self._started is None or self._started.get_loop() is not loop:
            self._started = loop.create_future()
            self._lifespan = loop.create_task(self._live(self._started), name="slirpy-lifespan")
        return self._started

    async def _live(self, started: asyncio.Future[None]) -> None:
        begun = False

        async def receive() -> Message:
            nonlocal begun
            if not begun:
                begun = True
                return {"type": "lifespan.startup"}
            try:
                await asyncio.get_running_loop().create_future()  # until the task is cancelled
            except asyncio.CancelledError:
                return {"type": "lifespan.shutdown"}
            raise AssertionError

        async def send(message: Message) -> None:
            if started.done():
                return
            if message["type"] == "lifespan.startup.complete":
                started.set_result(None)
            elif message["type"] == "lifespan.startup.failed":
                started.set_exception(RuntimeError(f"startup failed: {message.get('message', '')}"))

        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        try:
            await self._application(scope, receive, send)
        except Exception:  # an application may raise anything
            pass  # many applications do not support lifespans, and signal that by raising
        finally:
            if not started.done():
                started.set_result(None)


class _Connection:
    def __init__(
        self,
        application: Application,
        state: Message,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._application = application
        self._state = state
        self._reader = reader
        self._writer = writer
        self._input = HttpInput()
        self._http = self._input.http
        self._gone = False
        self._ahead = 0
        self._method = b""
        self._response: Message | None = None
        self._sent = False

    async def run(self) -> None:
        while True:
            http = self._http
            try:
                request = await self._next()
                if not isinstance(request, h11.Request):
                    return
                await self._serve(request)
                if http.our_state is not h11.DONE:
                    return
                while http.their_state is h11.SEND_BODY:  # what the application has not read
                    await self._next()
                if http.their_state is not h11.DONE:
                    return
            except h11.RemoteProtocolError as error:
                if http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    await self._say(*plain(error.error_status_hint, self._method))
                return
            self._ahead = 0
            self._input.next_request()
            self._http = self._input.http
            self._method = b""

    async def _next(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                await self._say(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            try:
                async with asyncio.timeout(IDLE_SECONDS):
                    data = await self._reader.read(PIECE)
            except OSError as error:  # includes timeouts
                raise GoneError from error
            self._input.receive(data)
        return event

    async def _say(self, *events: Any) -> None:
        for event in events:
            data = self._http.send(event)
            if data:
                self._writer.write(data)
        try:
            await self._writer.drain()
        except OSError as error:
            raise GoneError from error

    # ---------------------------------------------------------------------------------- one request

    async def _serve(self, request: h11.Request) -> None:
        self._response, self._sent, self._method = None, False, request.method
        try:
            await self._application(self._scope(request), self._receive, self._send)
            if self._http.our_state not in (h11.DONE, h11.MUST_CLOSE):
                raise RuntimeError("the application returned before it completed its response")
        except (GoneError, h11.RemoteProtocolError):
            raise
        except Exception as error:  # as above: the guest gets a 500, the loop reports it
            if self._sent:
                raise  # half of an answer must not look complete
            await self._say(*plain(500, self._method))
            context = {"message": "a web application has failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)

    def _scope(self, request: h11.Request) -> Message:
        target, _, query = request.target.partition(b"?")
        if not target.startswith(b"/"):  # the absolute form, as for a proxy
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode("latin-1"),
            "method": request.method.decode("latin-1").upper(),
            "scheme": "http",
            "path": unquote(target.decode("latin-1")),
            "raw_path": target,
            "query_string": query,
            "root_path": "",
            "headers": [(bytes(name), bytes(value)) for name, value in request.headers],
            "client": self._writer.get_extra_info("peername"),
            "server": self._writer.get_extra_info("sockname"),
            "state": dict(self._state),
        }

    async def _receive(self) -> Message:
        if self._gone or self._http.our_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            return {"type": "http.disconnect"}
        if self._http.their_state is h11.SEND_BODY:
            event = await self._next()
            if isinstance(event, h11.Data):
                return {"type": "http.request", "body": bytes(event.data), "more_body": True}
            if isinstance(event, h11.EndOfMessage):
                return {"type": "http.request", "body": b"", "more_body": False}
        # The whole request was delivered: next comes the guest's end, or the beginning of its next request.
        while not self._gone:
            if self._ahead > HEAD_MAX:
                # enough is buffered; the application cancels this
                await asyncio.get_running_loop().create_future()
            data = await self._reader.read(PIECE)
            self._input.receive(data)
            self._ahead += len(data)
            self._gone = not data
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            if self._response is not None:
                raise RuntimeError("the application started its response twice")
            self._response = message
        elif kind == "http.response.body":
            if self._response is None:
                raise RuntimeError("the application sent a body before it started its response")
            events: list[Any] = []
            if not self._sent:
                self._sent = True
                status = self._response["status"]
                headers = [(bytes(name), bytes(value)) for name, value in self._response.get("headers", ())]
                events.append(
                    h11.Response(status_code=status, reason=reason(status), headers=without_hop_by_hop(headers))
                )
            if message.get("body") and has_body(self._method, self._response["status"]):
                events.append(h11.Data(data=bytes(message["body"])))
            if not message.get("more_body", False):
                events.append(h11.EndOfMessage())
            await self._say(*events)
        else:
            raise RuntimeError(f'the application has sent a message of the unknown type "{kind}"')
