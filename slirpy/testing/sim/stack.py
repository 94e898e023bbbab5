"""The protocols of a host in virtual time: those of a test's guest, with sockets, loopback, and pushed deadlines."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from slirpy.core.timers import Alarm, Timers
from slirpy.tcp import Segment, Settings
from slirpy.tcp.options import NONE, parse
from slirpy.testing.guest.protocols import ProtocolHost
from slirpy.testing.guest.slaac import Autoconfiguration
from slirpy.testing.sim.datagrams import HostUdp
from slirpy.testing.sim.scheduler import Scheduler
from slirpy.testing.sim.streams import HostStream, HostTcp
from slirpy.testing.sim.trace import CarrySegment
from slirpy.units import US
from slirpy.wire import ethernet, ipv4, tcp
from slirpy.wire.headers import LAYOUT, LAYOUT6, Layout
from slirpy.wire.ip import packet_family
from slirpy.wire.scope import is_loopback

__all__ = ["HostStack"]

LOOPBACK_DELAY = 10 * US
LOOPBACK_MTU = 65535
_NEVER = 1 << 63


class _Usual:
    """The numbers by which usual segments of an IP family are recognized: see :mod:`slirpy.wire.headers`."""

    def __init__(self, layout: Layout, address_length: int) -> None:
        self.unpack = layout.segment.unpack_from
        self.words = frozenset(layout.word(ipv4.TCP, hops) for hops in range(256))
        self.versions, self.whole = layout.versions, layout.whole
        self.length_from = layout.length_from
        self.options_at = layout.transport_at + tcp.HEADER_LENGTH
        self.destination = slice(address_length, 2 * address_length)


_USUAL = {
    ethernet.TYPE_IPV4.to_bytes(2, "big"): _Usual(LAYOUT, 4),
    ethernet.TYPE_IPV6.to_bytes(2, "big"): _Usual(LAYOUT6, 16),
}


class _PushedTimers(Timers):
    """Timers that report when their first deadline moves forward: hosts without work cost no polling.

    Attributes:
        wake_at: virtual nanoseconds at which they are run.
    """

    __slots__ = ("_earlier", "wake_at")

    def __init__(self, earlier: Callable[[int], None]) -> None:
        super().__init__()
        self._earlier = earlier
        self.wake_at = _NEVER

    def push(self, when: int, alarm: Alarm) -> None:
        Timers.push(self, when, alarm)  # super() takes as long as the rest
        if when < self.wake_at:
            self._earlier(when)

    def first(self) -> int | None:
        """Return the time of the first alarm; None: there is none.

        Entries of alarms that were moved are removed or moved, so that time does not stop at each of them.
        """
        heap = self.heap
        while heap:
            entry, _, alarm = heap[0]
            if alarm.entry != entry:
                heapq.heappop(heap)
            elif alarm.when is None:
                alarm.entry = None
                heapq.heappop(heap)
            elif alarm.when > entry:
                alarm.entry = alarm.when
                heapq.heapreplace(heap, (alarm.when, next(self._count), alarm))
            else:
                return entry
        return None


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
        path_to: returns the function that takes segments for a neighbor, by its MAC address; None: it varies.
    """

    __slots__ = (
        "_base", "_neighbors", "_path_to", "_scheduler", "_stalled", "_straight", "_watchers", "dead", "udp_sockets",
    )  # fmt: skip
    # With these it would have more than thirty attributes in its dict, from where methods take three times as long.

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
        path_to: Callable[[bytes], CarrySegment] | None = None,
    ) -> None:
        self._path_to = path_to
        self._base = settings
        self._scheduler = scheduler
        self._neighbors = neighbors
        self._straight: dict[bytes, tuple[bytes, CarrySegment]] = {}
        self._stalled = False
        self._watchers: list[Callable[[], None]] = []
        self.dead = False
        """True after a crash: it neither receives nor sends any more."""
        super().__init__(send, random, scheduler.now, mac, mtu, hostname)

    udp_sockets: HostUdp
    tcp: HostTcp

    timers: _PushedTimers

    def make_timers(self) -> Timers:
        return _PushedTimers(self._earlier)

    def make_udp(self) -> HostUdp:
        self.udp_sockets = HostUdp(self, self.refuse_datagram)
        return self.udp_sockets

    def make_tcp(self) -> HostTcp:
        return HostTcp(self, self._base, self.straight_to, self.serve)

    # ------------------------------------------------------------------------------------------ time

    @property
    def now(self) -> int:
        """Nanoseconds of the network: a program may use a host that has been idle for hours."""
        return self._scheduler.now

    @now.setter
    def now(self, now: int) -> None:
        """Do nothing: nobody sets the time of a host."""

    def _earlier(self, when: int) -> None:
        self.timers.wake_at = when
        self._scheduler.at(when, self._wake, when)

    def _wake(self, when: int) -> None:
        timers = self.timers
        if when != timers.wake_at or self.dead or self._stalled:
            return
        timers.wake_at = _NEVER
        timers.run(self._scheduler.now)
        self.flush()
        following = timers.first()
        if following is not None and following < timers.wake_at:
            self._earlier(following)

    def stall(self) -> None:
        """Let no timer run until :meth:`resume`."""
        self._stalled = True

    def resume(self) -> None:
        """Run the timers that have become due in the meantime."""
        self._stalled = False
        wake_at = self.timers.wake_at
        if wake_at <= self._scheduler.now:
            self._wake(wake_at)

    def flush(self) -> None:
        if self._sending or self.dead:
            return
        if self._out or self.mld.active:
            super().flush()
        elif marked := self.tcp.marked:  # most calls have only this to do, or nothing
            self._sending = True
            try:
                while len(marked) == 1:  # as service() does
                    marked.popitem()[0].service(self._scheduler.now)
            finally:
                self._sending = False
            if self._out or marked:
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

    def receive_segment(self, key: bytes, segment: Segment) -> None:
        """Do as :meth:`receive` with a frame for this host, of which only the TCP segment is known.

        Args:
            key: its flow key.
            segment: the segment.
        """
        if self.dead:
            return
        self.counters.frames_in += 1
        hosted, now = self.tcp, self._scheduler.now
        stream = hosted.streams.get(key)
        if stream is None or segment.flags & tcp.SYN:
            hosted.arrive(key, segment, now)
            self.flush()
        else:
            stream.input(segment, now)
            self.serve(stream)

    def serve(self, stream: HostStream) -> None:
        """Do what is due for a stream, and all that follows: :meth:`flush` for one stream, without a mark."""
        marked = self.tcp.marked
        if self._sending or self.dead:
            marked[stream] = None
            return
        self._sending = True
        try:
            stream.service(self._scheduler.now)
        finally:
            self._sending = False
        if marked or self._out or self._watchers or self.mld.active:
            self.flush()

    def _take_segment(self, frame: bytes) -> bool:
        """Handle a TCP segment in a packet without options and extension headers; False if the frame is another."""
        usual = _USUAL.get(frame[12:14])
        if usual is None or len(frame) < usual.options_at:
            return False
        macs, _, version, total, fragment, word, key, seq, ack, offset, flags, wnd = usual.unpack(frame)
        start = usual.options_at
        data = start - tcp.HEADER_LENGTH + (offset >> 4 << 2)
        end = usual.length_from + total
        if (
            word not in usual.words
            or version not in usual.versions
            or fragment not in usual.whole
            or flags & tcp.URG
            or not start <= data <= end <= len(frame)
            or macs[:6] != self.mac
        ):
            return False
        destination = key[usual.destination]
        if destination not in (self.ipv4.addresses if len(destination) == 4 else self.ipv6.addresses):
            return False
        options = parse(frame[start:data]) if data > start else NONE
        self.tcp.arrive(key, Segment(seq, ack, flags, wnd, options, frame[data:end]), self._scheduler.now)
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

    def straight_to(self, destination: bytes) -> tuple[bytes, CarrySegment] | None:
        """Return the MAC address of a neighbor, and the function that takes segments for it; None: it has none."""
        found = self._straight.get(destination)
        if found is None:
            mac = self._neighbors.get(destination)
            if mac is None or mac == self.mac or self._path_to is None:
                return None
            found = self._straight[destination] = mac, self._path_to(mac)
        return found

    # ------------------------------------------------------------------------------------- addresses

    def is_own(self, address: bytes) -> bool:
        return is_loopback(address) or super().is_own(address)

    def source_for(self, destination: bytes) -> bytes:
        looped = destination not in self._straight and is_loopback(destination)
        return destination if looped else super().source_for(destination)

    def mtu_for(self, destination: bytes) -> int:
        looped = destination not in self._straight and self.is_own(destination)
        return LOOPBACK_MTU if looped else super().mtu_for(destination)
