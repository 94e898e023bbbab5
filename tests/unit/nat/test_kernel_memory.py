"""Buffers of the system's sockets count for the budget; measured as the system counts them."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from slirpy import Config, Slirp
from slirpy.nat import kernel
from slirpy.nat.inspected import InspectedStream
from slirpy.nat.introduced import IntroducedStream
from slirpy.nat.kernel import BATCH, LARGEST, SLOWEST, SWEEP, KernelBuffers
from slirpy.nat.memory import kernel_memory
from slirpy.nat.preceded import PrecededStream
from slirpy.testing import Remote, VirtualNetwork
from tests.support.live_guest import LiveGuest

MIB = 1 << 20
LIMIT = 16 * MIB
CONNECTIONS = 64
"""512 times fewer than may be open, with a budget that is 32 times smaller than the default."""
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say what a socket takes")


@pytest.fixture
def server() -> Iterator[tuple[int, list[socket.socket]]]:
    """A server that accepts, and does nothing else; its port and connections."""
    accepted: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as listener:

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                connection.setblocking(False)
                accepted.append(connection)
                if len(accepted) > CONNECTIONS:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], accepted
        while len(accepted) <= CONNECTIONS:  # wake it until it ends
            with socket.create_connection(listener.getsockname()):
                time.sleep(0)
        thread.join()
    for connection in accepted:
        connection.close()


def taken(net: Slirp) -> int:
    """Bytes of all connections, in slirpy and in the system's buffers now."""
    flows: list[Any] = [*net._stack.tcp_flows.values()]
    return sum(flow.data() - flow.kernel + kernel_memory(flow.peer) for flow in flows)


def carry_on(guest: LiveGuest, condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "stalled"
        guest.turn(0.02)


@pytest.mark.long
@linux
@pytest.mark.needs("epoll or kqueue")
@pytest.mark.parametrize(
    ("upward", "number"),
    [(True, 20), (False, 64)],
    ids=["far sides that do not read", "guests that do not read"],
)
def test_the_budget_holds_with_the_system_s_buffers(
    server: tuple[int, list[socket.socket]], upward: bool, number: int
) -> None:
    port, accepted = server
    with Slirp(Config(memory=LIMIT, resolvers=[])) as net:
        guest = LiveGuest(net)
        streams = [guest.guest.connect("10.0.2.2", port) for _ in range(number)]
        carry_on(guest, lambda: len(accepted) == number)
        for stream in streams:
            stream.paused = True  # it reads nothing
            if upward:
                stream.write(bytes(3 * MIB))
        sent = [0]

        def feed() -> None:
            for connection in () if upward else accepted:
                try:
                    sent[0] += connection.send(bytes(MIB))
                except OSError:
                    pass  # there is no room, or the connection was evicted

        def settled() -> bool:
            feed()
            return net.stats.memory_evicted > 1

        carry_on(guest, settled)
        largest = 0
        end = time.monotonic() + 5 * SWEEP / 1e9
        while time.monotonic() < end:
            feed()
            guest.turn(0.02)
            largest = taken(net)
        assert largest <= LIMIT * 5 // 4  # it may grow between two looks
        assert net._stack.tcp_flows  # not all of them had to go


@linux
def test_kernel_memory_of_a_socket(server: tuple[int, list[socket.socket]]) -> None:
    port, accepted = server
    with Slirp(Config(resolvers=[])) as net:
        guest = LiveGuest(net)
        stream = guest.guest.connect("10.0.2.2", port)
        carry_on(guest, lambda: accepted and stream.established)
        (flow,) = net._stack.tcp_flows.values()
        peer: Any = flow.peer  # type: ignore[attr-defined] # all flows of TCP have one
        assert kernel_memory(peer) == 0
        stream.write(bytes(8 * MIB))
        carry_on(guest, lambda: kernel_memory(peer) > 100_000)
        for around in (
            PrecededStream(peer, b""),
            _wrapped(InspectedStream, peer),
            _wrapped(IntroducedStream, peer),
        ):
            assert kernel_memory(around) == kernel_memory(peer)
        peer.abort()
        assert kernel_memory(peer) == 0
    assert kernel_memory(None) == kernel_memory(Remote()) == 0


def _wrapped(kind: Any, peer: object) -> Any:
    made = kind.__new__(kind)
    made.peer = peer
    return made


# ------------------------------------------------------------------------------------------- who is asked, and when


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Count how often each peer is asked, by its identity."""
    found: dict[int, int] = {}

    def ask(peer: object) -> int:
        found[id(peer)] = found.get(id(peer), 0) + 1
        return 0

    monkeypatch.setattr(kernel, "kernel_memory", ask)
    return found


def test_sockets_are_not_queried_while_there_is_room(asked: dict[int, int]) -> None:
    net = VirtualNetwork(Config(memory=10 * LARGEST))
    net.host.serve_tcp("192.0.2.7", 7, Remote)
    net.boot()
    streams = [net.guest.connect("192.0.2.7", 7) for _ in range(10)]
    net.run_until(lambda: all(stream.established for stream in streams))
    net.run(10 * SWEEP)
    assert not asked
    more = net.guest.connect("192.0.2.7", 7)
    net.run_until(lambda: more.established)
    net.run(2 * SWEEP)
    assert len(asked) == 11
    for stream in streams:
        stream.abort()
    net.run(2 * SLOWEST)
    asked.clear()
    net.run(2 * SLOWEST)
    assert not asked


def test_idle_connections_are_queried_once(asked: dict[int, int]) -> None:
    net = VirtualNetwork(Config(memory=LIMIT))
    net.host.serve_tcp("192.0.2.7", 7, Remote)
    net.boot()
    streams = [net.guest.connect("192.0.2.7", 7) for _ in range(BATCH + 10)]
    net.run_until(lambda: all(stream.established for stream in streams))
    net.run(4 * SWEEP)
    assert len(asked) == BATCH + 10
    asked.clear()
    net.run(4 * SLOWEST)
    assert not asked
    streams[0].write(b"hello")
    net.run(2 * SLOWEST)
    assert len(asked) == 1


# ------------------------------------------------------------------------------------------- the rounds, to the turn


class Flow:
    """A flow that holds nothing, unless a test says so."""

    def __init__(self) -> None:
        self.peer = self
        self.kernel = 0
        self.write_blocked = self.read_ready = False
        self.conn = SimpleNamespace(snd_buf=SimpleNamespace(length=0))
        self.last_activity = -1

    def data(self) -> int:
        return self.kernel


class Rounds:
    """The rounds over some flows, with a limit of one connection, by a clock that the test moves.

    Attributes:
        due: times at which the next turns were asked for; one call at a time is right.
    """

    def __init__(self, number: int) -> None:
        self.now = 1000
        self.due: list[int] = []
        self.flows: dict[bytes, Any] = {bytes((each >> 8, each & 0xFF)): Flow() for each in range(number)}
        self.noted: list[tuple[object, int]] = []
        self._calls: list[Callable[[], None]] = []
        network: Any = SimpleNamespace(timers=self)
        self._network = network
        memory: Any = SimpleNamespace(note=lambda flow, size: self.noted.append((flow, size)))
        network.now = self.now
        self.buffers = KernelBuffers(network, self.flows, memory, LARGEST)

    def defer(self, when: int, call: Callable[[], None]) -> None:
        assert type(when) is int
        self.due.append(when)
        self._calls.append(call)

    def turn(self) -> int:
        """Let the turn that is due happen, and return the time that had passed."""
        [when], [call] = self.due, self._calls
        self.due, self._calls = [], []
        passed, self.now = when - self.now, when
        self._network.now = when
        call()
        return passed

    def move(self) -> None:
        """Let all flows carry data now."""
        for flow in self.flows.values():
            flow.last_activity = self.now


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> dict[object, int]:
    """Sizes of the buffers by flow, which are asked for; a flow that is not in it has none, and is added."""
    found: dict[object, int] = {}
    monkeypatch.setattr(kernel, "PumpedFlow", Flow)
    monkeypatch.setattr(kernel, "kernel_memory", lambda peer: found.setdefault(peer, 0))
    return found


def test_the_first_turn_is_a_sweep_later_and_is_asked_for_once(sizes: dict[object, int]) -> None:
    rounds = Rounds(1)
    rounds.buffers.watch()
    assert not rounds.due  # within the budget, whatever they hold
    rounds.flows[b"more"] = Flow()
    for _ in range(3):
        rounds.buffers.watch()
    assert rounds.due == [rounds.now + SWEEP]


@pytest.mark.parametrize(("number", "turns"), [(2, 1), (BATCH - 1, 1), (BATCH, 2), (2 * BATCH + 50, 3)])
def test_all_that_move_are_asked_once_in_a_sweep(sizes: dict[object, int], number: int, turns: int) -> None:
    rounds = Rounds(number)
    rounds.buffers.watch()
    took = [SWEEP // turns] * -(-number // BATCH)  # each turn of a round
    for lap in range(5):
        rounds.move()
        sizes.clear()
        passed = [rounds.turn() for _ in took]
        assert len(sizes) == number
        assert passed == took or lap < 2  # until there was a round with movement


def test_rounds_are_longer_and_longer_while_nothing_moves(sizes: dict[object, int]) -> None:
    rounds = Rounds(2)
    rounds.buffers.watch()
    passed = [rounds.turn() for _ in range(7)]
    assert passed == [SWEEP, 2 * SWEEP, 4 * SWEEP, 8 * SWEEP, SLOWEST, SLOWEST, SLOWEST]
    assert not sizes
    rounds.move()
    rounds.turn()
    assert len(sizes) == 2
    assert [rounds.turn(), rounds.turn()] == [SLOWEST, SWEEP]  # the round after the one that found something


def test_flows_that_moved_at_the_start_of_the_last_round_are_queried(sizes: dict[object, int]) -> None:
    rounds = Rounds(2)
    rounds.buffers.watch()
    rounds.turn()
    rounds.move()  # at the time of that round, but after it
    rounds.turn()
    assert len(sizes) == 2


@pytest.mark.parametrize("what", ["kernel", "write_blocked", "read_ready", "length"])
def test_idle_flows_that_may_hold_data_are_queried(sizes: dict[object, int], what: str) -> None:
    rounds = Rounds(3)
    flow = next(iter(rounds.flows.values()))
    setattr(flow.conn.snd_buf if what == "length" else flow, what, 1)
    sizes[flow] = 5000
    rounds.buffers.watch()
    rounds.turn()
    assert (flow.kernel, rounds.noted, list(sizes)) == (5000, [(flow, 5000)], [flow])
    rounds.turn()
    assert len(rounds.noted) == 1  # only changes are reported


def test_nothing_is_due_once_there_are_few_connections(sizes: dict[object, int]) -> None:
    rounds = Rounds(2)
    rounds.buffers.watch()
    left, gone = rounds.flows
    rounds.flows[left].kernel = 7
    del rounds.flows[gone]
    rounds.turn()
    assert not rounds.due
    assert rounds.noted == [(rounds.flows[left], 0)]
    rounds.flows[gone] = Flow()
    rounds.buffers.watch()
    assert rounds.due == [rounds.now + SWEEP]
