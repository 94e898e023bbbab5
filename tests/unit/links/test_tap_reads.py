"""Number of reads of a TAP link."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from slirpy.fair import PAUSE, TURN
from slirpy.interfaces import READ, Frame
from slirpy.links import tap

pytestmark = pytest.mark.needs("linux")

SMALL, LARGE = bytes(60), bytes(1514)


class Kernel:
    """A TAP descriptor, its sink and its poller: frames wait in a queue, and a clock is set by hand."""

    def __init__(self) -> None:
        self.waiting = self.arrived = self.reads = self.turns = self.now = self.cost = 0
        self.length = len(SMALL)
        self.then: Callable[[], object] = int
        """Called with each frame."""

    def readinto(self, buffer: Any) -> int | None:
        self.reads += 1
        if not self.waiting:
            return None
        self.waiting -= 1
        return self.length

    def input(self, frame: Any, checksummed: bool = False, gso_size: int = 0) -> bool:
        self.arrived += 1
        self.now += self.cost
        self.then()
        return False

    send: Any
    close: Any
    """The link's methods."""

    def register(self, fd: int, events: int, ready: Any) -> None:
        self.ready = ready

    def unregister(self, fd: int) -> None:
        """Do nothing."""

    def poll(self, pause: int, frames: int) -> int:
        """Let frames come after a pause, and report the descriptor until it is empty; returns the reads."""
        self.now += pause
        self.waiting, self.reads, self.turns = frames, 0, 0
        while self.waiting:
            self.turns += 1
            self.ready(READ)
        return self.reads


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made: Any = Kernel()
    monkeypatch.setattr(tap, "probe", lambda fd: (0, False, False))
    monkeypatch.setattr(tap, "monotonic_ns", lambda: made.now)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        link = tap.TapLink(os.dup(ours.fileno()))
        monkeypatch.setattr(link, "_readinto", made.readinto)
        link.start(made, made)
        made.send, made.close = link.send, link.close
        yield made
        link.close()


def test_small_exchanges_cost_one_read_each(kernel: Kernel) -> None:
    assert kernel.poll(PAUSE * 2, 1) == 2
    assert [kernel.poll(PAUSE * 2, 1) for _ in range(5)] == [1] * 5
    assert kernel.arrived == 6


def test_frames_without_a_pause_are_read_together(kernel: Kernel) -> None:
    kernel.poll(PAUSE * 2, 1)
    assert kernel.poll(PAUSE // 2, 10) == 11
    assert kernel.poll(PAUSE * 2, 10) == 11  # after a batch another one is expected, whatever the pause


def test_more_than_the_expected_frame_is_read_by_the_next_poll(kernel: Kernel) -> None:
    kernel.poll(PAUSE * 2, 1)
    assert kernel.poll(PAUSE * 2, 10) == 1 + 10
    assert kernel.arrived == 11


def test_after_a_large_frame_all_is_read_together(kernel: Kernel) -> None:
    kernel.poll(PAUSE * 2, 1)
    kernel.poll(PAUSE * 2, 2)
    assert kernel.turns == 2, "small ones"
    kernel.length = len(LARGE)
    kernel.poll(PAUSE * 2, 1)
    kernel.poll(PAUSE * 2, 1)
    kernel.poll(PAUSE * 2, 5)
    assert kernel.turns == 1


@pytest.mark.parametrize(
    ("frames", "turns"),
    [([Frame((SMALL,))], 2), ([Frame((SMALL, LARGE))], 1), ([Frame((SMALL,))] * 2, 1)],
    ids=["small", "large", "two"],
)
def test_acknowledgements_of_data_are_read_together(kernel: Kernel, frames: list[Frame], turns: int) -> None:
    kernel.poll(PAUSE * 2, 1)
    kernel.poll(PAUSE * 2, 1)
    kernel.send(frames)
    kernel.poll(PAUSE * 2, 5)
    assert kernel.turns == turns


def test_frames_on_the_fast_path_end_a_turn_too(kernel: Kernel) -> None:
    kernel.cost, kernel.waiting = TURN // 30, 200
    kernel.ready(READ)
    assert kernel.arrived == 64
    kernel.cost = 0
    kernel.ready(READ)
    assert kernel.arrived == 200


def test_nothing_is_read_after_a_frame_has_closed_the_link(kernel: Kernel) -> None:
    """The number of the descriptor may be that of another file by then."""
    kernel.then, kernel.waiting = kernel.close, 3
    kernel.ready(READ)
    assert (kernel.arrived, kernel.reads) == (1, 1)
