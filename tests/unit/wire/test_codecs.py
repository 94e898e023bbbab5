"""The codecs, with dpkt and a naive checksum as the judges."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slirpy.tcp import options as tcp_options
from slirpy.wire import arp, ethernet, headers, icmp, ipv4, tcp, udp
from slirpy.wire.checksum import checksum, ones_sum, transport_ok
from slirpy.wire.octets import octets_sum
from tests.support.harness import rfc1071

ADDRESS = st.binary(min_size=4, max_size=4)
MAC = st.binary(min_size=6, max_size=6)
PORT = st.integers(0, 65535)
WORD = st.integers(0, 0xFFFFFFFF)


# ------------------------------------------------------------------------------------------------------ checksum


@given(st.binary(min_size=1, max_size=200))
@example(b"\xff\xff")
@example(b"\0\0")
@example(b"\xff\xfe\0\1")
@example(b"\xff" * 64)
@example(b"\1")
@example(b"\xff")
def test_checksum(data: bytes) -> None:
    naive = rfc1071(data)
    # 0 and 0xFFFF are the same number in ones' complement arithmetic; ours is always written as 0.
    assert checksum(data) == naive % 0xFFFF
    assert dpkt.in_cksum(data) % 0xFFFF == checksum(data)
    assert 0 <= checksum(data) < 0xFFFF


@given(st.binary(max_size=99), st.binary(max_size=99), st.integers(0, 1 << 40))
def test_initial_is_added(first: bytes, second: bytes, more: int) -> None:
    first += b"\0" * (len(first) & 1)
    assert checksum(second, ones_sum(first)) == checksum(first + second)
    assert checksum(second, more) == checksum(second, more % 0xFFFF)


@given(st.binary(max_size=99))
@example(b"\xff" * 99)
def test_the_loop_over_octets_gives_the_same(data: bytes) -> None:
    """The compiled package computes with it, and pure Python by division."""
    assert octets_sum(data) == (0xFFFF - rfc1071(data)) % 0xFFFF


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_checksum_of_any_buffer(kind: Callable[[bytes], Any]) -> None:
    for data in (b"", b"\1", b"\1\2\3", bytes(range(256)) * 256):
        assert ones_sum(kind(data)) == (0xFFFF - rfc1071(data)) % 0xFFFF


@given(st.binary(min_size=1, max_size=100), st.integers(0, 10))
def test_adding_the_checksum_gives_zero(data: bytes, pad: int) -> None:
    data += b"\0" * (len(data) & 1)
    whole = data + checksum(data).to_bytes(2, "big")
    assert ones_sum(whole) == 0
    if any(whole):
        assert rfc1071(whole) == 0


# --------------------------------------------------------------------------------------------------------- IPv4


@given(
    ADDRESS,
    ADDRESS,
    st.integers(0, 255),
    st.binary(max_size=64),
    PORT,
    PORT,
    st.integers(0, 255),
    st.integers(0, 255),
)
def test_ipv4_written(
    source: bytes, destination: bytes, protocol: int, data: bytes, ident: int, fragment: int, ttl: int, tos: int
) -> None:
    header = ipv4.build(
        source, destination, protocol, len(data), ident=ident, fragment=fragment, ttl=ttl, tos=tos
    )
    assert len(header) == 20
    read = dpkt.ip.IP(header + data)
    assert (read.v, read.hl, read.len) == (4, 5, 20 + len(data))
    assert (read.src, read.dst, read.p, read.id, read.ttl, read.tos) == (
        source,
        destination,
        protocol,
        ident,
        ttl,
        tos,
    )
    assert int.from_bytes(header[6:8], "big") == fragment
    assert rfc1071(header) == 0
    assert ipv4.header_ok(header, 20)


@given(
    ADDRESS,
    ADDRESS,
    st.integers(0, 255),
    st.binary(max_size=64),
    PORT,
    st.integers(0, 10),
    st.binary(max_size=9),
)
def test_ipv4_read(
    source: bytes, destination: bytes, protocol: int, data: bytes, fragment: int, words: int, padding: bytes
) -> None:
    packet = dpkt.ip.IP(
        src=source, dst=destination, p=protocol, data=data, opts=b"\1" * 4 * words, id=9, ttl=3, tos=4
    )
    packet.hl = 5 + words
    packet.len = packet.hl * 4 + len(data)
    packet._flags_offset = fragment
    raw = bytes(packet)
    read = ipv4.parse(memoryview(raw + padding))
    assert read == (20 + 4 * words, 4, len(raw), 9, fragment, 3, protocol, source, destination)
    assert read is not None
    assert ipv4.header_ok(raw, read.header_length)
    for bit in range(0, 8 * read.header_length, 7):
        broken = bytearray(raw)
        broken[bit // 8] ^= 1 << bit % 8
        assert not ipv4.header_ok(broken, read.header_length)


def test_ipv4_lies() -> None:
    good = ipv4.build(b"\1\2\3\4", b"\5\6\7\x08", 17, 12) + bytes(12)
    assert ipv4.parse(good) is not None
    for size in range(32):
        assert ipv4.parse(good[:size]) is None
    for version in (0x44, 0x40, 0x55, 0x65, 0x05, 0x4F, 0x49):
        assert ipv4.parse(bytes((version,)) + good[1:]) is None
    for total in (0, 19, 33, 65535):
        assert ipv4.parse(good[:2] + total.to_bytes(2, "big") + good[4:]) is None
    assert ipv4.parse(b"\x46" + good[1:2] + (20).to_bytes(2, "big") + good[4:]) is None


@given(st.binary(max_size=200))
def test_ipv4_never_raises(data: bytes) -> None:
    read = ipv4.parse(data)
    if read is not None:
        assert 20 <= read.header_length <= read.total_length <= len(data)


# ---------------------------------------------------------------------------------------------------------- UDP


@given(ADDRESS, PORT, ADDRESS, PORT, st.binary(max_size=120))
def test_udp_written(source: bytes, sport: int, destination: bytes, dport: int, payload: bytes) -> None:
    header = udp.build(source, sport, destination, dport, payload)
    read = dpkt.udp.UDP(header + payload)
    assert (read.sport, read.dport, read.ulen, bytes(read.data)) == (sport, dport, 8 + len(payload), payload)
    judge = dpkt.ip.IP(
        src=source, dst=destination, p=17, data=dpkt.udp.UDP(sport=sport, dport=dport, data=payload)
    )
    judge.data.ulen = 8 + len(payload)
    judge.len = 28 + len(payload)
    assert header == bytes(judge)[20:28]
    assert read.sum != 0


def test_udp_checksum_that_would_be_zero() -> None:
    source, destination = b"\x0a\0\2\2", b"\x0a\0\2\x0f"
    for odd in (b"", b"\0"):
        plain = int.from_bytes(udp.build(source, 1, destination, 2, b"\0\0" + odd)[6:], "big")
        header = udp.build(source, 1, destination, 2, plain.to_bytes(2, "big") + odd)
        assert header[6:8] == b"\xff\xff"  # 0 would say that there is none
        packet = ipv4.build(source, destination, 17, 10 + len(odd)) + header + plain.to_bytes(2, "big") + odd
        assert transport_ok(packet, 20, len(packet), 17)


def test_udp_largest() -> None:
    payload = bytes(udp.MAX_PAYLOAD)
    assert udp.MAX_PAYLOAD == 65507
    assert udp.build(bytes(4), 1, bytes(4), 2, payload)[4:6] == (65515).to_bytes(2, "big")


# ---------------------------------------------------------------------------------------------------------- TCP


@pytest.mark.rfc("9293", "MUST-3")
@given(
    ADDRESS, ADDRESS, st.binary(max_size=99), st.integers(0, 3), st.sampled_from([6, 17]), st.binary(max_size=5)
)
def test_transport_ok(
    source: bytes, destination: bytes, data: bytes, words: int, protocol: int, padding: bytes
) -> None:
    segment: Any
    if protocol == 6:
        segment = dpkt.tcp.TCP(sport=1, dport=2, data=data)
    else:
        segment = dpkt.udp.UDP(sport=1, dport=2, data=data, ulen=8 + len(data))
    packet = dpkt.ip.IP(src=source, dst=destination, p=protocol, data=segment, opts=b"\1" * 4 * words)
    packet.hl = 5 + words
    packet.len = packet.hl * 4 + len(bytes(segment))
    raw = bytes(packet)
    assert transport_ok(raw + padding, packet.hl * 4, len(raw), protocol)
    broken = bytearray(raw)
    broken[-1] ^= 4
    assert not transport_ok(broken, packet.hl * 4, len(raw), protocol)
    broken = bytearray(raw)
    broken[13] ^= 1  # in the pseudo-header
    assert not transport_ok(broken, packet.hl * 4, len(raw), protocol)


@given(st.sampled_from([4, 6]), st.data(), MAC, MAC, PORT, PORT, WORD, WORD, st.integers(0, 255), PORT, PORT)
def test_frame_layout(
    version: int, data: st.DataObject, to: bytes, by: bytes, sport: int, dport: int, seq: int, ack: int,
    flags: int, wnd: int, urg: int,
) -> None:  # fmt: skip
    """All headers in one piece, read and written as dpkt does it, in both IP families."""
    size = 4 if version == 4 else 16
    source, destination = (data.draw(st.binary(min_size=size, max_size=size)) for _ in range(2))
    segment = dpkt.tcp.TCP(sport=sport, dport=dport, seq=seq, ack=ack, flags=flags, win=wnd, urp=urg, sum=7)
    packet: Any
    fragment: int | bytes
    checksum: int | bytes
    if version == 4:
        layout = headers.LAYOUT
        packet = dpkt.ip.IP(src=source, dst=destination, p=6, ttl=9, df=1, data=segment, len=40, sum=8)
        total, fragment, word, checksum = 40, 0x4000, 9 << 8 | 6, 8
    else:
        layout = headers.LAYOUT6
        packet = dpkt.ip6.IP6(src=source, dst=destination, nxt=6, hlim=9, data=segment, plen=20)
        total, fragment, word, checksum = 20, b"", 6 << 8 | 9, b""
    raw = bytes(dpkt.ethernet.Ethernet(dst=to, src=by, type=layout.kind, data=packet))
    macs, kind, first, *rest = layout.segment.unpack(raw)
    key = source + destination + struct.pack("!HH", sport, dport)
    assert (macs, kind) == (to + by, layout.kind)
    assert first in layout.versions
    assert rest == [total, fragment, word, key, seq, ack, 0x50, flags, wnd]
    assert fragment in layout.whole
    assert layout.word(6, 9) == word
    front, middle = macs + layout.front, layout.middle(6, 9, 0x4000)
    rest = [key, seq, ack, 0x50, flags, wnd, 7, urg]
    assert layout.segment_out.pack(front, total, middle, checksum, *rest) == raw
    assert tcp.HEADER.unpack_from(raw, layout.transport_at)[:7] == (sport, dport, seq, ack, 0x50, flags, wnd)
    assert raw[layout.addresses_at : layout.transport_at] == source + destination
    identification = 0 if version == 4 else b""
    assert layout.datagram.unpack(raw[: layout.datagram.size])[2:9] == (
        first, total, identification, fragment, word, checksum, key
    )  # fmt: skip
    place = word if isinstance(fragment, bytes) else fragment << 16 | word
    assert layout.segment_in.unpack(raw) == (
        raw[:16], total, identification, place, checksum, key, seq, ack, 0x50 << 8 | flags, wnd
    )  # fmt: skip


def test_flag_names() -> None:
    assert tcp.flag_names(0x12) == "SYN,ACK"
    assert tcp.flag_names(0) == "none"
    assert tcp.flag_names(0xFF) == "FIN,SYN,RST,PSH,ACK,URG,ECE,CWR"


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "mss": PORT,
        "wscale": st.integers(0, 14),
        "sack_permitted": st.booleans(),
        "timestamps": st.tuples(WORD, WORD),
    },
)


@given(OPTIONS)
def test_options_written(given: dict[str, Any]) -> None:
    raw = tcp_options.build(**given)
    assert len(raw) % 4 == 0
    assert len(raw) <= 40
    found = dict(dpkt.tcp.parse_opts(raw))
    assert found.get(2) == (given["mss"].to_bytes(2, "big") if "mss" in given else None)
    assert found.get(3) == (bytes((given["wscale"],)) if "wscale" in given else None)
    assert (4 in found) == given.get("sack_permitted", False)
    assert found.get(8) == (struct.pack("!II", *given["timestamps"]) if "timestamps" in given else None)
    read = tcp_options.parse(raw)
    assert (read.mss, read.wscale, read.sack_permitted, read.timestamps, read.sack) == (
        given.get("mss"), given.get("wscale"), given.get("sack_permitted", False), given.get("timestamps"), (),
    )  # fmt: skip


@given(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=3), st.none() | st.tuples(WORD, WORD))
def test_sack_written(blocks: list[tuple[int, int]], timestamps: tuple[int, int] | None) -> None:
    raw = tcp_options.build(sack=blocks, timestamps=timestamps)
    assert len(raw) <= 40
    found = dict(dpkt.tcp.parse_opts(raw))
    assert found[5] == b"".join(struct.pack("!II", *block) for block in blocks)
    assert tcp_options.parse(raw).sack == tuple(blocks)
    if timestamps:
        assert raw[:4] == b"\1\1\x08\x0a"  # how the fast path expects it, and the whole world sends it


@given(st.binary(max_size=40))
@example(b"\2\4\5\xb4\3\3\x0f")
def test_options_never_raise_and_agree_with_dpkt(raw: bytes) -> None:
    read = tcp_options.parse(raw)
    judged = dpkt.tcp.parse_opts(raw)
    if None in judged:
        return  # dpkt found it malformed; the next test says what we make of that
    rebuilt = b"".join(bytes((k,)) + (bytes((2 + len(v),)) if k > 1 else b"") + v for k, v in judged)
    if rebuilt != raw[: len(rebuilt)]:
        return  # an option that is cut off, which dpkt takes for a shorter one
    sizes = {2: 2, 3: 1, 8: 8}
    found: dict[int, bytes] = {}
    for kind, value in judged:
        if kind == 0:
            break
        if len(value) == sizes.get(kind):
            found[kind] = value
    assert read.mss == (int.from_bytes(found[2], "big") if 2 in found else None)
    assert read.wscale == (min(found[3][0], 14) if 3 in found else None)
    assert read.timestamps == (struct.unpack("!II", found[8]) if 8 in found else None)


@pytest.mark.parametrize(
    "raw", [b"\2", b"\2\0\5\xb4", b"\2\1", b"\2\5\5\xb4", b"\3\3", b"\x08\x0a\0\0", b"\0\2\4\5\xb4"]
)
def test_impossible_options_end_the_list(raw: bytes) -> None:
    bad = raw[0] != 0  # behind the end nothing is read
    assert tcp_options.parse(raw) == tcp_options.TcpOptions(bad=bad)
    assert tcp_options.parse(b"\3\3\7" + raw) == tcp_options.TcpOptions(wscale=7, bad=bad)


# ------------------------------------------------------------------------------------------ ARP, ICMP, Ethernet


@given(st.integers(0, 65535), MAC, ADDRESS, MAC, ADDRESS, st.binary(max_size=18))
def test_arp(operation: int, sha: bytes, spa: bytes, tha: bytes, tpa: bytes, padding: bytes) -> None:
    raw = struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + sha + spa + tha + tpa
    packet = arp.ArpPacket(operation, sha, spa, tha, tpa)
    assert arp.build(packet) == raw
    assert arp.parse(memoryview(raw + padding)) == packet


@given(st.binary(max_size=40))
def test_arp_never_raises(raw: bytes) -> None:
    read = arp.parse(memoryview(raw))
    assert (read is not None) == (len(raw) >= 28 and raw[:6] == b"\0\1\x08\0\6\4")


@given(st.integers(0, 255), st.integers(0, 255), WORD, st.binary(max_size=60))
def test_icmp(kind: int, code: int, rest: int, payload: bytes) -> None:
    raw = icmp.build(kind, code, rest, payload)
    assert raw[:2] == bytes((kind, code))
    assert raw[4:] == rest.to_bytes(4, "big") + payload
    assert rfc1071(raw) in (0, 0xFFFF)
    if any(raw):
        assert rfc1071(raw) == 0
    assert int.from_bytes(raw[2:4], "big") == dpkt.in_cksum(raw[:2] + b"\0\0" + raw[4:]) % 0xFFFF


@given(MAC)
def test_ethernet(mac: bytes) -> None:
    assert ethernet.is_multicast(mac) == (mac[0] % 2 == 1)
    assert ethernet.virtual_mac(mac[:4]) == b"RU" + mac[:4]
    assert not ethernet.is_multicast(ethernet.virtual_mac(mac[:4]))
