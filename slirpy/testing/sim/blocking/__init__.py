"""Programs of hosts: blocking calls in virtual time."""

from slirpy.testing.sim.blocking.program import BlockingProgram

__all__ = ["BlockingProgram"]
