"""``threading`` and ``queue`` in programs: threads are greenlets, and locks are between them."""

from __future__ import annotations

import _thread
import _threading_local
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from slirpy.testing.sim.blocking.locks import SimLock
from slirpy.testing.sim.blocking.program import BlockingProgram
from slirpy.testing.sim.blocking.threads import SimThread
from slirpy.testing.sim.current import current_host
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import ALWAYS, Replacements
from slirpy.testing.sim.waiting import current_waiter, wait_for

__all__ = ["beside_asyncio", "replace_threads"]

_REAL_IDENT = _thread.get_ident
_REAL_CURRENT = threading.current_thread
_REAL_MAIN = threading.main_thread
_PYTHON_RLOCK: Any = vars(threading)["_PyRLock"]  # the version in Python, which is made of a lock
_PYTHON_QUEUE: Any = vars(queue)["_PySimpleQueue"]


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
    started = running.spawn(thread) if running is not None else beside_asyncio(host, thread)
    _bind(thread, started)


def beside_asyncio(host: Host, thread: threading.Thread) -> SimThread:
    """Start a thread of an asyncio program, as another program."""
    program = BlockingProgram(host, thread.run, thread.name)
    program.again = None  # whoever has started it does so again
    program.main.object, program.main.is_main = thread, False
    host.programs.append(program)
    return program.main


def _join(started: SimThread, timeout: float | None = None) -> None:
    """See :meth:`threading.Thread.join`."""
    if started is _running():
        raise RuntimeError("cannot join current thread")

    def ended() -> None:
        if not started.done:
            raise BlockingIOError

    if started.done or current_host() is None:
        return  # outside of programs, as when the interpreter ends, nothing goes on any more
    try:
        wait_for(started, "Thread.join()", ended, None if timeout is None else max(timeout, 0.0))
    except TimeoutError:
        pass


def _bind(thread: Any, started: SimThread) -> None:
    """Let a thread of Python's stand for a simulated one, also when the network does not run."""
    thread.join = partial(_join, started)
    thread.is_alive = lambda: not started.done
    thread._ident = thread._native_id = started.number
    thread._started.set()


def _current(host: Host) -> threading.Thread:
    running = _running()
    if running is None:
        return _REAL_CURRENT()
    if running.object is None:
        running.object = threading.Thread(name="MainThread", daemon=False)
        _bind(running.object, running)
    return running.object


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
    return _PYTHON_RLOCK()


def _simple_queue(host: Host) -> Any:
    return _PYTHON_QUEUE()


def replace_threads(all_of_it: Replacements) -> None:
    """Replace threads, locks, and what Python has built into C on top of them."""
    all_of_it.method(ALWAYS, threading.Thread, "start", _start)
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
