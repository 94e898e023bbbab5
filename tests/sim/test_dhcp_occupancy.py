"""Addresses that somebody uses already: clones of one image, guests without a lease, machines with a new card."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import dpkt
import pytest

from slirpy.core.probes import MAX_PROBES
from slirpy.services.dhcp.occupancy import SEARCH_MAX
from tests.support.harness import BROADCAST, GATEWAY, MS, Net, Wire, arp, config, echo, eth, ip, udp

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = 1, 2, 3, 4, 5, 6, 7
FIRST, SECOND, THIRD = (ip(f"10.0.2.{n}") for n in (15, 16, 17))
EVERYWHERE = b"\xff" * 4
SAME = (61, b"\xff\0\0\0\1\0\2\0\0\xab\x11machine")


class Guest:
    """A card on a link of its own, or on another's; it answers ARP for its address if asked to."""

    def __init__(self, net: Net, number: int, wire: Wire | None = None) -> None:
        self.net = net
        self.mac = b"\x52\x54\0\0\0" + bytes((number,))
        self.wire = net.attach() if wire is None else wire
        self.address = bytes(4)
        self.heard: list[Any] = []
        self.answers = False

    def say(self, kind: int | None, *options: tuple[int, bytes], ciaddr: bytes = bytes(4)) -> None:
        header = dpkt.dhcp.DHCP(
            xid=1,
            chaddr=self.mac,
            ciaddr=int.from_bytes(ciaddr, "big"),
            opts=[] if kind is None else [(53, bytes((kind,))), *options],
        )
        payload = bytes(header) if kind is not None else header.pack_hdr() + b"\xff".ljust(60, b"\0")
        frame = udp(
            payload, sport=68, dport=67, source=ciaddr, destination=EVERYWHERE, mac=self.mac, to=BROADCAST
        )
        self.net.send(frame, wire=self.wire)

    def replies(self) -> list[Any]:
        """Messages of the server for this guest that have come."""
        found = []
        for frame in self.net.take(self.wire):
            if frame.type == 0x806:
                self.heard.append(frame.data)
            elif frame.type == 0x800 and frame.data.p == 17 and frame.data.data.dport == 68:
                message = dpkt.dhcp.DHCP(bytes(frame.data.data.data))
                message.options = dict(message.opts)
                if message.chaddr[:6] == self.mac:
                    found.append(message)
        return found

    def speak(self) -> None:
        """Use the address."""
        request = arp(1, sender=self.address, sender_mac=self.mac)
        self.net.send(request, wire=self.wire)

    def reply(self) -> None:
        """Answer ARP."""
        frame = arp(
            2, sender=self.address, sender_mac=self.mac, target=GATEWAY, to=bytes.fromhex("52550a000202")
        )
        self.net.send(frame, wire=self.wire)


class World:
    """Guests and the time."""

    def __init__(self, guests: int = 2, *, shared: bool = False, **given: Any) -> None:
        self.net = Net(config(**given))
        self.stats = self.net.stats
        wire = self.net.wire
        self.guests = [Guest(self.net, n + 1, wire if shared or not n else None) for n in range(guests)]

    def wait(self, seconds: float = 0.5) -> list[list[Any]]:
        """Let time pass in small steps in which guests answer ARP; what the server has said to each."""
        said: list[list[Any]] = [[] for _ in self.guests]
        for _ in range(max(round(seconds / 0.005), 1)):
            for wire in {id(g.wire): g.wire for g in self.guests}.values():
                for frame in self.net.take(wire):
                    self._hear(wire, frame, said)
            self.net.run(0.005)
        return said

    def _hear(self, wire: Wire, frame: Any, said: list[list[Any]]) -> None:
        for number, guest in enumerate(self.guests):
            if guest.wire is not wire:
                continue
            if frame.type == 0x806 and frame.data.op == 1 and frame.data.tpa == guest.address and guest.answers:
                guest.reply()
            if frame.type == 0x800 and frame.data.p == 17 and frame.data.data.dport == 68:
                message = dpkt.dhcp.DHCP(bytes(frame.data.data.data))
                message.options = dict(message.opts)
                if message.chaddr[:6] == guest.mac:
                    said[number].append(message)

    def ask(self, guest: Guest, kind: int | None, *options: tuple[int, bytes], **more: Any) -> Any:
        """Say something; the one reply, or None."""
        guest.say(kind, *options, **more)
        said = self.wait()[self.guests.index(guest)]
        assert len(said) <= 1, said
        return said[0] if said else None

    def lease(self, guest: Guest, *options: tuple[int, bytes]) -> bytes:
        offer = self.ask(guest, DISCOVER, *options)
        assert offer is not None
        address: bytes = offer.yiaddr.to_bytes(4, "big")
        ack = self.ask(guest, REQUEST, (50, address), (54, GATEWAY), *options)
        assert ack.options[53] == bytes((ACK,))
        guest.address = address
        return address


@pytest.fixture(params=[False, True], ids=["links", "one link"])
def world(request: pytest.FixtureRequest) -> World:
    return World(shared=request.param)


# ---------------------------------------------------------------------------------------------- clones


@pytest.mark.parametrize("pause", [0.0, 2.0, 100.0, 5000.0])
def test_clones_have_an_address_each(world: World, pause: float) -> None:
    one, two = world.guests
    one.answers = True
    assert world.lease(one, SAME) == FIRST
    one.speak()
    world.wait(pause or 0.005) if pause < 3 else world.net.run(pause)
    assert world.lease(two, SAME) == SECOND
    two.answers = True
    for guest, address in ((one, FIRST), (two, SECOND), (one, FIRST), (two, SECOND)):
        ack = world.ask(guest, REQUEST, SAME, ciaddr=address)  # each renews its own
        assert ack.options[53] == bytes((ACK,))
        assert world.lease(guest, SAME) == address  # and boots again
        assert world.ask(guest, REQUEST, SAME, (50, address)).options[53] == bytes((ACK,))
    holders = sorted(
        (lease.address.packed, bytes.fromhex(lease.mac.replace(":", ""))) for lease in world.net.stack.leases()
    )
    assert holders == [(FIRST, one.mac), (SECOND, two.mac)]


def test_clones_that_begin_together() -> None:
    world = World(4)
    for guest in world.guests:
        guest.say(DISCOVER, SAME)
    offers = [said[0].yiaddr.to_bytes(4, "big") for said in world.wait()]
    assert len(set(offers)) == 4
    for guest, address in zip(world.guests, offers, strict=True):
        guest.say(REQUEST, SAME, (50, address), (54, GATEWAY))
    assert [said[0].options[53] for said in world.wait()] == [bytes((ACK,))] * 4


def test_clones_that_begin_together_behind_one_link() -> None:
    world = World(4, shared=True)
    for guest in world.guests:
        guest.say(DISCOVER, SAME)
    offers = [said[0].yiaddr.to_bytes(4, "big") for said in world.wait()]
    assert len(set(offers)) == 4


def test_a_clone_that_has_sent_no_arp_yet() -> None:
    world = World()
    one, two = world.guests
    assert world.lease(one, SAME) == FIRST
    assert world.lease(two, SAME) == SECOND


def test_a_clone_asks_for_the_address_that_it_was_cloned_with(world: World) -> None:
    one, two = world.guests
    one.answers = True
    world.lease(one, SAME)
    one.speak()
    assert world.ask(two, REQUEST, SAME, (50, FIRST)).options[53] == bytes((NAK,))
    world.net.run(30)
    assert world.ask(two, REQUEST, SAME, (50, FIRST)).options[53] == bytes((NAK,))
    assert world.lease(two, SAME) == SECOND
    assert world.ask(one, REQUEST, SAME, (50, FIRST)).options[53] == bytes((ACK,))


def test_a_clone_gives_nothing_back_that_is_another_s(world: World) -> None:
    one, two = world.guests
    world.lease(one, SAME)
    two.say(RELEASE, SAME, ciaddr=FIRST)
    two.say(REQUEST, SAME, (50, FIRST), (54, ip("10.0.2.99")))
    assert [(lease.address.packed, lease.state.value) for lease in world.net.stack.leases()] == [
        (FIRST, "bound")
    ]


def test_clones_do_not_take_more_than_their_link_may_have() -> None:
    world = World(2, net="10.0.2.0/27")
    other = world.guests[1]
    for number in range(100):
        crowd = Guest(world.net, 100 + number, world.net.wire)
        crowd.say(DISCOVER, SAME)
        world.net.run(0.25)
    assert len(world.net.stack.leases()) <= 15
    world.wait()
    assert world.lease(other) is not None


# ------------------------------------------------------------------------------- one machine, another card


@pytest.mark.parametrize("pause", [4.0, 700.0])
def test_a_machine_with_a_new_card_keeps_its_address(world: World, pause: float) -> None:
    one, two = world.guests  # two is one, with a new card
    assert world.lease(one, SAME) == FIRST
    one.speak()
    world.net.run(pause)
    assert world.lease(two, SAME) == FIRST
    (lease,) = world.net.stack.leases()
    assert lease.mac == two.mac.hex(":")


def test_a_machine_that_puts_its_card_into_a_bridge_keeps_its_address() -> None:
    world = World(shared=True)
    card, bridge = world.guests
    assert world.lease(card, SAME) == FIRST
    card.speak()
    assert world.ask(bridge, REQUEST, SAME, (50, FIRST)).options[53] == bytes((ACK,))
    assert world.lease(bridge, SAME) == FIRST


def test_a_machine_that_was_unplugged_keeps_its_address_at_once() -> None:
    world = World()
    one, two = world.guests
    assert world.lease(one, SAME) == FIRST
    one.speak()
    world.net.stack.detach(world.net.port)
    assert world.lease(two, SAME) == FIRST


def test_a_machine_that_gave_its_address_back_has_it_again_at_once(world: World) -> None:
    one, two = world.guests
    assert world.lease(one, SAME) == FIRST
    one.speak()
    one.say(RELEASE, SAME, ciaddr=FIRST)
    assert world.lease(two, SAME) == FIRST


# ---------------------------------------------------------------------------------- guests without a lease


@pytest.mark.parametrize("silent", [0.0, 2.9, 10.0, 700.0])
def test_an_address_that_is_used_without_a_lease_is_not_offered(world: World, silent: float) -> None:
    one, two = world.guests
    one.address, one.answers = FIRST, True
    one.speak()
    world.net.run(silent)
    assert world.lease(two) == SECOND
    assert world.stats.dhcp_in_use == 1
    assert [lease.state.value for lease in world.net.stack.leases()] == ["declined", "bound"]
    assert world.net.stack.leases()[0].mac == one.mac.hex(":")


def test_an_address_in_silent_use_is_found_by_arp() -> None:
    world = World()
    one, two = world.guests
    one.address, one.answers = FIRST, True
    assert world.lease(two) == SECOND


def test_a_user_that_is_gone_does_not_block_its_address(world: World) -> None:
    one, two = world.guests
    one.address = FIRST
    one.speak()
    world.net.run(3.5)
    assert world.lease(two) == FIRST
    assert world.stats.dhcp_in_use == 0


def test_a_wish_for_an_address_in_use_is_not_granted(world: World) -> None:
    one, two = world.guests
    one.address, one.answers = ip("10.0.2.77"), True
    one.speak()
    assert world.ask(two, DISCOVER, (50, one.address)).yiaddr == int.from_bytes(FIRST, "big")
    assert world.ask(two, REQUEST, (50, one.address)).options[53] == bytes((NAK,))
    world.net.run(650)
    assert world.ask(two, REQUEST, (50, one.address)).options[53] == bytes((NAK,))


def test_bootp_gets_no_address_in_use(world: World) -> None:
    one, two = world.guests
    one.address, one.answers = FIRST, True
    one.speak()
    assert world.ask(two, None).yiaddr == int.from_bytes(SECOND, "big")
    assert world.ask(two, None, ciaddr=SECOND).yiaddr == int.from_bytes(SECOND, "big")


def test_a_program_is_given_no_address_in_use(world: World) -> None:
    one, two = world.guests
    one.address = FIRST
    one.speak()
    assert world.net.stack.reserve(two.mac).packed == SECOND
    assert world.net.stack.reserve(one.mac).packed == THIRD  # the first is set aside


def test_many_addresses_in_use_are_passed_over_in_one_go() -> None:
    world = World(2)
    one, two = world.guests
    for number in range(15, 100):
        one.address = ip(f"10.0.2.{number}")
        one.speak()
    assert world.lease(two) == ip("10.0.2.100")


def test_a_guest_that_claims_all_addresses_does_not_starve_others() -> None:
    world = World(2)
    one, two = world.guests
    for number in range(1, 255):
        one.address = ip(f"10.0.2.{number}")
        one.speak()
    assert world.ask(two, DISCOVER) is not None
    assert len(world.net.stack.leases()) < 130


def test_many_addresses_in_use_are_passed_over_without_recursion() -> None:
    """However deep the program is in calls when it drives the network."""
    world = World(2, net="10.0.0.0/16", dhcpstart="10.0.1.1")
    one, two = world.guests
    for number in range(SEARCH_MAX - 1):
        one.address = bytes((10, 0, 1 + (number + 1 >> 8), number + 1 & 255))
        one.speak()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        offer = world.ask(two, DISCOVER)
    finally:
        sys.setrecursionlimit(limit)
    assert world.stats.dhcp_in_use == SEARCH_MAX - 1
    assert offer is not None
    assert offer.yiaddr == int.from_bytes(bytes((10, 0, 2, 0)), "big")


def test_an_address_that_was_in_use_returns_to_the_pool() -> None:
    world = World(2, shared=True, net="10.0.2.0/29", dhcpstart="10.0.2.4")
    one, two = world.guests
    one.address = ip("10.0.2.4")
    one.speak()
    assert world.lease(two) == ip("10.0.2.5")
    world.net.run(601)
    for number, address in ((3, "10.0.2.6"), (4, "10.0.2.1"), (5, "10.0.2.4")):
        guest = Guest(world.net, number, two.wire)
        world.guests.append(guest)
        assert world.lease(guest) == ip(address)


def test_a_stranger_at_a_clients_own_address() -> None:
    world = World(2)
    one, two = world.guests
    assert world.lease(two) == FIRST
    world.net.run(10)
    one.address = FIRST
    one.speak()
    assert world.lease(two) == FIRST, "it was not lost by silence"


def test_a_bond_that_sends_from_another_card_is_no_stranger() -> None:
    world = World(2)
    one, other_card = world.guests
    assert world.lease(one) == FIRST
    header = dpkt.dhcp.DHCP(
        xid=1, chaddr=one.mac, ciaddr=int.from_bytes(FIRST, "big"), opts=[(53, bytes((REQUEST,)))]
    )
    where: dict[str, Any] = {"source": FIRST, "destination": GATEWAY, "mac": other_card.mac}
    world.net.send(udp(bytes(header), sport=68, dport=67, **where), wire=one.wire)
    (said,) = world.wait()[0]
    assert said.options[53] == bytes((ACK,))


def test_a_declined_address_is_not_offered_again(world: World) -> None:
    one, two = world.guests
    world.lease(two)
    two.say(DECLINE, (50, FIRST), (54, GATEWAY))
    assert world.lease(two) == SECOND
    assert world.lease(one) == THIRD


# ---------------------------------------------------------------------------------------- static leases


def test_a_static_lease_whose_address_is_in_use_is_replaced_for_a_while() -> None:
    rule = "52:54:00:00:00:02=10.0.2.50,web"
    world = World(2, static_leases=[rule])
    one, two = world.guests
    one.address = ip("10.0.2.50")
    one.speak()
    assert world.lease(two) == FIRST
    world.net.run(601)
    assert world.ask(two, REQUEST, ciaddr=FIRST).options[53] == bytes((NAK,))
    assert world.lease(two) == ip("10.0.2.50")


def test_clones_with_a_static_lease_have_an_address_each(world: World) -> None:
    rule = "id:" + SAME[1].hex(":") + "=10.0.2.50"
    world = World(2, static_leases=[rule], shared=world.guests[0].wire is world.guests[1].wire)
    one, two = world.guests
    one.answers = two.answers = True
    assert world.lease(one, SAME) == ip("10.0.2.50")
    one.speak()
    assert world.lease(two, SAME) == FIRST
    two.speak()
    for guest, address in ((two, FIRST), (one, ip("10.0.2.50")), (two, FIRST)):
        assert world.ask(guest, REQUEST, SAME, ciaddr=address).options[53] == bytes((ACK,))
        assert world.lease(guest, SAME) == address


def test_an_address_chosen_by_the_policy_is_not_offered_if_in_use() -> None:
    from ipaddress import IPv4Address

    from slirpy.config.dhcp import DhcpAnswer

    world = World(2, lease_policy=lambda request: DhcpAnswer(address=IPv4Address("10.0.2.70")))
    one, two = world.guests
    one.address = ip("10.0.2.70")
    one.speak()
    assert world.ask(two, DISCOVER) is None
    assert world.stats.drop_dhcp_pool_empty == 1


# ------------------------------------------------------------------------------------------ how long it takes


def answered_after(world: World, guest: Guest, *options: tuple[int, bytes]) -> float:
    """Milliseconds from a DISCOVER to its OFFER."""
    guest.say(DISCOVER, *options)
    start = world.net.now
    for _ in range(400):
        if guest.replies():
            return (world.net.now - start) / MS
        world.net.run(0.001)
    raise AssertionError("no offer")


def test_a_guest_that_is_alone_never_waits() -> None:
    world = World(1)
    (one,) = world.guests
    assert answered_after(world, one) == 0
    world.lease(one)
    one.speak()
    assert answered_after(world, one) == 0
    world.net.run(1000)
    assert answered_after(world, one) == 0
    assert world.stats.dhcp_probes == 0
    assert [packet for packet in one.heard if packet.op == 1] == []


def test_an_address_that_may_be_in_use_takes_a_moment() -> None:
    world = World(2)
    one, two = world.guests
    assert answered_after(world, one) == 100
    assert answered_after(world, one) == 0  # it has one
    world.lease(one)
    one.speak()
    world.net.run(5)
    assert answered_after(world, two) == 100
    assert answered_after(world, Guest(world.net, 9, two.wire), (50, FIRST)) == 100


def test_a_user_last_seen_long_ago_is_probed_before_the_offer() -> None:
    world = World(2)
    one, two = world.guests
    one.address = FIRST
    one.speak()
    world.net.run(5)
    assert answered_after(world, two) == 200
    two.say(REQUEST, (50, FIRST), (54, GATEWAY))
    assert [reply.options[53] for reply in two.replies()] == [bytes((ACK,))]  # it was just asked for
    assert [request.tpa for request in one.heard] == []
    requests = [frame.data for frame in world.net.take(one.wire) if frame.type == 0x806 and frame.data.op == 1]
    assert [(r.spa, r.tpa) for r in requests] == [(GATEWAY, FIRST)] * 2


def test_a_client_that_asks_again_meanwhile_is_answered_once() -> None:
    world = World(2)
    one, two = world.guests
    for _ in range(3):
        two.say(DISCOVER)
        world.net.run(0.02)
    said = world.wait()
    assert [len(messages) for messages in said] == [0, 1]
    assert world.stats.dhcp_probes == 1
    assert one.address == bytes(4)


def test_questions_are_bounded() -> None:
    world = World(2, net="10.0.0.0/16", host="10.0.2.2", dns="10.0.2.3", dhcpstart="10.0.2.15")
    one, two = world.guests
    for number in range(400):
        guest = Guest(world.net, 1, two.wire)
        guest.mac = b"\x02\0\0\0" + number.to_bytes(2, "big")
        guest.say(DISCOVER)
    assert len(world.net.stack.neighbors.probes) == MAX_PROBES
    assert world.stats.dhcp_offer == 400 - MAX_PROBES
    world.net.run(1)
    assert len(world.net.stack.neighbors.probes) == 0
    assert world.stats.dhcp_offer == 400
    assert one.address == bytes(4)


def test_a_link_that_goes_while_its_guest_waits() -> None:
    world = World(2)
    one, two = world.guests
    two.say(DISCOVER)
    for port in list(world.net.stack.ports):
        world.net.stack.detach(port)
    world.net.run(1)
    assert world.stats.drop_link_dead == 1  # the offer
    assert one.replies() == []


def test_an_answer_of_the_client_itself_does_not_count(world: World) -> None:
    one, two = world.guests
    one.address, one.answers = FIRST, True
    one.speak()
    assert world.lease(one) == FIRST
    world.net.send(eth(echo()[14:], source=two.mac), wire=two.wire)


@pytest.mark.parametrize("bound", [SECOND, THIRD])
def test_an_address_bound_during_a_search_ends_the_search(bound: bytes) -> None:
    """The search for the DISCOVER probes another address, whose entry is gone when the probe ends."""
    world = World()
    one, _ = world.guests
    one.say(DISCOVER)
    one.say(REQUEST, (50, bound))
    ack, offer = world.wait()[0]
    assert (ack.options[53][0], offer.options[53][0]) == (ACK, OFFER)
    assert ack.yiaddr == offer.yiaddr == int.from_bytes(bound, "big")
    for address in (FIRST, SECOND, THIRD):
        assert world.ask(one, REQUEST, (50, address)).options[53][0] == ACK
        (lease,) = world.net.stack.leases()
        assert lease.address.packed == address
