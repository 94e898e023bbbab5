"""IPv6 as a guest meets it: neighbours, routers, ping, TCP and UDP; frames are built by struct and read by dpkt."""

from __future__ import annotations

import errno
import itertools
import struct
from typing import Any

import pytest

from slirpy import Action, Verdict
from slirpy.testing import Echo
from slirpy.units import SECOND
from tests.support.frames6 import (
    ALL_NODES,
    DNS6,
    GATEWAY6,
    GUEST6,
    ICMPV6,
    LINK_LOCAL,
    ROUTER,
    ROUTER_MAC,
    TCP,
    UDP,
    UNSPECIFIED,
    WORLD6,
    Peer6,
    echo6,
    icmp6,
    ip6,
    ipv6,
    know6,
    mac_of,
    neighbor_advertisement,
    neighbor_solicitation,
    of_kind,
    router_solicitation,
    solicited,
    tcp6,
    udp6,
)
from tests.support.harness import (
    ACK,
    FIN,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    RST,
    SYN,
    Net,
    arp,
    config,
    eth,
    ip,
    ipv4,
    rfc1071,
    udp,
    udp_segment,
    unreachable,
)

OTHER_MAC = bytes.fromhex("525400aaaaaa")
LOOPBACK6 = bytes(15) + b"\1"


@pytest.fixture
def net() -> Net:
    net = Net(config())
    know6(net)
    net.silence()
    return net


def syn4(destination: bytes) -> bytes:
    """A SYN of IPv4."""
    segment = struct.pack("!HHIIBBHHH", 40000, 80, 1, 0, 0x50, SYN, 65535, 0, 0)
    pseudo = GUEST + destination + struct.pack("!HH", 6, 20)
    segment = segment[:16] + rfc1071(pseudo + segment).to_bytes(2, "big") + segment[18:]
    return eth(ipv4(6, segment, destination=destination))


def drops(net: Net) -> dict[str, int]:
    return {name: value for name, value in net.stats.nonzero().items() if name.startswith("drop")}


def error(net: Net, source: bytes = GATEWAY6) -> tuple[int, int, int, bytes]:
    """The one frame that has come, an ICMPv6 error: type, code, second word, quoted packet."""
    packet = net.one().data
    assert (packet.nxt, packet.src, packet.hlim) == (ICMPV6, source, 255)
    message = bytes(packet.data)
    return message[0], message[1], int.from_bytes(message[4:8], "big"), message[8:]


# ------------------------------------------------------------------------------------------- neighbours


@pytest.mark.rfc("4861", "4 hop limit")
@pytest.mark.rfc("4861", "4.4 override")
@pytest.mark.rfc("4861", "4.4 link address")
@pytest.mark.rfc("4861", "7.2.1 join")
@pytest.mark.rfc("4861", "7.2.4 answer")
@pytest.mark.rfc("4861", "7.2.4 router")
@pytest.mark.rfc("4861", "7.2.4 source")
@pytest.mark.rfc("4862", "5.3")
@pytest.mark.rfc("4862", "5.4.2 groups")
@pytest.mark.parametrize(
    ("target", "mac"), [(GATEWAY6, "525600000002"), (ROUTER, "525600000002"), (DNS6, "525600000003")]
)
@pytest.mark.parametrize("source", [LINK_LOCAL, GUEST6])
def test_our_addresses_are_advertised(net: Net, target: bytes, mac: str, source: bytes) -> None:
    net.send(neighbor_solicitation(target, source=source))
    frame = net.one()
    assert (frame.src, frame.dst) == (bytes.fromhex(mac), GUEST_MAC)
    assert (frame.data.src, frame.data.dst, frame.data.hlim) == (target, source, 255)
    message = bytes(frame.data.data)
    assert message[:2] == b"\x88\0"
    assert message[4:] == b"\xe0\0\0\0" + target + b"\2\1" + bytes.fromhex(mac)


@pytest.mark.rfc("4861", "7.2.4 answer")
def test_a_unicast_solicitation_has_an_answer_too(net: Net) -> None:
    net.send(neighbor_solicitation(ROUTER, b"", destination=ROUTER))
    assert bytes(net.one().data.data)[0] == 136


@pytest.mark.rfc("4861", "7.2.3 ours")
@pytest.mark.rfc("4862", "5.4 silence")
def test_other_addresses_are_not_advertised(net: Net) -> None:
    for target in (ip6("fec0::77"), GUEST6, WORLD6, ip6("fe80::3")):
        net.send(neighbor_solicitation(target, destination=ALL_NODES))
    net.silence()
    assert net.stats.ndp_nobody == 4


@pytest.mark.rfc("4861", "4.4 solicited")
@pytest.mark.rfc("4861", "7.2.4 unspecified")
@pytest.mark.rfc("4862", "5.4 taken")
def test_duplicate_address_detection_of_our_address_is_answered(net: Net) -> None:
    net.send(neighbor_solicitation(GATEWAY6, b"", source=UNSPECIFIED))
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (mac_of(ALL_NODES), ALL_NODES)
    assert bytes(frame.data.data)[4] == 0xA0


@pytest.mark.rfc("4861", "6.2.6 unspecified")
@pytest.mark.rfc("4861", "7.2.3 ours")
@pytest.mark.rfc("4862", "5.4 silence")
def test_duplicate_address_detection_of_a_free_address_gets_no_answer(net: Net) -> None:
    net.send(
        neighbor_solicitation(ip6("fec0::77"), b"", source=UNSPECIFIED, destination=solicited(ip6("fec0::77")))
    )
    net.silence()
    assert not net.stack.neighbors.is_known(UNSPECIFIED)


@pytest.mark.rfc("4861", "6.1.1 unspecified")
@pytest.mark.rfc("4861", "7.1.1 hop limit")
@pytest.mark.rfc("4861", "7.1.1 target")
@pytest.mark.rfc("4861", "7.1.1 link address")
@pytest.mark.rfc("4861", "7.1.2 common")
@pytest.mark.rfc("4862", "5.4.1")
@pytest.mark.parametrize(
    "frame",
    [
        neighbor_solicitation(ROUTER, hop_limit=254),
        neighbor_solicitation(ROUTER, b"\1\0" + GUEST_MAC),
        neighbor_solicitation(ALL_NODES, destination=ROUTER),
        neighbor_solicitation(ROUTER, source=UNSPECIFIED),
        neighbor_advertisement(ALL_NODES, source=LINK_LOCAL),
        router_solicitation(source=UNSPECIFIED),
        icmp6(136, 0, bytes(8), hop_limit=255, source=LINK_LOCAL, destination=ROUTER),
    ],
)
def test_malformed_messages(net: Net, frame: bytes) -> None:
    net.send(frame)
    net.silence()
    assert drops(net) == {"drop_ndp_malformed": 1}


@pytest.mark.rfc("4861", "4 hop limit")
@pytest.mark.rfc("4861", "4.3 link address")
@pytest.mark.rfc("4861", "7.2.2 group")
@pytest.mark.rfc("4861", "7.2.2 queue")
@pytest.mark.rfc("4861", "7.2.5 learn")
def test_a_guest_is_solicited_and_its_answer_releases_the_packet(net: Net) -> None:
    other = ip6("fec0::99")
    net.stack.send_datagram(DNS6, 53, other, 1000, b"hello")
    net.run()
    frame = net.one()
    assert (frame.dst, frame.src) == (mac_of(solicited(other)), ROUTER_MAC)
    assert (frame.data.src, frame.data.dst, frame.data.hlim) == (ROUTER, solicited(other), 255)
    assert bytes(frame.data.data)[4:] == bytes(4) + other + b"\1\1" + ROUTER_MAC
    net.send(neighbor_advertisement(other, mac=OTHER_MAC, source=ip6("fe80::99")))
    frame = net.one()
    assert (frame.dst, frame.data.src, frame.data.dst) == (OTHER_MAC, DNS6, other)
    assert bytes(frame.data.data.data) == b"hello"


@pytest.mark.rfc("4861", "7.2.2 queue")
@pytest.mark.rfc("4861", "7.2.2 bounded")
@pytest.mark.rfc("4861", "7.2.2 overflow")
def test_packets_wait_for_the_answer(net: Net) -> None:
    other = ip6("fec0::99")
    for number in range(20):
        net.stack.send_datagram(DNS6, 53, other, 1000, b"%d" % number)
    net.run(0.9)
    assert bytes(net.one().data.data)[0] == 135  # one question
    net.send(neighbor_advertisement(other, mac=OTHER_MAC))
    packets = of_kind(net.take(), UDP)
    assert [bytes(packet.data.data) for packet in packets] == [b"%d" % number for number in range(4, 20)]
    assert net.stats.drop_neighbor_queue_full == 4


@pytest.mark.rfc("4861", "7.3.3 rate")
@pytest.mark.rfc("4861", "7.3.3 failed")
@pytest.mark.rfc("4861", "7.2.2 rate")
def test_a_neighbour_is_solicited_once_a_second(net: Net) -> None:
    other, times, start = ip6("fec0::99"), [], net.now
    for _ in range(600):
        net.stack.send_datagram(DNS6, 53, other, 1000, b"x")
        net.run(0.01)
        asked = sum(bytes(packet.data)[0] == 135 for packet in of_kind(net.take(), ICMPV6))
        times += [(net.now - start) / SECOND] * asked
    assert times[0] == 0.01
    assert all(late - early >= 0.99 for early, late in itertools.pairwise(times))
    net.run(3)
    assert other not in net.stack.neighbors._table


@pytest.mark.rfc("4861", "7.2.2 again")
@pytest.mark.rfc("4861", "7.2.2 queue")
@pytest.mark.parametrize("answered", [0, 1, 2, 3])
def test_a_question_without_an_answer_is_repeated_twice(net: Net, answered: int) -> None:
    """A packet waits for three seconds; an answer to any of the three questions releases it."""
    other = ip6("fec0::99")
    net.stack.send_datagram(DNS6, 53, other, 1000, b"x")
    net.run(0)
    for _ in range(answered):
        (question,) = of_kind(net.take(), ICMPV6)
        assert (question.src, question.dst, bytes(question.data)[8:24]) == (ROUTER, solicited(other), other)
        net.run(0.99)
        net.silence()
        net.run(0.01)
    if answered < 3:
        net.take()
        net.send(neighbor_advertisement(other, mac=OTHER_MAC))
        assert bytes(net.one().data.data.data) == b"x"
    net.run(10)
    assert [bytes(packet.data)[0] for packet in of_kind(net.take(), ICMPV6) if packet.data.type != 134] == []
    gave_up = answered == 3
    assert net.stats.arp_unanswered == net.stats.drop_neighbor_unresolved == gave_up
    assert (other in net.stack.neighbors._table) is not gave_up


@pytest.mark.rfc("4861", "6.1.1 checksum")
@pytest.mark.rfc("4861", "7.1.1 checksum")
@pytest.mark.rfc("4861", "7.1.2 common")
def test_damaged_discovery(net: Net) -> None:
    net.send(router_solicitation(wrong=1), neighbor_solicitation(ROUTER, wrong=1))
    net.send(neighbor_advertisement(ip6("fec0::99"), source=GUEST6, wrong=1))
    net.silence()
    assert drops(net) == {"drop_icmp_malformed": 3}
    assert not net.stack.neighbors.is_known(ip6("fec0::99"))


def test_an_advertisement_of_another_card_is_dropped(net: Net) -> None:
    body = b"\x60\0\0\0" + ip6("fec0::99") + b"\2\1" + OTHER_MAC
    net.send(icmp6(136, 0, body, hop_limit=255, destination=ROUTER))
    net.send(neighbor_advertisement(GATEWAY6, source=GUEST6))
    assert drops(net) == {"drop_ndp_sender": 2}
    assert not net.stack.neighbors.is_known(ip6("fec0::99"))


def test_an_address_in_use_behind_another_link_is_protected(net: Net) -> None:
    other = net.attach()
    net.send(neighbor_advertisement(GUEST6, mac=OTHER_MAC), wire=other)
    assert net.stats.drop_neighbor_spoofed == 1
    net.send(echo6(destination=GATEWAY6))
    assert [frame.dst for frame in net.take()] == [GUEST_MAC]


@pytest.mark.rfc("4861", "8.2 routes")
def test_advice_of_guests_is_not_taken(net: Net) -> None:
    net.send(icmp6(134, 0, bytes(12), hop_limit=255, source=LINK_LOCAL, destination=ALL_NODES))
    net.send(icmp6(137, 0, bytes(36), hop_limit=255, source=LINK_LOCAL, destination=ROUTER))
    net.silence()
    assert drops(net) == {"drop_ndp_router": 2}


# ---------------------------------------------------------------------------------------------- routers


def advertisement(frame: Any) -> tuple[int, int, int, list[bytes]]:
    """Hop limit, flags, lifetime and options of a router advertisement."""
    assert (frame.src, frame.data.src, frame.data.hlim) == (ROUTER_MAC, ROUTER, 255)
    message = bytes(frame.data.data)
    assert message[:2] == b"\x86\0"
    hop_limit, flags, lifetime, reachable, retransmit = struct.unpack("!BBHII", message[4:16])
    assert reachable == retransmit == 0
    options, rest = [], message[16:]
    while rest:
        options.append(rest[: rest[1] * 8])
        rest = rest[rest[1] * 8 :]
    return hop_limit, flags, lifetime, options


def prefix(network: str, length: int, flags: int) -> bytes:
    return struct.pack("!BBBBII4x", 3, 4, length, flags, 86400, 14400) + ip6(network)


@pytest.mark.rfc("4861", "4 hop limit")
@pytest.mark.rfc("4861", "4.2 source")
@pytest.mark.rfc("4861", "4.2 mtu")
@pytest.mark.rfc("4861", "4.2 prefixes")
@pytest.mark.rfc("4861", "6.2.1 reachable")
@pytest.mark.rfc("4861", "6.2.1 lifetime")
@pytest.mark.rfc("4861", "6.2.2 group")
@pytest.mark.rfc("4861", "6.2.3 content")
@pytest.mark.rfc("4861", "6.2.6 answer")
def test_a_solicitation_is_answered_at_once(net: Net) -> None:
    net.send(router_solicitation())
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (GUEST_MAC, LINK_LOCAL)
    hop_limit, _, lifetime, options = advertisement(frame)
    assert (hop_limit, lifetime) == (64, 1800)
    assert options[0] == b"\1\1" + ROUTER_MAC
    assert struct.pack("!BBxxI", 5, 1, 1500) in options
    assert prefix("fec0::", 64, 0xC0) in options


@pytest.mark.rfc("4861", "4.6.2 bits")
@pytest.mark.rfc("4862", "5.5.3 prefix")
@pytest.mark.parametrize(
    ("net6", "flags"), [("fd00:7::/64", 0xC0), ("fd00:7::/48", 0x80), ("fd00:7::/126", 0x80)]
)
def test_only_a_prefix_of_64_bits_is_for_addresses_of_the_guests_choice(net6: str, flags: int) -> None:
    net = Net(config(net6=net6))
    net.send(router_solicitation())
    assert prefix("fd00:7::", int(net6.partition("/")[2]), flags) in advertisement(net.one())[3]


@pytest.mark.rfc("4861", "6.2.6 answer")
def test_without_a_source_all_nodes_are_answered(net: Net) -> None:
    net.send(router_solicitation(b"", source=UNSPECIFIED))
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (mac_of(ALL_NODES), ALL_NODES)


def adverts(net: Net) -> list[Any]:
    return [advertisement(frame) for frame in net.take()]


@pytest.mark.rfc("4861", "6.2.1 intervals")
@pytest.mark.rfc("4861", "6.2.4 interval")
@pytest.mark.rfc("4861", "6.2.4 initial")
@pytest.mark.rfc("4861", "6.2.6 minimum")
def test_unsolicited_advertisements_come_at_the_rate_of_the_rfc(net: Net) -> None:
    times = []
    for second in range(4000):
        net.run(1)
        times += [second] * len(adverts(net))
    steps = [late - early for early, late in zip([0, *times], times, strict=False)]
    assert all(3 <= step <= 17 for step in steps[:3])
    assert all(199 <= step <= 601 for step in steps[3:])
    assert len(steps) >= 9


@pytest.mark.rfc("4861", "6.2.2 quiet")
def test_a_guest_without_ipv6_is_left_in_peace() -> None:
    net = Net(config())
    net.know()
    assert net.stack.deadline() is None
    net.run(2000)
    net.silence()
    net.stack.close()
    assert net.stats.ndp_router_adverts == 0


@pytest.mark.rfc("4861", "6.2.5")
def test_at_the_end_the_router_takes_its_leave(net: Net) -> None:
    net.send(router_solicitation())
    net.take()
    net.stack.close()
    frame = net.one()
    assert (frame.dst, frame.data.dst) == (mac_of(ALL_NODES), ALL_NODES)
    assert advertisement(frame)[2] == 0
    net.run(1000)
    net.silence()


@pytest.mark.rfc("4861", "6.2.5")
def test_the_router_takes_its_leave_on_all_links_with_ipv6(net: Net) -> None:
    wires = [net.wire, net.attach(), net.attach()]
    net.send(router_solicitation())
    mac = b"\x52\x54\0\0\0\x77"
    net.send(router_solicitation(b"\1\1" + mac, mac=mac, source=ip6("fe80::77")), wire=wires[1])
    for wire in wires:
        net.take(wire)
    before = net.stats.ndp_router_adverts
    net.stack.close()
    assert [len(net.take(wire)) for wire in wires] == [1, 1, 0]
    assert net.stats.ndp_router_adverts - before == 2


# -------------------------------------------------------------------------------------------------- ping


@pytest.mark.rfc("4443", "4.1 code")
@pytest.mark.rfc("4443", "4.2 reply")
@pytest.mark.rfc("4443", "4.2 source")
@pytest.mark.rfc("4443", "4.2 data")
@pytest.mark.parametrize("address", [GATEWAY6, ROUTER, DNS6])
@pytest.mark.parametrize("source", [LINK_LOCAL, GUEST6])
def test_the_virtual_hosts_answer_pings(net: Net, address: bytes, source: bytes) -> None:
    data = bytes(range(256)) * 3
    net.send(echo6(data, 9, 5, source=source, destination=address))
    frame = net.one()
    assert frame.dst == GUEST_MAC
    assert (frame.data.src, frame.data.dst, frame.data.hlim) == (address, source, 255)
    message = bytes(frame.data.data)
    assert message[:2] == b"\x81\0"
    assert message[4:] == struct.pack("!HH", 9, 5) + data
    assert net.stats.icmp_echo_replies == 1


@pytest.mark.parametrize(
    "source", [UNSPECIFIED, LOOPBACK6, GATEWAY6, WORLD6, ALL_NODES, ip6("::ffff:10.0.2.15")]
)
def test_sources_that_no_guest_has(net: Net, source: bytes) -> None:
    net.send(echo6(source=source, destination=GATEWAY6))
    net.send(udp6(b"x", source=source))
    net.send(tcp6(SYN, 1, source=source))
    net.silence()
    assert drops(net) == {"drop_ip_source": 3}
    assert net.host.calls == []


@pytest.mark.rfc("4443", "2.3")
@pytest.mark.rfc("8200", "8.1 pseudo-header")
def test_damaged_messages(net: Net) -> None:
    net.send(echo6(destination=GATEWAY6, wrong=1), ipv6(ICMPV6, b"\x80\0\0", destination=GATEWAY6))
    assert drops(net) == {"drop_icmp_malformed": 2}
    net.send(udp6(b"x", wrong=1), tcp6(SYN, 1, wrong=1))
    assert (net.stats.drop_udp_checksum, net.stats.drop_tcp_checksum) == (1, 1)
    net.silence()


@pytest.mark.rfc("8200", "8.1 udp")
@pytest.mark.rfc("8200", "8.1 udp zero")
@pytest.mark.parametrize("count", [1, 3])
def test_a_checksum_of_zero_is_sent_as_its_complement(net: Net, count: int) -> None:
    header = struct.pack("!HHHH", 9, 5000, 10, 0)
    payload = rfc1071(WORLD6 + GUEST6 + struct.pack("!II", 10, UDP) + header + bytes(2)).to_bytes(2, "big")
    net.host.serve_udp(WORLD6, 9, lambda *_: payload)
    net.send(*[udp6(b"x")] * count)
    net.run(0.01)
    answers = of_kind(net.take(), UDP)
    assert [(answer.data.sum, bytes(answer.data.data)) for answer in answers] == [(0xFFFF, payload)] * count


def test_udp_needs_a_checksum(net: Net) -> None:
    net.send(ipv6(UDP, struct.pack("!HHHH", 5000, 9, 9, 0) + b"x"))
    assert drops(net) == {"drop_udp_checksum": 1}


def test_datagrams_to_an_unknown_group_are_dropped(net: Net) -> None:
    net.send(udp6(b"mdns", destination=ip6("ff02::fb"), dport=5353))
    assert drops(net) == {"drop_ipv6_group": 1}


@pytest.mark.rfc("4443", "4.2 interface")
@pytest.mark.rfc("4443", "4.2 upper")
def test_a_ping_of_the_world(net: Net) -> None:
    net.host.answer_ping(WORLD6)
    net.send(echo6(b"hello", 77, 3, hop_limit=9))
    net.run(0.01)
    packet = net.one().data
    assert (packet.src, packet.dst) == (WORLD6, GUEST6)
    assert bytes(packet.data)[:2] == b"\x81\0"
    assert bytes(packet.data)[4:] == struct.pack("!HH", 77, 3) + b"hello"


# --------------------------------------------------------------------------------------------------- UDP


def test_a_datagram_to_the_world_and_back(net: Net) -> None:
    server = net.host.serve_udp(WORLD6, 9, lambda payload, address, port: b"world")
    net.send(udp6(b"hello"))
    net.run(0.01)
    assert [datagram.payload for datagram in server.received] == [b"hello"]
    packet = net.one().data
    assert (packet.src, packet.dst, packet.data.sport, packet.data.dport) == (WORLD6, GUEST6, 9, 5000)
    assert bytes(packet.data.data) == b"world"


@pytest.mark.parametrize("gateway", [GATEWAY6, ROUTER])
def test_the_gateway_is_the_hosts_loopback(net: Net, gateway: bytes) -> None:
    net.host.serve_udp(LOOPBACK6, 9, lambda payload, address, port: b"world")
    net.send(udp6(b"hello", destination=gateway))
    net.run(0.01)
    packet = net.one().data
    assert packet.src == gateway
    assert bytes(packet.data.data) == b"world"


@pytest.mark.rfc("4443", "2.2 b")
@pytest.mark.rfc("4443", "3.1 sent")
@pytest.mark.rfc("4443", "3.1 code 3")
@pytest.mark.rfc("4443", "3.1 unused")
def test_an_unassigned_address_of_the_network_is_unreachable(net: Net) -> None:
    for destination in (ip6("fec0::77"), ip6("fe80::77")):
        net.send(udp6(b"x", destination=destination))
        assert error(net)[:3] == (1, 3, 0)
    assert net.host.calls == []


@pytest.mark.rfc("4443", "2.2 a")
@pytest.mark.rfc("4443", "2.4 c")
@pytest.mark.rfc("4443", "3.1 code 4")
@pytest.mark.rfc("4443", "3.1 unused")
def test_a_port_of_the_dns_server_that_is_closed(net: Net) -> None:
    frame = udp6(b"x" * 2000, destination=DNS6)
    net.send(frame)
    kind, code, rest, quoted = error(net, DNS6)
    assert (kind, code, rest) == (1, 4, 0)
    assert quoted == frame[14 : 14 + 1232]


@pytest.mark.parametrize("destination", [LOOPBACK6, UNSPECIFIED, ip6("::ffff:198.51.100.7")])
def test_destinations_that_cannot_be(net: Net, destination: bytes) -> None:
    net.send(udp6(b"x", destination=destination), tcp6(SYN, 1, destination=destination))
    net.silence()
    assert drops(net) == {"drop_ip_destination": 2}
    assert net.host.calls == []


@pytest.mark.rfc("4443", "3.3 hop limit")
@pytest.mark.rfc("8200", "3 hop limit")
@pytest.mark.rfc("8200", "3 destination")
@pytest.mark.rfc("4443", "3.1 code 2")
@pytest.mark.parametrize("destination", [WORLD6, ip6("fd00::1"), ip6("64:ff9b::198.51.100.7")])
@pytest.mark.parametrize("policy", [None, lambda request: Verdict(Action.ALLOW)])
def test_a_link_local_address_leads_no_further(destination: bytes, policy: Any) -> None:
    net = Net(config(nat64=True, policy=policy))
    know6(net, LINK_LOCAL)
    net.silence()
    to: dict[str, Any] = {"source": LINK_LOCAL, "destination": destination}
    for frame in (tcp6(SYN, 1, **to), udp6(b"x", **to), echo6(**to)):
        net.send(frame)
        packet = net.one().data
        assert (packet.src, packet.dst, bytes(packet.data)[:2]) == (ROUTER, LINK_LOCAL, b"\1\2")
        assert bytes(packet.data)[8:] == frame[14:]
    assert drops(net) == {"drop_ip_scope": 3}
    assert net.host.calls == []
    assert net.stack.flows() == []


def test_a_link_local_address_reaches_the_gateway(net: Net) -> None:
    net.host.serve_udp(LOOPBACK6, 9, lambda payload, address, port: payload.upper())
    know6(net, LINK_LOCAL)
    net.silence()
    for destination in (ROUTER, GATEWAY6):
        net.send(udp6(b"x", source=LINK_LOCAL, destination=destination))
        net.run(0.01)
        packet = net.one().data
        assert (packet.src, packet.dst, bytes(packet.data.data)) == (destination, LINK_LOCAL, b"X")


def test_an_existing_flow_does_not_widen_the_scope(net: Net) -> None:
    """The second destination of a socket is checked like the first."""
    net.host.serve_udp(LOOPBACK6, 9)
    know6(net, LINK_LOCAL)
    net.silence()
    net.send(udp6(b"x", source=LINK_LOCAL, destination=ROUTER), udp6(b"y", source=LINK_LOCAL))
    assert [bytes(packet.data)[:2] for packet in of_kind(net.take(), ICMPV6)] == [b"\1\2"]
    assert [call.address for call in net.calls("send_udp")] == [LOOPBACK6]


def test_to_a_guest_with_a_link_local_address_all_clients_are_the_gateway() -> None:
    """The guest could not answer any other address."""
    net = Net(config(hostfwd=[f"{kind}:[::]:70-[fe80::5054:ff:fe12:3456]:80" for kind in ("udp", "tcp")]))
    know6(net, LINK_LOCAL)
    net.silence()
    net.host.connect("2001:db8::1", 70)
    for number in (1, 2):
        net.host.send_udp(b"%d" % number, "2001:db8::1", 70, (f"2001:db8:99::{number}", 4000))
    net.run(0.01)
    packets = [frame.data for frame in net.take()]
    assert {(packet.src, packet.dst) for packet in packets} == {(ROUTER, LINK_LOCAL)}
    assert [packet.data.flags for packet in packets if packet.nxt == TCP] == [SYN]
    for packet in packets:
        if packet.nxt == UDP:
            answer = {"sport": 80, "dport": packet.data.sport, "source": LINK_LOCAL, "destination": ROUTER}
            net.send(udp6(bytes(packet.data.data) * 2, **answer))
    sent = [(call.detail, call.address[-1]) for call in net.calls("send_udp")]
    assert sent == [(b"11", 1), (b"22", 2)]


def test_the_hop_limit_ends_at_the_gateway(net: Net) -> None:
    for hop_limit in (0, 1):
        net.send(udp6(b"x", hop_limit=hop_limit))
        assert error(net)[:3] == (3, 0, 0)
    assert drops(net) == {"drop_ip_ttl": 2}
    net.send(echo6(destination=GATEWAY6, hop_limit=0))
    assert bytes(net.one().data.data)[0] == 129


@pytest.mark.rfc("4443", "3.4 code 1")
@pytest.mark.rfc("4443", "3.4 pointer")
@pytest.mark.rfc("4443", "3.4 discard")
@pytest.mark.rfc("4443", "3.4 sent")
@pytest.mark.rfc("8200", "4 unknown")
def test_an_unknown_protocol(net: Net) -> None:
    net.send(ipv6(132, bytes(20)))
    assert error(net)[:3] == (4, 1, 6)
    assert drops(net) == {"drop_ip_protocol": 1}
    net.send(ipv6(60, bytes((132, 0, 1, 4, 0, 0, 0, 0)) + bytes(20)))
    assert error(net)[:3] == (4, 1, 40)


# --------------------------------------------------------------------------------------------------- TCP


@pytest.mark.parametrize(
    ("destination", "served"), [(WORLD6, WORLD6), (GATEWAY6, LOOPBACK6), (ROUTER, LOOPBACK6)]
)
def test_a_connection(net: Net, destination: bytes, served: bytes) -> None:
    net.host.serve_tcp(served, 80, Echo)
    peer = Peer6(net, destination)
    peer.open()
    data = bytes(range(256)) * 20
    peer.send(ACK, data[:1400])
    for start in range(1400, len(data), 1400):
        peer.send(ACK, data[start : start + 1400])
        net.run(0.01)
        peer.take()
        peer.send()
    net.run(0.1)
    peer.take()
    assert peer.received == data
    peer.send(ACK | FIN)
    net.run(0.1)
    assert [segment.flags & FIN for segment in peer.take()][-1]
    peer.send()
    net.run(0.1)
    assert net.stack.tcp_flows == {}
    assert drops(net) == {}


@pytest.mark.rfc("8200", "8.3")
def test_segments_fit_the_link(net: Net) -> None:
    net.host.serve_tcp(WORLD6, 80, Echo)
    peer = Peer6(net)
    peer.send(SYN, options=b"\2\4\xff\xff")
    net.run(0.01)
    (answer,) = peer.take()
    assert answer.opts[:4] == b"\2\4" + struct.pack("!H", 1440)
    peer.send()
    for _ in range(3):
        peer.send(ACK, bytes(1440))
    net.run(0.01)
    assert {len(segment.data) for segment in peer.take()} == {0, 1440} or peer.received


def test_a_refused_connection(net: Net) -> None:
    peer = Peer6(net)
    peer.send(SYN)
    net.run(0.01)
    (answer,) = peer.take()
    assert answer.flags == RST | ACK
    assert answer.ack == 1001


@pytest.mark.parametrize(
    ("flags", "data", "fields"),
    [(ACK, b"", (RST, 77, 0)), (0, b"abc", (RST | ACK, 0, 8)), (FIN, b"abc", (RST | ACK, 0, 9))],
    ids=["ACK", "no ACK", "FIN"],
)
def test_a_segment_of_no_connection(net: Net, flags: int, data: bytes, fields: tuple[int, int, int]) -> None:
    net.send(tcp6(flags, 5, 77, data))
    (answer,) = of_kind(net.take(), TCP)
    segment = answer.data
    assert (answer.src, answer.dst, segment.sport, segment.dport) == (WORLD6, GUEST6, 80, 40000)
    assert (segment.flags, segment.seq, segment.ack) == fields
    assert (segment.off, segment.win, segment.urp, segment.data) == (5, 0, 0, b"")


# ----------------------------------------------------------------------------------------- switched off


def test_without_ipv4_its_frames_are_counted() -> None:
    net = Net(config(ipv4=False))
    net.send(arp(1))
    net.silence()
    assert drops(net) == {"drop_ipv4": 1}
    net.send(echo6(destination=GATEWAY6))
    assert bytes(net.one().data.data)[0] == 129
    assert net.stack.now > SECOND


@pytest.mark.rfc("8200", "5 least")
@pytest.mark.parametrize("given", [{"ipv6": False}, {"mtu": 1279}])
def test_without_ipv6_there_is_nothing_but_an_empty_advertisement(given: dict[str, Any]) -> None:
    net = Net(config(**given))
    net.send(echo6(destination=GATEWAY6), udp6(b"x"), neighbor_solicitation(GATEWAY6))
    net.silence()
    net.send(router_solicitation())
    hop_limit, flags, lifetime, options = advertisement(net.one())
    assert (hop_limit, flags, lifetime, options) == (0, 0, 0, [b"\1\1" + ROUTER_MAC])


# ---------------------------------------------------------------------------- a host without IPv6


@pytest.mark.rfc("4443", "3.1 code 0")
@pytest.mark.parametrize("without", ["route", "sockets"])
def test_a_host_without_ipv6_says_no_route_at_once(net: Net, without: str) -> None:
    if without == "route":
        net.host.ipv6 = False
    else:
        net.host.families.remove(6)
    started = net.now
    for frame in (tcp6(SYN, 1), udp6(b"x"), echo6()):
        net.send(frame)
        kind, code, rest, quoted = error(net)
        assert (kind, code, rest) == (1, 0, 0)
        assert quoted == frame[14:]
    assert net.now == started
    assert net.stack.tcp_flows == {}
    no_socket = int(without == "sockets")
    counted = {"drop_udp_host_error": 1, "drop_icmp_refused": no_socket, "drop_icmp_host_error": 1 - no_socket}
    assert drops(net) == {name: count for name, count in counted.items() if count}


def test_datagrams_that_no_socket_is_left_for_are_counted(net: Net) -> None:
    net.host.max_sockets = 0
    net.send(udp6(b"x"))
    net.silence()
    assert drops(net) == {"drop_udp_no_socket": 1}


@pytest.mark.parametrize("answered", [True, False])
def test_the_gateway_of_a_host_without_ipv6_is_127_0_0_1(net: Net, answered: bool) -> None:
    net.host.families.remove(6)
    if answered:
        net.host.serve_udp(LOOPBACK, 9, lambda payload, address, port: payload.upper())
        net.host.serve_tcp(LOOPBACK, 9, Echo)
    net.send(udp6(b"hello", destination=GATEWAY6), tcp6(SYN, 1, dport=9, destination=GATEWAY6))
    net.run(0.1)
    frames = net.take()
    (segment,) = of_kind(frames, TCP)
    assert segment.data.flags & RST == (0 if answered else RST)
    if answered:
        assert bytes(of_kind(frames, UDP)[0].data.data) == b"HELLO"
    else:
        assert bytes(of_kind(frames, ICMPV6)[0].data)[:2] == b"\1\4"


def test_a_host_that_has_only_ipv6_says_so_too() -> None:
    net = Net(config())
    net.host.families.remove(4)
    net.send(arp(1), udp(b"x"))
    unreachable(net.take()[-1], 0)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETDOWN])
def test_a_host_without_an_address_has_no_route_either(net: Net, number: int) -> None:
    net.host.unreachable(WORLD6, None, error=number, at_once=True)
    for frame in (tcp6(SYN, 1), udp6(b"x")):
        net.send(frame)
        assert error(net)[:3] == (1, 0, 0)


@pytest.mark.rfc("4443", "2.2 b")
@pytest.mark.parametrize(
    ("number", "code"), [(errno.EHOSTUNREACH, 3), (errno.EACCES, 1), (errno.ENETUNREACH, 0)]
)
def test_errors_on_the_way_come_from_their_reporter(net: Net, number: int, code: int) -> None:
    router = ip6("2001:db8:1::1")
    net.host.path(WORLD6, hops=[router])
    net.host.unreachable(WORLD6, 9, error=number)
    frame = udp6(b"x" * 100, hop_limit=33)
    net.send(frame)
    net.run(0.1)
    packet = net.one().data
    assert (packet.src, packet.dst) == (router, GUEST6)
    message = bytes(packet.data)
    assert message[:2] == bytes((1, code))
    assert message[8:] == frame[14:21] + b"\x40" + frame[22:]


@pytest.mark.rfc("8200", "3 hop limit")
def test_a_trace_by_hop_limits(net: Net) -> None:
    hops = [ip6(f"2001:db8:{number}::1") for number in range(1, 4)]
    net.host.path(WORLD6, hops=hops)
    net.host.answer_ping(WORLD6)
    senders = []
    for hop_limit in range(1, 6):
        net.send(echo6(seq=hop_limit, hop_limit=hop_limit))
        net.run(0.1)
        packet = net.one().data
        senders.append((packet.src, bytes(packet.data)[0]))
    assert senders == [(GATEWAY6, 3), *((hop, 3) for hop in hops), (WORLD6, 129)]


# ---------------------------------------------------------------------- the two loopbacks of the host


LOOPBACK = ip("127.0.0.1")


@pytest.mark.parametrize("listener", [LOOPBACK, LOOPBACK6])
@pytest.mark.parametrize("gateway", [GATEWAY6, ROUTER])
def test_a_connection_finds_the_loopback_with_a_listener(net: Net, gateway: bytes, listener: bytes) -> None:
    net.host.serve_tcp(listener, 80, Echo)
    peer = Peer6(net, gateway)
    peer.open()
    peer.send(ACK, b"hello")
    net.run(0.1)
    peer.take()
    assert peer.received == b"hello"
    calls = [call.address for call in net.calls("connect_tcp")]
    assert calls == [LOOPBACK6, LOOPBACK][: 1 + (listener == LOOPBACK)]


def test_a_connection_that_both_loopbacks_refuse(net: Net) -> None:
    peer = Peer6(net, GATEWAY6)
    peer.send(SYN)
    net.run(0.1)
    (answer,) = peer.take()
    assert answer.flags == RST | ACK
    assert [call.address for call in net.calls("connect_tcp")] == [LOOPBACK6, LOOPBACK]
    assert net.stack.tcp_flows == {}


def test_ipv4_tries_its_own_loopback_first() -> None:
    for plan, calls in ((config(), [LOOPBACK, LOOPBACK6]), (config(ipv6=False), [LOOPBACK])):
        net = Net(plan)
        net.know()
        net.send(syn4(GATEWAY))
        net.run(0.1)
        assert [call.address for call in net.calls("connect_tcp")] == calls


def test_a_reset_ends_the_search(net: Net) -> None:
    peer = Peer6(net, GATEWAY6)
    peer.send(SYN)
    peer.send(RST)
    net.run(0.1)
    net.silence()
    assert [call.address for call in net.calls("connect_tcp")] == [LOOPBACK6]


@pytest.mark.parametrize("count", [1, 5])
def test_datagrams_find_the_loopback_with_a_listener(net: Net, count: int) -> None:
    server = net.host.serve_udp(LOOPBACK, 9, lambda payload, address, port: payload.upper())
    for number in range(count):
        net.send(udp6(b"hello %d" % number, destination=GATEWAY6))
    net.run(0.01)
    sent = [b"hello %d" % number for number in range(count)]
    assert [received.payload for received in server.received] == sent
    packets = of_kind(net.take(), UDP)
    assert [bytes(packet.data.data) for packet in packets] == [payload.upper() for payload in sent]
    assert {packet.src for packet in packets} == {GATEWAY6}
    net.send(udp6(b"again", destination=GATEWAY6))
    net.run(0.01)
    assert server.received[-1].payload == b"again"
    assert [bytes(packet.data.data) for packet in of_kind(net.take(), UDP)] == [b"AGAIN"]


@pytest.mark.parametrize("dont_fragment", [True, False])
def test_datagrams_keep_their_headers_when_they_go_elsewhere(net: Net, dont_fragment: bool) -> None:
    server = net.host.serve_udp(LOOPBACK6, 9)
    segment = udp_segment(b"hello", 5000, 9, GUEST, GATEWAY)
    packet = ipv4(17, segment, destination=GATEWAY, ttl=7, fragment=0x4000 if dont_fragment else 0)
    net.send(eth(packet))
    net.run(0.01)
    (received,) = server.received
    assert (received.payload, received.shape.ttl, received.shape.dont_fragment) == (b"hello", 6, dont_fragment)


def test_datagrams_that_both_loopbacks_refuse(net: Net) -> None:
    frame = udp6(b"hello", destination=GATEWAY6)
    net.send(frame)
    net.run(0.1)
    packet = net.one().data
    assert (packet.src, bytes(packet.data)[:2]) == (GATEWAY6, b"\1\4")
    assert bytes(packet.data)[8:] == frame[14:]
    net.run(300)
    assert net.stack.flows() == []
    assert not net.host._open


def test_stored_datagrams_are_bounded(net: Net) -> None:
    net.host.black_hole(LOOPBACK6, 9)
    for _ in range(40):
        net.send(udp6(bytes(100), destination=GATEWAY6))
    (flow,) = net.stack._udp.flows.values()
    assert flow._trials == {}
    assert len(net.calls("send_udp")) == 40


def test_an_answer_ends_the_trial(net: Net) -> None:
    net.host.serve_udp(LOOPBACK6, 9, lambda payload, address, port: b"yes")
    net.send(udp6(b"x", destination=GATEWAY6))
    net.run(0.1)
    (flow,) = net.stack._udp.flows.values()
    assert flow._trials == {}


@pytest.mark.parametrize("network", ["fec0::/64", "fd00:1::/48"])
def test_a_host_without_loopback_for_guests(network: str) -> None:
    net = Net(config(host_loopback=False, net6=network))
    guest = ip6(network.partition("/")[0])[:15] + b"\x15"
    know6(net, guest)
    net.silence()
    for gateway in (net.config.gateway_address6, ROUTER):
        net.send(udp6(b"x", source=guest, destination=gateway), echo6(source=guest, destination=gateway))
        refused, answered = of_kind(net.take(), ICMPV6)
        assert bytes(refused.data)[:2] == b"\1\0"
        assert bytes(answered.data)[0] == 129
    assert net.host.calls == []
