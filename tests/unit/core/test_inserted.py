"""Links inserted around a port's link while it runs: the way of frames with them, and as it was after them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from types import SimpleNamespace

import pytest

from slirpy.core.inserted import inserted_at
from slirpy.core.port import LinkPort
from slirpy.core.switchnet import SwitchNetwork
from slirpy.interfaces import Buffer, Frame, LinkFeatures, LinkSink, Poller
from slirpy.links import FaultLink, Faults, Middleware
from slirpy.units import MS
from tests.support.harness import NoPoller
from tests.support.slots import slots

FRAME = b"\xff" * 6 + b"\x52\x54\0\0\0\1" + bytes(60)
ALL = LinkFeatures(mtu=1500, checksum_offload=True, segmentation_offload=True, udp_segmentation_offload=True)


class Card:
    """A link with room for some frames."""

    features = ALL

    def __init__(self) -> None:
        self.sink: LinkSink | None = None
        self.sent: list[bytes] = []
        self.room = 100
        self.closed = False

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.sink = sink

    def send(self, frames: Sequence[Frame]) -> int:
        taken = frames[: self.room]
        self.room -= len(taken)
        self.sent += [b"".join(frame.parts) for frame in taken]
        return len(taken)

    def close(self) -> None:
        self.closed = True


class Marking(Middleware):
    """Adds its letter to frames, so that their way can be read."""

    letter = b"?"
    closed = False

    def send(self, frames: Sequence[Frame]) -> int:
        return super().send([Frame((*frame.parts, self.letter)) for frame in frames])

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        return super().input(bytes(frame) + self.letter, checksummed, gso_size)

    def close(self) -> None:
        super().close()
        self.closed = True


class A(Marking):
    letter = b"a"


class B(Marking):
    letter = b"b"


class Bench:
    """A switch with two guests; the first one's link gets others around it."""

    def __init__(self, hub: bool = False) -> None:
        self.network = SwitchNetwork(hub=hub)
        self.poller = NoPoller()
        self.card, self.other = Card(), Card()
        self.port = self.network.attach(self.card, self.poller)
        self.network.attach(self.other, self.poller)

    def up(self) -> bytes:
        """Send a frame from the first guest; returns the letters that the second one gets behind it."""
        assert self.card.sink is not None
        self.other.sent.clear()
        # Another source each time, since the switch forgets frames that come again.
        self.card.sink.input(FRAME + bytes([len(self.card.sent)]) + self.network.now.to_bytes(4, "big"))
        self.flush()
        return self.other.sent[0][len(FRAME) + 5 :] if self.other.sent else b"none"

    def down(self) -> bytes:
        """Send a frame to the first guest; returns the letters that it gets behind it."""
        before = len(self.card.sent)
        self.port.push(Frame((FRAME,)), len(FRAME))
        self.flush()
        return self.card.sent[before][len(FRAME) :] if len(self.card.sent) > before else b"none"

    def flush(self, after: int = MS) -> None:
        self.network.flush(self.network.now + after)


def test_frames_pass_all_of_them_in_order() -> None:
    bench = Bench()
    assert (bench.up(), bench.down()) == (b"", b"")
    a = inserted_at(bench.port).add(A, bench.poller)
    b = inserted_at(bench.port).add(B, bench.poller)
    assert (bench.up(), bench.down()) == (b"ab", b"ba")
    inserted_at(bench.port).remove(a)
    assert [link.closed for link in (a, b)] == [True, False]
    assert (bench.up(), bench.down()) == (b"b", b"b")
    a = inserted_at(bench.port).add(A, bench.poller, innermost=True)
    assert (bench.up(), bench.down()) == (b"ab", b"ba")
    inserted_at(bench.port).remove(b)
    inserted_at(bench.port).remove(b)
    assert (bench.up(), bench.down()) == (b"a", b"a")


class Terse(Middleware):
    """Passes frames on without what is known of them."""

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool | None:
        assert self._sink is not None
        return self._sink.input(frame)


@pytest.mark.parametrize(("kind", "known"), [(A, (True, 1000)), (Terse, (False, 0))])
def test_offloads_of_a_frame_pass_inserted_links(
    kind: type[Middleware], known: tuple[bool, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    inserted_at(bench.port).add(kind, bench.poller)
    seen: list[tuple[bool, int]] = []

    def forward(port: LinkPort, view: memoryview, checksummed: bool, now: int, gso_size: int = 0) -> bool:
        seen.append((checksummed, gso_size))
        return False

    monkeypatch.setattr(bench.network, "switch", SimpleNamespace(forward=forward))
    assert bench.card.sink is not None
    bench.card.sink.input(FRAME, True, 1000)
    bench.card.sink.input(FRAME)
    assert seen == [known, (False, 0)]


def test_afterwards_the_port_is_as_before() -> None:
    bench = Bench()
    before = {name: getattr(bench.port, name) for name in slots(bench.port)}
    links = [inserted_at(bench.port).add(kind, bench.poller) for kind in (A, B)]
    for link in links:
        inserted_at(bench.port).remove(link)
    assert {name: getattr(bench.port, name) for name in slots(bench.port)} == before
    assert not bench.card.closed


def test_offloads_are_those_of_the_outermost_link() -> None:
    bench = Bench()
    port = bench.port
    faults = inserted_at(port).add(lambda inner: FaultLink(inner, Random(1)), bench.poller, innermost=True)
    capture = inserted_at(port).add(A, bench.poller)
    assert _offloads(port) == (True, False, False)
    inserted_at(port).remove(faults)
    assert _offloads(port) == (True, True, True)
    inserted_at(port).remove(capture)
    assert _offloads(port) == (True, True, True)


def _offloads(port: LinkPort) -> tuple[bool, bool, bool]:
    return port.checksum_offload, port.segmentation_offload, port.udp_segmentation_offload


def test_a_link_without_room() -> None:
    bench = Bench()
    faults = inserted_at(bench.port).add(lambda inner: FaultLink(inner, Random(1)), bench.poller)
    bench.card.room = 0
    assert bench.down() == b"none"
    assert bench.down() == b"none"
    bench.card.room = 100
    assert bench.card.sink is not None
    bench.card.sink.writable()
    bench.flush()
    assert len(bench.card.sent) == 2
    inserted_at(bench.port).remove(faults)
    bench.card.room = 0
    assert bench.down() == b"none"
    assert bench.port.blocked
    bench.card.room = 1
    bench.card.sink.writable()
    bench.flush()
    assert len(bench.card.sent) == 3


def test_held_frames_are_passed_on_at_the_end() -> None:
    bench = Bench()
    delay = Faults(delay=1000 * MS)
    faults = inserted_at(bench.port).add(
        lambda inner: FaultLink(inner, Random(1), to_guest=delay, from_guest=delay), bench.poller
    )
    assert (bench.up(), bench.down()) == (b"none", b"none")
    faults.release()
    inserted_at(bench.port).remove(faults)
    bench.flush()
    assert len(bench.other.sent) == 1
    assert bench.card.sent == [FRAME]
    bench.flush(2000 * MS)
    assert len(bench.card.sent) == 1


@pytest.mark.parametrize("hub", [False, True])
def test_a_link_that_is_detached_closes_them(hub: bool) -> None:
    bench = Bench(hub)
    a, b = (inserted_at(bench.port).add(kind, bench.poller) for kind in (A, B))
    bench.network.detach(bench.port)
    assert a.closed
    assert b.closed
    assert bench.card.closed
    assert bench.port.inserted is None
    bench.network.close()
