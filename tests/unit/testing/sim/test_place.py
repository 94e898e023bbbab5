"""Place of a program's call in the text of an error."""

from __future__ import annotations

import asyncio
import queue
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from slirpy.testing import EscapeError, Network


def sleep() -> None:
    time.sleep(1)


def get() -> None:
    queue.Queue[int]().get()


def run() -> None:
    subprocess.run([sys.executable, "-c", ""], check=True)


def execute() -> Awaitable[Any]:
    return asyncio.create_subprocess_exec(sys.executable)


def unix() -> None:
    socket.socket(socket.AF_UNIX)


@pytest.mark.parametrize("call", [sleep, get, run, execute, unix])
def test_an_escape_names_the_line_of_the_program(
    net: Network, call: Callable[[], Awaitable[Any] | None]
) -> None:
    async def main() -> None:
        found = call()
        if found is not None:
            await found

    first = call.__code__.co_firstlineno
    lines = (first + 1, main.__code__.co_firstlineno + 3)  # a coroutine runs where it is awaited
    with pytest.raises(EscapeError) as caught:
        net.run(main, on="client")
    assert str(caught.value).startswith(tuple(f"{__file__}:{line}: " for line in lines))
