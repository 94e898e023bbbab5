"""Packets to guests: single ones, in fragments if necessary, and runs of datagrams.

A link that segments UDP itself gets a run of datagrams of one size as one large frame. A capture in the guest shows
the same datagrams either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from slirpy.core.cutting import cut, cut6
from slirpy.core.neighbor import Neighbor, Neighbors
from slirpy.core.network import Network
from slirpy.core.port import LinkPort
from slirpy.core.template import CONSTANT_WORDS, TTL, UDP_CSUM_OFFSET, DatagramTemplate
from slirpy.interfaces import Buffer, Frame, LinkSink
from slirpy.units import SECOND
from slirpy.wire import ethernet, ipv4, udp
from slirpy.wire.checksum import ones_sum
from slirpy.wire.headers import LAYOUT, LAYOUT6, layout_of
from slirpy.wire.ip import V4, family_of

__all__ = ["IPSender"]

PATH_MTU_AGE: Final = 600 * SECOND
_from_bytes: Final = int.from_bytes
_new_frame: Final = tuple.__new__  # takes a third of the time of Frame(...), which counts for every frame
_MIDDLES: Final = {layout: layout.middle(ipv4.UDP, TTL) for layout in (LAYOUT, LAYOUT6)}


class IPSender:
    """Sender of packets to guests."""

    def __init__(self, network: Network, neighbors: Neighbors) -> None:
        self._network = network
        self._neighbors = neighbors
        self._first_ident = network.random.getrandbits(32)

    def send(
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

        ``mac`` and ``port`` take precedence over the neighbour table.

        Raises:
            ValueError: the addresses are of different families.
        """
        network, family = self._network, family_of(destination)
        out = port or neighbor.port
        mtu = out.mtu if out is not None else network.config.mtu
        if neighbor.path_mtu:
            mtu = min(mtu, self._path_mtu(neighbor))
        macs = (mac or neighbor.mac or ethernet.BROADCAST) + network.mac_for(source)
        ethernet_header = macs + family.ethertype.to_bytes(2, "big")
        length = len(payload)
        if length > mtu - family.header_length:
            if family_of(source) is not family:
                raise ValueError("the addresses of a packet are of one family")
            ident = self._next_ident(neighbor)
            if family is V4:
                pieces, ident = cut, ident & 0xFFFF
            else:
                pieces = cut6
            for frame, size in pieces(
                ethernet_header, source + destination, protocol, payload, mtu, ident, ttl, tos
            ):
                self._send_frame(neighbor, frame, size, mac, port)
            return
        header = family.build(source, destination, protocol, length, hop_limit=ttl, traffic_class=tos)
        data = b"".join((ethernet_header, header, payload))
        self._send_frame(neighbor, Frame((data.ljust(ethernet.MIN_LENGTH, b"\0"),)), len(data), mac, port)

    def _next_ident(self, neighbor: Neighbor) -> int:
        """Return the identification, of 32 bits, of the next packet that is sent to a guest in fragments.

        Each destination has its own count, so that numbers recur as late as possible (RFC 6864, section 5.2). The
        count starts at random, so that no guest can guess the numbers of another (RFC 7739, section 5.2).
        """
        if neighbor.ident is None:
            neighbor.ident, self._first_ident = self._first_ident, self._network.random.getrandbits(32)
        neighbor.ident = neighbor.ident + 1 & 0xFFFFFFFF
        return neighbor.ident

    def _path_mtu(self, neighbor: Neighbor) -> int:
        """The MTU that a guest has reported, which is forgotten after a while (RFC 8201, section 4)."""
        if self._network.now - neighbor.path_mtu_since > PATH_MTU_AGE:
            neighbor.path_mtu = 0
        return neighbor.path_mtu or 0xFFFF

    def _send_frame(
        self, neighbor: Neighbor, frame: Frame, length: int, mac: bytes | None, port: LinkPort | None
    ) -> None:
        length = max(length, ethernet.MIN_LENGTH)
        if mac is not None and port is not None:
            port.push(frame, length)
        else:
            self._neighbors.send(neighbor, frame, length)

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
        """Send a UDP datagram to a guest; see :class:`~slirpy.interfaces.ServiceNetwork`."""
        if len(payload) > (udp.MAX_PAYLOAD if len(source) == 4 else udp.MAX_PAYLOAD6):
            self._network.stats.drop_udp_too_long += 1
            return
        header = udp.build(source, source_port, destination, destination_port, payload)
        port = link if isinstance(link, LinkPort) else None
        neighbor = Neighbor(destination) if mac is not None and port else self._neighbors.get(destination)
        self.send(neighbor, source, destination, ipv4.UDP, b"".join((header, payload)), mac=mac, port=port)

    def template(self, source: tuple[bytes, int], destination: tuple[bytes, int]) -> DatagramTemplate:
        """Return a sender of single datagrams between two addresses and ports."""
        return DatagramTemplate(self._network, self._neighbors, source, destination)

    def send_datagrams(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        payloads: Sequence[Buffer],
    ) -> None:
        """Send several UDP datagrams to a guest, as one large frame if the link supports it."""
        network, neighbors = self._network, self._neighbors
        neighbor = neighbors.get(destination)
        port = neighbor.port
        addresses = source + destination
        if port is None or len(source) != len(destination):
            for payload in payloads:
                self.send_datagram(source, source_port, destination, destination_port, payload)
            return
        layout = layout_of(source)
        pack, has_header_sum = layout.datagram_out.pack, layout.has_header_sum
        middle, start = _MIDDLES[layout], layout.transport_at
        header_in_total = layout.header_in_total
        mtu = min(port.mtu, self._path_mtu(neighbor)) if neighbor.path_mtu else port.mtu
        # A shorter frame would need padding: the slow path adds it.
        least = ethernet.MIN_LENGTH - start - udp.HEADER_LENGTH
        most = mtu + ethernet.HEADER_LENGTH - start - udp.HEADER_LENGTH
        offload, segments = port.checksum_offload, port.udp_segmentation_offload
        front = (neighbor.mac or ethernet.BROADCAST) + network.mac_for(source) + layout.front
        address_sum = _from_bytes(addresses, "big") % 65535
        # Otherwise the frame goes through the neighbour table, which asks for the guest again.
        direct = neighbor.mac is not None and network.now - neighbor.seen <= neighbor.fresh
        ports = source_port + destination_port
        index = 0
        while index < len(payloads):
            payload = payloads[index]
            size = len(payload)
            if not least <= size <= most:
                self.send_datagram(source, source_port, destination, destination_port, payload)
                index += 1
                continue
            if segments:
                count = udp.run_length(payloads, index) if len(payloads) > 1 else 1
                run = payloads[index : index + count]
                length = udp.HEADER_LENGTH + (size if count == 1 else sum(map(len, run)))
            else:
                count, run = 1, (payload,)
                length = udp.HEADER_LENGTH + size
            index += count
            checksum = address_sum + ipv4.UDP + length  # of the pseudo-header
            if offload:
                checksum %= 65535
            else:
                # Zero would mean "no checksum"; 0xFFFF is sent instead (RFC 768).
                checksum = -(checksum + ports + length + ones_sum(payload)) % 65535 or 0xFFFF
            total = header_in_total + length
            header = pack(
                front, total, middle, -(CONSTANT_WORDS + address_sum + total) % 65535 if has_header_sum else b"",
                addresses, source_port, destination_port, length, checksum,
            )  # fmt: skip
            if offload:
                frame = _new_frame(Frame, ((header, *run), size if count > 1 else 0, start, UDP_CSUM_OFFSET))
            else:
                frame = _new_frame(Frame, ((header, payload), 0, 0, 0))
            if direct:
                port.push(frame, start + length)
            else:
                neighbors.send(neighbor, frame, start + length)
