"""Streams that are joined on the host, without their peers."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy.interfaces import Buffer
from slirpy.nat.inside import Handover
from slirpy.nat.splice import End, Splice
from tests.support.owners import PeerNotes, StreamNotes


class UrgentNotes(StreamNotes):
    def urgent(self, data: bytes) -> None:
        self.calls.append(data.decode())


def test_urgent_bytes_are_ordinary_ones_in_their_place() -> None:
    end = End(cast("Splice", None), None)
    for data in (b"a", b"b", b""):
        end.urgent(data)
    assert bytes(end.pending) == b"ab"


def test_a_handover_passes_all_calls_but_the_first_to_the_present_owner() -> None:
    before, after = UrgentNotes(), UrgentNotes()
    handover = Handover(before)
    handover.connected()
    handover.readable()
    handover.urgent(b"!")
    handover.owner = after
    handover.writable()
    handover.urgent(b"?")
    handover.failed(104)
    assert (before.calls, after.calls) == (["readable", "!"], ["writable", "?", "failed"])
    handover.readable()
    handover.writable()
    handover.urgent(b"!")
    handover.failed(5)
    assert after.calls == ["writable", "?", "failed"]


def test_an_owner_may_have_no_use_for_urgent_data() -> None:
    owner = StreamNotes()
    Handover(owner).urgent(b"!")
    assert owner.calls == []


class Far(PeerNotes):
    """A far side with data to be read and a bounded room, which announces each once."""

    def __init__(self, data: bytes = b"", room: int = 1 << 20) -> None:
        super().__init__()
        self.data, self.room = data, room
        self.received = b""
        self.ended = False

    def send(self, buffers: Sequence[Buffer]) -> int:
        taken = b"".join(map(bytes, buffers))[: self.room]
        self.room -= len(taken)
        self.received += taken
        return len(taken)

    def recv(self, limit: int) -> bytes | None:
        data, self.data = self.data[:limit], self.data[limit:]
        return data or (b"" if self.ended else None)


class Joined:
    """Two far sides, joined."""

    def __init__(self, near: Far, far: Far) -> None:
        self.network = cast("Any", SimpleNamespace(now=1, dirty=[]))
        self.ended: list[str] = []
        place = b"", 0
        self.splice = Splice(self.network, near, place, place, b"key", lambda _, how: self.ended.append(how))
        self.splice.far.peer = far
        self.splice.far.connected()
        self.splice.far.readable()

    def turn(self, now: int = 2) -> bool:
        """Serve it if it asked for that, as a network does; report whether it did."""
        dirty, self.network.dirty = self.network.dirty, []
        assert dirty in ([], [self.splice])
        if dirty:
            self.splice.dirty = False
            self.splice.service(now)
        return bool(dirty)


@pytest.mark.parametrize("there", [b"", b"question"])
@pytest.mark.parametrize("back", [b"", b"answer"])
def test_both_directions_have_their_turn(there: bytes, back: bytes) -> None:
    """Data that are announced once must not wait for something else to happen."""
    near, far = Far(there), Far(back)
    joined = Joined(near, far)
    assert joined.turn(7)
    assert (far.received, near.received) == (there, back)
    assert joined.splice.last_activity == (7 if there or back else 1)
    assert not joined.turn()


def test_room_in_one_direction_is_used_while_data_come_in_the_other() -> None:
    near, far = Far(room=3), Far(b"answer")
    joined = Joined(near, far)
    joined.turn()
    assert near.received == b"ans"
    near.data, near.room = b"more", 100
    joined.splice.near.readable()
    joined.splice.near.writable()
    joined.turn()
    assert (near.received, far.received) == (b"answer", b"more")
    assert not joined.turn()


def test_each_end_is_passed_on_and_the_second_one_closes_both() -> None:
    near, far = Far(b"question"), Far()
    joined = Joined(near, far)
    near.ended = True
    joined.turn()
    assert (far.received, far.calls, near.calls, joined.ended) == (b"question", ["shutdown"], [], [])
    far.data, far.ended = b"answer", True
    joined.splice.far.readable()
    joined.turn()
    assert near.received == b"answer"
    assert (far.calls, near.calls, joined.ended) == (["shutdown", "close"], ["shutdown", "close"], ["CLOSED"])


@pytest.mark.parametrize("failed", ["near", "far"])
def test_a_failure_of_one_end_resets_the_other(failed: str) -> None:
    near, far = Far(), Far()
    joined = Joined(near, far)
    getattr(joined.splice, failed).failed(errno.ECONNRESET)
    joined.turn()
    gone, other = (near, far) if failed == "near" else (far, near)
    assert (gone.calls, other.calls, joined.ended) == ([], ["abort"], ["RESET"])
