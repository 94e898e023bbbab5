"""The poller, on pipes and socket pairs."""

from __future__ import annotations

import select
import selectors
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from slirpy.host.poller import HANGUP, SelectorPoller
from slirpy.interfaces import READ, WRITE
from tests.conformance.host_drivers import MECHANISMS


@pytest.fixture(params=["best", *MECHANISMS])
def poller(request: pytest.FixtureRequest) -> Iterator[SelectorPoller]:
    best = request.param == "best"
    poller = SelectorPoller(None if best else getattr(selectors, f"{request.param}Selector")())
    yield poller
    poller.close()
    poller.close()


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    pairs = [socket.socketpair() for _ in range(3)]
    yield pairs
    for pair in pairs:
        for sock in pair:
            sock.close()


Pairs = list[tuple[socket.socket, socket.socket]]


def note(into: list[int]) -> Callable[[int], None]:
    return into.append


def test_tells_readiness_for_as_long_as_it_lasts(poller: SelectorPoller, pairs: Pairs) -> None:
    near, far = pairs[0]
    masks: list[int] = []
    poller.register(near.fileno(), READ, note(masks))
    assert poller.poll(0) == 0
    far.send(b"x")
    assert poller.poll(None) == 1
    assert poller.poll(0.5) == 1
    assert masks == [READ, READ]
    near.recv(1)
    assert poller.poll(0) == 0


def test_modify(poller: SelectorPoller, pairs: Pairs) -> None:
    near, far = pairs[0]
    masks: list[int] = []
    poller.register(near.fileno(), READ | WRITE, note(masks))
    far.send(b"x")
    poller.poll(0)
    poller.modify(near.fileno(), WRITE, note(masks))
    poller.poll(0)
    poller.modify(near.fileno(), 0, note(masks))
    assert poller.poll(0) == 0
    poller.modify(near.fileno(), READ, note(masks))
    poller.poll(0)
    assert masks == [READ | WRITE, WRITE, READ]


def test_register_for_nothing(poller: SelectorPoller, pairs: Pairs) -> None:
    near, far = pairs[0]
    masks: list[int] = []
    poller.register(near.fileno(), 0, note(masks))
    far.close()
    assert poller.poll(0) == 0
    poller.modify(near.fileno(), READ, note(masks))
    assert poller.poll(0) == 1
    poller.unregister(near.fileno())
    assert poller.poll(0) == 0
    assert masks == [READ]


def test_misuse(poller: SelectorPoller, pairs: Pairs) -> None:
    fd = pairs[0][0].fileno()
    poller.register(fd, READ, note([]))
    with pytest.raises(ValueError, match="registered already"):
        poller.register(fd, READ, note([]))
    poller.unregister(fd)
    with pytest.raises(KeyError):
        poller.unregister(fd)
    with pytest.raises(KeyError):
        poller.modify(fd, READ, note([]))


def test_a_descriptor_unregistered_in_the_same_batch_gets_no_call(poller: SelectorPoller, pairs: Pairs) -> None:
    told: list[int] = []

    def ready(index: int) -> Callable[[int], None]:
        def call(mask: int) -> None:
            told.append(index)
            for near, _ in pairs[:index] + pairs[index + 1 :]:
                poller.unregister(near.fileno())

        return call

    for index, (near, far) in enumerate(pairs):
        far.send(b"x")
        poller.register(near.fileno(), READ, ready(index))
    assert poller.poll(0) == 3
    assert len(told) == 1


def test_no_call_for_a_new_descriptor_of_the_same_number(poller: SelectorPoller, pairs: Pairs) -> None:
    told: list[str] = []

    def replace_all(mask: int) -> None:
        told.append("old")
        for near, _ in pairs:
            poller.unregister(near.fileno())
            poller.register(near.fileno(), READ, lambda mask: told.append("new"))

    for near, far in pairs:
        far.send(b"x")
        poller.register(near.fileno(), READ, replace_all)
    poller.poll(0)
    assert told == ["old"]
    poller.poll(0)
    assert told == ["old", "new", "new", "new"]


def test_interest_dropped_in_the_same_batch_is_respected(poller: SelectorPoller, pairs: Pairs) -> None:
    told: list[int] = []

    def pause_all(mask: int) -> None:
        told.append(mask)
        for near, _ in pairs:
            poller.modify(near.fileno(), 0, pause_all)

    for near, far in pairs:
        far.send(b"x")
        poller.register(near.fileno(), READ, pause_all)
    poller.poll(0)
    assert told == [READ]


def test_closed_before_unregistered(poller: SelectorPoller) -> None:
    near, far = socket.socketpair()
    fd = near.fileno()
    poller.register(fd, READ, note([]))
    near.close()
    poller.unregister(fd)
    far.close()
    assert poller.poll(0) == 0


def test_fileno_is_readable_when_something_is_ready(pairs: Pairs) -> None:
    poller = SelectorPoller()
    fd = poller.fileno()
    if fd is None:
        pytest.skip("the system has neither epoll nor kqueue")
    near, far = pairs[0]
    poller.register(near.fileno(), READ, note([]))
    with selectors.DefaultSelector() as outer:
        outer.register(fd, selectors.EVENT_READ)
        assert outer.select(0) == []
        far.send(b"x")
        assert len(outer.select(1)) == 1
    poller.close()


def test_hangup_alone(pairs: Pairs) -> None:
    if not hasattr(select, "epoll"):
        pytest.skip("needs epoll")
    poller = SelectorPoller()
    near, far = pairs[0]
    masks: list[int] = []
    poller.register(near.fileno(), HANGUP, note(masks))
    far.send(b"x")
    assert poller.poll(0) == 0, "data is nothing that it waits for"
    far.close()
    assert poller.poll(0) == 1
    poller.modify(near.fileno(), READ, note(masks))
    assert poller.poll(0) == 1
    assert masks == [HANGUP, READ]
    poller.close()


@pytest.mark.parametrize("busy", [200, 1500])
def test_many_of_a_group_do_not_keep_the_others_waiting(poller: SelectorPoller, busy: int) -> None:
    """Nor do they if more are ready than one wait reports."""
    if not poller.fileno():
        busy = min(busy, 200)  # select() takes no more descriptors than 1,024
    group = poller.group()
    told: list[int] = []
    pairs = [socket.socketpair() for _ in range(busy + 1 if busy < 500 else 1)]
    ends = [near for near, _ in pairs]
    if busy >= 500:  # few descriptors that are always ready
        near, far = pairs[0]
        ends = [near.dup() for _ in range(busy)] + [near]
        far.send(b"x")

    def tell(number: int, mask: int) -> None:
        told.append(number)

    try:
        if busy < 500:
            for _, far in pairs:
                far.send(b"x")
        for number, near in enumerate(ends):
            where = poller if number == busy else group
            where.register(near.fileno(), READ, partial(tell, number))
        seen: set[int] = set()
        while len(seen) <= busy:  # within the group each has its turn
            told.clear()
            assert poller.poll(0) == len(told)
            assert told.count(busy) == 1
            assert len(told) <= 65
            first = [number not in seen for number in told if number != busy]
            assert first == sorted(first, reverse=True), "those come first that had no turn"
            assert len(told) > 1
            seen.update(told)
    finally:
        for end in ends:
            end.close()
        for pair in pairs:
            for sock in pair:
                sock.close()


def test_a_group_wakes_a_wait_for_the_poller() -> None:
    poller = SelectorPoller()
    fd = poller.fileno()
    if fd is None:
        pytest.skip("the system has neither epoll nor kqueue")
    group = poller.group()
    near, far = socket.socketpair()
    with near, far:
        group.register(near.fileno(), READ, lambda mask: None)
        assert poller.poll(0) == 0
        far.send(b"x")
        assert select.select([fd], [], [], 5)[0]
        assert poller.poll(5) == 1
    poller.close()


def test_a_group_drops_an_unregistered_descriptor(poller: SelectorPoller) -> None:
    group = poller.group()
    near, far = socket.socketpair()
    told: list[str] = []
    with near, far:
        far.send(b"x")
        group.register(near.fileno(), READ, lambda mask: told.append("of the group"))
        assert poller.poll(0) == 1
        group.unregister(near.fileno())
        assert poller.poll(0) == 0
        poller.register(near.fileno(), READ, lambda mask: told.append("no more"))
        assert poller.poll(0) == 1
    assert told == ["of the group", "no more"]
