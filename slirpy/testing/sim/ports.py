"""Ports of hosts: free ones, and sockets that would share one."""

from __future__ import annotations

import errno
from collections.abc import Callable
from ipaddress import ip_address
from random import Random

from slirpy.config.text import with_port

__all__ = ["free_port", "in_use", "overlap"]

_FIRST, _LAST = 32768, 60999
"""The ports that Linux chooses by default."""


def free_port(random: Random, is_taken: Callable[[int], bool]) -> int:
    """Return a port that is not taken."""
    while is_taken(port := random.randrange(_FIRST, _LAST + 1)):
        pass
    return port


def in_use(address: bytes, port: int) -> OSError:
    """Return the exception for a port that another socket has."""
    return OSError(errno.EADDRINUSE, f"Address already in use: {with_port(ip_address(address), port)}")


def overlap(one: bytes, one_dual: bool, other: bytes, other_dual: bool) -> bool:
    """Report whether two sockets at the same port and these addresses would receive the same packets."""
    if one == other:
        return True
    same = len(one) == len(other) or one_dual or other_dual
    return same and not (any(one) and any(other))
