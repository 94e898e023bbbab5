"""The network that is controlled, as the handlers of requests see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from slirpy.control.desk import Desk
from slirpy.core.switchnet import SwitchNetwork
from slirpy.errors import StateError
from slirpy.interfaces import Poller
from slirpy.stack import Stack

__all__ = ["Subject"]

_T = TypeVar("_T")


class Subject:
    """A network, and the way to it.

    Args:
        network: a stack, or a switch without virtual hosts.
        poller: of the thread that drives it.
        desk: takes calls for that thread.

    Attributes:
        tunnels: connections that have become tunnels to guests.
    """

    def __init__(self, network: Stack | SwitchNetwork, poller: Poller, desk: Desk) -> None:
        self.network = network
        self.poller = poller
        self._desk = desk
        self.tunnels: set[asyncio.Transport] = set()

    async def do(self, call: Callable[[], _T]) -> _T:
        """Let the network's thread make a call; see :meth:`slirpy.control.desk.Desk.do`."""
        return await self._desk.do(call)

    async def ask(self, call: Callable[[Stack], _T]) -> _T:
        """Let the network's thread call a function with the stack.

        Raises:
            StateError: there is no stack, or the network has ended.
        """
        stack = self.network
        if not isinstance(stack, Stack):
            raise StateError(
                "this network is a switch without virtual hosts, which has links and counters only"
            )
        return await self._desk.do(lambda: call(stack))

    def close(self) -> None:
        """Give back what handlers hold of the network. Called by the network's thread."""
