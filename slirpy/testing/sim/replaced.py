"""The context of programs: their versions of Python's modules, and the hooks of their asynchronous generators."""

from __future__ import annotations

from contextlib import AbstractContextManager

from slirpy.testing.sim.aio.generators import ClosingGenerators
from slirpy.testing.sim.patch.patched import install, remove
from slirpy.testing.sim.topology import Topology

__all__ = ["Replaced"]


class Replaced(AbstractContextManager[None]):
    """A context in which programs see their versions of Python's modules.

    A class, and no generator: a test may make hundreds of networks a second, and each enters it twice.

    Args:
        net: the network of the programs.
    """

    def __init__(self, net: Topology) -> None:
        self._generators = ClosingGenerators(net)

    def __enter__(self) -> None:
        install()
        self._generators.install()

    def __exit__(self, *_: object) -> None:
        self._generators.remove()
        remove()
