"""The event loop of all asyncio programs of a network, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import Context
from functools import partial
from math import ceil
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet, WeakValueDictionary, ref

from slirpy.errors import StateError
from slirpy.reprs import never_raises
from slirpy.testing.sim import names
from slirpy.testing.sim.aio.bases import get_running, set_running
from slirpy.testing.sim.aio.connections import Connections
from slirpy.testing.sim.aio.datagrams import Datagrams
from slirpy.testing.sim.aio.executor import Executor
from slirpy.testing.sim.aio.failures import Failures
from slirpy.testing.sim.aio.handles import SimHandle, SimTimer, run_handle
from slirpy.testing.sim.aio.places import cleans_up
from slirpy.testing.sim.aio.readiness import Readiness
from slirpy.testing.sim.aio.refused import Refusals
from slirpy.testing.sim.aio.servers import Servers
from slirpy.testing.sim.aio.transport import StreamTransport
from slirpy.testing.sim.current import HOST, PROGRAM, current_host
from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.host import Host
from slirpy.units import SECOND

if TYPE_CHECKING:
    from slirpy.testing.sim.program import Program
    from slirpy.testing.sim.world import World

__all__ = ["SimLoop", "loop_of"]

_MANY = 1000
"""Number of tasks from which those that no longer exist are forgotten."""
_NEVER = float(1 << 50)
"""A time in seconds at which a timer is as good as none."""


def loop_of(net: World[Any]) -> SimLoop:
    """Return the event loop of a network, which is made at the first call."""
    holder = net.extensions.get("asyncio")
    if holder is None:
        holder = net.extensions["asyncio"] = _Holder(SimLoop(net))
    loop: SimLoop = holder.loop
    return loop


def _known(found: list[bytes] | None, name: str) -> list[bytes] | None:
    """Return the addresses of a name that has been looked up."""
    return found


_NONE_RUNS = "no program runs now; call this in a program that host.run() or net.run() started"


class _Holder:
    """The loop as an extension of its network, which closes it; ``loop.close()`` is for programs, and refused."""

    def __init__(self, loop: SimLoop) -> None:
        self.loop = loop

    def abandon(self, program: Program) -> None:
        self.loop.abandon(program)
        self.loop.release(program)
        self.loop.stop_threads(program)

    def close(self) -> None:
        self.loop.dispose()


class SimLoop(Refusals, Failures, Connections, Servers, Datagrams, Readiness, Executor):
    """An event loop that takes its time, its order and its sockets from a network.

    Each call belongs to the program in whose context it was made, and with it to a host: the host's clock, its
    addresses, and the pauses of its processor. Programs find it with :func:`asyncio.get_running_loop`; it is not to
    be run or closed by them.

    Args:
        net: the network.
    """

    def __init__(self, net: World[Any]) -> None:
        BaseEventLoop.__init__(self)  # without the selector of its base
        self._clock_resolution = 1e-9
        self._transports: Any = WeakValueDictionary()
        self.net = net
        self.scheduler = net.scheduler
        self._ready_calls = net.scheduler.ready
        self._thread_id = get_ident()
        self._tasks: list[ref[asyncio.Task[Any]]] = []
        self._many = _MANY
        self._made = 0
        self._timers: dict[int, SimTimer] = {}
        self._killed: list[asyncio.Task[Any]] = []
        self.threads: dict[Any, Any] = {}
        self.endpoints: dict[Any, None] = {}
        """Servers and UDP transports that are open."""
        self.secure = WeakSet()
        self.disposing = False

    @never_raises
    def __repr__(self) -> str:
        return f"<SimLoop of {self.net!r}{' closed' if self.is_closed() else ''}>"

    def __del__(self, *_: Any) -> None: ...  # the base class warns of loops that were not closed

    # ------------------------------------------------------------------------------------------ time

    def time(self) -> float:
        """Return the reading of the monotonic clock of the present host, in seconds."""
        host = current_host()
        now = self.scheduler.now
        return (now if host is None else host.clock.monotonic(now)) / SECOND

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """See :meth:`asyncio.loop.call_soon`."""
        if self._closed:
            self._check_closed()
        handle: SimHandle = SimHandle(callback, args, self, context)
        self._ready_calls.append((handle.processor, run_handle, handle))
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimHandle:
        """See :meth:`asyncio.loop.call_soon_threadsafe`; other threads are those of programs."""
        if get_ident() != self._thread_id:
            raise escaped(
                "call_soon_threadsafe() was called in another thread, which runs in real time; start threads in"
                " programs, or programs with host.run()"
            )
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimTimer:
        """See :meth:`asyncio.loop.call_later`."""
        if delay is None:
            raise TypeError("delay must not be None")
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> SimTimer:
        """See :meth:`asyncio.loop.call_at`; never early: times are rounded up to nanoseconds."""
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed:
            self._check_closed()
        timer = SimTimer(when, callback, args, self, context)
        self._set(timer, when)
        return timer

    def _set(self, timer: SimTimer, when: float) -> None:
        if not when < _NEVER:  # or not a number
            return
        reading = max(ceil(when * SECOND), 0)
        if reading / SECOND < when:
            reading += 1
        program = timer.program
        at = reading if program is None else program.host.clock.network_time(reading)
        timer.number = number = self.scheduler.at(at, self._due, timer)
        timer._scheduled = True
        self._timers[number] = timer

    def _due(self, timer: SimTimer) -> None:
        del self._timers[timer.number]
        timer.number = 0
        timer._scheduled = False
        self._ready_calls.append((timer.processor, run_handle, timer))

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        assert isinstance(handle, SimTimer)
        number, handle.number = handle.number, 0
        if number:
            self._timers.pop(number, None)  # the loop may have been closed
            self.scheduler.cancel(number)

    # ----------------------------------------------------------------------------------------- tasks

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        """See :meth:`asyncio.loop.create_task`; names are numbered from one in each network."""
        if self._closed:
            self._check_closed()
        self._made = number = self._made + 1
        if options.get("name") is None:
            options["name"] = f"Task-{number}"
        context = options.get("context")
        program: Any = PROGRAM.get() if context is None else context.get(PROGRAM)
        if program is None or program.task_factory is None:
            task: Any = asyncio.Task(coro, loop=self, **options)
        else:
            self._task_factory = program.task_factory  # called by asyncio, as its version calls them
            try:
                task = super().create_task(coro, **options)
            finally:
                self._task_factory = None
        task.program = program
        self._tasks.append(ref(task))
        if len(self._tasks) > self._many:
            self._tasks = [each for each in self._tasks if each() is not None]
            self._many = max(_MANY, 2 * len(self._tasks))
        return cast("asyncio.Task[Any]", task)

    def set_task_factory(self, factory: Any) -> None:
        """See :meth:`asyncio.loop.set_task_factory`; it is for the present program only."""
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._program().task_factory = factory

    def get_task_factory(self) -> Any:
        """See :meth:`asyncio.loop.get_task_factory`."""
        return self._program().task_factory

    def _program(self) -> Any:
        program = PROGRAM.get()
        if program is None:
            raise StateError(_NONE_RUNS)
        return program

    def start(self, program: Any, coro: Coroutine[Any, Any, Any], context: Context) -> Any:
        """Start the task of a program."""
        task = self.create_task(coro, name=program.name, context=context)
        task.add_done_callback(program.finished, context=context)
        return task

    def tasks_of(self, program: Program) -> list[asyncio.Task[Any]]:
        """Return the tasks of a program that still exist, in the order in which they were made."""
        return [task for task in self._all_tasks() if getattr(task, "program", None) is program]

    def _all_tasks(self) -> list[asyncio.Task[Any]]:
        """Return all tasks that still exist, in the order in which they were made."""
        return [task for each in self._tasks if (task := each()) is not None]

    def abandon(self, program: Program) -> None:
        """Let nothing of a killed program run any more, not even ``finally`` clauses, until the loop is closed."""
        self._killed += [task for task in self.tasks_of(program) if not task.done()]
        for number, timer in list(self._timers.items()):
            if timer.program is program:
                del self._timers[number]
                timer.number = 0
                self.scheduler.cancel(number)

    def release(self, program: Program) -> None:
        """Close the sockets of a killed program, as the system does."""
        if program.host.crashed:
            return
        for endpoint in list(self.endpoints):
            if endpoint.program is program:
                endpoint.release()
        for stream in list(program.host.stack.tcp.streams.values()):
            if isinstance(stream.owner, StreamTransport) and stream.owner.program is program:
                stream.owner.release()

    def dispose(self) -> None:
        """Close the loop: unwind all tasks in silence. Nothing that they do has any effect."""
        outside = get_running()
        set_running(self)
        self.disposing = True
        try:
            self._unwind_all()
        finally:
            set_running(outside)
        self._closed = True
        for protocol in self.secure:
            if protocol._app_transport is not None:
                protocol._app_transport._closed = True  # or it warns that nobody has closed it
        self._killed.clear()
        self._timers.clear()

    def _unwind_all(self) -> None:
        unwound: set[int] = set()
        while pending := [task for task in self._all_tasks() if not task.done() and id(task) not in unwound]:
            with self._silence() if any(cleans_up(task.get_coro()) for task in pending) else nullcontext():
                for task in pending:
                    unwound.add(id(task))
                    self._unwind(task)

    @contextmanager
    def _silence(self) -> Iterator[None]:
        """Return a context for the code of programs, in which they log nothing."""
        logged = logging.root.manager.disable
        logging.disable()
        try:
            with self.net.replaced():
                yield
        finally:
            logging.disable(logged)

    def _unwind(self, task: Any) -> None:
        task._log_destroy_pending = False
        self._killed.append(task)
        coro: Any = task.get_coro()
        context = Context()
        context.run(PROGRAM.set, task.program)
        context.run(HOST.set, None if task.program is None else task.program.host)
        try:
            context.run(coro.close)
        except BaseException:  # of any kind: the program is dead
            return

    # ----------------------------------------------------------------------------------------- names

    def host(self) -> Host:
        """Return the host whose program runs now.

        Raises:
            StateError: none does.
        """
        host = current_host()
        if host is None:
            raise StateError(_NONE_RUNS)
        return host

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name of asyncio
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """See :meth:`asyncio.loop.getaddrinfo`; a host behind a router asks its DNS."""
        asking, resolve = self.host(), None
        if names.asks_a_server(asking, host, flags):
            answer = self.create_future()
            asking.lookup(names.text_of(host), lambda found: answer.done() or answer.set_result(found))
            found = await answer
            resolve = partial(_known, found)
        return names.getaddrinfo(asking, host, port, family, type, proto, flags, resolve)

    def _ensure_resolved(self, address: Any, *, loop: Any, **options: Any) -> Any:
        """Return what :meth:`getaddrinfo` returns; asyncio handles literal addresses on another way."""
        return self.getaddrinfo(*address[:2], **options)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """See :meth:`asyncio.loop.getnameinfo`."""
        return names.getnameinfo(self.host(), sockaddr, flags)
