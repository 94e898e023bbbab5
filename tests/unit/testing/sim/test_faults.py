"""Faults that are injected: each hits what it names, once, and says so."""

from __future__ import annotations

import errno

import pytest

from slirpy.errors import ConfigError
from slirpy.testing.sim.faults import Corrupt, Crash, Cut, Delay, Fault, Flow, Lose, Repeat, Reset, Slow, Stall
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.trace import FrameRecord
from slirpy.units import MS
from tests.unit.testing.sim.echo import Client, serve

FLOW = Flow("client", "server")
BACK = Flow("client", "server", back=True)


def exchange(*faults: Fault, ipv6: bool = False, connections: int = 1) -> tuple[Network, Client]:
    """Run echo connections one after the other under faults, and return the last client."""
    net = Network(1)
    serve(net.host("server"), bytes(16) if ipv6 else bytes(4))
    net.host("client")
    net.inject(*faults)
    for _ in range(connections):
        client = Client().connect(net, "client", "server", ipv6=ipv6)
        net.until(lambda client=client: client.done)  # type: ignore[misc] # a lambda with a default
    return net, client


def hits(net: Network) -> list[int]:
    return [len(each.hits) for each in net.injected]


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize(
    ("fault", "after"),
    [
        (Lose(FLOW, 0), 1000),  # the SYN: one second
        (Lose(FLOW, 1), 202),  # the data: a tail loss probe, as late as Linux has it
        (Lose(BACK, 0), 1000),
        (Lose(BACK, 1), 202),
        (Delay(FLOW, 1, 300), 202),
        (Corrupt(FLOW, 1, 500), 202),
        (Repeat(FLOW, 1), 0),
    ],
)
def test_fault_of_a_segment(fault: Fault, after: int, ipv6: bool) -> None:
    """The segment is hit once, and the exchange ends as late as the loss of that segment makes it."""
    net, client = exchange(fault, ipv6=ipv6)
    assert client.got == b"hello"
    assert hits(net) == [1]
    assert after * MS + 6 * MS == net.now
    hit = [record for record in net.trace.records if record.time == net.injected[0].hits[0]]
    assert any(isinstance(record, FrameRecord) and record.fault.startswith(str(fault)) for record in hit)


def test_second_connection() -> None:
    """Connections are numbered, and others are left alone."""
    net, client = exchange(Lose(Flow("client", "server", 1), 1), connections=3)
    assert client.got == b"hello"
    assert hits(net) == [1]
    assert net.injected[0].hits[0] > 6 * MS


def test_two_losses() -> None:
    """A retransmission is not a new segment."""
    net, client = exchange(Lose(FLOW, 0), Lose(FLOW, 1))
    assert client.got == b"hello"
    assert hits(net) == [1, 1]
    assert net.now == 2_206 * MS  # no round-trip sample after a lost SYN: one second again


def test_lost_syns() -> None:
    """The first four timeouts of a SYN are a second each, as with Linux."""
    net, client = exchange(Cut(0, 4500, "client", "server"))
    assert client.got == b"hello"
    assert net.now == 5_006 * MS


def test_injected_later() -> None:
    """Connections before the call count for the numbers."""
    net, _ = exchange(connections=2)
    net.inject(Lose(Flow("client", "server", 2), 0))
    client = Client().connect(net, "client", "server")
    net.until(lambda: client.done)
    assert hits(net) == [1]


def test_reset() -> None:
    """Both ends get a RST that they believe."""
    net, client = exchange(Reset(FLOW))
    assert client.error == errno.ECONNRESET
    assert hits(net) == [1]
    assert not net.host("server").stack.tcp.streams


def test_reset_after_bytes() -> None:
    """The reset waits for the bytes."""
    net, client = exchange(Reset(FLOW, 6))
    assert client.got == b"hello"
    assert hits(net) == [0]
    assert str(net.injected[0]).endswith("hit nothing")


def test_cut_in_the_future() -> None:
    """A cut begins later, ends by itself, and counts the frames that it has lost."""
    net, client = exchange(Cut(2, 500, "client", "server"))
    assert client.got == b"hello"
    assert hits(net)[0] > 1
    assert net.now > 500 * MS
    assert not net.path("client", "server").is_cut


def test_cut_one_way() -> None:
    """Only one direction is cut."""
    net, client = exchange(Cut(0, 500, "server", "client", oneway=True))
    assert client.got == b"hello"
    assert any(
        isinstance(record, FrameRecord) and record.source == "client" and record.arrivals
        for record in net.trace.records[:3]
    )


def test_slow() -> None:
    """A slow path takes longer."""
    net, client = exchange(Slow(0, 10_000, "client", "server", 10_000))
    assert client.got == b"hello"
    assert net.now > 100 * MS
    assert net.path("client", "server").faults.rate is None


def test_stall() -> None:
    """A stalled host answers afterwards."""
    net, client = exchange(Stall(2, 500, "server"))
    assert client.got == b"hello"
    assert net.now > 500 * MS


@pytest.mark.parametrize(("reset", "error"), [(True, errno.ECONNRESET), (False, 0)])
def test_crash(reset: bool, error: int) -> None:
    """A crash that resets is seen at once; a silent one when the host boots and knows nothing of the connection."""
    net = Network(1)
    serve(net.host("server"))
    net.inject(Crash(3, 1_000, "server", reset))
    client = Client(b"x" * 100_000).connect(net, "client", "server")
    net.until(lambda: client.done)
    assert client.error == errno.ECONNRESET
    assert (net.now > 1_000 * MS) == (not error)


def test_unknown_host() -> None:
    """A plan for a host that is not there is a mistake."""
    net = Network()
    with pytest.raises(ConfigError, match=r"nobody.*client"):
        net.inject(Lose(Flow("client", "nobody"), 0))
    with pytest.raises(ConfigError, match="nobody"):
        net.inject(Stall(0, 1, "nobody"))


@pytest.mark.parametrize("fault", [Lose(FLOW, 1), Cut(0, 1, "server", "client"), Stall(0, 1, "client")])
def test_main_host(fault: Fault) -> None:
    """A plan may name the host on which tests run before anything has made it."""
    net = Network()
    net.host("server")
    net.inject(fault)
    assert list(net.hosts) == ["server", "client"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Lose("client", 1),  # type: ignore[arg-type] # a name is no flow
        lambda: Lose(FLOW, -1),
        lambda: Flow("a b", "server"),
        lambda: Flow("client", "Client"),
        lambda: Flow("client", "server", protocol="sctp"),  # type: ignore[arg-type] # no such protocol here
        lambda: Cut(-1, 5, "a", "b"),
        lambda: Slow(0, 5, "a", "b", 0),
        lambda: Reset(Flow("a", "b", protocol="udp")),
        lambda: Network().inject("cut"),  # type: ignore[arg-type] # text is no fault
    ],
)
def test_bad_input(make: object) -> None:
    """Values that cannot be used are refused when the fault is made."""
    assert callable(make)
    with pytest.raises(ConfigError):
        make()
