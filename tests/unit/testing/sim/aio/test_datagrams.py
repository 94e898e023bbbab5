"""UDP of asyncio between hosts in virtual time."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest

from slirpy.testing.sim.network import Network


class Shouter(asyncio.DatagramProtocol):
    """Answers in capitals."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data.upper(), addr)


class Listener(asyncio.DatagramProtocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Any] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.arrived.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.arrived.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


async def endpoint(**options: Any) -> tuple[Any, Listener]:
    """Open a UDP socket."""
    return await asyncio.get_running_loop().create_datagram_endpoint(Listener, **options)


@pytest.fixture
def shouting(net: Network) -> Network:
    """A network whose server answers at UDP port 53, over both families."""

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Shouter, local_addr=("::", 53))

    net.run(serve, on="server")
    return net


@pytest.mark.parametrize("server", ["198.18.0.1", "2001:db8::1", "server"])
def test_a_connected_socket(shouting: Network, server: str) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(remote_addr=(server, 53))
        transport.sendto(b"hello")
        data, sender = await protocol.arrived.get()
        assert data == b"HELLO"
        assert sender == transport.get_extra_info("peername")
        assert sender[1] == 53
        transport.close()
        assert transport.is_closing()
        assert await protocol.lost is None

    shouting.run(main, on="client")


def test_a_socket_that_is_not_connected(shouting: Network) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(local_addr=("0.0.0.0", 5000))
        assert transport.get_extra_info("sockname") == ("0.0.0.0", 5000)
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("socket").type == socket.SOCK_DGRAM
        transport.sendto(b"hello", ("198.18.0.1", 53))
        assert await protocol.arrived.get() == (b"HELLO", ("198.18.0.1", 53))
        with pytest.raises(TypeError, match="bytes-like"):
            transport.sendto("text", ("198.18.0.1", 53))
        transport.abort()
        await protocol.lost
        transport.sendto(b"ignored", ("198.18.0.1", 53))

    shouting.run(main, on="client")


def test_a_refused_datagram(shouting: Network) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=("server", 54))
        transport.sendto(b"anybody?")
        return await protocol.arrived.get()

    assert isinstance(shouting.run(main, on="client"), ConnectionRefusedError)


def test_a_datagram_that_is_too_long(shouting: Network) -> None:
    async def main() -> Any:
        transport, protocol = await endpoint(remote_addr=("server", 53))
        transport.sendto(bytes(70_000))
        return await protocol.arrived.get()

    assert shouting.run(main, on="client").errno == errno.EMSGSIZE


def test_a_broadcast(net: Network) -> None:
    async def serve() -> Any:
        _transport, protocol = await endpoint(local_addr=("0.0.0.0", 4000), allow_broadcast=True)
        return await protocol.arrived.get()

    async def main() -> None:
        transport, _ = await endpoint(family=socket.AF_INET, allow_broadcast=True)
        transport.sendto(b"all of you", ("255.255.255.255", 4000))
        await asyncio.sleep(1)

    program = net.host("server").run(serve)
    net.run(main, on="client")
    assert program.result()[0] == b"all of you"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, ValueError),
        ({"local_addr": "localhost"}, TypeError),
        ({"local_addr": ("127.0.0.1", 0), "remote_addr": ("::1", 9)}, ValueError),
        ({"reuse_address": True, "local_addr": ("127.0.0.1", 0)}, ValueError),
        ({"local_addr": ("198.18.0.1", 0)}, OSError),
    ],
)
def test_arguments_that_cannot_be_used(net: Network, options: dict[str, Any], error: type[Exception]) -> None:
    async def main() -> None:
        await endpoint(**options)

    with pytest.raises(error):
        net.run(main, on="client")


def test_a_port_is_free_again_after_its_socket_was_closed(net: Network) -> None:
    async def main() -> None:
        for _ in range(2):
            transport, protocol = await endpoint(local_addr=("127.0.0.1", 4000))
            with pytest.raises(OSError, match="in use"):
                await endpoint(local_addr=("127.0.0.1", 4000))
            transport.close()
            await protocol.lost
            assert transport not in transport._loop.endpoints

    net.run(main, on="client")
