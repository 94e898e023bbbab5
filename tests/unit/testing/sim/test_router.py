"""Hosts behind the real stack: addresses, NAT, names, rules, forwards, ping."""

from __future__ import annotations

import asyncio
import errno
import socket
from functools import partial

import pytest

from slirpy import Config
from slirpy.errors import ConfigError
from slirpy.testing.sim.faults import Cut, Flow, Lose
from slirpy.testing.sim.network import Network
from slirpy.testing.sim.trace import FrameRecord
from slirpy.units import SECOND
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
    found: list[list[bytes] | None] = []
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
            assert (found.pop() or [b""])[0] == bytes((10, 0, 2, 15))


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


@pytest.mark.parametrize("reset", [False, True])
def test_router_restarts(reset: bool) -> None:
    """A router that boots again has forgotten its flows and its leases, and serves the hosts behind it as before."""
    net = Network(1)
    serve(net.host("server"), bytes(16))
    router = net.router("home", Config(dns_mode="system", hostfwd=["tcp:0.0.0.0:80-10.0.2.15:7"]))
    serve(net.host("laptop", behind=router))
    net.host("client")
    pairs = ("laptop", "server", 7), ("client", "home", 80)

    def talk() -> None:
        clients = [Client().connect(net, *pair) for pair in pairs]
        net.until(lambda: all(client.done for client in clients))
        assert [client.got for client in clients] == [b"hello"] * 2

    talk()
    home, before = net.host("home"), router.stack
    assert before.leases()
    home.crash(reset=reset)
    net.run_for(1)
    number = len(net.trace.records)
    net.run_for(3600)
    sent = [
        each for each in net.trace.records[number:] if isinstance(each, FrameRecord) and each.source == "home"
    ]
    assert sent == []
    home.restart()
    assert router.stack is not before
    assert not router.stack.leases()
    talk()
    home.crash()
    home.restart()
    talk()


def test_paused_router() -> None:
    """A paused router forwards nothing until it is resumed."""
    net = network()
    net.host("home").pause(2)
    client = Client().connect(net, "laptop", "server")
    net.until(lambda: client.done)
    assert client.got == b"hello"
    assert net.now >= 2 * SECOND


def test_no_path_through_a_router() -> None:
    """A fault between hosts that no path connects would hit nothing, and is refused; the router has to be named."""
    net = network()
    serve(net.host("nas", behind="home"))
    for one, other in (("laptop", "server"), ("server", "laptop"), ("laptop", "nas")):
        for call in (
            partial(net.path, one, other),
            partial(net.partition, [one], [other]),
            partial(net.inject, Lose(Flow(one, other), 1)),
            partial(net.inject, Cut(0, 1, one, other)),
        ):
            with pytest.raises(
                ConfigError, match=rf"{one} to {other}, because .* behind router home; name home and"
            ):
                call()
    assert not net.injected
    partition = net.partition(["laptop", "home"], ["server"], during=10)
    client = Client().connect(net, "laptop", "server")
    net.until(lambda: client.done)
    assert client.got == b"hello"
    assert net.now > 10 * SECOND
    assert partition.hits
    net.inject(Lose(Flow("laptop", "home", connection=1), 0), Lose(Flow("home", "server", connection=1), 1))
    client = Client().connect(net, "laptop", "server")
    net.until(lambda: client.done)
    assert all(each.hits for each in net.injected)


async def connect(name: str) -> None:
    _, writer = await asyncio.open_connection(name, 7)
    writer.close()


@pytest.mark.parametrize("name", ["server", "www.example.org", "2.test"])
def test_asyncio_programs_ask_the_routers_dns(name: str) -> None:
    """Each question and its answer are packets, which may get lost."""
    net = network()
    net.alias("www.example.org", "server")
    net.alias("2.test", "server")
    net.partition(["home"], ["laptop"], oneway=True, during=3)
    net.run(connect(name), on="laptop")
    assert net.now > 3 * SECOND
    assert "UDP" in net.report().ladder(hosts=["laptop", "home"])


@pytest.mark.parametrize("name", ["nobody", "a b", "x" * 70, "nobody.example."])
def test_names_that_the_routers_dns_does_not_know(name: str) -> None:
    """A program gets the error of the resolver, whatever the name is."""
    net = network()

    def blocking() -> None:
        with pytest.raises(socket.gaierror):
            socket.getaddrinfo(name, 7)

    async def program() -> None:
        with pytest.raises(socket.gaierror):
            await connect(name)

    net.run(program, on="laptop")
    net.run(blocking, on="laptop")


def test_a_dns_that_does_not_answer() -> None:
    """Silence is not taken for an answer that there is no such name."""
    net = network()
    net.partition(["home"], ["laptop"])

    def blocking() -> None:
        with pytest.raises(socket.gaierror) as caught:
            socket.getaddrinfo("server", 7)
        assert caught.value.errno == socket.EAI_AGAIN

    async def program() -> None:
        with pytest.raises(socket.gaierror) as caught:
            await connect("server")
        assert caught.value.errno == socket.EAI_AGAIN

    net.run(program, on="laptop")
    net.run(blocking, on="laptop")


def test_rules_by_name() -> None:
    """A rule by name opens a host whose address is none of the special ones, as outside of tests."""
    net = Network(1)
    serve(net.host("server.test", "93.184.216.34"), bytes(16))
    serve(net.host("other.test", "93.184.216.35"), bytes(16))
    net.router("home", Config(dns_mode="system", policy=["allow server.test:7 tls=off"]))
    net.host("laptop", behind="home")
    net.run(connect("server.test"), on="laptop")
    with pytest.raises(socket.gaierror):
        net.run(connect("other.test"), on="laptop")
    with pytest.raises(ConnectionRefusedError):
        net.run(connect("93.184.216.35"), on="laptop")


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
