"""The difference between activity and the timers that go on for ever."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.testing.sim.router import Router
from slirpy.testing.sim.stack import HostStack

__all__ = ["is_activity"]


def is_activity(call: Callable[..., object]) -> bool:
    """Report whether a scheduled call is a frame, a connection or a program, and no timer of a router or a lease."""
    owner = getattr(call, "__self__", None)
    if isinstance(owner, HostStack):
        return call.__name__ != "_wake" or bool(owner.tcp.streams)
    return not isinstance(owner, Router)
