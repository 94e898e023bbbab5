"""Threads of blocking programs: greenlets that hand over to the network where a thread would wait."""

from __future__ import annotations

import contextvars
import ctypes
import os
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from slirpy.testing.sim.blocking.greenlets import load
from slirpy.testing.sim.blocking.trios import State, cancel, exchange
from slirpy.testing.sim.current import HOST
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.waiting import RUNNING, WaitingThread

__all__ = ["SimThread"]

_PATIENCE = 100
"""Number of waits in which a killed thread is stopped again, before it is left alone."""
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class SimThread(WaitingThread):
    """A thread of a program: a :class:`~slirpy.testing.sim.waiting.WaitingThread`.

    Only one thread of a network runs at a time, and it goes on until it waits: there are no races within a piece of
    code that does not wait. The order of threads that are ready is that of the network's calls.

    Args:
        host: the host that it runs on.
        body: the function to run.
        context: context variables to start with.
        ended: called with the result and the exception; exactly one call, none if it is killed.
        spawn: function that starts a thread in the same program.

    Attributes:
        object: the ``threading.Thread`` that programs see; None until a program asks for it.
        number: what ``threading.get_ident()`` returns in it.
        done: True once it has ended.
    """

    def __init__(
        self,
        host: Host,
        body: Callable[[], Any],
        context: contextvars.Context,
        ended: Callable[[Any, BaseException | None], None],
        spawn: Callable[[threading.Thread], SimThread],
    ) -> None:
        self._greenlets = load()
        self.host = host
        self.done = False
        self.object: threading.Thread | None = None
        self.is_main = False
        """True in the thread in which the function of a program runs."""
        self.number = _next_number(host)
        self._body = body
        self._ended = ended
        self.spawn = spawn
        self._code: CodeType | None = getattr(body, "__code__", None)
        self._hub: Any = None
        self._call = ""
        self._waiting = False
        self._ready = True
        self._woken = False
        self._killed = 0
        self._joining: list[Callable[[], object]] = []
        self._trio: State = {}
        context.run(HOST.set, host)
        self._greenlet = self._greenlets.greenlet(self._run)
        self._greenlet.gr_context = context
        host.soon(self._resume)

    # --------------------------------------------------------------------------------------- running

    def _run(self) -> None:
        result, failed = None, None
        try:
            result = self._body()
        except (self._greenlets.GreenletExit, KeyboardInterrupt) as error:
            self._finish()
            if isinstance(error, KeyboardInterrupt):
                raise  # in the test
            return
        except BaseException as error:
            failed = error
        self._finish()
        if not self._killed:
            self._ended(result, failed)

    def _finish(self) -> None:
        self.done = True
        joining, self._joining = self._joining, []
        for call in joining:
            call()

    def _resume(self) -> None:
        """Go on where the thread waits."""
        if self.done or not self._ready:
            return
        self._ready = False
        self._switch(self._greenlet.switch)

    def _switch(self, switch: Callable[..., object], *args: object) -> None:
        hub = self._greenlets.getcurrent()
        self._hub = hub
        if self._greenlet.parent is not hub:
            self._greenlet.parent = hub
        outside, RUNNING.waiter = RUNNING.waiter, self
        trio_outside = exchange(self._trio)
        try:
            switch(*args)
        finally:
            RUNNING.waiter = outside
            self._trio = exchange(trio_outside)

    def suspend(self, call: str, deadline: int | None) -> bool:
        """See :meth:`slirpy.testing.sim.waiting.WaitingThread.suspend`."""
        if self._killed:
            self._stop()
        self._waiting, self._woken, self._call = True, False, call
        scheduler, alarm, expired = self.host.net.scheduler, 0, []
        if deadline is not None:

            def expire() -> None:
                expired.append(True)
                self._make_ready()

            alarm = scheduler.at(deadline, expire)
        try:
            self._hub.switch()
        except self._greenlets.GreenletExit:  # by kill(), or because the network was forgotten
            self._killed = max(self._killed, 1)
            raise
        finally:
            self._waiting = False
            if deadline is not None and not expired:
                scheduler.cancel(alarm)
        if self._killed:
            self._stop()
        return self._woken

    def wake(self) -> None:
        """See :meth:`slirpy.testing.sim.waiting.WaitingThread.wake`."""
        if self._waiting:
            self._woken = True
            self._make_ready()

    def _make_ready(self) -> None:
        if not self._ready and not self.done:
            self._ready = True
            self.host.soon(self._resume)

    # --------------------------------------------------------------------------------------- the end

    def watch(self, call: Callable[[], object]) -> None:
        """Call ``call()`` when the thread has ended."""
        self._joining.append(call)

    def unwatch(self, call: Callable[[], object]) -> None:
        """Undo :meth:`watch`. Harmless without it."""
        if call in self._joining:
            self._joining.remove(call)

    def kill(self) -> None:
        """End the thread at once: the call in which it waits raises GreenletExit. Harmless when it has ended."""
        if self.done:
            return
        greenlet = self._greenlet
        if greenlet is not self._greenlets.getcurrent() and not self._inside() and cancel(self._trio):
            for _ in range(_PATIENCE):
                if not self.done:
                    self._switch(greenlet.switch)
        self._killed = max(self._killed, 1)
        if self.done or greenlet is self._greenlets.getcurrent() or self._inside():
            return  # it stops at its next wait
        if not greenlet:  # not begun
            self._finish()
        else:
            self._switch(greenlet.throw, self._greenlets.GreenletExit)

    def _inside(self) -> bool:
        """Report whether the thread itself has, by some call, started what runs now."""
        current = self._greenlets.getcurrent()
        while current is not None:
            if current is self._greenlet:
                return True
            current = current.parent
        return False

    def _stop(self) -> None:
        """Stop a killed thread in a call that waits."""
        self._killed += 1
        if self._killed > _PATIENCE:
            self.done = True
            # The program catches everything. Deleting the greenlet would raise one more in it, outside the network.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._greenlet))
            self._hub.switch()  # and never back
        raise self._greenlets.GreenletExit

    # ------------------------------------------------------------------------------------ for people

    def where(self) -> str:
        """Describe where the thread waits: the call, and the line of the program that led there."""
        if self.done:
            return "has ended"
        frame: FrameType | None = self._greenlet.gr_frame
        if frame is None:
            return "has not begun to run"
        frames: list[FrameType] = []
        while frame is not None:
            if not frame.f_code.co_filename.startswith(_OWN):
                frames.append(frame)
            frame = frame.f_back
        text = f"waits in {self._call}"
        own = self._code.co_filename if self._code is not None else ""
        lines = [*frames[:1], *[each for each in frames[1:] if each.f_code.co_filename == own][:1]]
        for word, each in zip((" by", ", called by"), lines, strict=False):
            text += f"{word} {each.f_code.co_name}() at {each.f_code.co_filename}:{each.f_lineno}"
        return text


def _next_number(host: Host) -> int:
    """Return a number for a thread that no other thread of the network has, and no real one."""
    return int(host.net.extensions.setdefault("threads", _Numbers()).take())


class _Numbers:
    """Numbers of threads, from one beyond those of real threads."""

    def __init__(self) -> None:
        self._last = sys.maxsize >> 1

    def take(self) -> int:
        """Return the next number."""
        self._last += 1
        return self._last

    def close(self) -> None:
        """Do nothing; see :attr:`World.extensions`."""
