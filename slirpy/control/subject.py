"""The network that is controlled, as the handlers of requests see it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from slirpy.control.desk import Desk
from slirpy.control.taps import Taps
from slirpy.core.switchnet import SwitchNetwork
from slirpy.drive.mailbox import Mailbox
from slirpy.errors import StateError
from slirpy.interfaces import Poller
from slirpy.stack import Stack

__all__ = ["Dial", "Subject"]

_T = TypeVar("_T")

Dial: TypeAlias = Callable[[str, int, Callable[[int], None]], socket.socket]
"""Starts to connect to a port of a guest; the function is called once, with 0 or an ``errno`` value."""


class Subject:
    """A network, and the way to it. Made by the thread that drives the network.

    Args:
        network: a stack, or a switch without virtual hosts.
        poller: of the thread that drives it.
        taps: its captures and faults.
        dial: starts to connect to a guest; called by that thread. None: there are no guests to connect to.

    Attributes:
        tunnels: connections that have become tunnels to guests.
        closed: whether it takes no requests any more.
    """

    def __init__(self, network: Stack | SwitchNetwork, poller: Poller, taps: Taps, dial: Dial | None) -> None:
        self.network = network
        self.taps = taps
        self._mailbox = Mailbox(poller, _none_refused)
        self._desk = Desk(self._mailbox)
        self._dial = dial
        self.tunnels: set[asyncio.Transport] = set()
        self.closed = False
        self._count_reader(1)

    def addresses(self) -> list[tuple[str, str]]:
        """The networks of both families, each with its gateway; none for a switch. For any thread."""
        if not isinstance(self.network, Stack):
            return []
        config = self.network.config
        families = ((config.ipv4, config.net, config.host), (config.ipv6, config.net6, config.host6))
        return [(str(net), str(host)) for on, net, host in families if on]

    def close(self) -> None:
        """Take no more requests; those that wait get an error. Harmless when repeated."""
        if not self.closed:
            self.closed = True
            self._count_reader(-1)
            self._mailbox.close()

    def abandon(self) -> None:
        """Only close the descriptors, in a forked child."""
        self.closed = True
        self._mailbox.abandon()

    def _count_reader(self, change: int) -> None:
        if isinstance(self.network, Stack):
            self.network.questions.readers += change

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

    async def dial(self, guest: str, port: int, answer: asyncio.Future[int]) -> socket.socket:
        """Start to connect to a guest; returns a socket.

        Args:
            guest: its address or name.
            port: its port.
            answer: gets 0 once the guest has accepted the connection, or an ``errno`` value.

        Raises:
            ConfigError: no guest can have the address.
            StateError: the network is a switch alone, or has ended.
        """
        dial, loop = self._dial, asyncio.get_running_loop()
        if dial is None:
            raise StateError("this network is a switch without virtual hosts, and connects to no guests")

        def tell(error: int) -> None:
            if not answer.done():
                answer.set_result(error)

        def settled(error: int) -> None:
            try:
                loop.call_soon_threadsafe(tell, error)
            except RuntimeError:
                pass  # the loop has been closed

        return await self._desk.do(lambda: dial(guest, port, settled))

    def later(self, call: Callable[[], object]) -> None:
        """Let the network's thread make a call soon, if it still runs; nobody waits for it."""
        self._desk.later(call)


def _none_refused(count: int) -> None:
    """Callback for frames that had no room; there are none here."""
