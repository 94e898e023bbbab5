"""Lists of bounded length, and where a guest and the world keep what has arrived."""

from __future__ import annotations

from slirpy.testing import VirtualNetwork
from slirpy.testing.recent import KEPT, Recent
from slirpy.units import SECOND


def test_the_oldest_are_dropped_and_counted() -> None:
    recent = Recent[int](3)
    for number in range(5):
        recent.append(number)
    assert (recent, recent.dropped) == ([2, 3, 4], 2)
    recent.clear()
    recent.append(7)
    assert (recent, recent.dropped) == ([7], 2)


def test_everything_that_arrives_is_bounded() -> None:
    net = VirtualNetwork(seed=1)
    net.host.serve_udp("192.0.2.7", 9, lambda payload, *_: payload)
    client = net.guest.dhcp()
    net.run_until(lambda: client.bound)
    socket = net.guest.udp()
    server = net.host.serve_udp("192.0.2.8", 9)
    kept = (socket.received, socket.errors, net.guest.icmp_errors, client.received, server.received)
    assert [each.limit for each in kept] == [KEPT] * 5
    for each in kept:
        each.limit = 2
    for _ in range(4):
        socket.send(b"x", "192.0.2.7", 9)
        socket.send(b"x", "192.0.2.8", 9)
        socket.send(b"x", "10.0.2.2", 9)  # refused
        client.renew()
        net.run(SECOND)
    assert [len(each) for each in kept] == [2] * 5
    assert all(each.dropped for each in kept)
