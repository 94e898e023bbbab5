"""UDP forwards on all addresses of the host: each client hears from the address that it asked, with real sockets."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from slirpy import Config, ForwardError, Slirp
from slirpy.host import sockets
from slirpy.host.socketdatagram import LOCALS_MAX, WildcardDatagram
from slirpy.testing import UdpSocket
from tests.support.driven import Driven

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="IP_PKTINFO, and all of 127.0.0.0/8")


class World:
    """A guest with a UDP service behind a forward, and clients of the host."""

    def __init__(self, stack: ExitStack, rule: str = "udp:0.0.0.0:0-:53", guest_port: int = 53) -> None:
        self.net = stack.enter_context(Slirp(Config(hostfwd=[rule], resolvers=[])))
        self.driven = Driven(self.net)
        self.port = self.net.hostfwds()[0].host_port
        self.service = self.driven.guest.udp(guest_port)
        self._stack = stack
        self._gone = 0

    def client(self, server: str | None, *, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """A socket, connected to an address of the host's if ``server`` is given."""
        sock = self._stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.settimeout(5)
        sock.bind((host, port))
        if server is not None:
            sock.connect((server, self.port))
        return sock

    def asked(self, number: int, service: UdpSocket | None = None) -> list[tuple[bytes, str, int]]:
        """Wait until ``number`` datagrams have reached the guest; returns payload, address and port of each."""
        taken: list[tuple[bytes, str, int]] = []
        received = (service or self.service).received

        def come() -> bool:
            taken.extend((payload, str(address), port) for payload, address, port in received)
            received.clear()
            return len(taken) >= number

        self.driven.until(come)
        return taken

    def answer(self, questions: list[tuple[bytes, str, int]]) -> None:
        """The guest answers all of them in one batch; then they are on their way."""
        for payload, address, port in questions:
            self.service.send(b"to " + payload, address, port)
        self.gone(len(questions))

    def gone(self, number: int) -> None:
        """Wait until the host has sent ``number`` more datagrams of the guest."""
        self._gone += number
        self.driven.until(lambda: sum(flow.packets_in for flow in self.net.flows()) >= self._gone)


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_a_connected_client_gets_its_answer(world: World, server: str) -> None:
    client = world.client(server)
    client.send(b"question")
    world.answer(world.asked(1))
    assert client.recv(100) == b"to question"


def test_clients_at_several_addresses_at_a_time(world: World) -> None:
    clients = [world.client(f"127.0.0.{number}") for number in range(1, 9)]
    for _ in range(2):
        for number, client in enumerate(clients):
            client.send(b"%d" % number)
        world.answer(world.asked(len(clients)))
        assert [client.recv(100) for client in clients] == [b"to %d" % n for n in range(len(clients))]


def test_one_client_that_asks_at_several_addresses_from_one_port(world: World) -> None:
    client = world.client(None)
    for _ in range(2):
        for number in range(1, 5):
            client.sendto(b"%d" % number, (f"127.0.0.{number}", world.port))
        questions = world.asked(4)
        assert len({(address, port) for _, address, port in questions}) == 4, "the guest can tell them apart"
        world.answer(questions)
        answers = [client.recvfrom(100) for _ in range(4)]
        assert sorted(answers) == [(b"to %d" % n, (f"127.0.0.{n}", world.port)) for n in range(1, 5)]
    (flow,) = world.net.flows()
    assert (flow.packets_in, flow.packets_out) == (8, 8)


def test_clients_that_look_alike_to_the_guest(world: World) -> None:
    """The guest sees all of the loopback as the gateway."""
    one = world.client("127.0.0.1", host="127.0.0.5")
    two = world.client("127.0.0.1", host="127.0.0.6", port=one.getsockname()[1])
    one.send(b"one")
    two.send(b"two")
    world.answer(world.asked(2))
    assert one.recv(100) == b"to one"
    assert two.recv(100) == b"to two"


def test_batches_by_one_call(world: World) -> None:
    """Datagrams of one size leave as one large one that the system cuts, others one by one."""
    client = world.client("127.0.0.3")
    client.send(b"question")
    ((_, address, port),) = world.asked(1)
    sizes = [1000] * 20 + [10] + [1200] * 5 + [1]
    world.service.send(b"first", address, port)  # lays the fast path
    world.gone(1)
    assert client.recv(100) == b"first"
    for size in sizes:
        world.service.send(bytes(size), address, port)
    world.gone(len(sizes))
    assert [len(client.recv(2000)) for _ in sizes] == sizes
    assert world.net.stats.udp_fastpath


def test_a_client_that_goes_over_to_another_address(world: World) -> None:
    client = world.client(None)
    for server in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
        client.sendto(b"x", (server, world.port))
        world.answer(world.asked(1))
        assert client.recvfrom(100) == (b"to x", (server, world.port))


def test_a_question_to_everyone_is_answered_from_our_address(world: World) -> None:
    client = world.client(None)
    client.sendto(b"anyone", ("127.255.255.255", world.port))
    world.answer(world.asked(1))
    assert client.recvfrom(100) == (b"to anyone", ("127.0.0.1", world.port))


def test_a_range_of_ports() -> None:
    with ExitStack() as stack:
        world, last = range_of_three(stack)
        world.port = last
        client = world.client("127.0.0.7")
        client.send(b"question")
        world.answer(world.asked(1))
        assert client.recv(100) == b"to question"


def range_of_three(stack: ExitStack, attempts: int = 50) -> tuple[World, int]:
    """Forward three ports; returns the last one. Other programs may have one of those that follow a free port."""
    first = min(World(stack).port + 1, 65000)
    try:
        return World(stack, f"udp:0.0.0.0:{first}-{first + 2}-:7000", 7002), first + 2
    except ForwardError:
        if attempts == 1:
            raise
    return range_of_three(stack, attempts - 1)


def test_a_forward_on_one_address_needs_nothing_of_it() -> None:
    with ExitStack() as stack:
        world = World(stack, "udp:127.0.0.4:0-:53")
        client = world.client("127.0.0.4")
        client.send(b"question")
        world.answer(world.asked(1))
        assert client.recv(100) == b"to question"


def test_a_refusal_reaches_the_guest_through_the_forward(world: World) -> None:
    client = world.client("127.0.0.2")
    client.send(b"question")
    questions = world.asked(1)
    client.close()
    world.answer(questions)
    world.driven.until(lambda: world.driven.guest.icmp_errors)
    assert [(error.kind, error.code) for error in world.driven.guest.icmp_errors] == [(3, 3)]


def test_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS and Windows the system chooses the source, which is correct if there is one address."""
    monkeypatch.setattr(sockets, "hear_local", lambda sock: False)
    with ExitStack() as stack:
        world = World(stack)
        client = world.client("127.0.0.1")
        client.send(b"question")
        world.answer(world.asked(1))
        assert client.recv(100) == b"to question"


def test_how_many_addresses_are_remembered(world: World) -> None:
    """A request at a forgotten address is answered all the same."""
    client = world.client(None)
    questions = []
    for number in range(LOCALS_MAX + 10):
        client.sendto(b"%d" % number, (f"127.0.{number // 250}.{number % 250 + 1}", world.port))
        questions += world.asked(1)
    assert isinstance(world.net._host, sockets.SocketHost)
    bound = next(item for item in world.net._host.sockets._open if isinstance(item, WildcardDatagram))
    assert len(bound._locals) <= LOCALS_MAX
    world.answer([questions[3], questions[-1]])
    assert {client.recvfrom(100)[1][0] for _ in range(2)} == {"127.0.0.4", f"127.0.1.{LOCALS_MAX + 10 - 250}"}
