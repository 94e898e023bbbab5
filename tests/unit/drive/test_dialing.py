"""Connections of the program to guests, by every way to drive the network."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator

import pytest

from slirpy import Config, ConfigError, Slirp, StateError
from slirpy.testing.guest.tcp import GuestStream
from tests.support.live_guest import LiveGuest
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="its names are those of unix sockets")


@pytest.fixture
def guest(net: Slirp) -> LiveGuest:
    guest = LiveGuest(net, hostname="build-7")
    guest.serve_echo(7)
    return guest


@pytest.fixture
def started(net: Slirp, guest: LiveGuest) -> Iterator[Slirp]:
    net.start()
    yield net
    net.stop()


def test_connect_polls_a_network_that_nothing_else_drives(net: Slirp, guest: LiveGuest) -> None:
    with net.connect("10.0.2.15", 7) as sock:
        sock.sendall(b"hello")
        sock.settimeout(0)
        data = b""

        def receive() -> None:
            nonlocal data
            net.poll(0.05)
            try:
                data += sock.recv(100)
            except BlockingIOError:
                pass

        until(lambda: data == b"hello", receive)
        flow = next(flow for flow in net.flows() if flow.protocol == "tcp")
        assert flow.inbound
        assert str(flow.host[0] if flow.host else "") == "10.0.2.2"  # the guest sees its gateway


def test_data_both_ways_and_half_close(started: Slirp) -> None:
    sent = bytes(range(256)) * 8192
    with started.connect("10.0.2.15", 7) as sock:
        assert sock.getpeername() == ("10.0.2.15", 7)

        def write() -> None:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        with sock.makefile("rb") as file:
            assert file.read() == sent
        writer.join()


def test_by_the_name_of_a_lease(started: Slirp) -> None:
    with started.connect("Build-7", 7) as sock:
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"


def test_no_port_of_the_host_is_used(started: Slirp) -> None:
    with started.connect("10.0.2.15", 7) as sock:
        assert sock.family == socket.AF_UNIX
        assert started.hostfwds() == []


def test_a_library_takes_it(net: Slirp, guest: LiveGuest) -> None:
    def serve(stream: GuestStream) -> None:
        if b"\r\n\r\n" in stream.received:
            stream.read()
            stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    guest.serve(80, serve)
    net.start()
    client = http.client.HTTPConnection("guest")
    client.sock = net.connect("10.0.2.15", 80)
    client.request("GET", "/")
    assert client.getresponse().read() == b"ok"
    client.close()


def test_refused(started: Slirp) -> None:
    before = started.stats.tcp_flows
    with pytest.raises(ConnectionRefusedError, match=r"10\.0\.2\.15 port 9: connection refused"):
        started.connect("10.0.2.15", 9)
    assert started.stats.tcp_flows == before + 1


def test_a_guest_that_does_not_answer_and_is_given_up(started: Slirp) -> None:
    with pytest.raises(TimeoutError, match=r"10\.0\.2\.99 port 22"):
        started.connect("10.0.2.99", 22, timeout=0.05)
    assert [flow for flow in started.flows() if flow.protocol == "tcp"] == []
    assert started.closed_flows()[-1].state == "ABORTED"


def test_a_reset_is_no_end_of_data(net: Slirp, guest: LiveGuest) -> None:
    def serve(stream: GuestStream) -> None:
        if stream.read():
            stream.write(b"half")
            stream.abort()

    guest.serve(13, serve)
    net.start()
    with net.connect("10.0.2.15", 13) as sock:
        sock.sendall(b"?")
        with pytest.raises(ConnectionResetError):
            sock.recv(100, socket.MSG_WAITALL) and sock.recv(100)
    with net.connect("10.0.2.15", 13) as sock, sock.makefile("rb") as file:
        sock.sendall(b"?")
        with pytest.raises(ConnectionResetError):
            file.read()


def test_the_guest_gets_a_reset(net: Slirp, guest: LiveGuest) -> None:
    """Closing with unread data resets, as with TCP."""
    streams: list[GuestStream] = []

    def serve(stream: GuestStream) -> None:
        if not streams:
            stream.write(b"unread")
            streams.append(stream)

    guest.serve(19, serve)
    sock = net.connect("10.0.2.15", 19)
    until(lambda: net.flows()[0].bytes_in == 6, lambda: net.poll(0.01))
    sock.close()
    until(lambda: streams[0].error, lambda: net.poll(0.05))


def test_ipv6() -> None:
    with Slirp(Config(resolvers=[])) as net:
        guest = LiveGuest(net)
        guest.serve_echo(7)
        routes, lease = guest.guest.autoconfigure(), guest.guest.dhcp6()
        until(lambda: lease.bound and routes.ready, lambda: guest.turn(0.05))
        net.start()
        with net.connect("fec0::15", 7) as sock:
            sock.sendall(b"six")
            assert sock.recv(3) == b"six"


# ------------------------------------------------------------------------------------------- asyncio


def test_streams(net: Slirp, guest: LiveGuest) -> None:
    async def main() -> None:
        async with net:
            reader, writer = await net.open_connection("10.0.2.15", 7)
            writer.write(b"hello" * 100_000)
            writer.write_eof()
            assert await reader.read() == b"hello" * 100_000
            assert writer.get_extra_info("peername") == ("10.0.2.15", 7)
            writer.close()
            await writer.wait_closed()
            with pytest.raises(ConnectionRefusedError):
                await net.open_connection("build-7", 9)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await net.open_connection("10.0.2.99", 9)
            assert [flow.state for flow in net.flows() if flow.state == "SYN-SENT"] == []

    asyncio.run(main())


def test_streams_beside_a_thread(started: Slirp) -> None:
    async def main() -> bytes:
        reader, writer = await started.open_connection("10.0.2.15", 7)
        writer.write(b"x")
        data = await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()
        return data

    assert asyncio.run(main()) == b"x"


def test_streams_raise_connection_reset(net: Slirp, guest: LiveGuest) -> None:
    guest.serve(13, lambda stream: stream.abort() if stream.read() else None)

    async def main() -> None:
        async with net:
            reader, writer = await net.open_connection("10.0.2.15", 13)
            writer.write(b"?")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    asyncio.run(main())


# -------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("to", "port", "why"),
    [
        ("10.0.2.15", 0, "port"),
        ("10.0.2.15", 70000, "port"),
        ("10.0.2.2", 22, "guests are in 10.0.2.0/24"),
        ("192.0.2.1", 22, "guests are in 10.0.2.0/24 and fec0::/64"),
        ("nobody", 22, "known are build-7"),
        ("", 22, "not an address"),
        (7, 22, "not an IP address"),
    ],
)
def test_mistakes(net: Slirp, guest: LiveGuest, to: str, port: int, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        net.connect(to, port)


def test_mistakes_about_the_driver(net: Slirp, guest: LiveGuest) -> None:
    with pytest.raises(StateError, match="nothing drives"):
        asyncio.run(net.open_connection("10.0.2.15", 7))

    async def main() -> None:
        async with net:
            with pytest.raises(StateError, match="open_connection"):
                net.connect("10.0.2.15", 7)

    asyncio.run(main())
    with pytest.raises(StateError, match="closed"):
        net.connect("10.0.2.15", 7)


def test_the_network_ends_while_one_waits(net: Slirp, guest: LiveGuest) -> None:
    net.start()
    errors: list[BaseException] = []

    def connect() -> None:
        try:
            net.connect("10.0.2.99", 22)
        except (OSError, StateError) as error:
            errors.append(error)

    waiting = threading.Thread(target=connect)
    waiting.start()
    until(lambda: [flow for flow in net.flows() if flow.protocol == "tcp"], lambda: None)
    net.close()
    waiting.join(10)
    assert not waiting.is_alive()
    assert isinstance(errors[0], ConnectionAbortedError)
