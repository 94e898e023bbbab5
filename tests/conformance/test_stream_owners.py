"""The owner's side of the StreamPeer seam: whatever order a far end chooses within the contract, nothing is lost.

The far ends here are scripts. They give in small pieces and announce that once, announce the end or room from within
the call at hand, and fail or are ended in the middle of one.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from slirpy import Config
from slirpy.config.guestfwd import GuestForward, StreamFactory
from slirpy.interfaces import Buffer, FlowRequest, StreamOwner
from slirpy.testing import GuestStream, VirtualNetwork
from tests.support.owners import PeerNotes

SERVER, PORT = "10.0.2.100", 7
SECOND = 1_000_000_000


class Scripted(PeerNotes):
    """A far end whose data are pieces in a list; ``b""`` is the end."""

    def __init__(self, owner: StreamOwner, *pieces: bytes) -> None:
        super().__init__()
        self.owner = owner
        self.pieces = list(pieces)
        self.taken = bytearray()
        owner.connected()
        if pieces:
            owner.readable()

    def send(self, buffers: Sequence[Buffer]) -> int:
        self.calls.append("send")
        data = b"".join(buffers)
        self.taken += data
        return len(data)

    def recv(self, limit: int) -> bytes | None:
        self.calls.append("recv")
        if not self.pieces:
            return None
        piece = self.pieces.pop(0)
        if len(piece) > limit:
            self.pieces.insert(0, piece[limit:])
        return piece[:limit]


class Scene:
    """A guest's connection to a scripted far end."""

    def __init__(self, make: Callable[[StreamOwner], Scripted]) -> None:
        self.peers: list[Scripted] = []

        def open_peer(owner: StreamOwner, flow: FlowRequest) -> Scripted:
            self.peers.append(make(owner))
            return self.peers[-1]

        self.net = VirtualNetwork(Config(guestfwd=[GuestForward(SERVER, PORT, StreamFactory(open_peer))]))
        self.net.boot()
        self.stream: GuestStream = self.net.guest.connect(SERVER, PORT)

    @property
    def peer(self) -> Scripted:
        return self.peers[0]

    def until(self, condition: Callable[[], object]) -> None:
        self.net.run_until(condition)

    def flow(self) -> Any:
        """The connection inside the stack."""
        (flow,) = self.net.stack.tcp_flows.values()
        return flow


# ------------------------------------------------------------------------------------- from the far end


@pytest.mark.parametrize("size", [1, 7, 1000, 65536])
@pytest.mark.parametrize("count", [1, 2, 3, 16, 17, 100])
def test_pieces_that_are_announced_once(size: int, count: int) -> None:
    pieces = [bytes([number]) * size for number in range(count)]
    scene = Scene(lambda owner: Scripted(owner, *pieces))
    scene.until(lambda: len(scene.stream.received) == size * count)
    assert scene.stream.received == b"".join(pieces)
    assert not scene.stream.eof
    scene.peer.pieces.append(b"later")  # and again, once the owner has seen that there was nothing
    scene.peer.owner.readable()
    scene.until(lambda: scene.stream.received.endswith(b"later"))


@pytest.mark.parametrize("count", [15, 16, 17, 100])
def test_pieces_that_are_announced_once_wait_for_nothing(count: int) -> None:
    """Not even for the guest's acknowledgement of the first ones; and others have their turns in between."""
    scene = Scene(Scripted)
    scene.until(lambda: scene.stream.established)
    scene.net.run(SECOND)
    scene.peer.pieces += [b"piece"] * count
    scene.peer.owner.readable()
    before = scene.peer.calls.count("recv")
    scene.net.stack.flush(scene.net.now)
    assert scene.peer.calls.count("recv") - before == 16
    scene.net.run(0)
    assert scene.peer.pieces == []
    scene.until(lambda: scene.stream.received == b"piece" * count)


@pytest.mark.parametrize("count", [0, 1, 2, 17])
def test_the_end_behind_pieces_that_are_announced_once(count: int) -> None:
    scene = Scene(lambda owner: Scripted(owner, *[b"piece"] * count, b""))
    scene.until(lambda: scene.stream.eof)
    assert scene.stream.received == b"piece" * count
    scene.stream.write(b"the other direction is open")
    scene.until(lambda: scene.peer.taken.endswith(b"open"))


@pytest.mark.parametrize("last", [b"last", b""])
def test_data_announced_inside_recv_is_read(last: bytes) -> None:
    """While the first piece is being handed out the second arrives; nothing is said afterwards."""

    class Peer(Scripted):
        level_triggered = True

        def recv(self, limit: int) -> bytes | None:
            data = super().recv(limit)
            if data == b"first":
                self.pieces.append(last)
                self.owner.readable()
            return data

    scene = Scene(lambda owner: Peer(owner, b"first"))
    scene.until(lambda: scene.stream.received.endswith(b"last") or scene.stream.eof)
    assert scene.stream.received == b"first" + last


def test_data_that_is_announced_inside_a_recv_that_found_nothing() -> None:
    class Peer(Scripted):
        def recv(self, limit: int) -> bytes | None:
            data = super().recv(limit)
            if self.calls.count("recv") == 1:
                self.pieces += [b"just after", b""]
                self.owner.readable()
            return data

    def make(owner: StreamOwner) -> Scripted:
        peer = Peer(owner)
        owner.readable()
        return peer

    scene = Scene(make)
    scene.until(lambda: scene.stream.eof)
    assert scene.stream.received == b"just after"


def test_data_and_the_end_that_are_announced_inside_shutdown() -> None:
    class Peer(Scripted):
        def shutdown(self) -> None:
            super().shutdown()
            self.pieces += [b"good", b"bye", b""]
            self.owner.readable()

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    scene.stream.shutdown()
    scene.until(lambda: scene.stream.eof)
    assert scene.stream.received == b"goodbye"
    scene.until(lambda: "close" in scene.peer.calls)
    assert "abort" not in scene.peer.calls


def test_an_answer_that_is_announced_inside_send() -> None:
    class Peer(Scripted):
        def send(self, buffers: Sequence[Buffer]) -> int:
            count = super().send(buffers)
            self.pieces += [b"one ", b"two ", b"three"]
            self.owner.readable()
            return count

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    scene.stream.write(b"question")
    scene.until(lambda: scene.stream.received == b"one two three")


def test_a_level_triggered_far_end_is_not_read_again_after_a_short_piece() -> None:
    class Level(Scripted):
        level_triggered = True

    scene = Scene(lambda owner: Level(owner, b"short"))
    scene.until(lambda: scene.stream.received == b"short")
    scene.net.run(SECOND)
    assert scene.peer.calls.count("recv") == 1
    scene.peer.pieces.append(b"")
    scene.peer.owner.readable()
    scene.until(lambda: scene.stream.eof)


def test_a_level_triggered_far_end_is_read_again_after_a_full_piece() -> None:
    class Level(Scripted):
        level_triggered = True

    scene = Scene(lambda owner: Level(owner, bytes(200_000)))
    scene.until(lambda: len(scene.stream.received) == 200_000)


def test_a_far_end_that_has_nothing_is_asked_once() -> None:
    scene = Scene(Scripted)
    scene.until(lambda: scene.stream.established)
    scene.peer.owner.readable()
    scene.net.run(SECOND)
    assert scene.peer.calls == ["recv"]


def test_a_far_end_that_has_ended_is_not_read() -> None:
    scene = Scene(lambda owner: Scripted(owner, b""))
    scene.until(lambda: scene.stream.eof)
    scene.peer.owner.readable()
    scene.stream.write(b"x")
    scene.net.run(SECOND)
    assert scene.peer.calls.count("recv") == 1


def test_a_window_that_is_shut_in_the_midst_of_pieces() -> None:
    pieces = [bytes([number % 251]) * 3000 for number in range(400)]
    scene = Scene(lambda owner: Scripted(owner, *pieces, b""))
    scene.until(lambda: scene.stream.established)
    scene.until(lambda: scene.stream.eof)
    assert scene.stream.received == b"".join(pieces)


# --------------------------------------------------------------------------------------- to the far end


@pytest.mark.parametrize("room", [1, 3, 100])
def test_room_that_is_announced_inside_send(room: int) -> None:
    class Peer(Scripted):
        def send(self, buffers: Sequence[Buffer]) -> int:
            data = b"".join(buffers)
            taken = min(len(data), room)
            self.taken += data[:taken]
            if taken < len(data):
                self.owner.writable()
            return taken

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    data = bytes(range(256)) * 4
    scene.stream.write(data)
    scene.stream.shutdown()
    scene.until(lambda: "shutdown" in scene.peer.calls)
    assert scene.peer.taken == data


def test_room_that_is_announced_once_inside_a_send_that_took_nothing() -> None:
    class Peer(Scripted):
        def send(self, buffers: Sequence[Buffer]) -> int:
            if "refused" not in self.calls:
                self.calls.append("refused")
                self.owner.writable()
                return 0
            return super().send(buffers)

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    scene.stream.write(b"all of it")
    scene.until(lambda: scene.peer.taken == b"all of it")


def test_a_short_send_is_not_repeated_before_there_is_room() -> None:
    class Peer(Scripted):
        room = 3

        def send(self, buffers: Sequence[Buffer]) -> int:
            data = b"".join(buffers)[: self.room]
            self.room -= len(data)
            return super().send([data])

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    scene.stream.write(b"abcdef")
    scene.net.run(SECOND)
    scene.stream.write(b"ghi")
    scene.net.run(SECOND)
    assert scene.peer.taken == b"abc"
    assert scene.peer.calls.count("send") == 1
    Peer.room = 100
    scene.peer.room = 100  # type: ignore[attr-defined] # of the class above
    scene.peer.owner.writable()
    scene.until(lambda: scene.peer.taken == b"abcdefghi")


@pytest.mark.parametrize("short", ["before", "at the byte"])
def test_room_for_urgent_data_that_is_announced_inside_the_call(short: str) -> None:
    class Peer(Scripted):
        urgent = bytearray()

        def send(self, buffers: Sequence[Buffer]) -> int:
            if short == "before" and "refused" not in self.calls:
                self.calls.append("refused")
                self.owner.writable()
                return 0
            return super().send(buffers)

        def send_urgent(self, data: bytes) -> int:
            if short == "at the byte" and "refused" not in self.calls:
                self.calls.append("refused")
                self.owner.writable()
                return 0
            self.urgent += data
            return super().send([data])

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    scene.stream.conn.write_urgent(b"ab!")
    scene.stream.write(b"after")
    scene.until(lambda: scene.peer.taken == b"ab!after")
    assert scene.peer.urgent == b"!"  # type: ignore[attr-defined] # of the class above


# ------------------------------------------------------------------------------- failures in mid-call


@pytest.mark.parametrize("call", ["send", "recv", "recv with data", "shutdown"])
def test_a_failure_that_is_announced_inside_a_call(call: str) -> None:
    class Peer(Scripted):
        def fail(self, where: str) -> bool:
            if where == call:
                self.owner.failed(errno.ECONNRESET)
            return where == call

        def send(self, buffers: Sequence[Buffer]) -> int:
            return 0 if self.fail("send") else super().send(buffers)

        def recv(self, limit: int) -> bytes | None:
            if self.fail("recv"):
                return None
            self.fail("recv with data")
            return super().recv(limit)

        def shutdown(self) -> None:
            self.fail("shutdown")

    scene = Scene(lambda owner: Peer(owner, b"data"))
    scene.until(lambda: scene.stream.established or scene.stream.error)
    if not scene.stream.error:
        scene.stream.write(b"x")
        scene.stream.shutdown()
    scene.until(lambda: scene.stream.error)
    assert scene.stream.error == errno.ECONNRESET
    assert scene.peer.calls[-1] == "close"
    assert not scene.net.stack.tcp_flows


@pytest.mark.parametrize("call", ["send", "recv", "send_urgent", "send before the urgent byte"])
def test_a_connection_that_is_ended_inside_a_call(call: str) -> None:
    """Room is made for others at any moment: the flow is gone when the call of its far end returns."""

    class Peer(Scripted):
        def evict(self, where: str) -> None:
            if where in call and "abort" not in self.calls:
                flow = scene.flow()
                flow._nat.evict(flow)

        def send(self, buffers: Sequence[Buffer]) -> int:
            if call != "send_urgent":
                self.evict("send")
            return super().send(buffers)

        def recv(self, limit: int) -> bytes | None:
            self.evict("recv")
            return super().recv(limit)

        def send_urgent(self, data: bytes) -> int:
            self.evict("send_urgent")
            return super().send([data])

    scene = Scene(Peer)
    scene.until(lambda: scene.stream.established)
    if call == "recv":
        scene.peer.pieces += [b"one", b"two", b""]
        scene.peer.owner.readable()
    elif call == "send":
        scene.stream.write(b"data")
    else:
        scene.stream.conn.write_urgent(b"ab!")
        scene.stream.write(b"after")
    scene.until(lambda: scene.stream.error)
    scene.net.run(SECOND)
    assert scene.peer.calls[-1] != "recv" or scene.peer.calls.count("recv") == 1
    assert "abort" in scene.peer.calls
    assert not scene.net.stack.tcp_flows
    assert scene.stream.received == b""
