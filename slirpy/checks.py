"""Checks of single values that callers give: numbers, times, switches, bytes, and objects.

Each returns the value, or raises :class:`~slirpy.errors.ConfigError` with the name of the argument, the value given,
and what to write instead. ``True`` is a number to Python, but not to users, so it is rejected.
The module imports nothing of weight: the TCP engine, which is usable alone, needs it. Checks of texts, paths and
functions are in :mod:`slirpy.config.values`.
"""

from __future__ import annotations

import sys

from slirpy.errors import ConfigError
from slirpy.mypyc import Final
from slirpy.units import SECOND

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "DESCRIPTOR_MAX",
    "ERRNO_MAX",
    "amount",
    "chance",
    "descriptor",
    "has_method",
    "instance",
    "is_whole",
    "moment",
    "nanoseconds",
    "octets",
    "shown",
    "switch",
    "whole",
]

DESCRIPTOR_MAX: Final = 2**31 - 1
"""Largest number of a file descriptor."""
ERRNO_MAX: Final = 11_999 if sys.platform == "win32" else 4095
"""Largest value of ``errno``: Linux reserves the numbers up to 4095; on Windows, errors of sockets begin at 10000."""


def switch(what: str, value: object) -> bool:
    """A value that is on or off.

    Raises:
        ConfigError: neither True nor False; text, such as "off", is true to Python.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{what} is True or False; given was {value!r}")
    return value


def instance(what: str, value: Any, kind: type | tuple[type, ...], named: str) -> None:
    """An object of a class.

    Args:
        what: the name of the argument.
        value: what was given.
        kind: its class, or several.
        named: the class in words, such as ``"a random.Random"``.

    Raises:
        ConfigError: an object of another class.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{what} must be {named}; given was {shown(value)}")


def has_method(what: str, value: object, method: str, *, optional: bool = True) -> None:
    """Raise ConfigError unless ``value`` is an object with a method of this name, or None if it is ``optional``."""
    found = None if isinstance(value, type) else getattr(value, method, None)
    if not callable(found) and not (optional and value is None):
        raise ConfigError(f"{what} must have a method {method}(); given was {value!r}")


def octets(what: str, value: Any) -> None:
    """Bytes, or another contiguous buffer of them.

    Raises:
        ConfigError: text, a number, or anything else.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        raise ConfigError(f"{what} must be bytes; given was {shown(value)}")


def shown(value: object) -> str:
    """A wrong value as an error message shows it; it may be long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_whole(value: object) -> bool:
    """Report whether a value is a whole number. Truth values are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def whole(
    what: str, value: Any, lowest: int, highest: int, unit: str = "", note: str = "", top: str = ""
) -> int:
    """A whole number within bounds.

    Args:
        what: the name of the argument.
        value: what was given.
        lowest: the least that is allowed.
        highest: the most.
        unit: of the number, such as ``" of seconds"``.
        note: remark on the lowest value, such as ``" (never)"``.
        top: remark on the highest value.

    Raises:
        ConfigError: not a whole number, or out of bounds.
    """
    if not is_whole(value) or not lowest <= value <= highest:
        raise ConfigError(f"{what} {value!r} is not a number{unit} from {lowest}{note} to {highest}{top}")
    return int(value)


def descriptor(what: str, value: Any) -> int:
    """Return the number of a file descriptor.

    Raises:
        ConfigError: not a whole number, or out of range.
    """
    if not is_whole(value) or not 0 <= value <= DESCRIPTOR_MAX:
        raise ConfigError(f"{what} {value!r} is not a descriptor: give a number, such as sock.fileno()")
    return int(value)


def amount(what: str, value: Any, lowest: int = 0, note: str = "") -> int:
    """A whole number without an upper bound.

    Raises:
        ConfigError: not a whole number, or too small.
    """
    if not is_whole(value):
        hint = f"; write {int(value)}" if isinstance(value, float) and value.is_integer() else ""
        raise ConfigError(f"{what} {value!r} is not a whole number{note}{hint}")
    if value < lowest:
        raise ConfigError(f"{what} {value!r}: must be {lowest} or more{note}")
    return int(value)


def chance(what: str, value: Any) -> float:
    """A probability.

    Raises:
        ConfigError: not a number from 0.0 to 1.0.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{what} {value!r}: a chance is from 0.0 to 1.0; 0.01 is one in a hundred")
    return value


def nanoseconds(what: str, value: Any, lowest: int | None = 0) -> int:
    """A duration in whole nanoseconds. A float is rejected, because it is usually a number of seconds.

    Args:
        what: the name of the argument.
        value: what was given.
        lowest: the least that is allowed; None: the caller checks it.

    Raises:
        ConfigError: not a whole number, or too small.
    """
    if not is_whole(value):
        raise ConfigError(f"{what} {value!r} is not a whole number of nanoseconds{_in_nanoseconds(value)}")
    if lowest is not None and value < lowest:
        bound = "must not be negative" if lowest == 0 else f"must be {lowest} or more"
        raise ConfigError(f"{what} {value!r}: {bound}; times are in nanoseconds")
    return int(value)


def _in_nanoseconds(value: object) -> str:
    """Advice for a value that is not a whole number of nanoseconds."""
    if not isinstance(value, float) or not 0 <= value < 1e15:
        return ", such as 40_000_000 for 0.04 seconds"
    if value >= 1000 and value.is_integer():
        return f"; write {int(value):_}"
    return f"; for {value!r} seconds write {round(value * SECOND):_}"


def moment(what: str, value: Any, clock: str = "time.monotonic") -> int:
    """A clock reading, in whole nanoseconds.

    Raises:
        ConfigError: not a whole number, such as the seconds of ``time.monotonic()``.
    """
    if not is_whole(value):
        raise ConfigError(f"{what} {value!r} is not a whole number of nanoseconds; use {clock}_ns, not {clock}")
    return int(value)
