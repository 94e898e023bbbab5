"""Asynchronous generators that a program has abandoned: the loop closes them, as asyncio does."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextvars import Context
from typing import Any
from weakref import ref

from slirpy.testing.sim.aio.loop import loop_of
from slirpy.testing.sim.current import HOST, PROGRAM
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.topology import Topology

__all__ = ["ClosingGenerators"]

_MANY = 1000
"""Number of generators from which those that have ended are forgotten."""


class ClosingGenerators:
    """Hooks that close the generators of programs to which nothing refers any more.

    Args:
        net: the network of the programs.
    """

    def __init__(self, net: Topology) -> None:
        self._net = net
        self._owners: dict[int, tuple[ref[Any], Program]] = {}
        """By the number of the generator: a weak mapping is empty when its finalizer is called."""

    def install(self) -> None:
        """Set the hooks."""
        self._outside = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._begin, self._finish)

    def remove(self) -> None:
        """Set the earlier hooks again."""
        sys.set_asyncgen_hooks(*self._outside)

    def _begin(self, generator: AsyncGenerator[Any, Any]) -> None:
        program, owners = PROGRAM.get(), self._owners
        if program is not None:
            if len(owners) >= _MANY:
                for number in [number for number, (its, _) in owners.items() if its() is None]:
                    del owners[number]  # it ended by itself
            owners[id(generator)] = ref(generator), program
        elif self._outside.firstiter is not None:
            self._outside.firstiter(generator)

    def _finish(self, generator: AsyncGenerator[Any, Any]) -> None:
        _, program = self._owners.pop(id(generator), (None, None))
        if program is None:
            if self._outside.finalizer is not None:
                self._outside.finalizer(generator)
        elif not program.over:
            context = Context()
            context.run(PROGRAM.set, program)
            context.run(HOST.set, program.host)
            loop = loop_of(self._net)
            loop.call_soon(loop.create_task, generator.aclose(), context=context)
