"""The guest of slirpy.testing on a network with IPv6: from the router solicitation to a program outside and back."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from random import Random
from typing import Any

import pytest

from slirpy import Config
from slirpy.testing import Echo, Guest, VirtualNetwork
from slirpy.units import SECOND

FAR = "2001:db8:7::7"
ROUTERS = ["2001:db8:1::1", "2001:db8:1::2"]
FAMILIES = [4, 6]


@pytest.fixture
def net() -> VirtualNetwork:
    """A network of both families; its guest has an address of each."""
    net = VirtualNetwork(seed=1)
    net.boot(ipv6=True)
    return net


def only6() -> VirtualNetwork:
    net = VirtualNetwork(Config(ipv4=False), seed=1)
    net.boot()
    return net


def clean(net: VirtualNetwork) -> None:
    """Assert that nothing went wrong on the way."""
    counters = net.guest.counters
    assert (counters.bad_checksum, counters.malformed, counters.unhandled, counters.unreachable) == (0, 0, 0, 0)
    assert not [name for name in net.stack.stats.nonzero() if name.startswith("drop_")]


def test_boot_brings_up_both_families(net: VirtualNetwork) -> None:
    guest = net.guest
    configuration = guest.autoconfigure()
    assert [str(each) for each in guest.addresses] == [
        "10.0.2.15", "fe80::5054:ff:fe12:3456", "fec0::5054:ff:fe12:3456",
    ]  # fmt: skip
    assert configuration.routers == [IPv6Address("fe80::2")]
    assert configuration.networks == [IPv6Network("fec0::/64")]
    assert net.now < SECOND
    clean(net)


def test_a_network_of_ipv6_alone() -> None:
    net = only6()
    assert (net.guest.address, str(net.guest.address6)) == (None, "fec0::5054:ff:fe12:3456")
    net.host.serve_tcp(FAR, 7, Echo)
    stream = net.guest.connect(FAR, 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    assert not [frame for _, _, frame in net.transcript if frame[12:14] != b"\x86\xdd"]
    clean(net)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({"net6": "fd00:7::/80"}, "fd00:7::15"),
        ({"net6": "fd00::/126"}, "fd00::1"),
        ({"source_guard": True}, "fec0::15"),
    ],
)
def test_boot_asks_dhcpv6_where_the_router_says_so(given: dict[str, Any], address: str) -> None:
    net = VirtualNetwork(Config(ipv4=False, **given), seed=1)
    net.host.serve_tcp(FAR, 7, Echo)
    guest = net.boot()
    assert str(guest.address6) == address
    assert guest.lease6 is not None
    stream = guest.connect(FAR, 7)
    stream.write(b"hello")
    net.run_until(lambda: stream.received == b"hello")
    clean(net)


def test_boot_without_ipv6_sends_none() -> None:
    net = VirtualNetwork(seed=1)
    net.boot()
    assert net.guest.address6 is None
    assert not [frame for _, _, frame in net.transcript if frame[12:14] == b"\x86\xdd"]


def test_two_guests(net: VirtualNetwork) -> None:
    other = net.boot(net.add_guest(), ipv6=True)
    assert str(other.address6) == "fec0::5054:ff:fe12:3457"
    pings = [guest.ping("fec0::2") for guest in (net.guest, other)]
    net.run_until(lambda: all(ping.reply for ping in pings))


@pytest.mark.parametrize("address", ["fec0::2", "fe80::2", "fec0::3"])
def test_ping_of_our_own_addresses(net: VirtualNetwork, address: str) -> None:
    ping = net.guest.ping(address)
    net.run_until(lambda: ping.reply)
    assert (ping.reply, ping.ttl) == (b"slirpy" * 8, 255)
    clean(net)


def test_ping_of_the_world(net: VirtualNetwork) -> None:
    net.host.answer_ping(FAR)
    ping = net.guest.ping(FAR, bytes(1400))
    net.run_until(lambda: ping.reply)
    assert (ping.reply, ping.ttl) == (bytes(1400), 63)
    clean(net)


@pytest.mark.parametrize("size", [0, 1, 1452])
def test_udp_echo_of_every_size(net: VirtualNetwork, size: int) -> None:
    net.host.serve_udp(FAR, 7, lambda payload, address, port: payload)
    payload = Random(size).randbytes(size)
    socket = net.guest.udp()
    socket.send(payload, FAR, 7)
    net.run_until(lambda: socket.received)
    assert socket.received == [(payload, IPv6Address(FAR), 7)]
    assert max(len(captured.frame) for captured in net.transcript) <= 1514
    clean(net)


def test_one_socket_for_both_families(net: VirtualNetwork) -> None:
    for address in ("192.0.2.7", FAR):
        net.host.serve_udp(address, 7, lambda payload, address, port: payload)
    socket = net.guest.udp(5000)
    socket.send(b"four", "192.0.2.7", 7)
    socket.send(b"six", FAR, 7)
    net.run_until(lambda: len(socket.received) == 2)
    assert {(each.payload, each.address) for each in socket.received} == {
        (b"four", IPv4Address("192.0.2.7")), (b"six", IPv6Address(FAR)),
    }  # fmt: skip


@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_tcp_both_ways(net: VirtualNetwork, loss: float) -> None:
    random = Random(2)
    net.fault = lambda direction, frame: None if random.random() < loss else 0
    net.host.serve_tcp(FAR, 7, Echo)
    data = random.randbytes(300_000)
    stream = net.guest.connect(FAR, 7)
    stream.write(data)
    stream.shutdown()
    net.run_until(lambda: stream.eof and stream.closed, limit=600 * SECOND)
    assert stream.read() == data
    assert stream.conn.mss == 1428
    if not loss:
        clean(net)


def test_tcp_refused(net: VirtualNetwork) -> None:
    stream = net.guest.connect(FAR, 81)
    net.run_until(lambda: stream.closed)
    assert stream.error == errno.ECONNREFUSED


def outcomes(guest: Guest, net: VirtualNetwork, address: str) -> tuple[int, list[int]]:
    """Return the outcomes of a stream and a datagram to an address, and how soon they come."""
    start = net.now
    stream, socket, ping = guest.connect(address, 80), guest.udp(), guest.ping(address)
    socket.send(b"x", address, 53)
    net.run_until(lambda: stream.closed and socket.errors and ping.error)
    assert net.now - start < 10_000_000
    return stream.error, socket.errors


def test_a_host_without_ipv6_says_so_at_once(net: VirtualNetwork) -> None:
    net.host.ipv6 = False
    assert outcomes(net.guest, net, FAR) == (errno.ENETUNREACH, [errno.ENETUNREACH])
    assert {(error.kind, error.code) for error in net.guest.icmp_errors} == {(1, 0)}


def test_a_host_without_ipv4_says_so_at_once(net: VirtualNetwork) -> None:
    net.host.ipv4 = False
    assert outcomes(net.guest, net, "192.0.2.7") == (errno.ENETUNREACH, [errno.ENETUNREACH])
    assert {(error.kind, error.code) for error in net.guest.icmp_errors} == {(3, 0)}


def test_routers_on_the_way_are_seen(net: VirtualNetwork) -> None:
    """Like traceroute, with hop limits from 1 on."""
    net.host.path(FAR, ROUTERS)
    net.host.answer_ping(FAR)
    pings = [net.guest.ping(FAR, ttl=hops) for hops in (1, 2, 3, 4)]
    net.run(SECOND)
    seen = [str(ping.error.source) if ping.error is not None else str(ping.address) for ping in pings]
    assert seen == ["fec0::2", *ROUTERS, FAR]
    assert [ping.reply is not None for ping in pings] == [False, False, False, True]


def test_path_mtu_for_datagrams(net: VirtualNetwork) -> None:
    """A packet that is too big for the way is refused, and the guest's next one is not."""
    net.host.path(FAR, ROUTERS, mtu=1400)
    net.host.serve_udp(FAR, 7, lambda payload, address, port: payload)
    socket = net.guest.udp()
    socket.send(bytes(1452), FAR, 7)
    net.run_until(lambda: socket.errors)
    assert (socket.errors, socket.received) == ([errno.EMSGSIZE], [])
    [error] = net.guest.icmp_errors
    assert (error.kind, error.code, error.info, str(error.source)) == (2, 0, 1400, ROUTERS[1])
    assert net.guest.mtu_for(IPv6Address(FAR).packed) == 1400
