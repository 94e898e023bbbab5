"""Neighbor Unreachability Detection (RFC 4861, section 7.3), and floods of Neighbor Discovery."""

from __future__ import annotations

from typing import Any

import pytest

from slirpy.core import neighbor as module
from tests.support.frames6 import (
    GUEST6,
    ROUTER,
    ROUTER_MAC,
    UNSPECIFIED,
    ip6,
    know6,
    mac_of,
    neighbor_advertisement,
    neighbor_solicitation,
    of_kind,
    solicited,
    udp6,
)
from tests.support.harness import GUEST_MAC, SECOND, Net, Peer, config

OTHER_MAC = bytes.fromhex("525400bbbbbb")


def say(net: Net) -> None:
    """Send a datagram to the guest."""
    net.stack.send_datagram(ip6("fec0::2"), 1, GUEST6, 2, b"x")
    net.run()


def asked(net: Net) -> list[tuple[bytes, bytes]]:
    """Destinations of the solicitations that came, MAC and IPv6; all of them verified."""
    found = []
    for frame in net.take():
        packet = frame.data
        if frame.type == 0x86DD and packet.nxt == 58 and packet.data.type == 135:
            message = bytes(packet.data)
            assert (frame.src, packet.src, packet.hlim) == (ROUTER_MAC, ROUTER, 255)
            assert message[8:24] == GUEST6
            assert message[24:] == b"\1\1" + ROUTER_MAC
            found.append((frame.dst, packet.dst))
    return found


ALONE, ALL = (GUEST_MAC, GUEST6), (mac_of(solicited(GUEST6)), solicited(GUEST6))


@pytest.fixture
def net() -> Net:
    """A network whose guest was heard a while ago."""
    net = Net()
    know6(net)
    net.run(30.5)
    net.take()
    return net


def test_a_fresh_entry_is_not_verified() -> None:
    net = Net()
    know6(net)
    net.run(30)
    net.take()
    say(net)
    net.run(10)
    assert asked(net) == []


@pytest.mark.rfc("4861", "7.3.3 stale")
@pytest.mark.rfc("4861", "7.3.3 delay")
def test_a_stale_entry_is_used_and_verified(net: Net) -> None:
    say(net)
    assert len(of_kind(net.take(), 17)) == 1
    net.run(4.9)
    assert asked(net) == []
    net.run(0.2)
    assert asked(net) == [ALONE]
    net.send(neighbor_advertisement(GUEST6))
    net.run(10)
    assert asked(net) == []
    assert net.stats.ndp_probes == 1
    assert net.stats.neighbor_unreachable == 0
    say(net)
    assert len(of_kind(net.take(), 17)) == 1


@pytest.mark.rfc("4861", "7.3 sent to")
def test_no_traffic_no_question(net: Net) -> None:
    net.run(3000)
    assert asked(net) == []


@pytest.mark.rfc("4861", "7.3.1 confirmation")
def test_a_packet_meanwhile_is_confirmation_enough(net: Net) -> None:
    say(net)
    net.run(3)
    net.send(udp6(b"x"))
    net.run(20)
    assert asked(net) == []
    assert net.stats.ndp_probes == 0


@pytest.mark.rfc("4861", "7.3.3 rate")
@pytest.mark.rfc("4861", "7.3.3 probe")
def test_an_answer_to_a_later_probe(net: Net) -> None:
    say(net)
    net.run(7.5)
    assert asked(net) == [ALONE] * 3
    net.send(neighbor_advertisement(GUEST6))
    net.run(20)
    assert asked(net) == []
    assert net.stats.neighbor_unreachable == 0


@pytest.mark.rfc("4861", "7.3.3 delete")
def test_an_unreachable_address_is_resolved_anew(net: Net) -> None:
    """The guest has another card. Its answer releases what waited."""
    say(net)
    net.run(20)
    assert asked(net) == [ALONE] * 3
    assert net.stats.neighbor_unreachable == 1
    assert net.stack.neighbors.known() == []
    say(net)
    assert asked(net) == [ALL]
    net.send(neighbor_advertisement(GUEST6, mac=OTHER_MAC))
    (frame,) = net.take()
    assert (frame.dst, frame.data.nxt) == (OTHER_MAC, 17)


def test_an_old_card_speaks_again(net: Net) -> None:
    say(net)
    net.run(20)
    net.take()
    net.send(udp6(b"x"))
    say(net)
    assert len(of_kind(net.take(), 17)) == 1
    assert net.stats.neighbor_unreachable == 1


def test_the_batch_path_verifies_too(net: Net) -> None:
    net.stack.send_datagrams(ip6("fec0::2"), 1, GUEST6, 2, [b"x", b"y"])
    net.run(0)
    assert len(of_kind(net.take(), 17)) == 2
    net.run(5.1)
    assert asked(net) == [ALONE]


def test_a_link_that_is_detached_meanwhile(net: Net) -> None:
    """An address with waiting frames is asked for behind the other links."""
    other = net.attach()
    say(net)
    net.stack.detach(net.port)
    net.run(1)
    say(net)
    net.run(4.1)
    frames = [frame for frame in net.raw(other) if frame[54:55] == b"\x87"]
    assert [frame[:6] for frame in frames] == [ALL[0]]
    net.run(10)
    assert len([frame for frame in net.raw(other) if frame[54:55] == b"\x87"]) == 2
    assert net.stats.ndp_probes == 0
    assert net.stats.drop_neighbor_unresolved == 1


def test_arp_asks_once_and_after_a_longer_time() -> None:
    net = Net()
    peer = Peer(net)
    net.know()
    net.run(599)
    net.stack.send_datagram(ip6("fec0::2")[:4], 1, peer.key[:4], 2, b"")
    net.run(10)
    assert net.stats.ndp_probes == net.stats.neighbor_unreachable == 0


@pytest.mark.parametrize("fresh", [True, False])
def test_a_flood_of_solicitations_is_bounded(fresh: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One guest asks for 10,000 addresses, from as many. The others are still known, and answers are limited."""
    monkeypatch.setattr(module, "MAX_NEIGHBORS", 200)
    net = Net(config())
    other = net.attach()
    known = ip6("fec0::77")
    net.send(neighbor_advertisement(known, mac=OTHER_MAC), wire=other)
    many: dict[str, Any] = {}
    for number in range(10_000):
        address = ip6("fec0:0:0:0:5::")[:14] + number.to_bytes(2, "big")
        many["source"] = address if fresh else GUEST6
        net.send(neighbor_solicitation(address[:13] + b"\xff" + address[14:], **many))
    assert net.stats.drop_switch_storm == 9_000
    net.now += SECOND
    for number in range(1000):
        source = ip6("fec0:0:0:0:6::")[:14] + number.to_bytes(2, "big")
        net.send(neighbor_solicitation(ROUTER, source=source if fresh else GUEST6))
    assert len(net.stack.neighbors.known()) == (200 if fresh else 2)
    assert net.stack.neighbors.is_known(known)
    assert len(net.raw()) == 100
    assert net.stats.drop_ndp_rate == 900
    assert net.stats.neighbor_evicted == (2000 - 199 if fresh else 0)


def test_duplicate_address_detection_of_a_guest_address_gets_no_answer() -> None:
    net = Net()
    know6(net)
    net.take()
    net.send(neighbor_solicitation(GUEST6, b"", source=UNSPECIFIED, mac=OTHER_MAC))
    net.run(5)
    net.silence()
