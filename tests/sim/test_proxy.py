"""TCP through upstream proxies, in virtual time."""

from __future__ import annotations

import errno
import logging
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from slirpy import Action, Config, ConfigError, FlowRequest, RulePolicy, Verdict
from slirpy.testing import Remote, SimServer, VirtualNetwork
from slirpy.testing.guest.tcp import GuestStream
from tests.support.hellos import openssl_hello

SECOND = 1_000_000_000
PROXY = "192.0.2.9"
WORLD = "198.51.100.7"
TUNNEL = b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n"


class Behind:
    """A network behind a proxy, and a guest's connection to ``WORLD`` on its way."""

    def __init__(self, url: str = f"http://{PROXY}:3128", destination: str = WORLD, **more: Any) -> None:
        self.net = VirtualNetwork(Config(resolvers=[], proxy=url, **more))
        self.server: SimServer = self.net.host.serve_tcp(PROXY, 3128, Remote)
        self.net.boot()
        self.net.guest.autoconfigure()
        self.net.run(SECOND)
        self.stream: GuestStream = self.net.guest.connect(destination, 80)
        self.net.run(SECOND)

    @property
    def proxy(self) -> Remote:
        """The proxy's end of the connection."""
        return self.server.connections[0]

    def heard(self) -> bytes:
        """Bytes that the proxy has received since the last call."""
        self.net.run(SECOND)
        data = bytes(self.proxy.received)
        self.proxy.received.clear()
        return data

    def say(self, data: bytes) -> None:
        """Let the proxy send."""
        self.proxy.write(data)
        self.net.run(SECOND)

    def open(self) -> bool:
        """Report whether the guest's connection is established."""
        return self.stream.state.value == "ESTABLISHED"

    def works(self) -> None:
        """Check that data pass in both directions, and both ends."""
        assert self.open()
        self.stream.write(b"hello" * 1000)
        assert self.heard() == b"hello" * 1000
        self.say(b"x" * 300_000)
        assert bytes(self.stream.received).endswith(b"x" * 300_000)
        self.stream.shutdown()
        self.net.run(SECOND)
        assert self.proxy.ended
        self.proxy.finish()
        self.net.run(SECOND)
        assert self.stream.eof


def test_http() -> None:
    behind = Behind()
    assert behind.heard() == b"CONNECT 198.51.100.7:80 HTTP/1.1\r\nHost: 198.51.100.7:80\r\n\r\n"
    behind.say(TUNNEL[:30])
    assert not behind.open()  # the SYN,ACK waits for the proxy
    behind.say(TUNNEL[30:] + b"220 ready")
    assert bytes(behind.stream.received) == b"220 ready"
    behind.works()


def test_http_with_password_and_ipv6(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_bytes(b"me:p:w\n")
    behind = Behind(destination="2001:db8::7", proxy_auth_file=file)
    place = b"[2001:db8::7]:80"
    login = b64encode(b"me:p:w")
    expected = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\nProxy-Authorization: Basic %b\r\n\r\n" % (
        place,
        place,
        login,
    )
    assert behind.heard() == expected
    behind.say(TUNNEL)
    behind.works()


@pytest.mark.parametrize("scheme", ["socks5", "SOCKS5", "socks5h"])
def test_socks(scheme: str) -> None:
    behind = Behind(f"{scheme}://{PROXY}:3128")
    assert behind.heard() == b"\5\1\0"
    behind.say(b"\5\0")
    assert behind.heard() == bytes.fromhex("05010001c63364070050")
    behind.say(b"\5\0\0\1\0\0\0\0\0")
    assert not behind.open()
    behind.say(b"\0SSH")
    assert bytes(behind.stream.received) == b"SSH"
    behind.works()


def test_socks_with_password(tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("user:secret\nmore\n")
    behind = Behind(f"socks5://{PROXY}:3128", destination="2001:db8::7", proxy_auth_file=file)
    assert behind.heard() == b"\5\2\0\2"
    behind.say(b"\5\2")
    assert behind.heard() == b"\1\4user\6secret"
    behind.say(b"\1\0")
    assert behind.heard() == bytes.fromhex("0501000420010db80000000000000000000000070050")
    behind.say(b"\5\0\0\3\4name\0\x50")
    behind.works()


@pytest.mark.parametrize(
    ("url", "said", "error", "reason"),
    [
        ("http", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"], errno.EHOSTUNREACH, "407 Proxy Auth"),
        ("http", [b"HTTP/1.0 403 No\n"], errno.EHOSTUNREACH, "403 No"),
        ("http", [b"HTTP/1.1 502 Bad Gateway\r\n\r\n"], errno.EHOSTUNREACH, "502 Bad"),
        ("http", [b"HTTP/1.1 418 \r\n\r\n"], errno.ECONNREFUSED, "418"),
        ("http", [b"SSH-2.0-x\r\n"], errno.ECONNREFUSED, "no response of HTTP"),
        ("http", [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4000], errno.ECONNREFUSED, "without an end"),
        ("socks5", [b"\5\xff"], errno.EHOSTUNREACH, "authentication"),
        ("socks5", [b"\4\0"], errno.ECONNREFUSED, "no SOCKS 5"),
        ("socks5", [b"\5\0", b"\5\1\0\1"], errno.ECONNREFUSED, "general failure"),
        ("socks5", [b"\5\0", b"\5\2\0\1"], errno.EHOSTUNREACH, "rules"),
        ("socks5", [b"\5\0", b"\5\5\0\1"], errno.ECONNREFUSED, "refused"),
        ("socks5", [b"\5\0", b"\5\0\0\7\0"], errno.ECONNREFUSED, "malformed"),
    ],
)
def test_refused(
    url: str, said: list[bytes], error: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "slirpy"):
        behind = Behind(f"{url}://{PROXY}:3128")
        for each in said:
            behind.say(each)
    assert behind.stream.closed
    assert behind.stream.error == error
    assert behind.proxy.error or behind.proxy.ended
    assert behind.net.stack.stats.tcp_flows_proxy_refused == 1
    assert reason in caplog.text
    assert f"{WORLD}:80" in caplog.text


@pytest.mark.parametrize("url", ["http", "socks5"])
def test_a_proxy_that_ends_or_resets(url: str) -> None:
    behind = Behind(f"{url}://{PROXY}:3128")
    behind.proxy.finish()
    behind.net.run(SECOND)
    assert behind.stream.error == errno.ECONNREFUSED
    other = Behind(f"{url}://{PROXY}:3128")
    other.proxy.reset()
    other.net.run(SECOND)
    assert other.stream.closed


def test_a_proxy_that_is_not_there() -> None:
    net = VirtualNetwork(Config(resolvers=[], proxy=f"http://{PROXY}"))
    net.boot()
    stream = net.guest.connect(WORLD, 80)
    net.run(SECOND)
    assert stream.error == errno.ECONNREFUSED


def test_a_silent_proxy_is_given_up() -> None:
    behind = Behind()
    behind.net.run(80 * SECOND)
    assert behind.proxy.error
    assert behind.net.stack.flows() == []


def test_destinations_without_the_proxy() -> None:
    net = VirtualNetwork(
        Config(resolvers=[], proxy=f"http://{PROXY}:3128", no_proxy=["198.51.100.0/24", "private"])
    )
    proxy = net.host.serve_tcp(PROXY, 3128, Remote)
    direct = [net.host.serve_tcp(address, 80, Remote) for address in (WORLD, "127.0.0.1", "192.168.7.7")]
    net.boot()
    for address in (WORLD, "10.0.2.2", "192.168.7.7", "203.0.113.1"):
        net.guest.connect(address, 80)
    net.run(SECOND)
    assert [len(server.connections) for server in direct] == [1, 1, 1]
    assert len(proxy.connections) == 1


def test_a_proxy_by_name() -> None:
    net = VirtualNetwork(Config(resolvers=[], proxy="http://Proxy.example:3128"))
    net.host.add_name("proxy.example", "192.0.2.8", PROXY)  # nobody listens at the first one
    proxy = net.host.serve_tcp(PROXY, 3128, Remote)
    net.boot()
    streams = [net.guest.connect(WORLD, port) for port in (80, 81)]
    net.run(SECOND)
    assert len(proxy.connections) == 2
    for connection in proxy.connections:
        connection.write(TUNNEL)
    net.run(SECOND)
    assert {stream.state.value for stream in streams} == {"ESTABLISHED"}


def test_a_proxy_without_an_address(caplog: pytest.LogCaptureFixture) -> None:
    net = VirtualNetwork(Config(resolvers=[], proxy="http://proxy.example:3128"))
    net.boot()
    with caplog.at_level(logging.WARNING, "slirpy"):
        stream = net.guest.connect(WORLD, 80)
        net.run(SECOND)
    assert stream.error == errno.EHOSTUNREACH
    assert "no address" in caplog.text


@pytest.mark.parametrize("content", [None, b"", b"user\n", b":x\n", b"u:" + b"p" * 300])
def test_files_without_a_password(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "auth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="proxy_auth_file"):
        VirtualNetwork(Config(resolvers=[], proxy=f"http://{PROXY}", proxy_auth_file=file))


def test_a_known_name_goes_to_the_proxy() -> None:
    """With a rule by name, and without a policy."""
    for policy in (None, ["allow a.example"]):
        config = Config(
            resolvers=[], proxy=f"http://{PROXY}:3128", no_proxy=["b.example"], policy=policy,
            dns_records=[f"a.example A {WORLD}", "b.example A 198.51.100.8"],
        )  # fmt: skip
        net = VirtualNetwork(config)
        proxy = net.host.serve_tcp(PROXY, 3128, Remote)
        direct = net.host.serve_tcp("198.51.100.8", 443, Remote)
        net.boot()
        net.guest.resolve("a.example")
        net.guest.resolve("b.example")
        net.run(SECOND)
        stream = net.guest.connect(WORLD, 443)
        net.guest.connect("198.51.100.8", 443)
        net.run(SECOND)
        assert (
            bytes(proxy.connections[0].received)
            == b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n"
        )
        assert len(direct.connections) == (policy is None)
        proxy.connections[0].write(TUNNEL)
        net.run(SECOND)
        hello = openssl_hello("a.example" if policy else "anything.example")
        stream.write(hello)
        net.run(SECOND)
        assert bytes(proxy.connections[0].received).endswith(hello)


def test_the_name_of_a_verdict_goes_to_the_proxy() -> None:
    """The address has another name, too, which the guest has asked for."""

    def policy(request: FlowRequest) -> Verdict:
        return Verdict(Action.ALLOW, names=("told.example",), tls="off")

    records = [f"asked.example A {WORLD}", f"told.example A {WORLD}"]
    net = VirtualNetwork(Config(resolvers=[], proxy=f"http://{PROXY}:3128", policy=policy, dns_records=records))
    proxy = net.host.serve_tcp(PROXY, 3128, Remote)
    net.boot()
    net.guest.resolve("asked.example")
    net.run(SECOND)
    net.guest.connect(WORLD, 80)
    net.run(SECOND)
    assert bytes(proxy.connections[0].received).startswith(b"CONNECT told.example:80 ")


def test_a_name_is_not_the_proxys_to_resolve_where_the_default_has_allowed_the_address() -> None:
    """The other name of the address is denied, so the verdict has names; the rules about addresses have to hold."""
    rules = RulePolicy(["deny private", "deny b.example:443"], Action.ALLOW)
    records = [f"a.example A {WORLD}", f"b.example A {WORLD}"]
    net = VirtualNetwork(Config(resolvers=[], proxy=f"http://{PROXY}:3128", policy=rules, dns_records=records))
    proxy = net.host.serve_tcp(PROXY, 3128, Remote)
    net.boot()
    for name in ("a.example", "b.example"):
        net.guest.resolve(name)
    net.run(SECOND)
    net.guest.connect(WORLD, 443)
    net.run(SECOND)
    assert bytes(proxy.connections[0].received).startswith(f"CONNECT {WORLD}:443 ".encode())


@pytest.mark.parametrize(("rule", "through"), [("proxy=none", False), (f"proxy=socks5://{PROXY}:1080", True)])
def test_a_rule_names_its_own_proxy(rule: str, through: bool) -> None:
    net = VirtualNetwork(Config(resolvers=[], proxy=f"http://{PROXY}:3128", policy=[f"allow any:80 {rule}"]))
    common = net.host.serve_tcp(PROXY, 3128, Remote)
    own = net.host.serve_tcp(PROXY, 1080, Remote)
    direct = net.host.serve_tcp(WORLD, 80, Remote)
    net.boot()
    net.guest.connect(WORLD, 80)
    net.run(SECOND)
    assert [len(server.connections) for server in (common, own, direct)] == [0, through, not through]


def test_other_protocols_are_refused_behind_a_proxy() -> None:
    net = VirtualNetwork(Config(resolvers=[], proxy=f"http://{PROXY}:3128", no_proxy=["203.0.113.0/24"]))
    servers = [net.host.serve_udp(address, 9) for address in (WORLD, "203.0.113.1", "127.0.0.1")]
    net.boot()
    sockets = [net.guest.udp() for _ in range(3)]
    for socket, address in zip(sockets, (WORLD, "203.0.113.1", "10.0.2.2"), strict=True):
        socket.send(address.encode(), address, 9)
    ping = net.guest.ping(WORLD)
    net.run(SECOND)
    assert [len(server.received) for server in servers] == [0, 1, 1]
    assert list(sockets[0].errors) == [errno.EHOSTUNREACH]
    assert ping.rtt is None
    assert net.stack.stats.drop_udp_policy == net.stack.stats.drop_icmp_policy == 1


@pytest.mark.parametrize(
    ("proxy", "rule", "passes"),
    [
        (f"http://{PROXY}:3128", "", False),
        (f"http://{PROXY}:3128", "proxy=none", True),
        (f"http://{PROXY}:3128", f"proxy=socks5://{PROXY}:1080", False),
        (None, "", True),
        (None, "proxy=none", True),
        (None, f"proxy=socks5://{PROXY}:1080", False),
    ],
)
def test_a_datagram_that_only_a_proxy_may_carry(proxy: str | None, rule: str, passes: bool) -> None:
    records: list[dict[str, Any]] = []
    rules = [f"allow any:9 {rule}"]
    net = VirtualNetwork(Config(resolvers=[], proxy=proxy, policy=rules, audit=records.append))
    server = net.host.serve_udp(WORLD, 9)
    net.boot()
    socket = net.guest.udp()
    socket.send(b"x", WORLD, 9)
    net.run(SECOND)
    assert len(server.received) == passes
    assert net.stack.stats.drop_udp_policy == (not passes)
    refused = [record for record in records if record["event"] == "refused"]
    names = "protocol", "link", "source", "source_port", "destination", "destination_port", "verdict", "reason"
    assert [tuple(record[name] for name in names) for record in refused] == (
        []
        if passes
        else [("udp", 1, "10.0.2.15", socket.port, WORLD, 9, "reject", "the proxy carries TCP only")]
    )
    assert all(record["mac"] == "52:54:00:12:34:56" for record in refused)
