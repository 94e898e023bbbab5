"""A switch with the operating system's poller and clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from slirpy.core.switchnet import SwitchNetwork
from slirpy.host.poller import SelectorPoller
from slirpy.interfaces import READ, Link
from slirpy.units import SECOND

__all__ = ["PolledSwitch"]


class PolledSwitch:
    """A network of guests without virtual hosts, driven like a :class:`~slirpy.Slirp`.

    Args:
        mtu: as for :class:`~slirpy.core.switchnet.SwitchNetwork`, like the other one.
        hub: whether to flood all frames.

    Attributes:
        network: the switch and its ports.
        poller: watches the descriptors of the links.
        stats: counters.
    """

    def __init__(self, mtu: int = 1500, hub: bool = False) -> None:
        self.poller = SelectorPoller()
        self.network = SwitchNetwork(mtu=mtu, hub=hub, now=time.monotonic_ns())
        self.stats = self.network.stats

    def attach_link(self, link: Link) -> None:
        """Plug in a link."""
        self.network.attach(link, self.poller)

    def watch(self, fd: int, ready: Callable[[int], None]) -> None:
        """Wait for one of the caller's descriptors, too; ``ready`` reads the available data."""
        self.poller.register(fd, READ, ready)

    def poll(self, timeout: float) -> None:
        """Relay frames; returns when something was done, or after ``timeout`` seconds."""
        network, clock = self.network, time.monotonic_ns
        deadline = network.deadline()
        if deadline is not None:
            timeout = min(timeout, max(deadline - clock(), 0) / SECOND)
        self.poller.poll(timeout, before=lambda: network.tick(clock()))
        network.flush(clock())

    def close(self) -> None:
        """Detach all links."""
        self.network.close()
        self.poller.close()
