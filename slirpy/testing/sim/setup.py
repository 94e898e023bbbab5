"""The arguments of a network of hosts, and their checks."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Literal

from slirpy.checks import amount, instance, shown, whole
from slirpy.errors import ConfigError
from slirpy.links.faultypath import Faults
from slirpy.records import NamedTuple
from slirpy.units import MS, US

__all__ = ["DEFAULT_PATH", "EPOCH", "PATCH", "Setup"]

DEFAULT_PATH = Faults(delay=1 * MS)
"""A path without faults, of one millisecond."""
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Default time of day at which a network begins."""
PATCH = ("time", "random", "socket")
"""Default parts of Python that are replaced for programs."""
_PARTS = [*PATCH, "entropy"]
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Setup(NamedTuple):
    """The arguments of a :class:`~slirpy.testing.sim.network.Network`, which describes them."""

    seed: int
    path: Faults
    mtu: int
    order: Literal["fifo", "random"]
    epoch: datetime
    patch: Collection[str]

    def check(self) -> None:
        """Check types and ranges.

        Raises:
            ConfigError: an argument that cannot be used.
        """
        instance("path", self.path, Faults, "a Faults, such as Faults(loss=0.05)")
        instance("epoch", self.epoch, datetime, "a datetime with a time zone")
        if self.order not in ("fifo", "random"):
            raise ConfigError(f'order is "fifo" or "random"; given was {self.order!r}')
        if self.epoch.tzinfo is None:
            raise ConfigError(f"epoch {self.epoch} has no time zone; write datetime(..., tzinfo=UTC)")
        if not isinstance(self.patch, list | tuple | set | frozenset) or not all(
            part in _PARTS for part in self.patch
        ):
            raise ConfigError(f"patch {shown(self.patch)} is not a collection of {', '.join(sorted(_PARTS))}")
        amount("seed", self.seed)
        whole("mtu", self.mtu, 1280, 65521)

    @property
    def epoch_ns(self) -> int:
        """The time of day at which the network begins, in nanoseconds since 1970."""
        return (self.epoch - _UNIX_EPOCH) // timedelta(microseconds=1) * US
