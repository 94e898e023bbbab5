"""UDP and TCP input, by the slow path: check the headers, then find who it is for.

Who it is for is a service of the virtual network, a flow, or, for what starts a new flow, the NAT: an
:class:`Opener` that the assembly installs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from slirpy.core.udppath import lay_service_path
from slirpy.interfaces import Datagram
from slirpy.tcp import Segment, reset_for
from slirpy.tcp import options as tcp_options
from slirpy.wire import icmp, ipv4, tcp, udp
from slirpy.wire.checksum import checksum, ones_sum, transport_ok

if TYPE_CHECKING:
    from slirpy.core.neighbor import Neighbor
    from slirpy.core.port import LinkPort
    from slirpy.core.stack import IPStack

__all__ = ["Arrival", "Demux", "Opener"]


class Arrival(NamedTuple):
    """A packet from a guest, with everything that is known about it."""

    port: LinkPort
    neighbor: Neighbor
    macs: bytes
    """Destination and source MAC."""
    header: ipv4.IPv4Header
    packet: memoryview
    """From the IPv4 header on, without padding."""
    checksummed: bool


class Opener(Protocol):
    """Takes what belongs to no service and no TCP flow."""

    def open_tcp(self, arrival: Arrival, key: bytes, seg: Segment) -> None:
        """A SYN."""

    def input_udp(self, arrival: Arrival, source_port: int, destination_port: int, payload: memoryview) -> None:
        """A datagram."""


class Demux:
    """UDP and TCP of one stack."""

    def __init__(self, stack: IPStack) -> None:
        self._stack = stack
        self.opener: Opener | None = None

    def input_udp(self, arrival: Arrival) -> None:
        """A packet of protocol 17."""
        stack = self._stack
        header, packet = arrival.header, arrival.packet
        start = header.header_length
        if header.total_length < start + udp.HEADER_LENGTH:
            stack.stats.drop_udp_malformed += 1
            return
        source_port, destination_port, length, field = udp.HEADER.unpack_from(packet, start)
        if not udp.HEADER_LENGTH <= length <= header.total_length - start:
            stack.stats.drop_udp_malformed += 1
            return
        end = start + length
        if field and not arrival.checksummed and not transport_ok(packet, start, end, ipv4.UDP):
            stack.stats.drop_udp_checksum += 1
            return
        payload = packet[start + udp.HEADER_LENGTH : end]
        service = stack.services.get((header.destination, destination_port))
        if service is None and stack.conversations:
            service = stack.conversations.get(
                (header.destination, destination_port, header.source, source_port)
            )
            if service is not None:
                lay_service_path(stack, arrival, service)
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
        elif self.opener is None or header.source == b"\0\0\0\0":
            stack.stats.drop_udp_unreachable += 1
        else:
            self.opener.input_udp(arrival, source_port, destination_port, payload)

    def input_tcp(self, arrival: Arrival) -> None:
        """A packet of protocol 6."""
        stack = self._stack
        header, packet = arrival.header, arrival.packet
        start, end = header.header_length, header.total_length
        if end < start + tcp.HEADER_LENGTH:
            stack.stats.drop_tcp_malformed += 1
            return
        _, _, seq, ack, offset, flags, wnd, _, urg = tcp.HEADER.unpack_from(packet, start)
        data = start + (offset >> 4) * 4
        if not start + tcp.HEADER_LENGTH <= data <= end:
            stack.stats.drop_tcp_offset += 1
            return
        if not arrival.checksummed and not transport_ok(packet, start, end, ipv4.TCP):
            stack.stats.drop_tcp_checksum += 1
            return
        if stack.is_broadcast(header.destination):
            stack.stats.drop_tcp_broadcast += 1
            return
        options = tcp_options.parse(packet[start + tcp.HEADER_LENGTH : data])
        seg = Segment(seq, ack, flags, wnd, options, packet[data:end], urg)
        key = bytes(packet[12:20]) + bytes(packet[start : start + 4])
        flow = stack.tcp_flows.get(key)
        if flow is not None:
            flow.input(seg, arrival)
        elif flags & (tcp.SYN | tcp.ACK | tcp.RST | tcp.FIN) == tcp.SYN and self.opener is not None:
            self.opener.open_tcp(arrival, key, seg)
        else:
            self.refuse_tcp(arrival.neighbor, key, seg)

    def refuse_tcp(self, neighbor: Neighbor, key: bytes, seg: Segment) -> None:
        """Answer a segment that belongs to no connection (RFC 9293, section 3.10.7.1)."""
        answer = reset_for(seg)
        if answer is None:
            self._stack.stats.drop_tcp_unmatched += 1
            return
        seq, ack, flags = answer
        source, destination = key[4:8], key[:4]
        header = tcp.HEADER.pack(0, 0, seq, ack, 5 << 4, flags, 0, 0, 0)
        segment = key[10:12] + key[8:10] + header[4:]
        value = checksum(segment, ones_sum(source + destination) + ipv4.TCP + len(segment))
        segment = segment[:16] + value.to_bytes(2, "big") + segment[18:]
        self._stack.stats.tcp_resets_out += 1
        self._stack.send_ip(neighbor, source, destination, ipv4.TCP, segment)

    def unreachable(self, arrival: Arrival, code: int) -> None:
        """Answer a packet by ICMP destination unreachable."""
        self._stack.icmp.error(arrival, icmp.UNREACHABLE, code)
