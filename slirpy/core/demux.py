"""UDP and TCP input on the slow path: check the headers, then find the service or flow that the packet is for.

Packets that start a new flow go to the NAT: see :class:`~slirpy.core.arrival.FlowOpeners`.
"""

from __future__ import annotations

from typing import Final

from slirpy.core.arrival import Arrival, FlowOpeners
from slirpy.core.icmp import IcmpErrors
from slirpy.core.ip import IPSender
from slirpy.core.network import Network
from slirpy.core.paths import ServicePath, shape_of
from slirpy.core.resets import refuse_tcp
from slirpy.core.tables import FlowTables
from slirpy.interfaces import Datagram, Service
from slirpy.tcp import Segment
from slirpy.tcp import options as tcp_options
from slirpy.wire import icmp, ipv4, tcp, udp
from slirpy.wire.checksum import transport_ok
from slirpy.wire.ip import family_of

__all__ = ["Demux"]

_new: Final = tuple.__new__  # half of the time of calling Segment


class Demux:
    """UDP and TCP input of one stack."""

    def __init__(
        self, network: Network, ip: IPSender, errors: IcmpErrors, tables: FlowTables, openers: FlowOpeners
    ) -> None:
        self._network = network
        self._ip = ip
        self._errors = errors
        self._tables = tables
        self._openers = openers

    def serves(self, address: bytes, port: int) -> bool:
        """Report whether a service of this network answers datagrams to an address and a port."""
        return (address, port) in self._tables.services

    def input_udp(self, arrival: Arrival) -> None:
        """Handle a packet of protocol 17."""
        network, tables = self._network, self._tables
        stats = network.stats
        header, packet = arrival.header, arrival.packet
        start = header.header_length
        if header.total_length < start + udp.HEADER_LENGTH:
            stats.drop_udp_malformed += 1
            return
        source_port, destination_port, length, field = udp.HEADER.unpack_from(packet, start)
        if not udp.HEADER_LENGTH <= length <= header.total_length - start:
            stats.drop_udp_malformed += 1
            return
        end = start + length
        # Zero stands for no checksum, which IPv6 does not allow (RFC 8200, section 8.1).
        sound = arrival.checksummed or (
            transport_ok(packet, start, end, ipv4.UDP) if field else len(header.source) == 4
        )
        if not sound:
            stats.drop_udp_checksum += 1
            return
        payload = packet[start + udp.HEADER_LENGTH : end]
        service = tables.services.get((header.destination, destination_port))
        if service is None and tables.conversations:
            service = tables.conversations.get(
                (header.destination, destination_port, header.source, source_port)
            )
            if service is not None:
                self._lay_path(arrival, service)
        if service is not None:
            service.datagram(
                Datagram(
                    header.source,
                    source_port,
                    header.destination,
                    destination_port,
                    payload,
                    arrival.macs[6:],
                    arrival.port,
                )
            )
        elif family_of(header.source).is_unspecified(header.source):
            stats.drop_udp_unreachable += 1
        else:
            self._openers.udp(arrival, source_port, destination_port, payload)

    def input_tcp(self, arrival: Arrival) -> None:
        """Handle a packet of protocol 6."""
        network, tables = self._network, self._tables
        stats = network.stats
        header, packet = arrival.header, arrival.packet
        start, end = header.header_length, header.total_length
        if end < start + tcp.HEADER_LENGTH:
            stats.drop_tcp_malformed += 1
            return
        _, _, seq, ack, offset, flags, wnd, _, urg = tcp.HEADER.unpack_from(packet, start)
        data = start + (offset >> 4) * 4
        if not start + tcp.HEADER_LENGTH <= data <= end:
            stats.drop_tcp_offset += 1
            return
        if not arrival.checksummed and not transport_ok(packet, start, end, ipv4.TCP):
            stats.drop_tcp_checksum += 1
            return
        if network.is_broadcast(header.destination):
            stats.drop_tcp_broadcast += 1
            return
        options = tcp_options.parse(packet[start + tcp.HEADER_LENGTH : data])
        ecn = header.traffic_class & 3
        seg = _new(Segment, (seq, ack, flags, wnd, options, packet[data:end], urg, ecn))
        key = header.source + header.destination + bytes(packet[start : start + 4])
        flow = tables.tcp_flows.get(key)
        if flow is not None:
            flow.input(seg, arrival)
        elif flags & (tcp.SYN | tcp.ACK | tcp.RST | tcp.FIN) == tcp.SYN:
            self._openers.tcp(arrival, key, seg)
        elif header.hop_limit == 1 and not (
            network.config.restrict or network.config.contains(header.destination)
        ):
            # A traceroute with segments of no connection: the host that would reset it is beyond the gateway, where
            # its time to live ends (RFC 1812, section 5.3.1).
            stats.drop_ip_ttl += 1
            self._errors.error(arrival, icmp.Cause.OUT_OF_TIME)
        else:
            refuse_tcp(stats, self._ip, arrival.neighbor, key, seg)

    def _lay_path(self, arrival: Arrival, service: Service) -> None:
        """Let later datagrams like this one, of a conversation with ``service``, take the fast path."""
        shape = shape_of(arrival)
        if shape is not None:
            self._tables.udp_paths[shape.key] = ServicePath(shape, service)
