"""Truncated, lying and random frames: no exception, no growth, and every drop has a name.

``make test`` runs 100,000 frames. ``SLIRPY_FUZZ_FRAMES=10000000 pytest -m stress tests/property/test_fuzz.py`` runs
that many; ``SLIRPY_FUZZ_SEED`` chooses others.
"""

from __future__ import annotations

from random import Random

import dpkt
import pytest

from tests.property.fuzz_world import (
    BATCH,
    FRAMES,
    SEED,
    STRESS_FRAMES,
    Guest,
    Maker,
    check_ended,
    check_fate,
    fate,
    fuzz,
    network,
    small_tables,
)
from tests.support.harness import (
    ACK,
    BROADCAST,
    DNS,
    DNS_MAC,
    FIN,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    PSH,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    rfc1071,
    udp,
    udp_segment,
)


class Guest4(Guest):
    """Speaks IPv4."""

    def __init__(self, net: Net, random: Random) -> None:
        super().__init__(net, random)
        self.peers = [self._peer(n) for n in range(40)]

    def kinds(self) -> list[tuple[Maker, int]]:
        return [
            (self.udp, 12), (self.icmp, 6), (self.arp, 8), (self.dhcp, 10), (self.dns, 6), (self.fragment, 10),
            (self.odd_ip, 4), (self.noise, 4),
        ]  # fmt: skip

    def knock(self) -> None:
        port = self.random.randrange(1, 65536)
        self.net.host.send_udp(b"in", ip("127.0.0.1"), 7002, (WORLD, port))
        self.net.host.connect(ip("127.0.0.1"), 7001)

    def _peer(self, n: int) -> Peer:
        address, port = (WORLD, 80) if n % 4 else (GATEWAY, 8000 + n) if n % 8 else (DNS, 53)
        ts = 1000 if n % 3 == 0 else None
        return Peer(self.net, port, address=address, sport=20000 + n, ts=ts, seq=self.random.getrandbits(32))

    def frame(self) -> bytes:
        """The next frame: half of them are damaged."""
        random = self.random
        kind = random.random()
        frame = self.tcp() if kind < 0.4 else self.complaint() if kind < 0.43 else random.choice(self.pool)
        chance = random.random()
        return frame if chance < 0.5 else self.damage(frame, fix=chance < 0.75)

    # ------------------------------------------------------------------------------------- valid ones

    def tcp(self) -> bytes:
        random = self.random
        peer = random.choice(self.peers)
        flow = self.net.stack.tcp_flows.get(peer.key)
        flags = random.choice(
            (ACK, ACK, ACK | PSH, ACK | PSH, FIN | ACK, SYN, RST, SYN | ACK, 0, 255, RST | ACK)
        )
        if flow is None:
            if random.random() < 0.8:
                flags = SYN
        elif random.random() < 0.9:  # what the connection expects, or almost
            conn = flow.conn
            peer.seq = conn.rcv_nxt if random.random() < 0.8 else conn.rcv_nxt + random.randrange(-2000, 70_000)
            peer.ack = conn.snd_max if random.random() < 0.8 else conn.snd_una + random.randrange(-2000, 2000)
            if flags & (SYN | RST) and random.random() < 0.8:
                flags = ACK
        else:
            peer.seq, peer.ack = random.getrandbits(32), random.getrandbits(32)
        if peer.ts is not None:
            peer.ts += random.randrange(2)
        data = bytes(random.choice((0, 0, 1, 3, 100, 1400))) if not flags & SYN else b""
        opts = (
            options(random.choice((None, 0, 8, 536, 1460)), ts=None if peer.ts is None else (peer.ts, 0))
            if flags & SYN
            else None
        )
        wnd = random.choice((0, 1, 500, 65535, 65535))
        return peer.frame(flags, data, seq=peer.seq, ack=peer.ack, wnd=wnd, opts=opts)

    def _destination(self) -> bytes:
        known = (WORLD, WORLD, GATEWAY, DNS, ip("10.0.2.255"), BROADCAST[:4], ip("224.0.0.1"), ip("10.0.2.99"))
        return self.random.choice(known) if self.random.random() < 0.9 else self.random.randbytes(4)

    def udp(self) -> bytes:
        random = self.random
        port = random.choice((9, 53, 67, 69, random.randrange(65536)))
        data = random.randbytes(random.choice((0, 1, 20, 1400)))
        return udp(data, sport=random.randrange(65536), dport=port, destination=self._destination())

    def icmp(self) -> bytes:
        chance = self.random.random()
        if chance < 0.3:
            return echo(self.random.randbytes(self.random.randrange(100)))
        if chance < 0.7:
            return echo(b"outward", to=self._destination(), ident=self.random.randrange(200))
        kind, code = self.random.randrange(20), self.random.randrange(16)
        message = bytes((kind, code, 0, 0)) + self.random.randbytes(4) + ipv4(6, bytes(20))
        message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
        return eth(ipv4(1, message, destination=self._destination()))

    def complaint(self) -> bytes:
        """An ICMP error about something that the guest got, or almost."""
        random = self.random
        flow = self.net.stack.tcp_flows.get(random.choice(self.peers).key)
        flows = list(self.net.stack._udp.flows.values())
        if flow is not None and random.random() < 0.7:
            guest, far, ports = flow.key[:4], flow.key[4:8], flow.key[10:] + flow.key[8:10]
            seq = (flow.conn.snd_una + random.choice((0, 0, 0, 1, -1, 1000, 100_000))) & 0xFFFFFFFF
            quoted = ipv4(6, ports + seq.to_bytes(4, "big") + bytes(1400), source=far, destination=guest)
        elif flows:
            udp_flow = random.choice(flows)
            ports = b"\0\x09" + udp_flow.number.to_bytes(2, "big")
            quoted = ipv4(17, ports + bytes(random.randrange(8)), source=WORLD, destination=udp_flow.guest)
        else:
            quoted = random.randbytes(random.randrange(60))
        kind, code = random.choice(((3, 4), (3, 4), (3, 3), (3, random.randrange(16)), (11, 0)))
        mtu = random.choice((0, 67, 68, 576, 1000, 1400, 65535))
        message = bytes((kind, code, 0, 0)) + mtu.to_bytes(4, "big") + quoted
        message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
        return eth(ipv4(1, message, source=quoted[16:20] if len(quoted) >= 20 else GUEST))

    def arp(self) -> bytes:
        random = self.random
        sender = ip(f"10.0.2.{random.randrange(256)}")
        mac = b"\2" + random.randbytes(5) if random.random() < 0.5 else GUEST_MAC
        return arp(random.randrange(4), sender=sender, sender_mac=mac, target=self._destination())

    def dhcp(self) -> bytes:
        random = self.random
        mac = b"\2" + random.randbytes(5)
        opts = [(53, bytes((random.randrange(10),)))]
        opts += random.sample(
            [(50, ip(f"10.0.2.{random.randrange(256)}")), (54, GATEWAY), (55, random.randbytes(9)), (61, b"\1" + mac),
             (57, b"\2\x40"), (12, b"name"), (82, random.randbytes(8)), (51, b"\0\0\0\1")], random.randrange(6)
        )  # fmt: skip
        message = dpkt.dhcp.DHCP(
            op=random.choice((1, 1, 2)), chaddr=mac, opts=tuple(opts), xid=random.getrandbits(32)
        )
        raw = bytes(message)
        if random.random() < 0.3:
            raw = raw[:240] + random.randbytes(random.randrange(80))
        segment = udp_segment(raw, 68, 67, bytes(4), b"\xff" * 4)
        return eth(
            ipv4(17, segment, source=bytes(4), destination=b"\xff" * 4), source=mac, destination=BROADCAST
        )

    def dns(self) -> bytes:
        random = self.random
        query = dpkt.dns.DNS(id=random.getrandbits(16), qd=[dpkt.dns.DNS.Q(name="example.org", type=1)])
        raw = bytes(query)
        if random.random() < 0.5:
            raw = raw[:12] + random.randbytes(random.randrange(60))
        return udp(raw, sport=random.randrange(65536), dport=53, destination=DNS, to=DNS_MAC)

    def fragment(self) -> bytes:
        random = self.random
        body = udp_segment(random.randbytes(random.choice((8, 64, 1000))), 7, 9)
        offset = random.choice((0, 0, 1, 2, 8, 126, random.randrange(8192)))
        more = random.choice((0, 0x2000, 0x2000))
        body = body[: len(body) & ~7] if random.random() < 0.9 else body
        protocol = random.choice((17, 17, 6, 1))
        return eth(ipv4(protocol, body, ident=random.randrange(200), fragment=offset | more))

    def odd_ip(self) -> bytes:
        random = self.random
        return eth(
            ipv4(
                random.randrange(256),
                random.randbytes(random.randrange(60)),
                source=random.choice(
                    (GUEST, bytes(4), random.randbytes(4), ip(f"10.0.2.{random.randrange(256)}"))
                ),
                destination=self._destination(),
                ttl=random.choice((0, 1, 64, 255)),
                options=random.randbytes(4 * random.randrange(11)),
            )
        )

    def noise(self) -> bytes:
        random = self.random
        data = random.randbytes(random.choice((0, 1, 13, 14, 33, 34, 53, 54, 60, 66, 200, 1514)))
        if random.random() < 0.7:
            head = random.choice((b"\x08\x00", b"\x08\x06", b"\x08\x00\x45"))
            data = random.choice((BROADCAST, bytes.fromhex("52550a000202"))) + GUEST_MAC + head + data
        return data


def check_counted(net: Net) -> None:
    """All kinds of frames came, and went where they should."""
    counted = net.stats.nonzero()
    for name in (
        "drop_ethernet_short", "drop_ethernet_type", "drop_ethernet_destination", "drop_ethernet_source",
        "drop_arp_malformed", "drop_ip_header", "drop_ip_checksum", "drop_ip_source", "drop_ip_destination",
        "drop_ip_protocol", "drop_ip_ttl", "drop_fragment_bad", "drop_icmp_malformed", "drop_icmp_type",
        "drop_icmp_unmatched", "icmp_errors_in", "icmp_flows",
        "drop_udp_malformed", "drop_udp_unreachable", "drop_tcp_malformed", "drop_tcp_unmatched",
        "drop_dhcp_malformed", "drop_dns_malformed", "icmp_echo_replies", "icmp_errors_out", "udp_flows",
        "udp_flows_evicted", "tcp_flows", "tcp_flows_refused", "tcp_resets_out", "tcp_fastpath", "tcp_out_of_order",
        "tcp_challenge_acks", "tcp_retransmits", "dhcp_ack", "dns_queries", "neighbor_evicted",
    ):  # fmt: skip
        assert counted.get(name), name
    assert net.stats.dropped() > net.stats.frames_in // 5


def hostile(frames: int, checksummed: bool, monkeypatch: pytest.MonkeyPatch) -> Net:
    small_tables(monkeypatch)
    random = Random(SEED + checksummed)
    net = network(random, checksummed)
    fuzz(Guest4(net, random), frames)
    check_counted(net)
    return net


@pytest.mark.long
@pytest.mark.parametrize("checksummed", [False, True])
def test_hostile_frames(checksummed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    net = hostile(FRAMES // 2, checksummed, monkeypatch)
    # And it still works, for a guest that behaves.
    net.wire.give(None)
    net.run(700)
    net.raw()
    net.send(eth(ipv4(1, icmp_echo(b"well?"), destination=GATEWAY)))
    assert bytes(net.one().data.data.data.data) == b"well?"
    peer = Peer(net, sport=60000)
    net.host.short_sends = net.host.short_recvs = 0.0
    for flow in list(net.stack.tcp_flows.values()):
        net.stack._tcp.evict(flow)  # or a probe of its window may come between
    net.run(0.1)
    net.raw()
    peer.open()
    peer.send(ACK | PSH, b"hello")
    net.run(1)
    assert peer.drain() == b"hello"
    check_ended(net)


def test_the_same_seed_gives_the_same_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack takes no chance but from its generator: byte for byte, twice."""

    def once() -> list[bytes]:
        random = Random(7)
        net = network(random, checksummed=False)
        guest = Guest4(net, random)
        out = []
        for _ in range(150):
            net.send(*[guest.frame() for _ in range(BATCH)])
            net.run(random.choice((0.0, 0.01, 1.0)))
            out += net.raw()
        return out

    first = once()
    assert len(first) > 1000
    assert first == once()


def test_every_frame_has_one_fate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each single frame it can be said what became of it: a counter, a call, or a table that knows it."""
    random = Random(SEED)
    net = network(random, checksummed=False)
    guest = Guest4(net, random)
    silent = 0
    for _ in range(4000):
        frame = guest.frame()
        found = fate(net, frame)
        check_fate(frame, found)
        silent += found.silent
    assert silent < 1200


@pytest.mark.stress
@pytest.mark.parametrize("checksummed", [False, True])
def test_hostile_frames_for_long(checksummed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(STRESS_FRAMES // 2, checksummed, monkeypatch)
