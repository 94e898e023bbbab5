"""ICMP errors: from outside to the guest, from the guest inward, the ones that we make, and what must not be one."""

from __future__ import annotations

import errno
from typing import Any

import dpkt
import pytest

from slirpy.core.arrival import Arrival
from slirpy.interfaces import Action, IcmpReport, Verdict
from slirpy.nat.reports import relay
from slirpy.testing import Remote, Source
from slirpy.wire import ipv4 as slirpy_ipv4
from slirpy.wire.icmp import Cause
from tests.support.harness import (
    ACK,
    BROADCAST,
    DNS,
    DNS_MAC,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    options,
    rfc1071,
    transport_sum,
    udp,
    udp_segment,
)

ROUTERS = (ip("192.0.2.254"), ip("192.0.2.253"))
LOOPBACK = ip("127.0.0.1")
DF, MF = 0x4000, 0x2000


def datagram(
    payload: bytes = b"x" * 40,
    *,
    to: bytes = WORLD,
    dport: int = 33434,
    sport: int = 5000,
    ttl: int = 64,
    fragment: int = 0,
) -> bytes:
    segment = udp_segment(payload, sport, dport, GUEST, to)
    return eth(ipv4(17, segment, destination=to, ttl=ttl, fragment=fragment))


def error_quote(frame: Any, source: bytes, kind: int, code: int, rest: int = 0) -> Any:
    """Check an error that the guest got; the packet that it quotes, as dpkt reads it, its checksums verified."""
    raw = bytes(frame.data)
    assert (frame.data.src, frame.data.dst, raw[20], raw[21]) == (source, GUEST, kind, code)
    assert int.from_bytes(raw[24:28], "big") == rest
    quoted = raw[28:]
    assert rfc1071(quoted[:20]) == 0, "the quoted header's checksum"
    if len(quoted) == int.from_bytes(quoted[2:4], "big"):
        assert transport_sum(quoted) == 0, "the quoted datagram's checksum"
    return dpkt.ip.IP(quoted)


def complaint(
    quoted: bytes, code: int = 3, *, kind: int = 3, rest: int = 0, source: bytes = GUEST, to: bytes = WORLD
) -> bytes:
    """An ICMP error of the guest's."""
    message = bytes((kind, code, 0, 0)) + rest.to_bytes(4, "big") + quoted
    message = message[:2] + rfc1071(message).to_bytes(2, "big") + message[4:]
    return eth(ipv4(1, message, source=source, destination=to))


# ------------------------------------------------------------------------------------- from outside


def test_a_closed_port_far_away(net: Net) -> None:
    net.send(datagram(b"anyone?"))
    net.run(0.01)
    quoted = error_quote(net.one(), WORLD, 3, 3)
    assert (quoted.src, quoted.dst, quoted.data.sport, quoted.data.dport) == (GUEST, WORLD, 5000, 33434)
    assert bytes(quoted.data.data) == b"anyone?"
    assert net.stats.drop_udp_host_error == 1


def test_a_closed_port_of_the_host_is_the_gateway_s(net: Net) -> None:
    net.send(datagram(to=GATEWAY))
    net.run(0.01)
    assert error_quote(net.one(), GATEWAY, 3, 3).dst == GATEWAY


def test_traceroute(net: Net) -> None:
    net.host.path(None, ROUTERS)
    for ttl in range(1, 5):
        net.send(datagram(ttl=ttl, dport=33433 + ttl))
        net.run(0.01)
    first, second, third, last = net.take()
    assert error_quote(first, GATEWAY, 11, 0).data.dport == 33434
    assert error_quote(second, ROUTERS[0], 11, 0).data.dport == 33435
    quoted = error_quote(third, ROUTERS[1], 11, 0)
    assert (quoted.data.dport, quoted.ttl) == (33436, 1)
    assert error_quote(last, WORLD, 3, 3).data.dport == 33437
    assert (first.data.ttl, second.data.ttl, third.data.ttl) == (255, 254, 253)
    assert net.stats.drop_ip_ttl == 1


def test_a_hop_to_the_gateway_is_the_last_one(net: Net) -> None:
    server = net.host.serve_udp(LOOPBACK, 9, lambda payload, address, port: payload)
    net.send(datagram(to=GATEWAY, ttl=1, dport=9), datagram(to=GATEWAY, ttl=7, dport=9))
    net.run(0.01)
    assert [received.shape.ttl for received in server.received] == [1, 6]
    assert net.stats.drop_ip_ttl == 0


def test_a_datagram_that_ends_here_opens_no_socket(net: Net) -> None:
    net.send(datagram(ttl=1))
    error_quote(net.one(), GATEWAY, 11, 0)
    assert net.calls("open_udp") == []


def test_ttl_and_df_go_on(net: Net) -> None:
    server = net.host.serve_udp(WORLD, 9)
    for ttl, fragment in ((64, 0), (64, DF), (2, DF), (255, 0)):
        net.send(datagram(dport=9, ttl=ttl, fragment=fragment))
    net.run(0.01)
    assert [tuple(received.shape) for received in server.received] == [
        (63, False),
        (63, True),
        (1, True),
        (254, False),
    ]


def test_df_of_fragments_says_nothing_of_the_whole(net: Net) -> None:
    server = net.host.serve_udp(WORLD, 9)
    segment = udp_segment(bytes(2000), 5000, 9)
    net.send(eth(ipv4(17, segment[:1480], fragment=DF | MF)), eth(ipv4(17, segment[1480:], fragment=DF | 185)))
    net.run(0.01)
    assert [received.shape.dont_fragment for received in server.received] == [False]


def test_path_mtu(net: Net) -> None:
    net.host.path(WORLD, ROUTERS, mtu=1400)
    server = net.host.serve_udp(WORLD, 9)
    net.send(datagram(bytes(1373), dport=9, fragment=DF))
    net.run(0.01)
    quoted = error_quote(net.one(), ROUTERS[1], 3, 4, rest=1400)
    assert quoted.df
    net.send(datagram(bytes(1372), dport=9, fragment=DF), datagram(bytes(1400), dport=9))
    net.run(0.01)
    net.silence()
    assert [len(received.payload) for received in server.received] == [1372, 1400]


def test_the_mtu_of_the_host_s_own_link(net: Net) -> None:
    net.host.path(WORLD, (), mtu=1280)
    frame = datagram(bytes(1253), fragment=DF)
    net.send(frame)
    answer = net.one()
    error_quote(answer, GATEWAY, 3, 4, rest=1280)
    assert bytes(answer.data)[28:] == frame[14 : 14 + 548]
    assert net.stats.drop_udp_host_error == 1


@pytest.mark.parametrize(
    ("error", "code"), [(errno.ENETUNREACH, 0), (errno.EHOSTUNREACH, 1), (errno.EACCES, 13)]
)
def test_unreachable_after_a_round_trip(net: Net, error: int, code: int) -> None:
    net.host.path(WORLD, ROUTERS)
    net.host.unreachable(WORLD, error=error)
    net.send(datagram())
    net.run(0.01)
    error_quote(net.one(), ROUTERS[1], 3, code)


def test_the_error_of_a_redirected_datagram_quotes_its_destination() -> None:
    other = ip("198.51.100.8")
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (other, 99))))
    net.send(datagram())
    net.run(0.01)
    assert net.calls("send_udp")[0].address == other
    quoted = error_quote(net.one(), WORLD, 3, 3)
    assert (quoted.dst, quoted.data.dport) == (WORLD, 33434)


def test_redirected_destinations_of_one_flow_are_bounded() -> None:
    other = ip("198.51.100.8")
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (other, request.destination_port))))
    net.host.serve_udp(other, None, lambda payload, address, port: payload)
    for number in range(1500):
        net.send(datagram(dport=20_000 + number))
    net.run(0.01)
    (flow,) = net.stack._udp.flows.values()
    assert len(flow._targets) == len(flow._reverse) == 1024


def test_a_report_about_a_redirection_to_ipv6_is_translated() -> None:
    """ICMPv6 has other types: its 3 is "time exceeded". The gateway stands for a router without an IPv4 address."""
    far, router = bytes(15) + b"\7", b"\x20\1" + bytes(14)
    net = Net(config(policy=lambda request: Verdict(Action.ALLOW, (far, request.destination_port))))
    net.send(datagram(dport=9))
    net.run(0.01)
    net.take()
    (flow,) = net.stack._udp.flows.values()
    flow.datagram_error(errno.EHOSTUNREACH, IcmpReport(errno.EHOSTUNREACH, 3, 0, 0, router, far, 9, b"x"))
    net.run(0.01)
    quoted = error_quote(net.one(), GATEWAY, 11, 0)
    assert (quoted.dst, quoted.data.dport) == (WORLD, 9)


@pytest.mark.parametrize(
    ("version", "kind", "code", "info", "relayed"),
    [
        (4, 3, 1, 0, True),
        (4, 3, 99, 0, True),
        (4, 11, 0, 0, True),
        (4, 4, 0, 0, False),
        (4, 5, 1, 0, False),
        (4, 12, 0, 0, False),
        (4, 3, 4, 67, False),
        (4, 3, 4, 68, True),
        (4, 3, 4, 0xFFFF, True),
        (4, 3, 4, 0x10000, False),
        (6, 1, 3, 0, True),
        (6, 1, 99, 0, False),
        (6, 3, 0, 0, True),
        (6, 4, 0, 0, False),
        (6, 2, 0, 1400, True),
    ],
)
def test_which_reports_a_guest_needs(
    net: Net, version: int, kind: int, code: int, info: int, relayed: bool
) -> None:
    """A caller that is refused in another way learns whether this one was enough."""
    far = WORLD if version == 4 else bytes(15) + b"\7"
    report = IcmpReport(errno.EHOSTUNREACH, kind, code, info, far, far, 9, b"x")
    packet, stack = datagram()[14:], net.stack
    net.know()
    assert relay(stack._udp.parts, stack._udp.router, report, GUEST, WORLD, packet) is relayed
    stack.flush(net.now)
    assert len(net.take()) == relayed


def test_the_answer_through_a_forward_is_refused() -> None:
    net = Net(config(hostfwd=["udp:127.0.0.1:0-:53"]))
    net.know()
    port = net.stack.hostfwds()[0].host_port
    client = ip("203.0.113.8")
    net.host.send_udp(b"question", LOOPBACK, port, (client, 6000))
    net.run(0.01)
    assert len(net.take()) == 1
    net.send(datagram(b"answer", to=client, dport=6000, sport=53))
    net.run(0.01)
    quoted = error_quote(net.one(), client, 3, 3)
    assert (quoted.data.sport, quoted.data.dport) == (53, 6000)


def test_reports_about_unsent_datagrams_are_dropped(net: Net) -> None:
    net.host.serve_udp(WORLD, 9)
    net.send(datagram(dport=9))
    net.run(0.01)
    for address, port in ((WORLD, 10), (ip("198.51.100.8"), 9), (LOOPBACK, 9)):
        net.host.report(IcmpReport(errno.ECONNREFUSED, 3, 3, 0, WORLD, address, port, b"", 60))
    net.run(0.01)
    net.silence()
    assert net.stats.drop_icmp_unasked == 3
    net.host.report(IcmpReport(errno.ECONNREFUSED, 3, 3, 0, WORLD, WORLD, 9, b"", 60))
    net.run(0.01)
    error_quote(net.one(), WORLD, 3, 3)


def test_no_error_about_a_broadcast_comes_back(net: Net) -> None:
    for alias in ("255.255.255.255", "10.0.2.255"):
        net.send(udp(b"anyone?", destination=ip(alias), dport=99, to=BROADCAST))
    net.run(0.01)
    net.silence()
    assert net.stats.drop_udp_host_error == 2


def test_errors_from_outside_have_a_rate(net: Net) -> None:
    for number in range(1020):
        net.send(datagram(dport=20_000 + number))
    net.run(0.01)
    assert len(net.take()) == 1000
    assert net.stats.icmp_errors_suppressed == 20


def test_a_port_scan_from_one_port_gets_all_errors(net: Net) -> None:
    for number in range(5000):
        net.send(datagram(dport=20_000 + number))
        net.run(0.001)
    net.run(0.01)
    ports = [error_quote(frame, WORLD, 3, 3).data.dport for frame in net.take()]
    assert ports == list(range(20_000, 25_000))
    (flow,) = net.stack._udp.flows.values()
    assert len(flow._targets) <= 1024


def test_one_guest_s_scan_does_not_silence_the_other_s_errors(net: Net) -> None:
    wire = net.attach()
    other, mac = ip("10.0.2.16"), bytes.fromhex("525400123457")
    net.send(arp(2, sender=other, sender_mac=mac, to=GATEWAY_MAC), wire=wire)
    bad = eth(ipv4(253, bytes(8)))
    net.send(*[bad] * 1200)
    assert len(net.take()) == 1000
    net.send(eth(ipv4(253, bytes(8), source=other), source=mac), wire=wire)
    assert len(net.take(wire)) == 1


# ------------------------------------------------------------------------------ from the guest inward


def answered(net: Net, dport: int = 9) -> bytes:
    """The guest sends a datagram and gets an answer, which is returned as a packet."""
    net.host.serve_udp(WORLD, dport, lambda payload, address, port: payload)
    net.send(datagram(dport=dport))
    net.run(0.01)
    (frame,) = net.raw()
    return frame[14:]


def test_port_unreachable_ends_the_flow(net: Net) -> None:
    packet = answered(net)
    net.send(complaint(packet))
    net.silence()
    assert (net.stack.flows(), net.stats.icmp_errors_in) == ([], 1)
    assert len(net.host._open) == 0
    net.send(complaint(packet))
    assert net.stats.drop_icmp_unmatched == 1


@pytest.mark.parametrize(("kind", "code"), [(3, 1), (3, 13), (11, 1), (12, 0), (4, 0)])
def test_other_errors_about_datagrams_are_counted(net: Net, kind: int, code: int) -> None:
    packet = answered(net)
    net.send(complaint(packet, code, kind=kind))
    net.silence()
    assert (len(net.stack.flows()), net.stats.icmp_errors_in) == (1, 1)


def test_a_flow_of_a_forward_is_kept(net: Net) -> None:
    net = Net(config(hostfwd=["udp:127.0.0.1:0-:53"]))
    net.know()
    port = net.stack.hostfwds()[0].host_port
    net.host.send_udp(b"question", LOOPBACK, port, (ip("203.0.113.8"), 6000))
    net.run(0.01)
    (frame,) = net.raw()
    net.send(complaint(frame[14:], to=ip("203.0.113.8")))
    assert net.stats.icmp_errors_in == 1
    assert len(net.stack.flows()) == 1


def test_errors_that_quote_nothing_of_ours(net: Net) -> None:
    packet = answered(net)
    other = ip("10.0.2.16")
    quotes = [
        b"",
        packet[:19],
        packet[:27],  # RFC 792 wants eight bytes of the datagram
        b"\x65" + packet[1:],
        b"\x44" + packet[1:],
        packet[:22] + b"\x13\x89" + packet[24:],  # port 5001
        packet[:16] + other + packet[20:],  # to another guest
        packet[:6] + b"\0\1" + packet[8:],  # a later fragment
        packet[:9] + b"\x06" + packet[10:],  # TCP
        packet[:9] + b"\x2f" + packet[10:],
        ipv4(1, icmp_echo(b"x"), source=WORLD, destination=GUEST),
        ipv4(6, bytes(20), source=WORLD, destination=GUEST),
    ]
    for quoted in quotes:
        net.send(complaint(quoted))
    net.silence()
    assert net.stats.drop_icmp_unmatched == len(quotes)
    assert net.stats.icmp_errors_in == 0
    assert len(net.stack.flows()) == 1


def test_an_error_in_the_name_of_another_guest(net: Net) -> None:
    packet = answered(net)
    net.send(complaint(packet, source=ip("10.0.2.16")))
    assert net.stats.drop_icmp_unmatched == 1
    assert len(net.stack.flows()) == 1


def test_an_error_about_an_answer_of_the_virtual_hosts(net: Net) -> None:
    net.send(echo())
    (frame,) = net.raw()
    net.send(complaint(frame[14:], 3, to=GATEWAY))
    assert net.stats.icmp_errors_in == 1


# ------------------------------------------------------------------------------------ and about TCP


def downloading(net: Net, count: int = 20_000, **more: Any) -> tuple[Peer, list[bytes]]:
    """A connection that sends to the guest; the packets that are on their way."""
    data = bytes(i % 251 for i in range(count))
    net.host.serve_tcp(WORLD, 80, lambda: Source(data))
    peer = Peer(net, **more)
    peer.open()
    net.run(0.01)
    packets = [frame[14:] for frame in net.raw()]
    assert len(packets) >= 10
    return peer, packets


@pytest.mark.rfc("9293", "MUST-54")
@pytest.mark.rfc("1191", "3 reduce")
@pytest.mark.rfc("1191", "6.4")
@pytest.mark.parametrize("ts", [None, 77])
def test_fragmentation_needed_makes_segments_smaller(net: Net, ts: int | None) -> None:
    peer, packets = downloading(net, ts=ts)
    largest = max(packets, key=len)
    assert len(largest) == 1500
    net.send(complaint(packets[0], 4, rest=1000))
    net.run(0.001)
    frames = net.take()
    assert max(frame.data.len for frame in frames) == 1000
    assert frames[0].data.data.seq == peer.ack, "what was on its way is sent again"
    assert net.stats.icmp_errors_in == 1
    data = b"".join(bytes(frame.data.data.data) for frame in frames)
    peer.ack += len(data)
    if ts is not None:
        peer.ts, peer.echo = 78, int.from_bytes(bytes(frames[-1].data.data.opts)[4:8], "big")
    peer.send(ACK)
    net.run(0.05)
    more = [frame.data for frame in net.take()]
    assert more
    assert max(packet.len for packet in more) <= 1000


@pytest.mark.parametrize("length", [1, 32, 255])
@pytest.mark.parametrize("unused", [0, 1, 255])
def test_the_length_of_the_quote_is_no_mtu(net: Net, length: int, unused: int) -> None:
    """RFC 4884, section 4.1: it is in the byte before the next hop's MTU, and means nothing to an old receiver."""
    peer, packets = downloading(net)
    net.send(complaint(packets[0], 4, rest=unused << 24 | length << 16 | 1000))
    net.run(0.001)
    assert max(frame.data.len for frame in net.take()) == 1000
    assert (net.stats.icmp_errors_in, peer.conn.mss) == (1, 960)


@pytest.mark.rfc("5927", "4.1")
@pytest.mark.rfc("5927", "7.2")
@pytest.mark.rfc("1191", "3 floor")
@pytest.mark.rfc("1191", "3 raise")
def test_fragmentation_needed_that_cannot_be(net: Net) -> None:
    """RFC 5927: what is quoted must be on its way, and must have been larger than what would fit."""
    peer, packets = downloading(net)
    first = packets[0]
    beyond = first[:24] + ((peer.ack + 1_000_000) & 0xFFFFFFFF).to_bytes(4, "big") + first[28:]
    before = first[:24] + ((peer.ack - 1) & 0xFFFFFFFF).to_bytes(4, "big") + first[28:]
    small = first[:2] + (900).to_bytes(2, "big") + first[4:]
    for quoted, mtu in (
        (beyond, 1000),
        (before, 1000),
        (first, 1500),
        (first, 9000),
        (first, 67),
        (first, 0),
        (small, 1000),
    ):
        net.send(complaint(quoted, 4, rest=mtu))
    assert net.stats.drop_icmp_unmatched == 7
    assert peer.conn.mss == 1460
    net.silence()


def test_the_least_mtu(net: Net) -> None:
    peer, packets = downloading(net)
    net.send(complaint(packets[0], 4, rest=68))
    net.run(0.001)
    assert peer.conn.mss == 28
    assert {frame.data.len for frame in net.take()} == {68}


@pytest.mark.rfc("9293", "MUST-56")
@pytest.mark.rfc("5927", "5.2")
@pytest.mark.parametrize("code", [0, 1, 2, 3, 13])
def test_an_open_connection_outlives_other_errors(net: Net, code: int) -> None:
    peer, packets = downloading(net)
    net.send(complaint(packets[0], code))
    net.run(0.001)
    net.silence()
    assert net.stats.icmp_errors_in == 1
    assert peer.conn.mss == 1460


@pytest.mark.parametrize(
    ("code", "ends"), [(3, True), (2, True), (9, True), (10, True), (13, True), (0, False), (1, False)]
)
def test_a_guest_that_refuses_a_connection_by_icmp(code: int, ends: bool) -> None:
    """iptables' REJECT does this by default."""
    net = Net(config(hostfwd=["tcp:127.0.0.1:0-:80"]))
    net.know()
    source = ip("203.0.113.8")
    port = net.stack.hostfwds()[0].host_port
    client: Remote = net.host.connect(LOOPBACK, port, source=(source, 6000))
    net.run(0.01)
    (frame,) = net.raw()
    wrong = frame[14:38] + bytes(4) + frame[42:]
    net.send(complaint(wrong, code, to=source))
    assert net.stats.drop_icmp_unmatched == 1
    net.send(complaint(frame[14:], code, to=source))
    net.run(0.01)
    assert (client.error is not None) is ends
    assert (net.stack.flows() == []) is ends


# ------------------------------------------------------------------------ what must not cause an error


def test_no_error_about_frames_to_a_broadcast_or_multicast_mac(net: Net) -> None:
    for mac in (BROADCAST, bytes.fromhex("01005e000001")):
        net.send(
            eth(ipv4(253, bytes(8)), destination=mac),
            udp(b"x", destination=ip("10.0.2.77"), to=mac),
            udp(b"x", ttl=1, to=mac),
            udp(b"x", destination=DNS, dport=99, to=mac),
        )
    net.run(0.01)
    net.silence()


def test_no_error_about_an_error(net: Net) -> None:
    for kind in (3, 4, 5, 11, 12):
        net.send(complaint(ipv4(17, bytes(8)), 0, kind=kind, to=ip("10.0.2.77")))
    net.silence()


@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (ipv4(1, icmp_echo(b"x")), True),
        *((ipv4(1, bytes((kind,)) + bytes(39)), False) for kind in (3, 4, 5, 11, 12)),
        (ipv4(1, b""), False),
        (ipv4(17, bytes(8)), True),
        (ipv4(17, bytes(8), fragment=MF), True),
        (ipv4(17, bytes(8), fragment=1), False),
        (ipv4(17, bytes(8), fragment=MF | 0x1FFF), False),
        (ipv4(17, bytes(8), destination=ip("10.0.2.255")), False),
        (ipv4(17, bytes(8), destination=ip("239.1.1.1")), False),
    ],
)
def test_packets_about_which_errors_may_be_sent(net: Net, packet: bytes, said: bool) -> None:
    """RFC 1122, section 3.2.2, tested at the one place that all our errors pass."""
    net.know()
    header = slirpy_ipv4.parse(packet)
    assert header is not None
    neighbor = net.stack.neighbors.get(GUEST)
    macs = GATEWAY_MAC + GUEST_MAC
    arrival = Arrival(net.port, neighbor, macs, header, memoryview(packet), checksummed=False)
    net.stack.icmp.error(arrival, Cause.PROHIBITED)
    net.run(0)
    assert len(net.take()) == said


@pytest.mark.rfc("9293", "MUST-63")
def test_sources_that_no_guest_can_have(net: Net) -> None:
    for source in (
        "10.0.2.2",
        "10.0.2.3",
        "10.0.2.0",
        "10.0.2.255",
        "192.168.1.1",
        "127.0.0.1",
        "224.0.0.1",
        "0.0.0.0",
    ):
        net.send(
            udp(b"x", source=ip(source)),
            udp(b"x", source=ip(source), ttl=1),
            Peer(net, guest=ip(source)).frame(SYN, opts=options()),
            eth(ipv4(1, icmp_echo(b"x"), source=ip(source))),
            eth(ipv4(17, bytes(8), source=ip(source), fragment=MF)),
        )
    net.run(1)
    net.silence()
    assert net.host.calls == []
    assert net.stack.flows() == []
    # From 0.0.0.0, DHCP is looked for in UDP and in its fragments.
    assert net.stats.drop_ip_source == 7 * 5 + 2


def test_frames_for_another_mac(net: Net) -> None:
    for mac in (bytes.fromhex("525400abcdef"), bytes.fromhex("52550a0002aa"), GUEST_MAC):
        net.send(
            echo(mac=mac),
            udp(b"x", to=mac),
            eth(ipv4(1, icmp_echo(b"x")), destination=mac),
            Peer(net).frame(SYN, opts=options(), to=mac),
        )
    net.run(1)
    net.silence()
    assert net.host.calls == []
    assert net.stats.drop_ethernet_destination == 12


@pytest.mark.rfc("9293", "MUST-57")
def test_tcp_to_everyone(net: Net) -> None:
    for where in ("255.255.255.255", "10.0.2.255", "224.0.0.1", "239.255.255.250"):
        for flags in (SYN, ACK, SYN | ACK, RST):
            net.send(Peer(net, address=ip(where)).frame(flags, opts=b"", to=BROADCAST))
    net.run(1)
    net.silence()
    assert net.stats.drop_tcp_broadcast == 16
    assert net.host.calls == []


def test_the_virtual_dns_server_s_mac_is_as_good_as_the_gateway_s(net: Net) -> None:
    net.host.answer_ping()
    net.send(eth(ipv4(1, icmp_echo(b"x")), destination=DNS_MAC))
    net.run(0.01)
    assert net.one().data.data.type == 0
