"""Two connections on a path with fair loss: everything arrives, and both sides close.

:mod:`tests.property.tcp_observer` checks what must hold meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.tcp_choices import Weather, chosen, drive, paths, sides, weathers
from tests.property.tcp_observer import S
from tests.property.tcp_world import Path, Side, World, patient

STEPS = 30_000


@pytest.mark.long
@given(
    a=sides,
    b=sides,
    path=paths,
    weather=weathers,
    seed=st.integers(0, 1 << 32),
    sizes=st.tuples(*[st.sampled_from((0, 1, 5000, 30_000))] * 2),
)
@chosen(120)
def test_everything_arrives(
    a: Side, b: Side, path: Path, weather: Weather, seed: int, sizes: tuple[int, int]
) -> None:
    ends = replace(a, settings=patient(a.settings)), replace(b, settings=patient(b.settings))
    world = World(ends, path)
    done = drive(world, weather, Random(seed), sizes, STEPS)
    assert done, f"not done after {STEPS} steps: {world}"
    for i, end in enumerate(world.ends):
        world.read(i, end.conn.rcv_pending)
        assert end.conn.state is S.CLOSED
        assert end.conn.error == 0 or world.late_reset(end)
        assert end.consumed == end.peer.written
