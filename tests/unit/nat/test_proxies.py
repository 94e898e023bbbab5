"""Choice of a proxy for a flow, the search for its address, and the log, without a network."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from slirpy.config.proxy import Proxy
from slirpy.core.network import Network
from slirpy.interfaces import Action, Buffer, HostNetwork, NameAnswer, StreamOwner, Verdict
from slirpy.nat.outcomes import Route
from slirpy.nat.preceded import PrecededStream
from slirpy.nat.proxies import LOOKUP_TIME, WARN_AGAIN, Proxies
from slirpy.stats import Stats
from slirpy.wire import proxyheader
from slirpy.wire.ip import flow_key
from tests.support.frames6 import WORLD6
from tests.support.harness import GUEST, WORLD, config, ip
from tests.support.owners import PeerNotes, StreamNotes

DEFAULT = "http://192.0.2.9:3128"
OTHER = "socks5://192.0.2.8:1080"
KEY = flow_key(GUEST, 40000, WORLD, 443)
NOW = 1_000_000_000_000


class Peer(PeerNotes):
    """The host's stream."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = b""
        self.said: list[bytes] = []

    def send(self, buffers: Sequence[Buffer]) -> int:
        data = b"".join(buffers)
        self.taken += data
        return len(data)

    def recv(self, limit: int) -> bytes | None:
        return self.said.pop(0)[:limit] if self.said else None


class Host:
    """A host whose connections and answers about names are made by the test."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, int, int]] = []
        self.owners: list[StreamOwner] = []
        self.peers: list[Peer] = []
        self.names: list[tuple[str, Callable[[NameAnswer], object]]] = []
        self.looks_up = True

    def connect_tcp(self, address: bytes, port: int, owner: StreamOwner, ttl: int = 0) -> Peer:
        self.asked.append((address, port, ttl))
        self.owners.append(owner)
        self.peers.append(Peer())
        return self.peers[-1]

    def lookup(self, name: str, done: Callable[[NameAnswer], object]) -> bool:
        if self.looks_up:
            self.names.append((name, done))
        return self.looks_up


class Bench:
    """The proxies of a network with a host."""

    def __init__(self, **options: Any) -> None:
        self.host = Host()
        self.stats = Stats()
        self.network = SimpleNamespace(now=NOW, stats=self.stats, dirty=[])
        self.proxies = Proxies(config(**options), cast("Network", self.network), cast("HostNetwork", self.host))
        self.owner = StreamNotes()

    def said(self, at: int = -1) -> bytes:
        """First bytes of a connection, once the far side has answered."""
        self.host.owners[at].connected()
        self.flush()
        return self.host.peers[at].taken

    def flush(self) -> None:
        dirty, self.network.dirty = self.network.dirty, []
        for each in dirty:
            each.dirty = False
            each.service(0)


def allowed(**parts: Any) -> Verdict:
    return Verdict(Action.ALLOW, **parts)


@pytest.mark.parametrize(
    ("verdict", "names", "address", "expected"),
    [
        (None, (), WORLD, DEFAULT),
        (None, (), WORLD6, DEFAULT),
        (allowed(), (), WORLD, DEFAULT),
        (allowed(proxy=OTHER), (), WORLD, OTHER),
        (allowed(proxy=OTHER), ("direct.example",), ip("127.0.0.1"), OTHER),
        (allowed(proxy=""), (), WORLD, None),
        (allowed(redirect=(WORLD, 80)), (), WORLD, None),
        (allowed(redirect=(WORLD, 80), proxy=OTHER), (), WORLD, OTHER),
        (None, (), ip("127.0.0.1"), None),
        (None, (), bytes(15) + b"\1", None),
        (None, ("direct.example",), WORLD, None),
        (None, ("other.example", "a.direct.example"), WORLD, None),
        (None, ("other.example",), WORLD, DEFAULT),
        (None, (), ip("203.0.113.7"), None),
    ],
)
def test_choice(verdict: Verdict | None, names: tuple[str, ...], address: bytes, expected: str | None) -> None:
    proxies = Bench(proxy=DEFAULT, no_proxy=["direct.example", "203.0.113.0/24"]).proxies
    chosen = proxies.choose(verdict, names, address)
    assert (None if chosen is None else str(chosen)) == expected
    unproxied = Bench().proxies.choose(verdict, names, address)
    assert unproxied == (chosen if expected == OTHER else None)


def test_a_direct_connection_has_the_time_to_live_of_the_flow() -> None:
    bench = Bench()
    peer = bench.proxies.open(bench.owner, KEY, Route(WORLD, 443), (), 7)
    assert peer is bench.host.peers[0]
    assert (bench.host.asked, bench.host.owners) == ([(WORLD, 443, 7)], [bench.owner])


@pytest.mark.parametrize(
    ("names", "by_name", "place"),
    [
        ((), True, b"198.51.100.7:443"),
        (("a.example", "b.example"), True, b"a.example:443"),
        (("a.example",), False, b"198.51.100.7:443"),
    ],
)
def test_a_proxy_gets_a_name_only_if_allowed(names: tuple[str, ...], by_name: bool, place: bytes) -> None:
    bench = Bench(proxy=DEFAULT)
    bench.proxies.open(bench.owner, KEY, Route(WORLD, 443), names, 7, by_name=by_name)
    assert bench.host.asked == [(ip("192.0.2.9"), 3128, 0)]
    assert bench.said() == b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n\r\n"


def test_a_proxy_gets_a_name_by_default() -> None:
    bench = Bench(proxy=DEFAULT)
    bench.proxies.open(bench.owner, KEY, Route(WORLD, 443), ("a.example",), 7)
    assert bench.said().startswith(b"CONNECT a.example:443 ")


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_user_and_password_are_those_of_the_file(scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("user:secret\n")
    bench = Bench(proxy=f"{scheme}://192.0.2.9:3128", proxy_auth_file=file)
    bench.proxies.open(bench.owner, KEY, Route(WORLD, 443), (), 7)
    said = bench.said()
    if scheme == "http":
        assert b"\r\nProxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n" in said
    else:
        assert said == b"\5\2\0\2"


@pytest.mark.parametrize("names", [(), ("a.example", "b.example")])
def test_a_redirect_may_begin_with_a_header(names: tuple[str, ...]) -> None:
    bench = Bench(proxy=DEFAULT)
    target = ip("192.0.2.7")
    for header in (True, False):
        verdict = allowed(redirect=(target, 80), proxy_header=header)
        bench.proxies.open(bench.owner, KEY, Route(target, 80, None, verdict), names, 5)
    assert bench.host.asked == [(target, 80, 5)] * 2
    assert bench.host.owners[1] is bench.owner
    built = proxyheader.build((GUEST, 40000), (WORLD, 443), names[0] if names else "")
    assert bench.said(0) == built


# ------------------------------------------------------------------------------------- names of proxies

PROXY = Proxy("http", "proxy.example", 8080)


def connect(bench: Bench, proxy: Proxy = PROXY) -> None:
    bench.proxies.connect(proxy, "a.example", 80, bench.owner)


def test_all_addresses_of_a_proxy_are_tried() -> None:
    bench = Bench()
    connect(bench)
    ((name, done),) = bench.host.names
    assert (name, bench.host.asked) == ("proxy.example", [])
    done(NameAnswer((WORLD6, WORLD), True))
    assert bench.host.asked == [(WORLD6, 8080, 0)]
    bench.host.owners[0].failed(errno.ECONNREFUSED)
    assert bench.host.asked[1:] == [(WORLD, 8080, 0)]


def test_flows_that_wait_for_a_name_ask_once() -> None:
    bench = Bench()
    connect(bench)
    connect(bench, Proxy("http", "proxy.example", 8081))
    connect(bench, Proxy("http", "other.example", 8080))
    assert [name for name, _ in bench.host.names] == ["proxy.example", "other.example"]
    bench.host.names[0][1](NameAnswer((WORLD,), True))
    assert bench.host.asked == [(WORLD, 8080, 0), (WORLD, 8081, 0)]
    bench.host.names[1][1](NameAnswer((WORLD6,), True))
    assert bench.host.asked[2:] == [(WORLD6, 8080, 0)]


def test_addresses_are_remembered_for_a_minute() -> None:
    bench = Bench()
    connect(bench)
    bench.network.now = NOW + 5
    bench.host.names[0][1](NameAnswer((WORLD, WORLD6), True))
    bench.network.now = NOW + 5 + LOOKUP_TIME - 1
    connect(bench)
    assert bench.host.asked == [(WORLD, 8080, 0)] * 2
    bench.host.owners[1].failed(errno.ECONNREFUSED)
    assert bench.host.asked[2:] == [(WORLD6, 8080, 0)]
    assert len(bench.host.names) == 1
    bench.network.now += 1
    connect(bench)
    assert len(bench.host.names) == 2


def test_a_proxy_at_localhost_needs_no_look_up() -> None:
    bench = Bench()
    connect(bench, Proxy("http", "localhost", 8080))
    bench.host.owners[0].failed(errno.ECONNREFUSED)
    assert bench.host.asked == [(ip("127.0.0.1"), 8080, 0), (bytes(15) + b"\1", 8080, 0)]
    assert bench.host.names == []


@pytest.mark.parametrize("looks_up", [True, False])
def test_a_proxy_without_an_address(looks_up: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The next flow asks for it again."""
    bench = Bench()
    bench.host.looks_up = looks_up
    with caplog.at_level(logging.WARNING, "slirpy"):
        for _ in range(2):
            connect(bench)
            if looks_up:
                bench.host.names.pop()[1](NameAnswer((), None))
    assert bench.owner.errors == [errno.EHOSTUNREACH] * 2
    assert caplog.messages == ['slirpy: the proxy "proxy.example" has no address'] * 2
    bench.host.looks_up = True
    connect(bench)
    assert len(bench.host.names) == 1


# ----------------------------------------------------------------------------------------- refusals


def refuse(bench: Bench, destination: str | bytes) -> None:
    """Let a proxy refuse a destination."""
    bench.proxies.connect(Proxy("http", "192.0.2.9", 3128), destination, 443, bench.owner)
    bench.said()
    bench.host.peers[-1].said.append(b"HTTP/1.1 403 No\r\n\r\n")
    bench.host.owners[-1].readable()
    bench.flush()


def test_refusals_are_counted_and_reported_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()
    with caplog.at_level(logging.WARNING, "slirpy"):
        refuse(bench, "a.example")
        bench.network.now += WARN_AGAIN - 1
        refuse(bench, "b.example")
        bench.network.now += 1
        refuse(bench, WORLD6)
        bench.network.now += WARN_AGAIN - 1
        refuse(bench, "c.example")
    assert caplog.messages == [
        "slirpy: the proxy http://192.0.2.9:3128 refuses a.example:443: 403 No",
        "slirpy: the proxy http://192.0.2.9:3128 refuses 2001:db8:7::7:443: 403 No",
    ]
    assert bench.stats.tcp_flows_proxy_refused == 4
    assert bench.owner.errors == [errno.EACCES] * 4


# ------------------------------------------------------------------------------------ PrecededStream


class Announcing(Peer):
    level_triggered = True


@pytest.mark.parametrize("kind", [Peer, Announcing])
def test_a_header_is_received_before_the_data(kind: type[Peer]) -> None:
    peer = kind()
    peer.said = [b"hello", b"world"]
    stream = PrecededStream(peer, b"PROXY")
    assert not stream.level_triggered
    assert [stream.recv(3), stream.recv(3)] == [b"PRO", b"XY"]
    assert not stream.level_triggered  # the header was not announced
    assert [stream.recv(2), stream.recv(100), stream.recv(100)] == [b"he", b"world", None]
    assert stream.level_triggered is (kind is Announcing)


def test_all_else_goes_to_the_far_side() -> None:
    peer = Peer()
    stream = PrecededStream(peer, b"PROXY")
    assert stream.send([b"one", b"two"]) == 6
    stream.shutdown()
    stream.abort()
    stream.close()
    assert (peer.taken, peer.calls, stream.kernel_memory()) == (b"onetwo", ["shutdown", "abort", "close"], 0)
