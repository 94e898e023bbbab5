"""Forked children, which share the descriptors of the process that they were forked from.

A network belongs to the process that made it. A child that closed it in the usual way would take the parent's sockets
out of the epoll that both have, remove its unix sockets, and end its connections. So what has such things remembers
:data:`count`, which is one more in a child; and a network is told at once, in the child, and lets go of everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from weakref import WeakMethod

__all__ = ["abandon", "count", "is_fork", "tell_in_child"]

count = 0
"""How many forks lie between this process and the one that imported this module."""


_told: set[WeakMethod[Callable[[], None]]] = set()


def is_fork(made_at: int) -> bool:
    """Whether this process is a fork of the one in which :data:`count` was ``made_at``."""
    return made_at != count


def tell_in_child(method: Callable[[], None]) -> None:
    """Call a method in each child that this process forks from now on, as long as its object lives.

    Args:
        method: lets go of everything, and touches nothing that the parent has too.
    """
    _told.add(WeakMethod(method, _told.discard))


def abandon(link: object) -> None:
    """Let a link close its descriptors in a child, if it is one that knows how to do only that."""
    method = getattr(link, "abandon", None)
    if method is not None:
        method()


def _in_child() -> None:
    global count
    count += 1
    told = list(_told)
    _told.clear()
    for reference in told:
        method = reference()
        try:
            if method is not None:
                method()
        except Exception:  # one that was in the middle of something must not keep the others from it
            pass


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
