"""The host whose program runs now, and the program."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host
    from slirpy.testing.sim.program import Program

__all__ = ["HOST", "PROGRAM", "current_host"]

HOST: ContextVar[Host | None] = ContextVar("slirpy.testing.sim.host", default=None)
"""Set in the context of each task and of each greenlet of a program. Code outside programs, such as that of the test
or of another thread, has no host, and keeps real sockets, clocks and threads.
"""
current_host = HOST.get
"""Return the host whose program runs now; None outside programs."""
PROGRAM: ContextVar[Program | None] = ContextVar("slirpy.testing.sim.program", default=None)
"""The program that runs now; None outside programs. Set together with :data:`HOST`."""
