"""The control server: a listening socket that the network watches, and a thread for those who connect to it.

The thread starts with the first client. So a network that nobody asks has no other thread, and ``slirpy --sandbox``
has shut the process in before.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from slirpy import forks
from slirpy.control.guard import Guard
from slirpy.control.networks import Networks
from slirpy.control.place import bind, check_token, new_token
from slirpy.control.subject import Subject
from slirpy.interfaces import READ, Poller
from slirpy.links.endpoint import Endpoint
from slirpy.logs import logger
from slirpy.reprs import never_raises

__all__ = ["ControlServer"]

CONNECTIONS_MAX = 128
HEAD_MAX = 16 << 10
"""Bytes of the first line and the headers of a request."""
HEAD_SECONDS = 10.0
"""Time for them to arrive."""
IDLE_SECONDS = 60
"""Time that a connection may stay open between two requests."""
END_SECONDS = 2.0
"""Time for requests that are being answered when the network ends."""

_log = logger("control")
_log.addHandler(logging.NullHandler())  # a program that logs nothing hears nothing


class ControlServer:
    """Answers requests about one or more networks, made by :meth:`slirpy.Slirp.serve_control`.

    Args:
        place: where to listen.
        subjects: the networks by name; paths that name none are about the first.
        poller: of the thread that drives the first network.
        token: that clients must show; None: a new one for TCP, and none for a Unix socket.

    Attributes:
        address: where it listens, with the chosen port.
        token: that clients must show, or None.
        closed: whether it has stopped.

    Raises:
        ConfigError: the token is too short.
        LinkError: the place is in use, or not available.
    """

    def __init__(
        self,
        place: Endpoint,
        subjects: Mapping[str, Subject],
        poller: Poller,
        *,
        token: str | None = None,
    ) -> None:
        if token is not None:
            check_token(token)
        elif not place.local:
            token = new_token()
        self.token = token
        self._made_at = forks.count
        self._sock = bind(place)
        self._sock.listen(CONNECTIONS_MAX)
        self._inode = place.inode()
        self._place = place
        self.address = place if place.local else Endpoint(int(self._sock.family), self._sock.getsockname())
        self._poller: Poller | None = poller
        self._subjects = list(subjects.values())
        self._application = Guard(Networks(subjects), token, check_host=not place.local)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self.closed = False
        poller.register(self._sock.fileno(), READ, self._first_client)

    @never_raises
    def __repr__(self) -> str:
        return f"<ControlServer at {self.address}{', closed' if self.closed else ''}>"

    def _first_client(self, mask: int) -> None:
        assert self._poller is not None
        self._poller.unregister(self._sock.fileno())
        self._poller = None
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="slirpy-control", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._loop is not None
        with asyncio.Runner(loop_factory=lambda: self._loop or asyncio.new_event_loop()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        assert self._over is not None
        config = uvicorn.Config(
            self._application,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            ws="none",
            h11_max_incomplete_event_size=HEAD_MAX,
            timeout_keep_alive=IDLE_SECONDS,
        )
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Protocol(config, state, {}), sock=self._sock)
        await self._over.wait()
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        if state.tasks:
            await asyncio.wait(state.tasks, timeout=END_SECONDS)
        tunnels = [tunnel for subject in self._subjects for tunnel in subject.tunnels]
        for transport in (*(each.transport for each in list(state.connections)), *tunnels):
            transport.abort()

    def close(self) -> None:
        """Stop: requests that are being answered get an answer, and the path of a Unix socket is removed.

        Harmless when repeated. In a forked child, it closes only the descriptors.
        """
        if self.closed:
            return
        self.closed = True
        if forks.is_fork(self._made_at):
            for subject in self._subjects:
                subject.abandon()
            self._sock.close()
            return
        if self._poller is not None:
            self._poller.unregister(self._sock.fileno())
            self._poller = None
        for subject in self._subjects:
            subject.close()
        self._place.remove(self._inode)
        if self._thread is None or self._loop is None or self._over is None:
            self._sock.close()
        else:
            self._loop.call_soon_threadsafe(self._over.set)
            if self._thread is not threading.current_thread():
                self._thread.join(2 * END_SECONDS)


class _Protocol(H11Protocol):
    """One connection: uvicorn's, with a time limit for the head of a request.

    Half a line would otherwise hold one of the connections for as long as the client likes.
    """

    def __init__(self, config: uvicorn.Config, state: ServerState, app_state: dict[str, Any]) -> None:
        super().__init__(config, state, app_state)
        self.logger = _log
        self.access_log = False
        self._head: asyncio.TimerHandle | None = None
        application = self.app

        async def with_connection(scope: Any, receive: Any, send: Any) -> None:
            scope["slirpy.connection"] = self
            await application(scope, receive, send)

        self.app = with_connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # uvicorn narrows it
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(b"503 Service Unavailable", b"there are %d connections already" % CONNECTIONS_MAX)
        else:
            self._time_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._time_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(None)
        super().connection_lost(exc)

    def hijack(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """Take the connection away from HTTP, in the middle of a request; the request gets no other answer."""
        transport = self.transport
        self.connections.discard(self)
        self._set_timer(None)
        self._unset_keepalive_if_required()
        self.cycle.disconnected = True
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return transport

    def _time_head(self) -> None:
        """Set the timer while part of a request has arrived, or nothing at all on a new connection."""
        answering = self.cycle is not None and not self.cycle.response_complete
        idle = self.timeout_keep_alive_task is not None and not self.conn.trailing_data[0]
        if answering or idle or self.transport.is_closing():
            self._set_timer(None)
        elif self._head is None:
            self._set_timer(self._too_late)

    def _set_timer(self, callback: Callable[[], None] | None) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head = None if callback is None else self.loop.call_later(HEAD_SECONDS, callback)

    def _too_late(self) -> None:
        self._head = None
        if self.transport.is_closing() or self.conn.our_state is not h11.IDLE:
            return
        self._refuse(b"408 Request Timeout", b"no whole request has arrived within %d s" % HEAD_SECONDS)

    def _refuse(self, status: bytes, why: bytes) -> None:
        """Answer what is no request yet, and close."""
        text = b'{"error": "%s"}' % why
        self.transport.write(
            b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(text), text)
        )
        self.transport.close()
