"""Choice of a free port."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from slirpy.errors import StateError

__all__ = ["free_port"]


def free_port(random: Random, low: int, is_taken: Callable[[int], bool]) -> int:
    """Choose a port from ``low`` to 65535: a random one, or the next free one after it.

    Raises:
        StateError: all ports are taken. Callers limit their flows to fewer than the number of ports.
    """
    number = 65536 - low
    first = random.randrange(number)
    for step in range(number):
        port = low + (first + step) % number
        if not is_taken(port):
            return port
    raise StateError(f"all ports from {low} to 65535 are taken; close what is no longer needed")
