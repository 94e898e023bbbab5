"""Threads, locks and queues of programs."""

from __future__ import annotations

import asyncio
import queue
import socket
import socketserver
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from slirpy.testing.sim.errors import DeadlockError, EscapeError, ProgramError
from slirpy.testing.sim.network import Network
from slirpy.units import SECOND


def test_threads_run_beside_each_other_in_virtual_time(net: Network) -> None:
    def program() -> list[str]:
        done: list[str] = []

        def work(name: str, seconds: float) -> None:
            time.sleep(seconds)
            done.append(f"{name} {time.monotonic():g}")

        threads = [
            threading.Thread(target=work, args=("slow", 3)),
            threading.Thread(target=work, args=("fast", 1)),
        ]
        for thread in threads:
            thread.start()
            assert thread.is_alive()
        for thread in threads:
            thread.join()
            assert not thread.is_alive()
        return done

    assert net.run(program, on="client") == ["fast 1", "slow 3"]
    assert net.now == 3 * SECOND


def test_a_join_times_out(net: Network) -> None:
    def program() -> tuple[bool, float]:
        thread = threading.Thread(target=time.sleep, args=(10,), daemon=True)
        thread.start()
        thread.join(2)
        return thread.is_alive(), time.monotonic()

    assert net.run(program, on="client") == (True, 2)


def test_each_thread_knows_itself(net: Network) -> None:
    def program() -> None:
        main = threading.current_thread()
        assert main is threading.main_thread()
        assert main.name == "MainThread"
        seen: list[Any] = []
        thread = threading.Thread(
            target=lambda: seen.extend((threading.current_thread(), threading.get_ident()))
        )
        thread.start()
        thread.join()
        assert seen == [thread, thread.ident]
        assert thread.ident != main.ident == threading.get_ident()
        with pytest.raises(RuntimeError, match="once"):
            thread.start()
        with pytest.raises(RuntimeError, match="current thread"):
            main.join()

    net.run(program, on="client")


def test_locks_exclude_and_serve_in_order(net: Network) -> None:
    def program() -> list[int]:
        lock, order = threading.Lock(), []

        def work(number: int) -> None:
            with lock:
                order.append(number)
                time.sleep(1)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        assert lock.locked()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(timeout=0.2)
        for thread in threads:
            thread.join()
        assert time.monotonic() == 4
        with pytest.raises(RuntimeError, match="unlocked"):
            lock.release()
        return order

    assert net.run(program, on="client") == [0, 1, 2, 3]


def test_events_conditions_semaphores_barriers_timers_and_queues_wait(net: Network) -> None:
    def program() -> list[Any]:
        event, barrier, semaphore = threading.Event(), threading.Barrier(2), threading.Semaphore(0)
        items: queue.Queue[str] = queue.Queue(1)
        simple: queue.SimpleQueue[str] = queue.SimpleQueue()
        condition = threading.Condition()
        found: list[Any] = [event.wait(1.5), time.monotonic()]

        def work() -> None:
            event.wait()
            barrier.wait()
            semaphore.acquire()
            items.put("one")
            items.put("two")
            simple.put("three")
            with condition:
                condition.wait(5)
            found.append(time.monotonic())

        thread = threading.Thread(target=work)
        thread.start()
        threading.Timer(1, event.set).start()
        barrier.wait()
        found.append(time.monotonic())
        semaphore.release()
        found += [items.get(), items.get(timeout=1), simple.get()]
        with pytest.raises(queue.Empty):
            items.get(timeout=0.5)
        with condition:
            condition.notify()
        thread.join()
        return found

    assert net.run(program, on="client") == [False, 1.5, 2.5, "one", "two", "three", 3.0]


def test_a_lock_may_be_entered_again_by_its_thread_only(net: Network) -> None:
    def program() -> list[bool]:
        lock, taken = threading.RLock(), []
        with lock, lock:
            thread = threading.Thread(target=lambda: taken.append(lock.acquire(timeout=1)))
            thread.start()
            thread.join()
        return taken

    assert net.run(program, on="client") == [False]


def test_thread_local_values_are_apart(net: Network) -> None:
    def program() -> list[str]:
        local, seen = threading.local(), []
        local.name = "main"

        def work(name: str) -> None:
            assert not hasattr(local, "name")
            local.name = name
            time.sleep(1)
            seen.append(local.name)

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [*seen, local.name]

    assert net.run(program, on="client") == ["a", "b", "main"]


def test_an_executor_works(net: Network) -> None:
    def program() -> list[float]:
        def work(seconds: int) -> float:
            time.sleep(seconds)
            return time.monotonic()

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(work, [1, 2, 1]))

    assert net.run(program, on="client") == [1, 2, 2]


def test_a_threading_server_serves_two_clients_at_once(net: Network) -> None:
    class Slow(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            time.sleep(1)
            self.wfile.write(b"done\n")

    def ask() -> float:
        with socket.create_connection(("server", 9)) as connection, connection.makefile("rwb") as file:
            file.write(b"do\n")
            file.flush()
            assert file.readline() == b"done\n"
            return time.monotonic()

    net.host("server").run(lambda: socketserver.ThreadingTCPServer(("", 9), Slow).serve_forever())
    other = net.host("other").run(ask)
    assert net.run(ask, on="client") < 1.1
    assert other.result() < 1.1


def test_an_exception_in_a_thread_ends_the_run(net: Network) -> None:
    def program() -> None:
        threading.Thread(target=lambda: 1 // 0, name="worker").start()
        time.sleep(10)

    with pytest.raises(ZeroDivisionError) as caught:
        net.run(program, on="client")
    assert caught.value.__notes__ == ["in thread worker of program program"]
    assert net.now < SECOND


def test_an_exception_in_a_thread_that_outlives_its_function_ends_the_run(net: Network) -> None:
    def work() -> None:
        time.sleep(2)
        raise ValueError("planted")

    net.run(lambda: threading.Thread(target=work).start(), on="client")
    with pytest.raises(ProgramError, match="planted"):
        net.run_for(5)


def test_threads_that_wait_for_each_other_are_found(net: Network) -> None:
    def program() -> None:
        one, other = threading.Lock(), threading.Lock()

        def work() -> None:
            with other:
                time.sleep(1)
                one.acquire()

        thread = threading.Thread(target=work, name="worker")
        with one:
            thread.start()
            time.sleep(1)
            other.acquire()

    with pytest.raises(
        DeadlockError, match=r"Lock\.acquire\(\) by program\(\).*thread worker waits in Lock\.acquire"
    ):
        net.run(program, on="client")


def test_threads_end_with_their_host(net: Network) -> None:
    ticks: list[float] = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            time.sleep(1)

    host = net.host("server")
    host.run(lambda: threading.Thread(target=tick).start())
    net.run_for(2.5)
    assert ticks == [0, 1, 2]
    host.crash()
    net.run_for(5)
    assert ticks == [0, 1, 2]


def test_an_event_made_by_the_test_works_in_programs(net: Network) -> None:
    event, items = threading.Event(), queue.Queue[int]()

    def notify() -> None:
        time.sleep(1)
        event.set()
        items.put(5)

    def wait() -> int:
        event.wait()
        return items.get()

    net.host("server").run(notify)
    assert net.run(wait, on="client") == 5
    assert net.now == SECOND


def test_a_thread_of_an_asyncio_program_runs_and_ends_with_its_host(net: Network) -> None:
    steps: list[str] = []

    async def main() -> None:
        def work() -> None:
            while True:
                time.sleep(1)
                steps.append(threading.current_thread().name)

        thread = threading.Thread(target=work, name="worker")
        thread.start()
        await asyncio.sleep(2.5)
        with pytest.raises(EscapeError, match=r"Thread\.join\(\)"):
            thread.join()

    host = net.host("client")
    net.run(main, on=host)
    host.crash()
    net.run_for(5)
    assert steps == ["worker", "worker"]


def test_a_task_made_by_a_blocking_program_cannot_wait_in_its_thread(net: Network) -> None:
    async def task() -> None:
        time.sleep(1)

    def program() -> None:
        net.host("other").run(task)
        time.sleep(5)

    with pytest.raises(ProgramError, match=r"time\.sleep\(\)"):
        net.run(program, on="client")
