"""Durations as tests write them: seconds."""

from __future__ import annotations

from typing import Any

from slirpy.checks import shown
from slirpy.errors import ConfigError
from slirpy.units import SECOND

__all__ = ["LONGEST", "in_nanoseconds"]

LONGEST = 1e9
"""Seconds: about thirty years."""


def in_nanoseconds(what: str, duration: Any) -> int:
    """Return a number of seconds in nanoseconds.

    Raises:
        ConfigError: negative, endless, or not a number.
    """
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration < LONGEST:
        raise ConfigError(f"{what} is a number of seconds, 0 or more; given was {shown(duration)}")
    return round(duration * SECOND)
