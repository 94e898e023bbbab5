"""The budget for the data of connections, and limits of new flows and of bandwidth."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from slirpy import Config, ConfigError
from slirpy.config.sizes import MEMORY_MOST, memory, rate
from slirpy.fair import Shares
from slirpy.links.rate import RateLink
from slirpy.nat.memory import LEAST, Holder, MemoryBudget
from slirpy.nat.tcp import TcpNat
from slirpy.testing import Remote, Source
from tests.support.frames6 import echo6, know6, udp6
from tests.support.harness import ACK, SYN, WORLD, Net, Peer, Wire, config, echo, udp

MIB = 1 << 20


class Flow(Holder):
    """A holder of data, for the budget."""

    last_activity = 0
    share: Any = None
    held = unnoted = 0
    alert = False
    size: int | None = None
    """Bytes that it holds; None: as last reported."""

    def __init__(self, shares: Shares[Any], party: object, number: int) -> None:
        self.key = number.to_bytes(4, "big")
        shares.add(self, party, b"")

    def data(self) -> int:
        return self.held if self.size is None else self.size


class Budget:
    """A budget, and what it has evicted."""

    def __init__(self, limit: int) -> None:
        self.shares: Shares[Any] = Shares(1 << 20)
        self.evicted: list[Flow] = []
        self.budget: MemoryBudget[Flow] = MemoryBudget(limit, self.evicted.append)

    def flows(self, party: object, count: int, start: int = 0) -> list[Flow]:
        return [Flow(self.shares, party, start + number) for number in range(count)]


@pytest.mark.needs("interpreted", detail="derives from a trait")
def test_the_largest_user_gives_way() -> None:
    world = Budget(1000)
    one, two = world.flows("greedy", 5), world.flows("modest", 2, 100)
    for flow in two:
        world.budget.note(flow, 100)
    for flow in one[:4]:
        world.budget.note(flow, 199)
    assert world.evicted == []
    assert world.budget.is_tight
    world.budget.note(one[4], 300)
    assert world.evicted == [one[4]], "its largest"
    world.budget.note(two[0], 105)
    assert world.evicted[1:] == [one[0]], "and not the one that asks"
    assert world.budget.numbers() == {"greedy": 597, "modest": 205}


@pytest.mark.needs("interpreted", detail="derives from a trait")
def test_thousands_of_changes_keep_the_books() -> None:
    """The sums are those of all connections, and never exceed the limit."""
    random, world = Random(5), Budget(50_000)
    flows = [flow for party in range(4) for flow in world.flows(party, 50, party * 50)]
    for _ in range(5000):
        flow = random.choice(flows)
        if random.random() < 0.1:
            world.budget.forget(flow)
        else:
            world.budget.note(flow, random.choice((0, random.randrange(1, 3000))))
        assert world.budget.total == sum(each.held for each in flows) <= 50_000
    assert world.evicted
    for party in range(4):
        held = sum(each.held for each in flows if each.share.party.name == party)
        assert world.budget.numbers().get(party, 0) == held
    for flow in flows:
        world.budget.forget(flow)
    assert (world.budget.total, world.budget._parties, world.budget._party_of) == (0, {}, {})


@pytest.mark.needs("interpreted", detail="derives from a trait")
def test_with_plenty_only_growth_is_reported() -> None:
    """From three eighths of the budget on, all connections are looked at, and each is asked for all changes."""
    world = Budget(80_000)
    flows = world.flows("link", 15)
    for flow in flows[:14]:
        world.budget.note(flow, 2000)
        assert (flow.alert, flow.unnoted) == (False, 2000)
        flow.size = 1500 if flow is flows[0] else 0  # the guest has acknowledged it, which is not reported
    assert world.budget.total == 28_000
    world.budget.note(flows[14], 2000)
    assert world.budget.total == 3500 == sum(flow.held for flow in flows)
    assert world.budget.numbers() == {"link": 3500}
    assert not world.evicted
    assert [flow for flow in flows if flow.alert] == [flows[0], flows[14]], "they hold some"
    for flow in flows[:2]:  # there is plenty again
        flow.alert = False
        world.budget.note(flow, 900)
        assert (flow.alert, flow.unnoted) == (False, LEAST)


@pytest.mark.needs("interpreted", detail="derives from a trait")
def test_each_change_is_reported_until_there_is_plenty() -> None:
    world = Budget(80_000)
    one, two = world.flows("link", 2)
    world.budget.note(one, 30_000)
    for size in (29_000, 10_000):
        one.alert = False
        world.budget.note(one, size)
        assert (one.alert, one.unnoted) == (True, 0)
    world.budget.note(one, 9000)
    one.alert = False
    world.budget.note(one, 9000)
    assert (one.alert, one.unnoted) == (False, 9000)
    world.budget.note(two, 81_000)
    assert world.evicted == [two]


# ------------------------------------------------------------------------------------- connections


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget of 1 MiB, for a scaled-down flood."""
    make = TcpNat.__init__

    def init(self: TcpNat, *arguments: Any) -> None:
        make(self, *arguments)
        self.memory = MemoryBudget(MIB, self._evict_for_memory)

    monkeypatch.setattr(TcpNat, "__init__", init)


def nat(net: Net) -> TcpNat:
    return net.stack._tcp


def held(net: Net) -> int:
    """Bytes that all connections hold, counted anew."""
    conns = [flow.conn for flow in net.stack.tcp_flows.values()]
    return sum(conn.snd_buf.length + conn.rcv_pending + conn.reassembly.size for conn in conns)


@pytest.mark.needs("interpreted", detail="replaces a method")
@pytest.mark.usefixtures("small")
def test_data_that_guests_do_not_acknowledge() -> None:
    """512 connections to a source, 64 times fewer than may be open, and the guest acknowledges nothing of it."""
    net = Net(config())
    net.host.serve_tcp(WORLD, 80, lambda: Source(bytes(100_000)))
    for number in range(512):
        peer = Peer(net, sport=1024 + number)
        peer.send(SYN)
        net.run(0.005)
        found = [f for f in net.raw() if f[23] == 6 and f[36:38] == peer.sport.to_bytes(2, "big")]
        peer.ack = int.from_bytes(found[0][38:42], "big") + 1
        peer.send(ACK)
        net.run(0.005)
        net.raw()
        assert held(net) <= MIB + 512 * LEAST
    assert nat(net).memory.total <= MIB


class Deaf(Remote):
    """A program that reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.paused = True


@pytest.mark.needs("interpreted", detail="replaces a method")
@pytest.mark.parametrize("gap", [0, 1], ids=["far sides do not take", "behind a gap"])
@pytest.mark.usefixtures("small")
def test_data_of_guests(gap: int) -> None:
    """64 windows of 64 KiB are four times the budget."""
    net = Net(config())
    net.host.buffer_bytes = 1
    net.host.serve_tcp(WORLD, 80, Deaf)
    for number in range(64):
        peer = Peer(net, sport=1024 + number)
        peer.send(SYN)
        net.run(0.005)
        found = [f for f in net.raw() if f[23] == 6 and f[36:38] == peer.sport.to_bytes(2, "big")]
        peer.ack = int.from_bytes(found[0][38:42], "big") + 1
        peer.send(ACK)
        net.raw()
        peer.seq += gap
        for _ in range(40):
            peer.send(ACK, bytes(1460))
        net.run(0.005)
        net.raw()
        assert held(net) <= MIB
    assert net.stats.memory_evicted >= 64 - 25
    assert nat(net).memory.total == held(net)


def test_the_default_and_the_text() -> None:
    assert Config().memory <= MEMORY_MOST
    assert [memory("64M"), memory("1.5GiB"), memory(1 << 30)] == [64_000_000, 3 << 29, 1 << 30]
    assert [Config().rate, rate("10M"), rate("512KiB"), rate("2k")] == [None, 10_000_000, 524_288, 2000]
    with pytest.raises(ConfigError, match="memory '1M' is not a number of bytes from 16777216"):
        Config(memory="1M")
    with pytest.raises(ConfigError, match="rate 10 is not a number of bytes a second from 1000"):
        Config(rate=10)


# ---------------------------------------------------------------------------------- rates of a link


def test_new_flows_of_one_link_are_limited() -> None:
    net = Net(config(flow_rate=10))
    know6(net)
    other = net.attach()
    for number in range(20):
        net.send(udp(b"x", sport=1000 + number))
        net.send(udp(b"y", sport=1000))
    assert len(net.calls("open_udp")) == 10
    assert net.stats.drop_flow_rate == 10
    assert len([call for call in net.calls("send_udp") if call.detail == b"y"]) == 20, "an open flow goes on"
    net.send(echo(to=WORLD), udp6(b"x"), echo6(), Peer(net).frame(SYN))
    assert (net.stats.drop_flow_rate, net.calls("connect_tcp")) == (14, [])
    net.send(udp(b"x", source=bytes((10, 0, 2, 99)), mac=b"\x52\x54\0\0\0\x63"), wire=other)
    assert len(net.calls("open_udp")) == 11, "another link has its own"
    net.run(1)
    net.send(Peer(net).frame(SYN))
    assert len(net.calls("connect_tcp")) == 1


def test_without_a_limit_all_pass() -> None:
    net = Net(config())
    net.send(*(udp(b"x", sport=1000 + number) for number in range(500)))
    assert len(net.calls("open_udp")) == 500


class Limited(Net):
    """A network whose link has a bandwidth of 100,000 bytes a second."""

    def __init__(self) -> None:
        self.inner = Wire()
        link: Any = RateLink(self.inner, 100_000)
        super().__init__(config(), link=link)
        self.link = link

    def by_link(self, frames: list[bytes]) -> None:
        """Frames that the link has received from the guest."""
        self.stack.tick(self.now)
        for frame in frames:
            self.link.input(frame)
        self.stack.flush(self.now)


def test_bandwidth_from_a_guest() -> None:
    net = Limited()
    net.by_link([udp(bytes(958), destination=WORLD)] * 1000)  # a MB, in frames of 1000 bytes
    arrived = len(net.calls("send_udp"))
    assert arrived * 1000 <= 65_549
    net.run(1)
    assert 90 <= len(net.calls("send_udp")) - arrived <= 110
    net.run(60)
    assert len(net.calls("send_udp")) * 1000 <= 65_549 + 262_144
    assert net.stats.drop_link_rate == 1000 - len(net.calls("send_udp"))


def test_bandwidth_to_a_guest() -> None:
    net = Limited()
    net.host.serve_udp(WORLD, 9, lambda *_: bytes(958))
    net.send(udp(b"x"))
    for _ in range(999):
        net.send(udp(b"x"))
    net.run(0.1)
    before = sum(len(b"".join(map(bytes, frame.parts))) for frame in net.inner.sent)
    net.run(1)
    after = sum(len(b"".join(map(bytes, frame.parts))) for frame in net.inner.sent)
    assert 90_000 <= after - before <= 110_000
    assert net.stats.drop_link_rate > 0
