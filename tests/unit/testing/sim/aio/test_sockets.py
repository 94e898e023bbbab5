"""Sockets of programs in an event loop: the ``sock_`` calls, readers and writers."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import pytest

from slirpy.testing.sim.errors import EscapeError
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.socketapi import SimSocket


def nonblocking(kind: int = socket.SOCK_STREAM) -> SimSocket:
    """Return a socket that does not wait."""
    sock = SimSocket(socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


def test_calls_on_a_stream(net: Network) -> None:
    async def main() -> bytes:
        loop, sock = asyncio.get_running_loop(), nonblocking()
        await loop.sock_connect(sock, ("server", 7))
        await loop.sock_sendall(sock, b"hello" * 100_000)
        received = await loop.sock_recv(sock, 3)
        space = bytearray(2)
        assert await loop.sock_recv_into(sock, space) == 2
        sock.close()
        return received + space

    assert net.run(main, on="client") == b"hello"


def test_accepting(net: Network) -> None:
    async def serve() -> None:
        loop, sock = asyncio.get_running_loop(), nonblocking()
        sock.bind(("", 9))
        sock.listen()
        accepted, address = await loop.sock_accept(sock)
        assert address[0] == "198.18.0.2"
        await loop.sock_sendall(accepted, await loop.sock_recv(accepted, 100))
        accepted.close()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 9)
        writer.write(b"once")
        received = await reader.read()
        writer.close()
        return received

    net.host("server").run(serve)
    assert net.run(main, on="client") == b"once"


def test_datagrams(net: Network) -> None:
    async def serve() -> None:
        loop, sock = asyncio.get_running_loop(), nonblocking(socket.SOCK_DGRAM)
        sock.bind(("", 9))
        data, sender = await loop.sock_recvfrom(sock, 100)
        await loop.sock_sendto(sock, data.upper(), sender)

    async def main() -> Any:
        loop, sock = asyncio.get_running_loop(), nonblocking(socket.SOCK_DGRAM)
        await loop.sock_sendto(sock, b"hello", ("198.18.0.1", 9))
        return await loop.sock_recvfrom(sock, 100)

    net.host("server").run(serve)
    assert net.run(main, on="client") == (b"HELLO", ("198.18.0.1", 9))


def test_a_refused_connection(net: Network) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().sock_connect(nonblocking(), ("server", 99))

    with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
        net.run(main, on="client")


def test_streams_on_a_socket_of_the_program(net: Network) -> None:
    async def main() -> bytes:
        sock = SimSocket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("server", 7))
        reader, writer = await asyncio.open_connection(sock=sock)
        assert writer.get_extra_info("socket").fileno() == sock.fileno()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.write(b"hello")
        received = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        assert sock.fileno() == -1
        return received

    assert net.run(main, on="client") == b"hello"


def test_streams_on_a_socket_that_was_reset(net: Network) -> None:
    async def main() -> None:
        sock = nonblocking()
        await asyncio.get_running_loop().sock_connect(sock, ("server", 7))
        net.host("server").crash(reset=True)
        await asyncio.sleep(1)
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            await reader.read()
        finally:
            writer.close()

    with pytest.raises(ConnectionResetError):
        net.run(main, on="client")


def test_a_server_on_a_socket_of_the_program(net: Network) -> None:
    async def serve() -> None:
        sock = nonblocking()
        sock.bind(("198.18.0.1", 9))
        sock.listen()
        await asyncio.sleep(1)  # a client connects
        async with await asyncio.start_server(answer, sock=sock) as server:
            await server.serve_forever()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        writer.close()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 9)
        writer.write(b"early")
        received = await reader.read()
        writer.close()
        return received

    net.host("server").run(serve)
    net.run_for(0.5)
    assert net.run(main, on="client") == b"early"
    assert net.run(main, on="client") == b"early"


def test_readers_and_writers(net: Network) -> None:
    async def main() -> list[str]:
        loop, sock, seen = asyncio.get_running_loop(), nonblocking(), []
        finished = loop.create_future()
        try:
            sock.connect(("198.18.0.1", 7))
        except BlockingIOError:
            pass

        def writable() -> None:
            seen.append("writable")
            loop.remove_writer(sock)
            sock.send(b"hello")

        def readable() -> None:
            seen.append(sock.recv(2).decode())
            if len("".join(seen[1:])) == 5:
                assert loop.remove_reader(sock.fileno())
                assert not loop.remove_reader(sock.fileno())
                finished.set_result(None)

        loop.add_writer(sock, writable)
        loop.add_reader(sock.fileno(), readable)
        await finished
        return seen

    assert net.run(main, on="client") == ["writable", "he", "ll", "o"]


def test_a_reader_of_a_crashed_host_is_not_called_again(net: Network) -> None:
    calls: list[str] = []

    async def main() -> None:
        loop, sock = asyncio.get_running_loop(), nonblocking()
        await loop.sock_connect(sock, ("server", 7))

        def readable() -> None:
            calls.append("and it reads nothing")
            net.host("client").crash()

        loop.add_reader(sock, readable)
        await loop.sock_sendall(sock, b"hello")
        await asyncio.sleep(60)

    net.host("client").run(main)
    net.run_for(5)
    assert len(calls) == 1


def test_a_real_descriptor_is_refused(net: Network) -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_reader(0, os.getpid)

    with pytest.raises(EscapeError, match="descriptor 0"):
        net.run(main, on="client")


def test_a_real_socket_is_refused(net: Network) -> None:
    real, other = socket.socketpair()

    async def main() -> None:
        await asyncio.open_connection(sock=real)

    with real, other, pytest.raises(EscapeError, match="not a socket of a simulated host"):
        net.run(main, on="client")
