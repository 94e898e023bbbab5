"""The far end's side of the StreamPeer seam, for each implementation: hosts, programs, handlers, services.

Two owners use them. One reads until there is nothing, after each word that there is something; the other stops at a
short piece where the far end says that it calls again. Both write what was refused once there is room, and neither
does anything unasked. All data and the end arrive at either.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slirpy.interfaces import StreamPeer
from tests.conformance.stream_places import PLACES, Place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = PLACES[request.param](tmp_path)
    yield place
    place.close()


class Owner:
    """Owner that records its calls, and advances when it is stepped."""

    def __init__(self, limit: int = 65536, thrifty: bool = True) -> None:
        self.calls: list[str] = []
        self.received = bytearray()
        self.ended = False
        self.error = 0
        self.limit = limit
        self.unsent = memoryview(b"")
        self.shut = False
        self.left = -1
        """Number of calls when it released the stream; -1: not yet."""
        self._thrifty = thrifty
        self._readable = self._blocked = False
        self._shutting = False

    def connected(self) -> None:
        self.calls.append("connected")

    def readable(self) -> None:
        self.calls.append("readable")
        self._readable = True

    def writable(self) -> None:
        self.calls.append("writable")
        self._blocked = False

    def failed(self, error: int) -> None:
        self.calls.append("failed")
        self.error = error

    def write(self, data: bytes, *, end: bool = True) -> None:
        self.unsent = memoryview(data)
        self._shutting = end

    def move(self, stream: StreamPeer) -> None:
        """One turn, as the pumps of a flow take it."""
        if "connected" not in self.calls:
            return
        while self.unsent and not self._blocked:
            self._blocked = True
            taken = stream.send([self.unsent])
            assert 0 <= taken <= len(self.unsent)
            self.unsent = self.unsent[taken:]
            if not self.unsent:
                self._blocked = False
        if self._shutting and not self.unsent and not self.shut:
            self.shut = True
            stream.shutdown()
        while self._readable and not self.ended and self.left < 0:
            self._readable = False
            data = stream.recv(self.limit)
            if data is None:
                return
            assert len(data) <= self.limit
            self.received += data
            self.ended = not data
            may_stop = self._thrifty and getattr(stream, "level_triggered", False)
            self._readable = self._readable or not (may_stop and len(data) < self.limit)


def transfer(place: Place, owner: Owner, until: Callable[[], object], what: str) -> StreamPeer:
    stream = place.open(owner)

    def moved() -> bool:
        owner.move(stream)
        return bool(until())

    place.until(moved, what)
    return stream


@pytest.mark.parametrize("thrifty", [True, False])
@pytest.mark.parametrize(
    ("size", "limit"), [(1, 65536), (300, 1), (3000, 7), (20_000, 65536), (700_000, 65160)]
)
def test_all_arrives_and_then_the_end(place: Place, size: int, limit: int, thrifty: bool) -> None:
    request = place.request(size)
    owner = Owner(limit, thrifty)
    owner.write(request)
    stream = transfer(place, owner, lambda: owner.ended, "the end")
    assert place.comparable(bytes(owner.received)) == place.answer(request)
    assert owner.calls[0] == "connected"
    assert owner.calls.count("connected") == 1
    assert not owner.error
    told = len(owner.calls)
    assert stream.recv(10) == b""
    for _ in range(5):
        place.step()
    assert "readable" not in owner.calls[told:], "the end is reported once"
    stream.close()
    stream.close()


def test_one_byte_at_a_time(place: Place) -> None:
    request = place.request(60)
    owner = Owner()
    stream = place.open(owner)
    place.until(lambda: "connected" in owner.calls, "connected")
    for number in range(len(request)):
        owner.write(request[number : number + 1], end=number == len(request) - 1)

        def moved() -> bool:
            owner.move(stream)
            return not owner.unsent

        place.until(moved, f"byte {number}")

    def ended() -> bool:
        owner.move(stream)
        return owner.ended

    place.until(ended, "the end")
    assert place.comparable(bytes(owner.received)) == place.answer(request)
    stream.close()


def test_calls_before_it_is_connected_wait(place: Place) -> None:
    request = place.request(300)
    owner = Owner()
    stream = place.open(owner)
    if "connected" in owner.calls:
        return
    assert stream.recv(10) is None
    assert stream.send([request]) == 0
    place.until(lambda: "writable" in owner.calls, "room once it is connected")
    assert owner.calls[:2] == ["connected", "writable"]
    owner.write(request)

    def ended() -> bool:
        owner.move(stream)
        return owner.ended

    place.until(ended, "the end")
    assert place.comparable(bytes(owner.received)) == place.answer(request)
    stream.close()


def test_an_end_before_it_is_connected_waits(place: Place) -> None:
    owner = Owner()
    stream = place.open(owner)
    stream.shutdown()

    def ended() -> bool:
        owner.move(stream)
        return owner.ended

    place.until(ended, "the end")
    assert (bytes(owner.received), owner.error) == (b"", 0)
    stream.close()


def test_a_busy_owner_is_notified_once(place: Place) -> None:
    request = place.request(5000)
    owner = Owner()
    owner.write(request)
    stream = place.open(owner)

    def sent() -> bool:
        owner.move(stream)
        return owner.shut

    owner.limit = 1  # and what it reads while it sends are single bytes

    place.until(sent, "all is sent")
    place.until(lambda: "readable" in owner.calls, "an answer")
    told = owner.calls.count("readable")
    for _ in range(20):
        place.step()
    assert owner.calls.count("readable") <= told + 1
    owner.limit = 65536

    def ended() -> bool:
        owner.move(stream)
        return owner.ended

    place.until(ended, "the end")
    assert place.comparable(bytes(owner.received)) == place.answer(request)
    stream.close()


class Hasty(Owner):
    """Releases its stream at a chosen moment."""

    def __init__(self, way: str, when: str) -> None:
        super().__init__(limit=1)
        self.way, self.when = way, when
        self.stream: StreamPeer | None = None

    def connected(self) -> None:
        super().connected()
        self.leave("inside connected")

    def readable(self) -> None:
        super().readable()
        self.leave("inside readable")

    def leave(self, where: str) -> None:
        if where == self.when and self.stream is not None and self.left < 0:
            getattr(self.stream, self.way)()
            self.left = len(self.calls)


@pytest.mark.parametrize("way", ["abort", "close"])
@pytest.mark.parametrize("when", ["at once", "inside connected", "inside readable", "after a piece"])
def test_silence_once_it_is_released(place: Place, way: str, when: str) -> None:
    owner = Hasty(way, when)
    owner.write(place.request(3000))
    owner.stream = stream = place.open(owner)
    owner.leave("at once")
    if "connected" in owner.calls:
        owner.leave("inside connected")  # it was, before there was a stream to release

    def moved() -> bool:
        if owner.left < 0:
            owner.move(stream)
        if owner.received:
            owner.leave("after a piece")
        return owner.left >= 0

    place.until(moved, when)
    for _ in range(20):
        place.step()
    assert owner.calls[owner.left :] == []
    assert stream.send([b"x"]) in (0, 1)  # what is taken now is thrown away
    assert stream.recv(10) in (None, b"")
    stream.shutdown()
    stream.abort()
    stream.close()
    assert owner.calls[owner.left :] == []


@pytest.mark.parametrize("way", ["abort", "close"])
def test_an_owner_is_freed_at_once(place: Place, way: str) -> None:
    owner = Owner()
    owner.write(place.request(300), end=False)
    stream = transfer(place, owner, lambda: "readable" in owner.calls, "an answer")
    freed = weakref.ref(owner)
    gc.disable()
    try:
        getattr(stream, way)()
        owner = Owner()  # that was the last reference to it
        assert freed() is None
    finally:
        gc.enable()
