"""One direction with faults, without a link around it: what becomes of each frame, and when."""

from __future__ import annotations

from random import Random

import pytest

from slirpy.errors import ConfigError
from slirpy.links import Faults, FaultyPath
from slirpy.units import MS, SECOND


def test_without_faults_the_same_frame_arrives_at_once() -> None:
    path, frame = FaultyPath(Random(1)), b"frame"
    [(when, arrived)] = path.put(frame, 5, 7)
    assert (when, arrived is frame) == (7, True)
    assert (
        str(path.counters) == "frames 1, lost 0, duplicated 0, corrupted 0, delayed 0, reordered 0, dropped 0"
    )


def test_each_fate_is_a_list_of_arrivals() -> None:
    path = FaultyPath(Random(1), Faults(loss=1.0))
    assert path.put(b"frame", 5, 0) == []
    path.faults = Faults(duplicate=1.0, delay=3 * MS)
    assert path.put(b"frame", 5, 1) == [(3 * MS + 1, b"frame")] * 2
    path.faults = Faults(corrupt=1.0)
    [(_, damaged)] = path.put(b"frame", 5, 4 * MS)
    assert (int.from_bytes(damaged, "big") ^ int.from_bytes(b"frame", "big")).bit_count() == 1
    assert path.counters.frames == 3


def test_any_object_is_a_frame_where_it_can_be_corrupted() -> None:
    path = FaultyPath[int](Random(1), Faults(corrupt=1.0), corrupt=lambda frame, random: -frame)
    assert path.put(5, 100, 0) == [(0, -5)]


def test_the_bound_counts_frames_under_way_and_no_others() -> None:
    path = FaultyPath(Random(1), Faults(delay=10 * MS, limit=2))
    assert [len(path.put(b"x", 1, now)) for now in (0, 0, 1, 10 * MS - 1, 10 * MS, 10 * MS)] == [
        1,
        1,
        0,
        0,
        1,
        1,
    ]
    assert path.counters.dropped == 2


def test_the_length_counts_against_the_rate_and_not_the_frame() -> None:
    path = FaultyPath(Random(1), Faults(rate=8_000, burst=1, queue=10_000))
    assert path.put(b"", 1000, 0) == [(SECOND, b"")]
    assert path.put(b"x" * 5000, 1000, 0) == [(2 * SECOND, b"x" * 5000)]


def test_equal_seeds_give_equal_fates() -> None:
    faults = Faults(0.1, 0.1, 0.1, 5 * MS, 5 * MS, 0.1)

    def fates(seed: int) -> list[list[tuple[int, bytes]]]:
        path = FaultyPath(Random(seed), faults)
        return [path.put(bytes((number,)), 1, number) for number in range(200)]

    assert fates(1) == fates(1) != fates(2)


def test_arguments_of_another_type_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^random must be a random.Random, or a function that returns one; given was 1"
    ):
        FaultyPath(1)  # type: ignore[call-overload] # the mistake
    with pytest.raises(ConfigError, match=r"^faults must be a Faults, such as Faults\(loss=0.01\)"):
        FaultyPath(Random(1)).faults = 0.1  # type: ignore[assignment] # the mistake


def test_a_source_of_chances_is_made_when_there_are_any() -> None:
    made: list[Random] = []

    def source() -> Random:
        made.append(Random(7))
        return made[-1]

    path = FaultyPath(source, Faults(delay=MS))
    assert path.put(b"frame", 5, 0) == [(MS, b"frame")]
    assert not made
    path.faults = Faults(jitter=SECOND, loss=0.5)
    other = FaultyPath(Random(7), path.faults)
    assert [path.put(b"x", 1, MS) for _ in range(20)] == [other.put(b"x", 1, MS) for _ in range(20)]
    assert len(made) == 1


def test_a_frame_that_is_only_delayed_arrives_as_any_other() -> None:
    faults = Faults(delay=3 * MS, limit=4)
    quick, other = FaultyPath(Random(1), faults), FaultyPath(Random(1), faults)
    times = [0, 0, 1, 2, MS, 3 * MS, 3 * MS + 1, 9 * MS]
    assert [quick.delayed(now) for now in times] == [
        arrivals[0][0] if (arrivals := other.put(b"x", 1, now)) else None for now in times
    ]
    assert other.counters.dropped == 1
    assert quick.counters.frames == other.counters.frames - 1  # that one is not counted: put() has to take it
    quick.faults = Faults(loss=0.1)
    assert quick.delayed(10 * MS) is None
