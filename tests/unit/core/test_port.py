"""The stack's side of a link: its queue, and the link's word that there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from slirpy.core.port import QUEUE_LIMIT, LinkPort
from slirpy.core.switchnet import SwitchNetwork
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from tests.support.harness import Net, NoPoller, config

FRAMES = [bytes([2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, n, 0x88, 0xB5]).ljust(60, b"\0") for n in range(5)]


class EagerLink:
    """A link that accepts ``at_once`` frames, and says inside ``send`` that there is room for more."""

    features = LinkFeatures()

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.sent: list[bytes] = []
        self.sink: LinkSink | None = None

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.sink = sink

    def send(self, frames: Sequence[Frame]) -> int:
        taken = frames[: self.at_once]
        self.sent += [b"".join(frame.parts) for frame in taken]
        if len(taken) < len(frames):
            assert self.sink is not None
            self.sink.writable()
        return len(taken)

    def close(self) -> None:
        pass


class Flow:
    """A sender that waits for room."""

    marked = 0

    def mark(self) -> None:
        self.marked += 1


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_room_that_is_announced_inside_send_is_used(at_once: int) -> None:
    """All frames are sent, in order, by flushes that the deadline asks for at once."""
    net = SwitchNetwork()
    link = EagerLink(at_once)
    port = net.attach(link, cast(Poller, None))
    for frame in FRAMES:
        port.push(Frame((frame,)), len(frame))
    net.flush(1000)
    flushes = 1
    while net.deadline() is not None:
        assert net.deadline() == 1000
        net.flush(1000)
        flushes += 1
        assert flushes < 10
    assert link.sent == FRAMES
    assert not port.blocked
    assert flushes == -(-len(FRAMES) // at_once)


def test_frames_that_come_while_the_link_sends_wait_behind_the_rest() -> None:
    class Talkative(EagerLink):
        def send(self, frames: Sequence[Frame]) -> int:
            if not self.sent:
                port.push(Frame((FRAMES[4],)), len(FRAMES[4]))
            return super().send(frames)

    net = SwitchNetwork()
    link = Talkative(2)
    port = net.attach(link, cast(Poller, None))
    for frame in FRAMES[:4]:
        port.push(Frame((frame,)), len(frame))
    for _ in range(4):
        net.flush(1000)
    assert link.sent == FRAMES


@pytest.mark.parametrize("blocked", [True, False])
def test_only_a_link_without_room_has_a_bound(blocked: bool) -> None:
    """Frames that are queued within one flush come from senders with bounds of their own."""
    net = SwitchNetwork()
    link = EagerLink(10_000)
    port = net.attach(link, cast(Poller, None))
    port.blocked = blocked
    for _ in range(QUEUE_LIMIT + 10):
        port.push(Frame((FRAMES[0],)), len(FRAMES[0]))
    port.writable()
    net.flush(1000)
    assert len(link.sent) == QUEUE_LIMIT + (0 if blocked else 10)
    assert net.stats.drop_link_queue_full == (10 if blocked else 0)


@pytest.mark.parametrize("hub", [False, True], ids=["switch", "hub"])
@pytest.mark.parametrize("state", ["open", "blocked", "closed"])
def test_frames_in_one_call_are_queued_as_one_by_one(state: str, hub: bool) -> None:
    outcomes = []
    for together in (True, False):
        net = Net(config(hub=hub)).stack
        links = [EagerLink(10_000) for _ in range(3)]
        port, *_ = [net.attach(link, NoPoller()) for link in links]
        if state == "closed":
            net.detach(port)
        port.blocked = state == "blocked"
        frames = [Frame((FRAMES[number % 5],)) for number in range(QUEUE_LIMIT + 10)]
        if together:
            port.push_all(frames[:3], 60)
            port.push_all(frames[3:], 60)
        else:
            for frame in frames:
                port.push(frame, 60)
        port.writable()
        net.flush(1 << 60)
        outcomes.append(([[f for f in link.sent if f in FRAMES] for link in links], net.stats.as_dict()))
    assert outcomes[0] == outcomes[1]
    sent = {"open": QUEUE_LIMIT + 10, "blocked": QUEUE_LIMIT, "closed": 0}[state]
    assert len(outcomes[0][0][0]) == sent
    assert bool(outcomes[0][0][1]) == hub


def test_a_waiter_is_marked_by_room_that_is_announced_inside_send() -> None:
    net = SwitchNetwork()
    port: LinkPort = net.attach(EagerLink(1), cast(Poller, None))
    flow = Flow()
    port.wait(flow)
    for frame in FRAMES:
        port.push(Frame((frame,)), len(frame))
    net.flush(1000)
    assert flow.marked == 1


def test_a_switch_without_a_stack_starts_links_with_their_poller() -> None:
    started: list[object] = []

    class Started(EagerLink):
        def start(self, sink: LinkSink, poller: Poller) -> None:
            started.append(poller)

    net, poller = SwitchNetwork(), NoPoller()
    net.attach(Started(1), poller)
    assert started == [poller]


def test_times_may_be_whole_numbers_of_any_type() -> None:
    class Time(int):
        """Nanoseconds of another library."""

    net, rung = SwitchNetwork(), list[int]()
    net.call_at(Time(5), lambda: rung.append(net.now))
    net.tick(Time(4))
    assert (net.now, type(net.now)) == (4, int)
    net.flush(Time(5))
    assert (rung, type(net.now)) == ([5], int)


def test_frames_to_all_are_counted_and_take_no_fast_path() -> None:
    net, links = SwitchNetwork(), [EagerLink(100) for _ in range(3)]
    for link in links:
        net.attach(link, NoPoller())
    sink = links[0].sink
    assert sink is not None
    for number in range(3):
        assert sink.input(b"\xff" * 6 + FRAMES[number][6:]) is True
    net.flush(1)
    assert net.stats.switch_flooded == 3
    assert [len(link.sent) for link in links] == [0, 3, 3]
