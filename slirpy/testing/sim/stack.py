"""The protocols of a host in virtual time: those of a test's guest, with sockets, loopback, and pushed deadlines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from slirpy.core.timers import Alarm, Timers
from slirpy.tcp import Settings
from slirpy.testing.guest.protocols import ProtocolHost
from slirpy.testing.guest.slaac import Autoconfiguration
from slirpy.testing.sim.datagrams import HostUdp
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.streams import HostTcp
from slirpy.units import US
from slirpy.wire import ethernet, ipv4, ipv6

__all__ = ["HostStack"]

LOOPBACK_DELAY = 10 * US
LOOPBACK_MTU = 65535


class _PushedTimers(Timers):
    """Timers that say when their first deadline moves forward, so that nobody has to ask."""

    __slots__ = ("_earlier",)

    def __init__(self, earlier: Callable[[int], None]) -> None:
        super().__init__()
        self._earlier = earlier

    def push(self, when: int, alarm: Alarm) -> None:
        super().push(when, alarm)
        self._earlier(when)


def is_loopback(address: bytes) -> bool:
    """Report whether an address is one of the host's loopback: 127.0.0.0/8 or ::1."""
    return address[0] == 127 if len(address) == 4 else address == ipv6.LOOPBACK


class HostStack(ProtocolHost):
    """The stack of one host.

    Args:
        scheduler: the network's time.
        send: called with each frame for the outside.
        random: source of ports, sequence numbers and identifiers.
        mac: MAC address of the card.
        mtu: largest IP packet in bytes.
        hostname: name of the host.
        neighbors: MAC addresses of all other hosts by IP address; empty: they are found by ARP and NDP.
        settings: settings of the host's TCP connections.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        send: Callable[[bytes], object],
        random: Random,
        mac: bytes,
        mtu: int,
        hostname: str,
        neighbors: Mapping[bytes, bytes],
        settings: Settings,
    ) -> None:
        self._base = settings
        self._scheduler = scheduler
        self._neighbors = neighbors
        self._wake_at: int | None = None
        self._stalled = False
        self._watchers: list[Callable[[], None]] = []
        self.dead = False
        """True after a crash: it neither receives nor sends any more."""
        super().__init__(send, random, scheduler.now, mac, mtu, hostname)

    sockets: HostUdp
    tcp: HostTcp

    def make_timers(self) -> Timers:
        return _PushedTimers(self._earlier)

    def make_udp(self) -> HostUdp:
        self.udp_sockets = HostUdp(self, self.refuse_datagram)
        return self.udp_sockets

    def make_tcp(self) -> HostTcp:
        return HostTcp(self, self._base)

    # ------------------------------------------------------------------------------------------ time

    def _earlier(self, when: int) -> None:
        if self._wake_at is None or when < self._wake_at:
            self._wake_at = when
            self._scheduler.at(when, self._wake, when)

    def _wake(self, when: int) -> None:
        if when != self._wake_at or self.dead or self._stalled:
            return
        self._wake_at = None
        self.now = self._scheduler.now
        self.timers.run(self.now)
        self.flush()
        following = self.timers.deadline()
        if following is not None:
            self._earlier(following)

    def stall(self) -> None:
        """Let no timer run until :meth:`resume`."""
        self._stalled = True

    def resume(self) -> None:
        """Run the timers that have become due in the meantime."""
        self._stalled = False
        if self._wake_at is not None and self._wake_at <= self._scheduler.now:
            self._wake(self._wake_at)

    def flush(self) -> None:
        self.now = self._scheduler.now
        if not self.dead:
            super().flush()
            for watcher in self._watchers:
                watcher()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call ``watcher`` after everything that the stack does."""
        self._watchers.append(watcher)

    def autoconfigure(self, ready: Callable[[], None]) -> None:
        """Obtain an IPv6 address from the routers on the link, and call ``ready`` once there is one."""
        configuration = self._autoconfiguration = Autoconfiguration(self, self.ipv6, self.ndp, dad=False)
        configuration.on_ready = ready
        configuration.start()

    # ---------------------------------------------------------------------------------------- frames

    def receive(self, frame: bytes) -> None:
        """Take a frame from the outside."""
        if self.dead:
            return
        self.now = self._scheduler.now
        self.counters.frames_in += 1
        self.take_frame(memoryview(frame))
        self.flush()

    def send_packet(self, destination: bytes, packet: bytes) -> None:
        mac = self._neighbors.get(destination)
        if mac is not None and mac != self.mac:
            self.send_frame(mac, ethernet.TYPE_IPV4 if len(destination) == 4 else ethernet.TYPE_IPV6, packet)
        elif self.is_own(destination):
            self._scheduler.at(self._scheduler.now + LOOPBACK_DELAY, self._looped, packet)
        else:
            super().send_packet(destination, packet)

    def _looped(self, packet: bytes) -> None:
        if self.dead:
            return
        self.now = self._scheduler.now
        view = memoryview(packet)
        header: Any = ipv4.parse(view) if view[0] >> 4 == 4 else ipv6.parse(view)
        self.deliver(header, view)
        self.flush()

    # ------------------------------------------------------------------------------------- addresses

    def is_own(self, address: bytes) -> bool:
        return is_loopback(address) or super().is_own(address)

    def source_for(self, destination: bytes) -> bytes:
        return destination if is_loopback(destination) else super().source_for(destination)

    def mtu_for(self, destination: bytes) -> int:
        return LOOPBACK_MTU if self.is_own(destination) else super().mtu_for(destination)
