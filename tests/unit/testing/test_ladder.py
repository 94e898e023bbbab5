"""Ladders: text that people and the messages of failed tests rely on, so it is compared as it is."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address

import pytest

from slirpy.errors import ConfigError
from slirpy.testing import Captured, Echo, UnmetError, VirtualNetwork, ladder
from slirpy.wire import ipv4, ipv6, tcp, udp
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


def test_as_narrow_as_possible_cuts_labels() -> None:
    with pytest.raises(ConfigError, match="width 59: must be 60 or more"):
        ladder(CONVERSATION, width=59)
    lines = ladder(CONVERSATION, width=60).splitlines()
    assert {len(line) for line in lines} == {60}
    assert "── SYN seq=0 mss=1460 wscale=7 sackOK TS ───►" in lines[1]
    assert "── 10.0.2.15 > 192.0.2.7 49152 > 80 RST .. ─►" in ladder(CONVERSATION, "*", "*", width=60)


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


def test_omitted_counts_packets_that_the_caller_left_out() -> None:
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
    assert ladder([(0, "", frame)]) == "no IP packets"
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


# ------------------------------------------------------------------------ one connection after another


def labels(frames: list[Timed], *, skip: int = len(CONVERSATION)) -> list[str]:
    """Text of the lines after the first ones, without arrows."""
    return [
        line.split("ms", 1)[1].strip(" │─►◄✗┄") for line in ladder(frames, width=100).splitlines()[1 + skip :]
    ]


def test_a_second_connection_that_is_refused() -> None:
    """The RST's numbers are the new connection's, not those of the old one's end."""
    again = [segment(2000, GUEST, WEB, 70000, 0, SYN), segment(2001, WEB, GUEST, 0, 70001, RST | ACK, wnd=0)]
    assert labels([*CONVERSATION, *again]) == ["SYN seq=0", "RST,ACK seq=0 ack=1"]


def test_late_segments_of_the_first_connection() -> None:
    again = [
        segment(2000, GUEST, WEB, 250_000, 0, SYN),
        segment(2001, WEB, GUEST, B + 1449, A + 101, FIN | ACK),  # sent again
        segment(2002, GUEST, WEB, A + 101, 0, RST, wnd=0),
        segment(2003, WEB, GUEST, B + 100_000, 250_001, SYN | ACK),
        segment(2004, GUEST, WEB, 250_001, B + 100_001, PSH | ACK, length=10),
        segment(2005, WEB, GUEST, B + 1, A + 101, ACK, length=1448),
        segment(2006, WEB, GUEST, B + 100_001, 250_011, ACK, length=5000),
        segment(2007, GUEST, WEB, 250_011, B + 105_001, ACK),
    ]
    assert labels([*CONVERSATION, *again]) == [
        "SYN seq=0",
        "FIN,ACK seq=1449 ack=101 again earlier",
        "RST seq=101 earlier",
        "SYN,ACK seq=0 ack=1",
        "PSH,ACK seq=1 ack=1 len=10",
        "ACK seq=1 ack=101 len=1448 again earlier",
        "ACK seq=1 ack=11 len=5000",
        "ACK seq=11 ack=5001",
    ]


@pytest.mark.parametrize("iss", [7, 70_000, 0x80000000, 0xFFFFFFF0])
def test_the_same_ports_the_other_way_round(iss: int) -> None:
    again = [
        segment(2000, WEB, GUEST, iss, 0, SYN),
        segment(2001, GUEST, WEB, iss + 9, iss + 1, SYN | ACK),
        segment(2002, WEB, GUEST, iss + 1, iss + 10, ACK, length=3),
        segment(2003, GUEST, WEB, iss + 10, iss + 4, ACK),
    ]
    assert labels([*CONVERSATION, *again]) == [
        "SYN seq=0", "SYN,ACK seq=0 ack=1", "ACK seq=1 ack=1 len=3", "ACK seq=1 ack=4",
    ]  # fmt: skip


def test_many_connections() -> None:
    frames = list(CONVERSATION)
    for number in range(1, 5):
        iss = 100_000 * number
        frames += [segment(2000 * number, GUEST, WEB, iss, 0, SYN),
                   segment(2000 * number + 1, WEB, GUEST, iss + 50_000, iss + 1, SYN | ACK),
                   segment(2000 * number + 2, GUEST, WEB, iss + 1, iss + 50_001, PSH | ACK, length=7)]  # fmt: skip
    assert labels(frames) == ["SYN seq=0", "SYN,ACK seq=0 ack=1", "PSH,ACK seq=1 ack=1 len=7"] * 4


def test_a_challenge_to_a_syn_is_the_old_connection_s() -> None:
    """RFC 9293, figure 9: one end has forgotten the connection, the other has not."""
    again = [
        segment(2000, GUEST, WEB, 70_000, 0, SYN),
        segment(2001, WEB, GUEST, B + 1449, A + 101, ACK),
        segment(2002, GUEST, WEB, A + 101, 0, RST, wnd=0),
        segment(2003, GUEST, WEB, 70_000, 0, SYN),
        segment(2004, WEB, GUEST, 90_000, 70_001, SYN | ACK),
    ]
    assert labels([*CONVERSATION, *again]) == [
        "SYN seq=0",
        "ACK seq=1449 ack=101 earlier",
        "RST seq=101 earlier",
        "SYN seq=0 again",
        "SYN,ACK seq=0 ack=1",
    ]


def test_both_ends_open_at_once() -> None:
    frames = [
        segment(0, GUEST, WEB, 100, 0, SYN),
        segment(1, WEB, GUEST, 900, 0, SYN),
        segment(2, GUEST, WEB, 100, 901, SYN | ACK),
        segment(2, WEB, GUEST, 900, 101, SYN | ACK),
        segment(3, GUEST, WEB, 101, 901, ACK),
    ]
    assert labels(frames, skip=0) == [
        "SYN seq=0", "SYN seq=0", "SYN,ACK seq=0 ack=1 again", "SYN,ACK seq=0 ack=1 again", "ACK seq=1 ack=1",
    ]  # fmt: skip


def test_retransmissions_are_marked() -> None:
    more = [
        segment(1, GUEST, WEB, A, 0, SYN),
        segment(2, GUEST, WEB, A, 0, SYN),
        segment(3, WEB, GUEST, B, A + 1, SYN | ACK),
        segment(4, GUEST, WEB, A + 1, B + 1, ACK, length=100),
        segment(5, GUEST, WEB, A + 101, B + 1, ACK, length=100),
        segment(6, GUEST, WEB, A + 1, B + 1, ACK, length=100),
        segment(7, GUEST, WEB, A + 51, B + 1, ACK, length=200),  # with something new
        segment(8, GUEST, WEB, A, B + 1, ACK),  # a keep-alive
        segment(9, GUEST, WEB, A + 251, B + 1, FIN | ACK),
        segment(9, GUEST, WEB, A + 251, B + 1, FIN | ACK),
    ]
    said = [label.endswith(" again") for label in labels(more, skip=0)]
    assert said == [False, True, False, False, False, True, False, False, False, True]


# ------------------------------------------------------------------------ what became of the frames

FATES = """\
     time  10.0.2.15:49152                                          192.0.2.7:80
 0.000 ms  │── SYN seq=0 ─────────────────────────────✗ lost                   │
 2.000 ms  │── SYN seq=0 again ───────────────────────────────────────────────►│
 3.000 ms  │         +2.500 ms ┄──────────────────────── SYN,ACK seq=0 ack=1 ──│
 4.000 ms  │           lost ✗───────────────────── SYN,ACK seq=0 ack=1 again ──│
 5.500 ms  │◄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ SYN,ACK seq=0 ack=1, sent at 3.000 ms ┄┄│
 6.000 ms  │── ACK seq=1 ack=1 ───────────────────────────────────────────────►│
 6.000 ms  │┄┄ ACK seq=1 ack=1, copy of 6.000 ms ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄►│
 7.000 ms  │── PSH,ACK seq=1 ack=1 len=9 ─────────────────────┄ +1.000 ms      │
 8.000 ms  │┄┄ PSH,ACK seq=1 ack=1 len=9, sent at 7.000 ms ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄►│
11.000 ms  │┄┄ PSH,ACK seq=1 ack=1 len=9, copy of 7.000 ms ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄►│"""


def with_fates() -> list[Captured]:
    frames = [
        (segment(0, GUEST, WEB, A, 0, SYN), ()),
        (segment(2, GUEST, WEB, A, 0, SYN), (0,)),
        (segment(3, WEB, GUEST, B, A + 1, SYN | ACK), (2.5,)),
        (segment(4, WEB, GUEST, B, A + 1, SYN | ACK), ()),
        (segment(6, GUEST, WEB, A + 1, B + 1, ACK), (0, 0)),
        (segment(7, GUEST, WEB, A + 1, B + 1, PSH | ACK, length=9), (1, 4)),
    ]
    out = []
    for (time, direction, frame), delays in frames:
        captured = Captured(time, direction, frame)
        captured.delays = tuple(int(delay * MS) for delay in delays)
        out.append(captured)
    return out


def test_lost_delayed_and_doubled_frames() -> None:
    assert ladder(with_fates()) == FATES
    assert {len(line) for line in ladder(with_fates(), width=60).splitlines()} == {60}
    assert ladder([tuple(frame) for frame in with_fates()]).count("►") == 4  # type: ignore[misc] # tuples without the attribute
    plain = ladder(with_fates(), ascii_only=True)
    assert plain.isascii()
    assert "|-- SYN seq=0 ---" in plain
    assert "x lost " in plain
    assert "<....." in plain


def test_a_label_that_leaves_no_room() -> None:
    long = segment(0, GUEST, WEB, A, 0, SYN, options=OPTIONS)
    for delays, note in (((), " ─✗ lost│"), ((10**10,), ".. ─┄ +10000.000 ms│")):
        captured = Captured(*long)
        captured.delays = delays
        lines = ladder([captured], width=60).splitlines()
        assert {len(line) for line in lines} == {60}
        assert lines[1].endswith(note)


def test_the_last_lines_only() -> None:
    assert ladder(CONVERSATION, last=3).splitlines()[1:] == FULL.splitlines()[-3:]
    assert ladder(CONVERSATION, last=0).splitlines() == FULL.splitlines()[:1]


def test_a_tuple_as_ever() -> None:
    captured = Captured(1, "in", b"frame")
    time, direction, frame = captured
    assert (time, direction, frame) == captured == (1, "in", b"frame")
    assert (captured.time, captured.direction, captured.frame) == (1, "in", b"frame")
    assert (captured.delays, captured.lost) == ((0,), False)
    assert repr(captured) == "Captured(time=1, direction='in', frame=b'frame')"
    captured.delays = ()
    assert captured.lost
    assert repr(captured) == "Captured(time=1, direction='in', frame=b'frame', delays=())"
    captured.delays, captured.corrupted = (0,), True
    assert repr(captured) == "Captured(time=1, direction='in', frame=b'frame', corrupted)"


def network() -> VirtualNetwork:
    net = VirtualNetwork(seed=4)
    net.host.serve_tcp(WEB[0], 80, Echo)
    net.boot()
    return net


def test_faults_of_the_network_are_drawn() -> None:
    net = network()
    fates: list[object] = [None, 30 * MS, (0, 5 * MS), []]
    begin = len(net.transcript)
    net.fault = lambda direction, frame: fates.pop(0) if fates and direction == "in" and frame[23] == 6 else 0  # type: ignore[assignment, return-value] # a fate of any kind
    stream = net.guest.connect("192.0.2.7", 80)
    net.run_until(lambda: stream.established)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    sent = [each for each in net.transcript[begin:] if each.direction == "in" and each.frame[23] == 6]
    assert [each.delays for each in sent[:5]] == [(), (30 * MS,), (0, 5 * MS), (), (0,)]
    assert [each.lost for each in sent[:5]] == [True, False, False, True, False]
    drawn = ladder(net.transcript[begin:])
    assert drawn.count("✗ lost") == 2
    assert drawn.count("+30.000 ms") == 1
    assert drawn.count("copy of") == 1


@pytest.mark.parametrize("fate", [0.5, "1", (1.5,), -1])
def test_a_fate_that_cannot_be(fate: object) -> None:
    net = network()
    net.fault = lambda direction, frame: fate  # type: ignore[assignment, return-value] # a fate of any kind
    with pytest.raises(ConfigError, match="nanoseconds"):
        net.guest.connect("192.0.2.7", 80)


@pytest.mark.parametrize("lose", ["in", "out", ""])
def test_a_frame_between_two_guests_is_one(lose: str) -> None:
    net = network()
    other = net.add_guest()
    net.boot(other)
    begin = len(net.transcript)
    fates: dict[str, int | None] = {lose: None}
    net.fault = lambda direction, frame: fates.pop(direction, 0) if b"hello" in frame else 0
    other.listen(9000)
    stream = net.guest.connect(str(other.address), 9000)
    net.run_until(lambda: stream.established)
    stream.write(b"hello")
    net.run_until(lambda: not stream.unsent)
    drawn = ladder(net.transcript[begin:]).splitlines()[1:]
    assert len([line for line in drawn if "SYN seq=0" in line]) == 1
    said = [line for line in drawn if "len=5" in line]
    assert ["✗ lost" in line for line in said] == ([True, False] if lose else [False])
    assert ["again" in line for line in said] == ([False, True] if lose else [False])


def test_the_message_of_a_failed_test_counts_from_the_beginning() -> None:
    net = network()
    stream = net.guest.connect("192.0.2.7", 80)
    net.run_until(lambda: stream.established)
    for _ in range(30):
        stream.write(bytes(1000))
        net.run(50 * MS)
    net.fault = lambda direction, frame: None
    stream.write(b"lost")
    with pytest.raises(UnmetError) as caught:
        net.run_until(lambda: False, 300 * MS)
    text = str(caught.value)
    assert "seq=30001 ack=30001 len=4" in text
    assert "✗ lost" in text
    assert "the last 24 frames:" in text


# ------------------------------------------------------------------------------------------------ IPv6

GUEST6 = (IPv6Address("fec0::15").packed, 49152)
WEB6 = (IPv6Address("2001:db8::7").packed, 80)
ROUTER, DNS6 = IPv6Address("fe80::2").packed, IPv6Address("fec0::3").packed


def ip6(
    time: float, source: Place, destination: Place, protocol: int, body: bytes, direction: str = ""
) -> Timed:
    packet = ipv6.build(source[0], destination[0], protocol, len(body)) + body
    return int(time * MS), direction, bytes(12) + b"\x86\xdd" + packet


def segment6(time: float, source: Place, destination: Place, seq: int, ack: int, flags: int) -> Timed:
    header = tcp.HEADER.pack(source[1], destination[1], seq, ack, 5 << 4, flags, 1000, 0, 0)
    return ip6(time, source, destination, ipv4.TCP, header)


DISCOVERY = [
    ip6(0, GUEST6, (IPv6Address("ff02::2").packed, 0), ipv6.ICMPV6, b"\x85\0\0\0" + bytes(4), "in"),
    ip6(1, (ROUTER, 0), GUEST6, ipv6.ICMPV6, b"\x87\0\0\0" + bytes(4) + GUEST6[0], "out"),
]
QUESTION = ip6(2, GUEST6, (DNS6, 0), ipv4.UDP, udp.build(GUEST6[0], 5000, DNS6, 53, b"12345") + b"12345", "in")
OTHER6 = [
    QUESTION,
    ip6(3, (DNS6, 0), GUEST6, ipv6.ICMPV6, b"\1\4\0\0" + bytes(4) + QUESTION[2][14:], "out"),
    ip6(4, GUEST6, (DNS6, 0), 44, b"\x11\0\0\x08" + bytes(4) + bytes(100), "in"),
    ip6(5, GUEST6, (DNS6, 0), 43, b"\x11\0\0\x01" + bytes(4), "in"),
    ip6(6, GUEST6, (DNS6, 0), 47, bytes(9), "in"),
]


def test_a_connection_over_ipv6() -> None:
    conversation = [
        *DISCOVERY,
        segment6(1.0, GUEST6, WEB6, 7, 0, SYN),
        segment6(2.0, WEB6, GUEST6, 900, 8, SYN | ACK),
        segment6(3.0, GUEST6, WEB6, 8, 901, ACK),
    ]
    assert (
        ladder(conversation)
        == """\
    time  [fec0::15]:49152                                      [2001:db8::7]:80
0.000 ms  │── SYN seq=0 ──────────────────────────────────────────────────────►│
1.000 ms  │◄──────────────────────────────────────────── SYN,ACK seq=0 ack=1 ──│
2.000 ms  │── ACK seq=1 ack=1 ────────────────────────────────────────────────►│"""
    )
    for left, right in (
        ("fec0::15", "2001:db8::7"),
        ("[fec0::15]:49152", "[2001:db8::7]"),
        ("2001:db8::7", None),
    ):
        assert len(ladder(conversation, left, right).splitlines()) == 4


def test_other_traffic_over_ipv6() -> None:
    """Without a connection, the poles are those of the first packet that is not by the way."""
    lines = ladder([*DISCOVERY, *OTHER6]).splitlines()
    assert lines[0].split() == ["time", "fec0::15", "fec0::3"]
    labels = [
        "UDP 5000 > 53 len=5",
        "ICMP6 unreachable - port, for UDP to fec0::3.53",
        "fragment of protocol 17 at 8 len=100",
        "extension headers refused (routing) len=8",
        "protocol 47 len=9",
    ]
    assert [label in line for label, line in zip(labels, lines[1:], strict=True)] == [True] * 5


def test_neighbors_and_dhcpv6_by_name() -> None:
    message = b"\1abc" + b"\0\1\0\4duid"
    solicit = udp.build(GUEST6[0], 546, DNS6, 547, message) + message
    lines = ladder([*DISCOVERY, ip6(2, GUEST6, (DNS6, 0), ipv4.UDP, solicit)], "*", "*", width=130).splitlines()
    assert "fec0::15 > ff02::2 ICMP6 router solicitation" in lines[1]
    assert "fe80::2 > fec0::15 ICMP6 neighbor solicitation, who has fec0::15" in lines[2]
    assert "fec0::15 > fec0::3 DHCPv6 Solicit, xid 0x616263" in lines[3]


def test_all_packets_of_both_families_by_direction() -> None:
    frames = [*DISCOVERY, *OTHER6[:2], ip(9, GUEST, WEB, 47, bytes(9))]
    lines = ladder(frames, "*", "*", width=130).splitlines()
    assert lines[0].split() == ["time", "guests", "network"]
    assert ["►" in line for line in lines[1:]] == [True, False, True, False, True]


def test_the_summary_shows_both_families() -> None:
    net = VirtualNetwork(seed=1)
    net.boot(ipv6=True)
    ping = net.guest.ping("fec0::2")
    net.run_until(lambda: ping.reply is not None)
    text = net.summary()
    assert "> fec0::2 ICMP6 echo request" in text
    assert "UDP 68 > 67" in text or "10.0.2.15" in text
