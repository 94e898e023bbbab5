"""The conformance suite of links names a broken rule, also one that the guest's end breaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from slirpy import LinkFeatures
from slirpy.interfaces import Frame, LinkSink, Poller
from slirpy.testing import LINK_CHECKS, LinkUnderTest

CHECKS = {check.__name__: check for check in LINK_CHECKS}


class AList:
    """A link that keeps frames in a list, and its guest's end, each of which returns what the test wants."""

    features = LinkFeatures()

    def __init__(self, took: Callable[[int], Any] = lambda count: count, sent: Any = True) -> None:
        self.took, self.sent = took, sent
        self.frames: list[bytes] = []
        self.wrapped: Callable[[list[bytes]], Any] = list

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.sink = sink

    def send(self, frames: Sequence[Frame]) -> Any:
        self.frames += [b"".join(frame.parts) for frame in frames]
        return self.took(len(frames))

    def close(self) -> None: ...


class End:
    def __init__(self, link: AList) -> None:
        self.link = link

    def send(self, frame: bytes) -> Any:
        self.link.sink.input(frame)
        return self.link.sent

    def receive(self) -> Any:
        frames, self.link.frames = self.link.frames, []
        return self.link.wrapped(frames)

    def close(self) -> None: ...


def run(check: str, link: AList) -> None:
    CHECKS[check](lambda sink: LinkUnderTest(link, End(link), blocks=False))


@pytest.mark.parametrize("check", CHECKS)
def test_a_list_passes(check: str) -> None:
    CHECKS[check](lambda sink: LinkUnderTest(link := AList(), End(link), blocks=False))


@pytest.mark.parametrize("check", ["frames_to_the_guest", "back_pressure", "a_guest_that_vanishes", "closing"])
@pytest.mark.parametrize("took", [lambda count: None, lambda count: True, lambda count: count + 1])
def test_a_link_that_does_not_count(check: str, took: Callable[[int], Any]) -> None:
    with pytest.raises(AssertionError, match=r"send returned .* it must return how many of them it took"):
        run(check, AList(took))


@pytest.mark.parametrize("check", ["a_guest_that_vanishes", "closing"])
def test_a_link_that_keeps_frames_without_a_peer(check: str) -> None:
    with pytest.raises(AssertionError, match=r"send returned 0 for . frames, which nobody can get"):
        run(check, AList(lambda count: 0))


def test_a_peer_that_does_not_say_whether_there_was_room() -> None:
    with pytest.raises(AssertionError, match="the peer's send returned None; it must return True, or False"):
        run("batches", AList(sent=None))


def test_a_peer_that_returns_one_frame() -> None:
    link = AList()
    link.wrapped = b"".join
    with pytest.raises(
        AssertionError, match="the peer's receive returned bytes; it must return a list of frames"
    ):
        run("frames_to_the_guest", link)


def test_a_link_that_takes_all_must_say_so() -> None:
    with pytest.raises(AssertionError, match="declares blocks=False"):
        CHECKS["back_pressure"](lambda sink: LinkUnderTest(link := AList(), End(link)))
