"""A learning switch between the guests of a network, or a hub.

:class:`Switch` decides where a frame goes. With more than one port, :class:`~slirpy.core.stack.IPStack` passes it
each frame that the fast paths do not take, and acts as one more port of the switch.
:class:`~slirpy.core.switchnet.SwitchNetwork` has a switch and no stack.

**Learning.** The table maps MAC addresses to ports. A frame to a known address goes only to its port; all others are
flooded. An entry is valid for :data:`AGE` after the last frame. Each port has room for :data:`PORT_MACS` addresses
and evicts its own oldest, so a guest that forges addresses evicts no other guest's.

**Spoofing.** A frame is dropped if its source is the address of a virtual host, or an address that was heard behind
another port within :data:`HOLD`. After such a silence the address may move, because guests do. The port at which it
was first heard is its home, as long as it was heard there within :data:`AGE`; it may return there at once. So a guest
that takes over the address of a silent one loses it with that guest's next frame, and an address moves at most twice
within :data:`HOLD`.

**Loops.** Ethernet has no hop count, so in a loop of switches a frame would circulate for ever, and multiply. Three
measures bound this. Hashes of flooded frames are remembered for a second, and a frame that comes again **by another
port** is dropped (a sender that repeats a frame does so by the same port). Frames whose source seems to jump between
ports are dropped as above. And each port has a token bucket for frames to be flooded.

Buffers are reused after the flush. Frames are passed on as views, and copied only if a port has no room
(:meth:`~slirpy.core.port.LinkPort.forward`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from slirpy.core import offload
from slirpy.core.guard import HEAD_LENGTH, Guard
from slirpy.core.port import LinkPort, PortOwner
from slirpy.core.snooping import Snooping
from slirpy.fair import TokenBucket
from slirpy.interfaces import Frame, Link, LinkFeatures
from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire import ethernet

__all__ = ["AGE", "HOLD", "PORT_MACS", "HubPort", "Switch"]

AGE: Final = 300 * SECOND
"""Time for which a MAC address is remembered after its last frame (IEEE 802.1D, table 7-5)."""
HOLD: Final = 3 * SECOND
"""Silence after which a MAC address may move to another port."""
PORT_MACS: Final = 1024
"""Maximum number of MAC addresses behind one port."""
FLOOD_RATE: Final = 4000
"""Frames from one port that are flooded a second, on average."""
FLOOD_BURST: Final = 1000
"""Frames from one port that are flooded in a burst."""
REPEAT_TIME: Final = SECOND
"""Time for which a flooded frame is remembered: between half of this and all of it, if there are not too many."""
REPEAT_FRAMES: Final = 4096
_REFRESH: Final = SECOND
"""Precision of the order of a port's addresses by age."""


class _Entry:
    """Location of a MAC address."""

    __slots__ = ("home", "home_seen", "port", "seen")

    def __init__(self, port: LinkPort, now: int) -> None:
        self.port = self.home = port
        self.seen = self.home_seen = now


class _Plug:
    """State of the switch for one port."""

    __slots__ = ("floods", "macs")

    def __init__(self, now: int) -> None:
        self.macs: OrderedDict[bytes, _Entry] = OrderedDict()  # ordered by last frame, the oldest first
        self.floods = TokenBucket(FLOOD_RATE, FLOOD_BURST, now)


class _Recent:
    """Hashes of recently flooded frames, in two generations, with the ports that they came from."""

    __slots__ = ("_new", "_old", "_since")

    def __init__(self) -> None:
        self._new: dict[int, LinkPort] = {}
        self._old: dict[int, LinkPort] = {}
        self._since = 0

    def elsewhere(self, key: int, port: LinkPort, now: int) -> bool:
        """Report whether that frame came from another port recently."""
        age = now - self._since
        if age >= REPEAT_TIME // 2 or len(self._new) >= REPEAT_FRAMES // 2:
            self._old = self._new if age < REPEAT_TIME else {}
            self._new = {}
            self._since = now
        return (self._new.get(key) or self._old.get(key) or port) is not port

    def note(self, key: int, port: LinkPort) -> None:
        """Record the port that a frame came from."""
        self._new[key] = port


class HubPort(LinkPort):
    """A port of a stack on a hub; frames of the stack go to all other ports as well."""

    __slots__ = ("_switch",)

    def __init__(self, owner: PortOwner, link: Link, mtu: int, switch: Switch) -> None:
        super().__init__(owner, link, mtu)
        self._switch = switch

    def _read_offloads(self, features: LinkFeatures) -> None:
        super()._read_offloads(features)
        self.udp_segmentation_offload = False  # all other ports would have to support it

    def push(self, frame: Frame, length: int) -> None:
        """Queue a frame of the stack here and at all other ports."""
        super().push(frame, length)
        self._switch.mirror(self, frame)

    def push_all(self, frames: list[Frame], length: int) -> None:
        """Queue frames of the stack here and at all other ports."""
        for frame in frames:
            self.push(frame, length)


class Switch:
    """A switch between ports; see the module docstring.

    Args:
        stats: counters to update.
        local: MAC addresses of virtual hosts, which no guest may use.
        heard: returns the time at which the stack last heard a MAC address behind a port, in nanoseconds, or 0.
            Frames on the stack's fast paths do not pass through the switch.
        hub: whether to flood all frames and learn nothing, as QEMU's hub does.
        guard: decides about frames from one guest to another; None: all of them pass.
        isolate: whether guests reach only the virtual hosts.

    Attributes:
        snooping: the multicast listeners; not used on a hub.
    """

    def __init__(
        self,
        stats: Stats,
        local: AbstractSet[bytes] = frozenset(),
        heard: Callable[[bytes, LinkPort], int] = lambda mac, port: 0,
        *,
        hub: bool = False,
        guard: Guard | None = None,
        isolate: bool = False,
    ) -> None:
        self.hub = hub
        self._isolate = isolate
        self.snooping = Snooping(stats)
        self._guard = guard
        self._stats = stats
        self._heard = heard
        self._local = local
        self._plugs: dict[LinkPort, _Plug] = {}
        self._table: dict[bytes, _Entry] = {}
        self._recent = _Recent()

    # ------------------------------------------------------------------------------------- ports, table

    def plug(self, port: LinkPort, now: int) -> None:
        """Add a port."""
        plug = self._plugs[port] = _Plug(now)
        self.snooping.plug(port, plug.macs)

    def unplug(self, port: LinkPort) -> None:
        """Remove a port. The addresses behind it may appear elsewhere at once."""
        plug = self._plugs.pop(port)
        self.snooping.unplug(port)
        for mac in plug.macs:
            del self._table[mac]
        for entry in self._table.values():
            if entry.home is port:
                entry.home = entry.port
                entry.home_seen = entry.seen

    def lookup(self, mac: bytes, now: int) -> LinkPort | None:
        """The port behind which a MAC address is. None if it is unknown."""
        entry = self._table.get(mac)
        return entry.port if entry is not None and now - entry.seen <= AGE else None

    def heard_macs(self) -> list[tuple[bytes, LinkPort]]:
        """The MAC addresses in the table, and the ports behind which they are."""
        return [(mac, entry.port) for mac, entry in self._table.items()]

    def __len__(self) -> int:
        """Number of entries in the table."""
        return len(self._table)

    def learn(self, mac: bytes, port: LinkPort, now: int) -> bool:
        """Record a frame from ``mac`` by ``port``. Returns False, and counts it, if it looks spoofed."""
        entry = self._table.get(mac)
        if entry is None:
            self._enter(mac, port, now)
        elif entry.port is port:
            if now - entry.seen >= _REFRESH:
                self._plugs[port].macs.move_to_end(mac)
            entry.seen = now
            if entry.home is port or now - entry.home_seen > AGE:
                entry.home, entry.home_seen = port, now
        elif self._may_move(mac, entry, port, now):
            self._move(mac, entry, port, now)
        else:
            self._stats.drop_switch_spoofed += 1
            return False
        return True

    def _may_move(self, mac: bytes, entry: _Entry, port: LinkPort, now: int) -> bool:
        if entry.home is port and now - entry.home_seen <= AGE:
            return True
        if now - entry.seen > HOLD:
            entry.seen = max(entry.seen, self._heard(mac, entry.port))
            if entry.home is entry.port:
                entry.home_seen = entry.seen
        return now - entry.seen > HOLD

    def _enter(self, mac: bytes, port: LinkPort, now: int) -> None:
        macs = self._plugs[port].macs
        if len(macs) >= PORT_MACS:
            oldest, _ = macs.popitem(last=False)
            del self._table[oldest]
            self._stats.switch_macs_evicted += 1
        self._table[mac] = macs[mac] = _Entry(port, now)

    def _move(self, mac: bytes, entry: _Entry, port: LinkPort, now: int) -> None:
        self._stats.switch_macs_moved += 1
        home, home_seen = entry.home, entry.home_seen
        del self._plugs[entry.port].macs[mac]
        del self._table[mac]
        self._enter(mac, port, now)
        if home is not port and now - home_seen <= AGE:
            moved = self._table[mac]
            moved.home, moved.home_seen = home, home_seen

    # ------------------------------------------------------------------------------------------- frames

    def forward(self, port: LinkPort, view: memoryview, checksummed: bool, now: int, gso_size: int = 0) -> bool:
        """Forward a frame of at least 14 bytes that came by ``port``.

        ``view`` must stay unchanged until the ports have been flushed. ``checksummed`` and ``gso_size`` are those of
        :meth:`slirpy.interfaces.LinkSink.input`.

        Returns:
            Whether the stack must handle the frame as well: it is for a virtual host, a group, or all.
        """
        stats = self._stats
        head = bytes(view[:HEAD_LENGTH])
        destination, source = head[:6], head[6:12]
        if source[0] & 1 or source in self._local:
            stats.drop_ethernet_source += 1
            return False
        local = destination in self._local
        if local and not self.hub:
            return self.learn(source, port, now)
        group = destination[0] & 1
        if self._isolate:
            if not group:
                stats.drop_switch_isolated += 1
            return self.learn(source, port, now) and bool(group)
        guard = self._guard
        out = None if group or self.hub else self.lookup(destination, now)
        if out is not None:
            if not self.learn(source, port, now):
                return False
            if out is not port:
                if guard is not None and not guard.passes(port, head, view):
                    return False
                stats.switch_forwarded += 1
                offload.deliver(stats, (out,), view, checksummed, gso_size)
            return False  # otherwise both are behind the same port, and the frame has reached its destination
        key = hash(view.tobytes().ljust(ethernet.MIN_LENGTH, b"\0"))
        if self._recent.elsewhere(key, port, now):
            stats.drop_switch_duplicate += 1
            return False
        if not self.hub and not self.learn(source, port, now):
            return False
        if (group or not self.hub) and not self._plugs[port].floods.take(now):
            stats.drop_switch_storm += 1
            return False
        if guard is not None and guard.stops(port, view):
            return False
        self._recent.note(key, port)
        ports: Iterable[LinkPort] | None = None
        is_report = False
        if group and not self.hub:
            ports = self.snooping.hear(port, view, now)
            is_report = ports is not None
            if ports is None:
                ports = self.snooping.ports_for(view, now)
        if ports is None:
            ports = self._plugs
            stats.switch_flooded += 1
        elif not is_report:
            stats.switch_selected += 1
        others = [other for other in ports if other is not port]
        offload.deliver(stats, others, view, checksummed, gso_size)
        return local or (bool(group) and not is_report)

    def mirror(self, port: LinkPort, frame: Frame) -> None:
        """Copy a frame of the stack from ``port`` to all other ports. Frames to a group go to each of them anyway."""
        data = memoryview(b"".join(frame.parts))
        if not data[0] & 1:
            others = [other for other in self._plugs if other is not port]
            offload.deliver(self._stats, others, data, bool(frame.csum_start), frame.gso_size)
