"""Crashes, restarts and ends of programs on asyncio."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slirpy.testing.sim.network import Network
from tests.unit.testing.sim.aio.servers import serve_echo


def test_a_crash_runs_no_cleanup(net: Network, caplog: pytest.LogCaptureFixture) -> None:
    host = net.host("server")
    undone: list[str] = []

    async def careful() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            undone.append("too late")
            host.disk["file"] = b"written by a dead process"

    async def main() -> None:
        asyncio.create_task(careful())  # noqa: RUF006 - nothing refers to it
        await careful()

    program = host.run(main)
    net.run_for(1)
    host.crash()
    assert program.done
    assert program.killed
    net.run_for(200)
    gc.collect()
    assert (undone, host.disk) == ([], {})
    with caplog.at_level(logging.DEBUG):
        net.close()
    assert not caplog.records


def test_calls_that_are_ready_when_their_host_crashes_are_dropped(net: Network) -> None:
    seen: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(net.host("client").crash)
        loop.call_soon(seen.append, "after the crash")
        await asyncio.sleep(0)
        seen.append("the task itself")

    net.host("client").run(main)
    net.run_for(1)
    assert seen == []


def test_timers_of_a_dead_host_do_not_advance_time(net: Network) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(300, print)
        await asyncio.sleep(300)

    net.host("client").run(main)
    net.run_for(1)
    net.host("client").crash()
    net.settle()
    assert net.now == 1_000_000_000


def test_a_host_that_restarts_runs_its_programs_again(net: Network) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(b"hello")
        received = await reader.readexactly(5)
        writer.close()
        return received

    assert net.run(ask, on="client") == b"hello"
    net.host("server").crash()
    net.run_for(1)
    net.host("server").restart()
    assert net.run(ask, on="client") == b"hello"


def test_a_write_to_a_crashed_host_gets_a_reset(net: Network) -> None:
    async def main() -> Any:
        reader, writer = await asyncio.open_connection("server", 7)
        await asyncio.sleep(1)
        net.host("server").crash()
        net.host("server").restart()
        writer.write(b"hello")
        return await reader.read()

    with pytest.raises(ConnectionResetError):
        net.run(main, on="client")


def test_a_killed_program_closes_its_sockets(net: Network) -> None:
    async def serve() -> None:
        async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        await asyncio.get_running_loop().create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("0.0.0.0", 9)
        )
        await (await asyncio.start_server(wait, None, 9)).serve_forever()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 9)
        await asyncio.sleep(1)
        program.kill()
        received = await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("198.18.0.1", 9)
        return received

    program = net.host("server").run(serve)
    assert net.run(main, on="client") == b""
    assert 9 not in net.host("server").stack.udp_sockets.datagrams
    program.kill()


def test_servers_continue_after_their_program_has_returned(net: Network) -> None:
    async def serve() -> str:
        await asyncio.start_server(lambda _, writer: writer.close(), None, 9)
        return "ready"

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 9)
        writer.close()
        return await reader.read()

    assert net.run(serve, on="server") == "ready"
    assert net.run(main, on="client") == b""
    net.host("server").crash()
    net.host("server").restart()
    assert net.run(main, on="client") == b""


def test_the_place_at_which_a_program_waits(net: Network) -> None:
    async def main() -> None:
        _, writer = await asyncio.open_connection("server", 7)
        await asyncio.sleep(10)
        writer.close()

    program = net.host("client").run(main, name="waiter")
    net.run_for(5)
    assert "test_programs.py" in program.where()
    assert program.where().endswith("in main")
    net.run_for(10)
    assert program.where() == "it has ended"
    assert repr(program) == "<Program waiter on client: ended>"


def test_a_cancelled_program(net: Network) -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    with pytest.raises(asyncio.CancelledError):
        net.run(main, on="client")


def test_a_network_can_be_closed_twice_and_in_the_middle(net: Network) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection("server", 7)
        try:
            await reader.read()
        finally:
            writer.write(b"x")
            writer.close()
            asyncio.create_task(asyncio.sleep(1))  # noqa: RUF006 - on purpose
            await writer.wait_closed()

    net.host("client").run(main)
    net.run_for(1)
    records = len(net.trace.records)
    net.close()
    net.close()
    assert len(net.trace.records) == records


def test_an_abandoned_generator_is_closed_by_its_program(net: Network) -> None:
    seen: list[Any] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(1)
            seen.append(socket.gethostname())

    async def main() -> None:
        async for number in numbers():
            seen.append(number)
            break
        await asyncio.sleep(2)

    net.run(main, on="client")
    assert seen == [1, "client"]


async def _visits(count: int) -> None:
    for _ in range(count):
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(bytes(5000))
        await reader.readexactly(5000)
        writer.close()


@pytest.mark.parametrize("order", ["fifo", "random"])
def test_equal_runs_have_equal_transcripts(order: Any) -> None:
    def digest(seed: int) -> str:
        with Network(seed, order=order) as net:
            net.host("server").run(serve_echo)
            for number in range(3):
                net.host(f"client{number}").run(_visits(3))
            net.run_for(10)
            return net.trace.digest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)
