"""Networks of named hosts: addresses, paths, partitions, crashes, pauses, determinism."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from slirpy.errors import ConfigError, StateError
from slirpy.links.faultypath import Faults
from slirpy.tcp import Segment, Settings
from slirpy.tcp.options import parse
from slirpy.testing.errors import UnmetError
from slirpy.testing.sim.clock import Clock
from slirpy.testing.sim.faults import Crash
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.path import Path
from slirpy.testing.sim.trace import FrameRecord, LateFrame
from slirpy.units import MS, SECOND
from slirpy.wire import tcp
from tests.unit.testing.sim.echo import Client, serve


def network(seed: int = 1, path: Faults | None = None) -> Network:
    """A network with an echo server."""
    net = Network(seed) if path is None else Network(seed, path=path)
    serve(net.host("server"))
    net.host("client")
    return net


def talk(net: Network, limit: float = 60.0, line: bytes = b"hello") -> Client:
    client = Client(line).connect(net, "client", "server")
    net.until(lambda: client.done, limit)
    return client


def test_exchange() -> None:
    """An exchange takes the time of its round trips."""
    net = network()
    assert talk(net).got == b"hello"
    assert net.now == 6 * MS


def test_same_seed_same_frames() -> None:
    """A run is a function of its seed."""
    path = Faults(loss=0.2, delay=10 * MS, jitter=5 * MS, duplicate=0.1, corrupt=0.05)

    def digest(seed: int) -> str:
        net = network(seed, path)
        for _ in range(3):
            assert talk(net, line=bytes(20_000)).got == bytes(20_000)
        return net.trace.digest()

    assert digest(5) == digest(5)
    assert digest(5) != digest(7)


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_segments_are_those_in_their_frames(monkeypatch: pytest.MonkeyPatch, ipv6: bool, loss: float) -> None:
    """Receivers that read each frame do the same as those that are given what the sender has put into it."""
    carry, given = Path.carry_segment, [0]

    def count(self: Path, key: bytes, segment: Segment, length: int, late: LateFrame) -> None:
        given[0] += 1
        frame = late[0](*late[1:])
        assert len(frame) == length
        start = 54 if ipv6 else 34
        *_, seq, ack, offset, flags, wnd, _, urg = tcp.HEADER.unpack_from(frame, start)
        data = start + (offset >> 4 << 2)
        assert key == frame[22 if ipv6 else 26 : start + 4]
        options = parse(frame[start + 20 : data])
        assert segment == Segment(seq, ack, flags, wnd, options, frame[data:], urg)
        assert type(segment) is Segment
        carry(self, key, segment, length, late)

    def as_frame(self: Path, key: bytes, segment: Segment, length: int, late: LateFrame) -> None:
        self.carry(late[0](*late[1:]))

    def digest() -> str:
        net = Network(3, path=Faults(loss=loss, duplicate=loss / 2, delay=10 * MS))
        serve(net.host("server"), bytes(16))
        client = Client(bytes(100_000)).connect(net, net.host("client"), "server", ipv6=ipv6)
        net.until(lambda: client.done)
        net.run_for(100)
        return net.trace.digest()

    monkeypatch.setattr(Path, "carry_segment", count)
    handed_over = digest()
    assert given[0] > 100
    monkeypatch.setattr(Path, "carry_segment", as_frame)
    assert digest() == handed_over


@pytest.mark.parametrize("idle", [130, 86_400])
def test_exchange_after_a_long_idle_time(idle: float) -> None:
    """A connection begins now, not when its host was busy last: its time limits count from here."""
    net = network()
    net.run_for(idle)
    begin = net.now
    assert talk(net).got == b"hello"
    assert net.now - begin == 6 * MS


@pytest.mark.parametrize("address", [bytes([127, 0, 0, 1]), bytes(15) + b"\1", None])
def test_loopback(address: bytes | None) -> None:
    """A host talks to itself, by its loopback and by its own address, and no frame leaves it."""
    net = Network()
    host = net.host("host")
    serve(host, bytes(16))
    client = Client(bytes(300_000))
    client.peer = host.socket_layer.connect(address or net.resolve("host")[0], 7, client)
    net.until(lambda: client.done)
    assert len(client.got) == 300_000
    assert not net.trace.records


def test_refused() -> None:
    """A port without a listener refuses, at another host and at home."""
    net = network()
    for target in ("server", "localhost"):
        client = Client().connect(net, "client", target, 81)
        net.until(lambda client=client: client.done)  # type: ignore[misc] # a lambda with a default
        assert client.error == errno.ECONNREFUSED


def test_an_unassigned_address_is_unreachable() -> None:
    """An address of nobody is unreachable after three requests."""
    net = network()
    client = Client()
    client.peer = net.host("client").socket_layer.connect(bytes([198, 18, 9, 9]), 7, client)
    net.until(lambda: client.done)
    assert client.error == errno.EHOSTUNREACH
    assert net.now == 3 * SECOND


def test_partition_heals() -> None:
    """Retransmissions bridge a partition."""
    net = network()
    partition = net.partition(["client"], ["server"], during=2.0)
    assert talk(net).got == b"hello"
    assert net.now > 2 * SECOND
    assert partition.hits


def test_partition_for_ever() -> None:
    """Without healing a connect times out, after as long as with Linux."""
    net = network()
    net.partition(["client"], ["server"])
    assert talk(net, 300.0).error == errno.ETIMEDOUT
    assert net.now == 131 * SECOND


def test_healed_before_it_began() -> None:
    """A partition that is healed first never begins."""
    net = network()
    net.partition(["client"], ["server"], after=0.001).heal()
    assert talk(net).got == b"hello"
    assert net.now == 6 * MS


def test_hold_and_release() -> None:
    """Held frames arrive in their order when they are released."""
    net = network()
    path = net.path("client", "server")
    path.hold()
    client = Client().connect(net, "client", "server")
    net.run_for(0.5)
    assert not client.done
    path.release()
    net.until(lambda: client.done)
    assert client.got == b"hello"
    first = net.trace.records[0]
    assert isinstance(first, FrameRecord)
    assert first.arrivals == (501 * MS,)
    assert first.fault == "hold"


def test_pause() -> None:
    """A paused host answers nothing, and everything afterwards."""
    net = network()
    net.host("server").pause(0.7)
    assert talk(net).got == b"hello"
    assert net.now > 700 * MS


def test_pauses_add_up() -> None:
    """Two pauses need two ends."""
    net = network()
    server = net.host("server")
    server.pause()
    server.pause(0.1)
    net.run_for(1.0)
    assert server.stalled
    server.resume()
    assert not server.stalled


def test_crash_is_silent() -> None:
    """A crashed host says nothing, also about connections that it had."""
    net = network()
    client = Client(bytes(1_000_000)).connect(net, "client", "server")
    net.run_for(0.01)
    net.host("server").crash()
    count = len(net.trace.records)
    net.run_for(10.0)
    assert not client.done
    later = [each for each in net.trace.records[count:] if isinstance(each, FrameRecord)]
    assert {each.source for each in later} == {"client"}


def test_restart_keeps_the_disk() -> None:
    """A boot loses the sockets, and keeps the disk."""
    net = network()
    server = net.host("server")
    server.disk["log"] = b"1"
    server.crash()
    with pytest.raises(StateError, match="restart"):
        server.run(lambda: None)
    server.restart()
    assert server.disk == {"log": b"1"}
    assert talk(net).error == errno.ECONNREFUSED


CLOSED: list[Callable[[Network], object]] = [
    lambda net: net.run(print, on="server"),
    lambda net: net.run(print, on="another"),
    lambda net: net.hosts["server"].run(print),
    lambda net: net.hosts["server"].restart(),
    lambda net: net.run_for(1),
    lambda net: net.settle(),
    lambda net: net.inject(Crash(1, 1, "server")),
]


@pytest.mark.parametrize("call", CLOSED)
def test_closed(call: Callable[[Network], object]) -> None:
    """StateError says so, and not that a host has crashed."""
    with network() as net:
        talk(net)
    with pytest.raises(StateError, match="the network is closed"):
        call(net)
    assert "again" in str(net.report())


def test_settle() -> None:
    """Settling ends when nothing is left, here the last TIME-WAIT."""
    net = network()
    talk(net)
    net.settle()
    assert not net.host("client").stack.tcp.streams
    assert 60 * SECOND < net.now < 62 * SECOND


def test_until_says_how_long() -> None:
    """A condition that is never met is an error."""
    net = network()
    with pytest.raises(UnmetError, match="not within 2 s"):
        net.until(lambda: False, 2.0)


def test_always() -> None:
    """A condition that must hold always ends the run when it does not."""
    net = network()
    net.always(lambda: net.now < 3 * MS, "it is early")
    with pytest.raises(UnmetError, match=r"it is early was not true at 0\.003"):
        talk(net)


def test_addresses() -> None:
    """Hosts get addresses of both families, or the one that a test wants."""
    net = Network()
    assert net.host("a").address == "198.18.0.1"
    assert net.host("b", "192.0.2.9").address == "192.0.2.9"
    assert net.host("A") is net.host("a")
    assert [str(each) for each in net.host("a").addresses] == ["198.18.0.1", "2001:db8::1"]
    net.alias("www.example.org", "b")
    assert net.resolve("www.example.org.")[0] == bytes([192, 0, 2, 9])
    assert net.resolve("nobody") == []


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda net: net.host("server", "192.0.2.1"), "server already"),
        (lambda net: net.host("server", clock=Clock(offset=1)), "server already"),
        (lambda net: net.host("server", tcp=Settings()), "server already"),
        (lambda net: net.host("x", "198.18.0.1"), "another host"),
        (lambda net: net.host("x", "fe80::1"), "IPv4"),
        (lambda net: net.host("a b"), "name"),
        (lambda net: net.path("server", "server"), "another host"),
        (lambda net: net.path("server", "nobody"), "nobody"),
        (lambda net: net.partition(["server"]), "two"),
        (lambda net: net.partition("ab", "cd"), "two"),
        (lambda net: net.run_for(-1), "duration"),
        (lambda net: net.until(3), "predicate"),
        (lambda net: net.until(lambda: True, float("nan")), "limit"),
        (lambda net: net.host("server").run(3), "coroutine"),
        (lambda net: net.alias("server", "client"), "taken"),
    ],
)
def test_bad_input(call: object, text: str) -> None:
    """Mistakes are refused with the value, and what to write instead."""
    assert callable(call)
    with pytest.raises(ConfigError, match=text):
        call(network())


@pytest.mark.parametrize(
    "arguments", [{"seed": -1}, {"path": 3}, {"mtu": 100}, {"order": "lifo"}, {"epoch": 1}]
)
def test_bad_network(arguments: dict[str, object]) -> None:
    """Arguments of the network itself are refused too."""
    with pytest.raises(ConfigError):
        Network(**arguments)  # type: ignore[arg-type] # wrong on purpose


def test_two_hundred_hosts() -> None:
    """Hosts that do nothing cost nothing: all talk to the next one at once."""
    net = Network(3)
    names = [f"host{number}" for number in range(200)]
    for name in names:
        serve(net.host(name))
    clients = [
        Client().connect(net, one, other) for one, other in zip(names, [*names[1:], names[0]], strict=True)
    ]
    net.until(lambda: all(client.done for client in clients))
    assert all(client.got == b"hello" for client in clients)
    assert net.now == 6 * MS
