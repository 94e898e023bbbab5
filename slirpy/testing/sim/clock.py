"""The clock of a host: the network's virtual time, with an offset and a drift."""

from __future__ import annotations

from dataclasses import dataclass

from slirpy.checks import nanoseconds
from slirpy.errors import ConfigError

__all__ = ["TRUE_CLOCK", "Clock"]

_MILLION = 1_000_000
DRIFT_MAX = 500_000
"""Parts per million."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock that may be wrong.

    Raises:
        ConfigError: a value is out of range.
    """

    offset: int = 0
    """Nanoseconds by which the time of day is ahead; negative: behind."""
    drift: int = 0
    """Parts per million by which the clock is too fast, -500,000 to 500,000; timers of the host follow it."""

    def __post_init__(self) -> None:
        nanoseconds("offset", self.offset, lowest=None)
        if type(self.drift) is not int or not -DRIFT_MAX <= self.drift <= DRIFT_MAX:
            raise ConfigError(
                f"drift {self.drift!r} is not a whole number of parts per million from {-DRIFT_MAX} to {DRIFT_MAX}"
            )

    def monotonic(self, now: int) -> int:
        """Return what the host's monotonic clock shows at ``now`` nanoseconds of the network's time."""
        return now + now * self.drift // _MILLION

    def network_time(self, reading: int) -> int:
        """Return the earliest time of the network, in nanoseconds, at which the monotonic clock shows ``reading``."""
        if not self.drift:
            return reading
        return -(-reading * _MILLION // (_MILLION + self.drift))


TRUE_CLOCK = Clock()
