"""The guard between guests: no guest is a router, a DHCP server, or another guest for its neighbours."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from slirpy.core import neighbor
from slirpy.core.guard import Guard
from tests.support.frames6 import (
    ALL_NODES,
    DNS6,
    GATEWAY6,
    GUEST6,
    ICMPV6,
    LINK_LOCAL,
    ROUTER,
    UDP,
    checked,
    datagram,
    fragment,
    ip6,
    ipv6,
    mac_of,
    neighbor_advertisement,
    neighbor_solicitation,
    router_solicitation,
    solicited,
    tcp6,
    udp6,
)
from tests.support.harness import (
    BROADCAST,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    SECOND,
    SYN,
    Net,
    Wire,
    arp,
    config,
    eth,
    ip,
    ipv4,
    udp,
    udp_segment,
)

VICTIM_MAC = bytes.fromhex("5254000000aa")
VICTIM, VICTIM6 = ip("10.0.2.77"), ip6("fec0::77")
NODES_MAC = mac_of(ALL_NODES)
OPTIONS, FRAGMENT, ROUTING, AUTHENTICATION = 60, 44, 43, 51
LOCAL: dict[str, Any] = {"source": LINK_LOCAL, "destination": ALL_NODES}


class Pair:
    """A network with a rogue behind ``net.wire`` and a victim behind another port; both are known."""

    def __init__(self, **given: object) -> None:
        self.net = Net(config(**given))
        self.victim: Wire = self.net.attach()
        hello = [
            arp(1, sender=VICTIM, sender_mac=VICTIM_MAC, target=VICTIM),
            neighbor_advertisement(VICTIM6, mac=VICTIM_MAC, destination=ALL_NODES),
        ]
        if not given.get("ipv4", True):
            del hello[0]
        self.net.send(*hello, wire=self.victim)
        self.net.send(eth(bytes(50), destination=GUEST_MAC, kind=0x88B5))  # so that the switch knows it
        self.take()
        for name in self.net.stats.nonzero():
            setattr(self.net.stats, name, 0)

    def take(self) -> list[bytes]:
        """The frames that the victim has received."""
        self.net.raw()
        return self.net.raw(self.victim)

    def tell(self, frame: bytes) -> list[bytes]:
        """Return the frames that the victim receives after one frame of the rogue."""
        self.net.send(frame)
        return self.take()


def message(kind: int, body: bytes = bytes(12)) -> bytes:
    """An ICMPv6 message from the rogue's link-local address to all nodes."""
    return checked(ICMPV6, bytes((kind, 0, 0, 0)) + body, 2, **LOCAL)


ADVERTISEMENT = message(134)
REDIRECT = message(137, bytes(4) + ROUTER + GATEWAY6)
REPLY6 = datagram(b"\7abc", sport=547, dport=546, **LOCAL)
JUMBO = bytes((ICMPV6, 0, 0xC2, 4)) + (70_000).to_bytes(4, "big")
PADDING = bytes((1, 4, 0, 0, 0, 0))


def chain(*kinds: int, last: int = ICMPV6, size: int = 8) -> bytes:
    """Extension headers after a fixed header that names the first of ``kinds``."""
    return b"".join(bytes((kind, size // 8 - 1)) + PADDING + bytes(size - 8) for kind in (*kinds[1:], last))


def local(first: int, payload: bytes, hop_limit: int = 255) -> bytes:
    return ipv6(first, payload, hop_limit=hop_limit, **LOCAL)


def tagged(frame: bytes, *tags: int, kind: int = 0x8100) -> bytes:
    """The frame with VLAN tags."""
    return frame[:12] + b"".join(struct.pack("!HH", kind, tag) for tag in tags) + frame[12:]


def snap(frame: bytes) -> bytes:
    """The frame with the headers of LLC and SNAP."""
    return frame[:12] + struct.pack("!H", len(frame) - 6) + bytes.fromhex("aaaa03000000") + frame[12:]


FORGED: dict[str, tuple[bytes, str]] = {
    "advertisement": (local(ICMPV6, ADVERTISEMENT), "drop_guard_router"),
    "redirect": (local(ICMPV6, REDIRECT), "drop_guard_router"),
    "advertisement with a tag": (tagged(local(ICMPV6, ADVERTISEMENT), 0), "drop_guard_router"),
    "advertisement with two tags": (tagged(local(ICMPV6, ADVERTISEMENT), 0xE000, 0), "drop_guard_router"),
    "advertisement with SNAP": (snap(local(ICMPV6, ADVERTISEMENT)), "drop_guard_router"),
    "advertisement with tag and SNAP": (tagged(snap(local(ICMPV6, ADVERTISEMENT)), 0), "drop_guard_router"),
    "tags without end": (tagged(local(ICMPV6, ADVERTISEMENT), *[0] * 20), "drop_guard_chain"),
    "options before": (local(OPTIONS, chain(OPTIONS) + ADVERTISEMENT), "drop_guard_router"),
    "every header before": (
        local(
            0,
            chain(0, OPTIONS, ROUTING, 135, 139, 140, OPTIONS, size=16) + ADVERTISEMENT,
        ),
        "drop_guard_router",
    ),
    "authentication before": (
        local(AUTHENTICATION, bytes((ICMPV6, 4)) + bytes(22) + ADVERTISEMENT),
        "drop_guard_router",
    ),
    "chain of 9": (local(OPTIONS, chain(*[OPTIONS] * 9) + ADVERTISEMENT), "drop_guard_chain"),
    "chain of 1000": (local(OPTIONS, chain(*[OPTIONS] * 180)), "drop_guard_chain"),
    "chain that ends early": (local(OPTIONS, chain(OPTIONS, last=ICMPV6) + b"\x86\0"), "drop_guard_chain"),
    "chain that ends at a header": (local(OPTIONS, chain(OPTIONS, last=OPTIONS)), "drop_guard_chain"),
    "jumbogram": (ipv6(0, JUMBO + ADVERTISEMENT, claimed=0, hop_limit=255, **LOCAL), "drop_guard_router"),
    "for the victim, without options": (local(ICMPV6, message(136, bytes(4) + VICTIM6)), "drop_neighbor_spoofed"),
    "atomic fragment": (fragment(0, ADVERTISEMENT, more=False, protocol=ICMPV6, hop_limit=255, **LOCAL),
                        "drop_guard_fragment"),
    "first fragment": (fragment(0, ADVERTISEMENT, more=True, protocol=ICMPV6, hop_limit=255, **LOCAL),
                       "drop_guard_fragment"),
    "first fragment of a chain": (
        fragment(0, chain(OPTIONS), more=True, protocol=OPTIONS, hop_limit=255, **LOCAL),
        "drop_guard_chain",
    ),
    "solicitation in a fragment": (
        fragment(0, message(135, bytes(4) + VICTIM6), more=False, protocol=ICMPV6, hop_limit=255, **LOCAL),
        "drop_guard_fragment",
    ),
    "for the gateway": (neighbor_advertisement(GATEWAY6, **LOCAL), "drop_guard_address"),
    "for the router": (neighbor_advertisement(ROUTER, **LOCAL), "drop_guard_address"),
    "for the DNS server": (neighbor_advertisement(DNS6, **LOCAL), "drop_guard_address"),
    "for all routers of the network": (neighbor_advertisement(ip6("fec0::"), **LOCAL), "drop_guard_address"),
    "for the victim": (neighbor_advertisement(VICTIM6, **LOCAL), "drop_neighbor_spoofed"),
    "solicitation as the router": (neighbor_solicitation(GUEST6, source=ROUTER), "drop_guard_address"),
    "solicitation as the victim": (neighbor_solicitation(GUEST6, source=VICTIM6), "drop_neighbor_spoofed"),
    "routers asked as the victim": (router_solicitation(source=VICTIM6), "drop_neighbor_spoofed"),
    "DHCPv6 server": (ipv6(UDP, REPLY6, **LOCAL), "drop_guard_dhcp"),
    "DHCPv6 server after options": (ipv6(OPTIONS, chain(OPTIONS, last=UDP) + REPLY6, **LOCAL), "drop_guard_dhcp"),
    "UDP header that is cut short": (
        ipv6(OPTIONS, chain(OPTIONS, last=UDP) + REPLY6[:3], **LOCAL),
        "drop_guard_chain",
    ),
    "DHCPv6 server in fragments": (
        fragment(0, REPLY6 + bytes(12), more=True, **LOCAL),
        "drop_guard_dhcp",
    ),
    "DHCP server": (udp(b"x", sport=67, dport=68, to=BROADCAST), "drop_guard_dhcp"),
    "DHCP server with options": (
        udp(b"x", sport=67, dport=68, to=BROADCAST, options=b"\1\1\1\1"),
        "drop_guard_dhcp",
    ),
    "DHCP server in fragments": (
        eth(ipv4(17, udp_segment(bytes(24), 67, 68), fragment=0x2000), destination=BROADCAST),
        "drop_guard_dhcp",
    ),
    "ARP for the gateway": (arp(2, sender=GATEWAY), "drop_guard_address"),
    "ARP request as the gateway": (arp(1, sender=GATEWAY, target=VICTIM), "drop_guard_address"),
    "ARP for the victim": (arp(2, sender=VICTIM), "drop_neighbor_spoofed"),
    "ARP with a tag": (tagged(arp(2, sender=VICTIM), 0), "drop_neighbor_spoofed"),
    "ICMP redirect": (eth(ipv4(1, b"\5" + bytes(35)), destination=BROADCAST), "drop_guard_router"),
    "ICMP redirect and nothing else": (eth(ipv4(1, b"\5\0\0\0"), destination=BROADCAST)[:38], "drop_guard_router"),
    "ICMP router advertisement": (eth(ipv4(1, b"\x09" + bytes(15)), destination=BROADCAST), "drop_guard_router"),
}  # fmt: skip


@pytest.mark.parametrize("to", [BROADCAST, NODES_MAC, VICTIM_MAC], ids=["broadcast", "group", "victim"])
@pytest.mark.parametrize("name", FORGED)
def test_forged_messages_are_dropped(name: str, to: bytes) -> None:
    frame, counter = FORGED[name]
    frame = to + frame[6:]
    pair = Pair()
    assert pair.tell(frame) == []
    dropped = {name: n for name, n in pair.net.stats.nonzero().items() if name.startswith("drop_")}
    assert dropped == {counter: 1}
    off = Pair(guard=False)
    assert off.tell(frame) == [frame.ljust(60, b"\0")]


@pytest.mark.parametrize("to", [BROADCAST, NODES_MAC, VICTIM_MAC], ids=["broadcast", "group", "victim"])
def test_no_guest_asks_for_groups(to: bytes) -> None:
    """Without the guard, such a query has its own way: see test_snooping.py."""
    pair = Pair()
    assert pair.tell(to + local(ICMPV6, message(130, bytes(20)), 1)[6:]) == []
    assert pair.net.stats.drop_guard_router == 1


ALLOWED: dict[str, bytes] = {
    "echo": local(ICMPV6, message(128), 64),
    "echo after options": local(OPTIONS, chain(*[OPTIONS] * 7) + message(128), 64),
    "routers asked": router_solicitation(),
    "neighbour asked": neighbor_solicitation(VICTIM6, source=GUEST6),
    "an address before its use": neighbor_solicitation(VICTIM6, b"", source=bytes(16)),
    "own address": neighbor_advertisement(GUEST6, destination=ALL_NODES),
    "an address elsewhere": neighbor_advertisement(ip6("2001:db8::1"), destination=ALL_NODES),
    "first fragment": fragment(0, datagram(bytes(16), **LOCAL), more=True, **LOCAL),
    "echo with another's address": local(ICMPV6, message(128, bytes(4) + VICTIM6), 64),
    "much later fragment": fragment(2048, ADVERTISEMENT, more=False, protocol=ICMPV6, **LOCAL),
    "later fragment": fragment(8, ADVERTISEMENT, more=False, protocol=ICMPV6, **LOCAL),
    "DHCPv6 client": udp6(b"\1abc", sport=546, dport=547, **LOCAL),
    "TCP": tcp6(SYN, 1, source=GUEST6, destination=VICTIM6, to=VICTIM_MAC),
    "ESP": local(50, bytes(40)),
    "no next header": local(59, b""),
    "shorter than its header says": ipv6(ICMPV6, ADVERTISEMENT, claimed=200, **LOCAL),
    "advertisement in a VLAN": tagged(local(ICMPV6, ADVERTISEMENT), 5),
    "ARP probe": arp(1, sender=bytes(4), target=VICTIM),
    "ARP request": arp(1, target=VICTIM),
    "ARP of another network": arp(2, sender=ip("192.0.2.1")),
    "malformed ARP": eth(bytes(20), destination=BROADCAST, kind=0x806),
    "DHCP client": udp(b"x", sport=68, dport=67, to=BROADCAST),
    "a later fragment of IPv4": eth(ipv4(17, udp_segment(b"", 67, 68), fragment=9), destination=BROADCAST),
    "ping": eth(ipv4(1, b"\x08" + bytes(15)), destination=BROADCAST),
    "a short IPv4 header": eth(bytes(10), destination=BROADCAST),
    "SNAP of nothing": eth(bytes.fromhex("aaaa03000000"), destination=BROADCAST, kind=50),
    "an unknown protocol": eth(bytes(50), destination=BROADCAST, kind=0x88B5),
    "a tag cut short": eth(b"\0", destination=BROADCAST, kind=0x8100),
    "a header alone": eth(b"", destination=BROADCAST, kind=0x86DD),
    "an advertisement whose target is beyond its end": ipv6(
        ICMPV6, message(136, bytes(4) + VICTIM6), claimed=20, hop_limit=255, **LOCAL
    ),
    "an advertisement cut short": local(ICMPV6, message(136, bytes(8))),
}


@pytest.mark.parametrize("to", [None, VICTIM_MAC], ids=["group", "victim"])
@pytest.mark.parametrize("name", ALLOWED)
def test_other_messages_pass(name: str, to: bytes | None) -> None:
    frame = ALLOWED[name]
    frame = (to or frame[:6]) + frame[6:]
    pair = Pair()
    assert pair.tell(frame) == [frame.ljust(60, b"\0")]
    assert not [name for name in pair.net.stats.nonzero() if name.startswith("drop_guard")]


@pytest.mark.parametrize(
    "frame",
    [
        eth(ipv4(6, bytes(20), destination=VICTIM), destination=VICTIM_MAC),
        udp(b"", destination=VICTIM, to=VICTIM_MAC),
        udp(b"x" * 100, destination=VICTIM, to=VICTIM_MAC),
        tcp6(SYN, 1, source=GUEST6, destination=VICTIM6, to=VICTIM_MAC),
        udp6(b"", source=GUEST6, destination=VICTIM6, to=VICTIM_MAC),
    ],
)
def test_the_bulk_of_traffic_does_not_reach_the_guard(frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Pair()
    monkeypatch.delattr(Guard, "stops")
    assert pair.tell(frame) == [frame.ljust(60, b"\0")]


@pytest.mark.parametrize("claim", [
    lambda mac: neighbor_advertisement(VICTIM6, mac=mac, destination=ALL_NODES),
    lambda mac: arp(2, sender=VICTIM, sender_mac=mac, to=BROADCAST),
], ids=["NDP", "ARP"])  # fmt: skip
def test_an_address_moves_after_a_silence_and_comes_home(claim: Callable[[bytes], bytes]) -> None:
    """The rules are those of the neighbour table, and the table hears what guests say to each other."""
    pair = Pair()
    pair.net.run(2.9)
    assert pair.tell(claim(GUEST_MAC)) == []
    pair.net.run(0.2)
    assert len(pair.tell(claim(GUEST_MAC))) == 1
    pair.net.send(claim(VICTIM_MAC), wire=pair.victim)
    assert len(pair.net.raw()) == 1
    assert pair.tell(claim(GUEST_MAC)) == []
    assert pair.net.stats.drop_neighbor_spoofed == 2


@pytest.mark.parametrize("target", [VICTIM6, ip6("fe80::77")])
def test_addresses_are_learnt_from_messages_between_guests(target: bytes) -> None:
    """The stack does not take part in this: the groups are those of the guests' addresses."""
    net = Net()
    victim, third = net.attach(), net.attach()
    net.send(neighbor_solicitation(GUEST6, source=target, mac=VICTIM_MAC), wire=victim)
    net.raw(third)
    net.send(neighbor_advertisement(target, destination=ALL_NODES))
    assert net.raw(third) == []
    assert net.stats.drop_neighbor_spoofed == 1


def test_messages_to_the_gateway_are_not_guarded() -> None:
    """Messages to the gateway alone never pass the guard."""
    pair = Pair()
    pair.net.send(neighbor_solicitation(ROUTER, to=bytes.fromhex("525600000002"), destination=ROUTER))
    (answer,) = pair.net.take()
    assert answer.data.data.type == 136


@pytest.mark.parametrize(("off", "name"), [
    ("ipv6", "advertisement"), ("ipv6", "DHCPv6 server"), ("ipv6", "for the router"), ("ipv4", "DHCP server"),
    ("ipv4", "ARP for the gateway"), ("ipv4", "ICMP redirect"),
])  # fmt: skip
def test_a_family_that_is_off_may_have_another_router(off: str, name: str) -> None:
    frame = BROADCAST + FORGED[name][0][6:]
    assert Pair(**{off: False}).tell(frame) == [frame.ljust(60, b"\0")]


def test_a_hub_guards_nothing() -> None:
    frame = FORGED["advertisement"][0]
    assert Pair(hub=True).tell(frame) == [frame]


def test_claims_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that claims ever more addresses evicts its own, and the victim stays known."""
    monkeypatch.setattr(neighbor, "MAX_NEIGHBORS", 100)
    pair = Pair()
    for number in range(500):
        pair.net.now += SECOND // 1000
        claimed = GUEST6[:14] + number.to_bytes(2, "big")
        pair.net.send(neighbor_advertisement(claimed, destination=ALL_NODES, to=VICTIM_MAC))
    assert len(pair.net.stack.neighbors.known()) == 100
    assert pair.net.stats.neighbor_evicted == 502 - 100
    assert pair.net.stack.neighbors.is_known(VICTIM6)
    assert pair.net.stack.neighbors.is_known(VICTIM)


def test_solicited_addresses_of_the_victim_still_work() -> None:
    """Neighbour discovery between guests: question and answer pass."""
    pair = Pair()
    assert len(pair.tell(neighbor_solicitation(VICTIM6, source=GUEST6, destination=solicited(VICTIM6)))) == 1
    answer = neighbor_advertisement(VICTIM6, mac=VICTIM_MAC, destination=GUEST6, to=GUEST_MAC)
    pair.net.send(answer, wire=pair.victim)
    assert pair.net.raw() == [answer]
    pair.net.send(arp(1, sender=GUEST, target=VICTIM))
    assert len(pair.take()) == 1
