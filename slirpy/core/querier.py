"""The MLD querier of a stack (RFC 3810): asks the guests which multicast groups they listen to.

It starts with the first report that a guest sends while there are several ports, and ends when no report is valid
any more, so networks of one guest or without IPv6 hear nothing of it. The switch uses the answers
(:mod:`slirpy.core.snooping`). A querier with a lower address takes its place, if the guard lets its queries through.
"""

from __future__ import annotations

from collections.abc import Callable

from slirpy.core.network import ROUTER, Network
from slirpy.core.port import LinkPort
from slirpy.core.snooping import LAST_LISTENER, QUERY_INTERVAL, RESPONSE_INTERVAL, Snooping
from slirpy.core.timers import Alarm
from slirpy.interfaces import Frame
from slirpy.units import MS
from slirpy.wire import ethernet, ipv6, mld

__all__ = ["Querier"]

STARTUP_INTERVAL = QUERY_INTERVAL // 4
"""Time between the first general queries (RFC 3810, section 9.6)."""
STARTUP = 2
"""Number of the first general queries, and of queries after a host has left a group (sections 9.7, 9.11)."""


class Querier:
    """The querier of one stack.

    Args:
        network: the record that all parts share.
        snooping: reads the reports, and learns of the queries.
        carries: returns whether a link carries IPv6.
    """

    def __init__(self, network: Network, snooping: Snooping, carries: Callable[[LinkPort], bool]) -> None:
        self._network = network
        self._snooping = snooping
        self._carries = carries
        self._left = 0
        self._alarm: Alarm | None = None
        snooping.reported = self._reported
        snooping.left = self._ask

    def _reported(self) -> None:
        """Start, unless at work already."""
        if self._alarm is None and any(map(self._carries, self._network.ports)):
            self._left = STARTUP
            self._query()

    def _query(self) -> None:
        """Send a general query, and set the time of the next one."""
        network = self._network
        self._alarm = None
        if len(network.ports) < 2 or not self._snooping.has_listeners(network.now):
            return
        if not self._snooping.yields_to_other(ROUTER, network.now):
            for port in filter(self._carries, network.ports):
                self._send(port, ipv6.ALL_NODES, ipv6.UNSPECIFIED, RESPONSE_INTERVAL // MS)
            self._snooping.queried(network.now)
        self._left = max(self._left - 1, 0)
        wait = STARTUP_INTERVAL if self._left else QUERY_INTERVAL
        self._alarm = network.call_at(network.now + wait, self._query)

    def _ask(self, port: LinkPort, group: bytes, tries: int = STARTUP) -> bool:
        """Ask behind a port whether anybody still listens to a group (section 7.6.3.1)."""
        network = self._network
        if port.closed or self._alarm is None or self._snooping.yields_to_other(ROUTER, network.now):
            return False
        interval = LAST_LISTENER // STARTUP
        self._send(port, group, group, interval // MS)
        if tries > 1:
            network.call_at(network.now + interval, lambda: self._again(port, group, tries - 1))
        return True

    def _again(self, port: LinkPort, group: bytes, tries: int) -> None:
        self._ask(port, group, tries)

    def _send(self, port: LinkPort, destination: bytes, group: bytes, response: int) -> None:
        self._network.stats.mld_queries += 1
        message = mld.query(ROUTER, destination, group, response=response)
        start = ipv6.multicast_mac(destination) + ethernet.virtual_mac(ROUTER)
        frame = b"".join(
            (start, ethernet.TYPE_IPV6.to_bytes(2, "big"), mld.packet(ROUTER, destination, message))
        )
        port.push(Frame((frame,)), len(frame))
