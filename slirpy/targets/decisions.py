"""Policies that are coroutine functions: they run in an event loop, and decide in the network's thread."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from slirpy import forks
from slirpy.config.policy import checked_verdict
from slirpy.interfaces import READ, Action, Decision, Poller, Verdict

if TYPE_CHECKING:
    import asyncio

__all__ = ["Awaiter"]

_FAILED = Verdict(Action.REJECT, reason="the policy failed")


class Awaiter:
    """Runs awaitables; the verdicts arrive in the thread that drives the network.

    An exception goes to the loop's exception handler, and the flow is refused. A result that is not a verdict is
    treated likewise.

    Args:
        poller: poller of that thread.
        loop: returns the event loop to use.
    """

    def __init__(self, poller: Poller, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._poller = poller
        self._loop = loop
        self._made_at = forks.count
        self._given: deque[tuple[Decision, Verdict]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._receiver: socket.socket | None = None
        self._sender: socket.socket | None = None
        self._closed = False

    def __call__(self, awaitable: Awaitable[Verdict]) -> Decision:
        """Start to run an awaitable; returns the decision that it will make."""
        decision = Decision()
        if self._receiver is None and not self._closed:
            self._receiver, self._sender = socket.socketpair()
            self._receiver.setblocking(False)
            self._sender.setblocking(False)
            self._poller.register(self._receiver.fileno(), READ, self._ready)
        self._loop().call_soon_threadsafe(self._start, awaitable, decision)
        return decision

    def _start(self, awaitable: Awaitable[Verdict], decision: Decision) -> None:
        task = self._loop().create_task(self._run(awaitable, decision), name="slirpy-policy")
        self._tasks.add(task)  # a loop keeps weak references only
        task.add_done_callback(self._tasks.discard)

    async def _run(self, awaitable: Awaitable[Verdict], decision: Decision) -> None:
        verdict = _FAILED
        try:
            verdict = checked_verdict(await awaitable)
        except Exception as error:  # of the program's function; the loop reports it
            self._loop().call_exception_handler({"message": "a slirpy policy has failed", "exception": error})
        finally:
            self._give(decision, verdict)

    def _give(self, decision: Decision, verdict: Verdict) -> None:
        """Hand a verdict to the network's thread."""
        sender = self._sender
        if self._closed or sender is None:
            return
        self._given.append((decision, verdict))
        try:
            sender.send(b"\0")
        except OSError:
            pass  # full, so the reader is woken anyway; or closed meanwhile

    def _ready(self, mask: int) -> None:
        """Take the verdicts, in the network's thread."""
        if self._receiver is None:
            return
        try:
            self._receiver.recv(4096)
        except BlockingIOError:
            pass  # spurious wake-up
        while self._given and not self._closed:
            decision, verdict = self._given.popleft()
            decision.give(verdict)

    def close(self) -> None:
        """Stop to decide. Harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        if self._receiver is not None and self._sender is not None:
            self._poller.unregister(self._receiver.fileno())
            self._receiver.close()
            self._sender.close()
        self._given.clear()
        if not forks.is_fork(self._made_at):
            for task in list(self._tasks):
                task.get_loop().call_soon_threadsafe(task.cancel)
        self._tasks.clear()
