"""Connections by name: every call of the owner and of the far end, before, while and after an address answers."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.interfaces import NameAnswer
from slirpy.services.namedstream import NamedStream
from tests.support.owners import PeerNotes

FIRST, SECOND = bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))


class Far(PeerNotes):
    """A far end that notes the calls of its stream."""

    level_triggered = True

    def __init__(self, log: list[Any], owner: Any) -> None:
        super().__init__(log)
        self.log, self.owner = log, owner

    def send(self, buffers: Any) -> int:
        self.log.append(b"".join(buffers))
        return 1

    def recv(self, limit: int) -> bytes:
        return bytes(limit)


class World:
    """A host network that does what a script says about each connection, and the owner of the stream."""

    def __init__(self, *scripts: Callable[[Any], None], accepts: bool = True) -> None:
        self.scripts = list(scripts)
        self.accepts = accepts
        self.log: list[Any] = []
        self.asked: list[tuple[bytes, int]] = []
        self.far: list[Far] = []
        self.answer: Callable[[NameAnswer], None] | None = None
        self.stream = NamedStream(self, "web.test", 80, self)  # type: ignore[arg-type] # as much as it uses

    def lookup(self, name: str, done: Callable[[NameAnswer], None]) -> bool:
        assert name == "web.test"
        self.answer = done
        return self.accepts

    def found(self, *addresses: bytes) -> None:
        assert self.answer is not None
        self.answer(NameAnswer(addresses, True))

    def connect_tcp(self, address: bytes, port: int, owner: Any) -> Far:
        self.asked.append((address, port))
        self.far.append(Far(self.log, owner))
        if self.scripts:
            self.scripts.pop(0)(owner)
        return self.far[-1]

    def connected(self) -> None:
        self.log.append("connected")

    def readable(self) -> None:
        self.log.append("readable")

    def writable(self) -> None:
        self.log.append("writable")

    def failed(self, error: int) -> None:
        self.log.append(errno.errorcode[error])


def refuse(owner: Any) -> None:
    owner.failed(errno.ECONNREFUSED)


def accept(owner: Any) -> None:
    owner.connected()


def wait(owner: Any) -> None: ...


def test_no_lookup() -> None:
    assert World(accepts=False).log == ["EAGAIN"]


def test_a_name_without_addresses() -> None:
    world = World()
    world.found()
    assert (world.log, world.asked) == (["EHOSTUNREACH"], [])


def test_addresses_that_refuse_at_once() -> None:
    world = World(refuse, refuse)
    world.found(FIRST, SECOND)
    assert (world.log, world.asked) == (["ECONNREFUSED"], [(FIRST, 80), (SECOND, 80)])


def test_addresses_that_refuse_later() -> None:
    world = World()
    world.found(FIRST, SECOND)
    world.far[0].owner.failed(errno.ECONNREFUSED)
    assert world.log == []
    world.far[1].owner.failed(errno.ETIMEDOUT)
    assert (world.log, world.asked) == (["ETIMEDOUT"], [(FIRST, 80), (SECOND, 80)])


def test_the_second_address_accepts_at_once() -> None:
    world = World(refuse, accept)
    world.found(FIRST, SECOND)
    assert world.log == ["connected"]
    assert world.stream.send([b"a", b"b"]) == 1
    assert world.stream.recv(3) == bytes(3)
    assert world.log == ["connected", b"ab"]


@pytest.mark.parametrize("at_once", [False, True])
def test_early_calls_are_made_again(at_once: bool) -> None:
    """A send that was refused is announced once, and the end is passed on, whenever the address answers."""
    world = World(accept if at_once else wait)
    before = world.stream.level_triggered
    assert (world.stream.send([b"early"]), world.stream.recv(5)) == (0, None)
    world.stream.shutdown()
    world.found(FIRST)
    if not at_once:
        assert world.stream.send([b"early"]) == 0
        world.far[0].owner.connected()
    assert world.log == ["connected", "shutdown", "writable"]
    assert (before, world.stream.level_triggered) == (False, True)
    world.far[0].owner.connected()
    assert world.log.count("writable") == 1


def test_without_early_calls_nothing_is_made_again() -> None:
    world = World()
    world.found(FIRST)
    world.far[0].owner.connected()
    assert world.log == ["connected"]
    world.stream.shutdown()
    assert world.log == ["connected", "shutdown"]


def test_an_end_while_an_address_is_tried_waits() -> None:
    world = World()
    world.found(FIRST)
    world.stream.shutdown()
    assert world.log == []
    world.far[0].owner.connected()
    assert world.log == ["connected", "shutdown"]


def test_a_connection_that_fails_after_it_was_made() -> None:
    """The other addresses are not tried, and nobody hears of it twice."""
    world = World(accept)
    world.found(FIRST, SECOND)
    owner = world.far[0].owner
    owner.readable()
    owner.writable()
    owner.failed(errno.ECONNRESET)
    owner.failed(errno.ECONNRESET)
    owner.readable()
    owner.writable()
    owner.connected()
    assert world.log == ["connected", "readable", "writable", "ECONNRESET"]
    assert world.asked == [(FIRST, 80)]
    assert (world.stream.send([b"late"]), world.stream.recv(1)) == (0, None)


@pytest.mark.parametrize("end", ["abort", "close"])
@pytest.mark.parametrize("when", ["before", "while", "after"])
def test_a_guest_that_goes(end: str, when: str) -> None:
    world = World(accept if when == "after" else wait)
    if when != "before":
        world.found(FIRST, SECOND)
    getattr(world.stream, end)()
    getattr(world.stream, end)()
    if when == "before":
        world.found(FIRST, SECOND)
    for far in world.far:
        far.owner.failed(errno.ECONNREFUSED)
        far.owner.readable()
        far.owner.writable()
    expected = {"before": [], "while": [end], "after": ["connected", end]}
    assert world.log == expected[when]
    assert len(world.asked) == (when != "before")
