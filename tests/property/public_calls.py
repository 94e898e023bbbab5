"""The public callables of slirpy's faces, derived from the faces themselves, and the kinds of their parameters.

A callable is a function, a constructor, a method, or a property that can be set. A method is listed once, under the
class that defines it. The annotation of a parameter says which kinds of values it takes; a number also has a range.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from hypothesis import strategies as st

__all__ = ["FACES", "PublicCall", "Range", "public_calls", "wrong_values"]

FACES = (
    "slirpy",
    "slirpy.links",
    "slirpy.testing",
    "slirpy.tcp",
    "slirpy.control",
    "slirpy.sandbox",
    "slirpy.snapshot",
    "slirpy.targets.web",
    "slirpy.testing.machines",
    "slirpy.testing.strategies",
)
Values = st.SearchStrategy[Any]
Range = tuple[float, float]
"""The least and the greatest number."""


@dataclass(frozen=True)
class PublicCall:
    """A callable, by its name without ``slirpy.``: ``testing.Guest.ping``, or ``testing.Remote.paused =``."""

    name: str
    owner: type | None
    """The class of a constructor, a method, or a property."""
    attribute: str
    """Name of the method or the property; empty for a constructor or a function."""
    parameters: tuple[inspect.Parameter, ...]
    item: Any
    """The class or the function."""

    @property
    def is_setter(self) -> bool:
        return self.name.endswith(" =")

    def on(self, instance: object) -> Callable[..., Any]:
        """Bind to an instance of the owner, which constructors and functions ignore."""
        if self.is_setter:
            return lambda value: setattr(instance, self.attribute, value)
        return getattr(instance, self.attribute) if self.attribute else self.item  # type: ignore[no-any-return] # Any


def _parameters(function: Any, *, bound: bool) -> tuple[inspect.Parameter, ...]:
    found = list(inspect.signature(function).parameters.values())
    return tuple(found if bound else found[1:])


def _of_class(face: str, kind: type) -> Iterator[PublicCall]:
    name = f"{face}{kind.__name__}"
    if not issubclass(kind, enum.Enum | BaseException):  # their constructors are Python's
        yield PublicCall(name, None, "", _parameters(kind, bound=True), kind)
    for attribute in dir(kind):
        if attribute.startswith("_"):
            continue
        found = inspect.getattr_static(kind, attribute)
        definer = next((each for each in kind.__mro__ if attribute in vars(each)), kind)
        if not definer.__module__.startswith("slirpy"):
            continue
        where = f"{face}{definer.__name__}.{attribute}"
        if isinstance(found, property) and found.fset is not None:
            yield PublicCall(f"{where} =", kind, attribute, _parameters(found.fset, bound=False), found.fset)
        elif isinstance(found, staticmethod | classmethod):
            function = getattr(kind, attribute)
            yield PublicCall(where, None, "", _parameters(function, bound=True), function)
        elif inspect.isfunction(found):
            yield PublicCall(where, kind, attribute, _parameters(found, bound=False), found)


@cache
def public_calls() -> dict[str, PublicCall]:
    """Every public callable, by name."""
    calls: dict[str, PublicCall] = {}
    for face in FACES:
        module = importlib.import_module(face)
        prefix = face.removeprefix("slirpy").removeprefix(".")
        for name in module.__all__:
            item = getattr(module, name)
            if inspect.isclass(item):
                found = list(_of_class(f"{prefix}." if prefix else "", item))
            elif inspect.isfunction(item):
                call = f"{prefix}.{name}" if prefix else name
                found = [PublicCall(call, None, "", _parameters(item, bound=True), item)]
            else:
                continue  # a constant, or a name of a type
            for each in found:
                calls.setdefault(each.name, each)
    return calls


# -------------------------------------------------------------------------------------- kinds of parameters


class Odd:
    """A class of no use, which can be called like a function."""

    def __init__(self, *_: object) -> None: ...

    def __repr__(self) -> str:
        return "<odd>"


async def coroutine(*_: object) -> None:
    """A function that nobody would await."""


POOL: dict[str, Values] = {
    "none": st.none(),
    "truth": st.booleans(),
    "whole": st.integers(-(2**40), 2**40),
    "fraction": st.floats(allow_nan=False, allow_infinity=False, width=32),
    "no number": st.sampled_from([math.nan]),
    "endless": st.sampled_from([math.inf, -math.inf]),
    "text": st.text(max_size=4),
    "bytes": st.binary(max_size=3),
    "list": st.lists(st.integers() | st.none(), max_size=2),
    "tuple": st.tuples(st.integers()),
    "dict": st.dictionaries(st.integers(), st.integers(), max_size=1),
    "object": st.builds(Odd),
    "class": st.just(Odd),
    "function": st.just(print),
    "coroutine": st.just(coroutine),
}
"""Values of every sort. A parameter is tried with all that it does not take."""

NO_ADDRESS = st.sampled_from(
    ["", "x", "192.0.2", "192.0.2.256", "::g", "192.0.2.7/24", b"", b"12345", bytes(15)]
)
NO_MAC = st.sampled_from(["", "x", "52:54:00:12:34", "01:00:5e:00:00:01", b"", b"12345", bytes(6), b"\xff" * 6])
EMPTY = st.just("")
NO_PATH = st.sampled_from(["", "a\0b"])


@dataclass(frozen=True)
class _Kind:
    takes: frozenset[str]
    """Sorts of the pool."""
    outside: Values | None = None
    """Values of these sorts that make no sense all the same."""


def _kind(takes: str, outside: Values | None = None) -> _Kind:
    return _Kind(frozenset(takes.split(", ")) if takes else frozenset(), outside)


KINDS: dict[str, _Kind] = {
    "None": _kind("none"),
    "bool": _kind("truth"),
    "str": _kind("text", EMPTY),
    "bytes": _kind("bytes"),
    "Buffer": _kind("bytes"),
    "AnyAddress": _kind("text, bytes", NO_ADDRESS),
    "IPv4Address": _kind("text", st.sampled_from(["", "x", "192.0.2", "::1"])),
    "IPv4Network": _kind("text", st.sampled_from(["", "x", "192.0.2.0/33", "::/8"])),
    "os.PathLike[str]": _kind("text", NO_PATH),
    "Path": _kind("text", NO_PATH),
    "Mapping": _kind("dict", st.sampled_from([{"x": 1}, {None: None}])),
    "object": _kind(", ".join(POOL)),
}
"""Kinds of values that a type in an annotation accepts."""
CALLED = _kind("class, function")
LISTED = _kind("list, tuple", st.sampled_from([[5.5], [object]]))
PAIRED = _kind("tuple", st.sampled_from([(), (1,), (1, 2, 3), ("x", "y"), (None, None)]))
OPAQUE = _kind("")
"""An object of a class of slirpy's or the standard library's: nothing in the pool is one."""


def _parts(annotation: str) -> list[str]:
    """The alternatives of a union."""
    parts, depth = [""], 0
    for character in annotation:
        depth += (character in "[(") - (character in "])")
        if character == "|" and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def _text_of(annotation: Any) -> str:
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    return annotation if isinstance(annotation, str) else str(getattr(annotation, "__name__", annotation))


def _outside(lowest: float, highest: float, *, whole: bool) -> Values:
    numbers: list[Values] = []
    if lowest > -math.inf:
        below = st.just(lowest - 1) if whole else st.floats(max_value=lowest, exclude_max=True, allow_nan=False)
        numbers += [below, st.integers(max_value=int(lowest) - 1)] if whole else [below]
    if highest < math.inf:
        above = (
            st.just(highest + 1) if whole else st.floats(min_value=highest, exclude_min=True, allow_nan=False)
        )
        numbers += [above, st.integers(int(highest) + 1)] if whole else [above]
    return st.one_of(numbers)


def _one(part: str, numbers: Range | None) -> _Kind:
    if part in ("int", "float"):
        assert numbers is not None, "a number without a range: state it in RANGES"
        sorts = "whole" if part == "int" else "whole, fraction, endless"
        return _kind(sorts, _outside(*numbers, whole=part == "int"))
    if part in KINDS:
        return KINDS[part]
    if part.startswith("Callable") or part in CALLABLES:
        return CALLED
    if part.startswith(("Sequence", "Iterable", "list", "frozenset")) or part.endswith(", ...]"):
        return LISTED
    if part.startswith("tuple"):
        return PAIRED
    if part.startswith(("Mapping", "dict")):
        return KINDS["Mapping"]
    return OPAQUE


CALLABLES = {"SocketOpener", "Wire", "Answer", "CongestionFactory"}
"""Names of types of functions."""


def wrong_values(annotation: Any, numbers: Range | None = None) -> Values:
    """Values that a parameter with this annotation does not take."""
    kinds = [_one(part, numbers) for part in _parts(_text_of(annotation))]
    taken = frozenset().union(*(kind.takes for kind in kinds))
    if "whole" not in taken and "fraction" not in taken:
        taken -= {"endless"}
    values = [values for sort, values in POOL.items() if sort not in taken]
    values += [kind.outside for kind in kinds if kind.outside is not None]
    return st.one_of(values)
