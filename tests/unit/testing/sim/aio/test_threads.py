"""Asyncio and blocking code in one program: threads of an executor, and asyncio.run() in a plain function."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from typing import Any

import pytest

from slirpy.testing.sim.errors import EscapeError, ProgramError
from slirpy.testing.sim.network import Network

pytest.importorskip("greenlet")


async def visit(text: bytes) -> bytes:
    """Ask the echo server."""
    reader, writer = await asyncio.open_connection("server", 7)
    writer.write(text)
    received = await reader.readexactly(len(text))
    writer.close()
    return received


def test_functions_in_threads_wait_beside_each_other(net: Network) -> None:
    def ask(pause: float) -> bytes:
        time.sleep(pause)
        with socket.create_connection(("server", 7)) as sock:
            sock.sendall(b"hello")
            return sock.recv(100)

    async def main() -> tuple[list[bytes], float]:
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(*(asyncio.to_thread(ask, 3) for _ in range(3)))
        return answers, loop.time()

    answers, took = net.run(main, on="client")
    assert answers == [b"hello"] * 3
    assert 3 < took < 3.1


def test_a_crash_ends_the_threads_of_an_executor(net: Network) -> None:
    after: list[str] = []

    def work() -> None:
        time.sleep(10)
        after.append("alive")

    async def main() -> None:
        await asyncio.to_thread(work)

    net.host("client").run(main)
    net.run_for(1)
    net.host("client").crash()
    net.run_for(20)
    assert after == []


def test_a_coroutine_from_a_thread(net: Network) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(visit(b"abc"), loop).result())

    assert net.run(main, on="client") == b"abc"


def test_a_plain_function_that_returns_a_coroutine(net: Network) -> None:
    assert net.run(lambda: visit(b"hello"), on="client") == b"hello"


def test_a_coroutine_of_a_plain_function_that_fails(net: Network) -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        net.run(lambda: fails(), on="client")  # noqa: PLW0108 - on purpose


def test_a_coroutine_of_a_plain_function_ends_with_its_host_and_starts_again(net: Network) -> None:
    begun: list[float] = []

    async def wait() -> None:
        begun.append(asyncio.get_running_loop().time())
        await asyncio.sleep(100)
        begun.append(-1)

    program = net.host("client").run(lambda: wait())  # noqa: PLW0108 - on purpose
    net.run_for(1)
    assert "test_threads.py" in program.where()
    net.host("client").crash()
    assert program.killed
    net.run_for(1)
    net.host("client").restart()
    net.run_for(99)
    assert begun == [0, 2]


def test_asyncio_run_in_a_plain_function(net: Network) -> None:
    def main() -> list[Any]:
        time.sleep(1)
        first = asyncio.run(visit(b"first"))
        with asyncio.Runner() as runner:
            return [first, runner.run(visit(b"second")), time.monotonic() > 1]

    assert net.run(main, on="client") == [b"first", b"second", True]


def test_asyncio_run_cancels_the_tasks_that_are_left(net: Network) -> None:
    seen: list[str] = []

    async def background() -> None:
        try:
            await asyncio.sleep(900)
        finally:
            await asyncio.sleep(1)
            seen.append("cleaned up")

    async def start() -> str:
        seen.append(str(asyncio.create_task(background()).cancelled()))
        await asyncio.sleep(1)
        return "result"

    def main() -> str:
        return asyncio.run(start())

    assert net.run(main, on="client") == "result"
    assert seen == ["False", "cleaned up"]
    assert net.now == 2_000_000_000


def test_asyncio_run_passes_exceptions_on(net: Network) -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        net.run(lambda: asyncio.run(fails()), on="client")


def test_a_lost_exception_within_asyncio_run_ends_the_run(net: Network) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    async def start() -> None:
        task = asyncio.create_task(fails())
        del task
        await asyncio.sleep(10)

    def main() -> None:
        asyncio.run(start())

    net.host("other").run(main)
    with pytest.raises(ProgramError, match="main on other"):
        net.run(asyncio.sleep(20), on="client")


@pytest.mark.parametrize(
    "call",
    [
        lambda coro: asyncio.run(coro),  # noqa: PLW0108 - the one of the module as it is then
        lambda coro: asyncio.Runner().run(coro),
        lambda _: asyncio.new_event_loop(),
    ],
)
def test_another_loop_in_a_program_is_refused_with_its_place(net: Network, call: Any) -> None:
    async def main() -> None:
        coro = visit(b"x")
        try:
            call(coro)
        finally:
            coro.close()

    with pytest.raises(EscapeError, match=r"test_threads\.py:\d+: .* of host client"):
        net.run(main, on="client")


def test_handlers_of_signals_are_kept_and_never_called(net: Network) -> None:
    real = signal.getsignal(signal.SIGTERM)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        assert not loop.remove_signal_handler(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.signal(signal.SIGTERM, signal.SIG_IGN) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN

    net.run(main, on="client")
    assert signal.getsignal(signal.SIGTERM) is real
