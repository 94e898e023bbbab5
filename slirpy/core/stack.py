"""The stack below the NAT: links, Ethernet, and dispatch of packets to the part that handles them.

``input`` takes a frame and records its effects; ``flush`` sends everything that follows from them; ``deadline`` is
the time at which ``flush`` is due even without input. In between, host sockets and services may mark flows. Time
advances only in :meth:`IPStack.tick` and :meth:`IPStack.flush`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from slirpy.checks import moment
from slirpy.core.arp import Arp
from slirpy.core.arrival import FlowOpeners
from slirpy.core.demux import Demux
from slirpy.core.flows import NeighborInfo
from slirpy.core.fragments import Fragments
from slirpy.core.fragments6 import Fragments6
from slirpy.core.guard import Guard
from slirpy.core.icmp import Icmp
from slirpy.core.ipinput import IPInput
from slirpy.core.ndp import Ndp
from slirpy.core.network import Network
from slirpy.core.parts import Parts
from slirpy.core.port import LinkPort, check_port
from slirpy.core.querier import Querier
from slirpy.core.switch import HubPort, Switch
from slirpy.core.udppath import udp_fastpath, udp_fastpath6
from slirpy.errors import ConfigError
from slirpy.interfaces import Buffer, Link, LinkSink, Poller, Service, Timer
from slirpy.interfaces.links import check_link
from slirpy.mypyc import mypyc_attr
from slirpy.units import SECOND
from slirpy.wire import ethernet
from slirpy.wire.headers import LAYOUT, LAYOUT6
from slirpy.wire.ipv4 import TCP, UDP

if TYPE_CHECKING:
    from slirpy.core.tcpflow import TcpFlow

__all__ = ["IPStack"]

_MIN_TCP: Final = LAYOUT.segment.size
_MIN_UDP: Final = LAYOUT.datagram.size
_MIN_TCP6: Final = LAYOUT6.segment.size
_MIN_UDP6: Final = LAYOUT6.datagram.size
_IPV6: Final = 0x86
"""First byte of the EtherType of IPv6; that of IPv4 and ARP is 8."""


def _no_flows(
    network: Network, flows: dict[bytes, TcpFlow], port: LinkPort, frame: memoryview, checksummed: bool
) -> bool:
    """Stand for the fast path of TCP before the first connection: no frame belongs to a flow."""
    return False


@mypyc_attr(allow_interpreted_subclasses=True)
class IPStack:
    """The IP stack of one network. NAT and services are added by ``slirpy/stack.py``.

    Args:
        parts: the lower parts.
        openers: functions for packets that open a flow.

    Attributes:
        fastpath: whether the fast paths are used. They are off on a hub, where others would not see the frames. Tests
            turn them off as well.
        switch: the switch between the ports, used if there are several.
        on_attach: called with the port and the poller of each link that was attached; None: nothing is.
        on_detach: called with each link that was detached; None: nothing is.
    """

    def __init__(self, parts: Parts, openers: FlowOpeners) -> None:
        network, neighbors, tables = parts.network, parts.neighbors, parts.tables
        self.network = network
        self.config = network.config
        self.random = network.random
        self.stats = network.stats
        self.ports = network.ports
        self.timers = network.timers
        self.neighbors = neighbors
        self.icmp = parts.errors
        self.tcp_flows = tables.tcp_flows
        self.udp_paths = tables.udp_paths
        self.closed_flows = tables.closed_flows
        self.conversations = tables.conversations
        self.stream_services = tables.stream_services
        self.fastpath = not network.config.hub
        no_flows: Callable[[Network, dict[bytes, TcpFlow], LinkPort, memoryview, bool], bool] = _no_flows
        self._tcp_fastpath = self._tcp_fastpath6 = no_flows
        self._tables = tables
        self._ip = parts.ip
        self.on_attach: Callable[[LinkPort, Poller], None] | None = None
        self.on_detach: Callable[[object], None] | None = None
        self._macs = network.macs
        self._ndp = Ndp(network, neighbors)
        network.macs.add(self._ndp.mac)
        self._arp = Arp(network, neighbors)
        config = network.config
        hub = config.hub
        guard = Guard(network, neighbors) if (config.guard or config.source_guard) and not hub else None
        self.switch = Switch(
            network.stats, network.macs, neighbors.heard, hub=hub, guard=guard, isolate=config.isolate
        )
        self._querier = Querier(network, self.switch.snooping, self._ndp.carries)
        demux = Demux(network, parts.ip, parts.errors, tables, openers)
        self.fragments = Fragments(network, parts.errors, demux, tables.udp_paths)
        self.fragments6 = Fragments6(network, parts.errors, demux, tables.udp_paths)
        inbound = Icmp(network, parts.ip, self._ndp, openers)
        self._input = IPInput(
            network, neighbors, parts.errors, self.fragments, self.fragments6, demux, inbound, self._ndp
        )

    def load_tcp(self) -> None:
        """Import the fast paths of TCP, with its engine. It must be called before the first connection is made."""
        from slirpy.core.fastpath import tcp_fastpath, tcp_fastpath6

        self._tcp_fastpath, self._tcp_fastpath6 = tcp_fastpath, tcp_fastpath6

    @property
    def now(self) -> int:
        """Time of the current batch, in nanoseconds."""
        return self.network.now

    # ------------------------------------------------------------------------------------- links

    def attach(self, link: Link, poller: Poller) -> LinkPort:
        """Connect a link; its features are read now.

        Raises:
            ConfigError: it is no link, or its MTU is out of range.
            StateError: it has been started or closed before.
        """
        check_link("link", link)
        mtu = self.config.mtu
        if link.features.mtu is not None:
            mtu = min(link.features.mtu, mtu)
        port = HubPort(self, link, mtu, self.switch) if self.config.hub else LinkPort(self, link, mtu)
        self.ports.append(port)
        self.switch.plug(port, self.now)
        if len(self.ports) == 2:  # the switch was not used before; it starts with the known neighbours
            for neighbor in self.neighbors.known():
                if neighbor.mac is not None and neighbor.port is self.ports[0]:
                    self.switch.learn(neighbor.mac, neighbor.port, neighbor.seen)
        try:
            link.start(port, poller)
        except BaseException:
            self.ports.remove(port)
            self.switch.unplug(port)
            raise
        if self.on_attach is not None:
            self.on_attach(port, poller)
        if self.network.events is not None:
            self.network.events.link_changed(link, port, True)
        return port

    def detach(self, port: LinkPort) -> None:
        """Disconnect a link and close it. Its flows stay, and continue if their guest appears behind another link.

        Harmless when repeated.

        Raises:
            ConfigError: ``port`` is not what :meth:`attach` returned.
        """
        check_port(port)
        if port in self.ports:
            self.ports.remove(port)
            self.switch.unplug(port)
            self.neighbors.lost(port)
            port.close()
            if self.on_detach is not None:
                self.on_detach(port.link)
            if self.network.events is not None:
                self.network.events.link_changed(port.link, port, False)

    # --------------------------------------------------------------------------- the life of a batch

    def tick(self, now: int) -> None:
        """Set the time of the following input.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.network.now = now

    def flush(self, now: int) -> None:
        """Send everything that is due at ``now``.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        network = self.network
        network.now = now
        if network.timers.due <= now:
            network.timers.run(now)
        # Flows that are marked meanwhile are serviced at the next flush, which deadline() makes due at once.
        dirty = network.dirty
        if dirty:
            network.dirty = []
            for flow in dirty:
                flow.dirty = False
                flow.service(now)
        for port in self.ports:
            if port.out:
                port.flush()

    def deadline(self) -> int | None:
        """Time at which :meth:`flush` is due, in nanoseconds; may be in the past. None: not before the next event."""
        network = self.network
        if network.dirty:
            return network.now
        heap = network.timers.heap  # as Timers.deadline() does; this is asked for before each wait
        return heap[0][0] if heap else None

    # ---------------------------------------------------------------------------------- frames in

    def input(self, port: LinkPort, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> bool:
        """Take one Ethernet frame from a guest. The frame must stay unchanged until the next flush has returned.

        Returns:
            Whether the frame took the slow path; see :meth:`slirpy.interfaces.LinkSink.input`.
        """
        stats = self.stats
        if type(frame) is memoryview:
            view = frame
        else:
            try:
                view = memoryview(frame)
            except TypeError:
                raise ConfigError(f"frame is bytes, or another buffer; given was {frame!r}") from None
        stats.frames_in += 1
        length = len(view)
        stats.bytes_in += length
        if length >= _MIN_UDP and self.fastpath:
            # In this order the checks for IPv6 cost IPv4 nothing. With IPv6, byte 23 is one of an address.
            protocol = view[23]
            if protocol == TCP:
                fastpath = self._tcp_fastpath
                if length >= _MIN_TCP and fastpath(self.network, self.tcp_flows, port, view, checksummed):
                    return False
            elif protocol == UDP and udp_fastpath(
                self.network, self.udp_paths, self.fragments, port, view, checksummed
            ):
                return False
            if view[12] == _IPV6 and self._take_fast6(port, view, checksummed):
                return False
        if length < ethernet.HEADER_LENGTH:
            stats.drop_ethernet_short += 1
            return True
        if len(self.ports) > 1 and not self.switch.forward(port, view, checksummed, self.now, gso_size):
            return True
        kind = view[12] << 8 | view[13]
        if kind in ethernet.TAGS:
            untagged = self._untag(view)
            if untagged is None:
                return True
            view = untagged
            if self.fastpath and self._take_fast(port, view, checksummed):
                return True
            kind = view[12] << 8 | view[13]
        macs = bytes(view[:12])
        if kind not in (ethernet.TYPE_IPV4, ethernet.TYPE_ARP, ethernet.TYPE_IPV6):
            stats.drop_ethernet_type += 1
        elif ethernet.is_multicast(macs[6:]) or macs[6:] in self._macs:
            stats.drop_ethernet_source += 1
        elif kind == ethernet.TYPE_IPV6:
            self._input_ipv6(port, macs, view[ethernet.HEADER_LENGTH :], checksummed)
        elif not self.config.ipv4:
            stats.drop_ipv4 += 1
        elif macs[:6] not in self._macs and macs[:6] != ethernet.BROADCAST:
            stats.drop_ethernet_destination += 1
        elif kind == ethernet.TYPE_ARP:
            self._arp.input(port, view[ethernet.HEADER_LENGTH :], macs[6:])
        else:
            self._input.ipv4(port, macs, view[ethernet.HEADER_LENGTH :], checksummed)
        return True

    def _take_fast(self, port: LinkPort, view: memoryview, checksummed: bool) -> bool:
        """Try the fast paths, as :meth:`input` does."""
        if len(view) < _MIN_TCP:
            return False
        if view[12] == _IPV6:
            return self._take_fast6(port, view, checksummed)
        if view[23] == TCP:
            return self._tcp_fastpath(self.network, self.tcp_flows, port, view, checksummed)
        return udp_fastpath(self.network, self.udp_paths, self.fragments, port, view, checksummed)

    def _take_fast6(self, port: LinkPort, view: memoryview, checksummed: bool) -> bool:
        """Try the fast paths for IPv6."""
        length = len(view)
        if length >= _MIN_TCP6 and view[20] == TCP:
            fastpath = self._tcp_fastpath6
            return fastpath(self.network, self.tcp_flows, port, view, checksummed)
        return length >= _MIN_UDP6 and udp_fastpath6(
            self.network, self.udp_paths, self.fragments, port, view, checksummed
        )

    def _untag(self, view: memoryview) -> memoryview | None:
        """Remove a priority tag. Returns None, and counts it, if the tag specifies a VLAN.

        A tag with VLAN identifier 0 carries only a priority; the frame belongs to no VLAN (IEEE 802.1Q, 6.9.1).
        """
        stats = self.stats
        if len(view) < ethernet.HEADER_LENGTH + ethernet.TAG_LENGTH:
            stats.drop_ethernet_short += 1
        elif (view[16] << 8 | view[17]) in ethernet.TAGS:
            stats.drop_ethernet_tags += 1
        elif view[14] & 0x0F or view[15]:
            stats.drop_ethernet_vlan += 1
        else:
            return memoryview(b"".join((view[:12], view[16:])))
        return None

    def _input_ipv6(self, port: LinkPort, macs: bytes, packet: memoryview, checksummed: bool) -> None:
        destination = macs[:6]
        if not self._ndp.carries(port):
            if self._ndp.declines(destination):
                self._ndp.decline(port, macs[6:], packet)
            else:
                self.stats.drop_ipv6 += 1
        elif destination in self._macs or destination in self.network.group_macs:
            self._input.ipv6(port, macs, packet, checksummed)
        elif ethernet.is_multicast(destination):
            self.stats.drop_ipv6_group += 1
        else:
            self.stats.drop_ethernet_destination += 1

    # ------------------------------------------------------------------------------- for services

    def send_datagram(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payload: Buffer,
        *,
        mac: bytes | None = None,
        link: LinkSink | None = None,
    ) -> None:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""
        self._ip.send_datagram(source, source_port, destination, destination_port, payload, mac=mac, link=link)

    def send_datagrams(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payloads: Sequence[Buffer],
    ) -> None:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""
        self._ip.send_datagrams(source, source_port, destination, destination_port, payloads)

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``.

        Raises:
            ConfigError: ``when`` is not a whole number of nanoseconds, or ``callback`` not callable.
        """
        if type(when) is not int:
            when = moment("when", when)
        if not callable(callback):
            raise ConfigError(f"callback is a function; given was {callback!r}")
        return self.timers.call_at(when, callback)

    def bind(self, addresses: Sequence[bytes], port: int, service: Service) -> None:
        """Let ``service`` answer datagrams to a port of some addresses of the virtual network."""
        self._tables.bind(addresses, port, service)

    def open_port(self, address: bytes, guest: bytes, guest_port: int, service: Service) -> int:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""
        return self._tables.open_port(address, guest, guest_port, service)

    def close_port(self, address: bytes, port: int, guest: bytes, guest_port: int) -> None:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""
        self._tables.close_port(address, port, guest, guest_port)

    # ---------------------------------------------------------------------------------- snapshots

    def neighbor_infos(self) -> list[NeighborInfo]:
        """Snapshots of the neighbour table, the most recently heard first."""
        heard = sorted(self.neighbors.known(), key=lambda neighbor: neighbor.seen, reverse=True)
        return [
            NeighborInfo(ip_address(each.address), each.mac.hex(":"), (self.now - each.seen) / SECOND)
            for each in heard
            if each.mac is not None
        ]
