"""Ladders: text that people and the messages of failed tests rely on, so it is compared as it is."""

from __future__ import annotations

import struct

import pytest

from slirpy.testing import ladder
from slirpy.wire import ipv4, tcp, udp
from slirpy.wire.tcp import ACK, FIN, PSH, RST, SYN

MS = 1_000_000
GUEST = (bytes((10, 0, 2, 15)), 49152)
WEB = (bytes((192, 0, 2, 7)), 80)
OPTIONS = b"\2\4\x05\xb4\4\2\x08\x0a" + bytes(8) + b"\1\3\3\7"
Place = tuple[bytes, int]
Timed = tuple[int, str, bytes]


def ip(time: float, source: Place, destination: Place, protocol: int, body: bytes, fragment: int = 0) -> Timed:
    packet = ipv4.build(source[0], destination[0], protocol, len(body), fragment=fragment) + body
    return int(time * MS), "", bytes(12) + b"\x08\x00" + packet


def segment(time: float, source: Place, destination: Place, seq: int, ack: int, flags: int, length: int = 0,
            options: bytes = b"", wnd: int = 1000) -> Timed:  # fmt: skip
    offset = (20 + len(options)) << 2
    header = tcp.HEADER.pack(
        source[1], destination[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, offset, flags, wnd, 0, 0
    )
    return ip(time, source, destination, ipv4.TCP, header + options + bytes(length))


A, B = -3, 5000  # the guest's numbers wrap around
CONVERSATION = [
    segment(1.0, GUEST, WEB, A, 0, SYN, options=OPTIONS),
    segment(3.5, WEB, GUEST, B, A + 1, SYN | ACK, options=b"\2\4\x05\xb4"),
    segment(3.6, GUEST, WEB, A + 1, B + 1, ACK),
    segment(4.0, GUEST, WEB, A + 1, B + 1, PSH | ACK, length=100),
    segment(6.0, WEB, GUEST, B + 1, A + 101, ACK, wnd=0),
    segment(7.0, WEB, GUEST, B + 1, A + 101, ACK, length=1448),
    segment(8.0, GUEST, WEB, A + 101, B + 1, ACK,
            options=b"\1\1\5\x0a" + struct.pack("!II", B + 1449, B + 2897)),
    segment(1009.0, WEB, GUEST, B + 1449, A + 101, FIN | ACK),
    segment(1009.5, GUEST, WEB, A + 101, 0, RST, wnd=0),
]  # fmt: skip

FULL = """\
       time  10.0.2.15:49152                                        192.0.2.7:80
   0.000 ms  │── SYN seq=0 mss=1460 wscale=7 sackOK TS ───────────────────────►│
   2.500 ms  │◄──────────────────────────────── SYN,ACK seq=0 ack=1 mss=1460 ──│
   2.600 ms  │── ACK seq=1 ack=1 ─────────────────────────────────────────────►│
   3.000 ms  │── PSH,ACK seq=1 ack=1 len=100 ─────────────────────────────────►│
   5.000 ms  │◄───────────────────────────────────── ACK seq=1 ack=101 win=0 ──│
   6.000 ms  │◄────────────────────────────────── ACK seq=1 ack=101 len=1448 ──│
   7.000 ms  │── ACK seq=101 ack=1 sack=1449-2897 ────────────────────────────►│
1008.000 ms  │◄──────────────────────────────────── FIN,ACK seq=1449 ack=101 ──│
1008.500 ms  │── RST seq=101 ─────────────────────────────────────────────────►│"""


def test_a_connection_in_full() -> None:
    assert ladder(CONVERSATION) == FULL


def test_every_line_has_the_width() -> None:
    for width in (60, 80, 120):
        assert {len(line) for line in ladder(CONVERSATION, width=width).splitlines()} == {width}


def test_too_narrow_is_as_narrow_as_possible_and_cuts_labels() -> None:
    lines = ladder(CONVERSATION, width=1).splitlines()
    assert {len(line) for line in lines} == {60}
    assert "── SYN seq=0 mss=1460 wscale=7 sackOK TS ───►" in lines[1]
    assert "── 10.0.2.15 > 192.0.2.7 49152 > 80 RST .. ─►" in ladder(CONVERSATION, "*", "*", width=1)


def test_ascii_only() -> None:
    text = ladder(CONVERSATION, ascii_only=True, limit=4)
    assert text.isascii()
    assert "|-- SYN seq=0" in text
    assert text.splitlines()[3].split() == [":", "5", "more", "packets", ":"]


def test_limit_leaves_out_the_middle() -> None:
    lines = ladder(CONVERSATION, limit=5).splitlines()
    full = FULL.splitlines()
    assert lines[:4] == full[:4]
    assert lines[4].split() == ["⋮", "4", "more", "packets", "⋮"]
    assert lines[5:] == full[8:]
    assert ladder(CONVERSATION, limit=len(CONVERSATION)) == FULL


def test_omitted_is_what_the_caller_left_out() -> None:
    text = ladder(CONVERSATION[:3] + CONVERSATION[-2:], omitted=(3, 4))
    assert text == ladder(CONVERSATION, limit=5)


def test_the_poles_can_be_swapped_and_need_no_ports() -> None:
    lines = ladder(CONVERSATION, "192.0.2.7", "10.0.2.15").splitlines()
    assert lines[0].split() == ["time", "192.0.2.7", "10.0.2.15"]
    assert "◄" in lines[1]
    assert "49152 > 80 SYN seq=0" in lines[1]
    assert ladder(CONVERSATION, right="10.0.2.15:49152").splitlines()[1].count("◄") == 1


def other_traffic() -> list[Timed]:
    dns = (bytes((10, 0, 2, 3)), 53)
    question = udp.build(GUEST[0], 5000, dns[0], 53, b"12345") + b"12345"
    return [
        ip(0, (GUEST[0], 0), dns, ipv4.UDP, question),
        ip(1, dns, (GUEST[0], 0), ipv4.ICMP, b"\3\3" + bytes(6) + bytes(28)),
        ip(2, (GUEST[0], 0), dns, ipv4.ICMP, b"\x08\0" + bytes(6) + b"abc"),
        ip(3, dns, (GUEST[0], 0), ipv4.UDP, bytes(80), fragment=185),
        ip(4, dns, (GUEST[0], 0), 47, bytes(9)),
    ]


def test_other_traffic_of_two_hosts() -> None:
    arp = (0, "", bytes(12) + b"\x08\x06" + bytes(28))
    lines = ladder([arp, *other_traffic(), *CONVERSATION], "10.0.2.15", "10.0.2.3").splitlines()
    assert len(lines) == 6
    labels = ["UDP 5000 > 53 len=5", "ICMP unreachable code 3 len=28", "ICMP echo request len=3",
              "fragment of protocol 17 at 1480 len=80", "protocol 47 len=9"]  # fmt: skip
    assert [label in line for label, line in zip(labels, lines[1:], strict=True)] == [True] * 5
    assert ladder(other_traffic()).splitlines()[1:] == lines[1:]


def test_everyone() -> None:
    lines = ladder([*other_traffic(), *CONVERSATION], "10.0.2.15", "*", width=100).splitlines()
    assert lines[0].endswith("everyone")
    assert len(lines) == 1 + 5 + len(CONVERSATION)
    assert "10.0.2.15 > 192.0.2.7 49152 > 80 SYN" in lines[6]


@pytest.mark.parametrize(
    "frame", [b"", bytes(14), bytes(12) + b"\x08\x00", bytes(12) + b"\x08\x00" + bytes(40)]
)
def test_nothing_to_draw(frame: bytes) -> None:
    assert ladder([(0, "", frame)]) == "no IPv4 packets"
    assert ladder(CONVERSATION, "10.9.9.9", "10.0.2.15") == "no packets between 10.9.9.9 and 10.0.2.15"


def test_a_new_connection_between_the_same_ports_counts_anew() -> None:
    again = [segment(2000, GUEST, WEB, 70000, 0, SYN), segment(2001, WEB, GUEST, 90000, 70001, SYN | ACK),
             segment(2002, GUEST, WEB, 70001, 90001, ACK)]  # fmt: skip
    lines = ladder([*CONVERSATION, *again]).splitlines()
    assert lines[1].split()[3:5] == ["SYN", "seq=0"]
    assert [" ".join(line.split()[3:-1]) for line in lines[-3::2]] == ["SYN seq=0", "ACK seq=1 ack=1"]
    assert "SYN,ACK seq=0 ack=1" in lines[-2]


def test_without_a_syn_the_first_number_is_zero() -> None:
    lines = ladder(CONVERSATION[3:6], "10.0.2.15:49152", "192.0.2.7:80").splitlines()
    assert "PSH,ACK seq=0 ack=1 len=100" in lines[1]
    assert "ACK seq=0 ack=100 win=0" in lines[2]


def test_numbers_before_the_first_are_negative() -> None:
    lines = ladder([*CONVERSATION[:4], segment(5, GUEST, WEB, A - 7, B + 1, ACK)]).splitlines()
    assert "ACK seq=-7 ack=1" in lines[5]
