"""``random`` in programs: the generator of their host; and where asked, what comes from the system."""

from __future__ import annotations

import os
import random
from typing import Any

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.patch.switches import Replacements

__all__ = ["replace_entropy", "replace_random"]

_FUNCTIONS = (
    "betavariate", "binomialvariate", "choice", "choices", "expovariate", "gammavariate", "gauss", "getrandbits",
    "getstate", "lognormvariate", "normalvariate", "paretovariate", "randbytes", "randint", "random", "randrange",
    "sample", "seed", "setstate", "shuffle", "triangular", "uniform", "vonmisesvariate", "weibullvariate",
)  # fmt: skip
_REAL_SEED = random.Random.seed


def _seed(host: Host, self: random.Random, a: Any = None, version: int = 2) -> None:
    """Seed a generator of a program; without a seed, from the generator of the host."""
    _REAL_SEED(self, host.random.getrandbits(128) if a is None else a, version)


def replace_random(all_of_it: Replacements) -> None:
    """Replace the functions of the module ``random``, and the seed of generators that are made without one."""
    for name in _FUNCTIONS:
        real = getattr(random, name, None)
        if real is not None:
            all_of_it.value("random", real, _by_name(name))
    all_of_it.method("random", random.Random, "seed", _seed)


def _by_name(name: str) -> Any:
    def call(host: Host, *args: Any, **kwargs: Any) -> Any:
        return getattr(host.random, name)(*args, **kwargs)

    return call


def _urandom(host: Host, size: int, /) -> bytes:
    return host.random.randbytes(size)


def replace_entropy(all_of_it: Replacements) -> None:
    """Replace ``os.urandom``, which ``secrets``, ``uuid`` and ``random.SystemRandom`` use."""
    all_of_it.value("entropy", os.urandom, _urandom)
    if hasattr(os, "getrandom"):
        all_of_it.value("entropy", os.getrandom, lambda host, size, flags=0: host.random.randbytes(size))
