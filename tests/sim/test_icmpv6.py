"""ICMPv6 as RFC 4443 asks for it: echo to groups, errors that are sent and that are not, errors of guests."""

from __future__ import annotations

import errno
import struct

import pytest

from slirpy.testing import Remote
from tests.support.frames6 import (
    ALL_NODES,
    ALL_ROUTERS,
    DNS6,
    GATEWAY6,
    GUEST6,
    ICMPV6,
    LINK_LOCAL,
    ROUTER,
    TCP,
    UNSPECIFIED,
    WORLD6,
    echo6,
    fragment,
    icmp6,
    ip6,
    ipv6,
    know6,
    mac_of,
    neighbor_solicitation,
    of_kind,
    solicited,
    tcp6,
    udp6,
)
from tests.support.harness import BROADCAST, SYN, Net, config

OPTION = bytes((0, 0x80, 4, 0, 0, 0, 0))
"""The rest of a header of options, one of which is unknown and has to be reported."""
CLIENT = ip6("2001:db8:9::9")


@pytest.fixture
def net() -> Net:
    net = Net(config())
    know6(net)
    net.silence()
    return net


def drops(net: Net) -> dict[str, int]:
    return {name: value for name, value in net.stats.nonzero().items() if name.startswith("drop")}


# -------------------------------------------------------------------------------------------------- echo


@pytest.mark.rfc("4861", "7.2.1 join")
@pytest.mark.rfc("4862", "5.4.2 groups")
@pytest.mark.rfc("4443", "2.2 b")
@pytest.mark.rfc("4443", "4.2 group")
@pytest.mark.parametrize("group", [ALL_NODES, ALL_ROUTERS, solicited(DNS6)])
@pytest.mark.parametrize(("source", "gateway"), [(LINK_LOCAL, ROUTER), (GUEST6, GATEWAY6)])
def test_an_echo_request_to_a_group_is_answered(net: Net, group: bytes, source: bytes, gateway: bytes) -> None:
    net.send(echo6(b"anyone?", 9, 5, source=source, destination=group))
    packet = net.one().data
    assert (packet.src, packet.dst, packet.hlim) == (gateway, source, 255)
    assert bytes(packet.data)[:2] == b"\x81\0"
    assert bytes(packet.data)[4:] == struct.pack("!HH", 9, 5) + b"anyone?"


@pytest.mark.rfc("8200", "8.4")
def test_an_answer_does_not_come_back_along_the_route(net: Net) -> None:
    """RFC 8200, section 8.4: a routing header is not reversed, not even one that is used up."""
    route = bytes((ICMPV6, 2, 4, 0, 0, 0, 0, 0)) + WORLD6
    request = echo6(destination=GATEWAY6)[54:]
    net.send(ipv6(43, route + request, destination=GATEWAY6))
    packet = net.one().data
    assert (packet.nxt, packet.src, packet.dst) == (ICMPV6, GATEWAY6, GUEST6)
    assert bytes(packet.data)[:1] == b"\x81"


@pytest.mark.rfc("4443", "2.4 b")
@pytest.mark.parametrize("kind", [138, 139, 144, 151, 200, 255])
def test_unknown_messages_are_dropped_in_silence(net: Net, kind: int) -> None:
    for destination in (GATEWAY6, WORLD6, ALL_NODES):
        net.send(icmp6(kind, 0, bytes(20), destination=destination))
    net.run(1)
    net.silence()
    assert drops(net) == {"drop_icmp_type": 3}


# ------------------------------------------------------------------------------------------- our errors


@pytest.mark.rfc("4443", "3.1 code 1")
def test_a_destination_that_is_not_allowed() -> None:
    net = Net(config(policy=["deny any"]))
    know6(net)
    net.send(udp6(b"x"), echo6())
    assert [bytes(packet.data)[:2] for packet in of_kind(net.take(), ICMPV6)] == [b"\1\1", b"\1\1"]


@pytest.mark.rfc("4443", "3.1 congestion")
@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_congestion_is_not_reported(net: Net, error: int) -> None:
    net.host.unreachable(WORLD6, error=error, at_once=True)
    net.send(udp6(b"x"), echo6())
    net.run(1)
    net.silence()
    assert drops(net) == {"drop_udp_host_full": 1, "drop_icmp_host_full": 1}


@pytest.mark.rfc("4443", "3.4 code 0")
@pytest.mark.rfc("4443", "3.4 pointer")
@pytest.mark.rfc("4443", "3.4 discard")
@pytest.mark.rfc("4443", "3.4 sent")
@pytest.mark.rfc("8200", "4.4 left")
def test_a_routing_header_with_segments_left_is_refused(net: Net) -> None:
    net.send(ipv6(43, bytes((17, 2, 0, 1, 0, 0, 0, 0)) + WORLD6 + udp6(b"x")[54:], destination=GATEWAY6))
    message = bytes(net.one().data.data)
    assert (message[:2], message[4:8]) == (b"\4\0", bytes((0, 0, 0, 42)))
    assert drops(net) == {"drop_ipv6_routing": 1}


@pytest.mark.rfc("4443", "2.4 e.1")
@pytest.mark.rfc("4443", "2.4 e.2")
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 100, 127, 137])
def test_no_error_about_an_error_or_a_redirect(net: Net, kind: int) -> None:
    message = icmp6(kind, 0, bytes(44), destination=WORLD6)[54:]
    net.send(
        ipv6(ICMPV6, message, hop_limit=0),
        ipv6(60, bytes((ICMPV6,)) + OPTION + message),
        ipv6(0, bytes((60,)) + OPTION + bytes((ICMPV6, 0, 1, 4, 0, 0, 0, 0)) + message),
        fragment(0, bytes((ICMPV6,)) + OPTION + message[:8], more=True, protocol=60),
    )
    net.run(2)
    net.silence()
    net.send(ipv6(60, bytes((ICMPV6,)) + OPTION + echo6()[54:]))
    assert bytes(net.one().data.data)[:2] == b"\4\2"


@pytest.mark.rfc("4443", "2.4 e.4")
@pytest.mark.rfc("4443", "2.4 e.5")
def test_no_error_about_frames_to_several(net: Net) -> None:
    for mac in (BROADCAST, mac_of(ALL_NODES)):
        net.send(
            ipv6(132, bytes(20), to=mac),
            udp6(b"x", hop_limit=1, to=mac),
            udp6(b"x", destination=DNS6, to=mac),
            udp6(b"x", destination=ip6("fec0::77"), to=mac),
        )
    net.run(1)
    net.silence()


@pytest.mark.rfc("4443", "2.4 e.6")
def test_no_error_to_an_unspecified_or_multicast_source(net: Net) -> None:
    for source in (UNSPECIFIED, ALL_NODES):
        net.send(
            ipv6(132, bytes(20), source=source), ipv6(60, bytes((ICMPV6,)) + OPTION + bytes(8), source=source)
        )
        net.send(icmp6(128, 0, bytes(4), source=source, hop_limit=0))
    net.run(1)
    net.silence()


@pytest.mark.rfc("4443", "2.4 f bursts")
@pytest.mark.rfc("4443", "2.4 f")
def test_errors_have_a_rate(net: Net) -> None:
    net.send(*[ipv6(132, bytes(20))] * 1200)
    assert len(net.take()) == 1000
    assert net.stats.icmp_errors_suppressed == 200
    net.run(0.1)
    net.take()
    net.send(*[ipv6(132, bytes(20))] * 200)
    assert len(net.take()) == 100
    net.send(echo6(destination=GATEWAY6), neighbor_solicitation(GATEWAY6))
    assert len(net.take()) == 2  # these are no errors


# ------------------------------------------------------------------------------------ errors of guests


def complaint(kind: int, code: int, packet: bytes, *, rest: int = 0) -> bytes:
    """An error of the guest about a packet from the client."""
    return icmp6(kind, code, rest.to_bytes(4, "big") + packet[:1232], destination=CLIENT)


@pytest.mark.rfc("4443", "2.4 a")
@pytest.mark.rfc("4443", "3.1 upper")
@pytest.mark.rfc("4443", "3.1 unused")
@pytest.mark.rfc("4443", "3.3 upper")
@pytest.mark.rfc("4443", "3.4 upper")
@pytest.mark.parametrize(
    ("kind", "code", "ends"),
    [(1, 1, True), (1, 4, True), (4, 1, True), (1, 0, False), (1, 3, False), (3, 0, False), (3, 1, False),
     (4, 0, False), (2, 0, False), (100, 0, False), (127, 9, False)],
)  # fmt: skip
def test_errors_reach_a_connection_that_is_opening(kind: int, code: int, ends: bool) -> None:
    net = Net(config(hostfwd=["tcp:[::1]:0-[fec0::5054:ff:fe12:3456]:80"]))
    know6(net)
    port = net.stack.hostfwds()[0].host_port
    client: Remote = net.host.connect("::1", port, source=(CLIENT, 6000))
    net.run(0.01)
    (frame,) = [frame for frame in net.raw() if frame[20] == TCP]
    never_sent = frame[14:58] + bytes(4) + frame[62:]
    net.send(complaint(kind, code, never_sent))
    assert (net.stats.drop_icmp_unmatched, net.stats.icmp_errors_in) == (1, 0)
    net.send(complaint(kind, code, frame[14:], rest=40))
    assert net.stats.icmp_errors_in == (kind != 2)  # of a SYN, an MTU says nothing
    net.run(0.01)
    assert (client.error is not None) is ends
    assert (net.stack.flows() == []) is ends


@pytest.mark.rfc("4443", "2.4 a")
@pytest.mark.rfc("4443", "2.4 d")
@pytest.mark.rfc("4443", "3.1 upper")
def test_a_datagram_that_was_refused_ends_the_flow(net: Net) -> None:
    net.host.serve_udp(WORLD6, 9, lambda payload, address, port: payload)
    net.send(udp6(b"x"))
    net.run(0.01)
    (frame,) = net.raw()
    net.send(icmp6(100, 0, bytes(4) + frame[14:]))
    assert (net.stats.icmp_errors_in, len(net.stack.flows())) == (1, 1)
    beyond = frame[14:20] + bytes((60,)) + frame[21:54] + bytes((17, 255)) + bytes(1000)
    net.send(icmp6(1, 4, bytes(4) + beyond))  # the transport header is not in the quote
    assert drops(net) == {"drop_icmp_unmatched": 1}
    net.send(icmp6(1, 4, bytes(4) + frame[14:]))
    assert (net.stats.icmp_errors_in, net.stack.flows()) == (2, [])


@pytest.mark.rfc("4443", "5.2")
def test_errors_about_nothing_that_was_sent(net: Net) -> None:
    for kind in (1, 3, 4):
        net.send(icmp6(kind, 0, bytes(4) + tcp6(SYN, 1, source=WORLD6, destination=GUEST6)[14:]))
        net.send(icmp6(kind, 0, bytes(4) + udp6(b"x", source=WORLD6, destination=GUEST6)[14:]))
    assert drops(net) == {"drop_icmp_unmatched": 6}
    net.silence()


@pytest.mark.rfc("4443", "5.2")
def test_errors_about_packets_to_another_guest(net: Net) -> None:
    other = ip6("fec0::77")
    know6(net, other)
    net.host.serve_udp(WORLD6, 9, lambda payload, address, port: payload)
    net.send(udp6(b"x"))
    net.run(0.01)
    (frame,) = net.raw()
    net.send(icmp6(1, 4, bytes(4) + frame[14:], source=other))
    assert drops(net) == {"drop_icmp_unmatched": 1}
    assert len(net.stack.flows()) == 1
