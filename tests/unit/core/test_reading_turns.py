"""Turns of connections that read much from their far sides: bounded in each flush, equal in the long run."""

from __future__ import annotations

from random import Random

import pytest

from slirpy.core.network import FLUSH_BYTES, Network
from slirpy.stats import Stats
from tests.support.harness import config

MIB = 1 << 20


class Source:
    """A connection whose far side always has a MiB."""

    def __init__(self, network: Network, size: int = MIB) -> None:
        self.network, self.size = network, size
        self.dirty = False
        self.bytes = 0

    def mark(self) -> None:
        if not self.dirty:
            self.dirty = True
            self.network.dirty.append(self)

    def service(self, now: int) -> None:
        if self.network.turns.admits(self):
            self.bytes += self.size
            self.network.stats.bytes_out += self.size
            self.mark()


class World:
    """A network whose flushes are counted."""

    def __init__(self, sizes: list[int], *, clock: int) -> None:
        self.network = Network(config(), Random(1), Stats())
        self.clock = clock
        self.sources = [Source(self.network, size) for size in sizes]
        for source in self.sources:
            source.mark()

    def flush(self) -> int:
        """Flush as the stack does; returns the bytes read."""
        network = self.network
        network.now += self.clock
        before = network.stats.bytes_out
        dirty, network.dirty = network.dirty, []
        for marked in dirty:
            marked.dirty = False
            marked.service(network.now)
        return network.stats.bytes_out - before


@pytest.mark.parametrize("clock", [1000, 0], ids=["time passes", "the clock stands still"])
def test_all_get_turns_and_each_flush_is_bounded(clock: int) -> None:
    world = World([MIB] * 16, clock=clock)
    for _ in range(160):
        assert 0 < world.flush() <= 2 * MIB
    amounts = [source.bytes for source in world.sources]
    assert max(amounts) - min(amounts) <= 2 * MIB, "nobody goes first again and again"


def test_one_alone_never_waits() -> None:
    world = World([MIB], clock=1000)
    assert [world.flush() for _ in range(5)] == [MIB] * 5


def test_connections_with_little_all_have_their_turn_in_one_flush() -> None:
    world = World([1000] * 64, clock=1000)
    assert [world.flush() for _ in range(3)] == [64_000] * 3


def test_connections_with_little_do_not_wait_long_beside_those_with_much() -> None:
    world = World([MIB] * 4 + [1000] * 4, clock=1000)
    for _ in range(5):
        world.flush()
    assert all(source.bytes >= 1000 for source in world.sources)


def test_a_waiting_connection_is_serviced_first_at_the_next_flush() -> None:
    world = World([FLUSH_BYTES + 1, 1000], clock=1000)
    world.flush()
    first, second = world.sources
    assert (first.bytes, second.bytes) == (FLUSH_BYTES + 1, 0)
    second.mark()  # a frame of the guest's, for example
    world.flush()
    assert second.bytes == 1000
    assert first.bytes == 2 * (FLUSH_BYTES + 1)
