"""Services of a guest's network that are switched off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dpkt
import pytest

from slirpy.cli.passt.services import ServiceFilter
from slirpy.interfaces import Frame
from tests.support.frames6 import LINK_LOCAL, icmp6, neighbor_solicitation, router_solicitation, udp6
from tests.support.harness import Net, Wire, arp, config, eth, ipv4, udp, udp_segment

ALL_SERVERS = bytes.fromhex("ff020000000000000000000000010002")
ROUTER = bytes.fromhex("fe800000000000000000000000000002")


def discover() -> bytes:
    message = dpkt.dhcp.DHCP(op=1, xid=7, chaddr=b"\x52\x54\0\x12\x34\x56", opts=((53, b"\1"),))
    segment = udp_segment(bytes(message), 68, 67, bytes(4), b"\xff" * 4)
    return eth(ipv4(17, segment, source=bytes(4), destination=b"\xff" * 4), destination=b"\xff" * 6)


def solicit() -> bytes:
    body = bytes.fromhex("0b0000010001000a00030001525400123456")
    return udp6(body, sport=546, dport=547, source=LINK_LOCAL, destination=ALL_SERVERS)


REQUESTS: dict[str, Callable[[], bytes]] = {
    "no-dhcp": discover,
    "no-dhcpv6": solicit,
    "no-ndp": lambda: neighbor_solicitation(ROUTER),
    "no-ra": router_solicitation,
}


class Filtered:
    """A network behind such a link."""

    def __init__(self, *off: str) -> None:
        self.wire = Wire()
        filtered: Any = ServiceFilter(self.wire, off)
        self.link: ServiceFilter = filtered
        self.net = Net(config(), link=filtered)

    def answers(self, frame: bytes) -> int:
        """The number of frames that come back within some seconds."""
        self.wire.sent.clear()
        self.net.stack.tick(self.net.now)
        self.link.input(frame)
        self.net.stack.flush(self.net.now)
        self.net.run(2)
        return len(self.wire.sent)


@pytest.mark.parametrize("off", REQUESTS)
def test_the_others_stay(off: str) -> None:
    network = Filtered(off)
    for name, request in REQUESTS.items():
        gone = name == off or (name, off) == ("no-ra", "no-ndp")
        assert (network.answers(request()) == 0) is gone, name
    assert network.net.stats.drop_service_off == (2 if off == "no-ndp" else 1)
    assert network.answers(arp(1)) > 0


def test_frames_that_are_short_or_others_pass() -> None:
    network = Filtered(*REQUESTS)
    frame = discover()
    for length in (0, 13, 14, 20, 34, 36):
        network.answers(frame[:length])
    network.answers(icmp6(128, 0, b"\0\1\0\1abcd", destination=ROUTER))
    network.answers(udp(b"x", dport=9))
    assert network.net.stats.drop_service_off == 0


def test_advertisements_are_left_out() -> None:
    network = Filtered("no-ra")
    wire, link = network.wire, network.link
    advert = Frame((icmp6(134, 0, bytes(12), source=ROUTER),))
    other = Frame((arp(2),))
    wire.sent.clear()
    assert link.send([advert, other, advert, other]) == 4
    assert wire.sent == [other, other]
    wire.give(1)
    assert link.send([advert, other, advert, other]) == 3
    wire.room = 0
    assert link.send([advert]) == 1
    assert link.send([other]) == 0
