"""IPv6 frames in one line each; tests/unit/links/test_trace.py has those of IPv4."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.wire import dhcp6, icmpv6, ipv6, mld, ndp
from slirpy.wire.describe import describe
from slirpy.wire.ndpoption import Dnssl, Mtu, Pref64, PrefixInformation, Rdnss


def address(text: str) -> bytes:
    return IPv6Address(text).packed


GUEST, GATEWAY, ROUTER = address("fec0::15"), address("fec0::2"), address("fe80::2")
MAC = bytes.fromhex("525400123456")
XID = b"\x12\x34\x56"


def frame(protocol: int, payload: bytes, source: bytes = GUEST, destination: bytes = GATEWAY) -> bytes:
    packet = ipv6.build(source, destination, protocol, len(payload)) + payload
    return b"\xff" * 6 + MAC + b"\x86\xdd" + packet


def icmp(kind: int, code: int = 0, word: int = 0, payload: bytes = b"") -> bytes:
    return frame(ipv6.ICMPV6, icmpv6.build(GUEST, GATEWAY, kind, code, word, payload))


def udp(source_port: int, destination_port: int, payload: bytes) -> bytes:
    return frame(17, struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload)


def dhcp(kind: int, *options: bytes) -> bytes:
    return udp(546, 547, dhcp6.write_message(kind, XID, options))


QUOTED = udp(5000, 53, b"question")[14:]
ADVERTISEMENT = ndp.router_advertisement(
    ROUTER, ipv6.ALL_NODES, MAC, lifetime=1800, hop_limit=64, other=True,
    options=[
        PrefixInformation(address("fec0::"), 64), Mtu(1500), Rdnss(600, (address("fec0::3"),)),
        Dnssl(600, ("lan", "b")), Pref64(600, address("64:ff9b::"), 96),
    ],
)  # fmt: skip
TO_ALL = "IP6 fec0::15 > fec0::2: "
LINES = [
    (udp(5000, 9, b"hello"), "IP6 fec0::15.5000 > fec0::2.9: UDP, length 5"),
    (frame(6, struct.pack("!HHIIBBHHH", 5000, 80, 7, 0, 0x50, 2, 500, 0, 0)),
     "IP6 fec0::15.5000 > fec0::2.80: Flags [S], seq 7, win 500, length 0"),
    (frame(60, bytes((17, 0, 1, 4)) + bytes(4) + udp(5000, 9, b"hello")[54:]),
     "IP6 fec0::15.5000 > fec0::2.9: UDP, length 5"),
    (frame(44, bytes((17, 0, 0, 41)) + bytes(3) + b"\7" + bytes(24)), TO_ALL + "UDP, frag 7:24@40+"),
    (frame(43, bytes((17, 0, 0, 1)) + bytes(4)), TO_ALL + "extension headers refused (routing), length 8"),
    (frame(59, b"x"), TO_ALL + "extension headers refused (nothing), length 1"),
    (frame(50, bytes(8)), TO_ALL + "protocol 50, length 8"),
    (frame(17, bytes(8))[:-1], "IP6, unreadable, length 47"),
    (icmp(128, 0, 0x12340005, bytes(56)), TO_ALL + "ICMP6 echo request, id 4660, seq 5, length 64"),
    (icmp(129, 0, 0x12340005), TO_ALL + "ICMP6 echo reply, id 4660, seq 5, length 8"),
    (icmp(1, 4, 0, QUOTED), TO_ALL + "ICMP6 unreachable - port, for UDP to fec0::2.53, length 64"),
    (icmp(1, 9, 0, QUOTED[:20]), TO_ALL + "ICMP6 unreachable - code 9, length 28"),
    (icmp(2, 0, 1280, QUOTED), TO_ALL + "ICMP6 packet too big (mtu 1280), for UDP to fec0::2.53, length 64"),
    (icmp(3, 0, 0, QUOTED), TO_ALL + "ICMP6 time exceeded in transit, for UDP to fec0::2.53, length 64"),
    (icmp(3, 1), TO_ALL + "ICMP6 time exceeded in reassembly, length 8"),
    (icmp(4, 1, 40, frame(99, bytes(8))[14:]),
     TO_ALL + "ICMP6 parameter problem - next header at 40, for 99 to fec0::2, length 56"),
    (icmp(4, 9, 42), TO_ALL + "ICMP6 parameter problem - code 9 at 42, length 8"),
    (icmp(100, 3), TO_ALL + "ICMP6 type 100 code 3, length 8"),
    (frame(ipv6.ICMPV6, bytes(7)), TO_ALL + "ICMP6, length 7"),
    (frame(ipv6.ICMPV6, ndp.router_solicitation(GUEST, GATEWAY, MAC)),
     TO_ALL + "ICMP6 router solicitation, at 52:54:00:12:34:56, length 16"),
    (frame(ipv6.ICMPV6, ADVERTISEMENT),
     TO_ALL + "ICMP6 router advertisement, lifetime 1800s, hop limit 64, flags [other], prefix fec0::/64, mtu 1500,"
     " dns fec0::3, search lan b, nat64 64:ff9b::/96, at 52:54:00:12:34:56, length 120"),
    (frame(ipv6.ICMPV6, ADVERTISEMENT[:-1]),
     TO_ALL + "ICMP6 router advertisement, lifetime 1800s, hop limit 64, flags [other], length 119"),
    (frame(ipv6.ICMPV6, ndp.neighbor_solicitation(GUEST, GATEWAY, ROUTER, MAC)),
     TO_ALL + "ICMP6 neighbor solicitation, who has fe80::2, at 52:54:00:12:34:56, length 32"),
    (frame(ipv6.ICMPV6, ndp.neighbor_advertisement(GUEST, GATEWAY, ROUTER, MAC, solicited=True)),
     TO_ALL + "ICMP6 neighbor advertisement, tgt is fe80::2, flags [router solicited override],"
     " at 52:54:00:12:34:56, length 32"),
    (icmp(135), TO_ALL + "ICMP6 type 135 code 0, length 8"),
    (icmp(137, 0, 0, ROUTER + GUEST), TO_ALL + "ICMP6 redirect, fec0::15 to fe80::2, length 40"),
    (frame(ipv6.ICMPV6, mld.report(GUEST, [mld.Record(mld.Change.TO_EXCLUDE, ipv6.ALL_ROUTERS)])),
     TO_ALL + "ICMP6 multicast listener report v2, 1 group record(s), length 28"),
    (icmp(131, 0, 0, ipv6.ALL_ROUTERS), TO_ALL + "ICMP6 multicast listener report, group ff02::2, length 24"),
    (icmp(130, 0, 0, bytes(16)), TO_ALL + "ICMP6 multicast listener query, group ::, length 24"),
    (dhcp(dhcp6.SOLICIT), "IP6 fec0::15.546 > fec0::2.547: DHCPv6 Solicit, xid 0x123456, length 4"),
    (dhcp(dhcp6.REPLY, dhcp6.ia_na(b"abcd", 1, 2, dhcp6.ia_address(GUEST, 3, 4)), dhcp6.pack_status(0)),
     "IP6 fec0::15.546 > fec0::2.547: DHCPv6 Reply, xid 0x123456, address fec0::15, status 0, length 54"),
    (dhcp(dhcp6.ADVERTISE, dhcp6.ia_na(b"abcd", 0, 0, dhcp6.pack_status(2))),
     "IP6 fec0::15.546 > fec0::2.547: DHCPv6 Advertise, xid 0x123456, status 2, length 26"),
    (dhcp(99, b"x"), "IP6 fec0::15.546 > fec0::2.547: DHCPv6 type 99, xid 0x123456, length 5"),
    (udp(547, 547, b"\x0c\0" + bytes(32) + dhcp6.pack_option(9, b"\1abc")),
     "IP6 fec0::15.547 > fec0::2.547: DHCPv6 Relay-forward of Solicit, length 42"),
    (udp(547, 547, b"\x0c\0" + bytes(32)), "IP6 fec0::15.547 > fec0::2.547: DHCPv6 Relay-forward, length 34"),
    (udp(5000, 53, b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\1a\0\0\x1c\0\1"),
     "IP6 fec0::15.5000 > fec0::2.53: DNS 4660 AAAA? a., length 19"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "line"), LINES, ids=[line for _, line in LINES])
def test_a_line(data: bytes, line: str) -> None:
    assert describe(data) == line
    assert describe(memoryview(bytearray(data))) == line


@pytest.mark.parametrize("data", [data for data, _ in LINES], ids=range(len(LINES)))
def test_cut_frames(data: bytes) -> None:
    for end in range(len(data)):
        assert describe(data[:end]).isprintable()
        if end > 54:  # a packet that is short from the start
            shorter = data[:18] + (end - 54).to_bytes(2, "big") + data[20:end]
            assert describe(shorter).isprintable()


@given(st.sampled_from([data for data, _ in LINES]), st.data())
def test_damaged_frames(data: bytes, draw: st.DataObject) -> None:
    damaged = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        damaged[draw.draw(st.integers(14, len(data) - 1))] = draw.draw(st.integers(0, 255))
    assert describe(damaged).isprintable()
