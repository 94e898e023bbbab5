"""Connections to guestfwd that wait for their turn: several guests."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from slirpy.fair import RoundRobin
from slirpy.host.opensockets import OpenSockets
from slirpy.targets import localstream
from slirpy.targets.localstream import LocalStream, WorkerPool
from tests.support.fake_network import FakeNetwork
from tests.support.owners import StreamNotes

A, B, C = (bytes((10, 0, 2, n)) for n in (20, 21, 22))


class Idle:
    """A worker that never starts; its stream is its owner's."""

    tcp = failed = broken = False

    def start(self, sock: socket.socket) -> None:
        raise AssertionError

    def hang_up(self, reset: bool, now: int) -> None: ...

    def ended(self, now: int) -> bool:
        return True

    def kill(self, until: float) -> None: ...

    def abandon(self) -> None: ...


class World:
    """WorkerPool of which none runs until there is room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(localstream, "WAITING_MAX", 6)
        monkeypatch.setattr(LocalStream, "begin", self.begin_of)
        self.network = FakeNetwork()
        self.pool = WorkerPool(self.network, 0)
        self.names: dict[int, str] = {}
        self.owners: dict[str, StreamNotes] = {}
        self.begun: list[str] = []
        self.streams: dict[str, LocalStream] = {}

    @property
    def begin_of(self) -> Any:
        def begin(stream: LocalStream) -> bool:
            self.begun.append(self.names[id(stream)])
            return False

        return begin

    def open(self, name: str, guest: bytes) -> None:
        owner = self.owners[name] = StreamNotes()
        poller: Any = None
        stream = self.streams[name] = LocalStream(OpenSockets(poller), owner, self.pool, Idle(), guest)
        self.names[id(stream)] = name

    def refused(self) -> list[str]:
        return [name for name, owner in self.owners.items() if owner.errors == [errno.ECONNREFUSED]]

    def run(self) -> list[str]:
        self.pool._limit = 1
        self.pool.collect()
        return self.begun


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_guests_have_their_turns_one_after_the_other(world: World) -> None:
    for n in range(4):
        world.open(f"a{n}", A)
    world.open("b0", B)
    world.open("c0", C)
    assert world.run() == ["a0", "b0", "c0", "a1", "a2", "a3"]
    assert len(world.pool._waiting) == 0


def test_at_the_bound_the_newest_of_the_largest_user_is_evicted(world: World) -> None:
    for n in range(7):
        world.open(f"a{n}", A)
    assert world.refused() == ["a6"]
    for n in range(4):
        world.open(f"b{n}", B)
    assert world.refused() == ["a3", "a4", "a5", "a6", "b3"]
    world.open("c0", C)
    assert len(world.refused()) == 6
    assert world.network.stats.guestfwd_refused == 6
    world.streams["b0"].abort()
    world.open("c1", C)
    assert len(world.refused()) == 6
    assert [name[0] for name in world.run()].count("c") == 2


def test_made_up_addresses_evict_no_other(world: World) -> None:
    for n in range(6):
        world.open(f"x{n}", bytes((10, 0, 2, 100 + n)))
    world.open("late", A)
    assert world.refused() == ["late"]


def test_turns_drop_guests_without_entries() -> None:
    turns: RoundRobin[str] = RoundRobin()
    turns.add("a", A)
    assert turns.remove("a")
    assert not turns.remove("a")
    turns.add("b", B)
    assert turns.next() == "b"
    assert (len(turns), len(turns._queues), turns.to_evict(A)) == (0, 0, None)
