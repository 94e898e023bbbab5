"""Hostile frames of IPv6: extension headers, fragments, Neighbor Discovery, MLD, DHCPv6, addresses that cannot be.

No exception, no growth, and every drop has a name; see test_fuzz.py, which has the same tests for IPv4.
``SLIRPY_FUZZ_FRAMES=10000000 pytest -m stress tests/property/test_fuzz6.py`` runs that many frames, a third of them
with offloads and a third with two guests behind a switch; ``SLIRPY_FUZZ_SEED`` chooses others.
"""

from __future__ import annotations

import struct
from random import Random

import pytest

from tests.property.fuzz_world import (
    BATCH,
    FRAMES,
    SEED,
    STRESS_FRAMES,
    Guest,
    Maker,
    bounded,
    calm,
    check_ended,
    check_fate,
    fate,
    fuzz,
    network,
    packed,
    small_tables,
    take,
)
from tests.support.frames6 import (
    ALL_NODES,
    ALL_ROUTERS,
    DNS6,
    GATEWAY6,
    GUEST6,
    LINK_LOCAL,
    ROUTER,
    ROUTER_MAC,
    UNSPECIFIED,
    WORLD6,
    Peer6,
    echo6,
    ip6,
    ipv6,
    know6,
    mac_of,
    of_kind,
    solicited,
)
from tests.support.harness import ACK, BROADCAST, FIN, GUEST_MAC, PSH, RST, SYN, Net

TCP, UDP, ICMPV6 = 6, 17, 58
DHCP6_GROUP = ip6("ff02::1:2")
MLD_GROUP = ip6("ff02::16")
OPTIONS, ROUTING, FRAGMENT, HOP_BY_HOP = 60, 43, 44, 0
STRANGE = [
    ip6(text)
    for text in (
        "::", "::1", "::198.51.100.7", "::ffff:198.51.100.7", "::ffff:127.0.0.1", "::ffff:0:10.0.2.15",
        "64:ff9b::198.51.100.7", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::", "64:ff9b:1::1",
        "ff01::1", "ff02::1", "ff02::2", "ff02::16", "ff02::1:2", "ff02::fb", "ff05::1:3", "ff0e::1", "ff00::",
        "fe80::", "fe80::1", "fe80::2", "fe80:0:0:5::1", "fe80:0:0:1::2", "febf::1", "fec0::", "fec0::2", "fec0::3",
        "fec0::15", "fec0::99", "feff::1", "fc00::1", "fd00::1", "2002:7f00:1::", "2001::1", "2001:db8:7::7",
        "3ffe::1", "ff02::1:ff00:2", "ff02::1:ff00:3", "ff02::1:ff12:3456",
    )
]  # fmt: skip


class Guest6(Guest):
    """Speaks IPv6."""

    ports = range(20000, 20040)

    def kinds(self) -> list[tuple[Maker, int]]:
        return [
            (self.udp, 12), (self.echo, 6), (self.neighbors, 18), (self.routers, 6), (self.groups, 8),
            (self.dhcp, 10), (self.dns, 5), (self.chain, 14), (self.fragment, 16), (self.odd, 10), (self.noise, 5),
        ]  # fmt: skip

    def frame(self) -> bytes:
        random = self.random
        kind = random.random()
        frame = self.tcp() if kind < 0.25 else self.complaint() if kind < 0.29 else random.choice(self.pool)
        chance = random.random()
        return frame if chance < 0.6 else self.damage(frame, fix=chance < 0.85)

    def knock(self) -> None:
        host = self.net.host
        host.send_udp(b"in", "::1", 7002, (WORLD6, self.random.randrange(1, 65536)))
        host.send_udp(b"in", "127.0.0.1", 7002)
        host.connect("::1", 7001)

    # -------------------------------------------------------------------------------------- addresses

    def source(self) -> bytes:
        """Mostly the guest's own, of one scope or another."""
        chance = self.random.random()
        if chance < 0.7:
            return GUEST6 if chance < 0.5 else LINK_LOCAL
        if chance < 0.9:
            return self.random.choice(STRANGE)
        prefix = self.random.choice((b"\xfe\xc0", b"\xfe\x80", b"\x20\x01", b"\xff\x02"))
        return prefix + bytes(6) + self.random.randbytes(8)

    def destination(self) -> bytes:
        chance = self.random.random()
        if chance < 0.6:
            return self.random.choice((WORLD6, WORLD6, GATEWAY6, DNS6, ROUTER))
        return self.random.choice(STRANGE) if chance < 0.95 else self.random.randbytes(16)

    def mac(self) -> bytes:
        return GUEST_MAC if self.random.random() < 0.8 else b"\2" + self.random.randbytes(5)

    # --------------------------------------------------------------------------------- the transports

    def tcp(self) -> bytes:
        random = self.random
        port, destination, dport = random.choice(self.ports), WORLD6, 80
        if port % 4 == 0:
            destination, dport = (GATEWAY6, 8000 + port % 40) if port % 8 else (DNS6, 53)
        elif port % 5 == 0:
            destination = ip6("64:ff9b::198.51.100.7")
        flags = random.choice((ACK, ACK, ACK | PSH, ACK | PSH, FIN | ACK, SYN, RST, SYN | ACK, 0, 255))
        flow = self.net.stack.tcp_flows.get(GUEST6 + destination + struct.pack("!HH", port, dport))
        seq, ack = random.getrandbits(32), random.getrandbits(32)
        if flow is None:
            if random.random() < 0.8:
                flags = SYN
        elif random.random() < 0.9:  # what the connection expects, or almost
            conn = flow.conn
            seq, ack = conn.rcv_nxt, conn.snd_max
            if random.random() < 0.2:
                seq += random.randrange(-2000, 70_000)
            if random.random() < 0.2:
                ack = conn.snd_una + random.randrange(-2000, 2000)
            if flags & (SYN | RST) and random.random() < 0.8:
                flags = ACK
        options = random.choice((b"", b"\2\4\5\xa0", b"\2\4\0\0\4\2\1\1")) if flags & SYN else b""
        data = b"" if flags & SYN else bytes(random.choice((0, 0, 1, 3, 100, 1400)))
        offset = (20 + len(options)) << 2
        window = random.choice((0, 1, 500, 65535, 65535))
        head = struct.pack(
            "!HHIIBBHHH", port, dport, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset, flags, window, 0, 0
        )
        return ipv6(TCP, packed(TCP, head + options + data, GUEST6, destination), GUEST6, destination)

    def datagram(self, data: bytes, sport: int, dport: int, source: bytes, destination: bytes) -> bytes:
        return packed(UDP, struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data, source, destination)

    def udp(self) -> bytes:
        random = self.random
        source, destination = self.source(), self.destination()
        data = random.randbytes(random.choice((0, 1, 20, 1400)))
        sport, dport = random.randrange(65536), random.choice((9, 53, 67, 547, random.randrange(65536)))
        return ipv6(UDP, self.datagram(data, sport, dport, source, destination), source, destination)

    def echo(self) -> bytes:
        random = self.random
        source, destination = self.source(), self.destination()
        message = struct.pack("!BBHHH", 128, 0, 0, random.randrange(200), 1) + bytes(random.randrange(100))
        return ipv6(ICMPV6, packed(ICMPV6, message, source, destination), source, destination)

    def complaint(self) -> bytes:
        """An ICMPv6 error about something that the guest got, or almost."""
        random = self.random
        tcp, udp = list(self.net.stack.tcp_flows.values()), list(self.net.stack._udp.flows.values())
        if tcp and random.random() < 0.6:
            flow = random.choice(tcp)
            if len(flow.key) == 36:
                seq = (flow.conn.snd_una + random.choice((0, 0, 1, -1, 1000))) & 0xFFFFFFFF
                transport = flow.key[34:] + flow.key[32:34] + seq.to_bytes(4, "big") + bytes(12)
                quoted = ipv6(TCP, transport, flow.key[16:32], flow.key[:16])[14:]
            else:
                quoted = random.randbytes(60)
        elif udp:
            guest = random.choice(udp)
            ports = b"\0\x09" + guest.number.to_bytes(2, "big")
            quoted = ipv6(UDP, ports + bytes(random.randrange(8)), WORLD6, guest.guest.rjust(16, b"\0"))[14:]
        else:
            quoted = random.randbytes(random.randrange(80))
        kind, code = random.choice(((2, 0), (2, 0), (1, 4), (1, random.randrange(9)), (3, 0), (4, 1)))
        mtu = random.choice((0, 67, 1279, 1280, 1400, 65535, 1 << 31))
        source = quoted[24:40] if len(quoted) >= 40 else GUEST6
        message = bytes((kind, code, 0, 0)) + mtu.to_bytes(4, "big") + quoted
        return ipv6(ICMPV6, packed(ICMPV6, message, source, GATEWAY6), source, GATEWAY6)

    # ------------------------------------------------------------------------------------- the link

    def options_of_ndp(self) -> bytes:
        random, out = self.random, b""
        for _ in range(random.choice((0, 1, 1, 1, 2, 40))):
            kind = random.choice((1, 2, 3, 4, 5, 14, 24, 25, 31, 38, random.randrange(256)))
            size = random.choice((1, 1, 1, 4, 0, 32))
            body = self.mac() if kind in (1, 2) else random.randbytes(max(8 * size - 2, 0))
            out += bytes((kind, size)) + body
        return out

    def neighbors(self) -> bytes:
        random = self.random
        target = random.choice((GATEWAY6, ROUTER, DNS6, GUEST6, LINK_LOCAL, self.source(), self.destination()))
        source = random.choice((target, self.source(), UNSPECIFIED))
        mac = self.mac()
        if random.random() < 0.6:
            body = b"\x87\0\0\0" + bytes(4) + target
            destination = random.choice((solicited(target), target, ALL_NODES, ROUTER))
        else:
            flags = random.choice((0, 0x20, 0x40, 0x60, 0x80, 0xE0, 0xFF))
            body = b"\x88\0\0\0" + bytes((flags, 0, 0, 0)) + target
            destination = random.choice((ROUTER, ALL_NODES, GATEWAY6, solicited(target)))
        options = bytes((random.choice((1, 2)), 1)) + mac if random.random() < 0.7 else self.options_of_ndp()
        hop_limit = 255 if random.random() < 0.85 else random.randrange(255)
        message = packed(ICMPV6, body + options, source, destination)
        return ipv6(ICMPV6, message, source, destination, hop_limit, mac)

    def routers(self) -> bytes:
        random = self.random
        source, mac = self.source(), self.mac()
        kind = random.choice((133, 133, 134, 137))
        body = {
            133: bytes(4),
            134: b"\x40\0\7\x08" + bytes(8),
            137: bytes(4) + self.source() + self.destination(),
        }[kind]
        destination = random.choice((ALL_ROUTERS, ALL_NODES, ROUTER, GUEST6))
        message = bytes((kind, random.choice((0, 0, 0, 1)), 0, 0)) + body + self.options_of_ndp()
        hop_limit = 255 if random.random() < 0.85 else random.randrange(255)
        return ipv6(ICMPV6, packed(ICMPV6, message, source, destination), source, destination, hop_limit, mac)

    def groups(self) -> bytes:
        """Multicast Listener Discovery, both versions."""
        random = self.random
        source = random.choice((LINK_LOCAL, LINK_LOCAL, UNSPECIFIED, self.source()))
        group = random.choice((random.choice(STRANGE), b"\xff\x02" + random.randbytes(14)))
        kind = random.choice((130, 131, 132, 143, 143))
        if kind == 143:
            count = random.choice((0, 1, 1, 3, 60, 65535))
            records = b""
            for _ in range(min(count, 60)):
                sources = random.choice((0, 0, 1, 5))
                records += bytes((random.randrange(8), 0, 0, sources)) + group + random.randbytes(16 * sources)
            body = b"\x8f\0\0\0\0\0" + count.to_bytes(2, "big") + records
        else:
            body = bytes((kind, 0, 0, 0)) + random.randbytes(4) + group
            if kind == 130:
                body += random.choice((b"", b"\2\x7d\0\0", b"\2\x7d\xff\xff"))
        destination = random.choice(
            (MLD_GROUP, ALL_ROUTERS, ALL_NODES, group if group[0] == 0xFF else MLD_GROUP)
        )
        options = b"\5\2\0\0\1\0" if random.random() < 0.85 else random.randbytes(6)
        payload = bytes((ICMPV6, 0)) + options + packed(ICMPV6, body, source, destination)
        return ipv6(HOP_BY_HOP, payload, source, destination, random.choice((1, 1, 1, 64)))

    # ----------------------------------------------------------------------------------- the services

    def dhcp(self) -> bytes:
        random = self.random
        client, kind = random.randrange(400), random.randrange(16)
        source = random.choice((LINK_LOCAL, LINK_LOCAL, GUEST6, UNSPECIFIED, self.source()))
        address = b"\xfe\xc0" + bytes(12) + random.randrange(600).to_bytes(2, "big")
        association = struct.pack("!III", client, 0, 0)
        if random.random() < 0.6:
            association += struct.pack("!HH", 5, 24) + address + struct.pack("!II", 300, 600)
        duid = struct.pack("!HHH", 3, 1, client) + bytes(random.choice((4, 4, 0, 130)))
        choices = [
            (1, duid), (2, b"\0\3\0\1" + ROUTER_MAC), (3, association), (3, association[:12]), (4, bytes(4)),
            (6, b"\0\x17\0\x18\0\x3b"), (14, b""), (8, b"\0\0"), (25, association), (random.randrange(100), bytes(9)),
            (39, b"\0\4name"), (61, b"\0\7"),
        ]  # fmt: skip
        chosen = [choices[0], *random.sample(choices, random.randrange(6))]
        data = bytes((kind,)) + random.randbytes(3)
        if kind in (12, 13):
            data = bytes((kind, random.randrange(40))) + address + LINK_LOCAL
            chosen.append((9, b"\1abc" + struct.pack("!HH", 1, len(duid)) + duid))
        data += b"".join(struct.pack("!HH", number, len(value)) + value for number, value in chosen)
        if random.random() < 0.15:
            data = data[: random.randrange(len(data))]
        destination = random.choice((DHCP6_GROUP, DHCP6_GROUP, ROUTER, GATEWAY6))
        payload = self.datagram(data, random.choice((546, 546, 547, 9)), 547, source, destination)
        return ipv6(UDP, payload, source, destination, mac=self.mac())

    def dns(self) -> bytes:
        random = self.random
        kind = random.choice((1, 12, 28, 255))
        query = random.randbytes(2) + bytes.fromhex("01000001000000000000") + b"\7example\3org\0"
        query += struct.pack("!HH", kind, 1)
        if random.random() < 0.4:
            query = query[:12] + random.randbytes(random.randrange(60))
        payload = self.datagram(query, random.randrange(65536), 53, GUEST6, DNS6)
        return ipv6(UDP, payload, GUEST6, DNS6, to=bytes.fromhex("525600000003"))

    # ---------------------------------------------------------------------------- headers of IPv6 itself

    def header(self, kind: int) -> bytes:
        """An extension header, but for its first byte."""
        random = self.random
        if kind == ROUTING:
            return b"\0" + bytes((random.choice((0, 2, 3, 4, 253)), random.choice((0, 0, 1, 255)), 0, 0, 0, 0))
        size = random.choice((0, 0, 0, 1, 4, 255))
        options = b""
        while len(options) < 6 + 8 * size:
            option = random.choice((0, 1, 1, 4, 5, 0x1E, 0x3E, 0x63, 0x8A, 0xC2, 0xC9))
            length = random.choice((0, 0, 1, 2, 4, 14))
            options += bytes(1) if option == 0 else bytes((option, length)) + random.randbytes(length)
        options = (
            options[: 6 + 8 * size] if random.random() < 0.3 else (b"\1\4" + bytes(4)) * (1 + 8 * size // 6)
        )
        return bytes((size,)) + options.ljust(6 + 8 * size, b"\0")[: 6 + 8 * size]

    def chained(self, protocol: int, payload: bytes, count: int) -> tuple[int, bytes]:
        """Extension headers before a payload; the type of the first one, and all."""
        random = self.random
        for number in range(count):
            kind = random.choice((OPTIONS, OPTIONS, ROUTING, HOP_BY_HOP if number == count - 1 else OPTIONS))
            if random.random() < 0.05:
                kind, payload = FRAGMENT, bytes((protocol, 0, 0, 0)) + random.randbytes(4) + payload
            else:
                payload = bytes((protocol,)) + self.header(kind) + payload
            protocol = kind
        return protocol, payload

    def chain(self) -> bytes:
        """A packet with extension headers, up to a thousand."""
        random = self.random
        source, destination = self.source(), self.destination()
        if random.random() < 0.5:
            inner = UDP, self.datagram(b"deep inside", 7, 9, source, destination)
        else:
            echo = packed(ICMPV6, bytes.fromhex("8000000000070001"), source, destination)
            inner = random.choice(((ICMPV6, echo), (59, b""), (51, bytes(24)), (50, bytes(24)), (4, bytes(20))))
        count = random.choice((0, 1, 2, 3, 7, 8, 9, 20, 1000))
        if count == 1000:
            protocol, payload = (
                OPTIONS,
                (bytes((OPTIONS, 0)) + b"\1\4" + bytes(4)) * 999 + b"\x11\0\1\4" + bytes(4),
            )
        else:
            protocol, payload = self.chained(*inner, count)
        return ipv6(protocol, payload[:65000], source, destination)

    def fragment(self) -> bytes:
        random = self.random
        source, destination = random.choice((GUEST6, GUEST6, self.source())), self.destination()
        size = random.choice((8, 8, 8, 64, 1000))
        offset = 8 * random.choice((0, 0, 0, 1, 1, 2, 3, 126, 8191, random.randrange(8192)))
        protocol, ident = random.choice((UDP, UDP, TCP, ICMPV6, OPTIONS, FRAGMENT, 59)), random.randrange(300)
        piece = random.randbytes(size)
        if not offset and protocol == UDP:
            piece = struct.pack("!HHHH", 7, 9, 16, 0) + piece[8:]
        if random.random() < 0.1:
            piece = piece[: random.randrange(size)]
        more = random.randrange(2)
        header = struct.pack("!BBHI", protocol, 0, offset | more | random.choice((0, 0, 0, 6)), ident)
        before = random.choice((0, 0, 0, 1, 2))
        protocol, payload = self.chained(FRAGMENT, header + piece, before)
        return ipv6(protocol, payload, source, destination)

    def odd(self) -> bytes:
        random = self.random
        payload = random.randbytes(random.randrange(80))
        return ipv6(
            random.randrange(256), payload, self.source(), self.destination(), random.choice((0, 1, 2, 64, 255)),
            self.mac(), random.choice((None, None, BROADCAST, mac_of(ALL_NODES), random.randbytes(6))),
        )  # fmt: skip

    def noise(self) -> bytes:
        random = self.random
        data = random.randbytes(random.choice((0, 1, 13, 14, 53, 54, 60, 94, 200, 1514)))
        if random.random() < 0.8:
            first = random.choice((b"\x60", b"\x60", b"\x40", b"\x6f"))
            data = random.choice((ROUTER_MAC, mac_of(ALL_NODES))) + GUEST_MAC + b"\x86\xdd" + first + data
        return data


VARIANTS = ["plain", "offloads", "switch"]
NAMES = (
    "drop_ethernet_short", "drop_ethernet_type", "drop_ip_source", "drop_ip_destination",
    "drop_ip_protocol", "drop_ip_ttl", "drop_ipv6_header", "drop_ipv6_extension", "drop_ipv6_nothing",
    "drop_ipv6_routing", "drop_ipv6_jumbogram",
    "drop_ipv6_group", "drop_fragment_bad", "drop_fragment_limit", "drop_icmp_malformed", "drop_icmp_type",
    "drop_icmp_unmatched", "drop_ndp_malformed", "drop_ndp_sender", "drop_ndp_router", "ndp_nobody",
    "ndp_router_adverts", "ndp_neighbor_adverts", "icmp_errors_in", "icmp_errors_out", "icmp_flows",
    "icmp_echo_replies", "drop_udp_malformed", "drop_udp_unreachable", "drop_tcp_malformed", "drop_tcp_unmatched",
    "drop_dhcp6_malformed", "drop_dns_malformed", "udp_flows", "udp_flows_evicted", "tcp_flows", "tcp_flows_refused",
    "tcp_resets_out", "tcp_fastpath", "tcp_out_of_order", "tcp_challenge_acks", "tcp_retransmits", "dns_queries",
    "neighbor_evicted", "drop_fragment_duplicate", "udp_fastpath", "dhcp6_advertise", "dhcp6_reply",
)  # fmt: skip
"""Counters of which each must have counted."""
SWITCH_NAMES = (
    *(name for name in NAMES if name != "drop_icmp_type"), "switch_flooded", "switch_selected", "mld_reports",
    "mld_queries", "drop_mld_malformed", "drop_guard_router", "drop_guard_address", "drop_guard_chain",
)  # fmt: skip
"""Counters of a network with a switch, which keeps messages about multicast listeners from the stack."""


def world(random: Random, variant: str) -> Net:
    rules = ["tcp:[::1]:7001-:80", "udp:[::1]:7002-:7000", "udp:127.0.0.1:7002-[fec0::15]:7000"]
    net = network(random, variant == "offloads", ipv4=False, hostfwd=rules, nat64=True)
    if variant == "switch":
        net.attach()
    return net


def hostile(frames: int, variant: str, monkeypatch: pytest.MonkeyPatch) -> Net:
    small_tables(monkeypatch)
    random = Random(SEED + VARIANTS.index(variant))
    net = world(random, variant)
    fuzz(Guest6(net, random), frames)
    return net


@pytest.mark.long
@pytest.mark.parametrize("variant", VARIANTS)
def test_hostile_frames(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = hostile(FRAMES // 3, variant, monkeypatch)
    counted = net.stats.nonzero()
    names = SWITCH_NAMES if variant == "switch" else NAMES
    assert [name for name in names if not counted.get(name)] == []
    # Nothing is left of it after a while,
    calm(net)
    net.run(90_000)
    calm(net)
    assert {flow.state for flow in net.stack.flows()} <= {"ESTABLISHED"}  # which may be idle for days
    for flow in list(net.stack.tcp_flows.values()):
        net.stack._tcp.evict(flow)
    assert net.stack.fragments6._cost == 0
    assert net.stack.leases() == []
    bounded(net)
    # and it still works, for a guest that behaves.
    know6(net)
    calm(net)
    net.send(echo6(b"well?", destination=GATEWAY6))
    (answer,) = of_kind(net.take(), ICMPV6)
    assert bytes(answer.data)[:1] + bytes(answer.data)[8:] == b"\x81well?"
    net.host.short_sends = net.host.short_recvs = 0.0
    peer = Peer6(net, sport=60000)
    peer.open(1.0)
    peer.send(ACK | PSH, b"hello")
    net.run(1)
    peer.take()
    assert peer.received == b"hello"
    check_ended(net)


def fates(frames: int) -> int:
    """Check the fate of each of so many frames; returns how many left no trace that can be seen."""
    random = Random(SEED)
    net = world(random, "plain")
    guest = Guest6(net, random)
    silent = 0
    for number in range(1, frames + 1):
        frame = guest.frame()
        guest.refresh()
        found = fate(net, frame)
        check_fate(frame, found)
        silent += found.silent
        if number % 5000 == 0:
            net.run(random.choice((0.01, 1.0, 40.0)))
            take(net)
    return silent


def test_every_frame_has_one_fate() -> None:
    """Of each single frame it can be said what became of it: a counter, a call, or a table that knows it.

    And it is not counted as dropped twice, except for fragments, whose loss may be that of others.
    """
    assert fates(4000) < 1000


def test_the_same_seed_gives_the_same_frames() -> None:
    def once() -> list[bytes]:
        random = Random(7)
        net = world(random, "plain")
        guest = Guest6(net, random)
        out = []
        for _ in range(100):
            net.send(*[guest.frame() for _ in range(BATCH)])
            net.run(random.choice((0.0, 0.01, 1.0)))
            out += net.raw()
        return out

    first = once()
    assert len(first) > 500
    assert first == once()


@pytest.mark.stress
@pytest.mark.parametrize("variant", VARIANTS)
def test_hostile_frames_for_long(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(STRESS_FRAMES // 3, variant, monkeypatch)


@pytest.mark.stress
def test_every_frame_has_one_fate_for_long() -> None:
    frames = STRESS_FRAMES // 20
    assert fates(frames) < frames // 4
