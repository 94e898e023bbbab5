"""Work that a port leaves to another: checksums and segmentation of forwarded frames, judged by dpkt."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.core import offload
from slirpy.core.switchnet import SwitchNetwork
from slirpy.interfaces import Frame, LinkFeatures
from tests.support.harness import NoPoller, Wire, rfc1071, segments

A, B = bytes.fromhex("52540000000a"), bytes.fromhex("52540000000b")
NEAR4, FAR4 = bytes((10, 0, 2, 15)), bytes((10, 0, 2, 16))
NEAR6, FAR6 = bytes.fromhex("fe80" + "00" * 13 + "0a"), bytes.fromhex("fe80" + "00" * 13 + "0b")
FIN, SYN, RST, PSH, ACK, CWR = 1, 2, 4, 8, 16, 128
FULL = LinkFeatures(checksum_offload=True, segmentation_offload=True)


def pseudo(version: int, protocol: int, length: int) -> bytes:
    if version == 4:
        return NEAR4 + FAR4 + struct.pack("!HH", protocol, length)
    return NEAR6 + FAR6 + struct.pack("!II", length, protocol)


def finished(version: int, protocol: int, segment: bytes, partial: bool) -> bytes:
    """The segment with its checksum, or with the sum of the pseudo-header alone."""
    at = 16 if protocol == 6 else 6
    head = pseudo(version, protocol, len(segment))
    value = rfc1071(head) ^ 0xFFFF if partial else rfc1071(head + segment) or 0xFFFF
    return segment[:at] + value.to_bytes(2, "big") + segment[at + 2 :]


def tcp(
    payload: bytes,
    *,
    version: int = 4,
    flags: int = ACK,
    options: bytes = b"",
    partial: bool = True,
    ip_options: bytes = b"",
    vlan: bool = False,
    seq: int = 0xFFFFF000,
    ident: int = 0xFFFE,
) -> bytes:
    header = (
        struct.pack("!HHIIBBHHH", 1000, 2000, seq, 7, (20 + len(options)) << 2, flags, 8000, 0, 0) + options
    )
    segment = finished(version, 6, header + payload, partial)
    return ethernet(version, 6, segment, ip_options=ip_options, vlan=vlan, ident=ident)


def udp(payload: bytes, *, version: int = 4, partial: bool = True, nosum: bool = False) -> bytes:
    segment = struct.pack("!HHHH", 1000, 2000, 8 + len(payload), 0) + payload
    return ethernet(version, 17, segment if nosum else finished(version, 17, segment, partial))


def ethernet(
    version: int,
    protocol: int,
    segment: bytes,
    *,
    ip_options: bytes = b"",
    vlan: bool = False,
    ident: int = 1,
    fragment: int = 0x4000,
) -> bytes:
    if version == 4:
        total = 20 + len(ip_options) + len(segment)
        header = struct.pack(
            "!BBHHHBBH", 0x45 + len(ip_options) // 4, 2, total, ident, fragment, 64, protocol, 0
        )
        header += NEAR4 + FAR4 + ip_options
        header = header[:10] + rfc1071(header).to_bytes(2, "big") + header[12:]
        kind = b"\x08\x00"
    else:
        length = len(ip_options) + len(segment)
        header = struct.pack("!IHBB", 6 << 28, length, 60 if ip_options else protocol, 64) + NEAR6 + FAR6
        header += ip_options
        kind = b"\x86\xdd"
    return B + A + (b"\x81\0\0\x07" if vlan else b"") + kind + header + segment


class PartsWire(Wire):
    """A link that keeps the parts of each frame apart."""

    def send(self, frames: Sequence[Frame]) -> int:
        self.sent += [frame._replace(parts=tuple(map(bytes, frame.parts))) for frame in frames]
        return len(frames)


def through(
    data: bytes, out: LinkFeatures, *, mtu: int = 1500, checksummed: bool = True, gso_size: int = 0
) -> tuple[list[Frame], SwitchNetwork]:
    """Return the frames that leave a port with some features when ``data`` comes in by another."""
    net = SwitchNetwork(mtu=mtu)
    wires = [PartsWire(FULL), PartsWire(out)]
    for wire in wires:
        net.attach(wire, NoPoller())
    buffer = bytearray(data)
    assert wires[0].sink is not None
    wires[0].sink.input(buffer, checksummed, gso_size)
    net.flush(0)
    assert bytes(buffer) == data  # the stack and other ports have it as it came
    assert wires[0].sent == []
    return wires[1].sent, net


def flooded(data: bytes, outs: Sequence[LinkFeatures], **more: Any) -> list[list[Frame]]:
    """Return the frames that leave each of several ports when ``data`` comes in by another."""
    net = SwitchNetwork()
    wires = [PartsWire(features) for features in (FULL, *outs)]
    for wire in wires:
        net.attach(wire, NoPoller())
    assert wires[0].sink is not None
    wires[0].sink.input(bytearray(data), **more)
    net.flush(0)
    return [wire.sent for wire in wires[1:]]


def whole(frames: list[Frame]) -> list[bytes]:
    assert all(not frame.csum_start and not frame.gso_size for frame in frames)
    return [b"".join(frame.parts) for frame in frames]


def judge(data: bytes, mtu: int = 65535) -> Any:
    """A frame as dpkt reads it, its checksums verified; the transport layer."""
    packet = dpkt.ethernet.Ethernet(data).data
    if isinstance(packet, dpkt.ip.IP):
        assert rfc1071(bytes(packet)[: packet.hl * 4]) == 0
        assert packet.len <= mtu
        assert len(data) == max(len(data) - len(bytes(packet)) + packet.len, 60)
        version, protocol = 4, packet.p
    else:
        assert isinstance(packet, dpkt.ip6.IP6)
        assert packet.plen + 40 <= mtu
        version, protocol = 6, 6 if isinstance(packet.data, dpkt.tcp.TCP) else 17
    transport = packet.data
    raw = bytes(transport)
    assert rfc1071(pseudo(version, protocol, len(raw)) + raw) == 0
    return transport


KINDS = [
    pytest.param({"version": 4}, id="IPv4"),
    pytest.param({"version": 6}, id="IPv6"),
    pytest.param({"version": 4, "vlan": True}, id="VLAN"),
    pytest.param({"version": 4, "ip_options": b"\x01\x01\x01\x01"}, id="IP options"),
    pytest.param({"version": 6, "ip_options": b"\x06\x00\x01\x04\0\0\0\0"}, id="extension header"),
    pytest.param({"version": 4, "options": b"\x01\x01\x08\x0a12345678"}, id="TCP options"),
]


@pytest.mark.parametrize("more", KINDS)
@pytest.mark.parametrize("length", [0, 1, 999, 1000])
def test_a_partial_checksum_is_completed(more: dict[str, Any], length: int) -> None:
    payload = Random(length).randbytes(length)
    frames, net = through(tcp(payload, flags=PSH | FIN | ACK, **more), LinkFeatures())
    (data,) = whole(frames)
    assert judge(data).data == payload
    assert judge(data).flags == PSH | FIN | ACK
    assert net.stats.dropped() == 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("length", [0, 1, 1000])
def test_udp(version: int, length: int) -> None:
    payload = Random(length).randbytes(length)
    for partial in (True, False):  # a port that vouches for the checksum may also have left it in place
        (data,) = whole(through(udp(payload, version=version, partial=partial), LinkFeatures())[0])
        assert judge(data).data == payload
    (frame,), _ = through(udp(payload, version=version), FULL)
    assert (frame.csum_start, frame.csum_offset) == (34 if version == 4 else 54, 6)


@pytest.mark.parametrize("features", [FULL, LinkFeatures()])
@pytest.mark.parametrize(("version", "size"), [(4, 1472), (6, 1452)])
def test_udp_as_large_as_the_mtu(version: int, size: int, features: LinkFeatures) -> None:
    frames, net = through(udp(bytes(size), version=version), features)
    assert [sum(map(len, frame.parts)) for frame in frames] == [1514]
    assert net.stats.dropped() == 0
    frames, net = through(udp(bytes(size + 1), version=version), features)
    assert frames == []
    assert net.stats.drop_switch_too_long == 1


def test_udp_without_a_checksum_has_none_later() -> None:
    data = udp(b"x" * 40, nosum=True)
    for features in (FULL, LinkFeatures()):
        assert whole(through(data, features)[0]) == [data]


def test_a_udp_checksum_of_zero_is_written_as_its_other_form() -> None:
    for number in range(1 << 16):
        payload = number.to_bytes(2, "big") + bytes(40)
        segment = struct.pack("!HHHH", 1000, 2000, 50, 0) + payload
        if rfc1071(pseudo(4, 17, 50) + segment) == 0:
            break
    (data,) = whole(through(udp(payload), LinkFeatures())[0])
    assert data[40:42] == b"\xff\xff"


@pytest.mark.parametrize("more", KINDS)
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("length", [1461, 20_001, 65_400])
def test_a_large_segment_is_cut(more: dict[str, Any], partial: bool, length: int) -> None:
    payload = Random(length).randbytes(length)
    data = tcp(payload, flags=PSH | FIN | CWR | ACK, partial=partial, **more)
    frames, net = through(data, LinkFeatures(), checksummed=partial)
    parts = [judge(frame, 1500) for frame in whole(frames)]
    assert b"".join(part.data for part in parts) == payload
    assert len({len(part.data) for part in parts[:-1]}) <= 1
    seq = 0xFFFFF000
    for part in parts:
        assert part.seq == seq
        seq = (seq + len(part.data)) & 0xFFFFFFFF
        assert (part.ack, part.win, part.opts) == (7, 8000, more.get("options", b""))
    assert [part.flags & (PSH | FIN) for part in parts] == [0] * (len(parts) - 1) + [PSH | FIN]
    assert [bool(part.flags & CWR) for part in parts] == [True] + [False] * (len(parts) - 1)
    assert all(part.flags & ACK for part in parts)
    if more["version"] == 4:
        at = 22 if more.get("vlan") else 18
        idents = [int.from_bytes(frame[at : at + 2], "big") for frame in whole(frames)]
        assert idents == [(0xFFFE + number) & 0xFFFF for number in range(len(parts))]
    assert net.stats.dropped() == 0


@pytest.mark.parametrize("options", [b"", b"\x01\x01\x08\x0a12345678"])
@pytest.mark.parametrize("partial", [True, False])
def test_a_segmenting_port_gets_the_offload_fields(options: bytes, partial: bool) -> None:
    payload = Random(1).randbytes(30_000)
    data = tcp(payload, options=options, partial=partial, flags=ACK | PSH, ident=0)
    (frame,), _ = through(data, FULL, checksummed=partial)
    assert frame.gso_size == 1500 - 40 - len(options)
    assert len(frame.parts[0]) == 54 + len(options)
    pieces = segments(frame._replace(parts=(b"".join(frame.parts),)))  # as a link would; checks the fields
    assert b"".join(judge(piece, 1500).data for piece in pieces) == payload


@pytest.mark.parametrize("more", KINDS)
@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("mtu", [1500, 9000, 65521])
def test_a_large_segment_is_cut_as_its_sender_would(more: dict[str, Any], partial: bool, mtu: int) -> None:
    """To the connection's segment size, however large the packets are that the port takes."""
    payload = Random(1).randbytes(20_001)
    data = tcp(payload, partial=partial, ident=0, **more)
    frames, net = through(data, LinkFeatures(), mtu=mtu, checksummed=partial, gso_size=1000)
    parts = [judge(frame, mtu) for frame in whole(frames)]
    assert [len(part.data) for part in parts] == [1000] * 20 + [1]
    assert b"".join(part.data for part in parts) == payload
    assert net.stats.dropped() == 0


@pytest.mark.parametrize(("gso_size", "mtu", "cut"), [(1400, 1500, 1400), (1448, 1280, 1240), (1, 1500, 128)])
def test_the_smaller_of_segment_size_and_mtu_counts(gso_size: int, mtu: int, cut: int) -> None:
    """And who asks for one-byte segments gets larger ones: a frame must not become tens of thousands."""
    frames, _ = through(tcp(bytes(20_000)), LinkFeatures(), mtu=mtu, gso_size=gso_size)
    assert {len(judge(data, mtu).data) for data in whole(frames)[:-1]} == {cut}


@pytest.mark.parametrize(("gso_size", "cut"), [(1, 128), (127, 128), (128, 128), (129, 129)])
@pytest.mark.parametrize("more", KINDS)
def test_no_segment_size_makes_tens_of_thousands_of_frames(
    more: dict[str, Any], gso_size: int, cut: int
) -> None:
    """The bound holds in both families, and for ports that cut as for those that are sent segments."""
    payload = Random(1).randbytes(20_000)
    frames, _ = through(tcp(payload, **more), LinkFeatures(), gso_size=gso_size)
    parts = [judge(data, 1500).data for data in whole(frames)]
    assert b"".join(parts) == payload
    assert {len(part) for part in parts[:-1]} == {cut}
    frames, _ = through(tcp(payload, **more), FULL, gso_size=gso_size)
    if more.get("vlan"):
        assert len(whole(frames)) == len(parts)  # frames with a tag are always cut here
    else:
        assert [frame.gso_size for frame in frames] == [cut]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mtu", [1500, 65521])
def test_a_segmenting_port_gets_the_given_segment_size(version: int, mtu: int) -> None:
    payload = Random(1).randbytes(30_000)
    (frame,), _ = through(tcp(payload, version=version), FULL, mtu=mtu, gso_size=1300)
    header = 54 if version == 4 else 74
    assert (frame.gso_size, frame.csum_start, frame.csum_offset) == (1300, header - 20, 16)
    assert [len(part) for part in frame.parts] == [header, 30_000]
    assert frame.parts[1] == payload
    field = int.from_bytes(bytes(frame.parts[0])[header - 4 : header - 2], "big")
    assert (field - (rfc1071(pseudo(version, 6, 30_020)) ^ 0xFFFF)) % 65535 == 0


def test_a_port_that_cuts_does_not_learn_of_cwr() -> None:
    frames, _ = through(tcp(bytes(5000), flags=CWR | ACK), FULL, gso_size=1000)
    assert [judge(data, 1500).flags & CWR for data in whole(frames)] == [CWR, 0, 0, 0, 0]


@pytest.mark.parametrize("data", [tcp(bytes(1000)), tcp(bytes(1400), flags=SYN), udp(bytes(1400))])
def test_a_segment_size_is_ignored_for_other_frames(data: bytes) -> None:
    frames, _ = through(data, LinkFeatures(), gso_size=1000)
    assert len(whole(frames)) == 1
    judge(whole(frames)[0], 1500)


def test_a_port_with_checksum_offload_alone_gets_segments() -> None:
    frames, _ = through(tcp(bytes(5000)), LinkFeatures(checksum_offload=True))
    assert len([judge(data, 1500) for data in whole(frames)]) == 4


def test_frames_that_fit_and_are_complete_are_not_touched() -> None:
    for data in (tcp(b"x" * 1460, partial=False), udp(b"y" * 1472, partial=False)):
        for features in (FULL, LinkFeatures()):
            frames, _ = through(data, features, checksummed=False)
            assert whole(frames) == [data]


@pytest.mark.parametrize(
    "data",
    [
        udp(bytes(1473), partial=False),
        tcp(bytes(1461), flags=SYN, partial=False),
        tcp(bytes(1461), flags=RST | ACK, partial=False),
        B + A + b"\x88\xb5" + bytes(1501),
        ethernet(4, 6, bytes(1481), fragment=0x2000),
        ethernet(4, 1, bytes(1481)),
    ],
    ids=["UDP", "SYN", "RST", "unknown", "fragment", "ICMP"],
)
def test_long_frames_that_cannot_be_segmented_are_dropped(data: bytes) -> None:
    for features in (FULL, LinkFeatures()):
        frames, net = through(data, features, checksummed=False)
        assert frames == []
        assert net.stats.nonzero() == {
            "frames_in": 1,
            "bytes_in": len(data),
            "switch_flooded": 1,
            "drop_switch_too_long": 1,
        }


def test_a_vlan_tag_does_not_make_a_frame_too_long() -> None:
    data = tcp(bytes(1460), vlan=True, partial=False)
    assert whole(through(data, LinkFeatures(), checksummed=False)[0]) == [data]


def test_cutting_does_not_hide_a_wrong_checksum() -> None:
    data = bytearray(tcp(bytes(5000), partial=False))
    data[-1] ^= 1
    frames, net = through(bytes(data), FULL, checksummed=False)
    assert frames == []
    assert net.stats.drop_tcp_checksum == 1


def test_an_mtu_smaller_than_the_headers() -> None:
    frames, net = through(tcp(bytes(200), options=b"\x01" * 40), LinkFeatures(mtu=68))
    assert frames == []
    assert net.stats.drop_switch_too_long == 1


@given(st.binary(max_size=120), st.sampled_from([b"\x08\0", b"\x86\xdd", b"\x81\0\0\1\x08\0"]))
def test_no_frame_raises(data: bytes, kind: bytes) -> None:
    frame = B + A + kind + data
    for features in (FULL, LinkFeatures(mtu=68), LinkFeatures()):
        for checksummed in (True, False):
            through(frame, features, checksummed=checksummed)


@given(st.data())
def test_no_damaged_segment_raises(data: st.DataObject) -> None:
    version = data.draw(st.sampled_from([4, 6]))
    frame = bytearray(tcp(bytes(300), version=version, ip_options=b"\x06\x00\x01\x04\0\0\0\0"))
    for at, value in data.draw(st.lists(st.tuples(st.integers(12, 99), st.integers(0, 255)), max_size=4)):
        frame[at] = value
    cut = data.draw(st.integers(14, len(frame)))
    for features in (FULL, LinkFeatures(mtu=200), LinkFeatures(mtu=68)):
        frames, net = through(bytes(frame[:cut]), features)
        assert frames or net.stats.dropped()


def test_a_truncated_segment_has_no_layout() -> None:
    good = tcp(b"hello")
    assert offload.layout(memoryview(good)) is not None
    for length in range(len(good)):
        assert offload.layout(memoryview(good[: max(length, 14)])) is None


@pytest.mark.parametrize(("mtu", "sent"), [(80, 0), (81, 1), (79, 0)])
def test_a_link_without_room_for_any_data(mtu: int, sent: int) -> None:
    """A segment whose headers fill the MTU cannot be cut; with room for one byte it can."""
    data = tcp(bytes(100), options=b"\1" * 40)
    frames, net = through(data, LinkFeatures(mtu=mtu))
    assert bool(frames) == bool(sent)
    assert net.stats.drop_switch_too_long == (not sent)


@pytest.mark.parametrize("length", range(17))
def test_an_extension_header_that_is_cut_off(length: int) -> None:
    """Reading ends where the packet does."""
    whole_one = struct.pack("!BBBB", 60, 0, 1, 4) + bytes(4) + struct.pack("!BBBB", 17, 0, 1, 4) + bytes(4)
    header = struct.pack("!IHBB", 0x60000000, length, 0, 64) + NEAR6 + FAR6
    frame = B + A + b"\x86\xdd" + header + whole_one[:length]
    assert offload.layout(memoryview(frame)) is None


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (tcp(bytes(100), partial=False), {}),
        (tcp(bytes(100)), {"checksummed": True}),
        (tcp(bytes(3000), partial=False), {}),
        (tcp(bytes(3000)), {"checksummed": True, "gso_size": 1000}),
        (tcp(bytes(3000), vlan=True), {"checksummed": True}),
        (udp(bytes(100)), {"checksummed": True}),
        (udp(bytes(3000)), {"checksummed": True}),
        (udp(bytes(3000), partial=False), {}),
        (B + A + b"\x88\xb5" + bytes(3000), {"checksummed": True}),
    ],
    ids=[
        "TCP", "TCP, partial", "large TCP", "large TCP, given size", "large TCP, VLAN", "UDP, partial",
        "long UDP, partial", "long UDP", "unknown",
    ],
)  # fmt: skip
def test_each_port_gets_what_it_would_get_alone(data: bytes, more: dict[str, Any]) -> None:
    """A flood goes on after a port that takes the frame as it is, one that cuts it, and one that cannot have it."""
    ports = [FULL, LinkFeatures(), replace(FULL, mtu=9000), LinkFeatures(mtu=9000), LinkFeatures(mtu=68)]
    alone = {features: flooded(data, [features], **more)[0] for features in ports}
    assert any(alone.values())
    for outs in permutations(ports, 3):
        assert flooded(data, outs, **more) == [alone[features] for features in outs]
