"""Frames read by slirpy's own codecs, from Ethernet up to the highest protocol."""

from __future__ import annotations

from slirpy.interfaces.services import Datagram
from slirpy.wire import arp, dhcp, dhcp6, dns, ethernet, icmp, ipv4, ipv6, mld, ndp, tcp, tftp, udp
from slirpy.wire.checksum import ones_sum, transport_ok
from slirpy.wire.extension import Refusal, walk
from slirpy.wire.icmps import messages_of
from slirpy.wire.ip import Header
from tests.support.fake_network import FakeSink

NDP = {
    133: ndp.read_router_solicitation,
    134: ndp.read_router_advertisement,
    135: ndp.read_neighbor_solicitation,
    136: ndp.read_neighbor_advertisement,
    137: ndp.read_redirect,
}


def read(frame: bytes, mac: bytes) -> list[str]:
    """Return the protocols that were read, the lowest first; the last is "" if something is wrong."""
    if len(frame) < ethernet.HEADER_LENGTH or (frame[:6] != mac and not frame[0] & 1):
        return [""]
    at = ethernet.payload_offset(frame)
    kind, data = int.from_bytes(frame[at - 2 : at], "big"), frame[at:]
    if kind == ethernet.TYPE_ARP:
        return ["ethernet", "arp" if arp.parse(data) is not None else ""]
    if kind == ethernet.TYPE_IPV4:
        return ["ethernet", *_ipv4(data)]
    return ["ethernet", *_ipv6(data)] if kind == ethernet.TYPE_IPV6 else [""]


def _ipv4(data: bytes) -> list[str]:
    header = ipv4.parse(data)
    if header is None or not ipv4.header_ok(data, header.header_length):
        return [""]
    return ["ipv4", *_transport(header, data[: header.total_length])]


def _ipv6(data: bytes) -> list[str]:
    header = ipv6.parse(data)
    walked = None if header is None else walk(data, header)
    if walked is None or isinstance(walked, Refusal):
        return [""]
    return ["ipv6", *_transport(walked, data[: walked.total_length])]


def _transport(header: Header, packet: bytes) -> list[str]:
    start, protocol = header.header_length, header.protocol
    body = packet[start:]
    if header.is_fragment:
        return []
    if protocol in (ipv4.TCP, ipv4.UDP):
        none = protocol == ipv4.UDP and len(header.source) == 4 and body[6:8] == b"\0\0"
        if not none and not transport_ok(packet, start, header.total_length, protocol):
            return [""]
    if protocol == ipv4.TCP:
        offset = (body[12] >> 4) * 4 if len(body) >= tcp.HEADER_LENGTH else 0
        return ["tcp" if tcp.HEADER_LENGTH <= offset <= len(body) else ""]
    if protocol == ipv4.UDP:
        return _udp(header, body)
    return _icmp(header, packet, body)


def _icmp(header: Header, packet: bytes, message: bytes) -> list[str]:
    six = isinstance(header, ipv6.IPv6Header)
    pseudo = ipv6.pseudo_sum(header.source, header.destination, ipv6.ICMPV6, len(message)) if six else 0
    if len(message) < icmp.HEADER_LENGTH or (ones_sum(message) + pseudo) % 65535:
        return [""]
    codec, kind = messages_of(header.source), message[0]
    name = "icmpv6" if six else "icmp"
    if kind in (codec.echo_request, codec.echo_reply):
        return [name]
    if codec.is_error(kind):
        return [name if codec.read_quote(message[8:]) is not None else ""]
    if isinstance(header, ipv6.IPv6Header) and kind in NDP:
        return [name, "ndp" if NDP[kind](header, memoryview(message)) is not None else ""]
    if isinstance(header, ipv6.IPv6Header) and kind in (130, 131, 132, 143):
        reader = mld.read_query if kind == mld.QUERY else mld.read_report
        well = mld.has_router_alert(packet) and reader(header, memoryview(message)) is not None
        return [name, "mld" if well else ""]
    return [""]


def _udp(header: Header, datagram: bytes) -> list[str]:
    if len(datagram) < udp.HEADER_LENGTH:
        return [""]
    source, destination, length, _ = udp.HEADER.unpack_from(datagram)
    if not udp.HEADER_LENGTH <= length <= len(datagram):
        return [""]
    payload = datagram[udp.HEADER_LENGTH : length]
    ports = {source, destination}
    if ports == {67, 68}:
        return ["udp", "dhcp" if dhcp_ok(payload) else ""]
    if ports == {546, 547}:
        return ["udp", "dhcp6" if dhcp6_ok(payload) else ""]
    if 53 in ports:
        return ["udp", "dns" if dns_ok(payload) else ""]
    if destination == 69:
        return ["udp", "tftp" if tftp_ok(payload) else ""]
    return ["udp"]


def dhcp_ok(payload: bytes) -> bool:
    """Report whether a client's message is read, with a type that it may have, or a server's."""
    read = dhcp.read_message(payload)
    if read is None:
        return False
    header, options = read
    kind = (options.get(dhcp.MESSAGE_TYPE) or b"\0")[0]
    if header.op == dhcp.BOOTREPLY:
        return kind in (dhcp.OFFER, dhcp.ACK, dhcp.NAK) and dhcp.SERVER_ID in options
    link = FakeSink()
    datagram = Datagram(bytes(4), 68, b"\xff" * 4, 67, memoryview(payload), b"\x52" * 6, link)
    return dhcp.read_request(datagram) is not None and kind in range(1, 9)


def dhcp6_ok(payload: bytes) -> bool:
    """Report whether a message has a known type, and the identifier that all of these have."""
    read = dhcp6.read_message(payload)
    return read is not None and read.kind in range(1, 12) and read.client_id is not None


def dns_ok(payload: bytes) -> bool:
    """Report whether a query is read and may be answered, or all records of an answer are read."""
    if len(payload) < dns.HEADER:
        return False
    if payload[2] & 0x80:
        question = dns.read_query(payload[:2] + b"\1" + payload[3:6] + bytes(6) + payload[12:])
        return question is not None and dns.records_of(question, payload) is not None
    query = dns.read_query(payload)
    return query is not None and bool(query.question) and not query.refusal


def tftp_ok(payload: bytes) -> bool:
    """Report whether a packet has a known operation and all of its fields."""
    if len(payload) < 4 or not 1 <= int.from_bytes(payload[:2], "big") <= 6:
        return payload == b"\0\6"
    if payload[1] > 2:
        return True
    try:
        request = tftp.read_request(payload)
    except tftp.RefusalError:
        return False
    return bool(request.name) and request.mode in ("octet", "netascii")
