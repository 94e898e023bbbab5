"""The neighbour table: bounds, and entries that flows still hold after they were forgotten."""

from __future__ import annotations

import pytest

from slirpy.core import neighbor as module
from slirpy.core.ndp import solicit
from slirpy.core.probes import Occupant
from slirpy.interfaces import Frame, LinkFeatures
from slirpy.wire import ethernet
from tests.support.frames6 import GUEST6, neighbor_advertisement
from tests.support.harness import (
    ACK,
    GATEWAY_MAC,
    GUEST,
    GUEST_MAC,
    RST,
    SYN,
    WORLD,
    Net,
    Peer,
    arp,
    config,
    echo,
    ip,
    options,
)

OTHER_MAC = bytes.fromhex("525400bbbbbb")


def test_table_is_bounded_and_the_silent_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NEIGHBORS", 4)
    net = Net()
    for host in range(10, 14):
        net.know(address=ip(f"10.0.2.{host}"), mac=bytes((2, 0, 0, 0, 0, host)))
        net.run(1)
    net.know(address=ip("10.0.2.10"), mac=bytes((2, 0, 0, 0, 0, 10)))  # speaks again
    net.run(1)
    for host in (20, 21):
        net.know(address=ip(f"10.0.2.{host}"), mac=bytes((2, 0, 0, 0, 0, host)))
    assert sorted(n.address[3] for n in net.stack.neighbors.known()) == [10, 13, 20, 21]
    assert net.stats.neighbor_evicted == 2


def test_packets_waiting_for_an_evicted_neighbor_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NEIGHBORS", 2)
    net = Net()
    net.stack.send_datagram(WORLD, 1, ip("10.0.2.99"), 2, b"waits")
    net.run(0.1)
    for host in (20, 21):
        net.send(arp(2, sender=ip(f"10.0.2.{host}")))
    net.run(5)
    assert net.stats.drop_neighbor_unresolved == 1
    assert net.stats.neighbor_evicted == 1
    assert net.stack.deadline() is None


def test_a_flow_survives_the_eviction_and_follows_its_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NEIGHBORS", 2)
    net = Net()
    server = net.host.serve_tcp(WORLD, 80)
    peer = Peer(net)
    peer.open()
    for host in (20, 21, 22):
        net.run(0.5)
        net.send(arp(2, sender=ip(f"10.0.2.{host}")))
    assert GUEST not in [n.address for n in net.stack.neighbors.known()]
    net.take()
    server.connections[0].write(b"still here")
    net.run(0.1)
    assert peer.receive() == b"still here"
    peer.mac = OTHER_MAC  # the guest has a new card
    peer.send(ACK)
    server.connections[0].write(b"moved")
    net.run(0.1)
    (frame,) = net.take()
    assert frame.dst == OTHER_MAC
    assert bytes(frame.data.data.data) == b"moved"


def test_a_forward_reaches_a_guest_that_comes_up_later() -> None:
    """The entry that the first SYN waited for was given up long before the guest answered."""
    net = Net(config(hostfwd=["tcp:127.0.0.1:0-:80"]))
    rule = net.stack.hostfwds()[0]
    client = net.host.connect(rule.host_address.packed, rule.host_port)
    net.run(10)
    asked = net.take()
    assert len(asked) >= 3
    assert {f.data.tpa for f in asked} == {GUEST}
    net.send(arp(1))  # the guest is up
    net.take()
    net.run(40)
    (frame, *_) = [f for f in net.take() if f.type == 0x800]
    assert frame.dst == GUEST_MAC
    assert frame.data.data.flags == SYN
    assert client.error is None


def test_a_late_reply_goes_to_the_current_user_of_the_address() -> None:
    net = Net(config(hostfwd=["tcp:127.0.0.1:0-:80"]))
    rule = net.stack.hostfwds()[0]
    net.host.connect(rule.host_address.packed, rule.host_port, source=(WORLD, 5555))
    net.run(2.5)  # given up twice
    net.take()
    peer = Peer(net, 5555, sport=80)
    net.send(echo())
    net.take()
    net.run(5)
    syn = peer.take()[0]
    peer.ack = syn.seq + 1
    peer.send(SYN | ACK, opts=options())
    assert peer.take()[0].flags == ACK
    assert peer.conn.state.value == "ESTABLISHED"


def test_no_packet_is_sent_to_the_unspecified_address() -> None:
    """0.0.0.0 is a source for DHCP alone: nobody can be answered there."""
    net = Net()
    net.host.serve_tcp(WORLD, 80)
    peer = Peer(net, guest=bytes(4))
    peer.send(SYN, opts=options())
    peer.send(ACK)
    peer.send(RST)
    net.run(100)
    net.silence()
    assert net.stats.drop_ip_source == 3
    assert net.calls("connect_tcp") == []


def test_an_unresolved_neighbor_is_not_a_known_guest() -> None:
    net = Net()
    net.stack.send_datagram(WORLD, 1, ip("10.0.2.99"), 2, b"waits")
    net.run(0.01)
    net.raw()
    assert net.stack.neighbors.first_heard(GUEST) is None
    net.know(address=ip("10.0.2.20"))
    assert net.stack.neighbors.first_heard(GUEST) == ip("10.0.2.20")
    net.know()
    assert net.stack.neighbors.first_heard(GUEST) == GUEST


def test_a_large_frame_waits_as_a_whole() -> None:
    net = Net()
    parts = (ethernet.BROADCAST + GATEWAY_MAC + b"\x08\x06", bytes(range(20)), bytes(range(26)))
    net.stack.neighbors.send(net.stack.neighbors.get(GUEST), Frame(parts), 60)
    net.run(0.01)
    assert len(net.raw()) == 1, "it is asked who has the address"
    net.send(arp(2, sender=GUEST, to=GATEWAY_MAC))
    assert net.raw()[0][6:] == b"".join(parts)[6:]


# ------------------------------------------------------------------------- an address behind two links


def who_is(net: Net) -> bytes | None:
    return net.stack.neighbors.get(GUEST).mac


def test_an_address_in_use_is_not_believed_from_another_link() -> None:
    net = Net()
    wire = net.attach()
    net.know()
    net.send(arp(2, sender_mac=OTHER_MAC, to=GATEWAY_MAC), wire=wire)
    net.send(echo(mac=GATEWAY_MAC).replace(GUEST_MAC, OTHER_MAC), wire=wire)
    assert who_is(net) == GUEST_MAC
    assert net.stats.drop_neighbor_spoofed == 2
    assert net.take(wire) == []


def test_a_guest_may_move_after_a_silence_and_come_home_at_once() -> None:
    net = Net()
    wire = net.attach()
    net.know()
    net.run(4)
    net.send(arp(2, sender_mac=OTHER_MAC, to=GATEWAY_MAC), wire=wire)
    assert who_is(net) == OTHER_MAC
    net.send(arp(2, to=GATEWAY_MAC))
    assert who_is(net) == GUEST_MAC
    net.send(arp(2, sender_mac=OTHER_MAC, to=GATEWAY_MAC), wire=wire)
    assert who_is(net) == GUEST_MAC
    assert net.stats.drop_neighbor_spoofed == 1


def test_a_guest_that_has_moved_for_good_has_a_new_home() -> None:
    net = Net()
    wire = net.attach()
    net.know()
    net.run(4)
    for _ in range(300):
        net.send(arp(2, sender_mac=OTHER_MAC, to=GATEWAY_MAC), wire=wire)
        net.run(2.5)
    net.send(arp(2, to=GATEWAY_MAC))
    assert who_is(net) == OTHER_MAC
    net.stack.detach(net._ports[wire])
    net.send(arp(2, to=GATEWAY_MAC))
    assert who_is(net) == GUEST_MAC


def test_the_flood_of_one_link_does_not_push_out_the_neighbours_of_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_NEIGHBORS", 8)
    net = Net()
    wire = net.attach()
    net.know()
    net.run(60)
    for host in range(20, 250):
        net.send(arp(2, sender=ip(f"10.0.2.{host}"), sender_mac=OTHER_MAC), wire=wire)
    assert GUEST in [neighbor.address for neighbor in net.stack.neighbors.known()]
    assert len(net.stack.neighbors._table) == 8
    assert net.stats.neighbor_evicted == 223


@pytest.mark.parametrize(
    ("place", "may"),
    [("none", True), ("here", True), ("detached", True), ("elsewhere", False), ("nobody", False)],
)
def test_a_leased_address_belongs_to_its_guest(place: str, may: bool) -> None:
    """With source_guard, the guest that has leased it: behind that link, or behind any if it is there no more."""
    net = Net(config(source_guard=True))
    other, gone = (net._ports[net.attach()] for _ in range(2))
    net.stack.detach(gone)
    links = {"none": None, "here": net.port, "detached": gone, "elsewhere": other}
    neighbors = net.stack.neighbors
    neighbors.tenant = lambda address: None if place == "nobody" else (GUEST_MAC, links[place])
    assert (neighbors.learn(GUEST, GUEST_MAC, net.port) is not None) is may
    assert net.stats.drop_source_guard == (not may)
    assert neighbors.learn(GUEST, OTHER_MAC, net.port) is None


def test_a_probe_ends_with_the_first_answer_that_counts() -> None:
    net = Net()
    answers: list[Occupant | None] = []
    probes = net.stack.neighbors.probes
    probes.ask(GUEST, 1_000_000_000, (OTHER_MAC,), answers.append)
    probes.heard(GUEST, OTHER_MAC, net.port)
    assert answers == []
    net.run(0.1)
    probes.heard(GUEST, GUEST_MAC, net.port)
    probes.heard(GUEST, GUEST_MAC, net.port)
    assert answers == [Occupant(GUEST_MAC, net.port, net.now)]


@pytest.mark.parametrize(("mtu", "asked"), [(1280, True), (1279, False)])
def test_links_that_can_carry_ipv6_are_asked(mtu: int, asked: bool) -> None:
    net = Net(features=LinkFeatures(mtu=mtu))
    solicit(net.stack._parts.network, bytes.fromhex("fec00000000000000000000000000077"))
    net.stack.flush(net.now)
    assert bool(net.raw()) is asked


@pytest.mark.parametrize("family", [4, 6])
def test_answers_to_a_probe_are_frames(family: int) -> None:
    net = Net()
    answers: list[Occupant | None] = []
    address = GUEST if family == 4 else GUEST6
    net.stack.neighbors.probes.ask(address, 1_000_000_000, (), answers.append)
    reply = arp(2, sender=GUEST, sender_mac=GUEST_MAC, to=GATEWAY_MAC)
    net.send(reply if family == 4 else neighbor_advertisement(GUEST6, mac=GUEST_MAC))
    assert answers == [Occupant(GUEST_MAC, net.port, net.now)]


def test_a_link_local_address_belongs_to_its_first_guest() -> None:
    """With source_guard, until the link of that guest is gone."""
    net = Net(config(source_guard=True))
    wire = net.attach()
    other, neighbors, address = net._ports[wire], net.stack.neighbors, bytes.fromhex("fe80" + 13 * "00" + "77")
    assert neighbors.learn(address, GUEST_MAC, net.port) is not None
    assert neighbors.learn(address, GUEST_MAC, net.port) is not None
    assert neighbors.learn(address, OTHER_MAC, net.port) is None
    assert neighbors.learn(address, GUEST_MAC, other) is None
    assert net.stats.drop_source_guard == 2
    net.stack.detach(net.port)
    assert neighbors.learn(address, OTHER_MAC, other) is not None
    assert net.stats.drop_source_guard == 2


def test_the_time_of_a_guest_is_that_of_its_address_and_link() -> None:
    net = Net()
    other = net._ports[net.attach()]
    neighbors, start = net.stack.neighbors, net.now
    neighbors.learn(GUEST, GUEST_MAC, net.port)
    net.run(1)
    neighbors.learn(ip("10.0.2.16"), OTHER_MAC, net.port)
    neighbors.learn(ip("10.0.2.17"), GUEST_MAC, other)
    assert neighbors.heard(GUEST_MAC, net.port) == start
    assert neighbors.heard(GUEST_MAC, other) == neighbors.heard(OTHER_MAC, net.port) == net.now
    assert neighbors.heard(OTHER_MAC, other) == 0


def test_an_address_that_another_has_leased() -> None:
    """The address stays with its present user; a third guest behind the same link does not get it."""
    net = Net()
    other, neighbors = net._ports[net.attach()], net.stack.neighbors
    neighbors.learn(GUEST, GUEST_MAC, net.port)
    neighbors.tenant = lambda address: (OTHER_MAC, other)
    assert neighbors.learn(GUEST, GUEST_MAC, net.port) is not None
    assert neighbors.learn(GUEST, bytes.fromhex("525400cccccc"), net.port) is None
    assert net.stats.drop_neighbor_spoofed == 1
