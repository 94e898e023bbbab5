"""Programs of hosts: asyncio in virtual time."""

from slirpy.testing.sim.aio.program import AsyncProgram, ContinuedProgram

__all__ = ["AsyncProgram", "ContinuedProgram"]
