"""A whole network in virtual time: the stack, a simulated host behind it, and guests in front of it.

There are no real waits and no real randomness: with the same seed and the same calls every run is the same, frame by
frame. Example::

    net = VirtualNetwork(seed=1)
    net.host.serve_tcp("192.0.2.7", 7, Echo)
    net.boot()                                         # DHCP
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from random import Random

from slirpy.addresses import mac_bytes
from slirpy.checks import instance, is_whole, nanoseconds, switch, whole
from slirpy.config import Config
from slirpy.config.options import MTU_MAX, MTU_MIN
from slirpy.config.resolver import Resolver
from slirpy.core.port import LinkPort
from slirpy.errors import ConfigError
from slirpy.ladder.diagram import ladder
from slirpy.links.faultypath import NONE, FaultCounters, Faults, FaultyPath
from slirpy.reprs import counted, never_raises
from slirpy.stack import Stack
from slirpy.testing.cable import Cables, Captured, Fault, NoPoller
from slirpy.testing.guest import DEFAULT_MAC, Guest
from slirpy.testing.text import seconds
from slirpy.testing.virtualtime import VirtualTime
from slirpy.testing.world.host import SimHost
from slirpy.units import MS, SECOND

__all__ = ["VirtualNetwork"]

_SHOWN = 24
_LOOKED_AT = 20_000
"""Frames in which :meth:`VirtualNetwork.summary` searches for the beginnings of connections."""
_RESOLVER = Resolver("192.0.2.53")


class VirtualNetwork(VirtualTime):
    """A whole network in virtual time: the stack, a simulated host behind it, and guests in front of it.

    Events happen in the order of their time, while :meth:`run` or :meth:`run_until` is called; no real time passes.

    Args:
        config: the stack's configuration; the default is 10.0.2.0/24, with a resolver at 192.0.2.53 that does not
            exist until ``host.serve_udp`` makes it.
        seed: seed of all randomness: stack, host and guests have a generator each.
        fastpath: whether the stack may use its fast path.
        latency_ns: one-way latency between the stack and the programs of the outside world.
        link_latency_ns: latency of frames between a guest and the stack.
        mtu: MTU of the first guest; None: the network's.
        faults: chances of loss, delay and more for the frames of all guests, in both directions.

    Raises:
        ConfigError: an argument that cannot be used, such as a float instead of nanoseconds.

    Attributes:
        now: virtual nanoseconds since the start.
        stack, host, guest, guests: the parts; ``guest`` is the first of ``guests``.
        fault: loses, delays and duplicates chosen frames; see :data:`Fault`. ``to_guest`` and ``from_guest`` apply to
            those that remain.
        transcript: every frame that was sent, in both directions, including lost ones; see :class:`Captured`.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        seed: int = 0,
        fastpath: bool = True,
        latency_ns: int = 1 * MS,
        link_latency_ns: int = 0,
        mtu: int | None = None,
        faults: Faults = NONE,
    ) -> None:
        if config is not None:
            instance("config", config, Config, "a slirpy.Config")
        if not is_whole(seed):
            raise ConfigError(f"seed {seed!r} is not a whole number")
        self.config = config if config is not None else Config(resolvers=[_RESOLVER])
        self.now = 0
        self.link_latency_ns = link_latency_ns  # checked by the property
        self.fault: Fault | None = None
        self.transcript: list[Captured] = []
        self._random = Random(seed)
        self._queue: list[tuple[int, int, Callable[[bytes], object], bytes]] = []
        self._sequence = itertools.count()
        self.host = SimHost(self._generator(), latency_ns=latency_ns)
        self.stack = Stack(self.config, self.host, random=self._generator())
        if not switch("fastpath", fastpath):
            self.stack.fastpath = False
        self._cables = Cables(seed, faults)
        self.guests: list[Guest] = []
        self._ports: list[LinkPort] = []
        self.guest = self.add_guest(mtu=mtu)

    @never_raises
    def __repr__(self) -> str:
        lost = sum(each.lost for each in self.transcript)
        return (
            f"<VirtualNetwork at {seconds(self.now)}: {counted(len(self.guests), 'guest')},"
            f" {counted(len(self.transcript), 'frame')} ({lost} lost, {len(self._queue)} in transit)>"
        )

    @property
    def link_latency_ns(self) -> int:
        """Latency of frames between a guest and the stack, in nanoseconds. May be changed at any time."""
        return self._link_latency_ns

    @link_latency_ns.setter
    def link_latency_ns(self, latency_ns: int) -> None:
        self._link_latency_ns = nanoseconds("link_latency_ns", latency_ns)

    @property
    def to_guest(self) -> Faults:
        """Faults of frames to all guests. May be changed at any time."""
        return self._cables.to_guest

    @to_guest.setter
    def to_guest(self, faults: Faults) -> None:
        self._cables.set_to_guest("to_guest", faults)

    @property
    def from_guest(self) -> Faults:
        """Faults of frames from all guests. May be changed at any time."""
        return self._cables.from_guest

    @from_guest.setter
    def from_guest(self, faults: Faults) -> None:
        self._cables.set_from_guest("from_guest", faults)

    @property
    def to_guest_counters(self) -> FaultCounters:
        """Counters of frames to all guests; a copy."""
        return self._cables.counters()[0]

    @property
    def from_guest_counters(self) -> FaultCounters:
        """Counters of frames from all guests; a copy."""
        return self._cables.counters()[1]

    def _generator(self) -> Random:
        return Random(self._random.getrandbits(64))

    def add_guest(self, *, mac: bytes | str | None = None, mtu: int | None = None) -> Guest:
        """Plug in another guest.

        Args:
            mac: six bytes, or text; None: QEMU's default, with the last byte incremented for each guest.
            mtu: largest IP packet in bytes, 68 to 65521; None: the network's.

        Raises:
            ConfigError: ``mac`` is not a MAC address, or ``mtu`` not from 68 to 65521.
        """
        if mtu is not None:
            whole("mtu", mtu, MTU_MIN, MTU_MAX)
        number = len(self.guests)
        default = DEFAULT_MAC[:5] + bytes((DEFAULT_MAC[5] + number & 0xFF,))
        mac = default if mac is None else mac_bytes("mac", mac)
        cable = self._cables.add(self.carry, mtu)
        port = self.stack.attach(cable, NoPoller())
        guest = Guest(
            cable.input,
            random=self._generator(),
            now=self.now,
            mac=mac,
            mtu=port.mtu,
            hostname=f"guest{number}",
        )
        cable.connect(guest.input, lambda frame: self.stack.input(port, frame))
        self.guests.append(guest)
        self._ports.append(port)
        return guest

    # ------------------------------------------------------------------------------------------ time

    def boot(self, guest: Guest | None = None, *, ipv4: bool | None = None, ipv6: bool | None = None) -> Guest:
        """Bring up the network of a guest.

        Args:
            guest: the guest; None: the first one.
            ipv4: whether it obtains an IPv4 address by DHCP; None: if the network has IPv4.
            ipv6: whether it obtains IPv6 addresses, by SLAAC or DHCPv6 as the router says; None: if the network has
                nothing else.

        Returns:
            The guest, which now has an ``address`` and a ``lease``, or an ``address6``.

        Raises:
            ConfigError: an argument of another type.
            UnmetError: it had not got what it needs within a minute.
        """
        if guest is not None:
            instance("guest", guest, Guest, "a Guest, as add_guest() returns it")
        for name, value in (("ipv4", ipv4), ("ipv6", ipv6)):
            if value is not None:
                switch(name, value)
        chosen = guest if guest is not None else self.guest
        if self.config.ipv4 if ipv4 is None else ipv4:
            client = chosen.dhcp()
            self.run_until(lambda: client.bound)
        if not self.config.ipv4 if ipv6 is None else ipv6:
            configuration = chosen.autoconfigure()
            self.run_until(lambda: configuration.ready or configuration.managed)
            if configuration.managed:
                client6 = chosen.dhcp6()
                self.run_until(lambda: client6.bound)
        return chosen

    def _following(self) -> int | None:
        """Return the time of the next event, not before now; None: there is none."""
        deadlines = [self.host.deadline(), self.stack.deadline(), *(guest.deadline() for guest in self.guests)]
        if self._queue:
            deadlines.append(self._queue[0][0])
        due = [deadline for deadline in deadlines if deadline is not None]
        return max(min(due), self.now) if due else None

    def _round(self) -> None:
        """Process everything that is due now in the order of a runtime: events first, then one flush."""
        now = self.now
        self.stack.tick(now)
        self.host.advance(now)
        for guest in self.guests:
            guest.now = now
        queue = self._queue
        while queue and queue[0][0] <= now:
            _, _, deliver, frame = heapq.heappop(queue)
            deliver(frame)
        self.stack.flush(now)
        for guest in self.guests:
            guest.advance(now)

    def carry(
        self,
        direction: str,
        frame: bytes,
        deliver: Callable[[bytes], object],
        path: FaultyPath[bytes] | None = None,
    ) -> None:
        """Carry a frame from a link or a guest, on a path with faults if there is one."""
        now = max(self.now, self.stack.now)
        captured = Captured(now, direction, frame)
        self.transcript.append(captured)
        if self.fault is not None:
            fate = self.fault(direction, frame)
            if type(fate) is not int or fate:
                copies = () if fate is None else fate if isinstance(fate, list | tuple) else (fate,)
                captured.delays = tuple(nanoseconds("the delay that fault returned", each) for each in copies)
        deliveries = [(delay, frame) for delay in captured.delays]
        if path is not None:
            deliveries = [
                (delay + when - now, each)
                for delay, _ in deliveries
                for when, each in path.put(frame, len(frame), now)
            ]
            captured.delays = tuple(delay for delay, _ in deliveries)
            captured.corrupted = any(each is not frame for _, each in deliveries)
        for delay, each in deliveries:
            when = now + self._link_latency_ns + delay
            heapq.heappush(self._queue, (when, next(self._sequence), deliver, each))

    # ---------------------------------------------------------------------------------- for people

    def summary(self) -> str:
        """Describe the state of the network in a few lines, for messages of failed tests."""
        lines = [f"at {self.now / SECOND:.6f} s: {len(self.transcript)} frames"]
        for guest in self.guests:
            addresses = " ".join(map(str, guest.addresses)) or "without address"
            lines.append(f"guest {guest.mac.hex(':')} {addresses}: {guest.counters}")
            lines += [
                f"  {stream.state.value} :{stream.local_port} - {stream.address}:{stream.port}:"
                f" {stream.count} bytes received, {stream.unsent} unacknowledged"
                for stream in guest.tcp.streams.values()
            ]
        lines += [f"stack: {flow}" for flow in self.stack.flows()]
        counters = ", ".join(f"{name} {value}" for name, value in self.stack.stats.nonzero().items())
        lines.append(f"stack counters: {counters or 'none'}")
        if self.transcript:
            recent = self.transcript[-_LOOKED_AT:]
            shown = min(len(recent), _SHOWN)
            lines += [f"the last {shown} frames:", ladder(recent, "*", "*", width=110, last=shown)]
        return "\n".join(lines)
