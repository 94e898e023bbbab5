"""Forked children, which share the descriptors of their parent.

A network belongs to the process that made it. A child that closed it in the usual way would remove the parent's
sockets from the shared epoll, remove its unix sockets, and end its connections. So objects with such resources
remember :data:`count`, which is one higher in a child; and in the child a network is notified at once and releases
everything.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakKeyDictionary, ref

__all__ = ["abandon", "count", "is_fork", "tell_in_child"]

count = 0
"""Number of forks between this process and the one that imported this module."""


_Owner = TypeVar("_Owner")
_told: WeakKeyDictionary[object, Callable[[], None]] = WeakKeyDictionary()


def is_fork(made_at: int) -> bool:
    """Report whether this process is a fork of the one in which :data:`count` was ``made_at``."""
    return made_at != count


def tell_in_child(owner: _Owner, method: Callable[[_Owner], None]) -> None:
    """Call a method in each child that this process forks from now on, as long as its object lives.

    Args:
        owner: the object. One method of it is called.
        method: a function of its class, not bound to it; releases everything, without touching anything shared with
            the parent.
    """
    reference = ref(owner)

    def release() -> None:
        living = reference()
        if living is not None:
            method(living)

    _told[owner] = release


def abandon(link: object) -> None:
    """Let a link close its descriptors in a child, if it has a method for only that."""
    method = getattr(link, "abandon", None)
    if method is not None:
        method()


def _in_child() -> None:
    global count
    count += 1
    told = list(_told.values())
    _told.clear()
    for release in told:
        try:
            release()
        except Exception:  # a failure of one must not keep the others from it
            pass


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
