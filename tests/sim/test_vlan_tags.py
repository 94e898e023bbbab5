"""VLAN tags: a priority tag changes nothing, others are refused by name; between guests all tags pass."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import dpkt
import pytest

from slirpy.interfaces import LinkFeatures
from slirpy.links.corruption import corrupt_received
from slirpy.testing import Echo
from slirpy.wire.describe import describe
from tests.support.frames6 import know6, udp6
from tests.support.harness import (
    ACK,
    BROADCAST,
    DNS,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    PSH,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    echo,
    eth,
    ip,
    ipv4,
    options,
    udp,
    udp_segment,
)

OTHER, OTHER_MAC = ip("10.0.2.16"), bytes.fromhex("525400123457")


def tagged(
    frame: bytes, vlan: int = 0, priority: int = 0, *, kind: int = 0x8100, eligible: bool = False
) -> bytes:
    """The frame with a tag; not longer than a frame without one has to be."""
    control = priority << 13 | eligible << 12 | vlan
    return frame[:12] + kind.to_bytes(2, "big") + control.to_bytes(2, "big") + frame[12:]


Tag = Callable[[bytes], bytes]
TAGS: list[Tag] = [
    tagged,
    lambda frame: tagged(frame, priority=5),
    lambda frame: tagged(frame, priority=7, eligible=True),
    lambda frame: tagged(frame, kind=0x88A8),
    lambda frame: tagged(frame)[:60],  # the padding makes room for the tag
]


@pytest.mark.parametrize("tag", TAGS)
def test_arp_and_ping(tag: Tag) -> None:
    net = Net()
    net.send(tag(arp(1)))
    reply = net.one()
    assert (reply.type, reply.data.op, reply.data.spa) == (0x806, 2, GATEWAY)
    net.send(tag(echo(b"data")))
    assert bytes(net.one().data.data.data.data) == b"data"
    assert net.stats.dropped() == 0


@pytest.mark.parametrize("fastpath", [True, False])
@pytest.mark.parametrize("hub", [True, False])
def test_tcp(fastpath: bool, hub: bool) -> None:
    net = Net(config(hub=hub), fastpath=fastpath)
    net.host.serve_tcp(WORLD, 80, Echo)
    peer = Peer(net)
    net.send(tagged(peer.frame(SYN, opts=options())))
    peer.seq += 1
    net.run(0.01)
    answer = peer.one(SYN | ACK)
    peer.ack = answer.seq + 1
    net.send(tagged(peer.frame(ACK)))
    for number in range(4):
        data = bytes([number]) * 1000
        net.send(tagged(peer.frame(ACK | PSH, data), priority=number))
        peer.seq += 1000
        net.run(0.01)
        assert peer.receive() == data
        peer.send(ACK)  # and without a tag in between
    assert net.stats.dropped() == 0
    assert (net.stats.tcp_fastpath > 4) == (fastpath and not hub)


@pytest.mark.parametrize("fastpath", [True, False])
def test_udp_and_fragments(fastpath: bool) -> None:
    net = Net(fastpath=fastpath)
    net.host.serve_udp(WORLD, 9, lambda payload, address, port: payload)
    for number in range(3):
        net.send(tagged(udp(b"x" * 100)))
        segment = udp_segment(bytes([number]) * 2900, 5000, 9)
        first = eth(ipv4(17, segment[:1480], ident=number, fragment=0x2000))
        net.send(tagged(first), tagged(eth(ipv4(17, segment[1480:], ident=number, fragment=185))))
    net.run(0.01)
    assert [len(call.detail) for call in net.calls("send_udp")] == [100, 2900] * 3
    assert net.stats.udp_fastpath == (5 if fastpath else 0)


@pytest.mark.parametrize("fastpath", [True, False])
def test_udp_over_ipv6(fastpath: bool) -> None:
    net = Net(fastpath=fastpath)
    know6(net)
    for _ in range(3):
        net.send(tagged(udp6(b"x" * 100)))
    assert [call.detail for call in net.calls("send_udp")] == [b"x" * 100] * 3
    assert net.stats.udp_fastpath == (2 if fastpath else 0)


def test_dhcp_and_dns() -> None:
    net = Net(config())
    mac = bytes.fromhex("525400123499")
    message = (
        b"\1\1\6\0" + b"abcd" + bytes(20) + mac + bytes(10 + 192) + b"\x63\x82\x53\x63" + b"\x35\1\1" + b"\xff"
    )
    packet = ipv4(
        17, udp_segment(message, 68, 67, bytes(4), b"\xff" * 4), source=bytes(4), destination=b"\xff" * 4
    )
    net.send(tagged(eth(packet, source=mac, destination=BROADCAST), priority=6))
    net.run(1)
    offer = [frame for frame in net.take() if frame.type == 0x800]
    assert offer[0].data.data.sport == 67
    question = b"\0\7\1\0\0\1\0\0\0\0\0\0\7gateway\7slirpy\0\0\1\0\1"
    net.send(tagged(udp(question, dport=53, destination=DNS)))
    net.run(0.1)
    assert net.stats.dns_queries == 1


def test_the_link_vouches_for_the_checksum() -> None:
    """Of a tagged frame too, whose headers lie four bytes further on."""
    net = Net(checksummed=True, features=LinkFeatures(checksum_offload=True, segmentation_offload=True))
    frame = bytearray(udp(b"partial"))
    frame[40:42] = b"\x12\x34"
    net.send(tagged(bytes(frame)))
    assert [call.detail for call in net.calls("send_udp")] == [b"partial"]


@pytest.mark.parametrize(
    ("frame", "counter"),
    [
        (tagged(echo(), 1), "drop_ethernet_vlan"),
        (tagged(echo(), 4095, 3), "drop_ethernet_vlan"),
        (tagged(echo(), 256), "drop_ethernet_vlan"),
        (tagged(arp(1), 2), "drop_ethernet_vlan"),
        (tagged(tagged(echo())), "drop_ethernet_tags"),
        (tagged(tagged(echo(), 5), kind=0x88A8), "drop_ethernet_tags"),
        (tagged(tagged(echo(), 5), 7), "drop_ethernet_tags"),
        (tagged(echo())[:17], "drop_ethernet_short"),
        (tagged(echo())[:14], "drop_ethernet_short"),
        (tagged(eth(b"", kind=0x88CC)), "drop_ethernet_type"),
        (tagged(echo())[:20], "drop_ip_header"),
        (tagged(echo(mac=b"\2\2\2\2\2\2")), "drop_ethernet_destination"),
        (tagged(eth(b"", source=GATEWAY_MAC, kind=0x800)), "drop_ethernet_source"),
    ],
)
def test_tags_that_are_refused(frame: bytes, counter: str) -> None:
    net = Net()
    net.send(frame, frame, frame)
    net.silence()
    assert {name: value for name, value in net.stats.nonzero().items() if name.startswith("drop_")} == {
        counter: 3
    }


@pytest.mark.parametrize("hub", [True, False])
@pytest.mark.parametrize(("vlan", "priority"), [(0, 5), (100, 0), (4094, 7)])
def test_between_guests_tags_stay(vlan: int, priority: int, hub: bool) -> None:
    net = Net(config(hub=hub))
    wire = net.attach()
    net.know(address=OTHER, mac=OTHER_MAC, wire=wire)
    net.raw()
    packet = ipv4(17, udp_segment(b"hello", 1, 2, GUEST, OTHER), destination=OTHER)
    frame = tagged(eth(packet, destination=OTHER_MAC), vlan, priority)
    net.send(frame)
    assert [bytes(each.parts[0]) for each in wire.sent] == [frame]
    wire.sent.clear()
    question = tagged(arp(1, target=OTHER), vlan, priority)
    net.send(question)
    assert [bytes(each.parts[0]) for each in wire.sent] == [question]
    doubled = tagged(frame, 9, kind=0x88A8)
    wire.sent.clear()
    net.send(doubled)
    assert [bytes(each.parts[0]) for each in wire.sent] == [doubled]


def test_a_tagged_question_for_the_gateway_is_flooded_and_answered_once() -> None:
    net = Net()
    wire = net.attach()
    net.send(tagged(arp(1)))
    assert net.one().data.spa == GATEWAY
    assert len(wire.sent) == 1
    assert net.stats.switch_flooded == 1


def test_damage_to_a_tagged_frame_is_one_bit() -> None:
    """A checksum that was left to the link is completed before, wherever the tag has moved it."""
    right = udp(b"damaged" * 10)
    partial = right[:40] + b"\x12\x34" + right[42:]
    for seed in range(20):
        damaged, checked, _ = corrupt_received((tagged(partial), True, 0), Random(seed))
        assert not checked
        difference = int.from_bytes(damaged, "big") ^ int.from_bytes(tagged(right), "big")
        assert difference.bit_count() == 1


def test_a_line_for_people() -> None:
    assert describe(tagged(arp(1), 0, 5)) == "vlan 0, p 5, ARP, Request who-has 10.0.2.2 tell 10.0.2.15"
    assert describe(tagged(tagged(arp(1), 7), 3)).startswith("vlan 3, p 0, vlan 7, p 0, ARP")
    assert "0x8100" in describe(tagged(arp(1))[:15])


def test_every_broadcast_of_a_flow_reaches_the_other_guests() -> None:
    """And not only the first one: what is for all has no fast path."""
    net = Net()
    wire = net.attach()
    net.know()
    for number in range(3):
        net.send(udp(b"who?%d" % number, destination=ip("10.0.2.255"), to=BROADCAST))
        net.run(2)
        assert len([frame for frame in wire.sent if b"who?" in bytes(frame.parts[0])]) == number + 1
    assert [bytes(call.detail) for call in net.calls("send_udp")] == [b"who?0", b"who?1", b"who?2"]


# -------------------------------------------------------------------------------------- ARP that nobody answers


def test_unanswered_arp_requests_are_counted() -> None:
    net = Net()
    net.send(arp(1, target=ip("10.0.2.77")))
    net.send(arp(1, target=WORLD))
    net.send(arp(1, sender=bytes(4), target=ip("10.0.2.78")))  # a probe
    net.silence()
    assert net.stats.arp_nobody == 3
    net.send(arp(1, target=GUEST))  # an announcement asks nothing
    net.send(arp(1, target=GATEWAY))
    assert net.stats.arp_nobody == 3
    wire = net.attach()
    net.know(address=OTHER, mac=OTHER_MAC, wire=wire)
    net.send(arp(1, target=OTHER))  # who is there answers by itself
    assert net.stats.arp_nobody == 3


def test_our_own_unanswered_arp_requests_are_counted() -> None:
    net = Net(config(hostfwd=["udp:127.0.0.1:0-10.0.2.15:7000"]))
    rule = net.stack.hostfwds()[0]
    net.host.send_udp(b"news", rule.host_address.packed, rule.host_port)
    net.run(0.5)
    assert net.one().data.tpa == GUEST
    assert net.stats.arp_unanswered == 0
    net.run(1)
    assert (net.stats.arp_unanswered, net.stats.drop_neighbor_unresolved) == (1, 1)


def test_replies_and_operations_that_cannot_be_used_count() -> None:
    net = Net()
    net.send(arp(2, sender=WORLD, to=GATEWAY_MAC))
    mismatch = bytearray(arp(2, to=GATEWAY_MAC))
    mismatch[22:28] = OTHER_MAC
    net.send(bytes(mismatch))
    assert net.stats.drop_arp_sender == 2
    net.send(arp(3), arp(8))
    assert net.stats.drop_arp_operation == 2
    assert isinstance(dpkt.ethernet.Ethernet(arp(2)).data, dpkt.arp.ARP)
    net.send(arp(2, to=GATEWAY_MAC))
    assert (net.stats.drop_arp_sender, net.stats.drop_arp_operation) == (2, 2)
    assert GUEST_MAC in [neighbor.mac for neighbor in net.stack.neighbors.known()]
