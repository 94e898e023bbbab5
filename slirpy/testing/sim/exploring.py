"""Many runs of one scenario, for clusters that map functions over ranges of seeds."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from slirpy.checks import instance, shown
from slirpy.config.values import function, listed
from slirpy.errors import ConfigError
from slirpy.records import NamedTuple
from slirpy.testing.sim.network import Network

__all__ = ["Failure", "explore"]


_ARGUMENTS = tuple(inspect.signature(Network).parameters)[1:]
"""All but the seed."""


class Failure(NamedTuple):
    """A run that has failed. It can be pickled."""

    seed: int
    error: str
    """The exception in words."""
    report: str
    """The report of the run as text."""


def explore(
    scenario: Callable[[Network], object], seeds: Iterable[int], network: Mapping[str, Any] | None = None
) -> list[Failure]:
    """Run a scenario once for each seed, and return the failures. The function can be pickled, and so can its result.

    Args:
        scenario: called with a new network for each seed; an exception is a failure.
        seeds: whole numbers, 0 or more.
        network: further arguments of :class:`~slirpy.testing.sim.network.Network`.

    Raises:
        ConfigError: an argument that cannot be used.
    """
    function("scenario", scenario, " that takes a network")
    arguments = {} if network is None else network
    instance("network", arguments, Mapping, "a dictionary of arguments of Network, such as {'mtu': 1400}")
    unknown = [name for name in arguments if name == "seed" or name not in _ARGUMENTS]
    if unknown:
        known = ", ".join(_ARGUMENTS)
        raise ConfigError(
            f"network has {shown(unknown[0])}, which is no argument of Network; those are {known}"
        )
    failures = []
    for seed in listed("seeds", seeds):
        with Network(seed, **arguments) as net:
            try:
                scenario(net)
            except Exception as error:  # whatever the scenario fails with is its result
                failures.append(Failure(seed, f"{type(error).__name__}: {error}", str(net.report(error))))
    return failures
