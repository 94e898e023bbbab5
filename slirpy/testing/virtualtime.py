"""Time that passes only when a test says so."""

from __future__ import annotations

import abc
from collections.abc import Callable

from slirpy.checks import nanoseconds
from slirpy.config.values import function
from slirpy.testing.errors import UnmetError
from slirpy.units import SECOND

__all__ = ["VirtualTime"]

_ROUNDS = 100_000
"""Rounds at one point of time after which events are taken to be endless."""


class VirtualTime(abc.ABC):
    """Base of worlds in virtual time, which a test lets run for a while, or until something has happened."""

    now: int

    def run(self, duration: int) -> None:
        """Advance the time by ``duration`` nanoseconds: 500_000_000 for half a second.

        Raises:
            ConfigError: a float, or a negative number.
        """
        self._go(self.now + nanoseconds("duration", duration), lambda: False)

    def run_until(self, predicate: Callable[[], object], limit: int = 60 * SECOND) -> None:
        """Advance the time until ``predicate()`` is true; it is called after each event.

        Args:
            limit: maximum number of nanoseconds.

        Raises:
            ConfigError: ``limit`` is a float or negative, or ``predicate`` cannot be called.
            UnmetError: the limit was reached; the text is the :meth:`summary`.
        """
        function("predicate", predicate)
        if not self._go(self.now + nanoseconds("limit", limit), predicate):
            raise UnmetError(f"not within {limit / SECOND:g} s of virtual time\n{self.summary()}")

    @abc.abstractmethod
    def summary(self) -> str:
        """Describe the state in a few lines, for messages of failed tests."""

    @abc.abstractmethod
    def _round(self) -> None:
        """Process everything that is due now."""

    @abc.abstractmethod
    def _following(self) -> int | None:
        """Return the time of the next event, not before now; None: there is none."""

    def _go(self, end: int, predicate: Callable[[], object]) -> bool:
        """Advance from event to event; returns whether the predicate became true."""
        rounds = 0
        while True:
            self._round()
            if predicate():
                return True
            following = self._following()
            if following is None or following > end:
                break
            rounds = rounds + 1 if following == self.now else 0
            if rounds > _ROUNDS:
                raise UnmetError(f"endless events at {self.now} ns\n{self.summary()}")
            self.now = following
        self.now = end
        self._round()
        return bool(predicate())
