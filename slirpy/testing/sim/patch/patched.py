"""The context in which Python's modules have their other versions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from slirpy.testing.sim.garbage import postpone, restore
from slirpy.testing.sim.patch.clocks import replace_time
from slirpy.testing.sim.patch.dates import replace_dates
from slirpy.testing.sim.patch.descriptors import replace_descriptors
from slirpy.testing.sim.patch.loops import replace_loops
from slirpy.testing.sim.patch.processes import refuse_processes
from slirpy.testing.sim.patch.randomness import replace_entropy, replace_random
from slirpy.testing.sim.patch.sockets import replace_sockets
from slirpy.testing.sim.patch.switches import Replacements
from slirpy.testing.sim.patch.threads import replace_threads
from slirpy.testing.sim.patch.trios import replace_trio

__all__ = ["install", "patched", "remove"]

_LOCK = threading.Lock()
_depth = 0


@cache
def _everything() -> Replacements:
    """Return all replacements; the first call searches the modules."""
    made = Replacements()
    for replace in (
        replace_time,
        replace_dates,
        replace_random,
        replace_entropy,
        replace_sockets,
        replace_descriptors,
        replace_threads,
        refuse_processes,
        replace_loops,
        replace_trio,
    ):
        replace(made)
    made.other(postpone, restore)
    return made


def install() -> None:
    """Replace functions of Python's modules until :func:`remove`; may be nested.

    Which of them a program sees is decided by the argument ``patch`` of its network.
    """
    global _depth
    with _LOCK:
        if not _depth:
            _everything().install()
        _depth += 1


def remove() -> None:
    """Undo one :func:`install`."""
    global _depth
    with _LOCK:
        _depth -= 1
        if not _depth:
            _everything().remove()


@contextmanager
def patched() -> Iterator[None]:
    """Replace functions of Python's modules within a ``with`` block; see :func:`install`."""
    install()
    try:
        yield
    finally:
        remove()
