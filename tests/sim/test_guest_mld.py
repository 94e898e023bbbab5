"""The test guest's multicast groups, on a switch in virtual time and alone."""

from __future__ import annotations

from random import Random

import pytest

from slirpy import ConfigError
from slirpy.testing import Guest, VirtualNetwork
from slirpy.units import SECOND
from slirpy.wire import mld
from tests.support.frames6 import ALL_NODES, ROUTER, ip6, mac_of, solicited

GROUP = "ff15::1234"
QUERY_TIME = 125 * SECOND


def network() -> VirtualNetwork:
    """Three guests with addresses, all of which report."""
    net = VirtualNetwork()
    net.add_guest()
    net.add_guest()
    for number, guest in enumerate(net.guests):
        guest.configure(f"fec0::1{number}", 64, "fe80::2")
        guest.join(f"ff15::{number + 1}")
    net.run(2 * SECOND)
    return net


def heard(net: VirtualNetwork, group: str = GROUP) -> list[int]:
    """The numbers of the guests that receive a datagram which the first one sends."""
    sockets = [guest.udp(5000 + len(guest.udp_host.open_ports)) for guest in net.guests]
    before = [guest.counters.frames_in for guest in net.guests]
    sockets[0].send(b"x", group, sockets[0].port)
    net.run(SECOND // 10)
    numbers = [number for number, guest in enumerate(net.guests) if guest.counters.frames_in > before[number]]
    assert [number for number, socket in enumerate(sockets) if socket.received] == numbers
    return numbers


def test_a_group_is_joined_and_left() -> None:
    net = network()
    assert heard(net) == []
    net.guests[2].join(GROUP)
    net.run(SECOND)
    assert heard(net) == [2]
    net.guests[2].leave(GROUP)
    net.run(3 * SECOND)
    assert heard(net) == []
    assert net.stack.stats.dropped() == net.stack.stats.drop_ipv6_group == 3  # the gateway does not listen


def test_answers_keep_groups_for_ever() -> None:
    net = network()
    net.guests[1].join(GROUP)
    net.run(20 * QUERY_TIME)
    assert heard(net) == [1]
    assert net.stack.stats.mld_queries > 40
    ping = net.guests[1].ping("fec0::12")
    net.run_until(lambda: ping.reply)


def test_a_guest_that_is_queried_begins_to_report() -> None:
    net = VirtualNetwork()
    other = net.add_guest()
    net.guest.configure("fec0::10", 64)
    other.configure("fec0::11", 64)
    other.join(GROUP)
    net.run_until(lambda: net.guest.mld.active)
    net.run(20 * SECOND)
    assert net.guest.mld.reports == 1


def test_neighbours_find_each_other() -> None:
    net = network()
    before = net.guests[2].counters.frames_in
    ping = net.guests[0].ping("fec0::11")
    net.run_until(lambda: ping.reply)
    assert net.guests[2].counters.frames_in == before


def reports(frames: list[bytes]) -> list[tuple[bytes, int, bytes]]:
    """Source, type of record and group of what was reported in frames, which are cleared."""
    found = []
    for frame in frames:
        if frame[20] == 0:
            assert frame[:6] == mac_of(mld.ROUTERS_V2)
            assert (frame[21], frame[54:62].hex()) == (1, "3a00050200000100")
            assert frame[62] == 143
            count = int.from_bytes(frame[68:70], "big")
            found += [
                (frame[22:38], frame[at], frame[at + 4 : at + 20]) for at in range(70, 70 + 20 * count, 20)
            ]
    frames.clear()
    return found


def test_joined_groups_are_reported() -> None:
    frames: list[bytes] = []
    guest = Guest(frames.append, random=Random(1), now=SECOND)
    guest.join(GROUP)
    own = guest.ipv6.addresses[0]
    joins = [(own, 4, group) for group in sorted((ip6(GROUP), solicited(own)))]
    assert reports(frames) == joins
    guest.advance(2 * SECOND)
    assert reports(frames) == joins  # a report may be lost
    guest.advance(10 * SECOND)
    guest.configure("fec0::15", 64)
    guest.flush()
    assert reports(frames) == [(own, 4, solicited(ip6("fec0::15")))]
    guest.leave(GROUP)
    assert reports(frames) == [(own, 3, ip6(GROUP))]
    guest.leave(GROUP)
    guest.join(GROUP)
    guest.advance(30 * SECOND)
    assert (own, 3, ip6(GROUP)) not in reports(frames)[1:]
    assert repr(guest.mld) == "<MldHost active: 3 groups, 6 reports>"


def query(guest: Guest, group: bytes, response: int = 1000) -> None:
    """Ask the guest."""
    destination = group if any(group) else ALL_NODES
    message = mld.query(ROUTER, destination, group, response=response)
    packet = mld.packet(ROUTER, destination, message)
    guest.input(mac_of(destination) + bytes.fromhex("525600000002") + b"\x86\xdd" + packet)


def test_queries_are_answered_within_their_time() -> None:
    frames: list[bytes] = []
    guest = Guest(frames.append, random=Random(1), now=SECOND)
    guest.configure("fec0::15", 64)
    for at in range(1, 50):
        guest.advance(at * 10 * SECOND)
        query(guest, bytes(16))
        due = guest.deadline()
        assert due is not None
        assert 0 <= due - guest.now < SECOND
        guest.advance(due)
        assert [kind for _, kind, _ in reports(frames)] == [2, 2]
    query(guest, solicited(ip6("fec0::15")), response=0)
    guest.advance(guest.now)
    assert [group for *_, group in reports(frames)] == [solicited(ip6("fec0::15"))]


def test_queries_about_others_and_malformed_ones() -> None:
    frames: list[bytes] = []
    guest = Guest(frames.append, random=Random(1), now=SECOND)
    guest.join(GROUP)
    guest.advance(10 * SECOND)
    frames.clear()
    message = mld.query(ROUTER, ALL_NODES, ip6("ff15::99"), response=10)
    guest.input(mac_of(ALL_NODES) + bytes(6) + b"\x86\xdd" + mld.packet(ROUTER, ALL_NODES, message))
    bad = mld.query(ip6("fec0::2"), ALL_NODES, response=10)
    guest.input(mac_of(ALL_NODES) + bytes(6) + b"\x86\xdd" + mld.packet(ip6("fec0::2"), ALL_NODES, bad))
    guest.advance(20 * SECOND)
    assert reports(frames) == []
    assert guest.counters.malformed == 1


def test_an_address_without_an_owner_yet_reports_without_a_source() -> None:
    frames: list[bytes] = []
    guest = Guest(frames.append, random=Random(1), now=SECOND)
    guest.mld.active = True
    guest.autoconfigure(dad=True)
    assert {source for source, *_ in reports(frames)} == {bytes(16)}


@pytest.mark.parametrize("group", ["fec0::1", "224.0.0.1", "nowhere"])
def test_mistakes(group: str) -> None:
    with pytest.raises(ConfigError):
        Guest(lambda frame: None, random=Random(1)).join(group)
