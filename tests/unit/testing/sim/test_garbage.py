"""Python's garbage collector while a network runs: it works at points that the run alone determines."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest

from slirpy.testing import Network
from slirpy.testing.sim import garbage

YOUNG, OLD = garbage.EVENTS, 20 * garbage.EVENTS


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    """Leave the collector as it was."""
    before, enabled = gc.get_threshold(), gc.isenabled()
    gc.set_threshold(700, 10, 10)
    gc.enable()
    yield
    gc.set_threshold(*before)
    (gc.enable if enabled else gc.disable)()


class Circle:
    """An object that only the garbage collector can free."""

    def __init__(self) -> None:
        self.itself = self


async def sleep(events: int) -> None:
    for _ in range(events):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("junk", [0, 150, 300, 450, 600])
def test_circles_are_freed_at_the_same_point_of_each_run(junk: int) -> None:
    """However much the process has allocated before; without this, a run is not repeatable."""
    freed: list[int] = []

    class Noted(Circle):
        def __del__(self) -> None:
            freed.append(net.now)

    async def main() -> None:
        for _ in range(YOUNG + 1000):
            Noted()
            await asyncio.sleep(0.001)

    kept: list[list[int]] = [[] for _ in range(junk)]
    with Network() as net:
        net.run(main, on="client")
    assert len(kept) == junk
    during = [now for now in freed if now < net.now]
    assert len(during) > 1500
    assert len(set(during)) == 1


@pytest.mark.parametrize(("age", "freed"), [(0, YOUNG + 10), (3 * YOUNG, OLD)])
def test_circles_are_freed_while_a_program_runs(age: int, freed: int) -> None:
    """New ones soon, and in the end those that were used for long."""

    async def main() -> None:
        circle = Circle()
        seen = weakref.ref(circle)
        await sleep(age)
        del circle
        assert seen() is not None
        await sleep(freed)
        assert seen() is None

    with Network() as net:
        net.run(main, on="client")


def test_many_objects_in_one_event_are_collected_nevertheless() -> None:
    async def main() -> None:
        first = weakref.ref(Circle())
        kept = [[number] for number in range(garbage.OBJECTS + 1)]
        assert first() is None, len(kept)

    with Network() as net:
        net.run(main, on="client")


def test_thresholds_are_restored() -> None:
    async def main() -> tuple[int, int, int]:
        return gc.get_threshold()

    with Network() as net:
        assert net.run(main, on="client") == (garbage.OBJECTS, 10, 10)
        assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("chosen", [(0, 10, 10), (garbage.OBJECTS + 1, 5, 5)])
def test_thresholds_of_the_user_stay(chosen: tuple[int, int, int]) -> None:
    async def main() -> tuple[int, int, int]:
        return gc.get_threshold()

    gc.set_threshold(*chosen)
    with Network() as net:
        assert net.run(main, on="client") == chosen
    assert gc.get_threshold() == chosen


def test_thresholds_that_a_program_sets_stay() -> None:
    async def main() -> None:
        gc.set_threshold(5000, 20, 30)

    with Network() as net:
        net.run(main, on="client")
    assert gc.get_threshold() == (5000, 20, 30)


def test_a_collector_that_is_off_stays_off() -> None:
    collections: list[object] = []
    gc.disable()
    gc.callbacks.append(lambda *event: collections.append(event))
    try:
        with Network() as net:
            net.run(sleep(3 * YOUNG), on="client")
    finally:
        gc.callbacks.pop()
    assert not collections
    assert not gc.isenabled()
