"""Guests that do not trust each other: forged sources, leases, isolation, and the source guard."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from slirpy import ConfigError
from tests.support.frames6 import (
    ALL_NODES,
    DNS6,
    GATEWAY6,
    GUEST6,
    LINK_LOCAL,
    ROUTER,
    UDP,
    datagram,
    echo6,
    fragment,
    icmp6,
    ip6,
    ipv6,
    neighbor_advertisement,
    tcp6,
    udp6,
)
from tests.support.harness import (
    BROADCAST,
    DNS,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    SYN,
    Net,
    Wire,
    arp,
    config,
    echo,
    eth,
    icmp_echo,
    ip,
    ipv4,
    udp,
    udp_segment,
)

VICTIM_MAC = bytes.fromhex("5254000000aa")
VICTIM, VICTIM6 = ip("10.0.2.77"), ip6("fec0::77")


def tagged(frame: bytes) -> bytes:
    return frame[:12] + b"\x81\0\0\0" + frame[12:]


def snap(frame: bytes) -> bytes:
    return frame[:12] + struct.pack("!H", len(frame) - 6) + bytes.fromhex("aaaa03000000") + frame[12:]


def dhcp(
    kind: int, mac: bytes, *options: bytes, frame_mac: bytes | None = None, ciaddr: bytes = bytes(4)
) -> bytes:
    head = struct.pack("!BBBB4sHH", 1, 1, 6, 0, mac[2:], 0, 0x8000) + ciaddr + bytes(12) + mac + bytes(202)
    body = head + bytes.fromhex("63825363") + bytes((53, 1, kind)) + b"".join(options) + b"\xff"
    segment = udp_segment(body, 68, 67, ciaddr, b"\xff" * 4)
    packet = ipv4(17, segment, source=ciaddr, destination=b"\xff" * 4)
    return eth(packet, source=frame_mac or mac, destination=BROADCAST)


class Two:
    """A rogue behind ``net.wire``, and a victim behind another port, with a lease if ``leased``."""

    def __init__(self, *, leased: bool = False, **given: Any) -> None:
        self.net = Net(config(**given))
        self.victim: Wire = self.net.attach()
        self.address = VICTIM
        if leased:
            self.address = self.lease(VICTIM_MAC, self.victim)
        self.net.send(arp(1, sender=self.address, sender_mac=VICTIM_MAC), wire=self.victim)
        self.net.send(neighbor_advertisement(VICTIM6, mac=VICTIM_MAC, destination=ALL_NODES), wire=self.victim)
        self.take()

    def lease(self, mac: bytes, wire: Wire) -> bytes:
        """Get a lease by DHCP."""
        self.net.send(dhcp(1, mac), wire=wire)
        self.net.run(0.5)
        (offer,) = [f for f in self.net.raw(wire) if f[23:24] == b"\x11" and f[34:36] == b"\0\x43"]
        address = offer[58:62]
        self.net.send(dhcp(3, mac, b"\x36\4" + GATEWAY, b"\x32\4" + address), wire=wire)
        self.net.run(0.5)
        self.net.raw(wire)
        return address

    def take(self) -> list[bytes]:
        self.net.raw()
        return self.net.raw(self.victim)

    def tell(self, frame: bytes) -> list[bytes]:
        """The frames that the victim receives after one frame of the rogue."""
        self.net.send(frame)
        return self.take()


FORGED: dict[str, bytes] = {
    "DNS": udp(b"forged", source=DNS, sport=53, destination=VICTIM, to=VICTIM_MAC),
    "TCP": eth(ipv4(6, bytes(20), source=GATEWAY, destination=VICTIM), destination=VICTIM_MAC),
    "ping": eth(ipv4(1, icmp_echo(b"x"), source=GATEWAY, destination=VICTIM), destination=VICTIM_MAC),
    "options": udp(b"x", source=DNS, destination=VICTIM, to=VICTIM_MAC, options=b"\1\1\1\1"),
    "first fragment": eth(ipv4(17, bytes(24), source=DNS, fragment=0x2000), destination=VICTIM_MAC),
    "later fragment": eth(ipv4(17, bytes(24), source=DNS, fragment=8), destination=VICTIM_MAC),
    "broadcast": udp(b"x", source=GATEWAY, destination=b"\xff" * 4, to=BROADCAST),
    "network": udp(b"x", source=ip("10.0.2.0"), destination=b"\xff" * 4, to=BROADCAST),
    "tag": tagged(udp(b"x", source=DNS, destination=VICTIM, to=VICTIM_MAC)),
    "SNAP": snap(udp(b"x", source=DNS, destination=VICTIM, to=VICTIM_MAC)),
    "DNS of IPv6": udp6(b"forged", source=DNS6, sport=53, destination=VICTIM6, to=VICTIM_MAC),
    "TCP of IPv6": tcp6(SYN, 1, source=GATEWAY6, destination=VICTIM6, to=VICTIM_MAC),
    "ping of the router": echo6(source=ROUTER, destination=VICTIM6, to=VICTIM_MAC),
    "options of IPv6": ipv6(60, b"\x11\0\1\4\0\0\0\0" + datagram(b"x"), source=DNS6, destination=VICTIM6,
                             to=VICTIM_MAC),
    "first fragment of IPv6": fragment(0, bytes(64), more=True, protocol=UDP, source=DNS6, destination=VICTIM6,
                                       to=VICTIM_MAC),
    "later fragment of IPv6": fragment(64, bytes(64), more=False, protocol=UDP, source=DNS6, destination=VICTIM6,
                                       to=VICTIM_MAC),
    "group": udp6(b"x", source=GATEWAY6, destination=ALL_NODES),
}  # fmt: skip


@pytest.mark.parametrize("name", FORGED)
def test_no_guest_is_a_virtual_host_for_another(name: str) -> None:
    frame = FORGED[name]
    pair = Two()
    assert pair.tell(frame) == []
    assert pair.net.stats.drop_guard_address == 1
    assert Two(guard=False).tell(frame) == [frame.ljust(60, b"\0")]


@pytest.mark.parametrize("claim", [
    lambda address: arp(2, sender=address),
    lambda address: arp(1, sender=address, target=address),
    lambda address: arp(1, sender=address),
    lambda address: udp(b"x", source=address, destination=GATEWAY),
], ids=["reply", "announcement", "question", "packet"])  # fmt: skip
def test_a_leased_address_is_not_lost_by_silence(claim: Callable[[bytes], bytes]) -> None:
    pair = Two(leased=True)
    pair.net.run(1000)
    pair.take()
    before = pair.net.stats.drop_neighbor_spoofed
    assert pair.tell(claim(pair.address)) == []
    assert pair.net.stats.drop_neighbor_spoofed == before + 1
    pair.net.send(echo(to=pair.address, mac=GUEST_MAC), wire=pair.victim)  # noise of the victim's port
    occupant = pair.net.stack.neighbors.occupant(pair.address)
    assert occupant is not None
    assert occupant.mac == VICTIM_MAC


def test_without_a_lease_it_moves_as_before() -> None:
    pair = Two()
    pair.net.run(4)
    pair.tell(arp(2, sender=VICTIM))
    occupant = pair.net.stack.neighbors.occupant(VICTIM)
    assert occupant is not None
    assert occupant.mac == GUEST_MAC


def test_after_the_lease_too() -> None:
    pair = Two(leased=True, lease_time=120)
    pair.net.run(200)
    pair.tell(arp(2, sender=pair.address))
    occupant = pair.net.stack.neighbors.occupant(pair.address)
    assert occupant is not None
    assert occupant.mac == GUEST_MAC


@pytest.mark.parametrize("kind", [4, 7], ids=["DECLINE", "RELEASE"])
@pytest.mark.parametrize("frame_mac", [GUEST_MAC, VICTIM_MAC], ids=["own MAC", "same MAC"])
def test_a_lease_is_ended_only_behind_its_link(kind: int, frame_mac: bytes) -> None:
    pair = Two(leased=True)
    pair.net.run(10)
    given = (b"\x36\4" + GATEWAY, b"\x32\4" + pair.address)
    ciaddr = pair.address if kind == 7 else bytes(4)
    pair.net.send(dhcp(kind, VICTIM_MAC, *given, frame_mac=frame_mac, ciaddr=ciaddr))
    pair.net.run(1)
    states = {lease.address.packed: lease.state.value for lease in pair.net.stack.leases()}
    assert states == {pair.address: "bound"}


# -------------------------------------------------------------------------------------------- isolation


@pytest.mark.parametrize("frame", [
    udp(b"x", destination=VICTIM, to=VICTIM_MAC), udp(b"x", destination=b"\xff" * 4, to=BROADCAST),
    arp(1, target=VICTIM), udp6(b"x", destination=ALL_NODES), neighbor_advertisement(GUEST6, destination=ALL_NODES),
    eth(bytes(50), destination=VICTIM_MAC, kind=0x88B5), eth(bytes(50), destination=BROADCAST, kind=0x88B5),
    tagged(udp(b"x", destination=VICTIM, to=VICTIM_MAC)), udp(b"x", to=b"\x52\x54\7\7\7\7"),
])  # fmt: skip
def test_isolated_guests_receive_nothing_from_each_other(frame: bytes) -> None:
    pair = Two(isolate=True)
    assert pair.tell(frame) == []
    assert len(Two().tell(frame)) >= 1


def test_isolated_guests_reach_the_gateway_and_the_outside() -> None:
    pair = Two(isolate=True)
    for source, mac, wire in ((GUEST, GUEST_MAC, pair.net.wire), (VICTIM, VICTIM_MAC, pair.victim)):
        pair.net.send(arp(1, sender=source, sender_mac=mac), wire=wire)
        assert len(pair.net.raw(wire)) == 1
        pair.net.send(udp(b"x", source=source, mac=mac), wire=wire)
    assert len(pair.net.calls("send_udp")) == 2
    assert pair.lease(b"\x52\x54\0\0\0\1", pair.net.wire) != VICTIM


@pytest.mark.parametrize("option", ["isolate", "source_guard"])
def test_a_hub_has_neither(option: str) -> None:
    with pytest.raises(ConfigError, match="hub"):
        config(hub=True, **{option: True})


# ----------------------------------------------------------------------------------------- source guard


def test_only_leased_sources_reach_the_outside() -> None:
    pair = Two(source_guard=True)
    pair.net.send(udp(b"x"))
    assert pair.net.calls("send_udp") == []
    assert pair.net.stats.drop_source_guard >= 1
    address = pair.lease(GUEST_MAC, pair.net.wire)
    pair.net.send(udp(b"x", source=address))
    assert len(pair.net.calls("send_udp")) == 1
    for frame in (
        udp(b"x", source=VICTIM), udp(b"x", source=address, mac=b"\x52\x54\7\7\7\7"), udp6(b"x"),
    ):  # fmt: skip
        pair.net.send(frame)
    pair.net.run(10)
    pair.net.send(udp(b"x", source=address, mac=GUEST_MAC, sport=1), wire=pair.victim)
    assert len(pair.net.calls("send_udp")) == 1, "another link, however silent the first is"


def test_only_leased_sources_reach_other_guests() -> None:
    pair = Two(leased=True, source_guard=True)
    own = pair.lease(GUEST_MAC, pair.net.wire)
    pair.take()
    good = udp(b"x", source=own, destination=pair.address, to=VICTIM_MAC)
    assert len(pair.tell(good)) == 1
    for source in (VICTIM, pair.address, DNS, ip("203.0.113.5")):
        assert pair.tell(udp(b"x", source=source, destination=pair.address, to=VICTIM_MAC)) == []
    assert pair.tell(arp(2, sender=VICTIM, to=BROADCAST)) == []
    assert pair.tell(udp6(b"x", source=GUEST6, destination=VICTIM6, to=VICTIM_MAC)) == []


def test_a_reserved_and_a_static_address_need_no_dhcp() -> None:
    net = Net(config(source_guard=True, static_leases=["52:54:00:12:34:56=10.0.2.50"]))
    net.send(udp(b"x", source=ip("10.0.2.50")))
    reserved = net.stack.reserve(VICTIM_MAC).packed
    net.send(udp(b"x", source=reserved, mac=VICTIM_MAC))
    net.send(udp(b"x", source=reserved, sport=9))
    assert len(net.calls("send_udp")) == 2


def test_a_link_local_address_belongs_to_the_first() -> None:
    pair = Two(source_guard=True)
    pair.net.send(echo6(source=LINK_LOCAL, destination=ROUTER))
    assert len(pair.net.raw()) >= 1
    pair.net.run(100)
    pair.take()
    pair.net.send(echo6(source=LINK_LOCAL, destination=ROUTER, mac=VICTIM_MAC), wire=pair.victim)
    assert pair.net.raw(pair.victim) == []
    pair.net.send(echo6(source=LINK_LOCAL, destination=ROUTER))
    assert len(pair.net.raw()) >= 1


def test_router_advertisements_announce_dhcpv6_alone() -> None:
    for guard, managed, autonomous in ((False, 0, 0x40), (True, 0x80, 0)):
        net = Net(config(source_guard=guard))
        net.send(icmp6(133, 0, bytes(4), source=LINK_LOCAL, destination=ip6("ff02::2"), hop_limit=255))
        net.run(1)
        (advert,) = [f for f in net.raw() if f[20] == 58 and f[54] == 134][:1]
        assert advert[59] & 0x80 == managed
        at = advert.index(b"\3\4\x40", 70)
        assert advert[at + 3] & 0x40 == autonomous
