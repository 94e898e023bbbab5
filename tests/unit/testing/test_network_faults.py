"""Faults of a network in virtual time: of chance, by direction, and where they are seen."""

from __future__ import annotations

import pytest

from slirpy.errors import ConfigError
from slirpy.links import Faults
from slirpy.testing import Echo, GuestStream, VirtualNetwork, ladder
from slirpy.units import MS, SECOND

DATA = bytes(range(256)) * 400


def booted() -> VirtualNetwork:
    """A network whose guest knows its router's MAC address."""
    net = VirtualNetwork(seed=1)
    net.boot()
    net.guest.ping("10.0.2.2")
    net.run(SECOND)
    return net


def echo(net: VirtualNetwork) -> GuestStream:
    """Send data there and back again."""
    net.host.serve_tcp("192.0.2.7", 7, Echo)
    net.boot()
    stream = net.guest.connect("192.0.2.7", 7)
    stream.write(DATA)
    net.run_until(lambda: stream.received == DATA, 600 * SECOND)
    return stream


def test_chances_of_a_constructor_hold_in_both_directions() -> None:
    net = VirtualNetwork(seed=2, faults=Faults(loss=0.1, duplicate=0.1, corrupt=0.05, delay=5 * MS, jitter=MS))
    echo(net)
    for counters, direction in ((net.to_guest_counters, "out"), (net.from_guest_counters, "in")):
        sent = [each for each in net.transcript if each.direction == direction]
        assert counters.frames == len(sent)
        assert counters.lost == sum(each.lost for each in sent) > 0
        assert counters.duplicated == sum(len(each.delays) == 2 for each in sent) > 0
        assert counters.corrupted >= sum(each.corrupted for each in sent) > 0
        assert all(delay >= 5 * MS for each in sent for delay in each.delays)
    assert net.guest.counters.bad_checksum > 0


def test_equal_seeds_give_equal_faults() -> None:
    def run(seed: int) -> list[tuple[int, bytes, tuple[int, ...], bool]]:
        net = VirtualNetwork(seed=seed, faults=Faults(loss=0.05, corrupt=0.05, jitter=MS, reorder=0.05))
        echo(net)
        return [(each.time, each.frame, each.delays, each.corrupted) for each in net.transcript]

    assert run(1) == run(1) != run(2)


def test_one_direction_at_any_time() -> None:
    net = booted()
    net.to_guest = Faults(loss=1.0)
    ping = net.guest.ping("10.0.2.2")
    net.run(SECOND)
    assert (ping.reply, net.to_guest_counters.lost, net.from_guest_counters.lost) == (None, 1, 0)
    net.to_guest, net.from_guest = Faults(), Faults(delay=70 * MS)
    ping = net.guest.ping("10.0.2.2")
    net.run(SECOND)
    assert ping.rtt == 70 * MS
    assert (net.to_guest, net.from_guest.delay) == (Faults(), 70 * MS)


def test_each_guest_has_a_path() -> None:
    """A rate is a cable's and not the network's; a guest that comes later has the faults that hold."""
    net = VirtualNetwork(seed=1, faults=Faults(rate=80_000, burst=200))
    guests = [net.guest, net.add_guest()]
    for guest in guests:
        net.boot(guest)
    begin = net.now
    pings = [guest.ping("10.0.2.2", bytes(958)) for guest in guests]  # 1000 bytes: 100 ms each way
    net.run_until(lambda: all(ping.reply for ping in pings))
    assert 160 * MS < net.now - begin < 200 * MS
    assert all(ping.rtt is not None and ping.rtt > 160 * MS for ping in pings)


def test_a_chosen_fault_comes_first_and_delays_add_up() -> None:
    net = booted()
    fates: list[int | None] = [None, 3 * MS]
    net.fault = lambda direction, frame: fates.pop(0) if direction == "in" and fates else 0
    net.from_guest = Faults(delay=4 * MS)
    begin, before = len(net.transcript), net.from_guest_counters.frames
    pings = [net.guest.ping("10.0.2.2") for _ in range(3)]
    net.run(SECOND)
    assert [ping.rtt for ping in pings] == [None, 7 * MS, 4 * MS]
    sent = [each.delays for each in net.transcript[begin:] if each.direction == "in"]
    assert sent == [(), (7 * MS,), (4 * MS,)]
    assert net.from_guest_counters.frames == before + 2


def test_a_wrong_bit_is_drawn() -> None:
    net = booted()
    begin = len(net.transcript)
    net.from_guest = Faults(corrupt=1.0)
    net.guest.ping("10.0.2.2")
    net.run(SECOND)
    assert " len=48 corrupted " in ladder(net.transcript[begin:])


@pytest.mark.parametrize("name", ["faults", "to_guest", "from_guest"])
def test_a_chance_alone_is_refused(name: str) -> None:
    net = VirtualNetwork()
    set_it = (lambda: VirtualNetwork(faults=0.1)) if name == "faults" else lambda: setattr(net, name, 0.1)  # type: ignore[arg-type] # the mistake
    with pytest.raises(ConfigError, match=rf"^{name} must be a Faults, such as Faults\(loss=0.01\)"):
        set_it()
