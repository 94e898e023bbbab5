"""The path between the hosts of these tests."""

from slirpy.links.faultypath import Faults
from slirpy.units import MS

__all__ = ["BAD_PATH"]

BAD_PATH = Faults(loss=0.05, delay=50 * MS, jitter=10 * MS)
