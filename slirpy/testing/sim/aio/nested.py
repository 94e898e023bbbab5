"""``asyncio.run()`` in a program that is a plain function: on the loop of the network."""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from typing import Any

from slirpy.testing.sim.aio.loop import SimLoop, loop_of
from slirpy.testing.sim.current import PROGRAM
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.waiting import WaitingThread

__all__ = ["run_coroutine"]

_CALL = "asyncio.run()"


def run_coroutine(host: Host, thread: WaitingThread, main: Any, context: Context | None = None) -> Any:
    """Run a coroutine while a thread of a blocking program waits, and return its result.

    As with :func:`asyncio.run`, the tasks that are left are cancelled then.

    Args:
        host: the host of the program.
        thread: the thread.
        main: the coroutine.
        context: in which it runs; None: a copy of the present one.

    Raises:
        ValueError: not a coroutine.
    """
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = loop_of(host.net)
    context = copy_context() if context is None else context.copy()
    before = set(_tasks(loop))
    task = loop.create_task(main, context=context)
    _wait(thread, task)
    left = [each for each in _tasks(loop) if each not in before and not each.done()]
    for each in left:
        each.cancel()
    for each in left:
        _wait(thread, each)
        error = None if each.cancelled() else each.exception()
        if error is not None:
            message = "unhandled exception during asyncio.run() shutdown"
            loop.call_exception_handler({"message": message, "exception": error, "task": each})
    return task.result()


def _tasks(loop: SimLoop) -> list[asyncio.Task[Any]]:
    program = PROGRAM.get()
    return [] if program is None else loop.tasks_of(program)


def _wait(thread: WaitingThread, task: asyncio.Task[Any]) -> None:
    task.add_done_callback(lambda _: thread.wake())
    while not task.done():
        thread.suspend(_CALL, None)
