"""Choices of Hypothesis. The first one is always the plainest, so that examples shrink to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st

from slirpy.tcp import Settings
from slirpy.tcp.congestion.cubic import Cubic
from slirpy.tcp.congestion.reno import Reno
from slirpy.tcp.seq import MASK
from tests.property.tcp_world import MS, SECOND, Path, Side, World
from tests.support.extent import FULL, THOROUGH

Test = TypeVar("Test", bound=Callable[..., Any])
MORE = float(os.environ.get("SLIRPY_EXAMPLES", "10" if THOROUGH else "2" if FULL else "1"))
"""Factor of the number of examples that ``make test`` runs."""
SHRINK = "SLIRPY_NO_SHRINKING" not in os.environ
SEED = os.environ.get("SLIRPY_SEED")


def examples(count: int, steps: int = 50) -> settings:
    """Always the same examples, unless a seed is given; what fails can be run again as it is."""
    return settings(
        max_examples=max(int(count * MORE), 1),
        stateful_step_count=steps,
        deadline=None,
        derandomize=SEED is None,
        database=None,
        print_blob=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if SHRINK or phase is not Phase.shrink],
    )


def chosen(count: int) -> Callable[[Test], Test]:
    """Variant for a test with ``@given``: a seed selects other examples, repeatably."""

    def decorate(test: Test) -> Test:
        test = examples(count)(test)
        return seed(int(SEED))(test) if SEED is not None else test

    return decorate


MSS = (1460, 536, 100, 40, 8, 65495, 9000)
BUFFERS = (1 << 16, 1 << 20, 5000, 300, 17, 1, 1 << 30)
ISS = (0, MASK, MASK - 1, MASK - 1000, MASK - 100_000, 1 << 31, (1 << 31) - 1)
TIMESTAMPS = (0, MASK, MASK - 1_000_000 - 20, MASK - 1_001_000, 1 << 31)
"""The clock of a world begins at 1,000,000 ms, so that some of these wrap soon."""
BURSTS = (0, 65495, 20_000)


def _settings(
    mss: int,
    rcv_buffer: int,
    max_burst: int,
    nodelay: bool,
    delayed_ack: int,
    patient: bool,
    rack: bool,
    congestion: type[Cubic] | type[Reno],
    keepalive: bool,
) -> Settings:
    patience = 10**9 * SECOND
    return Settings(
        mss=mss,
        rcv_buffer=rcv_buffer,
        max_burst=max_burst,
        nodelay=nodelay,
        delayed_ack=delayed_ack,
        rack=rack,
        congestion=congestion,
        keepalive=keepalive,
        keepalive_idle=30 * SECOND,
        keepalive_interval=7 * SECOND,
        keepalive_count=10**9 if patient else 3,
        syn_timeout=patience if patient else 75 * SECOND,
        user_timeout=patience if patient else 900 * SECOND,
    )


side_settings = st.builds(
    _settings,
    mss=st.sampled_from(MSS) | st.integers(8, 65495),
    rcv_buffer=st.sampled_from(BUFFERS) | st.integers(1, 100_000),
    max_burst=st.sampled_from(BURSTS),
    nodelay=st.sampled_from((True, False)),
    delayed_ack=st.sampled_from((10 * MS, 499 * MS, 1)),
    patient=st.sampled_from((True, False)),
    rack=st.sampled_from((True, False)),
    congestion=st.sampled_from((Cubic, Reno)),
    keepalive=st.booleans(),
)
sides = st.builds(
    Side,
    settings=side_settings,
    iss=st.sampled_from(ISS) | st.integers(0, MASK),
    ts_offset=st.sampled_from(TIMESTAMPS) | st.integers(0, MASK),
)
paths = st.builds(Path, **{name: st.booleans() for name in Path.__dataclass_fields__})
which_end = st.sampled_from((0, 1))
which_segment = st.integers(0, 20)
sizes = st.sampled_from((1, 100, 1460, 0, 5, 8, 3000, 20_000, 65536)) | st.integers(0, 70_000)
spans = st.sampled_from(
    (MS, 10 * MS, 200 * MS, SECOND, 3 * SECOND, 60 * SECOND, 75 * SECOND, 1000 * SECOND, 0, 1)
)
mtus = st.sampled_from((1500, 1280, 576, 150))


@dataclass(frozen=True)
class Weather:
    """Faults of the path, as probabilities for each segment."""

    lose: float = 0.0
    repeat: float = 0.0
    delay: float = 0.0
    corrupt: float = 0.0
    split: float = 0.0
    merge: float = 0.0
    batch: float = 0.0
    """A segment is not followed by an output at once."""


weathers = st.builds(
    Weather,
    lose=st.sampled_from((0.0, 0.01, 0.1, 0.3)),
    **{
        name: st.sampled_from((0.0, 0.05, 0.3))
        for name in ("repeat", "delay", "corrupt", "split", "merge", "batch")
    },
)


def drive(world: World, weather: Weather, rng: Random, sizes: tuple[int, int], steps: int) -> bool:
    """Two users write ``sizes``, read, and shut down; whether both sides have closed within ``steps``."""
    remaining = [min(size, len(end.stream) // 5) for size, end in zip(sizes, world.ends, strict=True)]
    for _ in range(steps):
        if world.over():
            return True
        for i in (0, 1):
            count = world.calls
            if remaining[i] and rng.random() < 0.3:
                before = world.ends[i].written
                world.write(i, min(remaining[i], rng.choice((1, 7, 1000, 1460, 30_000))))
                remaining[i] -= world.ends[i].written - before
            elif not remaining[i] and rng.random() < 0.1:
                world.shutdown(i)
            if rng.random() < 0.5:
                world.read(i, rng.choice((1, 100, 5000, 1 << 20, 1 << 20)))
            if world.calls != count:
                world.flush(i)
        if world.too_big and rng.random() < 0.5:
            world.tell_too_big()
        loaded = [i for i in (0, 1) if world.wire[i]]
        if not loaded or rng.random() < 0.1:
            unread = any(end.conn.rcv_pending or remaining[i] for i, end in enumerate(world.ends))
            if unread and rng.random() < 0.5:
                world.pass_time(rng.choice((MS // 10, MS, 20 * MS)))
            elif not loaded:
                world.to_deadline()
            else:
                world.pass_time(rng.randrange(5 * MS))
            continue
        _disturb(world, weather, rng, rng.choice(loaded))
    return world.over()


def _disturb(world: World, weather: Weather, rng: Random, to: int) -> None:
    chance = rng.random
    if chance() < weather.lose:
        world.lose(to)
        return
    if chance() < weather.repeat:
        world.repeat(to)
    if chance() < weather.delay:
        world.delay(to)
    if chance() < weather.split:
        world.split(to, rng.randrange(70_000))
    if chance() < weather.merge:
        world.merge(to)
    if chance() < weather.corrupt:
        if rng.random() < 0.5:
            world.corrupt(to, rng.getrandbits(16))
        elif rng.random() < 0.5:
            world.truncate(to, rng.getrandbits(6))
        else:
            world.shorten(to, rng.getrandbits(16))
    world.deliver(to, flush=chance() >= weather.batch)
