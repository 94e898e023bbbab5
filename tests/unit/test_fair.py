"""Counts, turns and rates, each beside a plain model of it."""

from __future__ import annotations

from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.fair import RoundRobin, Tally, TokenBucket
from slirpy.units import MS, SECOND

OWNERS = st.sampled_from("abcd")


@given(st.lists(st.tuples(OWNERS, st.booleans())))
def test_a_tally_counts(changes: list[tuple[str, bool]]) -> None:
    tally: Tally[str] = Tally()
    model: Counter[str] = Counter()
    for owner, more in changes:
        if more or model[owner]:
            by = 1 if more else -1
            tally.change(owner, by)
            model[owner] += by
        assert [tally.number(each) for each in "abcd"] == [model[each] for each in "abcd"]
        assert len(tally) == len(+model)
        assert tally.top == max(model.values(), default=0)
        if +model:
            assert model[tally.largest()] == tally.top


def test_of_equals_the_one_that_has_so_many_for_longest_has_most() -> None:
    tally: Tally[str] = Tally()
    for owner in "ab":
        tally.change(owner, 1)
    assert tally.largest() == "a"
    tally.change("a", 1)
    tally.change("a", -1)
    assert tally.largest() == "b"


@given(st.lists(st.one_of(st.sampled_from([b"a", b"b", b"c"]), st.just("next"), st.integers(0, 20))))
def test_parties_have_their_turns(steps: list[object]) -> None:
    turns: RoundRobin[int] = RoundRobin()
    queues: dict[bytes, deque[int]] = {}
    for number, step in enumerate(steps):
        if isinstance(step, bytes):
            turns.add(number, step)
            queues.setdefault(step, deque()).append(number)
        elif isinstance(step, int):
            waiting = [party for party, queue in queues.items() if step in queue]
            assert turns.remove(step) == bool(waiting)
            for party in waiting:
                queues[party].remove(step)
                if not queues[party]:
                    del queues[party]
        elif queues:
            party, queue = next(iter(queues.items()))
            del queues[party]
            assert turns.next() == queue.popleft()
            if queue:
                queues[party] = queue
        assert len(turns) == sum(map(len, queues.values()))
        assert all(item in turns for queue in queues.values() for item in queue)
    turns.clear()
    assert not turns


def test_the_largest_user_gives_way_if_it_still_has_more() -> None:
    turns: RoundRobin[int] = RoundRobin()
    assert turns.to_evict(b"a") is None
    for number in range(3):
        turns.add(number, b"a")
    assert turns.to_evict(b"a") is None
    assert turns.to_evict(b"b") == 2
    turns.add(3, b"b")
    assert turns.to_evict(b"b") == 2
    turns.add(4, b"b")
    assert turns.to_evict(b"b") is None


class Tokens:
    """A bucket as it is usually described: tokens that are added as time passes."""

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self.rate, self.full, self.tokens, self.filled = rate, burst * SECOND, burst * SECOND, now

    def take(self, now: int) -> bool:
        self.tokens = min(self.tokens + (now - self.filled) * self.rate, self.full)
        self.filled = now
        if self.tokens < SECOND:
            return False
        self.tokens -= SECOND
        return True


@given(
    st.integers(1, 5000),
    st.integers(1, 50),
    st.integers(0, 1 << 62),
    st.lists(st.one_of(st.just(0), st.integers(0, 3 * MS), st.integers(0, 3 * SECOND)), max_size=200),
)
def test_a_bucket_admits_one_event_for_each_token(rate: int, burst: int, now: int, steps: list[int]) -> None:
    bucket, tokens = TokenBucket(rate, burst, now), Tokens(rate, burst, now)
    for step in steps:
        now += step
        assert bucket.take(now) == tokens.take(now)


@pytest.mark.parametrize(("rate", "burst"), [(1, 1), (2, 20), (4000, 1000)])
def test_the_burst_and_the_rate(rate: int, burst: int) -> None:
    bucket = TokenBucket(rate, burst, 5)
    assert sum(bucket.take(5) for _ in range(2 * burst)) == burst
    assert not bucket.take(5 + SECOND // rate - 1)
    assert bucket.take(5 + SECOND // rate)
    assert not bucket.take(5 + SECOND // rate)
    assert sum(bucket.take(10**15) for _ in range(2 * burst)) == burst
