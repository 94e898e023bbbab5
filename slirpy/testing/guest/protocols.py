"""The protocols of a :class:`~slirpy.testing.guest.Guest`, and the way of a frame to the one that it is for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from slirpy.testing.guest.dhcp import DhcpClient
from slirpy.testing.guest.dhcp6 import Dhcp6Client
from slirpy.testing.guest.fragments import Packet, Reassembler
from slirpy.testing.guest.icmp import IcmpClient
from slirpy.testing.guest.ip import IpHost
from slirpy.testing.guest.mld import MldHost
from slirpy.testing.guest.slaac import Autoconfiguration
from slirpy.testing.guest.tcp import GuestTcp
from slirpy.testing.guest.tcphost import TcpHost
from slirpy.testing.guest.udp import UdpHost
from slirpy.wire import ethernet, extension, icmp, ipv4, ipv6, mld, ndp
from slirpy.wire.checksum import ones_sum, transport_ok
from slirpy.wire.ip import family_of

__all__ = ["ProtocolHost"]


class ProtocolHost(IpHost):
    """A host with all protocols; see :class:`~slirpy.testing.guest.host.GuestHost` for the arguments."""

    def __init__(
        self, send: Callable[[bytes], object], random: Random, now: int, mac: bytes, mtu: int, hostname: str
    ) -> None:
        super().__init__(send, random, now, mac, mtu, hostname)
        self._reassembler = Reassembler()
        self.udp_host = self.make_udp()
        self.tcp = self.make_tcp()
        self.icmp = IcmpClient(self, self.udp_host, self.tcp)
        self.mld = MldHost(self, self.ipv6)
        self._dhcp: DhcpClient | None = None
        self._dhcp6: Dhcp6Client | None = None
        self._autoconfiguration: Autoconfiguration | None = None

    def make_udp(self) -> UdpHost:
        """Return the guest's UDP."""
        return UdpHost(self, self.refuse_datagram)

    def make_tcp(self) -> TcpHost[Any]:
        """Return the guest's TCP."""
        return GuestTcp(self)

    def _serve(self) -> bool:
        return self.tcp.service() or self.mld.service()

    def refuse_datagram(self, header: Packet, packet: memoryview) -> None:
        """Answer a datagram for an unbound port."""
        self.icmp.port_unreachable(header, packet)

    def undeliverable(self, packet: bytes) -> None:
        self.icmp.undeliverable(packet)

    # -------------------------------------------------------------------------------------- frames in

    def take_frame(self, frame: memoryview) -> None:
        """Handle a frame."""
        counters = self.counters
        if len(frame) < ethernet.HEADER_LENGTH:
            counters.malformed += 1
            return
        if frame[:6] not in (self.mac, ethernet.BROADCAST) and not self._hears(bytes(frame[:6])):
            counters.foreign += 1
            return
        kind = frame[12] << 8 | frame[13]
        if kind == ethernet.TYPE_IPV4:
            self._input_ip(frame[ethernet.HEADER_LENGTH :])
        elif kind == ethernet.TYPE_ARP:
            self.arp.input(frame[ethernet.HEADER_LENGTH :])
        elif kind == ethernet.TYPE_IPV6 and self.ipv6.active:
            self._input_ip6(frame[ethernet.HEADER_LENGTH :], reassembled=False)
        else:
            counters.unhandled += 1

    def _hears(self, mac: bytes) -> bool:
        """Report whether the card takes frames for a group's MAC address."""
        return any(ipv6.multicast_mac(group) == mac for group in self.ipv6.groups())

    def _input_ip(self, packet: memoryview) -> None:
        counters = self.counters
        header = ipv4.parse(packet)
        if header is None:
            counters.malformed += 1
        elif not ipv4.header_ok(packet, header.header_length):
            counters.bad_checksum += 1
        elif not self.ipv4.accepts(header.destination):
            counters.foreign += 1
        else:
            self.deliver(header, packet[: header.total_length])

    def _input_ip6(self, packet: memoryview, *, reassembled: bool) -> None:
        counters = self.counters
        header = ipv6.parse(packet)
        if header is None:
            counters.malformed += 1
            return
        if not self.ipv6.accepts(header.destination):
            counters.foreign += 1
            return
        walked = extension.walk(packet, header, reassembled=reassembled)
        if isinstance(walked, extension.Refusal):
            counters.malformed += 1
            return
        self.deliver(walked, packet[: header.total_length])

    def deliver(self, header: Packet, packet: memoryview) -> None:
        """Give a packet to its protocol, once it is whole."""
        counters = self.counters
        if header.is_fragment:
            whole = self._reassembler.insert(header, packet)
            if whole is not None and isinstance(header, ipv6.IPv6Header):
                self._input_ip6(memoryview(whole), reassembled=True)
            elif whole is not None:
                self._input_ip(memoryview(whole))
            return
        protocol, start = header.protocol, header.header_length
        if protocol in (ipv4.TCP, ipv4.UDP):
            none = protocol == ipv4.UDP and len(header.source) == 4 and not any(packet[start + 6 : start + 8])
            if not none and not transport_ok(packet, start, header.total_length, protocol):
                counters.bad_checksum += 1
                return
        if protocol == ipv4.TCP:
            self.tcp.input(header, packet)
        elif protocol == ipv4.UDP:
            self.udp_host.input(header, packet)
        elif protocol == family_of(header.source).icmp:
            self._input_icmp(header, packet[start:])
        else:
            counters.unhandled += 1

    def _input_icmp(self, header: Packet, message: memoryview) -> None:
        counters = self.counters
        length = len(message)
        pseudo = 0
        if isinstance(header, ipv6.IPv6Header):
            pseudo = ipv6.pseudo_sum(header.source, header.destination, ipv6.ICMPV6, length)
        if length < icmp.HEADER_LENGTH:
            counters.malformed += 1
        elif (ones_sum(message) + pseudo) % 65535:
            counters.bad_checksum += 1
        elif not isinstance(header, ipv6.IPv6Header) or not self._discover(header, message):
            self.icmp.input(header, message)

    def _discover(self, header: ipv6.IPv6Header, message: memoryview) -> bool:
        """Handle a message of Neighbor Discovery or MLD; False if it is none of those that concern a host."""
        kind = message[0]
        if kind == ndp.NEIGHBOR_SOLICITATION:
            self.ndp.solicitation(header, message)
        elif kind == ndp.NEIGHBOR_ADVERTISEMENT:
            self.ndp.advertisement(header, message)
        elif kind == ndp.ROUTER_ADVERTISEMENT and self._autoconfiguration is not None:
            self._autoconfiguration.advertisement(header, message)
        elif kind == mld.QUERY:
            self.mld.query(header, message)
        else:
            return False
        return True
