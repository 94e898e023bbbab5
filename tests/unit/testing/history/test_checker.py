"""The checker against one that tries all orders, and its explanations."""

from __future__ import annotations

from itertools import chain, combinations, permutations
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slirpy.errors import ConfigError
from slirpy.testing.history import (
    CounterModel,
    History,
    KeyValueModel,
    Linearization,
    Model,
    Operation,
    QueueModel,
    RegisterModel,
    SetModel,
    check_linearizable,
)

VALUES = st.integers(0, 2)
OPERATIONS: dict[str, tuple[Model[Any], st.SearchStrategy[tuple[str, object, object]]]] = {
    "register": (
        RegisterModel(0),
        st.one_of(
            st.tuples(st.just("read"), st.none(), VALUES),
            st.tuples(st.just("write"), VALUES, st.none()),
            st.tuples(st.just("cas"), st.tuples(VALUES, VALUES), st.booleans()),
        ),
    ),
    "counter": (
        CounterModel(),
        st.one_of(
            st.tuples(st.just("read"), st.none(), VALUES),
            st.tuples(st.just("add"), st.sampled_from([None, 1, 2]), st.none() | VALUES),
        ),
    ),
    "queue": (
        QueueModel(),
        st.one_of(
            st.tuples(st.just("put"), VALUES, st.none()),
            st.tuples(st.just("get"), st.none(), st.none() | VALUES),
        ),
    ),
    "set": (
        SetModel(),
        st.one_of(
            st.tuples(st.sampled_from(["add", "remove"]), VALUES, st.none() | st.booleans()),
            st.tuples(st.just("contains"), VALUES, st.booleans()),
            st.tuples(st.just("read"), st.none(), st.sets(VALUES)),
        ),
    ),
    "key-value": (
        KeyValueModel(),
        st.one_of(
            st.tuples(st.just("get"), st.sampled_from("ab"), st.none() | VALUES),
            st.tuples(st.just("put"), st.tuples(st.sampled_from("ab"), VALUES), st.none()),
            st.tuples(st.just("delete"), st.sampled_from("ab"), st.none()),
        ),
    ),
}


@st.composite
def histories(draw: st.DrawFn, operation: st.SearchStrategy[tuple[str, object, object]]) -> History:
    """Up to six operations of three processes, in any order, with any result."""
    history = History()
    pending: dict[int, tuple[Any, object]] = {}
    begun = 0
    for _ in range(draw(st.integers(1, 12))):
        process = draw(st.integers(0, 2))
        if process in pending:
            call, output = pending.pop(process)
            match draw(st.sampled_from(["ok", "ok", "ok", "unknown", "fail"])):
                case "ok":
                    call.ok(output)
                case "unknown":
                    call.unknown()
                case _:
                    call.fail()
        elif begun < 6:
            begun += 1
            name, given_, output = draw(operation)
            pending[process] = history.invoke(process, name, given_), output
    return history


def explains(order: tuple[Operation, ...], model: Model[Any]) -> bool:
    """Report whether an order keeps real time and the model, object by object."""
    for number, later in enumerate(order):
        for earlier in order[:number]:
            if later.ended is not None and later.ended < earlier.began:
                return False
    states: dict[object, Any] = {}
    for each in order:
        key = model.key(each.name, each.input)
        state = model.step(states.get(key, model.initial()), each.name, each.input, each.output)
        if state is None:
            return False
        states[key] = state
    return True


def by_brute_force(history: History, model: Model[Any]) -> bool:
    """Try all orders of all operations, with and without each unknown one."""
    operations = history.operations()
    known = [each for each in operations if each.ended is not None]
    unknown = [each for each in operations if each.ended is None]
    some = chain.from_iterable(combinations(unknown, count) for count in range(len(unknown) + 1))
    return any(explains(order, model) for extra in some for order in permutations((*known, *extra)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_checker_agrees_with_brute_force(name: str) -> None:
    model, operation = OPERATIONS[name]
    verdicts = set()

    @settings(max_examples=150)
    @given(histories(operation))
    def check(history: History) -> None:
        found = check_linearizable(history, model)
        assert found.is_linearizable is by_brute_force(history, model)
        if found:
            assert all(each in found.order for each in history.operations() if each.ended is not None)
            by_object: dict[object, list[Operation]] = {}
            for each in found.order:
                by_object.setdefault(model.key(each.name, each.input), []).append(each)
            assert all(explains(tuple(each), model) for each in by_object.values())
        else:
            assert found.misplaced in history.operations()
            assert explains(found.order, model)
            assert found.misplaced not in found.order
        verdicts.add(bool(found))

    check()
    assert verdicts == {True, False}


def stale_read() -> Linearization:
    history = History()
    history.invoke("client 1", "write", 1).ok()
    second = history.invoke("client 1", "write", 2)
    read = history.invoke("client 2", "read")
    second.ok()
    read.ok(2)
    third = history.invoke("client 3", "write", 3)
    read = history.invoke("client 2", "read")
    third.unknown("timeout")
    read.ok(1)
    return check_linearizable(history, RegisterModel())


def test_a_failure_is_explained() -> None:
    found = stale_read()
    assert not found
    assert found.misplaced is not None
    assert found.misplaced.output == 1
    assert str(found) == (
        "not linearizable: no order has a place for  client 2: read -> 1\n"
        "before it the model can be in 2 states: (3,), (2,)\n"
        "longest order that leads there, 4 of 5 operations:\n"
        "  client 1: write 1 -> ok\n"
        "  client 1: write 2 -> ok\n"
        "  client 2: read -> 2\n"
        "  client 3: write 3 -> ?\n"
        "in time, from left to right:\n"
        "  client 1: write 1 -> ok  ├─┤\n"
        "  client 1: write 2 -> ok      ├───┤\n"
        "  client 2: read -> 2            ├───┤\n"
        "  client 3: write 3 -> ?               ├─────?\n"
        "  client 2: read -> 1                    ├─┤  <- no place"
    )


def test_the_explanation_stays_short() -> None:
    history = History()
    for number in range(50):
        history.invoke("a", "write", f"{number} {'x' * 100}").ok()
    for number in range(30):
        history.invoke(number, "write", 1)
    history.invoke("a", "read").ok(0)
    text = str(check_linearizable(history, RegisterModel()))
    assert "... 41 before these" in text
    assert "... 11 more that overlap" in text
    assert len(text.splitlines()) < 40
    assert max(map(len, text.splitlines()[3:])) < 120


def test_the_key_that_fails_is_named() -> None:
    history = History()
    history.invoke("a", "put", ("x", 1)).ok()
    history.invoke("a", "put", ("y", 2)).ok()
    history.invoke("a", "get", "y").ok(1)
    found = check_linearizable(history, KeyValueModel())
    assert str(found).startswith("not linearizable for key 'y': no order has a place for  a: get 'y' -> 1\n")
    assert [each.input for each in found.order] == [("y", 2)]


@pytest.mark.parametrize(("value", "expected"), [(0, True), (1, True), (5, True), (6, False)])
def test_an_unknown_operation_takes_effect_at_any_later_time_or_never(value: int, expected: bool) -> None:
    history = History()
    for process in range(5):
        history.invoke(process, "add").unknown()
    history.invoke("late", "read").ok(0)
    history.invoke("late", "read").ok(value)
    assert bool(check_linearizable(history, CounterModel())) is expected


def test_a_failed_operation_never_takes_effect() -> None:
    history = History()
    history.invoke("a", "add").fail()
    history.invoke("a", "read").ok(1)
    assert not check_linearizable(history, CounterModel())


def test_a_pending_operation_may_have_taken_effect() -> None:
    history = History()
    history.invoke("a", "add")
    history.invoke("b", "read").ok(1)
    assert check_linearizable(history, CounterModel())


def test_equal_unknown_operations_do_not_double_the_work() -> None:
    """Forty repeated requests have 2 ** 40 subsets, but only 41 effects."""
    history = History()
    for process in range(40):
        history.invoke(process, "add").unknown()
    history.invoke("a", "read").ok(41)
    found = check_linearizable(history, CounterModel())
    assert found.is_linearizable is False
    assert found.steps < 3000


def test_a_long_history_takes_few_steps() -> None:
    random, history, value = Random(1), History(), 0
    pending: dict[int, tuple[Any, bool, int]] = {}
    for _ in range(2000):
        process = random.randrange(5)
        if process in pending:
            call, is_write, number = pending.pop(process)
            value = number if is_write else value
            call.ok(None if is_write else value)
        else:
            is_write, number = random.random() < 0.5, random.randrange(9)
            name = "write" if is_write else "read"
            call = history.invoke(process, name, number if is_write else None)
            pending[process] = call, is_write, number
    found = check_linearizable(history, RegisterModel(0))
    assert found
    assert found.steps < 10_000


def test_a_search_can_be_given_up() -> None:
    history = History()
    for number in range(20):
        history.invoke(f"w{number}", "write", number)
    history.invoke("a", "read").ok(99)
    found = check_linearizable(history, RegisterModel(), max_steps=500)
    assert found.is_linearizable is None
    assert not found
    assert str(found) == "undecided: given up after 500 steps of the model"


def test_an_empty_history_is_linearizable() -> None:
    found = check_linearizable(History(), RegisterModel())
    assert found
    assert str(found) == "linearizable: 0 operations placed, in 0 steps of the model"


def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"history must be a slirpy.testing.History; given was \[\]"):
        check_linearizable([], RegisterModel())  # type: ignore[arg-type] # that is the point
    with pytest.raises(ConfigError, match="model must be a subclass of"):
        check_linearizable(History(), 3)  # type: ignore[arg-type] # that is the point
    with pytest.raises(ConfigError, match="max_steps 0"):
        check_linearizable(History(), RegisterModel(), max_steps=0)
