"""Events and ready calls of a scheduler."""

from __future__ import annotations

from slirpy.testing.sim.scheduler import Scheduler

NEVER = 1 << 62


def run(scheduler: Scheduler) -> None:
    while scheduler.run_next(NEVER) is not None:
        pass


def test_events_happen_in_order_of_time_and_then_of_scheduling() -> None:
    scheduler = Scheduler()
    seen: list[object] = []
    for name, when in (("late", 20), ("first", 10), ("second", 10)):
        scheduler.at(when, seen.append, name)
    run(scheduler)
    assert seen == ["first", "second", "late"]


def test_a_cancelled_event_does_not_advance_time() -> None:
    scheduler = Scheduler()
    seen: list[object] = []
    scheduler.at(10, seen.append, "kept")
    scheduler.cancel(scheduler.at(600, seen.append, "cancelled"))
    run(scheduler)
    assert (seen, scheduler.now) == (["kept"], 10)


def test_an_event_can_cancel_one_of_the_same_time() -> None:
    scheduler = Scheduler()
    seen: list[object] = []
    scheduler.at(10, lambda: scheduler.cancel(other))
    other = scheduler.at(10, seen.append, "cancelled")
    run(scheduler)
    assert seen == []


def test_many_cancelled_events_are_removed_even_while_events_run() -> None:
    scheduler = Scheduler()
    seen: list[object] = []
    numbers = [scheduler.at(100 + i, seen.append, i) for i in range(1000)]

    def cancel() -> None:
        for number in numbers[:-1]:
            scheduler.cancel(number)

    scheduler.at(5, cancel)
    scheduler.at(5, seen.append, "same time")
    scheduler.run_next(NEVER)
    assert len(scheduler._events) < 500
    run(scheduler)
    assert seen == ["same time", 999]


def test_an_event_after_the_end_waits() -> None:
    scheduler = Scheduler()
    seen: list[object] = []
    scheduler.at(10, seen.append, "event")
    assert (scheduler.run_next(9), scheduler.now, seen) == (10, 0, [])
    assert (scheduler.run_next(10), scheduler.now, seen) == (10, 10, ["event"])
    assert scheduler.run_next(NEVER) is None
