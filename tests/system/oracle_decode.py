"""Frames as named fields, so that two networks can be compared field by field. dpkt reads, our codecs judge nothing.

All values are text. Legitimately random values are relative to others: sequence numbers to the first of
their flow, ports of the host by the name that a script gave them. IP identifications are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import dpkt
from dnslib import DNSRecord

from tests.system.oracle_decode6 import dhcp6, icmp6
from tests.system.oracle_text import address, mac, text

__all__ = ["TFTP_CLIENTS", "Decoder", "Seen", "merge_streams"]

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_DHCP_KINDS = ("?", "DISCOVER", "OFFER", "REQUEST", "DECLINE", "ACK", "NAK", "RELEASE", "INFORM")
_SECONDS = (51, 58, 59)
_ADDRESSES = (1, 3, 6, 28, 50, 54)
_TEXTS = (12, 15, 56, 60, 66, 67)
_TFTP = ("?", "RRQ", "WRQ", "DATA", "ACK", "ERROR", "OACK")
TFTP_CLIENTS = range(2000, 3000)
"""Ports of the guest for TFTP."""
DNS = 53
"""The port of DNS servers."""


@dataclass(slots=True)
class Seen:
    """One frame, or one thing that was seen at the host."""

    kind: str
    """The kind, such as ``"dhcp OFFER"`` or ``"tcp SYN,ACK"``; frames of one kind are compared."""
    fields: dict[str, str]
    raw: bytes = b""
    segment: bytes = b""
    """Return the payload behind the IP header and a Fragment header."""
    stream: tuple[str, int, bytes] | None = field(default=None, compare=False)
    """For a TCP segment: its flow, its relative sequence number, its text."""


class Decoder:
    """Reads the frames of one run: knows its flows' first sequence numbers, and the names of its ports."""

    def __init__(self) -> None:
        self.ports: dict[int, str] = {}
        self._isn: dict[bytes, int] = {}

    def port(self, number: int) -> str:
        """A port's name, if it has one."""
        return self.ports.get(number, str(number))

    def names(self, row: str) -> str:
        """Text with ports at the ends of words, with their names in place of them."""
        return re.sub(r":(\d+)\b", lambda match: f":{self.port(int(match[1]))}", row)

    def watch(self, frame: bytes) -> None:
        """Take note of a frame that the guest sends: its SYN has a first sequence number too."""
        for kind, protocol, start, at in ((b"\x08\0", 23, 34, 26), (b"\x86\xdd", 20, 54, 22)):
            if (
                frame[12:14] == kind
                and len(frame) >= start + 20
                and frame[protocol] == 6
                and frame[start + 13] & 2
            ):
                self._isn[frame[at : start + 4]] = int.from_bytes(frame[start + 4 : start + 8], "big")

    def decode(self, frame: bytes) -> Seen:
        """All fields of a frame."""
        fields = {"eth.dst": mac(frame[:6]), "eth.src": mac(frame[6:12])}
        kind = int.from_bytes(frame[12:14], "big")
        segment = b""
        if kind == 0x0806:
            name, used = self._arp(frame[14:], fields), 42
        elif kind == 0x0800:
            packet = dpkt.ip.IP(frame[14:])
            used = 14 + packet.len
            self.watch(frame)
            segment = frame[14 + packet.hl * 4 : used]
            name = self._ip(packet, frame[14:used], fields)
        elif kind == 0x86DD:
            used = 54 + int.from_bytes(frame[18:20], "big")
            self.watch(frame)
            segment = frame[54 + (8 if frame[20] == 44 else 0) : used]
            name = self._ip6(frame[14:used], fields)
        else:
            name, used = f"ethertype {kind:#06x}", len(frame)
        if len(frame) > used:
            fields["eth.padded to"] = str(len(frame))
        seen = Seen(name, fields, frame, segment)
        if name.startswith("tcp"):
            flow = f"{fields['ip.src']}:{fields['tcp.sport']} > {fields['ip.dst']}:{fields['tcp.dport']}"
            seen.stream = flow, int(fields["tcp.seq"]), segment[(segment[12] >> 4) * 4 :]
        return seen

    @staticmethod
    def _arp(data: bytes, fields: dict[str, str]) -> str:
        packet = dpkt.arp.ARP(data)
        fields["arp.sender"] = f"{mac(packet.sha)} {address(packet.spa)}"
        fields["arp.target"] = f"{mac(packet.tha)} {address(packet.tpa)}"
        return {1: "arp request", 2: "arp reply"}[packet.op]

    def _ip(self, packet: dpkt.ip.IP, raw: bytes, fields: dict[str, str]) -> str:
        flags = int.from_bytes(raw[6:8], "big")
        fields["ip.src"], fields["ip.dst"] = address(packet.src), address(packet.dst)
        fields["ip.ttl"], fields["ip.tos"] = str(packet.ttl), f"{packet.tos:#04x}"
        fields["ip.df"] = "set" if flags & 0x4000 else "clear"
        fields["ip.checksum"] = "right" if dpkt.in_cksum(raw[: packet.hl * 4]) == 0 else "wrong"
        body = raw[packet.hl * 4 :]
        if flags & 0x3FFF:
            offset = (flags & 0x1FFF) * 8
            fields["ip.fragment"] = f"{offset} to {offset + len(body)}{', more' if flags & 0x2000 else ''}"
            return f"fragment at {offset}"
        fields["ip.len"] = str(packet.len)
        if packet.p == 1:
            return self._icmp(body, fields)
        pseudo = raw[12:20] + bytes((0, packet.p)) + len(body).to_bytes(2, "big")
        return self._transport(packet.p, raw[12:20], pseudo, body, fields)

    def _transport(
        self, protocol: int, addresses: bytes, pseudo: bytes, body: bytes, fields: dict[str, str]
    ) -> str:
        """TCP and UDP of both families, and what is neither."""
        right = "right" if dpkt.in_cksum(pseudo + body) == 0 else "wrong"
        if protocol == 17:
            fields["udp.checksum"] = "none" if body[6:8] == b"\0\0" else right
            return self._udp(body, fields)
        if protocol == 6:
            fields["tcp.checksum"] = right
            return self._tcp(addresses, body, fields)
        return f"ip protocol {protocol}"

    def _ip6(self, raw: bytes, fields: dict[str, str]) -> str:
        fields["ip.src"], fields["ip.dst"] = address(raw[8:24]), address(raw[24:40])
        fields["ip.ttl"], fields["ip.tos"] = str(raw[7]), f"{int.from_bytes(raw[:2], 'big') >> 4 & 0xFF:#04x}"
        fields["ip.flow label"] = "zero" if int.from_bytes(raw[:4], "big") & 0xFFFFF == 0 else "set"
        protocol, body = raw[6], raw[40:]
        if protocol == 44:
            offset, more = int.from_bytes(body[2:4], "big") & 0xFFF8, body[3] & 1
            fields["ip.fragment"] = f"{offset} to {offset + len(body) - 8}{', more' if more else ''}"
            return f"fragment at {offset}"
        fields["ip.len"] = str(len(raw))
        pseudo = raw[8:40] + len(body).to_bytes(4, "big") + bytes((0, 0, 0, protocol))
        if protocol == 58:
            fields["icmp.checksum"] = "right" if dpkt.in_cksum(pseudo + body) == 0 else "wrong"
            return icmp6(body, fields, self.port)
        return self._transport(protocol, raw[8:40], pseudo, body, fields)

    def _icmp(self, body: bytes, fields: dict[str, str]) -> str:
        kind, code = body[0], body[1]
        fields["icmp.checksum"] = "right" if dpkt.in_cksum(body) == 0 else "wrong"
        if kind in (0, 8):
            fields["icmp.id"], fields["icmp.seq"] = (
                str(int.from_bytes(body[i : i + 2], "big")) for i in (4, 6)
            )
            fields["icmp.data"] = text(body[8:])
            return f"icmp echo {'request' if kind else 'reply'}"
        fields["icmp.rest"] = body[4:8].hex()
        quoted = body[8:]
        header = quoted[: (quoted[0] & 15) * 4]
        fields["icmp.quoted header"] = (
            f"{address(header[12:16])} > {address(header[16:20])} protocol {header[9]}"
        )
        fields["icmp.quoted ttl"] = str(header[8])
        fields["icmp.quoted length field"] = str(int.from_bytes(header[2:4], "big"))
        fields["icmp.quoted checksum"] = "right" if dpkt.in_cksum(header) == 0 else "wrong"
        ports = (int.from_bytes(quoted[len(header) + i : len(header) + i + 2], "big") for i in (0, 2))
        fields["icmp.quoted ports"] = " > ".join(map(self.port, ports)) if header[9] in (6, 17) else "none"
        fields["icmp.quoted bytes"] = str(len(quoted))
        return f"icmp {kind}/{code}"

    def _udp(self, body: bytes, fields: dict[str, str]) -> str:
        source, destination = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        fields["udp.sport"], fields["udp.dport"] = self.port(source), self.port(destination)
        if (source, destination) == (67, 68):
            return self._dhcp(body[8:], fields)
        if destination == 546:
            return dhcp6(body[8:], fields)
        if destination in TFTP_CLIENTS:
            if source >= 1024:
                fields["udp.sport"] = "a port of its own"
            return self._tftp(body[8:], fields)
        if source == DNS:
            return _dns(body[8:], fields)
        fields["udp.data"] = text(body[8:])
        return "udp"

    @staticmethod
    def _tftp(data: bytes, fields: dict[str, str]) -> str:
        code = int.from_bytes(data[:2], "big")
        if code == 6:
            words = data[2:].split(b"\0")
            for name, value in zip(words[::2], words[1::2], strict=False):
                fields[f"tftp.{name.decode('ascii', 'replace').lower()}"] = value.decode("ascii", "replace")
            fields["tftp.order"] = " ".join(word.decode("ascii", "replace") for word in words[:-1:2])
        else:
            fields["tftp.error" if code == 5 else "tftp.block"] = str(int.from_bytes(data[2:4], "big"))
            fields["tftp.text" if code == 5 else "tftp.data"] = text(data[4:])
        return f"tftp {_TFTP[code] if code < len(_TFTP) else code}"

    @staticmethod
    def _dhcp(data: bytes, fields: dict[str, str]) -> str:
        message = dpkt.dhcp.DHCP(data)
        fields["dhcp.op"], fields["dhcp.xid"] = str(message.op), f"{message.xid:#x}"
        fields["dhcp.hops"], fields["dhcp.secs"] = str(message.hops), str(message.secs)
        fields["dhcp.flags"] = f"{message.flags:#06x}"
        for name in ("ciaddr", "yiaddr", "siaddr", "giaddr"):
            fields[f"dhcp.{name}"] = address(getattr(message, name))
        fields["dhcp.chaddr"] = mac(message.chaddr[:6])
        fields["dhcp.sname"] = text(message.sname.rstrip(b"\0"))
        fields["dhcp.file"] = text(message.file.rstrip(b"\0"))
        fields["dhcp.length"] = str(len(data))
        kind = 5  # a reply of BOOTP has none; it is compared with an ACK
        for code, value in _options(data[240:]):
            if code == 53:
                kind = value[0]
                fields["dhcp.option 53"] = _DHCP_KINDS[kind]
            elif code in _SECONDS:
                fields[f"dhcp.option {code}"] = f"{int.from_bytes(value, 'big')} s"
            elif code in _ADDRESSES:
                parts = (value[i : i + 4] for i in range(0, len(value), 4))
                fields[f"dhcp.option {code}"] = " ".join(map(address, parts))
            elif code == 26:
                fields["dhcp.option 26"] = str(int.from_bytes(value, "big"))
            else:
                fields[f"dhcp.option {code}"] = text(value) if code in _TEXTS else value.hex()
        return f"dhcp {_DHCP_KINDS[kind]}"

    def _tcp(self, addresses: bytes, body: bytes, fields: dict[str, str]) -> str:
        segment = dpkt.tcp.TCP(body)
        flags = [name for bit, name in enumerate(_FLAGS) if body[13] >> bit & 1]
        fields["tcp.sport"], fields["tcp.dport"] = self.port(segment.sport), self.port(segment.dport)
        half = len(addresses) // 2
        mine = addresses + body[:4]
        theirs = addresses[half:] + addresses[:half] + body[2:4] + body[:2]
        fields["tcp.seq"] = str((segment.seq - self._isn.get(mine, 0)) % 2**32)
        fields["tcp.ack"] = str((segment.ack - self._isn.get(theirs, 0)) % 2**32) if "ACK" in flags else "none"
        fields["tcp.flags"] = ",".join(flags)
        fields["tcp.urgent"] = str(segment.urp)
        if "SYN" in flags or "RST" in flags:
            fields["tcp.window"] = str(segment.win)
        for code, value in dpkt.tcp.parse_opts(segment.opts):
            if code == 8:
                fields["tcp.option 8"] = f"echoes {int.from_bytes(value[4:], 'big')}"
            elif code > 1:
                fields[f"tcp.option {code}"] = str(int.from_bytes(value, "big")) if value else "present"
        event = [name for name in ("SYN", "FIN", "RST") if name in flags]
        return f"tcp {event[0]}" if event else "tcp"


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """DHCP options; a value in several pieces is joined (RFC 3396)."""
    joined: dict[int, bytes] = {}
    while data and data[0] != 255:
        if data[0] == 0:
            data = data[1:]
        else:
            joined[data[0]] = joined.get(data[0], b"") + data[2 : 2 + data[1]]
            data = data[2 + data[1] :]
    yield from joined.items()


def merge_streams(seen: list[Seen]) -> list[Seen]:
    """Join the segments of a stream to one ``tcp`` for each flow, since cuts and acknowledgements depend on timing.

    It tells what was sent, in which segment size at most, and how far was acknowledged at the end. Segments with SYN,
    FIN or RST stay as they are, but for the data of a FIN.
    """
    merged: list[Seen] = []
    streams: dict[str, Seen] = {}
    texts: dict[str, dict[int, bytes]] = {}
    for one in seen:
        if one.stream is None or one.kind in ("tcp SYN", "tcp RST"):
            merged.append(one)
            continue
        flow, seq, data = one.stream
        stream = streams.get(flow)
        if one.kind == "tcp" or data:
            if stream is None:
                skip = ("tcp.seq", "tcp.flags", "tcp.window", "ip.len", "eth.padded to")
                fields = {name: value for name, value in one.fields.items() if name not in skip}
                stream = streams[flow] = Seen("tcp", fields)
                texts[flow] = {}
                merged.append(stream)
            if data:
                texts[flow][seq] = data
        if one.kind == "tcp FIN":
            fin = {name: value for name, value in one.fields.items() if name not in ("tcp.flags", "ip.len")}
            fin["tcp.seq"] = str((seq + len(data)) % 2**32)
            merged.append(Seen("tcp FIN", fin))
        if stream is not None:
            stream.fields["tcp.ack"] = one.fields["tcp.ack"]
            stream.fields["tcp.urgent"] = max(stream.fields["tcp.urgent"], one.fields["tcp.urgent"])
    for flow, stream in streams.items():
        pieces = texts[flow]
        stream.fields["tcp.data"] = text(b"".join(data for _, data in sorted(pieces.items())))
        stream.fields["tcp.starts at"] = str(min(pieces, default=0))
        stream.fields["tcp.largest segment"] = str(max(map(len, pieces.values()), default=0))
    return merged


def _dns(data: bytes, fields: dict[str, str]) -> str:
    message = DNSRecord.parse(data)
    fields["dns.id"], fields["dns.flags"] = str(message.header.id), data[2:4].hex()
    fields["dns.question"] = ", ".join(map(str, message.questions))
    fields["dns.answer"] = ", ".join(f"{record.rname} {record.rtype} {record.rdata}" for record in message.rr)
    # A cached answer counts down while the script is played.
    fields["dns.ttl"] = ", ".join(f"about {round(record.ttl, -1)} s" for record in message.rr)
    fields["dns.other"] = ", ".join(map(str, (*message.auth, *message.ar)))
    return "dns"
