"""A network with an echo server, for programs on asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from slirpy.testing.sim.network import Network


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send everything back until the far side ends."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def serve_echo() -> None:
    """Serve at port 7 of all addresses."""
    server = await asyncio.start_server(echo, None, 7)
    await server.serve_forever()


@pytest.fixture
def net() -> Iterator[Network]:
    """Hosts ``server``, with an echo server at port 7, and ``client``."""
    with Network(1) as network:
        network.host("server").run(serve_echo)
        network.host("client")
        yield network
