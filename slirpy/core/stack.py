"""The stack below the NAT: links, Ethernet, ARP, IPv4, and who gets what.

``input`` takes a frame and records what it changes; ``flush`` sends everything that follows from what was recorded;
``deadline`` tells when ``flush`` is due by itself. Between them host sockets and services may mark flows. The time
moves when :meth:`IPStack.tick` or :meth:`IPStack.flush` says so, and at no other moment.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from random import Random
from typing import Protocol

from slirpy.config import MTU_MIN, Config
from slirpy.core.cutting import cut
from slirpy.core.demux import Arrival, Demux
from slirpy.core.fastpath import tcp_fastpath
from slirpy.core.flows import FlowInfo, NeighborInfo
from slirpy.core.fragments import Fragments
from slirpy.core.icmp import Icmp
from slirpy.core.ndp import Ndp
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.port import LinkPort
from slirpy.core.ports import free_port
from slirpy.core.switch import HubPort, Switch
from slirpy.core.tcpflow import TcpFlow
from slirpy.core.timers import Timers
from slirpy.core.udpout import send_datagrams
from slirpy.core.udppath import HEADERS_LENGTH, ServicePath, UdpPath, udp_fastpath
from slirpy.interfaces import (
    Buffer,
    Frame,
    Link,
    LinkSink,
    Poller,
    Service,
    StreamService,
    Timer,
)
from slirpy.rules.values import moment, whole
from slirpy.stats import Stats
from slirpy.units import SECOND
from slirpy.wire import ethernet, icmp, ipv4, udp

__all__ = ["IPStack"]

_LIMITED_BROADCAST = b"\xff\xff\xff\xff"
_UNSPECIFIED = b"\0\0\0\0"
_MIN_FAST = 54
HISTORY = 256
"""Flows that are over and still told of."""


class Marked(Protocol):
    """A flow that has asked for its turn at the next flush."""

    dirty: bool

    def service(self, now: int) -> None:
        """Carry on with everything that is due."""


class IPStack:
    """See the module's text. Services and NAT are installed by ``slirpy/assembly.py``.

    Attributes:
        now: nanoseconds of the present batch.
        fastpath: whether ``core/fastpath.py`` is used; the tests turn it off.
        switch: between the ports, when there are several.
        closed_flows: the last flows that ended, the latest last.
        services: who answers datagrams to an address and port of ours.
        conversations: the same, from one guest's address and port only.
        stream_services: who takes guests' TCP connections, by address and port; None stands for any.
    """

    def __init__(self, config: Config, *, random: Random, stats: Stats | None = None) -> None:
        self.config = config
        self.random = random
        self.stats = stats if stats is not None else Stats()
        self.now = 0
        self.fastpath = True
        self._overheard = config.hub
        self.timers = Timers()
        self.ports: list[LinkPort] = []
        self.dirty: list[Marked] = []
        self.tcp_flows: dict[bytes, TcpFlow] = {}
        self.udp_paths: dict[bytes, UdpPath | ServicePath] = {}
        self.closed_flows: deque[FlowInfo] = deque(maxlen=HISTORY)
        self.services: dict[tuple[bytes, int], Service] = {}
        self.conversations: dict[tuple[bytes, int, bytes, int], Service] = {}
        self.stream_services: dict[tuple[bytes | None, int | None], StreamService] = {}
        self.local_addresses = set(config.server_addresses)
        self._local_macs = {ethernet.virtual_mac(a) for a in self.local_addresses}
        self._gateway_mac = ethernet.virtual_mac(config.gateway_address)
        self.ndp = Ndp(self)
        self._local_macs.add(self.ndp.mac)
        self._ident = random.getrandbits(16)
        self.neighbors = Neighbors(self)
        self.switch = Switch(self.stats, self._local_macs, self.neighbors.heard, hub=config.hub)
        self.icmp = Icmp(self)
        self.demux = Demux(self)
        self.fragments = Fragments(self)

    # ------------------------------------------------------------------------------------- links

    def attach(self, link: Link, poller: Poller) -> LinkPort:
        """Connect a link; its features are read now.

        Raises:
            ConfigError: it has an MTU that cannot be.
            StateError: it is started already, or closed.
        """
        mtu = self.config.mtu
        if link.features.mtu is not None:
            mtu = min(whole("the link's mtu", link.features.mtu, MTU_MIN, 65535), mtu)
        port = HubPort(self, link, mtu, self.switch) if self._overheard else LinkPort(self, link, mtu)
        self.ports.append(port)
        self.switch.plug(port, self.now)
        if len(self.ports) == 2:  # until now the switch was not asked; it starts with what is known
            for neighbor in self.neighbors.known():
                if neighbor.mac is not None and neighbor.port is self.ports[0]:
                    self.switch.learn(neighbor.mac, neighbor.port, neighbor.seen)
        try:
            link.start(port, poller)
        except BaseException:
            self.ports.remove(port)
            self.switch.unplug(port)
            raise
        return port

    def detach(self, port: LinkPort) -> None:
        """Disconnect a link and close it. Its flows stay, and go on if their guest appears elsewhere."""
        if port in self.ports:
            self.ports.remove(port)
            self.switch.unplug(port)
            self.neighbors.lost(port)
            port.close()

    # --------------------------------------------------------------------------- the life of a batch

    def tick(self, now: int) -> None:
        """Set the time for what is recorded from here on.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.now = now

    def flush(self, now: int) -> None:
        """Send everything that is due at ``now``.

        Raises:
            ConfigError: ``now`` is not a whole number of nanoseconds.
        """
        if type(now) is not int:
            now = moment("now", now)
        self.now = now
        if self.fragments.borrowed:
            self.fragments.own()
        self.timers.run(now)
        # Flows that are marked while this runs have their turn in the next round: deadline() says "now".
        dirty, self.dirty = self.dirty, []
        for flow in dirty:
            flow.dirty = False
            flow.service(now)
        for port in self.ports:
            port.flush()

    def deadline(self) -> int | None:
        """When :meth:`flush` is due, in nanoseconds; may be past; None: not before something happens."""
        return self.now if self.dirty else self.timers.deadline()

    # ---------------------------------------------------------------------------------- frames in

    def input(self, port: LinkPort, frame: Buffer, checksummed: bool = False, gso_size: int = 0) -> None:
        """Take one Ethernet frame from a guest; it must stay unchanged until the next flush has returned."""
        stats = self.stats
        view = memoryview(frame)
        stats.frames_in += 1
        stats.bytes_in += len(view)
        if len(view) >= _MIN_FAST and self.fastpath and not self._overheard:  # it keeps its frames to itself
            if view[23] == ipv4.TCP:
                if tcp_fastpath(self, port, view, checksummed):
                    return
            elif udp_fastpath(self, port, view, checksummed):
                return
        elif (
            len(view) >= HEADERS_LENGTH  # too short for TCP
            and self.fastpath
            and not self._overheard
            and udp_fastpath(self, port, view, checksummed)
        ):
            return
        if len(view) < ethernet.HEADER_LENGTH:
            stats.drop_ethernet_short += 1
            return
        if len(self.ports) > 1 and not self.switch.forward(port, view, checksummed, self.now, gso_size):
            return
        kind = view[12] << 8 | view[13]
        if kind in ethernet.TAGS:
            untagged = self._untag(view)
            if untagged is None:
                return
            view = untagged
            if len(view) >= _MIN_FAST and self.fastpath and not self._overheard:
                fast = tcp_fastpath if view[23] == ipv4.TCP else udp_fastpath
                if fast(self, port, view, checksummed):
                    return
            kind = view[12] << 8 | view[13]
        macs = bytes(view[:12])
        if kind not in (ethernet.TYPE_IPV4, ethernet.TYPE_ARP, ethernet.TYPE_IPV6):
            stats.drop_ethernet_type += 1
        elif ethernet.is_multicast(macs[6:]) or macs[6:] in self._local_macs:
            stats.drop_ethernet_source += 1
        elif kind == ethernet.TYPE_IPV6:
            self._input_ipv6(port, macs, view[ethernet.HEADER_LENGTH :])
        elif macs[:6] not in self._local_macs and macs[:6] != ethernet.BROADCAST:
            stats.drop_ethernet_destination += 1
        elif kind == ethernet.TYPE_ARP:
            self.neighbors.input(port, view[ethernet.HEADER_LENGTH :], macs[6:])
        else:
            self._input_ip(port, macs, view[ethernet.HEADER_LENGTH :], checksummed)

    def _untag(self, view: memoryview) -> memoryview | None:
        """A frame without its priority tag; None, counted, if its tag says more than a priority.

        A tag with VLAN identifier 0 stands for no VLAN: the frame is what it would be without (IEEE 802.1Q, 6.9.1).
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

    def _input_ip(self, port: LinkPort, macs: bytes, packet: memoryview, checksummed: bool) -> None:
        stats = self.stats
        header = ipv4.parse(packet)
        if header is None:
            stats.drop_ip_header += 1
            return
        if not ipv4.header_ok(packet, header.header_length):
            stats.drop_ip_checksum += 1
            return
        if not header.ttl:
            stats.drop_ip_ttl += 1
            return
        packet = packet[: header.total_length]
        source = header.source
        if source == _UNSPECIFIED and header.protocol == ipv4.UDP:
            neighbor = Neighbor(source)  # a guest that asks for an address
        elif self._may_be_guest(source):
            learned = self.neighbors.learn(source, macs[6:], port)
            if learned is None:
                return  # in another's name
            neighbor = learned
        else:
            stats.drop_ip_source += 1
            return
        arrival = Arrival(port, neighbor, macs, header, packet, checksummed)
        if header.fragment & (ipv4.MF | ipv4.OFFSET_MASK):
            whole = self.fragments.insert(arrival)
            if whole is None:
                return
            arrival = whole
        if header.protocol == ipv4.TCP:
            self.demux.input_tcp(arrival)
        elif header.protocol == ipv4.UDP:
            self.demux.input_udp(arrival)
        elif header.protocol == ipv4.ICMP:
            self.icmp.input(arrival)
        else:
            stats.drop_ip_protocol += 1
            self.icmp.error(arrival, icmp.UNREACHABLE, icmp.PROTOCOL_UNREACHABLE)

    def _input_ipv6(self, port: LinkPort, macs: bytes, packet: memoryview) -> None:
        destination = macs[:6]
        if destination in self._local_macs or self.ndp.takes(destination):
            self.ndp.input(port, macs[6:], packet)
        elif ethernet.is_multicast(destination):
            self.stats.drop_ipv6 += 1
        else:
            self.stats.drop_ethernet_destination += 1

    def _may_be_guest(self, address: bytes) -> bool:
        config = self.config
        return (
            config.contains(address)
            and address not in self.local_addresses
            and address not in (config.broadcast_address, config.network_address)
        )

    def is_broadcast(self, address: bytes) -> bool:
        """Whether an address means everyone on the virtual network, or a multicast group."""
        return (
            address == _LIMITED_BROADCAST
            or address == self.config.broadcast_address
            or 0xE0 <= address[0] <= 0xEF
        )

    # ---------------------------------------------------------------------------------- packets out

    def mac_for(self, source: bytes) -> bytes:
        """The MAC address that packets from ``source`` carry: its own, or the gateway's for the world."""
        return ethernet.virtual_mac(source) if source in self.local_addresses else self._gateway_mac

    def send_ip(
        self,
        neighbor: Neighbor,
        source: bytes,
        destination: bytes,
        protocol: int,
        payload: Buffer,
        *,
        ttl: int = 64,
        tos: int = 0,
        mac: bytes | None = None,
        port: LinkPort | None = None,
    ) -> None:
        """Send a packet to a guest, in fragments if it is larger than the link's MTU.

        With ``mac`` and ``port`` it goes there, whatever the neighbour table says.
        """
        out = port or neighbor.port
        mtu = out.mtu if out is not None else self.config.mtu
        ethernet_header = (mac or neighbor.mac or ethernet.BROADCAST) + self.mac_for(source) + b"\x08\x00"
        length = len(payload)
        if length > mtu - ipv4.HEADER_LENGTH:
            neighbor.ident = neighbor.ident + 1 & 0xFFFF
            ident = self._ident + neighbor.ident & 0xFFFF
            for frame, size in cut(
                ethernet_header, source + destination, protocol, payload, mtu, ident, ttl, tos
            ):
                self._send_frame(neighbor, frame, size, mac, port)
            return
        header = ipv4.build(source, destination, protocol, length, ttl=ttl, tos=tos)
        data = b"".join((ethernet_header, header, payload))
        self._send_frame(neighbor, Frame((data.ljust(ethernet.MIN_LENGTH, b"\0"),)), len(data), mac, port)

    def _send_frame(
        self, neighbor: Neighbor, frame: Frame, length: int, mac: bytes | None, port: LinkPort | None
    ) -> None:
        length = max(length, ethernet.MIN_LENGTH)
        if mac is not None and port is not None:
            port.push(frame, length)
        else:
            self.neighbors.send(neighbor, frame, length)

    def send_datagram(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payload: Buffer,
        *,
        mac: bytes | None = None,
        sink: LinkSink | None = None,
    ) -> None:
        """Send a UDP datagram to a guest; see :class:`~slirpy.interfaces.ServiceNetwork`."""
        if len(payload) > udp.MAX_PAYLOAD:
            self.stats.drop_udp_too_long += 1
            return
        header = udp.build(source, source_port, destination, destination_port, payload)
        port = sink if isinstance(sink, LinkPort) else None
        neighbor = Neighbor(destination) if mac is not None and port else self.neighbors.get(destination)
        self.send_ip(neighbor, source, destination, ipv4.UDP, b"".join((header, payload)), mac=mac, port=port)

    def send_datagrams(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payloads: Sequence[Buffer],
    ) -> None:
        """Send several UDP datagrams to a guest, which a link may take as one large frame."""
        send_datagrams(self, source, source_port, destination, destination_port, payloads)

    def neighbor_infos(self) -> list[NeighborInfo]:
        """Guests' addresses, with whoever was heard last first."""
        heard = sorted(self.neighbors.known(), key=lambda neighbor: neighbor.seen, reverse=True)
        return [
            NeighborInfo(IPv4Address(each.address), each.mac, (self.now - each.seen) / SECOND)
            for each in heard
            if each.mac is not None
        ]

    # -------------------------------------------------------------------------- for NAT and services

    def call_at(self, when: int, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` at the first flush at or after ``when``.

        Raises:
            ConfigError: ``when`` is not a whole number of nanoseconds.
        """
        if type(when) is not int:
            when = moment("when", when)
        return self.timers.call_at(when, callback)

    def bind(self, addresses: Sequence[bytes], port: int, service: Service) -> None:
        """Let ``service`` answer datagrams to a port of some addresses of the virtual network."""
        for address in addresses:
            self.services[address, port] = service

    def open_port(self, address: bytes, guest: bytes, guest_port: int, service: Service) -> int:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""

        def is_taken(port: int) -> bool:
            key = address, port, guest, guest_port
            # What the guest has sent there before went elsewhere, and may again.
            return (
                (address, port) in self.services
                or key in self.conversations
                or _path_key(*key) in self.udp_paths
            )

        port = free_port(self.random, 49152, is_taken)
        self.conversations[address, port, guest, guest_port] = service
        return port

    def close_port(self, address: bytes, port: int, guest: bytes, guest_port: int) -> None:
        """See :class:`~slirpy.interfaces.ServiceNetwork`."""
        del self.conversations[address, port, guest, guest_port]
        self.udp_paths.pop(_path_key(address, port, guest, guest_port), None)

    def add_local(self, address: bytes) -> None:
        """Let one more address of the virtual network be ours: it answers ARP and ping."""
        self.local_addresses.add(address)
        self._local_macs.add(ethernet.virtual_mac(address))

    def stream_service(self, address: bytes, port: int) -> StreamService | None:
        """Who takes guests' TCP connections to an address and port, the most special one; None in a key is any."""
        services = self.stream_services
        for key in ((address, port), (address, None), (None, port), (None, None)):
            if key in services:
                return services[key]
        return None


def _path_key(address: bytes, port: int, guest: bytes, guest_port: int) -> bytes:
    """What a guest's datagrams to a port of ours have for a key in ``udp_paths``."""
    return guest + address + guest_port.to_bytes(2, "big") + port.to_bytes(2, "big")
