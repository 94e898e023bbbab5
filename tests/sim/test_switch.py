"""Several guests on one network, in virtual time: they reach each other, and no one can harm the others."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import dpkt
import pytest

from slirpy.config import Config
from slirpy.core.port import QUEUE_BYTES, QUEUE_LIMIT
from slirpy.core.switch import AGE, FLOOD_BURST, FLOOD_RATE, HOLD, PORT_MACS, REPEAT_FRAMES
from slirpy.core.switchnet import SwitchNetwork
from slirpy.interfaces import LinkFeatures
from slirpy.testing import Echo, Guest, VirtualNetwork
from tests.support.harness import (
    ACK,
    BROADCAST,
    GATEWAY,
    GATEWAY_MAC,
    GUEST_MAC,
    MS,
    PSH,
    SECOND,
    SYN,
    Net,
    NoPoller,
    Wire,
    arp,
    check,
    eth,
    ip,
    ipv4,
    rfc1071,
    segments,
    udp,
)

A, B, C = (bytes.fromhex(f"5254000000{n:02x}") for n in (10, 11, 12))
WORLD_SERVER = bytes((192, 0, 2, 7))


def guests(count: int, **more: Any) -> VirtualNetwork:
    """A network with so many guests, each with a lease."""
    net = VirtualNetwork(**more)
    for _ in range(count - 1):
        net.add_guest()
    for guest in net.guests:
        net.boot(guest)
    return net


def transfer(net: VirtualNetwork, client: Guest, server: Guest, size: int) -> None:
    """Transfer this many bytes up and down, and compare them at the far end."""
    up, down = Random(1).randbytes(size), Random(2).randbytes(size)
    listener = server.listen(8000)
    assert server.address is not None
    near = client.connect(server.address, 8000)
    near.write(up)
    near.shutdown()
    net.run_until(lambda: listener.accepted)
    far = listener.accepted[0]
    far.write(down)
    far.shutdown()
    net.run_until(lambda: near.eof and far.eof)
    assert hashlib.sha256(far.read()).digest() == hashlib.sha256(up).digest()
    assert hashlib.sha256(near.read()).digest() == hashlib.sha256(down).digest()


def quiet(net: VirtualNetwork) -> None:
    """Assert that nothing was dropped, and that no guest saw an error."""
    assert net.stack.stats.dropped() == 0, net.stack.stats.nonzero()
    for guest in net.guests:
        assert guest.counters.bad_checksum == guest.counters.malformed == 0


# -------------------------------------------------------------------------------------- guests together


def test_every_guest_has_an_address_of_its_own_and_pings_all_others() -> None:
    net = guests(4)
    assert len({guest.address for guest in net.guests}) == 4
    pings = [a.ping(b.address or "") for a in net.guests for b in net.guests if a is not b]
    pings += [guest.ping("10.0.2.2") for guest in net.guests]
    net.run_until(lambda: all(ping.reply == ping.payload for ping in pings))
    quiet(net)


@pytest.mark.parametrize("fastpath", [True, False])
def test_tcp_between_guests_and_to_the_world(fastpath: bool) -> None:
    net = guests(2, fastpath=fastpath)
    net.host.serve_tcp(WORLD_SERVER, 7, Echo)
    outward = net.guests[1].connect("192.0.2.7", 7)
    transfer(net, net.guests[0], net.guests[1], 300_000)
    outward.write(b"still here")
    net.run_until(lambda: outward.received == b"still here")
    quiet(net)


def test_a_third_guest_gets_no_frames_of_the_other_two() -> None:
    net = guests(3)
    transfer(net, net.guests[0], net.guests[1], 50_000)
    before = net.guests[2].counters.frames_in
    back = net.guests[1].ping(net.guests[0].address or "")
    net.run_until(lambda: back.reply)
    assert net.guests[2].counters.frames_in == before
    assert net.guests[2].counters.foreign == 0


def test_udp_between_guests() -> None:
    net = guests(2)
    near, far = net.guests[0].udp(1000), net.guests[1].udp(2000)
    assert net.guests[1].address is not None
    near.send(b"x" * 4000, net.guests[1].address, 2000)  # in fragments
    net.run_until(lambda: far.received)
    assert far.received[0].payload == b"x" * 4000
    quiet(net)


def test_forwards_to_each_guest() -> None:
    net = guests(2)
    for number, guest in enumerate(net.guests):
        listener = guest.listen(80)
        rule = net.stack.add_hostfwd(f"tcp:127.0.0.1:{9000 + number}-{guest.address}:80")
        remote = net.host.connect(bytes((127, 0, 0, 1)), rule.host_port)
        net.run(100 * MS)
        listener.accepted[0].write(f"guest {number}".encode())
        net.run(100 * MS)
        assert remote.received == f"guest {number}".encode()
    quiet(net)


def test_the_same_seed_the_same_frames() -> None:
    one, two = guests(3, seed=5), guests(3, seed=5)
    for net in (one, two):
        transfer(net, net.guests[2], net.guests[0], 20_000)
    assert one.transcript == two.transcript


# ------------------------------------------------------------------------------------ where a frame goes


class Hub:
    """Wires on a switch without a stack, moved by hand."""

    def __init__(self, count: int = 3, *, hub: bool = False, mtu: int = 1500) -> None:
        self.now = 1000 * SECOND
        self.net = SwitchNetwork(mtu=mtu, hub=hub, now=self.now)
        self.wires = [self.attach() for _ in range(count)]

    def attach(self, features: LinkFeatures | None = None) -> Wire:
        wire = Wire(features)
        self.net.attach(wire, NoPoller())
        return wire

    def send(self, number: int, *frames: bytes, checksummed: bool = False) -> None:
        """One batch; its buffers are overwritten after the flush."""
        self.net.tick(self.now)
        sink = self.wires[number].sink
        assert sink is not None
        buffers = [bytearray(frame) for frame in frames]
        for buffer in buffers:
            sink.input(buffer, checksummed)
        self.net.flush(self.now)
        for buffer in buffers:
            buffer[:] = b"\xee" * len(buffer)

    def take(self) -> list[list[bytes]]:
        """Frames that came out of each wire since the last call."""
        out = []
        for wire in self.wires:
            sent, wire.sent = wire.sent, []
            out.append([b"".join(map(bytes, frame.parts)) for frame in sent])
        return out

    def counts(self) -> list[int]:
        return list(map(len, self.take()))

    @property
    def stats(self) -> Any:
        return self.net.stats


def frame(source: bytes, destination: bytes, data: bytes = b"") -> bytes:
    """A frame of a protocol that nobody knows."""
    return eth(data.ljust(50, b"."), source=source, destination=destination, kind=0x88B5)


def test_unknown_addresses_are_flooded_until_they_speak() -> None:
    switch = Hub()
    switch.send(0, frame(A, B, b"1"))
    assert switch.take() == [[], [frame(A, B, b"1")], [frame(A, B, b"1")]]
    switch.send(1, frame(B, A, b"2"))
    assert switch.counts() == [1, 0, 0]
    switch.send(0, frame(A, B, b"3"))
    assert switch.counts() == [0, 1, 0]
    assert (switch.stats.switch_flooded, switch.stats.switch_forwarded) == (1, 2)
    assert switch.stats.dropped() == 0


def test_broadcast_and_multicast_go_to_all_others() -> None:
    switch = Hub(4)
    for destination in (BROADCAST, bytes.fromhex("01005e0000fb"), bytes.fromhex("333300000001")):
        switch.send(2, frame(C, destination))
        assert switch.counts() == [1, 1, 0, 1]


def test_an_entry_ages() -> None:
    switch = Hub()
    switch.send(1, frame(B, BROADCAST))
    switch.take()
    switch.now += AGE
    switch.send(0, frame(A, B, b"1"))
    assert switch.counts() == [0, 1, 0]
    switch.now += 1
    switch.send(0, frame(A, B, b"2"))
    assert switch.counts() == [0, 1, 1]


def test_neighbours_behind_one_port_are_left_alone() -> None:
    switch = Hub()
    switch.send(1, frame(A, BROADCAST), frame(B, BROADCAST))
    switch.take()
    switch.send(1, frame(A, B))
    assert switch.counts() == [0, 0, 0]


def test_a_hub_sends_everything_everywhere() -> None:
    switch = Hub(hub=True)
    switch.send(1, frame(B, A))
    switch.send(0, frame(A, B))
    assert switch.counts() == [1, 1, 2]
    assert len(switch.net.switch) == 0


def test_short_frames() -> None:
    switch = Hub()
    for length in range(14):
        switch.send(0, frame(A, B)[:length])
    assert switch.stats.drop_ethernet_short == 14
    switch.send(0, frame(A, B)[:14])
    assert switch.take()[1] == [frame(A, B)[:14] + bytes(46)]


def test_a_port_that_is_taken_out() -> None:
    switch = Hub()
    switch.send(1, frame(B, BROADCAST))
    gone = switch.net.ports[1]
    switch.net.detach(gone)
    switch.net.detach(gone)
    assert switch.wires[1].closed == 1
    gone.input(frame(C, BROADCAST))
    switch.take()
    switch.send(2, frame(B, BROADCAST, b"moved"))  # at once
    switch.send(0, frame(A, B))
    assert switch.counts() == [1, 0, 1]
    assert switch.stats.dropped() == 0


# --------------------------------------------------------------------------------------------- spoofing


def test_a_busy_address_cannot_be_taken() -> None:
    switch = Hub()
    switch.send(0, frame(A, BROADCAST))
    switch.take()
    switch.now += HOLD
    switch.send(2, frame(A, BROADCAST, b"mine"), frame(A, B, b"mine"))
    assert switch.counts() == [0, 0, 0]
    assert switch.stats.drop_switch_spoofed == 2
    switch.send(1, frame(B, A))
    assert switch.counts() == [1, 0, 0]


def test_a_silent_address_may_move_and_comes_home_at_once() -> None:
    switch = Hub()
    switch.send(0, frame(A, BROADCAST))
    switch.now += HOLD + 1
    switch.send(2, frame(A, BROADCAST, b"moved"))
    switch.take()
    switch.send(1, frame(B, A))
    assert switch.counts() == [0, 0, 1]
    switch.send(0, frame(A, BROADCAST, b"home"))
    switch.take()
    switch.send(1, frame(B, A))
    assert switch.counts() == [1, 0, 0]
    switch.send(2, frame(A, B))  # not again
    assert switch.counts() == [0, 0, 0]
    assert (switch.stats.switch_macs_moved, switch.stats.drop_switch_spoofed) == (2, 1)


def test_a_new_place_is_home_when_the_old_one_is_forgotten() -> None:
    switch = Hub()
    switch.send(0, frame(A, BROADCAST))
    for _ in range(AGE // HOLD + 2):
        switch.now += HOLD + 1
        switch.send(2, frame(A, BROADCAST, switch.now.to_bytes(8, "big")))
    switch.take()
    switch.send(0, frame(A, BROADCAST, b"late"))
    assert switch.counts() == [0, 0, 0]
    assert switch.stats.drop_switch_spoofed == 1


def owns(switch: Hub, number: int) -> bool:
    """Report whether a port regains A at once after another port took it during a silence."""
    (other,) = {0, 1, 2} - {number, 1}
    switch.now += HOLD + 1
    switch.send(other, frame(A, BROADCAST, b"taken"))
    switch.send(number, frame(A, BROADCAST, b"back"))
    switch.take()
    switch.send(1, frame(B, A))
    return switch.counts()[number] == 1


def test_an_address_that_stays_long_enough_has_a_new_home() -> None:
    switch = Hub()
    switch.send(0, frame(A, BROADCAST))
    switch.now += HOLD + 1
    switch.send(2, frame(A, BROADCAST))
    for _ in range(AGE // HOLD + 1):
        switch.now += HOLD
        switch.send(2, frame(A, B))
    assert owns(switch, 2)


def test_the_home_goes_with_its_port() -> None:
    switch = Hub()
    switch.send(0, frame(A, BROADCAST))
    switch.now += HOLD + 1
    switch.send(2, frame(A, BROADCAST))
    switch.net.detach(switch.net.ports[0])
    switch.wires[0] = switch.attach()
    assert owns(switch, 2)


def test_sources_that_no_guest_has() -> None:
    net = Net()
    other = net.attach()
    net.send(frame(GATEWAY_MAC, BROADCAST), frame(BROADCAST, A), frame(b"\x01" + A[1:], A))
    assert net.raw(other) == []
    assert net.stats.drop_ethernet_source == 3


def test_fast_path_traffic_keeps_a_guest_busy() -> None:
    net = guests(2)
    net.host.serve_tcp(WORLD_SERVER, 7, Echo)
    stream = net.guests[0].connect("192.0.2.7", 7)
    attacker = net.add_guest(mac=net.guests[0].mac)
    switch = net.stack.switch
    home = switch.lookup(attacker.mac, net.now)
    for number in range(5):
        stream.write(b"x" * 1000)
        net.run(SECOND)
        assert stream.count == (number + 1) * 1000
    assert net.stack.stats.tcp_fastpath > 0
    attacker.send_frame(BROADCAST, 0x88B5, b"mine")
    attacker.flush()
    net.run(MS)
    assert switch.lookup(attacker.mac, net.now) is home
    assert net.stack.stats.drop_switch_spoofed == 1


def test_known_neighbours_are_protected_from_the_second_port_on() -> None:
    net = Net()
    net.know()
    other = net.attach()
    net.send(arp(1), wire=other)
    assert net.stats.drop_switch_spoofed == 1
    assert net.take(other) == []


def test_one_port_alone_asks_no_switch() -> None:
    net = Net()
    net.know()
    assert len(net.stack.switch) == 0


def test_the_table_is_bounded_and_only_its_own_port_loses() -> None:
    switch = Hub()
    switch.send(0, frame(A, BROADCAST))
    switch.send(1, frame(B, BROADCAST))
    for number in range(3 * PORT_MACS):
        switch.now += MS
        switch.send(2, frame(b"\x02\0" + number.to_bytes(4, "big"), A))
    assert len(switch.net.switch) == PORT_MACS + 2
    assert switch.stats.switch_macs_evicted == 2 * PORT_MACS
    switch.take()
    switch.send(0, frame(A, B))
    assert switch.counts() == [0, 1, 0]


def test_the_address_that_was_silent_for_longest_goes() -> None:
    switch = Hub()

    def speak(number: int) -> None:
        switch.now += MS
        switch.send(2, frame(b"\x02\0" + number.to_bytes(4, "big"), A))

    def known(number: int) -> bool:
        return switch.net.switch.lookup(b"\x02\0" + number.to_bytes(4, "big"), switch.now) is not None

    for number in range(PORT_MACS):
        speak(number)
    switch.now += SECOND
    speak(0)
    speak(PORT_MACS)
    assert [known(number) for number in (0, 1, 2, PORT_MACS)] == [True, False, True, True]


# ------------------------------------------------------------------------------------------------ storms


class Cable:
    """Joins ports of two switches: what one sends the other receives, with a delay."""

    def __init__(self, cables: list[Cable]) -> None:
        self.features = LinkFeatures()
        self.far: Cable | None = None
        self.sink: Any = None
        self.waiting: list[bytes] = []
        self.carried = 0
        cables.append(self)

    def start(self, sink: Any, poller: Any) -> None:
        self.sink = sink

    def send(self, frames: Any) -> int:
        assert self.far is not None
        self.carried += len(frames)
        self.far.waiting += [b"".join(map(bytes, frame.parts)) for frame in frames]
        return len(frames)

    def close(self) -> None: ...


def joined(hub: bool, cables_between: int) -> tuple[Hub, Hub, list[Cable]]:
    one, two = Hub(2, hub=hub), Hub(2, hub=hub)
    cables: list[Cable] = []
    for _ in range(cables_between):
        near, far = Cable(cables), Cable(cables)
        near.far, far.far = far, near
        one.net.attach(near, NoPoller())
        two.net.attach(far, NoPoller())
    return one, two, cables


def settle(one: Hub, two: Hub, cables: list[Cable], rounds: int = 100) -> None:
    """Let what is on the cables go round."""
    for _ in range(rounds):
        for cable in cables:
            waiting, cable.waiting = cable.waiting, []
            for data in waiting:
                cable.sink.input(data)
        for switch in (one, two):
            switch.now += 100_000
            switch.net.tick(switch.now)
            switch.net.flush(switch.now)


@pytest.mark.parametrize("hub", [True, False])
@pytest.mark.parametrize("cables_between", [2, 3])
def test_a_loop_of_two_switches(hub: bool, cables_between: int) -> None:
    one, two, cables = joined(hub, cables_between)
    for number in range(200):
        one.send(0, frame(A, BROADCAST, number.to_bytes(4, "big")))
        settle(one, two, cables, 5)
    settle(one, two, cables)
    assert not any(cable.waiting for cable in cables)
    # Each frame crosses each cable at most once in either direction.
    assert sum(cable.carried for cable in cables) <= 200 * 2 * cables_between
    assert two.counts() == [200, 200]  # once each, in spite of it all
    assert one.counts() == [0, 200]
    assert one.stats.drop_switch_duplicate >= 200


@pytest.mark.parametrize("hub", [True, False])
@pytest.mark.parametrize("length", [14, 15, 59, 60])
def test_a_short_frame_that_comes_round_padded_is_the_same_one(length: int, hub: bool) -> None:
    """Frames from a TAP interface are not padded; after a real cable they are."""
    switch = Hub(hub=hub)
    short = frame(A, BROADCAST, b"")[:length].replace(b".", b"\0")
    switch.send(0, short)
    assert switch.counts() == [0, 1, 1]
    switch.send(1, short.ljust(60, b"\0"))
    assert switch.counts() == [0, 0, 0]
    assert switch.stats.drop_switch_duplicate == 1
    if hub:  # a switch would take another frame of this sender for spoofed
        for other in (short.ljust(61, b"\0"), short.ljust(59, b"\0") + b"\1"):
            switch.send(1, other)
            assert switch.counts() == [1, 0, 1]


def test_how_many_frames_are_remembered() -> None:
    switch = Hub(2, hub=True)
    frames = [frame(A, B, number.to_bytes(4, "big")) for number in range(REPEAT_FRAMES)]
    switch.send(0, *frames[:-1])
    switch.send(1, frames[0])
    assert switch.stats.drop_switch_duplicate == 1
    switch.send(0, *frames[-1:], *frames[:10])
    switch.take()
    switch.send(1, frames[20])  # two halves came after it
    assert switch.counts() == [1, 0]


def test_guests_across_a_loop_reach_each_other() -> None:
    one, two, cables = joined(False, 2)
    for number in range(10):
        data = number.to_bytes(4, "big")
        one.send(0, frame(A, B, data))
        settle(one, two, cables)
        two.send(0, frame(B, A, data))
        settle(one, two, cables)
    assert two.counts()[0] == 10
    assert one.counts()[0] == 10


def test_two_switches_joined_once_by_a_cable() -> None:
    one, two, cables = joined(False, 1)
    one.send(0, frame(A, BROADCAST))
    settle(one, two, cables)
    two.send(1, frame(B, A))
    settle(one, two, cables)
    assert (one.counts(), two.counts()) == ([1, 1], [1, 1])
    assert one.stats.dropped() == two.stats.dropped() == 0


@pytest.mark.parametrize("hub", [True, False])
def test_a_storm_is_bounded(hub: bool) -> None:
    switch = Hub(hub=hub)
    for number in range(2 * FLOOD_BURST):
        switch.send(0, frame(A, BROADCAST, number.to_bytes(4, "big")))
    assert switch.counts() == [0, FLOOD_BURST, FLOOD_BURST]
    assert switch.stats.drop_switch_storm == FLOOD_BURST
    switch.send(1, frame(B, BROADCAST))  # another port has its own
    assert switch.counts() == [1, 0, 1]
    for pause, allowed in ((SECOND // 10, FLOOD_RATE // 10), (60 * SECOND, FLOOD_BURST)):
        switch.now += pause
        for number in range(2 * FLOOD_BURST):
            switch.send(0, frame(A, BROADCAST, number.to_bytes(4, "big")))
        assert switch.counts() == [0, allowed, allowed]


@pytest.mark.parametrize(("hub", "most"), [(False, FLOOD_BURST), (True, 2 * FLOOD_BURST)])
def test_a_storm_to_an_unknown_address_is_bounded_on_a_switch(hub: bool, most: int) -> None:
    """On a hub all traffic is of that kind."""
    switch = Hub(hub=hub)
    for number in range(2 * FLOOD_BURST):
        switch.send(0, frame(A, B, number.to_bytes(4, "big")))
    assert switch.counts() == [0, most, most]


def test_a_storm_does_not_stop_known_addresses() -> None:
    switch = Hub()
    switch.send(1, frame(B, BROADCAST))
    for number in range(2 * FLOOD_BURST):
        switch.send(0, frame(A, BROADCAST, number.to_bytes(4, "big")))
    switch.take()
    switch.send(0, frame(A, B))
    assert switch.counts() == [0, 1, 0]


def test_repeated_frames_of_one_port_are_forwarded() -> None:
    switch = Hub(hub=True)
    for _ in range(10):
        switch.send(0, frame(A, BROADCAST))
    switch.now += 2 * SECOND
    switch.send(1, frame(A, BROADCAST))
    assert switch.counts() == [1, 10, 11]


# ----------------------------------------------------------------------------------------- no room, reuse


def test_frames_that_wait_are_copies() -> None:
    switch = Hub(2)
    switch.send(1, frame(B, BROADCAST))
    switch.take()
    switch.wires[1].room = 1
    sent = [frame(A, B, bytes([n]) * 40) for n in range(4)]
    switch.send(0, *sent[:2])  # the second is refused at the flush
    switch.send(0, *sent[2:])  # these come while there is no room
    assert switch.take()[1] == sent[:1]
    switch.wires[1].give(None)
    switch.net.flush(switch.now)
    assert switch.take()[1] == sent[1:]


@pytest.mark.parametrize(("size", "most"), [(60, QUEUE_LIMIT), (60_000, QUEUE_BYTES // 60_000 + 1)])
def test_a_queue_is_bounded_in_frames_and_in_bytes(size: int, most: int) -> None:
    switch = Hub(2, mtu=65535)
    switch.send(1, frame(B, BROADCAST))
    switch.take()
    for _ in range(2):
        switch.stats.drop_link_queue_full = 0
        switch.wires[1].room = 0
        for number in range(2000):
            switch.send(0, frame(A, B, number.to_bytes(4, "big").ljust(size - 14)))
        switch.wires[1].give(None)
        switch.net.flush(switch.now)
        (count,) = map(len, switch.take()[1:])
        assert most - 2 <= count <= most
        assert count + switch.stats.drop_link_queue_full == 2000


# ---------------------------------------------------------------------------------- through the whole stack


def test_a_frame_for_the_gateway_stays_there() -> None:
    net = Net()
    other = net.attach()
    net.send(arp(1))
    assert [check(data).type for data in net.raw(other)] == [0x806]  # everybody hears the question
    net.send(udp(b"x", destination=GATEWAY, dport=9), eth(ipv4(1, b"12345678"), destination=A))
    (flooded,) = net.raw(other)
    assert flooded[:6] == A
    assert net.stats.drop_ethernet_destination == 0  # it went somewhere


def test_the_switch_learns_from_frames_to_the_gateway() -> None:
    net = Net()
    other, third = net.attach(), net.attach()
    net.send(udp(b"x", destination=GATEWAY, dport=9))
    net.take()
    net.send(frame(B, GUEST_MAC), wire=other)
    assert net.raw() == [frame(B, GUEST_MAC)]
    assert net.raw(third) == []
    net.send(frame(GUEST_MAC, GATEWAY_MAC), wire=other)
    assert net.stats.drop_switch_spoofed == 1


def test_a_stack_on_a_hub() -> None:
    """Frames to and from the gateway reach everyone, once."""
    net = Net(Config(hub=True, resolvers=[]))
    other, third = net.attach(), net.attach()
    question = arp(1, to=GATEWAY_MAC)
    net.send(question)
    (answer,) = net.raw()
    assert check(answer).data.op == 2
    for wire in (other, third):
        assert net.raw(wire) == [question.ljust(60, b"\0"), answer]
    net.send(frame(A, B))
    assert net.raw(other) == net.raw(third) == [frame(A, B)]
    assert net.stats.drop_ethernet_destination == 0


def test_a_connection_on_a_hub_is_overheard_both_ways() -> None:
    """Whole, each frame as a link can take it: with checksums and cut, or with both left to the link."""
    net = guests(2, config=Config(hub=True, resolvers=[]))
    spies = [
        Wire(features) for features in (None, LinkFeatures(checksum_offload=True, segmentation_offload=True))
    ]
    for spy in spies:
        net.stack.attach(spy, NoPoller())
    net.host.serve_tcp(WORLD_SERVER, 7, Echo)
    stream = net.guest.connect("192.0.2.7", 7)
    data = Random(5).randbytes(100_000)
    stream.write(data)
    net.run_until(lambda: stream.received == data)
    for spy in spies:
        packets = [check(piece, 1500).data for frame in spy.sent for piece in segments(frame)]
        seen = [packet.data for packet in packets if isinstance(packet, dpkt.ip.IP) and packet.p == 6]
        for ways in ([s for s in seen if s.sport == 7], [s for s in seen if s.dport == 7]):
            first = next(segment.seq for segment in ways if segment.flags & SYN) + 1
            parts = {(segment.seq - first) % 2**32: segment.data for segment in ways if segment.data}
            assert b"".join(parts[offset] for offset in sorted(parts)) == data
    quiet(net)


def test_offloads_end_where_a_link_has_none() -> None:
    """A large segment with a partial checksum, as a TAP gives it, to a plain link."""
    net = Net(features=LinkFeatures(checksum_offload=True, segmentation_offload=True), checksummed=True)
    plain = net.attach()
    net.checksummed = False
    net.send(arp(2, sender=ip("10.0.2.16"), sender_mac=B, to=GATEWAY_MAC), wire=plain)
    net.checksummed = True
    payload = Random(3).randbytes(20_000)
    segment = bytearray(20) + payload
    segment[:4] = b"\x04\0\x08\0"
    segment[12:14] = bytes((0x50, ACK | PSH))
    pseudo = ip("10.0.2.15") + ip("10.0.2.16") + bytes((0, 6)) + len(segment).to_bytes(2, "big")
    segment[16:18] = (rfc1071(pseudo) ^ 0xFFFF).to_bytes(2, "big")
    packet = ipv4(6, bytes(segment), destination=ip("10.0.2.16"))
    net.take()
    net.send(eth(packet, destination=B))
    got = net.take(plain)
    assert len(got) == 14
    assert b"".join(part.data.data.data for part in got) == payload
