"""Waiting for what real sockets, processes and threads do, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["PATIENCE", "until"]

PATIENCE = 60.0
"""Seconds after which a test gives up waiting. A busy machine may need most of it, a quiet one needs none."""


def until(
    condition: Callable[[], object],
    step: Callable[[], object],
    what: str | Callable[[], object] = "",
    seconds: float = PATIENCE,
) -> None:
    """Take steps until ``condition()`` is true. After so many seconds fail, with ``what`` or what it returns."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what() if callable(what) else what}"
        step()
