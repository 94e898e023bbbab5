"""``slirpy run --hostfwd`` to services that listen on the namespace's own 127.0.0.1."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.system.user import User

pytestmark = pytest.mark.system

# Argument: words PROTOCOL:ADDRESS:PORT. A service there tells who asks, and sends back what it hears.
SERVICES = """
import asyncio, sys

def service(place):
    async def serve(reader, writer):
        data = await reader.read(-1)
        writer.write(place.encode() + b" hears " + writer.get_extra_info("peername")[0].encode() + b" " + data)
        await writer.drain()
        writer.close()
    return serve

class Echo(asyncio.DatagramProtocol):
    def __init__(self, place):
        self.place = place
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, source):
        self.transport.sendto(self.place.encode() + b" hears " + source[0].encode() + b" " + data, source)

async def main():
    loop = asyncio.get_running_loop()
    keep = []
    for word in sys.argv[1:]:
        protocol, place = word.split(":", 1)
        address, port = place.rsplit(":", 1)
        if protocol == "tcp":
            keep.append(await asyncio.start_server(service(address), address, int(port), backlog=1024))
        else:
            keep.append(await loop.create_datagram_endpoint(lambda: Echo(address), local_addr=(address, int(port))))
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def services(
    slirpy: User, where: list[str], rules: list[str], *options: str
) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """``slirpy run`` with services, and the host's ports that lead to it."""
    words = [word for rule in rules for word in ("--hostfwd", rule)]
    with slirpy.start("run", *options, *words, "--", sys.executable, "-c", SERVICES, *where) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        ports = []
        for rule in rules:
            if ":0-" in rule:
                told = re.match(r"hostfwd \w+ [][0-9a-f.:]+:(\d+) ->", process.stderr.readline())
                assert told is not None
                ports.append(int(told[1]))
        assert process.stdout.readline() == "ready\n"
        yield process, ports
        process.stdin.close()
        assert process.wait(20) == 0, process.stderr.read()


def tcp(place: int | str, data: bytes = b"question") -> bytes:
    """Ask a service, and return its answer."""
    family, name = (socket.AF_UNIX, place) if isinstance(place, str) else (socket.AF_INET, ("127.0.0.1", place))
    with socket.socket(family) as sock:
        sock.settimeout(20)
        sock.connect(name)
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(1 << 16):
            answer += piece
        return answer


def udp(port: int, data: bytes = b"question", address: str = "127.0.0.1") -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(20)
        sock.connect((address, port))
        sock.send(data)
        return sock.recv(1 << 16)


def test_services_on_the_loopback_of_ipv6(slirpy: User) -> None:
    rules = ["tcp::0-[fec0::15]:8000", "udp:[::1]:0-[fec0::15]:8000", "udp::0-[fec0::15]:8000"]
    with services(slirpy, ["tcp:::1:8000", "udp:::1:8000"], rules) as (_, ports):
        expected = b"::1 hears ::1 question"
        assert tcp(ports[0]) == expected
        for _ in range(2):
            assert udp(ports[1], address="::1") == udp(ports[2]) == expected


def test_services_on_the_loopback(slirpy: User, folder: Path) -> None:
    path = str(folder / "service.sock")
    rules = ["tcp::0-:8000", "udp::0-:8000", "tcp::0-10.0.2.15:8000", f"unix:{path}-:8000"]
    with services(slirpy, ["tcp:127.0.0.1:8000", "udp:127.0.0.1:8000"], rules) as (_, ports):
        expected = b"127.0.0.1 hears 127.0.0.1 question"
        assert tcp(ports[0]) == tcp(ports[2]) == tcp(path) == expected
        for _ in range(3):
            assert udp(ports[1]) == expected
        large = bytes(range(256)) * 20_000
        assert tcp(ports[0], large) == b"127.0.0.1 hears 127.0.0.1 " + large


def test_a_service_on_the_address_comes_first(slirpy: User) -> None:
    """And it sees who asks: the host's loopback is the gateway."""
    where = [
        f"{protocol}:{address}:8000" for protocol in ("tcp", "udp") for address in ("127.0.0.1", "10.0.2.15")
    ]
    with services(slirpy, where, ["tcp::0-:8000", "udp::0-:8000"]) as (_, ports):
        expected = b"10.0.2.15 hears 10.0.2.2 question"
        assert tcp(ports[0]) == expected
        assert udp(ports[1]) == expected


def test_udp_answers_leave_from_the_address_of_the_request(slirpy: User) -> None:
    where = ["udp:10.0.2.15:8000", "udp:127.0.0.1:8001"]
    with services(slirpy, where, ["udp:0.0.0.0:0-:8000", "udp:0.0.0.0:0-:8001"]) as (_, ports):
        for address in ("127.0.0.1", "127.0.0.2", "127.77.7.7"):
            for size in (0, 1400, 9000, 60000):
                data = bytes(size)
                assert udp(ports[0], data, address) == b"10.0.2.15 hears 10.0.2.2 " + data
                assert udp(ports[1], data, address) == b"127.0.0.1 hears 127.0.0.1 " + data


@pytest.mark.long
def test_many_at_once(slirpy: User) -> None:
    with (
        services(slirpy, ["tcp:127.0.0.1:8000", "udp:127.0.0.1:8000"], ["tcp::0-:8000", "udp::0-:8000"]) as (
            _,
            ports,
        ),
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", ports[0]))) for _ in range(200)]
        for number, client in enumerate(clients):
            client.settimeout(20)
            client.sendall(b"%d" % number)
            client.shutdown(socket.SHUT_WR)
        for number, client in enumerate(clients):
            answer = b""
            while piece := client.recv(1000):
                answer += piece
            assert answer == b"127.0.0.1 hears 127.0.0.1 %d" % number
        asking = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(20)]
        assert udp(ports[1]).endswith(b"question")
        for number, client in enumerate(asking):
            client.settimeout(20)
            client.connect(("127.0.0.1", ports[1]))
            client.send(b"%d" % number)
        assert [client.recv(100).rpartition(b" ")[2] for client in asking] == [b"%d" % n for n in range(20)]


def test_many_udp_services(slirpy: User) -> None:
    """The kernel inside limits how often it says that nobody listens: that must not cost a first datagram."""
    numbers = range(9000, 9016)
    where = [f"udp:127.0.0.1:{number}" for number in numbers]
    with (
        services(slirpy, where, [f"udp::0-:{number}" for number in numbers]) as (_, ports),
        ExitStack() as stack,
    ):
        clients = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in ports]
        for client, port in zip(clients, ports, strict=True):
            client.settimeout(5)
            client.connect(("127.0.0.1", port))
            client.send(b"question")
            assert client.recv(100) == b"127.0.0.1 hears 127.0.0.1 question"


def refused(port: int) -> bool:
    """Report whether a connection is reset without an answer."""
    try:
        return tcp(port) == b""
    except ConnectionError:
        return True


def test_a_connection_without_a_listener_is_refused(slirpy: User) -> None:
    with (
        services(slirpy, ["tcp:127.0.0.1:8000"], ["tcp::0-:8001"]) as (_, ports),
        pytest.raises(ConnectionError),
    ):
        tcp(ports[0])


@pytest.mark.parametrize(
    ("options", "reached"),
    [
        (["--no-hostfwd-loopback"], False),
        (["--restrict", "--hostfwd-loopback"], True),
    ],
)
def test_the_switch(slirpy: User, options: list[str], reached: bool) -> None:
    with services(slirpy, ["tcp:127.0.0.1:8000"], ["tcp::0-:8000"], *options) as (_, ports):
        assert refused(ports[0]) is not reached


def test_flows_are_in_the_report(slirpy: User) -> None:
    with services(slirpy, ["tcp:127.0.0.1:8000"], ["tcp::0-:8000"], "--stats") as (process, ports):
        assert tcp(ports[0])
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.close()
        said = process.stderr.read()
        assert "127.0.0.1:8000" in said
        assert "hostfwd_loopback" in said
