"""Print the digest of each of two equal runs: of plain streams, of aiohttp, and of blocking programs."""

from __future__ import annotations

import asyncio
import http.server
import importlib
import sys
import urllib.request
from typing import Any

from slirpy.testing.sim.network import Network
from tests.sim.programs.path import BAD_PATH


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def _serve_echo() -> None:
    await (await asyncio.start_server(_echo, None, 7)).serve_forever()


async def _visit() -> None:
    for size in (1, 1000, 100_000):
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(bytes(size))
        await reader.readexactly(size)
        writer.close()


def streams() -> str:
    """Return the digest of a run with three clients of an echo server."""
    with Network(7, path=BAD_PATH, order="random") as net:
        net.host("server").run(_serve_echo)
        for number in range(3):
            net.host(f"client{number}").run(_visit)
        net.run_for(60)
        return net.trace.digest()


def aiohttp() -> str:
    """Return the digest of a run with a server and a client of aiohttp, which show the time and random numbers."""
    http_client: Any = importlib.import_module("aiohttp")
    web: Any = importlib.import_module("aiohttp.web")

    async def answer(request: Any) -> Any:
        return web.Response(body=await request.read())

    async def serve() -> None:
        app = web.Application(client_max_size=1 << 22)
        app.add_routes([web.post("/", answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, port=80).start()

    async def main() -> None:
        async with http_client.ClientSession() as session:
            for size in (1, 100_000):
                async with session.post("http://server/", data=bytes(size)) as answer:
                    assert len(await answer.read()) == size
            form = http_client.FormData()
            form.add_field("file", b"with a random boundary", filename="file")
            async with session.post("http://server/", data=form) as answer:
                await answer.read()

    with Network(7, path=BAD_PATH, patch=("time", "random", "socket", "entropy")) as net:
        net.run(serve, on="server")
        net.run(main, on="client")
        return net.trace.digest()


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(bytes(100_000))

    def log_message(self, *args: object) -> None: ...


def blocking() -> str:
    """Return the digest of a run with a threading server and three clients, all of them blocking."""
    with Network(3, path=BAD_PATH, order="random") as net:
        net.host("server").run(lambda: http.server.ThreadingHTTPServer(("", 80), _Page).serve_forever())
        for number in range(3):
            net.host(f"client{number}").run(lambda: urllib.request.urlopen("http://server/").read())
        net.run_for(30)
        return net.trace.digest()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run = globals()[name]
        print(run(), run())
