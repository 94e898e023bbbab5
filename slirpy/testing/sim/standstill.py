"""Programs that ask again and again, and never wait: no time passes in the meantime, on any host."""

from __future__ import annotations

from slirpy.testing.sim.errors import DeadlockError
from slirpy.testing.text import seconds

__all__ = ["Standstill"]


class Standstill:
    """Number of calls at one point of time.

    Args:
        limit: calls after which a program is taken to spin.
    """

    __slots__ = ("_at", "_calls", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls = 0
        self._at = 0

    def asked(self, now: int, host: str, call: str) -> None:
        """Take note of a call.

        Args:
            now: virtual nanoseconds.
            host: name of the program's host, for the error.
            call: name of the call, for the error.

        Raises:
            DeadlockError: the limit is exceeded.
        """
        if now != self._at:
            self._at, self._calls = now, 0
        self._calls += 1
        if self._calls > self._limit:
            raise DeadlockError(
                f"a program of {host} spins at {seconds(now)}: {call}, {self._limit:,} times without a wait,"
                " and so no time passes; call time.sleep() in between"
            )
