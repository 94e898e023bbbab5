"""Bounds on effort that a busy machine does not break: no time on a clock is compared."""

from __future__ import annotations

import time
from collections.abc import Callable

from slirpy import Slirp

__all__ = ["cheap", "record_waits"]

USUAL = 0.002
"""Seconds of processor time that :func:`_loop` takes on a machine for which the bounds are meant."""


def cheap(work: Callable[[], object], seconds: float, attempts: int = 30) -> bool:
    """Report whether one of many attempts takes less than ``seconds`` of this thread's processor time.

    A busy machine slows some attempts down; a fault in the code, all of them. A slow machine does so, too, but it
    also slows down the loop that is timed beside each attempt: the bound grows with that.
    """
    return any(_thread_time(work) < seconds * max(_thread_time(_loop) / USUAL, 1.0) for _ in range(attempts))


def _thread_time(work: Callable[[], object]) -> float:
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


def _loop() -> None:
    for _ in range(100_000):
        pass


def record_waits(net: Slirp) -> list[float | None]:
    """Return a list to which every poll of a network adds the seconds that it may wait; None is for ever."""
    waits: list[float | None] = []
    wait = net._poller.wait

    def recorded(timeout_seconds: float | None, most: int) -> list[tuple[int, int]]:
        waits.append(timeout_seconds)
        return wait(timeout_seconds, most)

    net._poller.wait = recorded
    return waits
