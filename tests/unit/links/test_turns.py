"""The turn of a link ends after a while, so that the flood of one guest does not delay the others.

The clock of these tests moves only when a frame is handled.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest

from slirpy.drive import mailbox
from slirpy.fair import TURN, TURN_FRAMES
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import READ, Buffer
from slirpy.links import StreamLink, dgram, framing
from slirpy.stats import Stats
from slirpy.units import MS

pytestmark = pytest.mark.needs("unix sockets")


class Clock:
    """The time that links see, in nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Sink:
    """A stack for which each frame takes ``cost`` nanoseconds, on the slow path or the fast one."""

    def __init__(self, clock: Clock, cost: int, slow: bool) -> None:
        self.clock = clock
        self.cost = cost
        self.slow = slow
        self.slow_frames = 0
        self.frames: list[bytes] = []
        self.stats = Stats()

    def input(self, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        self.frames.append(bytes(frame))
        self.stats.frames_in += 1
        self.clock.now += self.cost
        return self.slow or len(self.frames) <= self.slow_frames

    def writable(self) -> None: ...

    def lost(self, frames: int) -> None: ...

    now = 0

    def call_at(self, when: int, callback: Callable[[], None]) -> NoReturn:
        raise AssertionError


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (framing, dgram, mailbox):
        monkeypatch.setattr(module, "monotonic_ns", clock)
    monkeypatch.setattr("slirpy.host.poller.time.monotonic_ns", clock)
    return clock


@pytest.fixture
def poller() -> Iterator[SelectorPoller]:
    poller = SelectorPoller()
    yield poller
    poller.close()


def frame(number: int, size: int = 60) -> bytes:
    return struct.pack("!14xH", number).ljust(size, b"\0")


def packed(count: int, size: int = 60) -> bytes:
    return b"".join(struct.pack("!I", size) + frame(n, size) for n in range(count))


Stream = tuple[StreamLink, Sink, socket.socket]


def stream(clock: Clock, poller: SelectorPoller, cost: int, slow: bool) -> Stream:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    link, sink = StreamLink(ours), Sink(clock, cost, slow)
    link.start(sink, poller)
    return link, sink, theirs


@pytest.mark.parametrize(("cost", "most"), [(MS // 10, 20), (3 * MS, 1)])
def test_frames_on_the_slow_path(clock: Clock, poller: SelectorPoller, cost: int, most: int) -> None:
    link, sink, guest = stream(clock, poller, cost, slow=True)
    guest.sendall(packed(50))
    turns = []
    while len(sink.frames) < 50:
        before = len(sink.frames)
        assert poller.poll(0) == 1
        turns.append(len(sink.frames) - before)
    assert max(turns) == most
    assert sink.frames == [frame(n) for n in range(50)], "each of them once, in order"
    assert not poller.pending
    assert poller.poll(0) == 0
    link.close()
    guest.close()


def test_frames_on_the_fast_path(clock: Clock, poller: SelectorPoller) -> None:
    """Short frames are also counted, because the clock is only read now and then."""
    link, sink, guest = stream(clock, poller, 20_000, slow=False)
    guest.sendall(packed(1000))
    poller.poll(0)
    assert TURN <= clock.now <= 2 * TURN
    sink.cost, before = 0, len(sink.frames)
    poller.poll(0)
    assert TURN_FRAMES <= len(sink.frames) - before <= TURN_FRAMES + 70
    link.close()
    guest.close()


def test_a_frame_on_the_slow_path_before_fast_ones(clock: Clock, poller: SelectorPoller) -> None:
    """One that is handled alone says nothing of the size of those that follow."""
    link, sink, guest = stream(clock, poller, 20_000, slow=False)
    sink.slow_frames = 1
    guest.sendall(packed(1000))
    poller.poll(0)
    assert TURN <= clock.now <= 2 * TURN
    link.close()
    guest.close()


def test_large_frames_are_not_counted_out(clock: Clock, poller: SelectorPoller) -> None:
    link, sink, guest = stream(clock, poller, 10_000, slow=False)
    guest.sendall(packed(100, 1514))
    poller.poll(0)
    assert len(sink.frames) == 100
    link.close()
    guest.close()


def test_the_end_of_a_connection_comes_after_its_frames(clock: Clock, poller: SelectorPoller) -> None:
    link, sink, guest = stream(clock, poller, MS, slow=True)
    states: list[bool] = []
    link.on_state = states.append
    guest.sendall(packed(5) + b"\0\0\0")
    guest.close()
    for _ in range(3):
        assert states == []
        poller.poll(0)
    poller.poll(0)
    assert (len(sink.frames), states, sink.stats.drop_link_truncated) == (5, [False], 1)
    link.close()


def test_a_link_that_is_closed_meanwhile_is_forgotten(clock: Clock, poller: SelectorPoller) -> None:
    link, sink, guest = stream(clock, poller, 3 * MS, slow=True)
    guest.sendall(packed(5))
    poller.poll(0)
    link.close()
    assert not poller.pending
    poller.poll(0)
    assert len(sink.frames) == 1
    guest.close()


def test_another_link_has_its_turn_between(clock: Clock, poller: SelectorPoller) -> None:
    first, flood, one = stream(clock, poller, MS, slow=True)
    second, calm, other = stream(clock, poller, 0, slow=True)
    one.sendall(packed(100))
    poller.poll(0)
    other.sendall(packed(1))
    poller.poll(0)
    assert (len(flood.frames), len(calm.frames)) == (4, 1)
    for each in (first, second, one, other):
        each.close()


def test_datagrams_stay_in_the_kernel(clock: Clock, poller: SelectorPoller) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    link, sink = dgram.DgramLink(ours), Sink(clock, MS, slow=True)
    link.start(sink, poller)
    for n in range(5):
        theirs.send(frame(n))
    for expected in (2, 4, 5):
        poller.poll(0)
        assert len(sink.frames) == expected
    assert sink.frames == [frame(n) for n in range(5)]
    link.close()
    theirs.close()


def test_frames_of_other_threads(clock: Clock, poller: SelectorPoller) -> None:
    box = mailbox.Mailbox(poller, lambda count: None, owner=0)
    sink = Sink(clock, MS, slow=True)
    box.offer([lambda: sink.input(b"")] * 5)
    for expected in (2, 4, 5):
        assert poller.poll(0) == 1
        assert len(sink.frames) == expected
    assert poller.poll(0) == 0
    box.close()


def test_sockets_of_a_group(clock: Clock, poller: SelectorPoller) -> None:
    """Handlers that take long, such as those of refused datagrams, end the turn of the group."""
    group = poller.group()
    pairs = [socket.socketpair() for _ in range(6)]
    called: list[int] = []

    def handler(number: int) -> Callable[[int], None]:
        def ready(mask: int) -> None:
            called.append(number)
            clock.now += MS

        return ready

    for number, (near, far) in enumerate(pairs):
        group.register(near.fileno(), READ, handler(number))
        far.send(b"x")
    for _ in range(3):
        poller.poll(0)
    assert sorted(called) == list(range(6)), "the others come first at the next poll"
    for pair in pairs:
        for each in pair:
            each.close()


def test_again_asks_for_read_once(poller: SelectorPoller) -> None:
    near, far = socket.socketpair()
    masks: list[int] = []
    poller.register(near.fileno(), READ, masks.append)
    poller.again(near.fileno())
    assert poller.pending
    assert poller.poll(None) == 1
    assert (masks, poller.pending) == ([READ], False)
    poller.again(near.fileno())
    far.send(b"x")
    poller.poll(None)
    assert masks == [READ, READ], "and not twice if it is ready"
    poller.again(near.fileno())
    poller.modify(near.fileno(), 0, masks.append)
    assert poller.poll(None) == 1
    assert masks == [READ, READ], "and not if it waits for nothing"
    near.close()
    far.close()
