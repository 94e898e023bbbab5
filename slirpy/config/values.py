"""Checks of texts, paths, functions, clocks and lists from callers. Those of numbers are in :mod:`slirpy.checks`.

Each returns the value in the form used from there on, or raises :class:`~slirpy.errors.ConfigError` with the name of
the argument, the value given, and what to write instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from slirpy.checks import moment
from slirpy.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "FOR_EVER",
    "as_text",
    "check_starting_point",
    "clock_reading",
    "function",
    "host_name",
    "instances",
    "listed",
    "one",
    "path",
    "printable",
    "wait_seconds",
]

_BUILT_IN: tuple[type, ...] = (BuiltinFunctionType,)

FOR_EVER = 2_000_000.0
"""Seconds, 23 days. No system can wait longer than this in one call."""
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME_MAX = 253  # characters of a name in DNS, without the dot at its end (RFC 1035, section 2.3.4)
_T = TypeVar("_T")


# --------------------------------------------------------------------------------------------- numbers


def clock_reading(what: str, value: Any, example: str = "time.monotonic") -> int:
    """The present reading of a clock, in nanoseconds.

    Raises:
        ConfigError: not callable, or does not return whole nanoseconds.
    """
    function(what, value, f" that gives nanoseconds, such as {example}_ns")
    return moment(f"{what}() =", value(), example)


def wait_seconds(what: str, value: Any) -> float | None:
    """Time to wait, in seconds; None: until something happens.

    A negative number counts as 0, since that time has passed. A time longer than the system can wait in one call,
    including infinity, becomes None.

    Raises:
        ConfigError: not a number.
    """
    if value is None:
        return None
    number = value
    kind = type(value)
    if kind is not float and kind is not int:
        try:
            is_number = kind is not bool and (hasattr(kind, "__float__") or hasattr(kind, "__index__"))
            number = float(value) if is_number else float("nan")
        except (ArithmeticError, ValueError):  # a fraction out of range, or a signaling NaN
            number = float("nan")
    if number != number:
        raise ConfigError(f"{what} {value!r} is not a number of seconds, such as 0.05; None waits for ever")
    if number > FOR_EVER:
        return None
    return float(number) if number > 0 else 0.0


# ------------------------------------------------------------------------------------- text and objects


def host_name(what: str, value: object, *, dot: bool = False) -> str:
    """The name of a host or a domain: labels separated by dots.

    Args:
        what: the name of the argument.
        value: what was given.
        dot: whether a trailing dot is allowed, as in fully qualified names.

    Raises:
        ConfigError: not a valid name; the text says why.
    """
    text = printable(what, value)
    name = text.removesuffix(".") if dot else text
    if len(name) > _NAME_MAX:
        raise ConfigError(f'{what} "{text}" has more than {_NAME_MAX} characters, which DNS cannot carry')
    if not all(re.fullmatch(_LABEL, label) for label in name.split(".")):
        raise ConfigError(
            f'{what} "{text}" is not a host name, such as guest.example.test: labels of 1 to 63 letters, digits, "-"'
            ' and "_", with dots between'
        )
    return text


def path(what: str, value: object) -> Path:
    """The name of a file or a folder.

    Raises:
        ConfigError: empty (which would be the current folder), contains a NUL byte, or not text.
    """
    if not isinstance(value, str | os.PathLike):
        raise ConfigError(f"{what} {value!r} is not a path; give text or a pathlib.Path")
    text = os.fspath(value)
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigError(f"{what} {text!r} is not a path; give one such as /srv/slirpy")
    from pathlib import Path

    return Path(text)


def check_starting_point(what: str, path: Path) -> None:
    """Check that there is a folder from which a path leads on.

    Raises:
        ConfigError: it is relative to the current folder, which has been removed.
    """
    if not path.is_absolute():
        try:
            os.getcwd()
        except FileNotFoundError:
            raise ConfigError(
                f'{what} "{path}": the current folder has been removed; give an absolute path'
            ) from None


def as_text(what: str, value: object) -> str:
    """Text, unchanged.

    Raises:
        ConfigError: not text.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{what} {value!r} is not text")
    return value


def printable(what: str, value: object, limit: int = 255) -> str:
    """Text that fits into one DHCP option: at least one printable ASCII character.

    Raises:
        ConfigError: empty, too long, not printable ASCII, or not text.
    """
    value = as_text(what, value)
    if not value.strip():
        raise ConfigError(f'{what} "{value}" is empty; leave it out instead')
    if not value.isascii() or not value.isprintable() or len(value) > limit:
        raise ConfigError(
            f"{what} {_quoted(value)}: DHCP carries at most {limit} ASCII characters, all printable"
        )
    return value


def _quoted(text: str) -> str:
    """Text as written, or in Python's notation if it contains unprintable characters."""
    return f'"{text}"' if text.isprintable() else repr(text)


def function(what: str, value: object, takes: str = "") -> None:
    """A function that is called while the network runs. The network waits for its result.

    Raises:
        ConfigError: not callable, or a coroutine function, whose body would never run.
    """
    if not callable(value):
        raise ConfigError(f"{what} is a function{takes}; given was {value!r}")
    if isinstance(value, _BUILT_IN):
        return
    import inspect  # takes 4 ms

    call = getattr(type(value), "__call__", None)  # noqa: B004 - of an object that is no function
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(call):
        raise ConfigError(
            f"{what} is a coroutine function, which nobody awaits; give an ordinary function, and let it start a task"
        )


def listed(what: str, value: Any) -> Iterable[Any]:
    """Several values. Lone text is rejected: it is a common slip, and would be split into its letters.

    Raises:
        ConfigError: text, a mapping, or not iterable.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ConfigError(f"{what} must be a list, such as {what}=[...]; given was {value!r}")
    return value


def instances(what: str, values: Any, kind: type[_T], parse: Callable[[str], _T]) -> tuple[_T, ...]:
    """Several objects of one class, or their text forms.

    Raises:
        ConfigError: an item of another type, or not a list; ``parse`` raises its own error for malformed text.
    """
    return tuple(one(what, value, kind, parse) for value in listed(what, values))


def one(what: str, value: Any, kind: type[_T], parse: Callable[[str], _T]) -> _T:
    """An object of a class, or its text form.

    Raises:
        ConfigError: an object of another type; ``parse`` raises its own error for malformed text.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, str):
        return parse(value)
    raise ConfigError(f"{what} {value!r} is neither text nor a {kind.__name__}")
