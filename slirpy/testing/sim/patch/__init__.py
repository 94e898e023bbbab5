"""Python's modules as programs of a network see them: its sockets, its time, its randomness.

Functions are replaced while a network runs. Programs get the simulated ones; tests, other threads and everything else
outside of programs go on with the real ones.
"""

from slirpy.testing.sim.patch.patched import install, patched, remove

__all__ = ["install", "patched", "remove"]
