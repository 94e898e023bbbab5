"""Streams of asyncio between hosts in virtual time: data, ends, errors, addresses."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextvars import ContextVar
from typing import Any

import pytest

from slirpy.links.faultypath import Faults
from slirpy.testing.sim.network import Network
from slirpy.units import MS


class Recorder(asyncio.Protocol):
    """A protocol that notes its calls."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.transport: Any = None
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.calls.append("made")

    def data_received(self, data: bytes) -> None:
        self.calls.append(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        return False

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(exc)
        self.lost.set_result(exc)


async def connected(port: int = 7, **options: Any) -> tuple[Any, Recorder]:
    """Connect to the server."""
    return await asyncio.get_running_loop().create_connection(Recorder, "server", port, **options)


def test_an_echo_over_a_faulty_path(net: Network) -> None:
    data = bytes(range(256)) * 1000
    for one, other in (("client", "server"), ("server", "client")):
        net.path(one, other).faults = Faults(loss=0.05, delay=20 * MS, jitter=5 * MS)

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 7)
        writer.write(data)
        writer.write_eof()
        received = await reader.read()
        writer.close()
        await writer.wait_closed()
        return received

    assert net.run(main, on="client") == data


@pytest.mark.parametrize("order", ["fifo", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_the_calls_of_a_protocol_keep_their_order(order: Any, seed: int) -> None:
    async def serve() -> None:
        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(5))
            writer.close()

        await (await asyncio.start_server(once, "server", 7)).serve_forever()

    async def main() -> list[Any]:
        transport, protocol = await connected()
        transport.write(b"hello")
        await protocol.lost
        return protocol.calls

    with Network(seed, order=order) as net:
        net.host("server").run(serve)
        assert net.run(main, on="client") == ["made", b"hello", "eof", None]


def test_a_reader_that_pauses_stops_the_writer(net: Network) -> None:
    size = 3_000_000

    async def serve() -> None:
        async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(size))
            await writer.drain()
            writer.close()

        await (await asyncio.start_server(pour, None, 9)).serve_forever()

    async def main() -> tuple[int, int]:
        transport, protocol = await connected(9)
        transport.pause_reading()
        assert not transport.is_reading()
        await asyncio.sleep(30)
        early = sum(map(len, protocol.calls[1:]))
        transport.resume_reading()
        await protocol.lost
        return early, sum(len(each) for each in protocol.calls if isinstance(each, bytes))

    net.host("server").run(serve)
    early, received = net.run(main, on="client")
    assert early == 0
    assert received == size


def test_the_limits_of_the_write_buffer(net: Network) -> None:
    async def serve() -> None:
        async def drink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(5)
            while await reader.read(1 << 16):
                pass
            writer.close()

        await (await asyncio.start_server(drink, None, 9, limit=1 << 16)).serve_forever()

    async def main() -> list[Any]:
        transport, protocol = await connected(9)
        transport.set_write_buffer_limits(high=100_000, low=10)
        assert transport.get_write_buffer_limits() == (10, 100_000)
        transport.write(bytes(3_000_000))
        assert transport.get_write_buffer_size() > 100_000
        await asyncio.sleep(60)
        transport.write_eof()
        await protocol.lost
        return protocol.calls

    net.host("server").run(serve)
    assert net.run(main, on="client") == ["made", "pause", "resume", "eof", None]


def test_half_a_connection(net: Network) -> None:
    async def serve() -> None:
        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            await asyncio.sleep(10)
            writer.write(b"after your end")
            writer.close()

        await (await asyncio.start_server(late, None, 9)).serve_forever()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("server", 9)
        assert writer.can_write_eof()
        writer.write_eof()
        with pytest.raises(RuntimeError, match="write_eof"):
            writer.write(b"more")
        received = await reader.read()
        writer.close()
        return received

    net.host("server").run(serve)
    assert net.run(main, on="client") == b"after your end"


def test_unread_data_resets_the_connection(net: Network) -> None:
    async def serve() -> None:
        async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined] # it has one
            await asyncio.sleep(1)
            writer.close()

        await (await asyncio.start_server(rude, None, 9)).serve_forever()

    async def main() -> Any:
        transport, protocol = await connected(9)
        transport.write(b"never read")
        return await protocol.lost

    net.host("server").run(serve)
    assert isinstance(net.run(main, on="client"), ConnectionResetError)


def test_writing_to_a_reset_connection(net: Network) -> None:
    async def main() -> tuple[Any, Any]:
        transport, protocol = await connected()
        transport.pause_reading()
        net.host("server").crash(reset=True)
        await asyncio.sleep(1)
        assert not transport.is_closing()
        transport.write(b"into the void")
        lost = await protocol.lost
        transport.write(b"ignored")
        return lost, protocol.calls

    lost, calls = net.run(main, on="client")
    assert isinstance(lost, ConnectionResetError)
    assert calls == ["made", lost]


def test_abort_drops_unsent_data(net: Network) -> None:
    async def main() -> Any:
        transport, protocol = await connected()
        transport.write(bytes(10_000_000))
        transport.abort()
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        transport.close()
        return await protocol.lost

    assert net.run(main, on="client") is None


@pytest.mark.parametrize(
    ("port", "number", "wait"), [(99, errno.ECONNREFUSED, 0.01), (7, errno.ETIMEDOUT, 200)]
)
def test_a_connection_that_fails(net: Network, port: int, number: int, wait: float) -> None:
    if number == errno.ETIMEDOUT:
        net.partition(["client"], ["server"])

    async def main() -> None:
        await asyncio.open_connection("198.18.0.1", port)

    with pytest.raises(OSError, match=r"Connect call failed \('198.18.0.1', \d+\)") as caught:
        net.run(main, on="client")
    assert caught.value.errno == number
    assert net.now < wait * 1e9


def test_a_name_that_does_not_exist(net: Network) -> None:
    async def main() -> None:
        await asyncio.open_connection("nowhere", 80)

    with pytest.raises(socket.gaierror):
        net.run(main, on="client")


def test_an_unassigned_address_is_unreachable(net: Network) -> None:
    async def main() -> None:
        await asyncio.open_connection("198.18.200.1", 80)

    with pytest.raises(OSError, match=r"No route to host|Connect call failed") as caught:
        net.run(main, on="client")
    assert caught.value.errno in (errno.EHOSTUNREACH, errno.ETIMEDOUT)


def test_a_connection_attempt_can_be_given_up(net: Network) -> None:
    net.partition(["client"], ["server"])

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.open_connection("server", 7), 3)

    net.run(main, on="client")
    assert net.now == 3_000_000_000
    assert not net.host("client").stack.tcp.streams


@pytest.mark.parametrize("delay", [None, 0.25])
def test_the_second_family_is_tried(net: Network, delay: float | None) -> None:
    async def serve() -> None:
        await (await asyncio.start_server(lambda *_: None, "::", 9)).serve_forever()

    async def main() -> Any:
        transport, protocol = await connected(9, happy_eyeballs_delay=delay)
        transport.close()
        await protocol.lost
        return transport.get_extra_info("peername")

    net.host("server").run(serve)
    assert net.run(main, on="client")[:2] == ("2001:db8::1", 9)


def test_happy_eyeballs_do_not_wait_for_the_first_address(net: Network) -> None:
    net.host("gone").crash()
    net.alias("service", "gone", "server")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Recorder, "service", 7, happy_eyeballs_delay=0.25)
        transport.close()
        await protocol.lost

    net.run(main, on="client")
    assert 0.5e9 < net.now < 0.51e9


def test_addresses_and_sockets_of_a_connection(net: Network) -> None:
    async def main() -> None:
        transport, protocol = await connected(local_addr=("0.0.0.0", 4000))
        assert transport.get_extra_info("sockname") == ("198.18.0.2", 4000)
        assert transport.get_extra_info("peername") == ("198.18.0.1", 7)
        assert transport.get_extra_info("nothing", "default") == "default"
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockname() == ("198.18.0.2", 4000)
        assert transport.get_protocol() is protocol
        transport.close()
        await protocol.lost
        assert sock.fileno() == -1

    net.run(main, on="client")


def test_a_local_address_of_another_host(net: Network) -> None:
    async def main() -> None:
        await connected(local_addr=("198.18.0.1", 0))

    with pytest.raises(OSError, match="error while attempting to bind"):
        net.run(main, on="client")


@pytest.mark.parametrize(
    ("host", "names"),
    [
        (None, ["0.0.0.0", "::"]),
        ("", ["0.0.0.0", "::"]),
        ("0.0.0.0", ["0.0.0.0"]),
        ("::1", ["::1"]),
        ("localhost", ["127.0.0.1", "::1"]),
        ("server", ["198.18.0.1", "2001:db8::1"]),
        (["127.0.0.1", "server", "127.0.0.1"], ["127.0.0.1", "198.18.0.1", "2001:db8::1"]),
    ],
)
def test_where_a_server_listens(net: Network, host: Any, names: list[str]) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, host, 0, reuse_address=True, backlog=5)
        found = [sock.getsockname() for sock in server.sockets]
        assert server.is_serving()
        server.close()
        await server.wait_closed()
        assert not server.sockets
        return found

    found = net.run(main, on="server")
    assert [each[0] for each in found] == names
    assert all(each[1] > 1024 for each in found)


def test_a_port_in_use(net: Network) -> None:
    async def main() -> None:
        await asyncio.start_server(lambda *_: None, "0.0.0.0", 7)

    with pytest.raises(OSError, match=r"error while attempting to bind on address \('0.0.0.0', 7\)") as caught:
        net.run(main, on="server")
    assert caught.value.errno == errno.EADDRINUSE


def test_a_server_that_starts_later_and_stops(net: Network) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 9, start_serving=False)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", 9)
        await server.start_serving()
        _, writer = await asyncio.open_connection("127.0.0.1", 9)
        server.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", 9)
        writer.close()
        await asyncio.sleep(1)
        await server.wait_closed()

    net.run(main, on="server")


def test_a_file_is_sent(net: Network, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100_000)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        transport, protocol = await connected()
        with path.open("rb") as file:
            assert await loop.sendfile(transport, file) == 1_000_000
        transport.write_eof()
        await protocol.lost
        return sum(len(each) for each in protocol.calls if isinstance(each, bytes))

    assert net.run(main, on="client") == 1_000_000


class Buffered(asyncio.BufferedProtocol):
    """A protocol with a buffer of seven bytes."""

    def __init__(self) -> None:
        self.received = b""
        self.space = bytearray(7)
        self.lost = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.space

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.space[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


def test_a_protocol_with_a_buffer(net: Network) -> None:
    async def main() -> bytes:
        transport, protocol = await asyncio.get_running_loop().create_connection(Buffered, "server", 7)
        transport.write(b"more than seven bytes")
        transport.write_eof()
        await protocol.lost
        return protocol.received

    assert net.run(main, on="client") == b"more than seven bytes"


def test_a_protocol_that_fails_ends_the_run(net: Network) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        transport, protocol = await asyncio.get_running_loop().create_connection(Failing, "server", 7)
        transport.write(b"x")
        await protocol.lost

    with pytest.raises(ZeroDivisionError):
        net.run(main, on="client")


@pytest.mark.parametrize("place", ["0.0.0.0", "::", "localhost", "127.0.0.1", "::1", "server"])
def test_a_host_reaches_itself(net: Network, place: str) -> None:
    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(place, 7)
        writer.write(b"hello")
        received = await reader.readexactly(5)
        writer.close()
        return received

    assert net.run(main, on="server") == b"hello"
    assert net.now < 1_000_000


def test_each_connection_has_its_own_context(net: Network) -> None:
    seen: list[str] = []
    variable: ContextVar[str] = ContextVar("variable", default="nothing")

    class Setter(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            seen.append(variable.get())
            variable.set("of another connection")
            transport.close()

    async def serve() -> None:
        variable.set("of the program")
        await asyncio.get_running_loop().create_server(Setter, None, 9)

    async def main() -> None:
        for _ in range(2):
            _transport, protocol = await connected(9)
            await protocol.lost

    net.host("server").run(serve)
    net.run_for(1)
    net.run(main, on="client")
    assert seen == ["of the program"] * 2
