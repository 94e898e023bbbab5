"""Forwards into a guest with a kernel: many connections at once each way, UDP, and a unix socket."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.system.user import User

pytestmark = pytest.mark.system
Need = Callable[..., None]
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

MANY = 500
SIZE = 20_000

# Echoes TCP on port 8080 and UDP on 9000. A line "PORT" on standard input: so many connections to that port of the
# host, all of them open at the same time; then one line tells how many brought back what was sent.
GUEST = f"""
import asyncio, sys

async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, source):
        self.transport.sendto(data, source)

async def exchange(number, port, everyone):
    reader, writer = await asyncio.open_connection("10.0.2.2", port)
    data = number.to_bytes(2, "big") * {SIZE // 2}
    await everyone.wait()
    writer.write(data)
    writer.write_eof()
    back = await reader.read(-1)
    writer.close()
    return back == data

async def main():
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, "0.0.0.0", 8080, backlog=1024)
    await loop.create_datagram_endpoint(Echo, local_addr=("0.0.0.0", 9000))
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        everyone = asyncio.Barrier({MANY})
        results = await asyncio.gather(*(exchange(n, int(line), everyone) for n in range({MANY})))
        print("right", sum(results), flush=True)

asyncio.run(main())
"""


class Session:
    """``slirpy run`` with the guest program, and where its forwards are."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.process = process
        self._input, self._output = process.stdin, process.stdout
        self.ports: dict[str, int] = {}
        while len(self.ports) < 2:
            line = process.stderr.readline()
            match = re.match(r"hostfwd (tcp|udp) 127\.0\.0\.1:(\d+) ->", line)
            assert match is not None, line
            self.ports[match[1]] = int(match[2])
        assert self.answer() == "ready"

    def answer(self) -> str:
        """The guest program's next line."""
        return self._output.readline().strip()

    def ask(self, line: str) -> None:
        """A line for the guest program."""
        self._input.write(line + "\n")
        self._input.flush()


async def echoed(number: int, connect: Connect, everyone: asyncio.Barrier) -> bool:
    reader, writer = await connect()
    data = number.to_bytes(2, "big") * (SIZE // 2)
    await everyone.wait()  # until all are connected
    writer.write(data)
    writer.write_eof()
    back = await reader.read(-1)
    writer.close()
    return back == data


async def many(connect: Connect) -> int:
    everyone = asyncio.Barrier(MANY)
    return sum(await asyncio.gather(*(echoed(number, connect, everyone) for number in range(MANY))))


async def serve(started: asyncio.Future[int], done: asyncio.Event) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1024) as server:
        started.set_result(server.sockets[0].getsockname()[1])
        await done.wait()


async def outward(session: Session) -> str:
    """Have the guest connect to a server here, while that serves."""
    loop = asyncio.get_running_loop()
    started: asyncio.Future[int] = loop.create_future()
    done = asyncio.Event()
    server = asyncio.create_task(serve(started, done))
    session.ask(str(await started))
    answer = await loop.run_in_executor(None, session.answer)
    done.set()
    await server
    return answer


@pytest.mark.long
def test_many_connections_at_once_each_way(slirpy: User, need: Need, folder: Path) -> None:
    need("ip")
    path = folder / "web.sock"
    rules = ("tcp::0-:8080", "udp::0-:9000", f"unix:{path}-:8080")
    options = [word for rule in rules for word in ("--hostfwd", rule)]
    with slirpy.start("run", *options, "--", sys.executable, "-c", GUEST) as process:
        session = Session(process)
        port = session.ports["tcp"]
        assert asyncio.run(many(lambda: asyncio.open_connection("127.0.0.1", port))) == MANY
        assert asyncio.run(many(lambda: asyncio.open_unix_connection(path))) == MANY
        assert asyncio.run(outward(session)) == f"right {MANY}"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.connect(("127.0.0.1", session.ports["udp"]))
            for number in range(50):
                sock.send(b"%d" % number * 20)
                assert sock.recv(2000) == b"%d" % number * 20
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
    assert not path.exists()
