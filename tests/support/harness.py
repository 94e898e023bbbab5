"""A guest made of raw frames, in virtual time: frames are built and read by dpkt, never by slirpy's own codecs.

:class:`Net` holds a stack with a simulated host and one link. ``net.send(frame)`` gives the stack one frame,
``net.run(seconds)`` lets time pass, ``net.take()`` hands over what the guest has received since, each frame already
checked: lengths, padding, checksums. :class:`Peer` is one TCP connection of the guest, moved by hand.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from random import Random
from typing import Any

import dpkt

from slirpy.config import Config
from slirpy.core.port import LinkPort
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from slirpy.stack import Stack
from slirpy.tcp import Connection
from slirpy.testing import SimHost, SimServer

SECOND = 1_000_000_000
MS = 1_000_000
GUEST_MAC = bytes.fromhex("525400123456")
GATEWAY_MAC = bytes.fromhex("52550a000202")
ROUTER_MAC = bytes.fromhex("525600000002")
DNS_MAC = bytes.fromhex("52550a000203")
BROADCAST = b"\xff" * 6

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128


def ip(text: str) -> bytes:
    """An address as bytes."""
    return socket.inet_aton(text)


GUEST, GATEWAY, DNS = ip("10.0.2.15"), ip("10.0.2.2"), ip("10.0.2.3")
WORLD = ip("198.51.100.7")


def rfc1071(data: bytes) -> int:
    """The checksum as RFC 1071 writes it down, with nothing clever about it."""
    total = 0
    for i in range(0, len(data) - 1, 2):
        total += data[i] << 8 | data[i + 1]
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def transport_sum(packet: bytes) -> int:
    """Return the receiver's sum over pseudo-header and segment; 0 is right."""
    length = (packet[0] & 15) * 4
    segment = packet[length : int.from_bytes(packet[2:4], "big")]
    return rfc1071(packet[12:20] + bytes((0, packet[9])) + struct.pack("!H", len(segment)) + segment)


def config(**given: Any) -> Config:
    """A configuration without resolvers; text is accepted for everything, as :class:`Config` does."""
    return Config(**{"resolvers": [], **given})


class NoPoller:
    """No descriptor is waited for in a simulation."""

    def register(self, fd: int, events: int, ready: Any) -> None:
        raise AssertionError

    def modify(self, fd: int, events: int, ready: Any) -> None:
        raise AssertionError

    def unregister(self, fd: int) -> None:
        raise AssertionError

    again = unregister


class Wire:
    """A link that keeps what it is given. ``room`` bounds how many frames it takes; None: all of them."""

    def __init__(self, features: LinkFeatures | None = None) -> None:
        self.features = features or LinkFeatures()
        self.room: int | None = None
        self.sent: list[Frame] = []
        self.sink: LinkSink | None = None
        self.closed = 0

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.sink = sink

    def send(self, frames: Sequence[Frame]) -> int:
        count = len(frames) if self.room is None else min(self.room, len(frames))
        if self.room is not None:
            self.room -= count
        # As every link must, it does not rely on the parts once the call is over.
        self.sent += [frame._replace(parts=(b"".join(frame.parts),)) for frame in frames[:count]]
        return count

    def give(self, room: int | None) -> None:
        """Make room, and say so."""
        self.room = room
        assert self.sink is not None
        self.sink.writable()

    def close(self) -> None:
        self.closed += 1


def segments(frame: Frame) -> list[bytes]:
    """The frames that a wire would see: what segmentation and checksum offload leave to the link, done here."""
    (whole,) = map(bytes, frame.parts)
    at = frame.csum_start
    if not at:
        assert not frame.gso_size
        return [whole]
    assert at in (34, 54), "neither IPv4 nor IPv6"
    assert frame.csum_offset in (16, 6), "neither TCP nor UDP"
    is_tcp = frame.csum_offset == 16
    assert whole[23 if at == 34 else 20] == (6 if is_tcp else 17)
    assert whole[14:at] == resized(whole[14:at], len(whole) - at)
    addresses = whole[26:34] if at == 34 else whole[22:54]
    value = rfc1071(pseudo(addresses, len(whole) - at, 6 if is_tcp else 17))
    field = whole[at + frame.csum_offset :][:2]
    assert field == (value ^ 0xFFFF).to_bytes(2, "big") or value in (0, 0xFFFF)
    start = at + (whole[at + 12] >> 4) * 4 if is_tcp else at + 8
    data = whole[start:]
    step = frame.gso_size or max(len(data), 1)
    if frame.gso_size:
        assert len(data) > frame.gso_size
        assert is_tcp or len(data) <= 64 * step
    out = []
    for offset in range(0, max(len(data), 1), step):
        segment = bytearray(whole[at:start] + data[offset : offset + step])
        if is_tcp:
            seq = int.from_bytes(segment[4:8], "big")
            segment[4:8] = ((seq + offset) & 0xFFFFFFFF).to_bytes(4, "big")
            if offset + step < len(data):
                segment[13] &= ~(FIN | PSH)
        else:
            segment[4:6] = len(segment).to_bytes(2, "big")
        field_at = slice(frame.csum_offset, frame.csum_offset + 2)
        segment[field_at] = b"\0\0"
        checksum = rfc1071(pseudo(addresses, len(segment), 6 if is_tcp else 17) + segment)
        segment[field_at] = (checksum if is_tcp else checksum or 0xFFFF).to_bytes(2, "big")
        piece = whole[:14] + resized(whole[14:at], len(segment)) + segment
        out.append(piece if is_tcp else piece.ljust(60, b"\0"))
    return out


def pseudo(addresses: bytes, length: int, protocol: int) -> bytes:
    """The pseudo-header of either family."""
    if len(addresses) == 8:
        return addresses + struct.pack("!HH", protocol, length)
    return addresses + struct.pack("!II", length, protocol)


def resized(header: bytes, length: int) -> bytes:
    """An IP header for a payload of ``length`` bytes."""
    out = bytearray(header)
    if len(header) == 20:
        out[2:4] = (20 + length).to_bytes(2, "big")
        out[10:12] = b"\0\0"
        out[10:12] = rfc1071(bytes(out)).to_bytes(2, "big")
    else:
        out[4:6] = length.to_bytes(2, "big")
    return bytes(out)


def check(frame: bytes, mtu: int = 65535) -> Any:
    """A frame to the guest as dpkt reads it, everything in it verified."""
    assert len(frame) >= 54, "short frame"
    eth = dpkt.ethernet.Ethernet(frame)
    if eth.type == dpkt.ethernet.ETH_TYPE_ARP:
        assert len(frame) == 60
        return eth
    if eth.type == dpkt.ethernet.ETH_TYPE_IP6:
        check6(frame[14:], mtu)
        return eth
    assert eth.type == dpkt.ethernet.ETH_TYPE_IP
    packet = frame[14:]
    total = int.from_bytes(packet[2:4], "big")
    assert packet[0] == 0x45
    assert total <= mtu, f"packet of {total} bytes, MTU {mtu}"
    assert rfc1071(packet[:20]) == 0, "header checksum"
    assert packet[8] > 0
    assert len(packet) == total or (len(frame) == 60 and not any(packet[total:])), "padding"
    fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
    if not fragment:
        if packet[9] == 6 or (packet[9] == 17 and packet[26:28] != b"\0\0"):
            assert transport_sum(packet) == 0, "transport checksum"
        elif packet[9] == 1:
            assert rfc1071(packet[20:total]) == 0, "ICMP checksum"
    return eth


def check6(packet: bytes, mtu: int) -> None:
    """Verify an IPv6 packet: lengths, and the checksum of its payload."""
    length = int.from_bytes(packet[4:6], "big")
    assert packet[:4] in (b"\x60\0\0\0", b"\x60\x20\0\0"), "a traffic class other than ECT(0), or a flow label"
    assert len(packet) == 40 + length <= mtu, f"packet of {40 + length} bytes, MTU {mtu}"
    assert packet[7] > 0
    payload, protocol = packet[40:], packet[6]
    if protocol in (6, 17, 58):
        pseudo = packet[8:40] + struct.pack("!II", length, protocol)
        assert rfc1071(pseudo + payload) == 0, "checksum"
        assert protocol != 17 or payload[6:8] != b"\0\0", "UDP without a checksum"


# ------------------------------------------------------------------------------------------ frames from the guest


def eth(
    payload: bytes, *, source: bytes = GUEST_MAC, destination: bytes = GATEWAY_MAC, kind: int = 0x800
) -> bytes:
    """An Ethernet frame, padded as on a wire."""
    return (destination + source + kind.to_bytes(2, "big") + payload).ljust(60, b"\0")


def ipv4(
    protocol: int,
    payload: bytes,
    *,
    source: bytes = GUEST,
    destination: bytes = WORLD,
    ttl: int = 64,
    ident: int = 1,
    fragment: int = 0,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet."""
    packet = dpkt.ip.IP(src=source, dst=destination, p=protocol, ttl=ttl, id=ident, data=payload, opts=options)
    packet.hl = 5 + len(options) // 4
    packet.len = 20 + len(options) + len(payload)
    packet._flags_offset = fragment
    return bytes(packet)


def udp(
    payload: bytes,
    *,
    sport: int = 5000,
    dport: int = 9,
    source: bytes = GUEST,
    destination: bytes = WORLD,
    mac: bytes = GUEST_MAC,
    to: bytes = GATEWAY_MAC,
    ttl: int = 64,
    options: bytes = b"",
    nosum: bool = False,
) -> bytes:
    """A UDP datagram in a frame."""
    segment = udp_segment(payload, sport, dport, source, destination, nosum=nosum)
    packet = ipv4(17, segment, source=source, destination=destination, ttl=ttl, options=options)
    return eth(packet, source=mac, destination=to)


def udp_segment(
    payload: bytes,
    sport: int,
    dport: int,
    source: bytes = GUEST,
    destination: bytes = WORLD,
    *,
    nosum: bool = False,
) -> bytes:
    """A UDP header with its checksum, and the payload."""
    length = 8 + len(payload)
    header = struct.pack("!HHHH", sport, dport, length, 0)
    if nosum:
        return header + payload
    value = rfc1071(source + destination + struct.pack("!HH", 17, length) + header + payload) or 0xFFFF
    return header[:6] + value.to_bytes(2, "big") + payload


def echo(
    data: bytes = b"abc", *, to: bytes = GATEWAY, mac: bytes = GATEWAY_MAC, ident: int = 7, seq: int = 1
) -> bytes:
    """An ICMP echo request in a frame."""
    return eth(ipv4(1, icmp_echo(data, ident, seq), destination=to), destination=mac)


def icmp_echo(data: bytes, ident: int = 7, seq: int = 1) -> bytes:
    """An ICMP echo request."""
    return bytes(dpkt.icmp.ICMP(type=8, code=0, data=dpkt.icmp.ICMP.Echo(id=ident, seq=seq, data=data)))


def arp(
    operation: int,
    *,
    sender: bytes = GUEST,
    sender_mac: bytes = GUEST_MAC,
    target: bytes = GATEWAY,
    target_mac: bytes = bytes(6),
    to: bytes = BROADCAST,
) -> bytes:
    """An ARP packet in a frame."""
    packet = dpkt.arp.ARP(op=operation, sha=sender_mac, spa=sender, tha=target_mac, tpa=target)
    return eth(bytes(packet), destination=to, kind=0x806, source=sender_mac)


# ----------------------------------------------------------------------------------------------------- the network


class Net:
    """A stack with a simulated host and one link, in virtual time."""

    def __init__(
        self,
        plan: Config | None = None,
        *,
        features: LinkFeatures | None = None,
        fastpath: bool = True,
        seed: int = 1,
        start: int = 1000 * SECOND,
        link: Wire | None = None,
        latency: int = MS,
        checksummed: bool = False,
    ) -> None:
        self.config = plan or config()
        self.now = start
        self.host = SimHost(Random(seed), latency_ns=latency)
        self.host.advance(start)
        self.stack = Stack(self.config, self.host, random=Random(seed), now=start)
        if not fastpath:
            self.stack.fastpath = False
        self.checksummed = checksummed
        self.wire = link or Wire(features)
        self.port: LinkPort = self.stack.attach(self.wire, NoPoller())
        self.servers: list[SimServer] = []
        """Servers of the outside world, for tests that want to find them here."""
        self._ports: dict[Wire, LinkPort] = {self.wire: self.port}

    @property
    def stats(self) -> Any:
        return self.stack.stats

    def attach(self, features: LinkFeatures | None = None) -> Wire:
        """A second guest's link."""
        wire = Wire(features)
        self._ports[wire] = self.stack.attach(wire, NoPoller())
        return wire

    def send(self, *frames: bytes, wire: Wire | None = None) -> None:
        """Frames from the guest, in one batch."""
        self.stack.tick(self.now)
        port = self._ports[wire or self.wire]
        # The buffers are overwritten after the flush, as a link's are.
        buffers = [bytearray(frame) for frame in frames]
        for buffer in buffers:
            port.input(buffer, self.checksummed)
        self.stack.flush(self.now)
        for buffer in buffers:
            buffer[:] = b"\xee" * len(buffer)

    def run(self, seconds: float = 0.0, *, limit: int = 100_000) -> None:
        """Let time pass, with everything that is due in it."""
        end = self.now + round(seconds * SECOND)
        for _ in range(limit):
            due = [t for t in (self.stack.deadline(), self.host.deadline()) if t is not None]
            when = min(due, default=end + 1)
            if when > end:
                break
            self.now = max(when, self.now)
            self.stack.tick(self.now)
            self.host.advance(self.now)
            self.stack.flush(self.now)
        else:
            raise AssertionError(f"busy: {limit} rounds did not bring it to rest")
        self.now = end
        self.stack.tick(end)
        self.host.advance(end)
        self.stack.flush(end)

    def raw(self, wire: Wire | None = None) -> list[bytes]:
        """Frames that the guest has received since the last call, as a wire would have carried them."""
        wire = wire or self.wire
        sent, wire.sent = wire.sent, []
        return [piece for frame in sent for piece in segments(frame)]

    def take(self, wire: Wire | None = None) -> list[Any]:
        """Return the frames, parsed and verified by dpkt."""
        port = self._ports[wire or self.wire]
        return [check(frame, port.mtu) for frame in self.raw(wire)]

    def one(self) -> Any:
        """The one frame that has come."""
        frames = self.take()
        assert len(frames) == 1, frames
        return frames[0]

    def silence(self) -> None:
        """Assert that no frame has arrived."""
        assert self.take() == []

    def know(self, *, address: bytes = GUEST, mac: bytes = GUEST_MAC, wire: Wire | None = None) -> None:
        """Let the stack learn of the guest."""
        self.send(arp(2, sender=address, sender_mac=mac, to=GATEWAY_MAC), wire=wire)
        assert self.take(wire) == []

    def calls(self, name: str) -> list[Any]:
        """The stack's calls of one kind to the host."""
        return [call for call in self.host.calls if call.name == name]

    def timer(self) -> int:
        """Entries in the stack's heap of deadlines."""
        return len(self.stack.timers.heap)


def unreachable(frame: Any, code: int, kind: int = 3) -> bytes:
    """Check an ICMP error from the gateway; the quoted packet."""
    message = frame.data.data
    assert isinstance(message, dpkt.icmp.ICMP), message
    assert (message.type, message.code) == (kind, code)
    assert frame.data.src == GATEWAY
    assert frame.data.ttl == 255
    return bytes(frame.data)[28:]


# ------------------------------------------------------------------------------------------------ one TCP connection


def options(
    mss: int | None = 1460, wscale: int | None = 7, sack: bool = True, ts: tuple[int, int] | None = None
) -> bytes:
    """Options of a SYN."""
    out = b""
    if mss is not None:
        out += struct.pack("!BBH", 2, 4, mss)
    if sack:
        out += b"\4\2"
    if ts is not None:
        out += struct.pack("!BBII", 8, 10, *ts)
    if wscale is not None:
        out += bytes((3, 3, wscale))
    return out.ljust(-(-len(out) // 4) * 4, b"\1")


class Peer:
    """The guest's end of one TCP connection. It sends only on request, and acknowledges nothing by itself."""

    def __init__(
        self,
        net: Net,
        port: int = 80,
        *,
        address: bytes = WORLD,
        sport: int = 40000,
        seq: int = 1_000_000,
        wnd: int = 65535,
        ts: int | None = None,
        guest: bytes = GUEST,
        mac: bytes = GUEST_MAC,
    ) -> None:
        self.net = net
        self.address, self.port, self.sport, self.guest, self.mac = address, port, sport, guest, mac
        self.seq, self.wnd, self.ts = seq, wnd, ts
        self.ack = 0
        self.echo = 0
        self.iss = 0

    @property
    def key(self) -> bytes:
        return self.guest + self.address + struct.pack("!HH", self.sport, self.port)

    @property
    def conn(self) -> Connection:
        return self.net.stack.tcp_flows[self.key].conn

    def frame(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        wnd: int | None = None,
        opts: bytes | None = None,
        ip_options: bytes = b"",
        urg: int = 0,
        to: bytes | None = None,
    ) -> bytes:
        """A segment in a frame; nothing moves by it. With IPv6 the options are a whole destination options header."""
        if opts is None:
            opts = b"" if self.ts is None else struct.pack("!HBBII", 0x0101, 8, 10, self.ts, self.echo)
        header = struct.pack(
            "!HHIIBBHHH",
            self.sport,
            self.port,
            (self.seq if seq is None else seq) & 0xFFFFFFFF,
            (self.ack if ack is None else ack) & 0xFFFFFFFF if flags & ACK else 0,
            (20 + len(opts)) << 2,
            flags,
            self.wnd if wnd is None else wnd,
            0,
            urg,
        )
        segment = header + opts + data
        value = rfc1071(pseudo(self.guest + self.address, len(segment), 6) + segment)
        segment = segment[:16] + value.to_bytes(2, "big") + segment[18:]
        if len(self.guest) == 4:
            packet = ipv4(6, segment, source=self.guest, destination=self.address, options=ip_options)
            return eth(packet, source=self.mac, destination=to or GATEWAY_MAC)
        start = struct.pack("!IHBB", 6 << 28, len(ip_options + segment), 60 if ip_options else 6, 64)
        packet = start + self.guest + self.address + ip_options + segment
        return eth(packet, source=self.mac, destination=to or ROUTER_MAC, kind=0x86DD)

    def send(self, flags: int, data: bytes = b"", **more: Any) -> None:
        """Send a segment, and move our sequence number behind it."""
        self.net.send(self.frame(flags, data, **more))
        if "seq" not in more:
            self.seq = (self.seq + len(data) + (flags & FIN) + (flags >> 1 & 1)) & 0xFFFFFFFF

    def take(self) -> list[Any]:
        """Segments of this connection that have come, as dpkt's TCP objects, with ``payload`` of the right length."""
        out = []
        for frame in self.net.take():
            if frame.type == 0x806 or (frame.type == 0x86DD and frame.data.nxt == 58):
                continue  # who does not answer for long is asked for; the router advertises itself
            packet = frame.data
            assert (packet.src, packet.dst) == (self.address, self.guest), frame
            tcp = packet.data
            assert (tcp.sport, tcp.dport) == (self.port, self.sport)
            out.append(tcp)
        return out

    def one(self, flags: int | None = None) -> Any:
        """The one segment that has come."""
        found = self.take()
        assert len(found) == 1, found
        if flags is not None:
            assert found[0].flags == flags, found[0]
        return found[0]

    def receive(self) -> bytes:
        """Take in-order data (and FIN), and note what to acknowledge; nothing is sent."""
        data = b""
        for tcp in self.take():
            assert not tcp.flags & RST, tcp
            if tcp.seq == self.ack:
                data += bytes(tcp.data)
                self.ack = (self.ack + len(tcp.data) + (tcp.flags & FIN)) & 0xFFFFFFFF
            for kind, value in dpkt.tcp.parse_opts(tcp.opts):
                if kind == 8:
                    self.echo = struct.unpack("!I", value[:4])[0]
        return data

    def open(self, opts: bytes | None = None, flags: int = SYN) -> Any:
        """The handshake, outward. Returns our SYN,ACK."""
        if opts is None:
            opts = options(ts=None if self.ts is None else (self.ts, 0))
        self.send(flags, opts=opts)
        self.net.run(2.5 * self.net.host.latency_ns / SECOND)
        answer = self.one(SYN | ACK | flags & ECE)
        return self.established(answer)

    def established(self, answer: Any) -> Any:
        """Take the SYN,ACK and acknowledge it."""
        assert answer.ack == self.seq
        self.iss = answer.seq
        self.ack = (answer.seq + 1) & 0xFFFFFFFF
        for kind, value in dpkt.tcp.parse_opts(answer.opts):
            if kind == 8:
                self.echo = struct.unpack("!I", value[:4])[0]
        self.send(ACK)
        return answer

    def drain(self, rounds: int = 10_000) -> bytes:
        """Acknowledge data as it comes until no more comes; the data, FIN included in ``ack``."""
        data = b""
        for _ in range(rounds):
            before = self.ack
            data += self.receive()
            if self.ack == before:
                self.net.run(0.02)
                data += self.receive()
                if self.ack == before:
                    return data
            self.send(ACK)
        raise AssertionError("no end")
