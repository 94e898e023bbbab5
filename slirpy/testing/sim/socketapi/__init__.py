"""The socket interface of programs, as Python's modules ``socket``, ``select`` and ``ssl`` have it."""

from slirpy.testing.sim.socketapi.ends import Descriptors, End, descriptors
from slirpy.testing.sim.socketapi.simsocket import SimSocket

__all__ = ["Descriptors", "End", "SimSocket", "descriptors"]
