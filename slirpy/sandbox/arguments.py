"""Checks of arguments from callers: the sandbox imports nothing of the package but its exceptions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from slirpy.errors import ConfigError

__all__ = ["descriptor", "numbers", "paths", "switch"]

_INT_MAX = 2**31 - 1


def switch(what: str, value: object) -> None:
    """Check a switch.

    Raises:
        ConfigError: neither True nor False.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{what} must be True or False; given was {value!r}")


def descriptor(what: str, value: object) -> int:
    """Duplicate a descriptor.

    Raises:
        ConfigError: no number, or no open descriptor.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _INT_MAX:
        try:
            return os.dup(value)
        except OSError:
            pass
    raise ConfigError(f"{what} must be the number of an open descriptor; given was {value!r}")


def paths(what: str, values: object) -> list[str]:
    """Check a list of paths. Lone text is rejected: it would be split into its letters.

    Raises:
        ConfigError: not a list, or a value that is no path.
    """
    found: list[str] = []
    for value in _listed(what, values, '"/srv/tftp"'):
        if not isinstance(value, str) or not value or "\0" in value:
            raise ConfigError(f"{what} must hold paths, as text; given was {value!r}")
        found.append(value)
    return found


def numbers(what: str, values: object, example: str) -> tuple[int, ...]:
    """Check a list of numbers from 0 to 2147483647.

    Raises:
        ConfigError: not a list, or another value in it.
    """
    found: list[int] = []
    for value in _listed(what, values, example):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _INT_MAX:
            raise ConfigError(f"{what} must hold numbers from 0 to {_INT_MAX}; given was {value!r}")
        found.append(value)
    return tuple(found)


def _listed(what: str, values: object, example: str) -> Iterable[object]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"{what} must be a list, such as {what}=[{example}]; given was {values!r}")
    return values
