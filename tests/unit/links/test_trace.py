"""One line a frame, true and harmless, whatever the frame is; the link passes everything on."""

from __future__ import annotations

import io
from random import Random

import dnslib
import dpkt
import pytest

from slirpy.interfaces import Frame
from slirpy.links import CallbackLink, TraceLink
from slirpy.links.trace import wall_time
from slirpy.testing import VirtualNetwork
from slirpy.wire.describe import describe

A, B = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 2))
MAC = bytes.fromhex("525400123456")


def ethernet(payload: object, kind: int = 0x0800) -> bytes:
    return bytes(dpkt.ethernet.Ethernet(src=MAC, dst=b"\xff" * 6, type=kind, data=payload))


def packet(protocol: int, payload: object, **fields: object) -> bytes:
    ip = dpkt.ip.IP(src=A, dst=B, p=protocol, data=payload, **fields)
    ip.len = len(ip)
    return ethernet(ip)


def udp(sport: int, dport: int, payload: bytes) -> bytes:
    datagram = dpkt.udp.UDP(sport=sport, dport=dport, data=payload)
    datagram.ulen = len(datagram)
    return packet(17, datagram)


def tcp(flags: int, payload: bytes = b"", **fields: object) -> bytes:
    return packet(6, dpkt.tcp.TCP(sport=4000, dport=80, seq=7, flags=flags, win=500, data=payload, **fields))


def arp(operation: int) -> bytes:
    return ethernet(dpkt.arp.ARP(op=operation, sha=MAC, spa=A, tha=bytes(6), tpa=B), 0x0806)


QUERY = dnslib.DNSRecord.question("example.org", "AAAA")
QUERY.header.id = 4242
REPLY = QUERY.reply()
REPLY.add_answer(*dnslib.RR.fromZone("example.org 60 AAAA 2001:db8::1"))
UNREACHABLE = b"\x03\x03\0\0\0\0\0\0" + udp(5000, 9, b"hello")[14:]
ESCAPE = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\x08\x1b[2J\n.\\\xff\0\0\x01\0\x01"

LINES = [
    (tcp(2, opts=b"\x02\x04\x05\xb4\x01\x03\x03\x07\x04\x02\0\0", off=8),
     "IP 10.0.2.15.4000 > 10.0.2.2.80: Flags [S], seq 7, win 500, options [mss 1460,wscale 7,sackOK], length 0"),
    (tcp(0x18, b"hello", ack=9), "IP 10.0.2.15.4000 > 10.0.2.2.80: Flags [P.], seq 7:12, ack 9, win 500, length 5"),
    (tcp(4), "IP 10.0.2.15.4000 > 10.0.2.2.80: Flags [R], seq 7, win 500, length 0"),
    (tcp(0x31, ack=1, urp=3), "IP 10.0.2.15.4000 > 10.0.2.2.80: Flags [F.U], seq 7, ack 1, win 500, urg 3, length 0"),
    (arp(1), "ARP, Request who-has 10.0.2.2 tell 10.0.2.15"),
    (arp(2), "ARP, Reply 10.0.2.15 is-at 52:54:00:12:34:56"),
    (udp(5000, 9, b"hello"), "IP 10.0.2.15.5000 > 10.0.2.2.9: UDP, length 5"),
    (udp(5000, 53, QUERY.pack()), "IP 10.0.2.15.5000 > 10.0.2.2.53: DNS 4242 AAAA? example.org., length 29"),
    (udp(53, 5000, REPLY.pack()),
     "IP 10.0.2.15.53 > 10.0.2.2.5000: DNS 4242 NOERROR AAAA? example.org., 1 answer, length 57"),
    (udp(5000, 53, ESCAPE), r"IP 10.0.2.15.5000 > 10.0.2.2.53: DNS 4660 A? \027[2J\010\046\092\255., length 26"),
    (packet(1, b"\x08\0\0\0\x12\x34\0\x05" + bytes(56)),
     "IP 10.0.2.15 > 10.0.2.2: ICMP echo request, id 4660, seq 5, length 64"),
    (packet(1, UNREACHABLE),
     "IP 10.0.2.15 > 10.0.2.2: ICMP unreachable - port, for UDP to 10.0.2.2.9, length 41"),
    (packet(17, bytes(24), offset=5, mf=1, id=77), "IP 10.0.2.15 > 10.0.2.2: UDP, frag 77:24@40+"),
    (packet(99, b"12345"), "IP 10.0.2.15 > 10.0.2.2: protocol 99, length 5"),
    (ethernet(b"x" * 46, 0x88CC), "52:54:00:12:34:56 > ff:ff:ff:ff:ff:ff, ethertype 0x88cc, length 60"),
    (ethernet(b"\x60\0\0\0\0\x08\x3a\xff" + bytes(15) + b"\1" + bytes(15) + b"\2" + bytes(8), 0x86DD),
     "IP6 ::1 > ::2: ICMP6 type 0 code 0, length 8"),
    (b"short", "short frame, length 5"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "line"), LINES, ids=[line for _, line in LINES])
def test_a_line(frame: bytes, line: str) -> None:
    assert describe(frame) == line
    assert describe(memoryview(bytearray(frame))) == line


def test_no_frame_raises_or_breaks_the_line() -> None:
    random = Random(1)
    for frame, _ in LINES:
        for end in range(len(frame)):
            assert describe(frame[:end]).isprintable()
        for _ in range(300):
            data = bytearray(frame)
            for _ in range(random.randrange(1, 8)):
                data[random.randrange(len(data))] = random.randrange(256)
            assert describe(data).isprintable()


def test_a_whole_session_has_its_lines() -> None:
    """DHCP, ARP, ping and TCP of a guest in a trace, from end to end."""
    net = VirtualNetwork(seed=1)
    net.boot()
    ping = net.guest.ping("10.0.2.2")
    net.run_until(lambda: ping.reply is not None)
    lines = [describe(frame) for _, _, frame in net.transcript]
    kinds = [line.split("DHCP ")[1].split(",")[0] for line in lines if "DHCP " in line]
    assert kinds == ["Discover", "Offer", "Request", "ACK"]
    assert any(
        line.endswith("your address 10.0.2.15, length 300") or "your address 10.0.2.15" in line
        for line in lines
    )
    for what in (
        "who-has 10.0.2.2 tell",
        "Reply 10.0.2.2 is-at 52:55:0a:00:02:02",
        "echo request",
        "echo reply",
    ):
        assert any(what in line for line in lines), what


def test_the_link_tells_both_directions_and_passes_them_on() -> None:
    lines: list[str] = []
    sent: list[bytes] = []
    link = TraceLink(CallbackLink(sent.append), lines.append, clock=lambda: 1_700_000_000_123_456_789)
    frame = tcp(4)
    assert link.send([Frame((frame[:20], frame[20:])), Frame((arp(1),))]) == 2
    link.input(arp(2))
    assert sent == [frame, arp(1)]
    now = wall_time(1_700_000_000_123_456_789)
    assert now.endswith(".123456")
    assert lines == [
        f"{now} out IP 10.0.2.15.4000 > 10.0.2.2.80: Flags [R], seq 7, win 500, length 0",
        f"{now} out ARP, Request who-has 10.0.2.2 tell 10.0.2.15",
        f"{now} in  ARP, Reply 10.0.2.15 is-at 52:54:00:12:34:56",
    ]


def test_a_file_gets_lines_and_a_closed_one_ends_the_trace_only() -> None:
    file = io.StringIO()
    sent: list[bytes] = []
    link = TraceLink(CallbackLink(sent.append), file)
    link.send([Frame((arp(1),))])
    assert file.getvalue().endswith(" out ARP, Request who-has 10.0.2.2 tell 10.0.2.15\n")
    file.close()
    link.send([Frame((arp(1),))])
    link.send([Frame((arp(1),))])
    assert len(sent) == 3
    assert isinstance(link.error, ValueError)
