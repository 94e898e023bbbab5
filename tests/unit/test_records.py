"""Data classes of slirpy's own behave like those of the standard library, which take longer to import."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from slirpy import records

if not TYPE_CHECKING:
    from slirpy.records import dataclass
else:
    from dataclasses import dataclass

MAKERS = pytest.mark.parametrize("maker", [dataclasses, records], ids=["original", "slirpy"])


def made(maker: Any, **options: Any) -> Any:
    """A class with a field of each sort."""

    @maker.dataclass(**options)
    class Base:
        first: int
        second: str = "two"

    @maker.dataclass(**options)
    class Record(Base):
        third: list[int] = maker.field(default_factory=list)
        hidden: int = maker.field(default=4, repr=False, compare=False)

    return Record


OPTIONS = pytest.mark.parametrize(
    "options",
    [{}, {"frozen": True}, {"kw_only": True}, {"frozen": True, "slots": True}, {"slots": True}],
    ids=str,
)


def outcome(call: Callable[[], object]) -> object:
    try:
        return call()
    except Exception as error:
        return type(error)


def facts(kind: Any) -> list[object]:
    """Collect results of calls that concern a class of :func:`made`."""
    one = kind(first=1)
    return [
        repr(one),
        repr(kind(first=1, second="x", third=[3], hidden=9)),
        one == kind(first=1, hidden=7),
        one == kind(first=2),
        one == 1,
        outcome(lambda: kind(1, "two", [3]).third),
        outcome(lambda: kind(1, "two", [3], 4, 5)),
        outcome(lambda: kind(1, first=1)),
        outcome(kind),
        outcome(lambda: kind(first=1, fifth=5)),
        outcome(lambda: setattr(one, "first", 3)),
        isinstance(outcome(lambda: setattr(one, "sixth", 3)), type),
        outcome(lambda: delattr(one, "second")),
        kind.__hash__ is None,
        [
            (each.name, each.type, each.default == 4, each.repr, each.compare, each.kw_only)
            for each in dataclasses.fields(kind)
        ],
        repr(dataclasses.replace(kind(first=1), first=5)),
        dataclasses.asdict(kind(first=1)),
        dataclasses.is_dataclass(kind),
        list(inspect.signature(kind).parameters),
        [each.kind for each in inspect.signature(kind).parameters.values()],
        kind.__match_args__,
        hasattr(one, "__dict__"),
        kind(first=1).third is kind(first=1).third,
        repr(copy.copy(kind(first=1, second="y"))),
    ]


@OPTIONS
def test_records_behave_like_dataclasses(options: dict[str, bool]) -> None:
    assert facts(made(records, **options)) == facts(made(dataclasses, **options))


@dataclass(frozen=True, slots=True)
class Frozen:
    """One that can be found again by its name."""

    value: int
    other: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError(self.value)


def test_records_can_be_pickled_and_hashed() -> None:
    one = Frozen(1, (2,))
    again = pickle.loads(pickle.dumps(one))
    assert again == one
    assert {one: "found"}[again] == "found"
    assert records.replace(one, value=2) == Frozen(2, (2,))
    with pytest.raises(ValueError, match="-1"):
        Frozen(-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, "value", 3)  # noqa: B010 - mypy knows that this is wrong


def test_methods_of_the_class_are_kept() -> None:
    @dataclass(frozen=True, slots=True, init=False, repr=False)
    class Custom:
        value: int

        def __init__(self) -> None:
            object.__setattr__(self, "value", 7)

        def __repr__(self) -> str:
            return "mine"

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 8

    assert (repr(Custom()), Custom() == 1, hash(Custom()), Custom().value) == ("mine", True, 8, 7)


@MAKERS
def test_a_match_takes_fields_by_position(maker: Any) -> None:
    kind = made(maker)
    match kind(1):
        case kind(first, second):
            assert (first, second) == (1, "two")


class Original(typing.NamedTuple):
    """A pair."""

    first: int
    second: str = "two"

    @property
    def both(self) -> str:
        """The fields together."""
        return f"{self.first} {self.second}"

    def __str__(self) -> str:
        return "mine"


class Ours(records.NamedTuple):
    """A pair."""

    first: int
    second: str = "two"

    @property
    def both(self) -> str:
        """The fields together."""
        return f"{self.first} {self.second}"

    def __str__(self) -> str:
        return "mine"


class Single(records.NamedTuple):
    """One field, and a class derived from it before there is any object."""

    value: int


class Derived(Single):
    """A subclass with a method that calls that of its base."""

    def __repr__(self) -> str:
        return super().__repr__().upper()


def traits(kind: Any) -> list[object]:
    """Collect results of calls that concern a class of named tuples."""
    one = kind(1)
    return [
        repr(one).partition("(")[2],
        str(one),
        one.both,
        one == (1, "two"),
        hash(one) == hash((1, "two")),
        kind(second="x", first=3),
        outcome(kind),
        outcome(lambda: kind(1, "two", 3)),
        outcome(lambda: kind(1, third=3)),
        outcome(lambda: setattr(one, "first", 3)),
        outcome(lambda: setattr(one, "third", 3)),
        one._asdict(),
        one._replace(second="y"),
        outcome(lambda: one._replace(third=3)),
        kind._make([4, "five"]),
        outcome(lambda: kind._make([4])),
        kind._fields,
        kind._field_defaults,
        kind.__match_args__,
        kind.__doc__,
        [(each.name, each.default, each.kind) for each in inspect.signature(kind).parameters.values()],
        type(copy.copy(one)) is kind and copy.copy(one) == one,
        type(pickle.loads(pickle.dumps(one))) is kind,
    ]


def test_named_tuples_behave_like_those_of_typing() -> None:
    assert traits(Ours) == traits(Original)


def test_a_class_derived_from_a_named_tuple() -> None:
    assert [repr(Derived(1)), repr(Single(2)), repr(Derived(3)._replace(value=4))] == [
        "DERIVED(VALUE=1)",
        "Single(value=2)",
        "DERIVED(VALUE=4)",
    ]
    assert isinstance(Derived(1), Single)
    assert not isinstance(Single(1), Derived)
