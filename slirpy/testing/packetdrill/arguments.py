"""Conversion of the arguments of socket calls."""

from __future__ import annotations

from slirpy.testing.packetdrill.host import FailureError
from slirpy.testing.packetdrill.script import Call, Value, Word

__all__ = ["argument", "buffers", "inner", "names", "number", "structure", "text", "words"]


def argument(call: Call, index: int) -> Value:
    """Return an argument, counted from 0; None if it is absent."""
    return call.arguments[index] if index < len(call.arguments) else None


def inner(value: Value) -> Value:
    """Unwrap a single value in brackets: ``[5]`` is 5."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


def number(call: Call, index: int) -> int:
    """Return a number.

    Raises:
        FailureError: the value is missing or not a number.
    """
    value = inner(argument(call, index))
    if not isinstance(value, int):
        raise FailureError(f"{call.name}() needs a number as argument {index + 1}")
    return value


def text(call: Call, index: int) -> str:
    """Return a text.

    Raises:
        FailureError: the value is missing or not a text.
    """
    value = inner(argument(call, index))
    if not isinstance(value, str):
        raise FailureError(f"{call.name}() needs text as argument {index + 1}")
    return value


def names(value: Value) -> set[str]:
    """Return names joined by ``|``; none for 0."""
    return set(value.text.split("|")) - {"0"} if isinstance(value, Word) else set()


def words(call: Call, index: int) -> set[str]:
    """Return the names joined by ``|`` in an argument."""
    return names(argument(call, index))


def structure(call: Call, index: int, needs: str) -> dict[str, Value]:
    """Return a structure.

    Raises:
        FailureError: the value is missing or not a structure; ``needs`` shows how it is written.
    """
    value = inner(argument(call, index))
    if not isinstance(value, dict):
        raise FailureError(f"{call.name}() needs {needs}")
    return value


def buffers(call: Call, value: Value) -> int:
    """Return the total size of the buffers in ``[{..., 1000}, {..., 500}]``.

    Raises:
        FailureError: the value has another form.
    """
    total = 0
    for item in value if isinstance(value, list) else [None]:
        size = item[1] if isinstance(item, list) and len(item) == 2 else None
        if not isinstance(size, int) or size < 0:
            raise FailureError(f"{call.name}() needs buffers such as [{{..., 1000}}]")
        total += size
    return total
