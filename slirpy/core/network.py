"""The record that all parts of one stack share: configuration, counters, time, randomness, own addresses.

Each part of the core, the NAT and the services gets this record and the parts below itself, never the whole stack.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from slirpy.config import Config
from slirpy.core.port import LinkPort
from slirpy.core.timers import Alarm, Timers
from slirpy.interfaces import Events
from slirpy.records import Protocol
from slirpy.stats import Stats
from slirpy.wire import ethernet, ipv6
from slirpy.wire.ip import family_of
from slirpy.wire.scope import is_link_local

__all__ = ["ROUTER", "Marked", "Network", "gateway_for"]

ROUTER: Final = bytes.fromhex("fe800000000000000000000000000002")
"""The gateway's link-local address, the same as libslirp's."""
_LINK_LOCAL_ANYCAST: Final = bytes.fromhex("fe80" + 14 * "00")
_LIMITED_BROADCAST: Final = b"\xff\xff\xff\xff"


def gateway_for(config: Config, guest: bytes) -> bytes:
    """Return the address by which a guest knows the gateway, which has the guest's family and scope."""
    if len(guest) == 4:
        return config.gateway_address
    return ROUTER if is_link_local(guest) else config.gateway_address6


class Marked(Protocol):
    """A flow, or the reassembly of fragments, that has asked for service at the next flush."""

    dirty: bool

    def service(self, now: int) -> None:
        """Do everything that is due."""


class Network:
    """State that all parts of one stack share.

    Attributes:
        config: the network's configuration.
        stats: counters.
        random: the only source of randomness.
        now: the time of the current batch in nanoseconds; only :class:`~slirpy.core.stack.IPStack` sets it.
        timers: all alarms.
        dirty: flows and the like that have asked for service at the next flush.
        ports: the attached links.
        addresses: the virtual hosts' addresses.
        groups: the IPv6 multicast groups that the virtual hosts listen to.
        macs: the virtual hosts' MAC addresses; ``group_macs``: those of the groups.
        events: the sink of events; None: nobody listens.
        flows_begun: number of flows that were reported to ``events``.
    """

    __slots__ = (
        "_gateway_macs", "_mac_of", "addresses", "config", "dirty", "events", "flows_begun", "group_macs", "groups",
        "macs", "now", "ports", "random", "stats", "timers",
    )  # fmt: skip

    def __init__(self, config: Config, random: Random, stats: Stats) -> None:
        self.config = config
        self.stats = stats
        self.random = random
        self.now = 0
        self.events: Events | None = None
        self.flows_begun = 0
        self.timers = Timers()
        self.dirty: list[Marked] = []
        self.ports: list[LinkPort] = []
        self.addresses: set[bytes] = set()
        self.macs: set[bytes] = set()
        self.groups: set[bytes] = set()
        self.group_macs: set[bytes] = set()
        self._mac_of: dict[bytes, bytes] = {}
        for address in config.server_addresses:
            self.add_address(address)
        if config.ipv6:
            self.add_address(ROUTER)
            self.join(ipv6.ALL_NODES)
            self.join(ipv6.ALL_ROUTERS)
        # By the length of an address. Guests learn the IPv6 gateway as the router, by its link-local address.
        self._gateway_macs = {
            4: ethernet.virtual_mac(config.gateway_address),
            16: ethernet.virtual_mac(ROUTER),
        }
        if config.host_mac is not None:
            self.macs.add(config.host_mac)
            self._gateway_macs = dict.fromkeys(self._gateway_macs, config.host_mac)
            for gateway in (config.gateway_address, config.gateway_address6, ROUTER):
                if gateway in self.addresses:
                    self._mac_of[gateway] = config.host_mac

    def call_at(self, when: int, callback: Callable[[], None]) -> Alarm:
        """Call ``callback`` at the first flush at or after ``when``, in nanoseconds."""
        return self.timers.call_at(when, callback)

    def add_address(self, address: bytes) -> None:
        """Add a virtual host: it answers ARP or Neighbor Discovery, and ping."""
        self.addresses.add(address)
        self._mac_of[address] = ethernet.virtual_mac(address)
        self.macs.add(ethernet.virtual_mac(address))
        if len(address) == 16:
            self.join(ipv6.solicited_node(address))

    def join(self, group: bytes) -> None:
        """Listen to an IPv6 multicast group."""
        self.groups.add(group)
        self.group_macs.add(ipv6.multicast_mac(group))

    def mac_for(self, source: bytes) -> bytes:
        """Return the MAC address of packets from ``source``: its own, or the gateway's for hosts outside."""
        return self._mac_of.get(source) or self._gateway_macs[len(source)]

    def gateway_for(self, guest: bytes) -> bytes:
        """Return the address by which a guest knows the gateway; see :func:`gateway_for`."""
        return gateway_for(self.config, guest)

    def reporter_for(self, guest: bytes, destination: bytes) -> bytes:
        """Return the source of an error about a guest's packet to ``destination``.

        With IPv6 it is the destination itself, if that is one of our addresses (RFC 4443, section 2.2 (a)). With IPv4
        it is the gateway, as with libslirp.
        """
        if len(destination) == 16 and destination in self.addresses:
            return destination
        return self.gateway_for(guest)

    def is_broadcast(self, address: bytes) -> bool:
        """Report whether an address is a broadcast address of the virtual network, or a multicast group."""
        return (
            address == _LIMITED_BROADCAST
            or address == self.config.broadcast_address
            or family_of(address).is_multicast(address)
        )

    def is_outside(self, address: bytes) -> bool:
        """Report whether an address that no guest uses, and that guests look for on their link, leads outside.

        It is so on a transparent network, except for the address that the guest is about to get.
        """
        config = self.config
        return config.transparent and address not in (config.dhcpstart_address, config.dhcpstart_address6)

    def may_be_guest(self, address: bytes) -> bool:
        """Report whether a guest can have this address."""
        config = self.config
        return (
            (config.contains(address) or (config.transparent and not family_of(address).is_martian(address)))
            and address not in self.addresses
            and address not in (config.broadcast_address, config.network_address, config.network_address6)
            and address != _LINK_LOCAL_ANYCAST
        )
