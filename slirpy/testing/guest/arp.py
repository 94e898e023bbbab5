"""ARP of a :class:`~slirpy.testing.guest.Guest`: answers for its address, requests for others (RFC 826)."""

from __future__ import annotations

from slirpy.interfaces import Buffer
from slirpy.testing.guest.neighbors import NeighborTable
from slirpy.wire import arp, ethernet

__all__ = ["ArpTable"]


class ArpTable(NeighborTable):
    """The guest's ARP table."""

    def request(self, address: bytes) -> None:
        own = self.addressing.addresses
        sender = own[0] if own else bytes(4)
        packet = arp.ArpPacket(arp.REQUEST, self.guest.mac, sender, bytes(6), address)
        self._send(ethernet.BROADCAST, packet)

    def _send(self, mac: bytes, packet: arp.ArpPacket) -> None:
        self.guest.send_frame(mac, ethernet.TYPE_ARP, arp.build(packet))

    def input(self, data: Buffer) -> None:
        """Handle a request or a reply."""
        guest = self.guest
        packet = arp.parse(data)
        if packet is None:
            guest.counters.malformed += 1
            return
        for_us = packet.target in self.addressing.addresses
        self.learn(packet.sender, packet.sender_mac, create=for_us)
        if for_us and packet.operation == arp.REQUEST:
            answer = arp.ArpPacket(arp.REPLY, guest.mac, packet.target, packet.sender_mac, packet.sender)
            self._send(packet.sender_mac, answer)
