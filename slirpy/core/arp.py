"""ARP (RFC 826): requests for the neighbour table, and replies to guests.

We answer only for our own addresses, not for unused ones: a guest that probes whether its address is a duplicate must
get no answer. On a transparent network, whose other hosts are outside, we answer for those too, but no probe.
"""

from __future__ import annotations

from slirpy.core.neighbor import Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.interfaces import Frame
from slirpy.wire import arp, ethernet

__all__ = ["Arp", "request"]


def request(network: Network, address: bytes) -> None:
    """Ask behind all links for the MAC address of ``address``."""
    gateway = network.config.gateway_address
    packet = arp.ArpPacket(arp.REQUEST, network.mac_for(gateway), gateway, bytes(6), address)
    for port in network.ports:
        _transmit(port, ethernet.BROADCAST, packet)


class Arp:
    """ARP input of one stack."""

    def __init__(self, network: Network, neighbors: Neighbors) -> None:
        self._network = network
        self._neighbors = neighbors

    def input(self, port: LinkPort, payload: memoryview, mac: bytes) -> None:
        """Handle an ARP packet from ``mac``."""
        network, neighbors = self._network, self._neighbors
        stats = network.stats
        packet = arp.parse(payload)
        if packet is None:
            stats.drop_arp_malformed += 1
            return
        # A sender of 0.0.0.0 is a probe (RFC 5227), from a guest without an address; none may use ours.
        if packet.sender in network.addresses:
            stats.drop_ip_source += 1
            return
        credible = network.may_be_guest(packet.sender) and packet.sender_mac == mac
        if credible:
            if neighbors.probes:
                neighbors.probes.heard(packet.sender, mac, port)
            neighbors.learn(packet.sender, mac, port)
        if packet.operation == arp.REPLY:
            stats.drop_arp_sender += not credible
        elif packet.operation != arp.REQUEST:
            stats.drop_arp_operation += 1
        elif packet.target in network.addresses:
            self._reply(port, mac, packet)
        elif packet.target != packet.sender and not neighbors.is_known(packet.target):
            if any(packet.sender) and network.is_outside(packet.target):
                self._reply(port, mac, packet)
            else:
                stats.arp_nobody += 1

    def _reply(self, port: LinkPort, mac: bytes, asked: arp.ArpPacket) -> None:
        ours = self._network.mac_for(asked.target)
        _transmit(port, mac, arp.ArpPacket(arp.REPLY, ours, asked.target, asked.sender_mac, asked.sender))


def _transmit(port: LinkPort, destination: bytes, packet: arp.ArpPacket) -> None:
    header = destination + packet.sender_mac + b"\x08\x06"
    frame = (header + arp.build(packet)).ljust(ethernet.MIN_LENGTH, b"\0")
    port.push(Frame((frame,)), len(frame))
