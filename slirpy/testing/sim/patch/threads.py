"""``threading`` and ``queue`` in programs: threads are greenlets, and locks are between them."""

from __future__ import annotations

import _thread
import _threading_local
import queue
import threading
from collections.abc import Callable
from typing import Any

from slirpy.testing.sim.blocking.locks import SimLock
from slirpy.testing.sim.blocking.program import BlockingProgram
from slirpy.testing.sim.blocking.threads import SimThread
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import ALWAYS, Replacements
from slirpy.testing.sim.waiting import current_waiter, wait_for

__all__ = ["replace_threads"]

_REAL_IDENT = _thread.get_ident
_REAL_CURRENT = threading.current_thread
_REAL_MAIN = threading.main_thread
_MARK = "_slirpy_thread"
_PyRLock: Any = threading._PyRLock  # type: ignore[attr-defined]
_PySimpleQueue: Any = queue._PySimpleQueue  # type: ignore[attr-defined]


def _running() -> SimThread | None:
    """Return the thread that runs now; None: an asyncio program."""
    found = current_waiter()
    return found if isinstance(found, SimThread) else None


def _start(host: Host, thread: Any) -> None:
    """Start a thread of a program."""
    if not thread._initialized:
        raise RuntimeError("thread.__init__() not called")
    if thread._started.is_set():
        raise RuntimeError("threads can only be started once")
    running = _running()
    started = running.spawn(thread) if running is not None else _beside_asyncio(host, thread)
    vars(thread)[_MARK] = started
    thread._ident = thread._native_id = started.number
    thread._started.set()


def _beside_asyncio(host: Host, thread: threading.Thread) -> SimThread:
    """Start a thread of an asyncio program, as a program of its own."""
    program = BlockingProgram(host, thread.run, thread.name)
    program.again = None  # whoever has started it does so again
    program.main.object, program.main.is_main = thread, False
    host.programs.append(program)
    return program.main


def _join(real: Callable[..., None]) -> Callable[..., None]:
    def join(self: Any, timeout: float | None = None) -> None:
        started = vars(self).get(_MARK)
        if not isinstance(started, SimThread):
            real(self, timeout)
            return
        if started is _running():
            raise RuntimeError("cannot join current thread")

        def ended() -> None:
            if not started.done:
                raise BlockingIOError

        if started.done:
            return
        try:
            wait_for(started, "Thread.join()", ended, None if timeout is None else max(timeout, 0.0))
        except TimeoutError:
            pass

    return join


def _is_alive(real: Callable[..., bool]) -> Callable[..., bool]:
    def is_alive(self: Any) -> bool:
        started = vars(self).get(_MARK)
        return not started.done if isinstance(started, SimThread) else real(self)

    return is_alive


def _current(host: Host) -> threading.Thread:
    running = _running()
    if running is None:
        return _REAL_CURRENT()
    if running.object is None:
        running.object = made = _MainThread(name="MainThread", daemon=False)
        vars(made)[_MARK] = running
        made._ident = running.number
        made._started.set()
    return running.object


class _MainThread(threading.Thread):
    """The thread in which the function of a program runs."""

    _ident: int
    _started: threading.Event


def _main(host: Host) -> threading.Thread:
    running = _running()
    return _current(host) if running is not None and running.is_main else _REAL_MAIN()


def _ident(host: Host) -> int:
    running = _running()
    return _REAL_IDENT() if running is None else running.number


def _start_new_thread(
    host: Host, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, /
) -> int:
    thread = threading.Thread(target=function, args=args, kwargs=kwargs, daemon=True)
    thread.start()
    return thread.ident or 0


def _lock(host: Host) -> SimLock:
    return SimLock(host)


def _rlock(host: Host) -> Any:
    return _PyRLock()


def _simple_queue(host: Host) -> Any:
    return _PySimpleQueue()


def replace_threads(all_of_it: Replacements) -> None:
    """Replace threads, locks, and what Python has built into C on top of them."""
    thread = threading.Thread
    all_of_it.method(ALWAYS, thread, "start", _start)
    all_of_it.attribute(thread, "join", _join(thread.join))
    all_of_it.attribute(thread, "is_alive", _is_alive(thread.is_alive))
    all_of_it.value(ALWAYS, _thread.start_new_thread, _start_new_thread)
    all_of_it.value(ALWAYS, threading.current_thread, _current)
    all_of_it.value(ALWAYS, threading.main_thread, _main)
    all_of_it.value(ALWAYS, _thread.get_ident, _ident)
    all_of_it.value(ALWAYS, _thread.allocate_lock, _lock)
    if threading.Lock is not _thread.allocate_lock:
        all_of_it.value(ALWAYS, threading.Lock, _lock)
    all_of_it.value(ALWAYS, threading.RLock, _rlock)
    all_of_it.value(ALWAYS, queue.SimpleQueue, _simple_queue)
    all_of_it.object(threading.local, _threading_local.local)
