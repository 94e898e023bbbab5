"""First bytes on flows that a name allowed, in virtual time: what the far side hears, and what the guest sees."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from slirpy import Config
from slirpy.interfaces import FlowRequest, Verdict
from slirpy.testing import Remote, SimUdpServer, VirtualNetwork
from slirpy.testing.guest.tcp import GuestStream
from slirpy.wire.tls import ALERT_ACCESS_DENIED
from tests.support.hellos import client_hello, extension, openssl_hello, record, recorded, records, server_name
from tests.support.quic import crypto, initial

SECOND = 1_000_000_000
PLACE = "198.51.100.7"
RULES = ("allow a.example", "allow quic:a.example", "allow b.example:22 tls=off", "allow c.example tls=ech")


class World:
    """A network whose guest knows the names of one address."""

    def __init__(
        self, rules: Sequence[str] = RULES, names: Sequence[str] = ("a.example",), **more: object
    ) -> None:
        self.refused: list[str] = []

        def note(request: FlowRequest, verdict: Verdict) -> None:
            self.refused.append(verdict.reason)

        records_ = [f"{name} A {PLACE}" for name in ("a.example", "b.example", "c.example")]
        config = Config(resolvers=[], policy=list(rules), dns_records=records_, on_refused=note)
        self.net = VirtualNetwork(config)
        self.net.boot()
        for name in names:
            self.net.guest.resolve(name)
        self.net.run(SECOND)
        self.servers = {port: self.net.host.serve_tcp(PLACE, port, Remote) for port in (22, 80, 443)}

    def open(self, port: int) -> tuple[GuestStream, Remote]:
        """A connection, and its far end."""
        stream = self.net.guest.connect(PLACE, port)
        self.net.run(SECOND)
        assert stream.state.value == "ESTABLISHED"
        return stream, self.servers[port].connections[-1]

    def say(self, stream: GuestStream, *pieces: bytes) -> None:
        """Let the guest send, in segments of their own."""
        for piece in pieces:
            stream.write(piece)
            self.net.run(SECOND)


@pytest.mark.parametrize("size", [1, 100, 20000])
def test_the_hello_reaches_the_server_when_it_is_complete(size: int) -> None:
    world = World()
    stream, server = world.open(443)
    hello = records(
        client_hello(extension(51, bytes(15000)), server_name(b"a.example")), 16000 if size > 1 else 1000
    )
    pieces = [hello[at : at + size * 40] for at in range(0, len(hello), size * 40)]
    world.say(stream, *pieces[:-1])
    assert server.received == b""
    world.say(stream, pieces[-1])
    assert server.received == hello
    server.write(b"y" * 200_000)
    world.say(stream, b"x" * 200_000)
    assert server.received == hello + b"x" * 200_000
    assert bytes(stream.received) == b"y" * 200_000
    stream.shutdown()
    world.net.run(SECOND)
    assert server.ended
    assert world.refused == []


@pytest.mark.parametrize(
    "said",
    [openssl_hello("evil.example"), openssl_hello(None), recorded()["Chromium 156"],
     record(client_hello(server_name(b"a.example", b"evil.example")))],
)  # fmt: skip
def test_refused_hellos_get_an_alert(said: bytes) -> None:
    world = World()
    stream, server = world.open(443)
    stream.write(said)
    world.net.run(SECOND // 10)
    assert server.received == b""
    assert server.error
    assert bytes(stream.received) == ALERT_ACCESS_DENIED
    assert stream.eof
    stream.write(b"nobody hears this")
    world.net.run(SECOND // 10)
    stream.shutdown()
    world.net.run(SECOND)
    assert stream.error == 0
    assert world.net.stack.stats.tcp_flows_misnamed == len(world.refused) == 1
    world.net.run(70 * SECOND)
    assert world.net.stack.flows() == []


def test_a_refused_client_that_stays_is_reset() -> None:
    world = World()
    stream, _ = world.open(443)
    world.say(stream, openssl_hello("evil.example"))
    assert bytes(stream.received) == ALERT_ACCESS_DENIED
    assert stream.error == errno.ECONNRESET


def test_garbage_is_reset() -> None:
    world = World()
    stream, server = world.open(443)
    world.say(stream, b"\0\1\2")
    assert (stream.error, bytes(server.received)) == (errno.ECONNRESET, b"")


def test_encrypted_hellos_pass_where_a_rule_allows_them() -> None:
    world = World(names=("c.example",))
    stream, server = world.open(443)
    hello = recorded()["Chromium 156"].replace(b"api.example.org", b"a.c.c.c.example")
    world.say(stream, hello)
    assert server.received == b""
    grease = extension(0xFE0D, b"\0\0\1\0\1\7\0\1e\0\1p")
    stream, server = world.open(443)
    world.say(stream, record(client_hello(server_name(b"c.example"), grease)))
    assert server.received


def test_each_request_of_a_connection_is_read() -> None:
    world = World()
    stream, server = world.open(80)
    first = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    world.say(stream, first[:10])
    assert server.received == b""
    world.say(
        stream,
        first[10:] + b"PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 300000\r\n\r\n" + b"z" * 150_000,
    )
    world.say(stream, b"z" * 150_000 + first[:7])
    assert len(server.received) == len(first) + 60 + 300_000 - 2 + 1
    assert bytes(server.received[-5:]) == b"zzzzz"
    server.write(b"HTTP/1.1 200 OK\r\n\r\n")
    world.say(stream, first[7:])
    assert bytes(server.received[-len(first) :]) == first
    world.say(stream, first.replace(b"a.example", b"evil.example"))
    assert bytes(server.received[-len(first) :]) == first
    assert (stream.error, world.net.stack.stats.tcp_flows_misnamed) == (errno.ECONNRESET, 1)


def test_a_refused_request_gets_a_response_with_the_reason() -> None:
    world = World()
    stream, server = world.open(80)
    world.say(stream, b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert bytes(stream.received).startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert b"evil.example" in stream.received
    assert stream.eof
    assert server.received == b""


def test_an_upload_into_a_slow_server_is_complete() -> None:
    world = World()
    stream, server = world.open(80)
    server.paused = True
    head = b"PUT / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2000000\r\n\r\n"
    world.say(stream, head + b"q" * 2_000_000)
    stream.shutdown()
    server.paused = False
    world.net.run(20 * SECOND)
    assert bytes(server.received) == head + b"q" * 2_000_000
    assert server.ended


def test_web_sockets() -> None:
    world = World()
    stream, server = world.open(80)
    head = b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\n\r\n"
    world.say(stream, head + b"early")
    assert server.received == head
    server.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    world.net.run(SECOND)
    assert server.received == head + b"early"
    world.say(stream, b"\0\1 anything")
    assert server.received == head + b"early\0\1 anything"


def test_protocols_in_which_the_server_speaks_first() -> None:
    world = World()
    stream, server = world.open(22)
    server.write(b"SSH-2.0-server\r\n")
    world.net.run(SECOND)
    assert bytes(stream.received) == b"SSH-2.0-server\r\n"
    world.say(stream, b"SSH-2.0-client\r\n")
    assert server.received == b"SSH-2.0-client\r\n"


def test_a_client_that_ends_early() -> None:
    world = World()
    for said in (b"", b"\x16\3\1\0"):
        stream, server = world.open(443)
        world.say(stream, said) if said else None
        stream.shutdown()
        world.net.run(SECOND)
        assert server.received == b""
        assert server.error


# ---------------------------------------------------------------------------------------------- QUIC


def heard(server: SimUdpServer) -> list[bytes]:
    """The payloads that a server has received."""
    return [each.payload for each in server.received]


def test_quic_is_read_where_a_rule_allows_it() -> None:
    world = World()
    server = world.net.host.serve_udp(PLACE, 443)
    socket = world.net.guest.udp()
    whole = client_hello(server_name(b"a.example"), extension(51, bytes(1500)))
    first, second = initial(crypto(0, whole[:1000])), initial(crypto(1000, whole[1000:]), 1)
    socket.send(first, PLACE, 443)
    world.net.run(SECOND)
    assert heard(server) == []
    socket.send(second, PLACE, 443)
    world.net.run(SECOND)
    assert heard(server) == [first, second]
    evil = initial(crypto(0, client_hello(server_name(b"evil.example"))), destination=b"new")
    for said in (evil, b"\x40 of the connection", evil):
        socket.send(said, PLACE, 443)
        world.net.run(SECOND)
    assert heard(server) == [first, second, b"\x40 of the connection"]
    assert world.net.stack.stats.udp_flows_misnamed == 2


@pytest.mark.parametrize("said", [b"garbage", initial(crypto(0, client_hello())), b"\x40 short"])
def test_other_datagrams_are_not_sent(said: bytes) -> None:
    world = World()
    server = world.net.host.serve_udp(PLACE, 443)
    world.net.guest.udp().send(said, PLACE, 443)
    world.net.run(40 * SECOND)
    assert heard(server) == []


def test_without_a_rule_quic_is_refused_audibly() -> None:
    world = World(rules=["allow a.example"])
    socket = world.net.guest.udp()
    socket.send(initial(crypto(0, client_hello(server_name(b"a.example")))), PLACE, 443)
    world.net.run(SECOND)
    assert list(socket.errors) == [errno.EHOSTUNREACH]
