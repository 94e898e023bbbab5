"""Two connections over a path that does its worst, and users who do what they like: what must hold always.

The rules are in :mod:`tests.property.tcp_world`, what must hold is in :mod:`tests.property.tcp_observer`. At the end
the path becomes perfect, and then everything arrives and both sides close, in bounded time. Without faults an example
is an ordinary connection.
"""

from __future__ import annotations

import pytest
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.property.tcp_choices import (
    SEED,
    examples,
    mtus,
    paths,
    sides,
    sizes,
    spans,
    which_end,
    which_segment,
)
from tests.property.tcp_world import Path, Side, World


class Machine(RuleBasedStateMachine):
    """Two ends, two users, one path."""

    world: World

    @initialize(a=sides, b=sides, path=paths)
    def open(self, a: Side, b: Side, path: Path) -> None:
        self.world = World((a, b), path)

    # ------------------------------------------------------------------------------------ users

    @rule(i=which_end, size=sizes)
    def writes(self, i: int, size: int) -> None:
        self.world.write(i, size)
        self.world.flush(i)

    @rule(i=which_end, size=st.integers(1, 2000))
    def writes_urgently(self, i: int, size: int) -> None:
        self.world.write(i, size, urgent=True)
        self.world.flush(i)

    @rule(i=which_end, size=sizes)
    def reads(self, i: int, size: int) -> None:
        self.world.read(i, size)
        self.world.flush(i)

    @rule(i=which_end)
    def shuts_down(self, i: int) -> None:
        self.world.shutdown(i)
        self.world.flush(i)

    @rule(i=which_end, sure=st.sampled_from((False, False, False, True)))
    def aborts(self, i: int, sure: bool) -> None:
        if sure:
            self.world.abort(i)
            self.world.flush(i)

    # ------------------------------------------------------------------------------------ a perfect path

    @rule(to=which_end, count=st.integers(1, 10))
    def arrive(self, to: int, count: int) -> None:
        for _ in range(count):
            self.world.deliver(to)

    @rule(rounds=st.integers(1, 8), reading=st.sampled_from((True, False)))
    def talk(self, rounds: int, reading: bool) -> None:
        world = self.world
        for _ in range(rounds):
            for to in (0, 1):
                for _ in range(len(world.wire[to])):
                    world.deliver(to)
                if reading:
                    world.read(to, 1 << 30)
                    world.flush(to)

    # ------------------------------------------------------------------------------------ faults

    @rule(to=which_end, count=st.integers(1, 10))
    def arrive_in_a_batch(self, to: int, count: int) -> None:
        for _ in range(count):
            self.world.deliver(to, flush=False)
        self.world.flush(to)

    @rule(to=which_end, which=which_segment)
    def overtakes(self, to: int, which: int) -> None:
        self.world.deliver(to, which)

    @rule(to=which_end, which=which_segment)
    def is_lost(self, to: int, which: int) -> None:
        self.world.lose(to, which)

    @rule(to=which_end)
    def all_are_lost(self, to: int) -> None:
        while self.world.wire[to]:
            self.world.lose(to)

    @rule(to=which_end, which=which_segment)
    def is_repeated(self, to: int, which: int) -> None:
        self.world.repeat(to, which)

    @rule(to=which_end, which=which_segment)
    def is_delayed(self, to: int, which: int) -> None:
        self.world.delay(to, which)

    @rule(to=which_end, bit=st.integers(0, 20_000))
    def is_corrupted(self, to: int, bit: int) -> None:
        self.world.corrupt(to, bit)

    @rule(to=which_end, size=st.integers(0, 100))
    def is_truncated(self, to: int, size: int) -> None:
        self.world.truncate(to, size)

    @rule(to=which_end, size=st.integers(0, 70_000))
    def is_shortened(self, to: int, size: int) -> None:
        self.world.shorten(to, size)

    @rule(to=which_end, size=st.integers(0, 70_000))
    def is_split(self, to: int, size: int) -> None:
        self.world.split(to, size)

    @rule(to=which_end)
    def are_merged(self, to: int) -> None:
        self.world.merge(to)

    # ------------------------------------------------------------------------------------ ICMP, time

    @rule(to=which_end, mtu=mtus)
    def path_narrows(self, to: int, mtu: int) -> None:
        self.world.narrow(to, mtu)

    @rule()
    def too_big_is_told(self) -> None:
        self.world.tell_too_big()

    @rule(i=which_end, back=st.integers(0, 3000), mtu=st.integers(0, 2000), length=st.integers(0, 2000))
    def too_big_is_made_up(self, i: int, back: int, mtu: int, length: int) -> None:
        conn = self.world.ends[i].conn
        self.world.complain(i, (conn.snd_max - back) & 0xFFFFFFFF, mtu, length)
        self.world.flush(i)

    @rule(i=which_end, code=st.sampled_from((0, 1, 3, 13)), sure=st.sampled_from((False, True)))
    def is_refused(self, i: int, code: int, sure: bool) -> None:
        if sure:
            self.world.refuse(i, code)
            self.world.flush(i)

    @rule()
    def a_deadline_passes(self) -> None:
        self.world.to_deadline()

    @rule(span=spans)
    def time_passes(self, span: int) -> None:
        self.world.pass_time(span)

    # ------------------------------------------------------------------------------------ always

    def teardown(self) -> None:
        if hasattr(self, "world") and self.world.sane:
            self.world.finish()


@pytest.mark.long
@pytest.mark.rfc("9293", "MUST-38")
def test_two_connections_and_the_worst_path() -> None:
    machine = hypothesis_seed(int(SEED))(Machine) if SEED is not None else Machine
    run_state_machine_as_test(machine, settings=examples(150))
