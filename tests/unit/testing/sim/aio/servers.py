"""Servers of the tests."""

from __future__ import annotations

import asyncio

__all__ = ["echo", "serve_echo"]


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
