"""HTTP, over TCP and TLS, and WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.testing.sim.errors import EscapeError
from slirpy.testing.sim.network import Network
from tests.sim.programs.packages import Packages
from tests.support.certificate import client_context, server_context

BODY = bytes(range(256)) * 4096


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_aiohttp(net: Network, package: Packages, scheme: str) -> None:
    aiohttp, web = package("aiohttp"), package("aiohttp.web")
    tls = scheme == "https"

    async def download(request: Any) -> Any:
        return web.Response(body=BODY)

    async def upload(request: Any) -> Any:
        return web.Response(body=(await request.read())[::-1])

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 22)
        app.add_routes([web.get("/", download), web.post("/", upload)])
        runner = web.AppRunner(app)
        await runner.setup()
        port, context = (443, server_context()) if tls else (80, None)
        await web.TCPSite(runner, port=port, ssl_context=context).start()

    async def main() -> None:
        connector = aiohttp.TCPConnector(ssl=client_context() if tls else True)
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(f"{scheme}://server/") as answer:
                assert await answer.read() == BODY
            async with session.post(f"{scheme}://server/", data=BODY) as answer:
                assert await answer.read() == BODY[::-1]

    net.run(serve, on="server")
    began = time.process_time()
    net.run(main, on="client")
    assert time.process_time() - began < 10


def test_websockets(net: Network, package: Packages) -> None:
    client, server = package("websockets.asyncio.client"), package("websockets.asyncio.server")

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def serve() -> None:
        async with server.serve(echo, "server", 80) as serving:
            await serving.serve_forever()

    async def main() -> None:
        async with client.connect("ws://server/") as connection:
            for number in range(20):
                await connection.send(f"message {number}")
                assert await connection.recv() == f"message {number}"
            await (await connection.ping())

    net.host("server").run(serve)
    net.run(main, on="client")


async def _reverse(scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
    """Answer with the body in reverse."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body[::-1]})


def test_uvicorn_and_httpx(net: Network, package: Packages) -> None:
    uvicorn, httpx = package("uvicorn"), package("httpx")

    async def serve() -> None:
        config = uvicorn.Config(_reverse, host="0.0.0.0", port=80, log_config=None, lifespan="off")
        await uvicorn.Server(config).serve()

    async def main() -> None:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            answer = await client.post("http://server/", content=BODY[:300_000])
            assert answer.content == BODY[299_999::-1]

    net.host("server").run(serve)
    net.run_for(0.1)
    net.run(main, on="client")


def test_programs_that_choose_uvloop(net: Network, package: Packages) -> None:
    """The loop of the network runs them; the process keeps its policy of event loops."""
    uvloop = package("uvloop")
    policy = asyncio.get_event_loop_policy()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        writer.close()

    async def serving() -> None:
        async with await asyncio.start_server(echo, None, 7) as server:
            await server.serve_forever()

    def serve() -> None:
        uvloop.run(serving())

    async def asking() -> bytes:
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(b"hello")
        data = await reader.read()
        writer.close()
        return data

    def ask() -> bytes:
        uvloop.install()
        return asyncio.run(asking())

    def own_loop() -> None:
        uvloop.new_event_loop()

    net.host("server").run(serve)
    assert net.run(ask, on="client") == b"hello"
    assert asyncio.get_event_loop_policy() is policy
    with pytest.raises(EscapeError, match="an event loop of its own"):
        net.run(own_loop, on="client")
