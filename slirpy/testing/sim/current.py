"""The host whose program runs now."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slirpy.testing.sim.host import Host

__all__ = ["HOST", "current_host"]

HOST: ContextVar[Host | None] = ContextVar("slirpy.testing.sim.host", default=None)
"""Set in the context of each task and of each greenlet of a program. Code outside programs, such as that of the test
or of another thread, has no host, and keeps real sockets, clocks and threads.
"""
current_host = HOST.get
"""Return the host whose program runs now; None outside programs."""
