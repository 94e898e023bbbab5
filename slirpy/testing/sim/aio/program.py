"""A running program."""

from __future__ import annotations

from typing import Any

from slirpy.testing.sim.host import Host
from slirpy.testing.sim.program import Program

__all__ = ["AsyncProgram"]


class AsyncProgram(Program):
    """A program.

    Args:
        host: the host on which it runs.
        program: what to run; see :meth:`slirpy.testing.sim.host.Host.run`.
        name: its name in reports; empty: that of the function.
    """

    def __init__(self, host: Host, program: Any, name: str) -> None:
        super().__init__(host, name, None)
        raise NotImplementedError

    def _end(self) -> None: ...

    def where(self) -> str:
        return ""
