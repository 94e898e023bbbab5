"""The run of a network: programs, events, and the conditions of tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from traceback import StackSummary, walk_tb
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from slirpy.checks import shown
from slirpy.config.values import as_text, function
from slirpy.errors import ConfigError, StateError
from slirpy.testing.errors import UnmetError
from slirpy.testing.sim.durations import in_nanoseconds
from slirpy.testing.sim.errors import DeadlockError, ProgramError
from slirpy.testing.sim.garbage import Garbage
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.idle import is_activity
from slirpy.testing.sim.logs import LogCapture
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.setup import Setup
from slirpy.testing.sim.topology import Topology
from slirpy.testing.text import seconds

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["Run"]

_PLACES = 4
"""Lines of code that the trace has of an exception."""
_ROUNDS = 1_000_000
"""Ready calls at one point of time after which programs are taken to spin."""


class Run(Topology):
    """The part of a :class:`~slirpy.testing.sim.network.Network` that lets time pass."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._failure: tuple[Program, BaseException] | None = None
        self._checks: list[tuple[str, Callable[[], object]]] = []
        self._running = False
        self._garbage = Garbage()
        self._logs = LogCapture(self.trace, self.scheduler)
        self._replaced: AbstractContextManager[None] | None = None
        """The context of :meth:`replaced`, while it is entered."""

    def _boot(self, host: Host) -> None:
        booted: list[bool] = []
        host.boot(lambda: booted.append(True))
        self.until(lambda: booted)

    def run(
        self,
        main: Coroutine[Any, Any, Any] | Callable[[], Any],
        *,
        on: Host | str,
        limit: float = 600.0,
    ) -> Any:
        """Run a program on a host until it ends, and return its result. The programs of other hosts run beside it.

        Args:
            main: a coroutine, or a function without arguments; see :meth:`Host.run`. If the host crashes, a function
                begins again when the host restarts, and its last result counts.
            on: the host, or its name; it is made if there is none.
            limit: maximum seconds of virtual time.

        Raises:
            ProgramError: a program of another host failed.
            DeadlockError: everything waits, and nothing is left to happen.
            UnmetError: the limit was reached.
            StateError: it was killed, and did not begin again.
            Exception: the one that ended ``main``.
        """
        __tracebackhide__ = True  # pytest shows the program, not what ran it
        host = self.host(on) if isinstance(on, str) else self._host(on)
        program = self._drive_to_end(host.run(main), self.now + in_nanoseconds("limit", limit))
        if not program.done:
            raise UnmetError(
                f"{program.name} did not end within {limit:g} s of virtual time: {program.where()}"
            )
        return program.result()

    def _drive_to_end(self, program: Program, end: int) -> Program:
        """Let time pass until a program has ended; returns it, or what a crash of its host has made of it."""
        self._drive(end, lambda: program.done, program)
        following = program.successor
        if following is None and program.killed and program.again is not None and program.host.crashed:
            self._drive(end, lambda: program.successor is not None)
            following = program.successor
        return program if following is None else self._drive_to_end(following, end)

    def run_for(self, duration: float) -> None:
        """Let ``duration`` seconds of virtual time pass.

        Raises:
            ConfigError: negative, or not a number.
            ProgramError: a program failed.
        """
        self._drive(self.now + in_nanoseconds("duration", duration), lambda: False)

    def until(self, predicate: Callable[[], object], limit: float = 60.0) -> None:
        """Let time pass until ``predicate()`` is true; it is called after each event.

        Args:
            limit: maximum seconds of virtual time.

        Raises:
            UnmetError: the limit was reached, or nothing is left to happen.
            ProgramError: a program failed.
        """
        function("predicate", predicate)
        if not self._drive(self.now + in_nanoseconds("limit", limit), predicate):
            raise UnmetError(f"not within {limit:g} s of virtual time")

    def settle(self, limit: float = 600.0) -> None:
        """Let time pass until nothing is going on: no frame under way, no open connection, no timer of a program.

        Timers of routers, and those of leases, go on for ever, and do not count.

        Args:
            limit: maximum seconds of virtual time.

        Raises:
            UnmetError: the limit was reached.
            ProgramError: a program failed.
        """
        if not self._drive(self.now + in_nanoseconds("limit", limit), self._is_settled):
            raise UnmetError(f"the network was not idle within {limit:g} s of virtual time")

    def _is_settled(self) -> bool:
        return not any(is_activity(call) for call in self.scheduler.pending())

    def always(self, check: Callable[[], object], name: str = "") -> None:
        """Call ``check()`` after each event from now on; False, or an exception, ends the run.

        Raises:
            ConfigError: it cannot be called.
        """
        function("check", check)
        as_text("name", name)
        self._checks.append((name or getattr(check, "__name__", "a check"), check))

    def eventually(self, check: Callable[[], object], within: float) -> None:
        """Let time pass until ``check()`` is true, at most ``within`` seconds.

        Raises:
            UnmetError: it was never true.
            ProgramError: a program failed.
        """
        function("check", check)
        self.until(check, within)

    @property
    def loop(self) -> AbstractEventLoop:
        """The asyncio event loop of all programs: the one that ``asyncio.get_running_loop()`` returns in them."""
        from slirpy.testing.sim.aio.loop import loop_of

        return loop_of(self)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.note(self.now, "", "note", as_text("text", text))

    def launch(self, host: Host, program: Any, name: str) -> Program:
        """Start a program; for :meth:`Host.run`."""
        started: Program
        if type(program) is CoroutineType or inspect.iscoroutinefunction(program):
            from slirpy.testing.sim.aio.program import AsyncProgram

            started = AsyncProgram(host, program, name)
        elif callable(program):
            from slirpy.testing.sim.blocking import BlockingProgram

            started = BlockingProgram(host, program, name)
        else:
            raise ConfigError(f"a program is a coroutine or a function; given was {shown(program)}")
        host.programs.append(started)
        self.trace.note(self.now, host.name, "task", f"{started.name} began")
        if self._running:
            self._replace()
        return started

    def follow(self, program: Program, coro: Coroutine[Any, Any, Any]) -> Program:
        """Run the coroutine that the function of a program has returned; the program ends with it."""
        from slirpy.testing.sim.aio.program import ContinuedProgram

        return ContinuedProgram(program, coro)

    def replaced(self) -> AbstractContextManager[None]:
        """Return a context in which programs see their versions of Python's modules; for calls outside of a run."""
        from slirpy.testing.sim.replaced import Replaced

        return Replaced(self)

    def failed(self, program: Program, error: BaseException) -> None:
        """Take note that an exception has ended a program; the first one ends the run."""
        text = "\n".join((f"{program.name}: {error!r}", *_places(error)))
        self.trace.note(self.now, program.host.name, "exception", text)
        if self._failure is None:
            self._failure = program, error
            self.scheduler.halted = True

    def _drive(
        self,
        end: int,
        predicate: Callable[[], object],
        program: Program | None = None,
    ) -> bool:
        """Go from event to event; returns whether the predicate became true."""
        self.check_open()
        if self._running:
            raise StateError("the network is running already; wait in the program itself, or start another one")
        self._running = True
        self._logs.start()
        scheduler, garbage = self.scheduler, self._garbage
        rounds, at = 0, self.now
        try:
            if any(host.programs for host in self.hosts.values()):
                self._replace()
            while True:
                while ran := scheduler.run_ready(_ROUNDS - rounds):
                    if self._failure is not None:
                        self._raise_failure(program)
                    rounds += ran
                if rounds >= _ROUNDS:
                    raise DeadlockError(
                        f"endless events at {seconds(at)}: programs never wait: {self._spinning()}"
                    )
                if self._checks:
                    self._check()
                if predicate():
                    return True
                if scheduler.number >= garbage.due:
                    garbage.collect(scheduler.number)
                following = scheduler.run_next(end)
                if following is None or following > end:
                    break
                if following > at:
                    rounds, at = 0, following
            if following is None and program is not None:
                raise DeadlockError(
                    f"{program.name} on {program.host.name} waits for something that never happens:"
                    f" {program.where()}"
                )
            scheduler.now = max(scheduler.now, end)
            return bool(predicate())
        finally:
            self._running = False
            self._logs.stop()
            replaced, self._replaced = self._replaced, None
            if replaced is not None:
                replaced.__exit__(None, None, None)

    def _spinning(self) -> str:
        """Describe where the programs are that always have something to do."""
        ready = self.scheduler.ready_owners()
        places = [
            f"{program.name} on {host.name}: {', '.join(program.leftovers() or [program.where()])}"
            for host in self.hosts.values()
            if host in ready
            for program in host.programs
            if not program.done or program.leftovers()
        ]
        return "; ".join(places[:_PLACES]) or "nothing but events of the network"

    def _check(self) -> None:
        for name, check in self._checks:
            if check() is False:
                raise UnmetError(f"{name} was not true at {seconds(self.now)}")

    def _replace(self) -> None:
        """Replace Python's modules by the versions of programs until the run pauses."""
        if self._replaced is None:
            self._replaced = self.replaced()
            self._replaced.__enter__()

    def _raise_failure(self, main: Program | None) -> None:
        """End the run, because a program has failed."""
        assert self._failure is not None
        program, error = self._failure
        self._failure = None
        self.scheduler.halted = False
        if program is main:
            return  # its result raises
        raise ProgramError(
            f"{program.name} on {program.host.name} failed at {seconds(self.now)}: {error!r}"
        ) from error


def _places(error: BaseException) -> list[str]:
    """Return the lines of code nearest to an exception, the innermost last."""
    frames = StackSummary.extract(walk_tb(error.__traceback__), limit=-_PLACES, lookup_lines=False)
    return [f"  {each.filename}:{each.lineno} in {each.name}" for each in frames]
