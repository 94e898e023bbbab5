"""Asynchronous generators that a program has abandoned: the loop closes them, as asyncio does."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any
from weakref import ref

from slirpy.testing.sim.aio.loop import loop_of
from slirpy.testing.sim.current import HOST, PROGRAM
from slirpy.testing.sim.program import Program
from slirpy.testing.sim.topology import Topology

__all__ = ["closing_generators"]

_MANY = 1000
"""Number of generators from which those that have ended are forgotten."""


@contextmanager
def closing_generators(net: Topology) -> Iterator[None]:
    """Close within a ``with`` block the generators of programs that nothing refers to any more."""
    outside = sys.get_asyncgen_hooks()
    owners: dict[int, tuple[ref[Any], Program]] = {}  # by id: a weak mapping is empty when finish() is called

    def begin(generator: AsyncGenerator[Any, Any]) -> None:
        program = PROGRAM.get()
        if program is not None:
            if len(owners) >= _MANY:
                for number in [number for number, (its, _) in owners.items() if its() is None]:
                    del owners[number]  # it ended by itself
            owners[id(generator)] = ref(generator), program
        elif outside.firstiter is not None:
            outside.firstiter(generator)

    def finish(generator: AsyncGenerator[Any, Any]) -> None:
        _, program = owners.pop(id(generator), (None, None))
        if program is None:
            if outside.finalizer is not None:
                outside.finalizer(generator)
        elif not program.over:
            context = Context()
            context.run(PROGRAM.set, program)
            context.run(HOST.set, program.host)
            loop = loop_of(net)
            loop.call_soon(loop.create_task, generator.aclose(), context=context)

    sys.set_asyncgen_hooks(begin, finish)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*outside)
