"""Time, order and errors of the event loop in virtual time."""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

import pytest

from slirpy.errors import StateError
from slirpy.testing.sim.aio.loop import loop_of
from slirpy.testing.sim.aio.places import cleans_up
from slirpy.testing.sim.clock import Clock
from slirpy.testing.sim.errors import DeadlockError, EscapeError, ProgramError
from slirpy.testing.sim.network import Network


def test_sleep_takes_virtual_time_only(net: Network) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await asyncio.sleep(300)
        return loop.time() - before

    assert net.run(main, on="client") == pytest.approx(300)
    assert net.now == 300_000_000_000


@pytest.mark.parametrize("drift", [0, -333_333, 77_777, 500_000])
def test_timers_are_never_early_on_the_clock_of_their_host(drift: int) -> None:
    net = Network()
    net.host("a", clock=Clock(drift=drift))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (1e-9, 0.1, 1 / 3, 0.7, 1e-4, 12.34567891234):
            when = loop.time() + delay
            reached = loop.create_future()
            loop.call_at(when, functools.partial(_stamp, reached))
            now = await reached
            assert when <= now < when + 1e-8

    net.run(main, on="a")


def test_no_time_is_early_by_a_rounding_error(net: Network) -> None:
    late: list[float] = []

    async def main() -> None:
        loop, random = asyncio.get_running_loop(), Random(1)
        for _ in range(2000):
            when = math.nextafter(random.randrange(10**12) / 1e9, math.inf)
            loop.call_at(when, lambda when=when: late.append(loop.time() - when))  # type: ignore[misc] # a default
        await asyncio.sleep(1001)

    net.run(main, on="client", limit=2000)
    assert len(late) == 2000
    assert 0 <= min(late) <= max(late) < 2e-9


def _stamp(future: asyncio.Future[float]) -> None:
    future.set_result(future.get_loop().time())


def test_a_fast_clock_has_its_timers_earlier() -> None:
    net = Network()
    net.host("fast", clock=Clock(drift=100_000))
    net.run(sleeper_for(1.1), on="fast")
    assert net.now == pytest.approx(1_000_000_000, abs=10)


def sleeper_for(duration: float) -> Callable[[], Any]:
    """Return a program that sleeps."""

    async def main() -> None:
        await asyncio.sleep(duration)

    return main


def test_a_cancelled_timer_does_not_advance_time(net: Network) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(600, print).cancel()
        await asyncio.wait_for(asyncio.sleep(1), 900)

    net.run(main, on="client")
    net.settle()
    assert net.now == 1_000_000_000


def test_a_timer_that_never_comes(net: Network) -> None:
    async def main() -> None:
        async with asyncio.timeout(math.inf):
            await asyncio.sleep(1)

    net.run(main, on="client")


@pytest.mark.parametrize("order", ["fifo", "random"])
def test_calls_that_are_ready_run_in_their_order_unless_it_is_random(order: Any) -> None:
    net = Network(3, order=order)
    seen: list[int] = []

    async def main() -> None:
        for number in range(20):
            asyncio.get_running_loop().call_soon(seen.append, number)
        await asyncio.sleep(1)

    net.host("a")
    net.run(main, on="a")
    assert sorted(seen) == list(range(20))
    assert (seen == sorted(seen)) is (order == "fifo")


def test_a_pause_delays_the_calls_of_its_host_only(net: Network) -> None:
    woke: dict[str, int] = {}

    def sleeper(name: str) -> Callable[[], Any]:
        async def main() -> None:
            await asyncio.sleep(1)
            woke[name] = net.now

        return main

    for name in ("server", "client"):
        net.host(name).run(sleeper(name))
    net.run_for(0.5)
    net.host("client").pause(2)
    net.run_for(5)
    assert woke == {"server": 1_000_000_000, "client": 2_500_000_000}


def test_names_of_tasks_are_the_same_in_each_network() -> None:
    async def main() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    first, second = (Network().run(main, on="a") for _ in range(2))
    assert first == second == ["Task-2", "Task-3", "Task-4"]


def test_an_exception_of_a_task_ends_the_run(net: Network) -> None:
    async def fails() -> None:
        raise ZeroDivisionError("of the task")

    async def main() -> None:
        task = asyncio.create_task(fails(), name="divider")
        del task
        await asyncio.sleep(60)

    with pytest.raises(ZeroDivisionError) as caught:
        net.run(main, on="client")
    assert caught.value.__notes__[-1] == "in task 'divider' of program main on client"
    assert net.now == 0


def test_an_unretrieved_exception_ends_the_run(net: Network) -> None:
    async def fails() -> None:
        raise ZeroDivisionError

    kept = []

    async def main() -> None:
        kept.append(asyncio.create_task(fails(), name="kept"))
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError) as caught:
        net.run(main, on="client")
    assert "'kept'" in caught.value.__notes__[0]


def test_an_exception_of_another_host_ends_the_run(net: Network) -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    net.host("other").run(fails)
    with pytest.raises(ProgramError, match=r"fails on other failed at 1\.0+ s"):
        net.run(sleeper_for(10), on="client")


def test_an_exception_of_a_call_ends_the_run(net: Network) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(1, lambda: 1 / 0)
        await asyncio.sleep(60)

    with pytest.raises(ZeroDivisionError):
        net.run(main, on="client")


def test_an_exception_of_a_connection_ends_the_run(net: Network) -> None:
    async def failing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise ZeroDivisionError

    async def serve() -> None:
        await (await asyncio.start_server(failing, None, 8)).serve_forever()

    async def main() -> None:
        _reader, _writer = await asyncio.open_connection("server", 8)
        await asyncio.sleep(60)

    net.host("server").run(serve)
    with pytest.raises(ProgramError, match="serve on server") as caught:
        net.run(main, on="client")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_connection_whose_task_is_cancelled_does_not_end_the_run(net: Network) -> None:
    async def cancelled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async def serve() -> None:
        await (await asyncio.start_server(cancelled, None, 8)).serve_forever()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 8)
        writer.close()
        await asyncio.sleep(2)
        return await reader.read()

    net.host("server").run(serve)
    assert net.run(main, on="client") == b""


def test_an_exception_handler_is_for_its_program(net: Network) -> None:
    seen: list[Any] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))
        assert loop.get_exception_handler() is not None
        loop.call_soon(lambda: 1 / 0)
        await asyncio.sleep(1)

    async def other() -> None:
        await asyncio.sleep(2)
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(2)

    net.run(main, on="client")
    assert [type(each) for each in seen] == [ZeroDivisionError]
    with pytest.raises(ZeroDivisionError):
        net.run(other, on="client")
    assert len(seen) == 1


@pytest.mark.parametrize("behind", ["at once", "later"])
def test_a_program_finds_and_cancels_its_own_tasks_only(net: Network, behind: str) -> None:
    """Servers end with a loop over all tasks; another host must not notice."""
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(name)

    async def worker() -> None:
        child_task = asyncio.create_task(child("other"))
        assert asyncio.all_tasks() == {asyncio.current_task(), child_task}
        await child_task

    async def main() -> str:
        task = asyncio.create_task(child("own"))
        await asyncio.sleep(0 if behind == "at once" else 1)
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return ", ".join(ended)

    for name in ("server", "client"):
        net.host(name).run(worker)
    assert net.run(main, on="client") == "own"
    assert asyncio.all_tasks.__module__ == "asyncio.tasks"


def test_a_task_factory_is_for_its_program(net: Network) -> None:
    made: list[str] = []

    def factory(loop: Any, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro.__name__)
        options.pop("eager_start", None)
        return asyncio.Task(coro, loop=loop, **options)

    async def child() -> None:
        await asyncio.sleep(1)

    async def other() -> None:
        assert asyncio.get_running_loop().get_task_factory() is None
        await asyncio.create_task(child())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        assert loop.get_task_factory() is factory
        net.host("server").run(other)
        task = asyncio.create_task(child(), name="named")
        assert task.get_name() == "named"
        await task
        await asyncio.sleep(2)
        no_function: Any = "none"
        with pytest.raises(TypeError, match="must be a callable"):
            loop.set_task_factory(no_function)
        loop.set_task_factory(None)
        await asyncio.create_task(child())

    net.run(main, on="client")
    assert made == ["child"]
    with pytest.raises(StateError, match="no program runs now"):
        loop_of(net).set_task_factory(factory)


def test_exit_with_a_status(net: Network) -> None:
    later: list[str] = []

    async def background() -> None:
        await asyncio.sleep(5)
        later.append("the process is gone")

    async def leaves(status: int) -> None:
        task = asyncio.create_task(background())
        await asyncio.sleep(1)
        assert not task.done()
        raise SystemExit(status)

    assert net.run(leaves(0), on="client") == 0
    net.run_for(10)
    assert later == []
    with pytest.raises(SystemExit):
        net.run(leaves(3), on="client")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("run_forever", ()),
        ("run_until_complete", (None,)),
        ("stop", ()),
        ("close", ()),
        ("create_unix_server", (None, "/nowhere")),
        ("subprocess_exec", (None, "ls")),
        ("connect_read_pipe", (None, None)),
    ],
)
def test_methods_that_are_not_simulated_are_refused_by_name(
    net: Network, name: str, args: tuple[Any, ...]
) -> None:
    async def main() -> None:
        getattr(asyncio.get_running_loop(), name)(*args)

    with pytest.raises(EscapeError, match=name):
        net.run(main, on="client")


ALWAYS = sys.version_info >= (3, 12)
"""Python ends each coroutine with a handler of its own."""


async def _waits() -> None:
    await asyncio.Event().wait()


async def _waits_inside() -> None:
    await _waits()


async def _cleans_up() -> None:
    try:
        await _waits()
    finally:
        pass


async def _leaves_a_generator() -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            await _waits()
        finally:
            yield 1

    await anext(numbers())


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        (_waits, ALWAYS),
        (_waits_inside, ALWAYS),
        (lambda: asyncio.sleep(1000), False),
        (_cleans_up, True),
        (_leaves_a_generator, True),
    ],
)
def test_code_that_runs_when_a_task_is_closed_is_seen(net: Network, main: Any, expected: bool) -> None:
    program = net.host("client").run(main())
    net.run_for(1)
    found = [cleans_up(task.get_coro()) for task in loop_of(net).tasks_of(program)]
    assert found == [expected]


def test_code_that_runs_when_the_network_is_closed_has_its_clock(net: Network) -> None:
    seen: list[float] = []

    async def main() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append(time.time())

    net.host("client").run(main)
    net.run_for(5)
    net.close()
    assert seen == [net.epoch.timestamp() + 5]


@pytest.mark.parametrize("name", ["run_forever", "run_until_complete"])
def test_a_loop_that_a_program_has_made_does_not_run(net: Network, name: str) -> None:
    loop = asyncio.SelectorEventLoop()

    async def main() -> None:
        getattr(loop, name)(*[None] * (name != "run_forever"))

    with pytest.raises(EscapeError, match="an event loop of its own"):
        net.run(main, on="client")
    loop.close()


def test_a_thread_of_an_asyncio_program_can_call_its_loop(net: Network) -> None:
    async def main() -> float:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            time.sleep(2)
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=work).start()
        await ended.wait()
        return loop.time()

    assert net.run(main, on="client") == 2


def test_a_call_from_a_real_thread_is_refused(net: Network) -> None:
    caught: list[BaseException] = []

    async def main() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    loop = net.run(main, on="client")

    def work() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except EscapeError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "another thread" in str(caught[0])


@pytest.mark.parametrize("threads", [True, False])
def test_an_executor(net: Network, monkeypatch: pytest.MonkeyPatch, threads: bool) -> None:
    monkeypatch.setattr("slirpy.testing.sim.aio.executor._HAS_THREADS", threads)

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        done = [await loop.run_in_executor(None, pow, 2, 5), await asyncio.to_thread(pow, 3, 2)]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(divmod, 1, 0)
        return done

    assert net.run(main, on="client") == [32, 9]


def test_a_wait_that_never_ends_names_its_place(net: Network) -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await inner()

    with (
        Network() as alone,
        pytest.raises(DeadlockError, match=r"test_loop\.py:\d+ in main, at .*\d+ in inner"),
    ):
        alone.run(main, on="client")


def test_a_program_that_never_waits_is_an_error(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slirpy.testing.sim.run._ROUNDS", 1000)

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    async def main() -> None:
        task = asyncio.create_task(spin(), name="the spinner")
        await asyncio.Event().wait()
        task.cancel()

    net.host("other").run(asyncio.sleep(1000), name="sleeper")
    with pytest.raises(
        DeadlockError, match=r"never wait: main on client: .*the spinner at .*in spin"
    ) as raised:
        net.run(main, on="client")
    assert "sleeper" not in str(raised.value)


def test_the_running_loop_of_the_caller_is_restored() -> None:
    async def inside() -> None:
        asyncio.get_running_loop()

    async def outside() -> None:
        loop = asyncio.get_running_loop()
        with Network() as net:
            net.run(inside, on="a")
        assert asyncio.get_running_loop() is loop

    asyncio.run(outside())
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_nothing_is_logged_when_a_network_is_closed(
    net: Network, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    kept: list[Any] = []

    async def chatty(reader: asyncio.StreamReader) -> None:
        try:
            await reader.read()
        except BaseException:
            logging.exception("reported by the program")
            raise

    async def main() -> None:
        reader, writer = await asyncio.open_connection("server", 7)
        kept.append((writer, asyncio.create_task(chatty(reader))))
        await asyncio.sleep(1)

    with caplog.at_level(logging.DEBUG):
        net.run(main, on="client")
        net.close()
        del net
    assert not caplog.records
    assert not [each for each in recwarn if issubclass(each.category, RuntimeWarning)]
