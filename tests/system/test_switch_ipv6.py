"""Linux guests on one switch: the guard, multicast snooping and neighbour discovery with real kernels."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from slirpy import Config, Slirp
from slirpy.interfaces import Frame, LinkFeatures, LinkSink, Poller
from slirpy.links import TapLink
from tests.system.tap_guest import Guest, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

GROUP, GROUP_MAC = "ff15::1234", bytes.fromhex("333300001234")
FORGED = "2001:db8:bad:"

# A router that is none: an advertisement of a prefix, plain, behind an option header and in a fragment, and an answer
# for the gateway's link-local address.
ROGUE = """
import socket, struct
def ip(text): return socket.inet_pton(socket.AF_INET6, text)
def sum16(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff
card = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
card.bind(("tap0", 0))
mac = card.getsockname()[4]
def send(body, source, first=58, before=b""):
    source, everyone = ip(source), ip("ff02::1")
    value = sum16(source + everyone + struct.pack("!II", len(body), 58) + body)
    body = before + body[:2] + value.to_bytes(2, "big") + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), first, 255) + source + everyone
    card.send(bytes.fromhex("333300000001") + mac + b"\\x86\\xdd" + header + body)
def advertisement(number):
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 3600, 3600, 0) + ip(f"2001:db8:bad:{number}::")
    return struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + b"\\1\\1" + mac + prefix
send(advertisement(1), "fe80::bad")
send(advertisement(2), "fe80::bad", 60, bytes((58, 0, 1, 4, 0, 0, 0, 0)))
send(advertisement(3), "fe80::bad", 44, struct.pack("!BBHI", 58, 0, 0, 7))
send(struct.pack("!BBHI", 136, 0, 0, 0x20 << 24) + ip("fe80::2") + b"\\2\\1" + mac, "fe80::2")
"""
JOIN = """
import signal, socket, sys
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
card = socket.if_nametoindex("tap0").to_bytes(4, sys.byteorder)
group = socket.inet_pton(socket.AF_INET6, sys.argv[1])
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + card)
print("ready", flush=True)
signal.pause()
"""


class Watched:
    """A TAP link that remembers to which MAC addresses frames went."""

    def __init__(self, inner: TapLink) -> None:
        self.inner = inner
        self.destinations: set[bytes] = set()

    @property
    def features(self) -> LinkFeatures:
        return self.inner.features

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.inner.start(sink, poller)

    def send(self, frames: Sequence[Frame]) -> int:
        self.destinations.update(bytes(frame.parts[0][:6]) for frame in frames)
        return self.inner.send(frames)

    def close(self) -> None:
        self.inner.close()


class Trio:
    """Three guests on one network."""

    def __init__(self, stack: ExitStack, *, guard: bool = True) -> None:
        self.net = stack.enter_context(Slirp(Config(guard=guard, resolvers=[])))
        self.guests: list[Guest] = []
        self.links: list[Watched] = []
        for number in range(3):
            guest = Guest(number)
            stack.callback(guest.close)
            guest.up(1500, True)
            link = Watched(TapLink(guest.fd, 1500))
            self.net.attach_link(link)
            self.guests.append(guest)
            self.links.append(link)
        stack.enter_context(served(self.net))


@contextmanager
def trio(*, guard: bool = True) -> Iterator[Trio]:
    with ExitStack() as stack:
        yield Trio(stack, guard=guard)


@pytest.fixture(autouse=True)
def tools(need: Callable[..., None]) -> None:
    need("ip", "ethtool", "nsenter", "unshare", "ping")


def is_up(guest: Guest) -> bool:
    """Report whether a guest has the default route through the gateway and a usable address of its prefix."""
    route = guest.run("ip", "-6", "route", "show", "default")
    addresses = guest.run("ip", "-6", "address", "show", "dev", "tap0")
    return "via fe80::2" in route and "fec0::" in addresses and "tentative" not in addresses


def routes_of(guest: Guest) -> str:
    """The routes of a guest, without the times that remain to them."""
    return re.sub(r" expires \d+sec", "", guest.run("ip", "-6", "route"))


def gateway_of(guest: Guest) -> str:
    """The neighbour entry of the gateway."""
    return guest.run("ip", "-6", "neigh", "show", "fe80::2", "dev", "tap0")


@pytest.mark.long
def test_a_rogue_router_changes_no_other_guest(eventually: Callable[..., None]) -> None:
    with trio() as made:
        rogue, other, _ = made.guests
        eventually(lambda: is_up(other), "the guest knows its router")
        other.run("ping", "-6", "-c", "1", "-W", "10", "fe80::2%tap0")
        before = routes_of(other)
        rogue.run(sys.executable, "-c", ROGUE)
        stats = made.net.stats
        eventually(lambda: stats.drop_guard_address == 1, "the guard has seen all frames")
        assert (stats.drop_guard_router, stats.drop_guard_fragment) == (2, 1)
        other.run("ping", "-6", "-c", "1", "-W", "10", "fe80::2%tap0")
        assert "52:56:00:00:00:02" in gateway_of(other)
        assert routes_of(other) == before
        assert FORGED not in other.run("ip", "-6", "address")


@pytest.mark.long
def test_without_the_guard_it_would(eventually: Callable[..., None]) -> None:
    with trio(guard=False) as made:
        rogue, other, _ = made.guests
        eventually(lambda: is_up(other), "the guest knows its router")
        other.run("ping", "-6", "-c", "1", "-W", "10", "fe80::2%tap0")
        rogue.run(sys.executable, "-c", ROGUE)
        eventually(lambda: FORGED in other.run("ip", "-6", "address"), "the forged prefix")
        eventually(lambda: rogue.mac in gateway_of(other), "the forged neighbour")


@pytest.mark.long
def test_multicast_goes_to_its_listeners_and_neighbours_are_reachable(eventually: Callable[..., None]) -> None:
    with trio() as made:
        one, two, _ = made.guests
        stats = made.net.stats
        eventually(lambda: all(map(is_up, made.guests)), "the guests have addresses")
        before = stats.mld_reports
        with two.serving(JOIN, GROUP) as process:
            eventually(lambda: stats.mld_reports > before and stats.mld_queries, "the switch heard the report")
            for _ in range(2):
                told = one.run("ping", "-6", "-c", "1", "-W", "10", "-I", "tap0", GROUP)
                assert " 0% packet loss" in told
                assert ":5054:ff:fe00:b: icmp_seq" in told
            # Kernels repeat their reports within seconds; then the third guest is known not to listen.
            snooping = made.net._stack.switch.snooping
            eventually(lambda: all(each.reporters for each in snooping._ports.values()), "all guests reported")
            made.links[2].destinations.clear()
            made.links[1].destinations.clear()
            one.run("ping", "-6", "-c", "1", "-W", "10", "-I", "tap0", GROUP)
            assert GROUP_MAC in made.links[1].destinations
            assert GROUP_MAC not in made.links[2].destinations
            one.run("ip", "-6", "neigh", "flush", "dev", "tap0")  # learned from a question, they would be stale
            for address in (two.six.partition("/")[0], "fe80::2%tap0"):
                one.run("ping", "-6", "-c", "1", "-W", "10", address)
                entry = one.run("ip", "-6", "neigh", "show", address.partition("%")[0], "dev", "tap0")
                assert "REACHABLE" in entry, entry
            process.terminate()
