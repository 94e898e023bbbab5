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
from slirpy.wire.ip import packet_family

__all__ = ["HostStack"]

LOOPBACK_DELAY = 10 * US
LOOPBACK_MTU = 65535
_PLAIN_IPV4 = ethernet.TYPE_IPV4.to_bytes(2, "big") + b"\x45"
_TYPE_IPV6 = ethernet.TYPE_IPV6.to_bytes(2, "big")


class _PushedTimers(Timers):
    """Timers that report when their first deadline moves forward: hosts without work cost no polling."""

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
        path_to: returns the function that takes frames for a neighbor, by its MAC address; None: it varies.
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
        path_to: Callable[[bytes], Callable[[bytes], None]] | None = None,
    ) -> None:
        self._path_to = path_to
        self._base = settings
        self._scheduler = scheduler
        self._neighbors = neighbors
        self._wake_at: int | None = None
        self._stalled = False
        self._watchers: list[Callable[[], None]] = []
        self.dead = False
        """True after a crash: it neither receives nor sends any more."""
        super().__init__(send, random, scheduler.now, mac, mtu, hostname)

    udp_sockets: HostUdp
    tcp: HostTcp

    def make_timers(self) -> Timers:
        return _PushedTimers(self._earlier)

    def make_udp(self) -> HostUdp:
        self.udp_sockets = HostUdp(self, self.refuse_datagram)
        return self.udp_sockets

    def make_tcp(self) -> HostTcp:
        return HostTcp(self, self._base, self.straight_to)

    # ------------------------------------------------------------------------------------------ time

    @property
    def now(self) -> int:
        """Nanoseconds of the network: a program may use a host that has been idle for hours."""
        return self._scheduler.now

    @now.setter
    def now(self, now: int) -> None:
        """Do nothing: nobody sets the time of a host."""

    def _earlier(self, when: int) -> None:
        if self._wake_at is None or when < self._wake_at:
            self._wake_at = when
            self._scheduler.at(when, self._wake, when)

    def _wake(self, when: int) -> None:
        if when != self._wake_at or self.dead or self._stalled:
            return
        self._wake_at = None
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
        if self.dead or self._sending:
            return
        if self.tcp.marked or self._out or self.mld.active:  # most calls find nothing to do
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

    def receive(self, frame: bytes, sound: bool = True) -> None:
        """Take a frame from the outside.

        Args:
            frame: Ethernet frame.
            sound: whether its checksums are known to be right, because nothing has changed it on the way.
        """
        if self.dead:
            return
        self.counters.frames_in += 1
        if not (sound and self._take_segment(frame)):
            self.take_frame(memoryview(frame))
        self.flush()

    def _take_segment(self, frame: bytes) -> bool:
        """Handle a TCP segment in a packet without options and extension headers; False if the frame is another."""
        kind = frame[12:15]
        if kind == _PLAIN_IPV4:
            if frame[23] != ipv4.TCP or frame[20] & 0x3F or frame[21] or frame[:6] != self.mac:
                return False
            end = ethernet.HEADER_LENGTH + (frame[16] << 8 | frame[17])
            source, destination, start = frame[26:30], frame[30:34], 34
            own = self.ipv4.addresses
        elif kind[:2] == _TYPE_IPV6:
            if frame[20] != ipv4.TCP or frame[:6] != self.mac:
                return False
            end = 54 + (frame[18] << 8 | frame[19])
            source, destination, start = frame[22:38], frame[38:54], 54
            own = self.ipv6.addresses
        else:
            return False
        if destination not in own or end > len(frame):
            return False
        self.tcp.take_segment(source, destination, memoryview(frame)[start:end])
        return True

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
        view = memoryview(packet)
        header: Any = packet_family(view).parse(view)
        self.deliver(header, view)
        self.flush()

    def straight_to(self, destination: bytes) -> tuple[bytes, Callable[[bytes], None]] | None:
        """Return the MAC address of a neighbor, and the function that takes frames for it; None: it has none."""
        mac = self._neighbors.get(destination)
        if mac is None or mac == self.mac or self._path_to is None:
            return None
        return mac, self._path_to(mac)

    # ------------------------------------------------------------------------------------- addresses

    def is_own(self, address: bytes) -> bool:
        return is_loopback(address) or super().is_own(address)

    def source_for(self, destination: bytes) -> bytes:
        return destination if is_loopback(destination) else super().source_for(destination)

    def mtu_for(self, destination: bytes) -> int:
        return LOOPBACK_MTU if self.is_own(destination) else super().mtu_for(destination)
