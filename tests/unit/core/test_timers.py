"""Deadlines, against a plain list as the judge."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slirpy.core.timers import SWEEP, Alarm, Timers


def test_calls_once_when_due() -> None:
    timers, rung = Timers(), list[int]()
    timers.call_at(10, lambda: rung.append(10))
    assert timers.deadline() == 10
    timers.run(9)
    assert rung == []
    timers.run(10)
    timers.run(11)
    assert rung == [10]
    assert timers.deadline() is None


def test_a_deferrable_call_waits_for_another_cause() -> None:
    timers, rung = Timers(), list[int]()
    timers.defer(10, lambda: rung.append(10))
    timers.defer(5, lambda: rung.append(5))
    timers.call_at(7, lambda: rung.append(7))
    assert timers.deadline() == 7
    timers.run(7)
    assert rung == [7, 5]
    assert timers.deadline() is None
    timers.run(9)
    assert rung == [7, 5]
    timers.run(12)
    timers.run(13)
    assert rung == [7, 5, 10]


def test_order_is_of_time_then_of_making() -> None:
    timers, rung = Timers(), list[str]()
    for name, when in (("b", 5), ("c", 5), ("a", 1), ("d", 9)):
        timers.call_at(when, lambda name=name: rung.append(name))  # type: ignore[misc] # mypy infers no lambda with a default
    timers.run(100)
    assert rung == ["a", "b", "c", "d"]


def test_cancelled() -> None:
    timers, rung = Timers(), list[int]()
    alarm = timers.call_at(5, lambda: rung.append(1))
    alarm.cancel()
    alarm.cancel()
    timers.run(10)
    assert rung == []


def test_moved_later_and_earlier() -> None:
    timers, rung = Timers(), list[int]()
    alarm = Alarm(timers, lambda: rung.append(0))
    alarm.set(5)
    alarm.set(50)
    timers.run(20)
    assert rung == []
    assert timers.deadline() == 50
    alarm.set(30)
    assert timers.deadline() == 30
    timers.run(30)
    assert rung == [0]
    timers.run(100)
    assert rung == [0]


def test_set_from_within_its_own_call() -> None:
    timers, rung = Timers(), list[int]()

    def again() -> None:
        rung.append(1)
        if len(rung) < 3:
            alarm.set(10 * len(rung) + 10)

    alarm = Alarm(timers, again)
    alarm.set(10)
    for now in (10, 20, 30, 40):
        timers.run(now)
    assert len(rung) == 3


def test_cancelled_by_another_that_is_due_at_the_same_time() -> None:
    timers, rung = Timers(), list[int]()
    timers.call_at(5, lambda: second.cancel())  # noqa: PLW0108 - second comes later
    second = timers.call_at(5, lambda: rung.append(2))
    timers.run(5)
    assert rung == []


def test_cancelled_and_moved_timers_are_swept() -> None:
    timers = Timers()
    for when in range(10 * SWEEP):
        timers.call_at(10**12 + when, lambda: None).cancel()
    assert len(timers.heap) <= SWEEP
    keep = Alarm(timers, lambda: None)
    for when in range(10 * SWEEP):
        keep.set(10**9 - when)
    assert len(timers.heap) <= SWEEP
    assert timers.deadline() == 10**9 - 10 * SWEEP + 1
    live = [timers.call_at(1000 + n, lambda: None) for n in range(5 * SWEEP)]
    assert len(timers.heap) <= 5 * SWEEP + SWEEP
    assert live[0].when == 1000
    assert timers.deadline() == 1000


ACTIONS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["set", "none", "cancel", "run"]), st.integers(0, 60)),
    max_size=80,
)


@given(ACTIONS, st.integers(0, 3))
def test_like_a_plain_list(actions: list[tuple[int, str, int]], limit: int) -> None:
    timers = Timers()
    timers._limit = limit  # sweep at any moment
    rung: list[tuple[int, int]] = []
    now = 0
    alarms = [Alarm(timers, lambda n=n: rung.append((n, now))) for n in range(5)]  # type: ignore[misc] # mypy infers no lambda with a default
    want: dict[int, int] = {}
    dead: set[int] = set()
    for number, action, amount in actions:
        if action == "run":
            now += amount
            before = len(rung)
            timers.run(now)
            due = {n for n, when in want.items() if when <= now}
            assert {n for n, _ in rung[before:]} == due
            assert len(rung) - before == len(due)
            for n in due:
                del want[n]
        elif action == "cancel":
            alarms[number].cancel()
            want.pop(number, None)
            dead.add(number)
        elif number not in dead:
            alarms[number].set(now + amount if action == "set" else None)
            want.pop(number, None)
            if action == "set":
                want[number] = now + amount
        deadline = timers.deadline()
        if want:
            assert deadline is not None
            assert deadline <= min(want.values())
