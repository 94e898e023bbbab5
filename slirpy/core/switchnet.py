"""A network of guests alone: a switch and its ports, without a stack."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.config.options import MTU_MIN
from slirpy.config.values import moment, switch, whole
from slirpy.core.port import LinkPort
from slirpy.core.switch import Switch
from slirpy.core.timers import Timers
from slirpy.interfaces import Buffer, Link, Poller, Timer
from slirpy.stats import Stats
from slirpy.wire import ethernet

__all__ = ["SwitchNetwork"]


class SwitchNetwork:
    """Ports and a switch between them: a network that nobody but its guests is on.

    It is driven as a stack is: :meth:`attach` links, :meth:`tick` with the time before they deliver, :meth:`flush`
    after, and at :meth:`deadline`.

    Args:
        mtu: largest IP packet in bytes that is sent to a port whose link names no MTU; 68 to 65535. What is larger
            and is TCP is cut, other things are dropped and counted.
        hub: flood everything.
        now: nanoseconds, the start of time.

    Attributes:
        now: nanoseconds of the present batch.
        ports: those that are attached.
        stats: counters.
        switch: the switch.

    Raises:
        ConfigError: an argument that cannot be used, such as ``time.monotonic()`` for ``now``.
    """

    def __init__(self, *, mtu: int = 1500, hub: bool = False, stats: Stats | None = None, now: int = 0) -> None:
        self.stats = stats if stats is not None else Stats()
        self.now = moment("now", now)
        self.ports: list[LinkPort] = []
        self.switch = Switch(self.stats, hub=switch("hub", hub))
        self._mtu = whole("mtu", mtu, MTU_MIN, 65535)
        self._timers = Timers()

    def attach(self, link: Link, poller: Poller) -> LinkPort:
        """Connect a link; its features are read now."""
        port = LinkPort(self, link, link.features.mtu or self._mtu)
        self.ports.append(port)
        self.switch.plug(port, self.now)
        link.start(port, poller)
        return port

    def detach(self, port: LinkPort) -> None:
        """Disconnect a link and close it. Harmless when repeated."""
        if port in self.ports:
            self.ports.remove(port)
            self.switch.unplug(port)
            port.close()

    def tick(self, now: int) -> None:
        """Set the time, in nanoseconds.

        Raises:
            ConfigError: ``now`` is not a whole number.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.now = now

    def input(self, port: LinkPort, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        """Take one frame from a guest; it must stay unchanged until the next flush has returned."""
        view = memoryview(frame)
        self.stats.frames_in += 1
        self.stats.bytes_in += len(view)
        if len(view) < ethernet.HEADER_LENGTH:
            self.stats.drop_ethernet_short += 1
        elif not port.closed:
            self.switch.forward(port, view, checksummed, self.now, gso_size)

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``.

        Raises:
            ConfigError: ``when`` is not a whole number of nanoseconds.
        """
        if type(when) is not int:
            when = moment("when", when)
        return self._timers.call_at(when, callback)

    def deadline(self) -> int | None:
        """When :meth:`flush` is due, in nanoseconds; None: not before something happens."""
        return self._timers.deadline()

    def flush(self, now: int) -> None:
        """Hand all frames to the links.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.now = now
        self._timers.run(now)
        for port in self.ports:
            port.flush()

    def close(self) -> None:
        """Detach all."""
        for port in list(self.ports):
            self.detach(port)
