"""Bases of networks and hosts, for the programs that run on them."""

from __future__ import annotations

import abc
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from slirpy.errors import StateError
from slirpy.testing.sim.scheduler import Processor, Scheduler
from slirpy.testing.sim.tlskeys import TlsKeys
from slirpy.testing.sim.trace import Trace

__all__ = ["Machine", "World"]

P = TypeVar("P")
"""A running program."""


class World(abc.ABC, Generic[P]):
    """The part of a :class:`~slirpy.testing.sim.network.Network` that hosts and programs depend on.

    Attributes:
        seed: seed of all randomness.
        scheduler: time, and everything that is to happen.
        trace: everything that has happened.
        tls_keys: secrets of TLS connections, for captures.
        patch: the parts of Python that programs see in another version; see :mod:`slirpy.testing.sim.patch`.
        epoch_ns: time of day at which it began, in nanoseconds since 1970.
        hosts: the hosts by name.
        extensions: runners of programs, such as the asyncio loop, by name; closed with the network.
        closed: True once it is closed: nothing runs any more.
    """

    seed: int
    scheduler: Scheduler
    trace: Trace
    tls_keys: TlsKeys
    patch: frozenset[str]
    epoch_ns: int
    hosts: dict[str, Any]
    extensions: dict[str, Any]
    closed: bool = False

    @property
    def now(self) -> int:
        """Virtual nanoseconds since the beginning."""
        return self.scheduler.now

    def check_open(self) -> None:
        """Raise StateError if the network is closed."""
        if self.closed:
            raise StateError("the network is closed; make a new one")

    @abc.abstractmethod
    def resolve(self, name: str) -> list[bytes]:
        """Return the addresses of a name, four or sixteen bytes each, IPv4 first; empty: there is no such host."""

    @abc.abstractmethod
    def launch(self, host: Any, program: Any, name: str) -> P:
        """Start a program; for :meth:`Host.run`."""

    @abc.abstractmethod
    def follow(self, program: P, coro: Coroutine[Any, Any, Any]) -> P:
        """Run the coroutine that the function of a program has returned; the program ends with it."""

    @abc.abstractmethod
    def replaced(self) -> AbstractContextManager[None]:
        """Return a context in which programs see their versions of Python's modules; for calls outside of a run."""

    @abc.abstractmethod
    def failed(self, program: P, error: BaseException) -> None:
        """Take note that an exception has ended a program; the first one ends the run."""


class Machine(Processor):
    """The part of a :class:`~slirpy.testing.sim.host.Host` that programs depend on.

    Attributes:
        name: its name.
        net: the network that it belongs to.
    """

    def __init__(self, net: World[Any], name: str) -> None:
        super().__init__()
        self.net = net
        self.name = name
