"""A network in an asyncio program: frames for the guest arrive in a queue, and the loop drives the network.

Run it with ``python examples/with_asyncio.py``. It needs no privileges and sends nothing beyond this machine.
"""

from __future__ import annotations

import asyncio
import time
from random import Random

from slirpy import Config, Slirp
from slirpy.testing import Guest


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve clients of the same program."""
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()


async def fetch(net: Slirp, number: int, port: int) -> bytes:
    """Send a line from one guest to the host, and read until the end."""
    frames: asyncio.Queue[bytes] = asyncio.Queue()
    nic = net.attach(frames.put_nowait)
    guest = Guest(nic.send, random=Random(), now=time.monotonic_ns(), mac=f"52:54:00:00:00:{number:02x}")
    guest.configure(f"10.0.2.{number}", 24)
    stream = guest.connect("10.0.2.2", port)
    stream.write(b"guest %d was here\n" % number)
    while not stream.eof:
        guest.input(await asyncio.wait_for(frames.get(), 5), time.monotonic_ns())
    return stream.read()


async def main() -> None:
    """Run five guests at once."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Slirp(Config()) as net:
        for line in await asyncio.gather(*(fetch(net, number, port) for number in range(20, 25))):
            print(line.decode().strip())


if __name__ == "__main__":
    asyncio.run(main())
