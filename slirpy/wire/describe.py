"""One-line descriptions of frames, in the style of tcpdump.

Frames come from guests or the world; nothing in them may reach a terminal as a control character, and malformed ones
raise no exception.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import Struct

from slirpy.interfaces import Buffer
from slirpy.wire import arp, dhcp6, ethernet, ipv4, ipv6, tcp
from slirpy.wire.describe6 import dhcpv6, icmp6
from slirpy.wire.domainname import printable
from slirpy.wire.extension import Refusal, walk

__all__ = ["describe"]

_FLAGS = ((tcp.SYN, "S"), (tcp.FIN, "F"), (tcp.RST, "R"), (tcp.PSH, "P"), (tcp.ACK, "."), (tcp.URG, "U"),
    (tcp.ECE, "E"), (tcp.CWR, "W"))  # fmt: skip
_UDP = Struct("!HHHH")
_ICMP = Struct("!BBHHH")
_DNS = Struct("!HHHHHH")
_DNS_PORT = 53
_DHCP_PORTS = {67, 68}
_DHCPV6_PORTS = {dhcp6.CLIENT_PORT, dhcp6.SERVER_PORT}
_DHCP_COOKIE = b"\x63\x82\x53\x63"
_DHCP_KINDS = ("BOOTP", "Discover", "Offer", "Request", "Decline", "ACK", "NAK", "Release", "Inform")
_DNS_TYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    65: "HTTPS",
}
_DNS_CODES = ("NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED")
_UNREACHABLE = {0: "net", 1: "host", 2: "protocol", 3: "port", 4: "need to fragment", 9: "net prohibited",
    10: "host prohibited", 13: "admin prohibited"}  # fmt: skip
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMP6"}


def describe(frame: Buffer) -> str:
    """Describe an Ethernet frame in one line, without its end: protocol, addresses, and the protocol's main
    fields.
    """
    view = memoryview(frame).cast("B")
    if len(view) < ethernet.HEADER_LENGTH:
        return f"short frame, length {len(view)}"
    kind = view[12] << 8 | view[13]
    payload = view[ethernet.HEADER_LENGTH :]
    if kind in ethernet.TAGS and len(payload) >= ethernet.TAG_LENGTH:
        control = payload[0] << 8 | payload[1]
        inner = describe(b"".join((view[:12], payload[2:])))
        return f"vlan {control & 0xFFF}, p {control >> 13}, {inner}"
    if kind == ethernet.TYPE_ARP:
        return _arp(payload)
    if kind == ethernet.TYPE_IPV4:
        return _ipv4(payload)
    if kind == ethernet.TYPE_IPV6:
        return _ipv6(payload)
    return f"{_mac(view[6:12])} > {_mac(view[:6])}, ethertype 0x{kind:04x}, length {len(view)}"


def _mac(address: Buffer) -> str:
    return bytes(address).hex(":")


def _arp(data: memoryview) -> str:
    packet = arp.parse(data)
    if packet is None:
        return f"ARP, unreadable, length {len(data)}"
    sender, target = IPv4Address(packet.sender), IPv4Address(packet.target)
    if packet.operation == arp.REQUEST:
        return f"ARP, Request who-has {target} tell {sender}"
    if packet.operation == arp.REPLY:
        return f"ARP, Reply {sender} is-at {_mac(packet.sender_mac)}"
    return f"ARP, operation {packet.operation}, {sender} > {target}"


def _ipv4(data: memoryview) -> str:
    header = ipv4.parse(data)
    if header is None:
        return f"IP, unreadable, length {len(data)}"
    source, destination = str(IPv4Address(header.source)), str(IPv4Address(header.destination))
    payload = data[header.header_length : header.total_length]
    offset = (header.fragment & ipv4.OFFSET_MASK) * 8
    if header.fragment & ipv4.MF or offset:
        name = _PROTOCOLS.get(header.protocol, f"protocol {header.protocol}")
        more = "+" if header.fragment & ipv4.MF else ""
        return f"IP {source} > {destination}: {name}, frag {header.ident}:{len(payload)}@{offset}{more}"
    return "IP " + _transport(source, destination, header.protocol, payload)


def _ipv6(data: memoryview) -> str:
    header = ipv6.parse(data)
    if header is None:
        return f"IP6, unreadable, length {len(data)}"
    source, destination = str(IPv6Address(header.source)), str(IPv6Address(header.destination))
    found = walk(data, header)
    if isinstance(found, Refusal):
        name = found.reason.name.lower()
        return (
            f"IP6 {source} > {destination}: extension headers refused ({name}), length {header.payload_length}"
        )
    payload = data[found.header_length : found.total_length]
    if found.is_fragment:
        name = _PROTOCOLS.get(found.protocol, f"protocol {found.protocol}")
        more = "+" if found.more_fragments else ""
        where = f"{found.ident}:{len(payload)}@{found.fragment_offset}{more}"
        return f"IP6 {source} > {destination}: {name}, frag {where}"
    return "IP6 " + _transport(source, destination, found.protocol, payload)


def _transport(source: str, destination: str, protocol: int, data: memoryview) -> str:
    if protocol == ipv4.TCP and len(data) >= tcp.HEADER_LENGTH:
        return _tcp(source, destination, data)
    if protocol == ipv4.UDP and len(data) >= _UDP.size:
        return _udp(source, destination, data)
    where = f"{source} > {destination}: "
    if protocol == ipv4.ICMP and len(data) >= _ICMP.size:
        return where + _icmp(data)
    if protocol == ipv6.ICMPV6 and len(data) >= _ICMP.size:
        return where + icmp6(data)
    return where + f"{_PROTOCOLS.get(protocol, f'protocol {protocol}')}, length {len(data)}"


def _tcp(source: str, destination: str, data: memoryview) -> str:
    source_port, destination_port, seq, ack, offset, flags, window, _, urgent = tcp.HEADER.unpack_from(data)
    length = len(data) - (offset >> 4) * 4
    names = "".join(name for bit, name in _FLAGS if flags & bit) or "none"
    line = f"{source}.{source_port} > {destination}.{destination_port}: Flags [{names}], seq {seq}"
    if length > 0:
        line += f":{seq + length & 0xFFFFFFFF}"
    if flags & tcp.ACK:
        line += f", ack {ack}"
    line += f", win {window}"
    if flags & tcp.URG:
        line += f", urg {urgent}"
    if flags & tcp.SYN and (options := _tcp_options(data[tcp.HEADER_LENGTH : (offset >> 4) * 4])):
        line += f", options [{options}]"
    return line + (f", length {length}" if length >= 0 else ", bad header length")


def _tcp_options(data: memoryview) -> str:
    """Describe the options of a SYN that determine the connection."""
    names = []
    while data and data[0]:
        if data[0] == 1:
            data = data[1:]
            continue
        if len(data) < 2 or not 2 <= data[1] <= len(data):
            names.append("bad")
            break
        kind, value = data[0], data[2 : data[1]]
        if kind == 2:
            names.append(f"mss {int.from_bytes(value, 'big')}")
        elif kind == 3:
            names.append(f"wscale {int.from_bytes(value, 'big')}")
        else:
            names.append({4: "sackOK", 8: "TS"}.get(kind, f"option {kind}"))
        data = data[data[1] :]
    return ",".join(names)


def _udp(source: str, destination: str, data: memoryview) -> str:
    source_port, destination_port, _, _ = _UDP.unpack_from(data)
    payload = data[_UDP.size :]
    if {source_port, destination_port} <= _DHCP_PORTS and len(payload) >= 236:
        what = _dhcp(payload)
    elif {source_port, destination_port} <= _DHCPV6_PORTS and len(payload) >= 4:
        what = dhcpv6(payload)
    elif _DNS_PORT in (source_port, destination_port) and len(payload) >= _DNS.size:
        what = _dns(payload)
    else:
        what = "UDP"
    return f"{source}.{source_port} > {destination}.{destination_port}: {what}, length {len(payload)}"


def _dhcp(data: memoryview) -> str:
    kind = 0
    options = data[240:] if data[236:240] == _DHCP_COOKIE else data[:0]
    while len(options) > 2 and options[0] != 255:
        if options[0] == 0:
            options = options[1:]
            continue
        if options[0] == 53 and options[1] == 1:
            kind = options[2]
            break
        options = options[2 + options[1] :]
    name = _DHCP_KINDS[kind] if kind < len(_DHCP_KINDS) else f"type {kind}"
    line = f"DHCP {name}, xid 0x{bytes(data[4:8]).hex()}, {_mac(data[28:34])}"
    if any(data[16:20]):
        line += f", your address {IPv4Address(bytes(data[16:20]))}"
    return line


def _dns(data: memoryview) -> str:
    ident, flags, questions, answers, _, _ = _DNS.unpack_from(data)
    asked = _dns_question(data[_DNS.size :]) if questions else "no question"
    if not flags & 0x8000:
        return f"DNS {ident} {asked}"
    code = flags & 15
    name = _DNS_CODES[code] if code < len(_DNS_CODES) else f"rcode {code}"
    cut = ", truncated" if flags & 0x0200 else ""
    return f"DNS {ident} {name} {asked}, {answers} answer{'s' if answers != 1 else ''}{cut}"


def _dns_question(data: memoryview) -> str:
    labels = []
    while data and data[0]:
        length = data[0]
        if length > 63 or length >= len(data):
            return "unreadable question"
        labels.append(printable(bytes(data[1 : 1 + length])))
        data = data[1 + length :]
    if len(data) < 5:
        return "unreadable question"
    kind = data[1] << 8 | data[2]
    return f"{_DNS_TYPES.get(kind, f'type {kind}')}? {'.'.join(labels)}."


def _icmp(data: memoryview) -> str:
    kind, code, _, ident, sequence = _ICMP.unpack_from(data)
    if kind in (0, 8):
        return f"ICMP echo {'request' if kind else 'reply'}, id {ident}, seq {sequence}, length {len(data)}"
    if kind == 3:
        what = _UNREACHABLE.get(code, f"code {code}")
        name = f"ICMP unreachable - {what}" + (f" (mtu {sequence})" if code == 4 else "")
    elif kind == 11:
        name = "ICMP time exceeded " + ("in transit" if code == 0 else "in reassembly")
    else:
        return f"ICMP type {kind} code {code}, length {len(data)}"
    quoted = ipv4.parse(data[8:].tobytes().ljust(max(int.from_bytes(data[10:12], "big"), 20), b"\0"))
    if quoted is not None and len(data) >= 8 + quoted.header_length:
        name += f", for {_PROTOCOLS.get(quoted.protocol, quoted.protocol)} to {IPv4Address(quoted.destination)}"
        if quoted.protocol in (ipv4.TCP, ipv4.UDP) and len(data) >= 12 + quoted.header_length:
            port = int.from_bytes(data[10 + quoted.header_length : 12 + quoted.header_length], "big")
            name += f".{port}"
    return f"{name}, length {len(data)}"
