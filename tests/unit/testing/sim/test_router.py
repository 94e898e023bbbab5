"""Hosts behind the real stack: addresses, NAT, names, rules, forwards, ping."""

from __future__ import annotations

import errno

import pytest

from slirpy import Config
from slirpy.errors import ConfigError
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.trace import FrameRecord
from tests.unit.testing.sim.echo import Client, serve


def network(config: Config | None = None) -> Network:
    """A server outside, a router, and a laptop behind it."""
    net = Network(1)
    serve(net.host("server"), bytes(16))
    net.router("home", config)
    net.host("laptop", behind="home")
    return net


@pytest.mark.parametrize("ipv6", [False, True])
def test_connection_through_nat(ipv6: bool) -> None:
    """A host behind the router reaches one outside, which sees the router's address."""
    net = network()
    client = Client().connect(net, "laptop", "server", ipv6=ipv6)
    net.until(lambda: client.done)
    assert client.got == b"hello"
    pairs = {(each.source, each.target) for each in net.trace.records if isinstance(each, FrameRecord)}
    assert pairs == {("laptop", "home"), ("home", "laptop"), ("home", "server"), ("server", "home")}


def test_addresses() -> None:
    """The host has what DHCP and the router advertisement gave it."""
    net = network()
    own4, own6 = net.host("laptop").addresses
    assert str(own4) == "10.0.2.15"
    assert str(own6).startswith("fec0::")


def test_names() -> None:
    """Names are resolved by the router's DNS, which knows the hosts of the network."""
    net = network()
    found: list[list[bytes]] = []
    for name in ("server", "nobody.example", "localhost", "laptop"):
        net.host("laptop").lookup(name, found.append)
        net.until(lambda: len(found) > 0)
        if name == "server":
            assert found.pop() == net.resolve("server")
        elif name == "nobody.example":
            assert found.pop() == []
        elif name == "localhost":
            assert found.pop() == [bytes((127, 0, 0, 1)), bytes(15) + b"\1"]
        else:
            assert found.pop()[0] == bytes((10, 0, 2, 15))


def test_rules() -> None:
    """The router's rules apply."""
    net = network(Config(dns_mode="system", policy=["deny 198.18.0.0/16"]))
    client = Client().connect(net, "laptop", "server")
    net.until(lambda: client.done)
    assert client.error == errno.ECONNREFUSED


def test_forward() -> None:
    """A forward leads from outside to a host behind the router."""
    net = Network(1)
    net.router("home", Config(dns_mode="system", hostfwd=["tcp:0.0.0.0:80-10.0.2.15:7"]))
    serve(net.host("nas", behind="home"))
    net.host("client")
    client = Client().connect(net, "client", "home", 80)
    net.until(lambda: client.done)
    assert client.got == b"hello"


def test_two_hosts_behind_one_router() -> None:
    """Hosts behind one router reach each other through its switch."""
    net = network()
    serve(net.host("nas", behind="home"))
    client = Client()
    client.peer = net.host("laptop").socket_layer.connect(net.host("nas").packed_addresses[0], 7, client)
    net.until(lambda: client.done)
    assert client.got == b"hello"


def test_ping() -> None:
    """An echo request goes through the NAT."""
    net = network()
    stack = net.host("laptop").stack
    ping = stack.icmp.ping(net.resolve("server")[0], b"payload", 64)
    stack.flush()
    net.until(lambda: ping.reply)
    assert ping.reply == b"payload"


def test_crashed_router() -> None:
    """A crashed router does not even answer ARP."""
    net = network()
    net.host("home").crash()
    client = Client().connect(net, "laptop", "server")
    net.until(lambda: client.done)
    assert client.error == errno.EHOSTUNREACH


def test_same_seed_same_frames() -> None:
    """The router's randomness comes from the seed, too."""

    def digest() -> str:
        net = network()
        client = Client().connect(net, "laptop", "server")
        net.until(lambda: client.done)
        return net.trace.digest()

    assert digest() == digest()


def test_bad_input() -> None:
    """A router that would ask the real machine, or a place that is none."""
    net = network()
    with pytest.raises(ConfigError, match="dns_mode"):
        net.router("office", Config())
    with pytest.raises(ConfigError, match="home"):
        net.host("x", behind="server")
    with pytest.raises(ConfigError, match="omit"):
        net.host("x", "192.0.2.1", behind="home")
    with pytest.raises(ConfigError, match="already"):
        net.router("server")
