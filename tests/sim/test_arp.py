"""ARP: requests that are answered, addresses that are learnt, and packets that wait for a reply."""

from __future__ import annotations

from typing import Any

import dpkt
import pytest

from tests.support.harness import (
    BROADCAST,
    DNS,
    DNS_MAC,
    GATEWAY,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    SECOND,
    WORLD,
    Net,
    arp,
    config,
    echo,
    eth,
    ip,
    udp,
)

OTHER_MAC = bytes.fromhex("525400aaaaaa")


def from_world(net: Net, payload: bytes = b"news") -> None:
    """A datagram for the guest, through a forward."""
    rule = net.stack.hostfwds()[0]
    net.host.send_udp(payload, rule.host_address.packed, rule.host_port, (WORLD, 53000))
    net.run(0.01)


def forwarding() -> Net:
    return Net(config(hostfwd=["udp:127.0.0.1:0-:7000"]))


@pytest.mark.parametrize(("target", "mac"), [(GATEWAY, GATEWAY_MAC), (DNS, DNS_MAC)])
def test_answers_for_its_own_addresses(net: Net, target: bytes, mac: bytes) -> None:
    net.send(arp(1, target=target))
    frame = net.one()
    assert (frame.dst, frame.src) == (GUEST_MAC, mac)
    reply = frame.data
    assert isinstance(reply, dpkt.arp.ARP)
    assert (reply.op, reply.sha, reply.spa, reply.tha, reply.tpa) == (2, mac, target, GUEST_MAC, GUEST)


@pytest.mark.parametrize(
    ("target", "nobody"),
    [
        ("10.0.2.15", 0),
        ("10.0.2.77", 2),
        ("10.0.2.4", 2),
        ("10.0.2.0", 2),
        ("10.0.2.255", 2),
        ("198.51.100.7", 2),
    ],
)
def test_answers_for_nothing_else(net: Net, target: str, nobody: int) -> None:
    net.send(arp(1, target=ip(target)))
    net.send(arp(1, target=ip(target), sender=bytes(4)))  # a probe for duplicates
    net.silence()
    assert net.stats.arp_nobody == nobody


def test_a_foreign_announcement_is_no_unanswered_request(net: Net) -> None:
    net.send(arp(1, sender=WORLD, target=WORLD))
    net.silence()
    assert net.stats.arp_nobody == 0


def test_a_probe_for_our_address_is_answered(net: Net) -> None:
    net.send(arp(1, sender=bytes(4)))
    reply = net.one().data
    assert (reply.op, reply.spa, reply.tpa) == (2, GATEWAY, bytes(4))
    assert not net.stack.neighbors.known()


def test_follows_other_address_plans() -> None:
    net = Net(config(net="172.16.0.0/12", host="172.31.0.1", dns="172.16.200.9"))
    net.send(arp(1, sender=ip("172.20.1.1"), target=ip("172.31.0.1")))
    assert net.one().data.sha == bytes.fromhex("5255ac1f0001")
    net.send(arp(1, sender=ip("172.20.1.1"), target=GATEWAY))
    net.silence()


def test_gratuitous_arp_is_learnt_and_moves_the_guest(net: Net) -> None:
    net.know()
    assert [(n.address, n.mac) for n in net.stack.neighbors.known()] == [(GUEST, GUEST_MAC)]
    net.send(arp(1, target=GUEST, sender_mac=OTHER_MAC))
    net.silence()
    assert [(n.address, n.mac) for n in net.stack.neighbors.known()] == [(GUEST, OTHER_MAC)]


def test_traffic_teaches(net: Net) -> None:
    net.send(echo())
    assert net.one().dst == GUEST_MAC
    assert [n.mac for n in net.stack.neighbors.known()] == [GUEST_MAC]


@pytest.mark.parametrize("claimed", [GATEWAY, DNS])
def test_a_guest_cannot_claim_a_server_address(net: Net, claimed: bytes) -> None:
    net.send(arp(2, sender=claimed), arp(1, sender=claimed, target=GATEWAY))
    net.silence()
    assert not net.stack.neighbors.known()
    assert net.stats.drop_ip_source == 2


def test_strangers_are_not_learnt(net: Net) -> None:
    net.send(arp(2, sender=WORLD))
    net.send(eth(bytes(dpkt.arp.ARP(op=2, sha=OTHER_MAC, spa=GUEST)), kind=0x806))  # sha is not who sent it
    net.silence()
    assert not net.stack.neighbors.known()


def malformed() -> list[bytes]:
    good = bytes(dpkt.arp.ARP(op=1, sha=GUEST_MAC, spa=GUEST, tpa=GATEWAY))
    return [
        good[:27],
        b"",
        b"\0\6" + good[2:],  # hardware
        good[:2] + b"\x86\xdd" + good[4:],  # protocol
        good[:4] + b"\5" + good[5:],
        good[:5] + b"\x10" + good[6:],
    ]


@pytest.mark.parametrize("number", range(6))
def test_malformed(net: Net, number: int) -> None:
    for count in (1, 2):
        net.send(BROADCAST + GUEST_MAC + b"\x08\x06" + malformed()[number])
        net.silence()
        assert net.stats.drop_arp_malformed == count


@pytest.mark.parametrize("operation", [0, 2, 3, 8, 65535])
def test_only_requests_are_answered(net: Net, operation: int) -> None:
    net.send(arp(operation))
    net.silence()


def requests(net: Net) -> list[Any]:
    frames = [f for f in net.take() if f.type == 0x806]
    for frame in frames:
        assert frame.dst == BROADCAST
        assert (frame.data.op, frame.data.spa, frame.data.sha) == (1, GATEWAY, GATEWAY_MAC)
    return frames


def test_a_packet_waits_for_one_request() -> None:
    net = forwarding()
    from_world(net, b"first")
    (asked,) = requests(net)
    assert asked.data.tpa == GUEST
    from_world(net, b"second")
    net.silence()  # one request is under way
    net.send(arp(2, to=GATEWAY_MAC))
    frames = net.take()
    assert [bytes(f.data.data.data) for f in frames] == [b"first", b"second"]
    assert {f.dst for f in frames} == {GUEST_MAC}


def test_waiting_is_bounded_in_number() -> None:
    net = forwarding()
    for number in range(20):
        from_world(net, b"%d" % number)
    assert len(requests(net)) == 1
    net.send(arp(2, to=GATEWAY_MAC))
    assert [bytes(f.data.data.data) for f in net.take()] == [b"%d" % n for n in range(4, 20)]
    assert net.stats.drop_neighbor_queue_full == 4


def test_waiting_is_bounded_in_time() -> None:
    net = forwarding()
    from_world(net)
    requests(net)
    net.run(1.1)
    assert net.stats.drop_neighbor_unresolved == 1
    net.send(arp(2, to=GATEWAY_MAC))
    net.silence()
    assert [n.mac for n in net.stack.neighbors.known()] == [GUEST_MAC]


def test_a_new_packet_asks_again() -> None:
    net = forwarding()
    for _ in range(3):
        from_world(net)
        assert len(requests(net)) == 1
        net.run(1.5)
    assert net.stats.drop_neighbor_unresolved == 3


def test_traffic_resolves_too() -> None:
    net = forwarding()
    from_world(net)
    requests(net)
    net.send(udp(b"x", dport=99))
    (frame,) = net.take()
    assert bytes(frame.data.data.data) == b"news"


def test_entries_age_but_serve_meanwhile() -> None:
    net = forwarding()
    net.know()
    net.run(601)
    from_world(net)
    kinds = [f.type for f in net.take()]
    assert sorted(kinds) == [0x800, 0x806]
    net.send(arp(2, to=GATEWAY_MAC))
    from_world(net)
    assert [f.type for f in net.take()] == [0x800]


def test_a_request_goes_out_on_every_link() -> None:
    net = forwarding()
    second = net.attach()
    from_world(net)
    assert len(requests(net)) == 1
    assert len(net.take(second)) == 1
    net.send(arp(2, to=GATEWAY_MAC, sender_mac=OTHER_MAC), wire=second)
    (frame,) = net.take(second)
    assert frame.dst == OTHER_MAC
    net.silence()


def test_short_frames_are_padded(net: Net) -> None:
    net.send(arp(1), echo(b""))
    assert [len(f) for f in net.raw()] == [60, 60]


def test_frames_for_other_stations_are_not_taken(net: Net) -> None:
    net.send(
        eth(echo()[14:], destination=OTHER_MAC), eth(echo()[14:], destination=bytes.fromhex("01005e000001"))
    )
    net.send(eth(echo()[14:], source=BROADCAST), eth(echo()[14:], source=GATEWAY_MAC))
    net.send(eth(echo()[14:], kind=0x88CC), b"", b"x" * 13)
    net.silence()
    stats = net.stats
    assert (stats.drop_ethernet_destination, stats.drop_ethernet_source) == (2, 2)
    assert (stats.drop_ethernet_type, stats.drop_ethernet_short) == (1, 2)


def test_detached_link_keeps_nothing() -> None:
    net = forwarding()
    net.know()
    net.stack.detach(net.port)
    assert net.wire.closed
    for _ in range(50):
        from_world(net)
    assert len(net.port.out) == 0
    net.run(3)  # some wait for the guest to appear elsewhere, for a second
    assert net.stats.drop_neighbor_queue_full + net.stats.drop_neighbor_unresolved == 50


def test_time_advances_only_by_run(net: Net) -> None:
    assert net.stack.deadline() is None
    net.run(3)
    assert net.stack.now == 1003 * SECOND
