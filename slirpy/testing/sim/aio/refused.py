"""Calls of an event loop that virtual time does not have: each is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from slirpy.testing.sim.aio.bases import LoopBase
from slirpy.testing.sim.errors import escaped

__all__ = ["Refusals"]

_HOSTS = "start one program on each host, with host.run()"
_RUNNING = "the network runs the loop: await the coroutine, or start it with host.run() or net.run()"
_INSTEAD = {
    "run_forever": _RUNNING,
    "run_until_complete": _RUNNING,
    "stop": "let the program return",
    "close": "close the network",
    "subprocess_exec": _HOSTS,
    "subprocess_shell": _HOSTS,
    "connect_read_pipe": "use a socket or an asyncio.Queue",
    "connect_write_pipe": "use a socket or an asyncio.Queue",
    "create_unix_connection": "use TCP to 127.0.0.1",
    "create_unix_server": "use TCP on 127.0.0.1",
}
"""Names of methods, and what to do instead."""


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(self: object, *_: Any, **__: Any) -> NoReturn:
        raise escaped(f"loop.{name}() is not simulated; {_INSTEAD[name]}")

    refused.__name__, refused.__doc__ = name, f"Refuse: {_INSTEAD[name]}."
    return refused


class Refusals(LoopBase):  # type: ignore[misc] # a private class of asyncio
    """Methods that would leave the network: each raises an EscapeError. Handlers of signals are ignored."""

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Do nothing: nobody sends signals."""

    def remove_signal_handler(self, sig: int) -> bool:
        """Return False: there was no handler."""
        return False


for _name in _INSTEAD:
    setattr(Refusals, _name, _refuse(_name))
