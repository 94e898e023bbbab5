"""Servers and outcomes of tests that show a bug of other people's programs."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest

from slirpy.testing.sim.errors import ProgramError
from slirpy.testing.sim.network import Network

__all__ = ["ends_within", "expect_bug", "silent"]


def silent(port: int) -> Callable[[], Any]:
    """Return a server that accepts connections, as a hung process does, and never says a word."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def serve() -> None:
        await (await asyncio.start_server(say_nothing, "0.0.0.0", port)).serve_forever()

    return serve


def ends_within(net: Network, hours: float, call: Callable[[], Any]) -> bool:
    """Report whether a program of the client returns, or raises an exception, in so many hours."""
    program = net.host("client").run(call)
    with contextlib.suppress(ProgramError):
        net.run_for(hours * 3600)
    return program.done


def expect_bug(package: str, outcome: Any, *, wrong: Any, right: Any) -> None:
    """Assert that a bug is there; skip the test if the installed version does it right.

    Args:
        package: name of the distribution, or ``python`` for its standard library.
        outcome: the result of the run.
        wrong: the result that shows the bug.
        right: the result without it.
    """
    if outcome == right:
        installed = platform.python_version() if package == "python" else version(package)
        pytest.skip(f"{package} {installed} does it right: say so in docs/bugs.md")
    assert outcome == wrong
