"""Models: how one copy of a service would answer, one operation after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Set
from typing import ClassVar, Generic, TypeVar

from slirpy.checks import is_whole, shown
from slirpy.errors import ConfigError
from slirpy.testing.history.events import UNKNOWN

__all__ = [
    "CounterModel",
    "KeyValueModel",
    "Model",
    "QueueModel",
    "RegisterModel",
    "SetModel",
    "frozen",
    "matches",
]

_S = TypeVar("_S", bound=Hashable)


class Model(ABC, Generic[_S]):
    """A sequential service with states of one class, which must be hashable and other than None.

    Subclass it; :class:`RegisterModel` shows how.
    """

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @abstractmethod
    def initial(self) -> _S:
        """Return the first state."""

    @abstractmethod
    def step(self, state: _S, operation: str, value: object, output: object) -> _S | None:
        """Do one operation.

        Args:
            state: the state before it.
            operation, value: name and input, as invoked.
            output: as returned; :data:`UNKNOWN` fits every result.

        Returns:
            The state after it; None if the operation cannot have this output in this state.
        """

    def key(self, operation: str, value: object) -> Hashable:
        """Return the object that an operation concerns; operations on different objects are checked apart.

        The default is one object for all.
        """
        return None


def frozen(value: object) -> Hashable:
    """Return a hashable value that equals that of an equal list, set or dictionary.

    Raises:
        ConfigError: an object of another class, which is not hashable.
    """
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value))
    if isinstance(value, Mapping):
        return frozenset((key, frozen(each)) for key, each in value.items())
    if isinstance(value, Set):
        return frozenset(map(frozen, value))
    if not isinstance(value, Hashable):
        raise ConfigError(
            f"{shown(value)} cannot be compared: values are numbers, texts, bytes, None, or lists, sets and"
            " dictionaries of them"
        )
    return value


def matches(output: object, expected: object) -> bool:
    """Report whether an output is as expected; :data:`UNKNOWN` always is."""
    return output is UNKNOWN or frozen(output) == frozen(expected)


def _no_such(model: object, operation: str, known: tuple[str, ...]) -> ConfigError:
    return ConfigError(f"{type(model).__name__} has no operation {operation!r}; it has {', '.join(known)}")


def _pair(model: object, operation: str, value: object, size: int) -> tuple[object, ...]:
    if not isinstance(value, list | tuple) or len(value) != size:
        shape = {2: "two", 3: "three"}[size]
        raise ConfigError(f"{operation} of {type(model).__name__} needs {shape} values; given was {value!r}")
    return tuple(value)


class RegisterModel(Model[tuple[Hashable]]):
    """One value. Operations: ``read``; ``write`` a value; ``cas`` of (old, new), whose output is True or False.

    Args:
        value: the value at first.
    """

    OPERATIONS: ClassVar = ("read", "write", "cas")

    def __init__(self, value: object = None) -> None:
        self._value = value

    def initial(self) -> tuple[Hashable]:
        """Return the first state: a tuple of the value."""
        return (frozen(self._value),)

    def step(
        self, state: tuple[Hashable], operation: str, value: object, output: object
    ) -> tuple[Hashable] | None:
        """Read, write, or compare and set; the output of ``write`` does not matter."""
        if operation == "read":
            return state if matches(output, state[0]) else None
        if operation == "write":
            return (frozen(value),)
        if operation == "cas":
            old, new = _pair(self, operation, value, 2)
            is_set = state[0] == frozen(old)
            if not matches(output, is_set):
                return None
            return (frozen(new),) if is_set else state
        raise _no_such(self, operation, self.OPERATIONS)


class CounterModel(Model[int]):
    """A number. Operations: ``read``; ``add`` a number, 1 if the input is None; its output is the sum, or None.

    Args:
        value: the number at first.

    Raises:
        ConfigError: not a whole number.
    """

    OPERATIONS: ClassVar = ("read", "add")

    def __init__(self, value: int = 0) -> None:
        if not is_whole(value):
            raise ConfigError(f"value {shown(value)} is not a whole number")
        self._value = value

    def initial(self) -> int:
        """Return the first state."""
        return self._value

    def step(self, state: int, operation: str, value: object, output: object) -> int | None:
        """Read, or add."""
        if operation == "read":
            return state if matches(output, state) else None
        if operation == "add":
            if value is not None and not isinstance(value, int):
                raise ConfigError(f"add of CounterModel needs a whole number or None; given was {value!r}")
            total = state + (1 if value is None else value)
            return total if output is None or matches(output, total) else None
        raise _no_such(self, operation, self.OPERATIONS)


class SetModel(Model[frozenset[Hashable]]):
    """A set, empty at first.

    Operations: ``add`` and ``remove`` a value, whose output is True or False for whether the set changed, or None;
    ``contains`` a value; ``read``, whose output is a collection of all values in any order.
    """

    OPERATIONS: ClassVar = ("add", "remove", "contains", "read")

    def initial(self) -> frozenset[Hashable]:
        """Return the empty set."""
        return frozenset()

    def step(
        self, state: frozenset[Hashable], operation: str, value: object, output: object
    ) -> frozenset[Hashable] | None:
        """Change the set, or look at it."""
        if operation == "read":
            found = (
                output
                if output is UNKNOWN or not isinstance(output, list | tuple)
                else set(map(frozen, output))
            )
            return state if matches(found, state) else None
        member = frozen(value)
        if operation == "contains":
            return state if matches(output, member in state) else None
        if operation not in ("add", "remove"):
            raise _no_such(self, operation, self.OPERATIONS)
        after = state | {member} if operation == "add" else state - {member}
        return after if output is None or matches(output, after != state) else None


class QueueModel(Model[tuple[Hashable, ...]]):
    """A queue, empty at first. Operations: ``put`` a value; ``get``, whose output is None if it is empty."""

    OPERATIONS: ClassVar = ("put", "get")

    def initial(self) -> tuple[Hashable, ...]:
        """Return the empty queue."""
        return ()

    def step(
        self, state: tuple[Hashable, ...], operation: str, value: object, output: object
    ) -> tuple[Hashable, ...] | None:
        """Append a value, or take the oldest."""
        if operation == "put":
            return (*state, frozen(value))
        if operation == "get":
            return state[1:] if matches(output, state[0] if state else None) else None
        raise _no_such(self, operation, self.OPERATIONS)


class KeyValueModel(Model[tuple[Hashable]]):
    """Values by key, checked key by key, since one key says nothing about another.

    Operations: ``get`` a key, whose output is None if there is no value; ``put`` of (key, value); ``delete`` a key;
    ``cas`` of (key, old, new), whose output is True or False.
    """

    OPERATIONS: ClassVar = ("get", "put", "delete", "cas")
    _REGISTER = RegisterModel()

    def initial(self) -> tuple[Hashable]:
        """Return the first state of a key: no value."""
        return self._REGISTER.initial()

    def step(
        self, state: tuple[Hashable], operation: str, value: object, output: object
    ) -> tuple[Hashable] | None:
        """Do an operation on the register of one key."""
        if operation == "get":
            return self._REGISTER.step(state, "read", None, output)
        if operation == "put":
            return self._REGISTER.step(state, "write", _pair(self, operation, value, 2)[1], output)
        if operation == "delete":
            return self._REGISTER.step(state, "write", None, output)
        if operation == "cas":
            return self._REGISTER.step(state, "cas", _pair(self, operation, value, 3)[1:], output)
        raise _no_such(self, operation, self.OPERATIONS)

    def key(self, operation: str, value: object) -> Hashable:
        """Return the key."""
        if operation in ("put", "cas"):
            return frozen(_pair(self, operation, value, 2 if operation == "put" else 3)[0])
        return frozen(value)
