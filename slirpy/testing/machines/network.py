"""A state machine of programs in a network: async rules, and faults that are scheduled between them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import hypothesis
from hypothesis import stateful
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition

from slirpy.config.values import host_name
from slirpy.errors import ConfigError
from slirpy.links.faultypath import Faults
from slirpy.testing.sim.faults import Crash, Cut
from slirpy.testing.sim.host import Host
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.segments import seen
from slirpy.testing.sim.setup import DEFAULT_PATH
from slirpy.testing.sim.trace import FrameRecord
from slirpy.wire import ipv4

__all__ = ["NetworkMachine", "initialize", "rule"]

_RECOVERY = 60.0
"""Seconds that crashed hosts get to come back before a rule runs on them."""


def rule(*, on: str | None = None, **arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a rule, which may be ``async``: then it runs as a program of a host.

    Args:
        on: name of that host; None: :attr:`NetworkMachine.runs_on`.
        arguments: as for :func:`hypothesis.stateful.rule`.

    Raises:
        ConfigError: ``on`` is not a name of a host.
    """
    _check_host(on)
    made: Any = stateful.rule(**arguments)
    return lambda function: made(_synchronous(function, on))


def initialize(*, on: str | None = None, **arguments: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a rule that runs once, before all others; it may be ``async``.

    Args:
        on: name of the host on which it runs; None: :attr:`NetworkMachine.runs_on`.
        arguments: as for :func:`hypothesis.stateful.initialize`.

    Raises:
        ConfigError: ``on`` is not a name of a host.
    """
    _check_host(on)
    made: Any = stateful.initialize(**arguments)
    return lambda function: made(_synchronous(function, on))


def _check_host(on: object) -> None:
    if on is not None:
        host_name("on", on, dot=True)


def _synchronous(function: Callable[..., Any], on: str | None) -> Callable[..., Any]:
    """Return a function that runs a coroutine function to its end, in virtual time."""
    if not inspect.iscoroutinefunction(function):
        if on is not None:
            raise ConfigError(f"rule {function.__name__}() is not async; on={on!r} is for coroutine functions")
        return function

    @wraps(function)
    def run(self: NetworkMachine, **chosen: Any) -> Any:
        return self.run(function(self, **chosen), on=on)

    del run.__wrapped__  # inspect would find the coroutine function behind it
    return run


def _pairs(machine: NetworkMachine) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(list(permutations(machine.hosts, 2)))


def _crashable(machine: NetworkMachine) -> st.SearchStrategy[str]:
    return st.sampled_from([name for name in machine.hosts if name != machine.runs_on])


# Soon is frequent, for a rule takes a few milliseconds on an ordinary path.
_at = st.sampled_from([*range(11)] * 100 + [*range(11, 2001)])
_ms = st.integers(1, 5000)


class NetworkMachine(RuleBasedStateMachine):
    """Rules of a test that run as programs of hosts, and rules that schedule faults into the future.

    A rule is atomic for Hypothesis, so a fault can hit the middle of one only if it has been scheduled before:
    ``cut(a, b, at, ms)`` and ``crash(host, at, ms)`` do that, and ``wait(ms)`` lets time pass. Example::

        class Counter(NetworkMachine):
            hosts = ("server", "client")

            def start(self):
                self.server = CounterServer()
                self.net.hosts["server"].run(self.server.serve)
                self.asked = 0

            @rule()
            async def increment(self):
                self.asked += 1
                await ask_server()

            @invariant()
            def at_most_once(self):
                assert self.server.value <= self.asked

        TestCounter = Counter.TestCase

    A failing example ends with the report of the run. Set :attr:`artifacts` to keep its files.
    """

    hosts: ClassVar[tuple[str, ...]] = ("server", "client")
    """Names of the hosts."""
    runs_on: ClassVar[str] = ""
    """Host on which async rules run; empty: the last one. It is not crashed."""
    faults: ClassVar[tuple[str, ...]] = ("cut", "crash")
    """Rules that schedule faults and may be chosen."""
    path: ClassVar[Faults] = DEFAULT_PATH
    """Faults of all paths."""
    seed: ClassVar[int] = 0
    """Seed of the network."""
    limit: ClassVar[float] = 600.0
    """Seconds of virtual time for an async rule."""
    artifacts: ClassVar[Path | None] = None
    """Folder for the files of the report of a failing example; None: they are not kept."""

    def __init__(self) -> None:
        super().__init__()
        if len(set(self.hosts)) < 2:
            raise ConfigError(f"{type(self).__name__}.hosts must name two hosts or more; it is {self.hosts!r}")
        if not self.runs_on:
            type(self).runs_on = self.hosts[-1]
        if self.runs_on not in self.hosts:
            raise ConfigError(f'{type(self).__name__}.runs_on "{self.runs_on}" is not one of {self.hosts!r}')
        self.net = Network(self.seed, path=self.path)
        for name in self.hosts:
            self.net.host(name)
        self.start()

    def start(self) -> None:
        """Start the programs of the hosts. Override it; called once for each example."""

    async def recovered(self) -> None:
        """Check at the end that everything works. Override it.

        It runs when all faults are over, unless a check has failed before.
        """

    def run(self, coroutine: Any, *, on: str | None = None) -> Any:
        """Run a coroutine as a program of a host until it ends, and return its result.

        A crashed host boots first.
        """
        host: Host = self.net.host(self.runs_on if on is None else on)
        if host.crashed:
            self.net.until(lambda: not host.crashed, _RECOVERY)
        return self.net.run(coroutine, on=host, limit=self.limit)

    # --------------------------------------------------------------------------------------- rules

    @precondition(lambda self: "cut" in self.faults)
    @stateful.rule(pair=st.runner().flatmap(_pairs), at=_at, ms=_ms)
    def cut(self, pair: tuple[str, str], at: int, ms: int) -> None:
        """Cut the path between two hosts, in ``at`` milliseconds for ``ms`` milliseconds."""
        self.net.inject(Cut(at, ms, *pair))

    @precondition(lambda self: "crash" in self.faults)
    @stateful.rule(host=st.runner().flatmap(_crashable), at=_at, ms=_ms, reset=st.booleans())
    def crash(self, host: str, at: int, ms: int, reset: bool) -> None:
        """Crash a host in ``at`` milliseconds; it boots again after ``ms`` milliseconds."""
        self.net.inject(Crash(at, ms, host, reset))

    @stateful.rule(ms=_ms)
    def wait(self, ms: int) -> None:
        """Let time pass."""
        self.net.run_for(ms / 1000)

    # ------------------------------------------------------------------------------------- the end

    def teardown(self) -> None:
        """Let the faults pass and check :meth:`recovered`; report a failure, and end all programs."""
        failure = sys.exc_info()[1]
        try:
            if failure is None:
                self._recover()
        except BaseException as error:
            failure = error
            raise
        finally:
            if isinstance(failure, Exception):
                self._report(failure)
            elif hypothesis.currently_in_test_context():
                hypothesis.target(float(self.retransmissions()), label="retransmissions")
            self.net.close()

    def _recover(self) -> None:
        if type(self).recovered is not NetworkMachine.recovered:
            timed = [each.fault for each in self.net.injected if isinstance(each.fault, Cut | Crash)]
            if timed:  # each counts from its own injection, which was before now
                self.net.run_for(max(fault.at + fault.ms for fault in timed) / 1000)
            self.run(self.recovered())

    def _report(self, failure: Exception) -> None:
        report = self.net.report(failure)
        if hypothesis.currently_in_test_context():
            hypothesis.note(str(report))
        if self.artifacts is not None:
            report.save(self.artifacts, type(self).__name__)

    def retransmissions(self) -> int:
        """Return the number of TCP segments that were sent again: examples with many of them are preferred."""
        known: set[tuple[bytes, int, int, int, int]] = set()
        again = 0
        for record in self.net.trace.records:
            packet = seen(record.frame) if isinstance(record, FrameRecord) else None
            if packet is not None and packet.protocol == ipv4.TCP and packet.length:
                key = packet.source, packet.source_port, packet.target_port, packet.seq, packet.length
                again += key in known
                known.add(key)
        return again
