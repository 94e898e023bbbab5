"""A network of guests only: a switch and its ports, without a stack."""

from __future__ import annotations

from collections.abc import Callable

from slirpy.checks import moment, switch, whole
from slirpy.config.options import MTU_MIN
from slirpy.core.port import LinkPort, check_port
from slirpy.core.switch import Switch
from slirpy.core.timers import Timers
from slirpy.interfaces import Buffer, Link, Poller, Timer
from slirpy.interfaces.links import check_link
from slirpy.stats import Stats
from slirpy.wire import ethernet

__all__ = ["SwitchNetwork"]


class SwitchNetwork:
    """A switch and its ports: a network with guests and no virtual hosts.

    Drive it like a stack: :meth:`attach` links; call :meth:`tick` with the time before they deliver frames, and
    :meth:`flush` afterwards and at :meth:`deadline`.

    Args:
        mtu: largest IP packet in bytes, 68 to 65535, for ports whose link specifies no MTU. Larger TCP segments are
            cut; other packets are dropped and counted.
        hub: whether to flood all frames.
        stats: counters to update; None creates new ones.
        now: the initial time in nanoseconds.

    Attributes:
        now: the time of the current batch in nanoseconds.
        on_attach: called with the port and the poller of each link that was attached; None: nothing is.
        ports: the attached ports.
        stats: counters.
        switch: the switch.

    Raises:
        ConfigError: an argument is not in its range or of the wrong type, such as ``time.monotonic()`` for ``now``.
    """

    def __init__(self, *, mtu: int = 1500, hub: bool = False, stats: Stats | None = None, now: int = 0) -> None:
        self.stats = stats if stats is not None else Stats()
        self.now = moment("now", now)
        self.ports: list[LinkPort] = []
        self.on_attach: Callable[[LinkPort, Poller], None] | None = None
        self.switch = Switch(self.stats, hub=switch("hub", hub))
        self._mtu = whole("mtu", mtu, MTU_MIN, 65535)
        self._timers = Timers()

    def attach(self, link: Link, poller: Poller) -> LinkPort:
        """Connect a link; its features are read now.

        Raises:
            ConfigError: it is no link.
        """
        check_link("link", link)
        port = LinkPort(self, link, link.features.mtu or self._mtu)
        self.ports.append(port)
        self.switch.plug(port, self.now)
        link.start(port, poller)
        if self.on_attach is not None:
            self.on_attach(port, poller)
        return port

    def detach(self, port: LinkPort) -> None:
        """Disconnect a link and close it. Calling this again does nothing.

        Raises:
            ConfigError: ``port`` is not what :meth:`attach` returned.
        """
        check_port(port)
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

    def input(self, port: LinkPort, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        """Take one frame from a guest. The frame must stay unchanged until the next flush has returned.

        Returns True: no frame takes a fast path here (:meth:`slirpy.interfaces.LinkSink.input`).
        """
        view = memoryview(frame)
        self.stats.frames_in += 1
        self.stats.bytes_in += len(view)
        if len(view) < ethernet.HEADER_LENGTH:
            self.stats.drop_ethernet_short += 1
        elif not port.closed:
            self.switch.forward(port, view, checksummed, self.now, gso_size)
        return True

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``, in nanoseconds.

        Raises:
            ConfigError: ``when`` is not a whole number of nanoseconds.
        """
        if type(when) is not int:
            when = moment("when", when)
        return self._timers.call_at(when, callback)

    def deadline(self) -> int | None:
        """Time at which :meth:`flush` is due, in nanoseconds. None: not before the next frame."""
        return self._timers.deadline()

    def flush(self, now: int) -> None:
        """Hand all queued frames to the links.

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
        """Detach all links."""
        for port in list(self.ports):
            self.detach(port)
