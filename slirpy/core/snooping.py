"""Multicast listeners behind the ports of a switch (RFC 4541): IPv6 multicast goes only where it is wanted.

The switch reads the guests' MLD reports (RFC 2710, RFC 3810) and remembers for each port the Ethernet addresses of
the groups that are listened to. Sources are not distinguished: a host that wants a group from some sources gets it
from all of them.

**Neighbour discovery must never break.** So a port gets all multicast, as without snooping, unless every MAC address
behind it has reported lately; a guest without MLD is such a MAC address. A group of link-local scope, such as the
solicited-node group of an address, goes to all ports until it is first reported. So does "all nodes", always.

**Without a querier** reports are sent only on changes, and nothing can be concluded from their absence. Therefore all
multicast is flooded unless a querier was heard, or is at work here (:mod:`slirpy.core.querier`), within
:data:`QUERIER_PRESENT`. Reports go to the ports of queriers only, since a host that hears the report of another may
keep its own to itself (RFC 4541, section 2.1.1).

**Bounds.** A port has room for :data:`PORT_GROUPS_MAX` groups. While there are more, it gets all multicast.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from slirpy.core.port import LinkPort
from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire import ethernet, extension, icmpv6, ipv6, mld
from slirpy.wire.extension import Refusal
from slirpy.wire.mld import Record

__all__ = [
    "LAST_LISTENER",
    "LISTENER_INTERVAL",
    "PORT_GROUPS_MAX",
    "QUERIER_PRESENT",
    "QUERY_INTERVAL",
    "Snooping",
]

PORT_GROUPS_MAX = 256
"""Maximum number of groups that are remembered for one port."""
QUERY_INTERVAL = 125 * SECOND
"""Time between general queries (RFC 3810, section 9.2)."""
RESPONSE_INTERVAL = 10 * SECOND
"""Time in which hosts answer a general query (section 9.3)."""
LISTENER_INTERVAL = 2 * QUERY_INTERVAL + RESPONSE_INTERVAL
"""Time for which a report is valid (section 9.4)."""
QUERIER_PRESENT = 2 * QUERY_INTERVAL + RESPONSE_INTERVAL // 2
"""Time for which a query shows that there is a querier (section 9.5)."""
LAST_LISTENER = 2 * SECOND
"""Time that remains to other listeners after one has left (section 9.9)."""
_MLD = frozenset((mld.QUERY, mld.REPORT, mld.DONE, mld.REPORT_V2))
_ALL_NODES_MAC = ipv6.multicast_mac(ipv6.ALL_NODES)
_LINK_LOCAL_SCOPE = 2
_SCOPE_AT = ethernet.HEADER_LENGTH + 25
"""Position of the byte with a group's scope: the second one of the destination."""
_PROTOCOL_AT = ethernet.HEADER_LENGTH + ipv6.NEXT_HEADER_AT


class _Listeners:
    """The listeners behind one port. Times are those until which an entry is valid.

    Attributes:
        macs: all MAC addresses behind the port.
        groups: by their Ethernet addresses.
        reporters: the MAC addresses that reported.
        querier: of the querier behind the port.
        full: of the surplus of groups.
    """

    __slots__ = ("full", "groups", "macs", "querier", "reporters")

    def __init__(self, macs: Collection[bytes]) -> None:
        self.macs = macs
        self.groups: dict[bytes, int] = {}
        self.reporters: dict[bytes, int] = {}
        self.querier = 0
        self.full = 0

    def takes_all(self, now: int) -> bool:
        """Report whether the port gets all multicast, because a host behind it may want it."""
        if self.full > now or self.querier > now or len(self.macs) > len(self.reporters):
            return True
        return any(self.reporters.get(mac, 0) <= now for mac in self.macs)

    def purge(self, now: int) -> None:
        """Remove what is no longer valid."""
        for table in (self.groups, self.reporters):
            for key in [key for key, until in table.items() if until <= now]:
                del table[key]


class Snooping:
    """The multicast listeners of one switch; see the module docstring.

    Attributes:
        reported: called after a report.
        left: called with a port and a group that a host behind it has left, if it may have been the last one. Returns
            whether the others are asked.
    """

    def __init__(self, stats: Stats) -> None:
        self._stats = stats
        self._ports: dict[LinkPort, _Listeners] = {}
        self._querier_until = 0
        self._other: tuple[bytes, int] = b"", 0
        self.reported: Callable[[], None] = lambda: None
        self.left: Callable[[LinkPort, bytes], bool] = lambda port, group: False

    def plug(self, port: LinkPort, macs: Collection[bytes]) -> None:
        """Add a port, with a view of the MAC addresses behind it."""
        self._ports[port] = _Listeners(macs)

    def unplug(self, port: LinkPort) -> None:
        """Remove a port."""
        del self._ports[port]

    def queried(self, now: int) -> None:
        """Note that all ports were queried from here."""
        self._querier_until = now + QUERIER_PRESENT

    def yields_to_other(self, source: bytes, now: int) -> bool:
        """Report whether another querier has precedence over the one at ``source`` (RFC 3810, section 7.6.2)."""
        other, until = self._other
        return until > now and other < source

    def has_listeners(self, now: int) -> bool:
        """Report whether there is any report that is still valid."""
        for listeners in self._ports.values():
            listeners.purge(now)
        return any(listeners.reporters for listeners in self._ports.values())

    # ------------------------------------------------------------------------------------------ frames

    def ports_for(self, view: memoryview, now: int) -> list[LinkPort] | None:
        """The ports whose hosts listen to the group to which a frame goes. None: all of them."""
        mac = bytes(view[:6])
        if self._querier_until <= now or mac[:2] != b"\x33\x33" or mac == _ALL_NODES_MAC:
            return None
        if (
            view[12] << 8 | view[13] != ethernet.TYPE_IPV6
            or len(view) < ethernet.HEADER_LENGTH + ipv6.HEADER_LENGTH
        ):
            return None
        ports, known = [], False
        for port, listeners in self._ports.items():
            if listeners.groups.get(mac, 0) > now:
                known = True
                ports.append(port)
            elif listeners.takes_all(now):
                ports.append(port)
        return ports if known or view[_SCOPE_AT] & 15 > _LINK_LOCAL_SCOPE else None

    def hear(self, port: LinkPort, view: memoryview, now: int) -> list[LinkPort] | None:
        """Read a frame to a group if it is a message of MLD, and return the ports to which it has to go.

        None if it is none, or goes where all other frames to its group go.
        """
        if view[12] << 8 | view[13] != ethernet.TYPE_IPV6 or len(view) <= _PROTOCOL_AT:
            return None
        if view[_PROTOCOL_AT] not in (ipv6.HOP_BY_HOP, ipv6.ICMPV6):
            return None
        packet = view[ethernet.HEADER_LENGTH :]
        header = ipv6.parse(packet)
        if header is None:
            return None
        walked = extension.walk(packet, header)
        if isinstance(walked, Refusal) or walked.is_fragment or walked.protocol != ipv6.ICMPV6:
            return None
        message = packet[walked.header_length : walked.total_length]
        if len(message) < icmpv6.HEADER_LENGTH or message[0] not in _MLD:
            return None
        sound = mld.has_router_alert(packet) and icmpv6.checksum_ok(header.source, header.destination, message)
        if message[0] == mld.QUERY:
            query = mld.read_query(header, message) if sound else None
            if query is not None:
                self._hear_query(port, header.source, now)
                return None
        else:
            records = mld.read_report(header, message) if sound else None
            if records is not None:
                self._hear_report(port, bytes(view[6:12]), records, now)
                if self._querier_until <= now:
                    return None  # it may lead a querier to start, behind another switch
                return [other for other, listeners in self._ports.items() if listeners.querier > now]
        self._stats.drop_mld_malformed += 1
        return []

    def _hear_query(self, port: LinkPort, source: bytes, now: int) -> None:
        self._querier_until = self._ports[port].querier = now + QUERIER_PRESENT
        other, until = self._other
        if until <= now or source <= other:
            self._other = source, now + QUERIER_PRESENT

    def _hear_report(self, port: LinkPort, mac: bytes, records: tuple[Record, ...], now: int) -> None:
        self._stats.mld_reports += 1
        listeners = self._ports[port]
        if len(listeners.reporters) > len(listeners.macs):
            listeners.purge(now)
            listeners.reporters = {mac: n for mac, n in listeners.reporters.items() if mac in listeners.macs}
        listeners.reporters[mac] = now + LISTENER_INTERVAL
        for record in records:
            group = ipv6.multicast_mac(record.group)
            if record.joins:
                self._join(listeners, group, now)
            elif not record.leaves or listeners.groups.get(group, 0) <= now + LAST_LISTENER:
                continue
            elif self.left(port, record.group):
                listeners.groups[group] = now + LAST_LISTENER
        self.reported()

    def _join(self, listeners: _Listeners, group: bytes, now: int) -> None:
        groups = listeners.groups
        if group not in groups and len(groups) >= PORT_GROUPS_MAX:
            listeners.purge(now)
            if len(groups) >= PORT_GROUPS_MAX:
                self._stats.mld_groups_full += 1
                listeners.full = now + LISTENER_INTERVAL
                return
        groups[group] = now + LISTENER_INTERVAL
