"""Coroutine functions of this process behind guestfwd, with one task of an event loop for each connection."""

from __future__ import annotations

import inspect
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from slirpy.interfaces import FlowRequest

if TYPE_CHECKING:
    import asyncio

__all__ = ["TASKS", "BackgroundLoop", "TaskWorker", "is_coroutine_function"]

TASKS = 1024
"""Maximum number of tasks at a time, for all rules together."""

TaskHandler: TypeAlias = Callable[["asyncio.StreamReader", "asyncio.StreamWriter"], Awaitable[object]]


def is_coroutine_function(function: Any) -> bool:
    """Report whether a call returns an awaitable: a coroutine function, or an object whose ``__call__`` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - not whether, but what is called
    )


class TaskWorker:
    """``await handler(reader, writer)`` in an event loop; a :class:`~slirpy.targets.localstream.Worker`.

    When the handler returns, its output is sent and the connection closed. An exception goes to the loop's exception
    handler, and the guest's connection is reset. When the guest resets the connection, or the network is closed, the
    task is cancelled.
    """

    __slots__ = ("_ended", "_flow", "_handler", "_loop", "_sock", "_task", "broken", "failed", "tcp")

    def __init__(self, loop: asyncio.AbstractEventLoop, handler: TaskHandler, flow: FlowRequest) -> None:
        self._loop = loop
        self._handler = handler
        self._flow = flow
        self._task: asyncio.Task[None] | None = None
        self._sock: socket.socket | None = None
        self._ended = False
        self.tcp = self.failed = self.broken = False

    def start(self, sock: socket.socket) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.start`."""
        sock.setblocking(False)
        try:
            self._loop.call_soon_threadsafe(self._begin, sock)
        except RuntimeError as error:  # the loop is closed
            raise OSError(*error.args) from None

    def _begin(self, sock: socket.socket) -> None:
        self._sock = sock
        if self._ended:
            sock.close()
        else:
            self._task = self._loop.create_task(self._run(sock), name="slirpy-guestfwd")
            self._task.add_done_callback(lambda _: self._done(sock))

    def _done(self, sock: socket.socket) -> None:
        """Clean up after a task that was cancelled before its first step, so that :meth:`_run` never ran."""
        if not self._ended:
            sock.close()
            self.failed = self._ended = True

    async def _run(self, sock: socket.socket) -> None:
        import asyncio

        reader = asyncio.StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        writer: asyncio.StreamWriter | None = None
        try:
            unix = hasattr(socket, "AF_UNIX") and sock.family == socket.AF_UNIX
            connect = self._loop.create_unix_connection if unix else self._loop.create_connection
            transport, _ = await connect(lambda: protocol, sock=sock)
            writer = asyncio.StreamWriter(_Named(transport, self._flow), protocol, reader, self._loop)  # type: ignore[arg-type] # not a Transport by name
            await self._handler(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            self.failed = True  # the guest has gone, which needs no report
        except Exception as error:  # as above; the loop reports it
            self.failed = True
            # Without the task: from Python 3.12 on, the loop would enter its context, in which this runs already.
            self._loop.call_exception_handler({
                "message": f"handler of a connection to {self._flow.destination} has failed",
                "exception": error,
            })  # fmt: skip
        finally:
            self.failed = self.failed or sys.exc_info()[0] is not None  # cancelled
            if writer is None:
                sock.close()
            else:
                with suppress(AttributeError):  # raised by Python 3.11 if the transport has closed already
                    writer.transport.abort()
            self._ended = True

    def hang_up(self, reset: bool, now: int) -> None:
        """End the connection. A task that is not cancelled reads the end of the data, or its ``drain`` fails."""
        if reset:
            self._cancel()

    def _cancel(self) -> None:
        def cancel() -> None:
            if self._task is None:
                self._ended = True
            else:
                self._task.cancel()

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(cancel)

    def ended(self, now: int) -> bool:
        """Report whether the task has ended."""
        return self._ended or self._loop.is_closed()

    def kill(self, until: float) -> None:
        """Do nothing: the cancelled task ends when its loop runs it."""

    def abandon(self) -> None:
        """See :meth:`slirpy.targets.localstream.Worker.abandon`."""
        if self._sock is not None:
            self._sock.close()


class _Named:
    """A transport that reports the guest's names of both ends, as in a real server."""

    __slots__ = ("_flow", "_transport")

    def __init__(self, transport: asyncio.Transport, flow: FlowRequest) -> None:
        self._transport = transport
        self._flow = flow

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        flow = self._flow
        if name == "peername":
            return str(flow.source), flow.source_port
        if name == "sockname":
            return str(flow.destination), flow.destination_port
        return self._transport.get_extra_info(name, default)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BackgroundLoop:
    """An event loop in a daemon thread, for networks that no event loop drives."""

    def __init__(self) -> None:
        import asyncio

        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="slirpy-asyncio", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        import asyncio

        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    def close(self, seconds: float = 1.0) -> None:
        """Cancel all tasks and end the thread; a task that does not end in time is abandoned."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)
