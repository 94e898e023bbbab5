"""A Redis server of a few commands, on asyncio's streams (RESP2)."""

from __future__ import annotations

import asyncio

__all__ = ["serve_redis"]


class _Redis:
    def __init__(self) -> None:
        self._data: dict[bytes, bytes] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of a client."""
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            writer.write(self._answer(words[0].upper(), words[1:]))
            await writer.drain()
        writer.close()

    def _answer(self, command: bytes, words: list[bytes]) -> bytes:
        if command == b"PING":
            return b"+PONG\r\n"
        if command == b"CLIENT":
            return b"+OK\r\n"
        if command == b"SET":
            self._data[words[0]] = words[1]
            return b"+OK\r\n"
        if command == b"GET":
            value = self._data.get(words[0])
            return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)
        if command == b"INCRBY":
            number = int(self._data.get(words[0], b"0")) + int(words[1])
            self._data[words[0]] = b"%d" % number
            return b":%d\r\n" % number
        return b"-ERR unknown command '%b'\r\n" % command


async def serve_redis() -> None:
    """Serve at port 6379."""
    server = await asyncio.start_server(_Redis().serve, "0.0.0.0", 6379)
    await server.serve_forever()
