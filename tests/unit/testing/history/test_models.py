"""The ready-made models against Python's own objects."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.errors import ConfigError
from slirpy.testing.history import (
    UNKNOWN,
    CounterModel,
    KeyValueModel,
    Model,
    QueueModel,
    RegisterModel,
    SetModel,
)
from slirpy.testing.history.models import frozen

MODELS: list[Model[Any]] = [RegisterModel(), CounterModel(), SetModel(), QueueModel(), KeyValueModel()]
SMALL = st.integers(0, 3)


class RealRegister:
    def __init__(self) -> None:
        self.value: object = None

    def read(self, _: None) -> object:
        return self.value

    def write(self, value: object) -> None:
        self.value = value

    def cas(self, pair: tuple[object, object]) -> bool:
        is_equal = self.value == pair[0]
        if is_equal:
            self.value = pair[1]
        return is_equal


class RealCounter:
    def __init__(self) -> None:
        self.value = 0

    def read(self, _: None) -> int:
        return self.value

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value


class RealSet:
    def __init__(self) -> None:
        self.values: set[object] = set()

    def add(self, value: object) -> bool:
        before = len(self.values)
        self.values.add(value)
        return len(self.values) > before

    def remove(self, value: object) -> bool:
        before = len(self.values)
        self.values.discard(value)
        return len(self.values) < before

    def contains(self, value: object) -> bool:
        return value in self.values

    def read(self, _: None) -> list[object]:
        return list(self.values)


class RealQueue:
    def __init__(self) -> None:
        self.values: deque[object] = deque()

    def put(self, value: object) -> None:
        self.values.append(value)

    def get(self, _: None) -> object:
        return self.values.popleft() if self.values else None


REAL: list[tuple[Model[Any], Any, st.SearchStrategy[tuple[str, object]]]] = [
    (
        RegisterModel(),
        RealRegister,
        st.one_of(
            st.tuples(st.just("read"), st.none()),
            st.tuples(st.just("write"), st.lists(SMALL, max_size=1)),
            st.tuples(st.just("cas"), st.tuples(st.lists(SMALL, max_size=1), st.lists(SMALL, max_size=1))),
        ),
    ),
    (CounterModel(), RealCounter, st.tuples(st.sampled_from(["add", "read"]), SMALL)),
    (SetModel(), RealSet, st.tuples(st.sampled_from(["add", "remove", "contains", "read"]), SMALL)),
    (QueueModel(), RealQueue, st.tuples(st.sampled_from(["put", "get"]), SMALL)),
]


@pytest.mark.parametrize(("model", "make", "operation"), REAL, ids=lambda each: type(each).__name__)
def test_a_model_answers_as_the_real_thing(
    model: Model[Any], make: Any, operation: st.SearchStrategy[tuple[str, object]]
) -> None:
    @given(st.lists(operation, max_size=12))
    def check(operations: list[tuple[str, object]]) -> None:
        real, state = make(), model.initial()
        for name, value in operations:
            output = getattr(real, name)(value)
            if output is not None:
                assert model.step(state, name, value, "something else") is None
            any_output = model.step(state, name, value, UNKNOWN)
            state = model.step(state, name, value, output)
            assert state is not None
            assert any_output == state
            hash(state)

    check()


def test_keys_are_apart() -> None:
    model = KeyValueModel()
    assert model.key("put", ("a", 1)) == model.key("get", "a") == model.key("cas", ["a", 1, 2]) == "a"
    state = model.step(model.initial(), "put", ("a", 1), None)
    assert state is not None
    assert model.step(state, "get", "a", 1) == state
    assert model.step(state, "cas", ("a", 2, 3), False) == state
    assert model.step(state, "cas", ("a", 1, 3), True) == (3,)
    assert model.step(state, "delete", "a", None) == model.initial()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_an_operation_that_a_model_does_not_have_is_named(model: Model[Any]) -> None:
    with pytest.raises(ConfigError, match=r"has no operation 'fly'; it has \w+"):
        model.step(model.initial(), "fly", None, None)


def test_an_input_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ConfigError, match="cas of RegisterModel needs two values; given was 3"):
        RegisterModel().step((None,), "cas", 3, True)
    with pytest.raises(ConfigError, match="add of CounterModel needs a whole number or None; given was 'x'"):
        CounterModel().step(0, "add", "x", None)


def test_values_may_be_lists_sets_and_dictionaries() -> None:
    assert frozen([1, {"a": [2]}, {3}]) == frozen((1, {"a": (2,)}, frozenset({3})))
    assert frozen([1]) != frozen([2])
    with pytest.raises(ConfigError, match="cannot be compared"):
        frozen(bytearray(b"x"))
