"""``asyncio.run()``, and networks, inside of blocking programs."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.network import Network
from slirpy.units import MS, SECOND
from tests.support.certificate import client_context, server_context


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _serve(secure: bool) -> None:
    server = await asyncio.start_server(_echo, port=7, ssl=server_context() if secure else None)
    await server.serve_forever()


async def _ask(secure: bool, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("server", 7, ssl=client_context() if secure else None)
    writer.write(data)
    got = await reader.readexactly(len(data))
    writer.close()
    await writer.wait_closed()
    return got


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("own", ["server", "client", "both"])
def test_asyncio_run_works_in_virtual_time(secure: bool, own: str) -> None:
    data = bytes(range(256)) * 200
    with Network(1, path=Faults(loss=0.05, delay=20 * MS)) as net:
        if own == "client":
            net.host("server").run(_serve(secure))
        else:
            net.host("server").run(lambda: asyncio.run(_serve(secure)))
        if own == "server":
            assert net.run(_ask(secure, data), on="client") == data
        else:
            assert net.run(lambda: asyncio.run(_ask(secure, data)), on="client") == data


def test_its_timers_executors_and_datagrams_work(net: Network) -> None:
    class Upper(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.DatagramTransport)
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(data.upper(), addr)

    async def serve() -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(Upper, local_addr=("0.0.0.0", 53))
        await asyncio.sleep(100)

    def ask() -> bytes:
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.connect(("server", 53))
            client.send(b"question")
            return client.recv(100)

    async def main() -> tuple[bytes, float]:
        await asyncio.sleep(1)
        _, answer = await asyncio.gather(asyncio.to_thread(time.sleep, 2), asyncio.to_thread(ask))
        return answer, time.monotonic()

    net.host("server").run(lambda: asyncio.run(serve()))
    assert net.run(lambda: asyncio.run(main()), on="client") == (b"QUESTION", 3.0)
    assert net.now == 3 * SECOND


def test_a_program_may_run_a_network_of_its_own(net: Network) -> None:
    def program() -> tuple[int, float]:
        with Network() as inner:
            inner.run(lambda: time.sleep(3), on="client")
            return inner.now, time.monotonic()

    assert net.run(program, on="client") == (3 * SECOND, 0.0)
