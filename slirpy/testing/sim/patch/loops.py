"""Event loops and signals in programs: there is one loop for the whole network, and nobody sends signals."""

from __future__ import annotations

import asyncio
import signal
from types import ModuleType
from typing import Any, NoReturn

from slirpy.testing.sim.current import PROGRAM
from slirpy.testing.sim.errors import escaped
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import ALWAYS, Replacements
from slirpy.testing.sim.waiting import WaitingThread, current_waiter

__all__ = ["replace_loops"]


def _thread(host: Host, call: str) -> WaitingThread:
    """Return the thread of a blocking program that runs now; otherwise the loop runs already."""
    thread = current_waiter()
    if thread is None:
        raise escaped(
            f"{call} by a program of host {host.name}: the loop of the network runs already;"
            " await the coroutine, or start it with host.run()"
        )
    return thread


def _run(host: Host, main: Any, **_: Any) -> Any:
    from slirpy.testing.sim.aio.nested import run_coroutine

    return run_coroutine(host, _thread(host, "asyncio.run()"), main)


def _runner_run(host: Host, runner: asyncio.Runner, coro: Any, *, context: Any = None) -> Any:
    from slirpy.testing.sim.aio.nested import run_coroutine

    return run_coroutine(host, _thread(host, "asyncio.Runner.run()"), coro, context)


def _runner_loop(host: Host, runner: asyncio.Runner) -> asyncio.AbstractEventLoop:
    from slirpy.testing.sim.aio.loop import loop_of

    _thread(host, "asyncio.Runner.get_loop()")
    return loop_of(host.net)


def _runner_init(host: Host, runner: asyncio.Runner) -> None:
    """Make no loop."""


def _refuse_loop(host: Host, *_: Any, **__: Any) -> NoReturn:
    raise escaped(
        f"an event loop of its own, of a program of host {host.name}, is not simulated; use asyncio.run()"
        " in a plain function, or make the program a coroutine function"
    )


_all_tasks = asyncio.all_tasks


def _own_tasks(host: Host, loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """Return the tasks of the present program only: programs cancel all that they find when they end."""
    program = PROGRAM.get()
    return {task for task in _all_tasks(loop) if getattr(task, "program", program) is program}


_LOOPS: list[Any] = [
    getattr(asyncio, name) for name in ("SelectorEventLoop", "ProactorEventLoop") if hasattr(asyncio, name)
]
"""The loops of asyncio, and not their base: that is the base of the network's loop, too, and after each change of it
Python would look up all methods of that loop again."""


class _Handlers:
    """Handlers of signals by number, for each host: kept, and never called."""

    def __init__(self) -> None:
        self._handlers: dict[tuple[str, int], Any] = {}

    def get(self, host: Host, number: int) -> Any:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        return self._handlers.get((host.name, number), default)

    def set(self, host: Host, number: int, handler: Any) -> Any:
        before = self.get(host, number)
        self._handlers[host.name, number] = handler
        return before

    def close(self) -> None:
        """Forget all handlers."""
        self._handlers.clear()


def _handlers(host: Host) -> _Handlers:
    found: _Handlers = host.net.extensions.setdefault("signals", _Handlers())
    return found


def _signal(host: Host, number: int, handler: Any) -> Any:
    return _handlers(host).set(host, number, handler)


def _getsignal(host: Host, number: int) -> Any:
    return _handlers(host).get(host, number)


def _uvloop(all_of_it: Replacements, uvloop: ModuleType) -> None:
    """Run coroutines on the loop of the network, and leave the process its policy of event loops."""
    all_of_it.value(ALWAYS, uvloop.run, _run)
    all_of_it.value(ALWAYS, uvloop.install, _nothing)
    all_of_it.value(ALWAYS, uvloop.new_event_loop, _refuse_loop)


def _nothing(host: Host) -> None:
    """Do nothing."""


def replace_loops(all_of_it: Replacements) -> None:
    """Give programs their own tasks, run coroutines of blocking ones, and keep handlers of signals without effect."""
    all_of_it.value(ALWAYS, asyncio.run, _run)
    runner = asyncio.Runner
    all_of_it.method(ALWAYS, runner, "run", _runner_run)
    all_of_it.method(ALWAYS, runner, "get_loop", _runner_loop)
    all_of_it.method(ALWAYS, runner, "_lazy_init", _runner_init)
    all_of_it.value(ALWAYS, asyncio.new_event_loop, _refuse_loop)
    all_of_it.value(ALWAYS, asyncio.all_tasks, _own_tasks)
    all_of_it.late("uvloop", _uvloop)
    for kind in _LOOPS:
        for name in ("run_forever", "run_until_complete"):
            all_of_it.method(ALWAYS, kind, name, _refuse_loop)
    all_of_it.value(ALWAYS, signal.signal, _signal)
    all_of_it.value(ALWAYS, signal.getsignal, _getsignal)
