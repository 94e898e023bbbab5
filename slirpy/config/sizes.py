"""Numbers of bytes, in text with a unit."""

from __future__ import annotations

import os
import re

from slirpy.checks import is_whole
from slirpy.errors import ConfigError

__all__ = ["MEMORY_MOST", "default_memory", "memory", "rate"]

_TEXT = r"(\d{1,15})(?:\.(\d{1,3}))? ?([kKMGT]?)(i?)B?"
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}
_MOST = 1 << 50
_LEAST_MEMORY = 16 << 20
MEMORY_MOST = 512 << 20
"""Bytes of the default budget for memory, where a quarter of the machine's is not less."""
_LEAST_RATE = 1000


def default_memory() -> int:
    """Return a quarter of the machine's memory in bytes, but 512 MiB at most."""
    return max(min(MEMORY_MOST, _machine() // 4), _LEAST_MEMORY)


def memory(value: object) -> int:
    """Read the budget for memory.

    Raises:
        ConfigError: it is no size of at least 16 MiB.
    """
    return _size("memory", value, _LEAST_MEMORY, "512M or 1GiB", "bytes")


def rate(value: object) -> int:
    """Read a bandwidth in bytes a second.

    Raises:
        ConfigError: it is no size of at least 1000 bytes.
    """
    return _size("rate", value, _LEAST_RATE, "10M or 1.5MiB", "bytes a second")


def _size(name: str, value: object, least: int, example: str, unit: str) -> int:
    number = _parse(value) if isinstance(value, str) else value
    if not isinstance(number, int) or not is_whole(number) or not least <= number <= _MOST:
        raise ConfigError(
            f"{name} {value!r} is not a number of {unit} from {least} to {_MOST}; write for example {example}"
        )
    return number


def _parse(text: str) -> int | None:
    found = re.fullmatch(_TEXT, text)
    if found is None or not text.isascii():
        return None
    whole, part, prefix, binary = found.groups(default="")
    if binary and not prefix:
        return None
    unit: int = (1024 if binary else 1000) ** _POWERS[prefix]
    return (int(whole) * 1000 + int(part.ljust(3, "0"))) * unit // 1000


def _machine() -> int:
    """Return the bytes of memory of the machine, or four times the most where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 * MEMORY_MOST
