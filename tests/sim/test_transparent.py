"""A guest with an address of the host's, in the host's own network."""

from __future__ import annotations

from typing import Any

import dpkt
import pytest

from slirpy.config import Config
from slirpy.errors import ConfigError
from slirpy.testing import Echo
from tests.support.frames6 import know6, neighbor_solicitation, udp6
from tests.support.harness import (
    ACK,
    GUEST_MAC,
    PSH,
    SYN,
    Net,
    Peer,
    arp,
    config,
    eth,
    ip,
    ipv4,
    udp,
    udp_segment,
)

ADDRESS, GATEWAY, OTHER = ip("192.0.2.18"), ip("192.0.2.1"), ip("192.0.2.77")
GATEWAY_MAC = bytes.fromhex("5255c0000201")
GATEWAY6 = bytes.fromhex("fe800000000000006210000000000001")
"""The link-local address by which hosts know the gateway of IPv6, as with most routers."""
ADDRESS6 = bytes.fromhex("20010db8" + 22 * "0" + "18")
OTHER6 = bytes.fromhex("20010db8" + 22 * "0" + "77")
ROUTER_MAC = bytes.fromhex("525600000002")
LOOPBACK = ip("127.0.0.1")


def transparent(**more: Any) -> Net:
    given: dict[str, Any] = {
        "net": "192.0.2.0/24",
        "host": "192.0.2.1",
        "dhcpstart": "192.0.2.18",
        "net6": "2001:db8::/64",
        "host6": "fe80::6210:0:0:1",
        "dhcpstart6": "2001:db8::18",
        "transparent": True,
        "no_dns": True,
    }
    return Net(config(**given | more))


@pytest.fixture
def net() -> Net:
    return transparent()


class Guest(Peer):
    """The router has an unusual MAC address."""

    mac_of_router = GATEWAY_MAC

    def frame(self, *args: Any, **more: Any) -> bytes:
        return super().frame(*args, **{"to": self.mac_of_router, **more})


def connect(net: Net, address: bytes, port: int = 80) -> Peer:
    peer = Guest(net, port, address=address, guest=ADDRESS)
    peer.open()
    return peer


def know(net: Net) -> None:
    """Let the stack learn of the guest."""
    net.send(arp(2, sender=ADDRESS, to=GATEWAY_MAC))


@pytest.mark.parametrize("target", [GATEWAY, OTHER, ip("192.0.2.3"), ip("198.51.100.7")])
def test_arp_is_answered_for_every_other_host(net: Net, target: bytes) -> None:
    net.send(arp(1, target=target, sender=ADDRESS))
    frame = net.one()
    assert (frame.dst, frame.data.op, frame.data.sha, frame.data.spa) == (GUEST_MAC, 2, GATEWAY_MAC, target)


def test_arp_leaves_the_guest_its_address_and_answers_no_probe(net: Net) -> None:
    net.send(arp(1, target=ADDRESS, sender=bytes(4)))
    net.send(arp(1, target=OTHER, sender=bytes(4)))
    net.send(arp(1, target=ADDRESS, sender=ADDRESS))
    net.silence()


@pytest.mark.parametrize("target", [GATEWAY6, OTHER6, bytes.fromhex("fe80" + 26 * "0" + "99")])
def test_neighbours_are_advertised_for_every_other_host(net: Net, target: bytes) -> None:
    net.send(neighbor_solicitation(target, source=ADDRESS6, destination=target))
    (frame,) = net.raw()
    answer = frame[54:]
    assert (frame[:6], answer[0], answer[8:24], answer[26:32]) == (GUEST_MAC, 136, target, frame[6:12])


def test_a_search_for_duplicates_finds_none(net: Net) -> None:
    for target in (ADDRESS6, OTHER6):
        net.send(neighbor_solicitation(target, b"", source=bytes(16)))
    net.silence()


@pytest.mark.parametrize("other", [OTHER, ip("192.0.2.3"), ip("192.0.2.18"), ip("198.51.100.7")])
def test_the_other_hosts_are_outside(net: Net, other: bytes) -> None:
    net.host.serve_tcp(other, 80, Echo)
    peer = connect(net, other)
    peer.send(ACK | PSH, b"hello")
    net.run(0.01)
    assert peer.receive() == b"hello"


def test_the_gateway_is_the_loopback_of_the_host(net: Net) -> None:
    net.host.serve_tcp(LOOPBACK, 80, Echo)
    peer = connect(net, GATEWAY)
    assert peer.conn


def test_a_gateway_outside_of_the_network() -> None:
    net = transparent(net="192.0.2.16/30", host="198.18.0.1")
    net.host.serve_tcp(LOOPBACK, 80, Echo)
    net.send(arp(1, target=ip("198.18.0.1"), sender=ADDRESS))
    frame = net.one()
    assert frame.data.spa == ip("198.18.0.1")
    peer = Guest(net, 80, address=ip("198.18.0.1"), guest=ADDRESS)
    peer.mac_of_router = frame.src
    assert peer.open()


def test_the_host_is_seen_as_the_gateway_where_its_address_is_the_guests_own() -> None:
    net = transparent(hostfwd=["tcp:0.0.0.0:8080-192.0.2.18:80", "udp:0.0.0.0:8080-192.0.2.18:80"])
    know(net)
    for source in (ADDRESS, LOOPBACK):
        net.host.connect(LOOPBACK, 8080, source=(source, 6000))
        net.run(0.01)
        assert Peer(net, 6000, address=GATEWAY, sport=80, guest=ADDRESS).one(SYN)
        net.host.send_udp(b"x", LOOPBACK, 8080, (source, 6001))
        net.run(0.01)
        assert net.one().data.src == GATEWAY
        net.run(80)
        net.take()


@pytest.mark.parametrize("source", [ADDRESS6, bytes.fromhex("fe80" + 26 * "0" + "18")])
def test_a_client_that_is_seen_as_a_link_local_gateway_is_answered_from_either_address(source: bytes) -> None:
    net = transparent(hostfwd=["udp:[::]:8080-[2001:db8::18]:80"])
    know6(net, ADDRESS6)
    net.take()
    to, client = bytes(15) + b"\1", net.host.serve_udp(ADDRESS6, 6001)
    for number in range(3):  # the last ones take the fast path
        net.host.send_udp(b"question", to, 8080, (ADDRESS6, 6001))
        net.run(0.01)
        packet = net.one().data
        assert (packet.src, packet.dst, packet.data.sport) == (GATEWAY6, ADDRESS6, 6001)
        net.send(udp6(b"answer", sport=80, dport=6001, source=source, destination=GATEWAY6, to=ROUTER_MAC))
        net.run(0.01)
        assert [each.payload for each in client.received] == [b"answer"] * (number + 1)
    assert client.received[0].source[1] == 8080


def test_a_link_local_address_has_flows_of_its_own() -> None:
    """Only answers to clients belong to the other address: the guest's own questions do not."""
    net = transparent(hostfwd=["udp:[::]:8080-[2001:db8::18]:80"])
    know6(net, ADDRESS6)
    net.host.send_udp(b"question", bytes(15) + b"\1", 8080, (ADDRESS6, 6001))
    net.run(0.01)
    server = net.host.serve_udp(bytes(15) + b"\1", 6002)
    source = bytes.fromhex("fe80" + 26 * "0" + "18")
    net.send(udp6(b"own", sport=80, dport=6002, source=source, destination=GATEWAY6, to=ROUTER_MAC))
    net.run(0.01)
    assert [each.payload for each in server.received] == [b"own"]
    assert server.received[0].source[1] != 8080


def test_a_host_of_the_same_network_is_seen_as_itself() -> None:
    net = transparent(hostfwd=["tcp:0.0.0.0:8080-192.0.2.18:80"])
    know(net)
    net.host.connect(LOOPBACK, 8080, source=(OTHER, 6000))
    net.run(0.01)
    assert Peer(net, 6000, address=OTHER, sport=80, guest=ADDRESS).one(SYN)


def discover(net: Net, mac: bytes) -> list[Any]:
    message = dpkt.dhcp.DHCP(op=1, xid=7, chaddr=mac, opts=((53, b"\1"),))
    segment = udp_segment(bytes(message), 68, 67, bytes(4), b"\xff" * 4)
    net.send(
        eth(ipv4(17, segment, source=bytes(4), destination=b"\xff" * 4), source=mac, destination=b"\xff" * 6)
    )
    net.run(2)
    return [dpkt.dhcp.DHCP(frame.data.data.data) for frame in net.take() if frame.type == 0x800]


def test_dhcp_has_one_address_and_names_no_server_that_is_not_there(net: Net) -> None:
    (offer,) = discover(net, GUEST_MAC)
    told = dict(offer.opts)
    assert offer.yiaddr == int.from_bytes(ADDRESS, "big")
    assert (told[1], told[3]) == (ip("255.255.255.0"), GATEWAY)
    assert 6 not in told
    know(net)
    assert discover(net, bytes.fromhex("525400aaaaaa")) == []


def test_a_dns_server_may_be_outside_of_the_network() -> None:
    net = transparent(no_dns=False, dns="169.254.1.1", dns_records=["printer.example A 192.0.2.9"])
    know(net)
    question = bytes.fromhex("000701000001000000000000077072696e746572076578616d706c650000010001")
    net.send(udp(question, sport=5353, dport=53, source=ADDRESS, destination=ip("169.254.1.1"), to=GATEWAY_MAC))
    frame = net.one()
    assert frame.data.src == ip("169.254.1.1")
    assert bytes(frame.data.data.data).endswith(ip("192.0.2.9"))


def test_the_gateway_has_a_mac_address_of_the_hosts() -> None:
    mac = bytes.fromhex("020000000018")
    net = transparent(host_mac="02:00:00:00:00:18")
    net.host.serve_tcp(OTHER, 80, Echo)
    for target in (GATEWAY, OTHER):
        net.send(arp(1, target=target, sender=ADDRESS))
        frame = net.one()
        assert (frame.src, frame.data.sha) == (mac, mac)
    net.send(neighbor_solicitation(GATEWAY6, source=ADDRESS6, destination=GATEWAY6))
    assert net.raw()[0][6:12] == mac
    peer = Guest(net, 80, address=OTHER, guest=ADDRESS)
    peer.mac_of_router = mac
    assert peer.open()


def test_without_it_none_of_this_is_allowed() -> None:
    with pytest.raises(ConfigError, match="not an address of"):
        Config(net="192.0.2.0/24", host="198.18.0.1")
