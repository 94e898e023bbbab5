"""trio and anyio in programs: by ``trio.run()``, several of them in one network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
import trio

from slirpy.links import Faults
from slirpy.testing import Network
from slirpy.units import MS

PATH = Faults(loss=0.05, delay=50 * MS, jitter=10 * MS)


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


async def trio_server() -> None:
    await trio.serve_tcp(echo, 7)


async def trio_client() -> tuple[bytes, float]:
    stream = await trio.open_tcp_stream("server", 7)
    begin = trio.current_time()
    with trio.move_on_after(1) as scope:
        await trio.sleep(100)
    assert scope.cancelled_caught
    async with stream:
        await stream.send_all(bytes(100_000))
        await stream.send_eof()
        got = b"".join([data async for data in stream])
    return got, trio.current_time() - begin


async def anyio_server() -> None:
    async def handle(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    listener = await anyio.create_tcp_listener(local_port=7)
    await listener.serve(handle)


async def anyio_client() -> bytes:
    async with await anyio.connect_tcp("server", 7) as stream:
        await stream.send(b"hello")
        return await stream.receive()


def run(server: Any, client: Any, seed: int = 1) -> tuple[Any, str]:
    with Network(seed, path=PATH) as net:
        net.host("server").run(server)
        return net.run(client, on="client"), net.trace.digest()


def test_trio() -> None:
    """Streams, timeouts and names of trio, over lossy paths; two runs are the same."""
    (got, seconds), digest = run(lambda: trio.run(trio_server), lambda: trio.run(trio_client))
    assert got == bytes(100_000)
    assert 1.2 < seconds < 20
    assert run(lambda: trio.run(trio_server), lambda: trio.run(trio_client))[1] == digest


BACKENDS: dict[str, Callable[[Any], Any]] = {
    "asyncio": lambda main: main,
    "trio": lambda main: lambda: anyio.run(main, backend="trio"),
}


@pytest.mark.parametrize("server", BACKENDS)
@pytest.mark.parametrize("client", BACKENDS)
def test_anyio(server: str, client: str) -> None:
    """Programs on anyio, on either backend, mixed in one network."""
    assert run(BACKENDS[server](anyio_server), BACKENDS[client](anyio_client))[0] == b"hello"


def test_crash() -> None:
    """A crash ends a trio program; a restart begins it again."""
    with Network() as net:
        server = net.host("server")
        server.run(lambda: trio.run(trio_server))
        assert net.run(lambda: trio.run(trio_client), on="client")[0] == bytes(100_000)
        server.crash()
        net.run_for(1)
        server.restart()
        assert net.run(lambda: trio.run(trio_client), on="client")[0] == bytes(100_000)


def test_exception() -> None:
    """An exception of a trio program is that of the program."""

    async def fail() -> None:
        await trio.sleep(1)
        raise ValueError("boom")

    with Network() as net, pytest.raises(ValueError, match="boom"):
        net.run(lambda: trio.run(fail), on="client")
