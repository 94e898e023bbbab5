"""Guests on one switch for real: namespaces with TAP interfaces reach each other, the gateway and the host."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random

import pytest

from slirpy import Config, LinkFeatures, Slirp
from slirpy.interfaces import Frame, Link, LinkSink, Poller
from slirpy.links import TapLink
from tests.system.tap_guest import SECONDS, Guest, served

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]

SIZE = 16 << 20

# Takes everything, answers with its digest and then as much again, of another seed.
SERVER = """
import hashlib, random, socket, sys
family, size = socket.AF_INET6 if sys.argv[1] == "6" else socket.AF_INET, int(sys.argv[2])
with socket.socket(family) as l:
    l.bind(("", 8000)); l.listen(); l.settimeout(50)
    print("ready", flush=True)
    s, _ = l.accept()
    s.settimeout(50)
    h = hashlib.sha256()
    while data := s.recv(1 << 20):
        h.update(data)
    s.sendall(random.Random(2).randbytes(size))
    s.close()
    print(h.hexdigest())
"""
CLIENT = """
import hashlib, random, socket, sys
host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
*_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
s.settimeout(50)
s.connect(where)
s.sendall(random.Random(1).randbytes(size))
s.shutdown(socket.SHUT_WR)
h = hashlib.sha256()
while data := s.recv(1 << 20):
    h.update(data)
print(h.hexdigest())
"""
UDP = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
if sys.argv[1] == "serve":
    s.bind(("", 8001))
    print("ready", flush=True)
    for _ in range(4):
        data, source = s.recvfrom(70000)
        s.sendto(data[::-1], source)
else:
    for size in (0, 1, 1472, 20000):
        data = bytes(i * 13 & 255 for i in range(size))
        s.sendto(data, (sys.argv[1], 8001))
        assert s.recv(70000) == data[::-1], size
    print("equal")
"""


class Plain:
    """A TAP link that does not say what it can do, and sees to it that nobody relies on it."""

    def __init__(self, inner: TapLink) -> None:
        self.features = LinkFeatures(mtu=inner.features.mtu)
        self.inner = inner
        self.longest = 0

    def start(self, sink: LinkSink, poller: Poller) -> None:
        self.inner.start(sink, poller)

    def send(self, frames: Sequence[Frame]) -> int:
        assert all(not frame.gso_size and not frame.csum_start for frame in frames)
        self.longest = max(self.longest, *(sum(map(len, frame.parts)) for frame in frames))
        return self.inner.send(frames)

    def close(self) -> None:
        self.inner.close()


class Pair:
    """Two guests on one network, which a thread serves."""

    def __init__(
        self, stack: ExitStack, mtu: int = 1500, offloads: bool = True, plain: bool = False, ipv6: bool = True
    ) -> None:
        self.guests = []
        self.links: list[Link] = []
        self.net = stack.enter_context(Slirp(Config(mtu=mtu, ipv6=ipv6, resolvers=[])))
        for number in range(2):
            guest = Guest(number)
            stack.callback(guest.close)
            guest.up(mtu, offloads)
            link = TapLink(guest.fd, mtu)
            whole: Link = Plain(link) if plain and number else link
            self.net.attach_link(whole)
            self.links.append(whole)
            self.guests.append(guest)
        stack.enter_context(served(self.net))


@contextmanager
def pair(mtu: int = 1500, *, offloads: bool = True, plain: bool = False, ipv6: bool = True) -> Iterator[Pair]:
    """``offloads``: the kernels'; ``plain``: the second guest's link has none; ``ipv6``: the network's."""
    with ExitStack() as stack:
        yield Pair(stack, mtu, offloads, plain, ipv6)


@pytest.fixture(autouse=True)
def tools(need: Callable[..., None]) -> None:
    need("ip", "ethtool", "nsenter", "unshare", "ping")


def digest(seed: int) -> str:
    return hashlib.sha256(Random(seed).randbytes(SIZE)).hexdigest()


def between(client: Guest, server: Guest, family: str = "4") -> None:
    """Many bytes both ways, equal to the last."""
    host = server.address if family == "4" else server.six.partition("/")[0]
    with server.serving(SERVER, family, str(SIZE)) as process:
        assert client.run(sys.executable, "-c", CLIENT, host, "8000", str(SIZE)) == digest(2) + "\n"
        assert process.stdout is not None
        assert process.stdout.readline() == digest(1) + "\n"


@pytest.mark.parametrize(
    ("mtu", "offloads", "plain"),
    [
        pytest.param(1500, True, False, id="offloads"),
        pytest.param(1500, True, True, id="one link without", marks=pytest.mark.long),
        pytest.param(1500, False, False, id="kernels without", marks=pytest.mark.long),
        pytest.param(9000, True, True, id="large MTU, one link without"),
    ],
)
def test_tcp_between_guests(mtu: int, offloads: bool, plain: bool) -> None:
    with pair(mtu, offloads=offloads, plain=plain) as made:
        one, two = made.guests
        between(one, two)
        between(two, one)
        between(one, two, "6")
        stats = made.net.stats
        assert stats.switch_forwarded > 100
        wrong = {name: value for name, value in stats.nonzero().items() if name.startswith("drop_")}
        # The kernels join groups (MLD) in which the stack takes no part.
        assert wrong.keys() <= {"drop_ipv6_group"}, wrong
        if offloads:
            assert stats.bytes_in / stats.frames_in > 2500  # they were large


@pytest.mark.parametrize(("family", "headers"), [("4", 54), ("6", 74)])
@pytest.mark.parametrize("plain", [True, False], ids=["cut by us", "cut by the kernel"])
def test_large_segments_are_cut_to_the_agreed_mss(family: str, headers: int, plain: bool) -> None:
    """Not to the MTU of 9000 that both sides have: each said that it takes 1000 bytes."""
    with pair(9000, plain=plain) as made:
        one, two = made.guests
        for guest in (one, two):
            to, route = ["dev", "tap0", "advmss", "1000"], ["route", "add", "metric", "1"]
            guest.run("ip", *route, "10.0.2.0/25", *to, "src", guest.address)
            guest.run("ip", "-6", *route, "fd00::/64", *to)
        between(one, two, family)
        stats = made.net.stats
        assert stats.bytes_in / stats.frames_in > 2500  # they were large
        last = made.links[1]
        if isinstance(last, Plain):
            assert 1000 < last.longest <= 1000 + headers
        else:
            assert stats.bytes_out / stats.frames_out > 2500
            assert isinstance(last, TapLink)
            kinds = {header[1] for header in last._headers.values() if header[1]}
            assert kinds == {1 if family == "4" else 4}  # VIRTIO_NET_HDR_GSO_TCPV4 or _TCPV6


def test_ping_and_udp() -> None:
    with pair(plain=True) as made:
        one, two = made.guests
        for guest, other in ((one, two), (two, one)):
            for address in (other.address, "10.0.2.2"):
                # One by one: of several, ping waits for the last two round trips only, which may be short.
                for size in (0, 56, 20_000) * 3:
                    told = guest.run("ping", "-n", "-c", "1", "-W", "20", "-s", str(size), address)
                    assert " 0% packet loss" in told, told
        for client, server in ((one, two), (two, one)):
            with server.serving(UDP, "serve"):
                assert client.run(sys.executable, "-c", UDP, server.address) == "equal\n"


def test_guests_use_the_host_and_each_other_at_once() -> None:
    with pair() as made, socket.create_server(("127.0.0.1", 0)) as server:
        one, two = made.guests
        got: list[str] = []

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                received = hashlib.sha256()
                while data := connection.recv(1 << 20):
                    received.update(data)
                got.append(received.hexdigest())
                connection.sendall(Random(2).randbytes(SIZE))

        server.settimeout(SECONDS)
        thread = threading.Thread(target=serve)
        thread.start()
        port = str(server.getsockname()[1])
        argv = one.command(sys.executable, "-c", CLIENT, "10.0.2.2", port, str(SIZE))
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as outward:
            between(two, one)
            assert outward.communicate(timeout=SECONDS)[0] == digest(2) + "\n"
        thread.join()
        assert got == [digest(1)]


def test_iperf3_between_guests(need: Callable[..., None], eventually: Callable[..., None]) -> None:
    need("iperf3", "ss")
    with pair() as made:
        one, two = made.guests
        with subprocess.Popen(
            two.command("iperf3", "--server", "--one-off"), stdout=subprocess.DEVNULL
        ) as server:
            try:
                argv = one.command("iperf3", "--client", two.address, "--time", "1")
                eventually(lambda: two.run("ss", "--no-header", "--listening", "--tcp"), "iperf3 listens")
                done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
                assert "iperf Done" in done.stdout, done
                server.wait(10)
            finally:
                server.kill()


def test_the_empty_router_advertisement_changes_nothing() -> None:
    """Linux asks for routers, hears that there is none, and keeps its addresses, routes and neighbours."""
    with pair(ipv6=False) as made:
        one, two = made.guests
        other = two.six.partition("/")[0]
        one.run("ip", "-6", "route", "add", "default", "via", other)
        before = one.run("ip", "-6", "route"), one.run("ip", "-6", "-o", "address", "show", "scope", "global")
        deadline = time.monotonic() + SECONDS
        while made.net.stats.ndp_router_adverts < 2:
            assert time.monotonic() < deadline, made.net.stats.nonzero()
            time.sleep(0.05)  # the kernels ask when duplicate address detection is over
        one.run("ping", "-6", "-c", "1", "-W", "10", other)
        assert (
            one.run("ip", "-6", "route"),
            one.run("ip", "-6", "-o", "address", "show", "scope", "global"),
        ) == before
        assert one.run("cat", "/proc/sys/net/ipv6/conf/tap0/hop_limit").strip() == "64"
        assert one.run("cat", "/proc/sys/net/ipv6/conf/tap0/mtu").strip() == "1500"
        stats = made.net.stats
        assert stats.drop_ndp_malformed == stats.drop_icmp_malformed == stats.drop_ipv6_header == 0
