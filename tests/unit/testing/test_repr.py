"""Output of pytest for the objects of a test: one line with addresses, state and counts."""

from __future__ import annotations

import inspect
from random import Random
from typing import Any

import pytest

import slirpy.testing
from slirpy.reprs import never_raises
from slirpy.testing import (
    Echo,
    Guest,
    GuestStream,
    Pair,
    Remote,
    Script,
    Sent,
    SimHost,
    SimServer,
    SimUdpServer,
    UdpSocket,
    UnmetError,
    VirtualNetwork,
)
from slirpy.testing.world.stream import SimListener, SimStream
from slirpy.testing.world.udp import SimDatagram
from slirpy.units import SECOND


@pytest.fixture
def net() -> VirtualNetwork:
    net = VirtualNetwork(seed=1)
    net.host.serve_tcp("192.0.2.7", 7, Echo)
    net.host.serve_udp("192.0.2.7", 7, lambda payload, address, port: payload)
    net.boot()
    return net


def test_the_network_and_its_parts(net: VirtualNetwork) -> None:
    assert repr(VirtualNetwork()) == (
        "<VirtualNetwork at 0.000000 s: 1 guest, 0 frames (0 lost, 0 in transit)>"
    )
    net.fault = lambda direction, frame: None
    net.guest.ping("10.0.2.2")
    net.link_latency_ns, net.fault = 1, None
    other = net.add_guest()
    other.dhcp()
    assert repr(net) == "<VirtualNetwork at 0.000000 s: 2 guests, 6 frames (1 lost, 1 in transit)>"
    net.run(500_000_000)
    assert repr(net).startswith("<VirtualNetwork at 0.500000 s: 2 guests, ")
    assert repr(net.host) == (
        "<SimHost 192.0.2.1, 2001:db8::1 at 0.500000 s: 2 servers, 0 sockets of the stack, 0 calls>"
    )
    counters = net.guest.counters
    counters.malformed, counters.unreachable, counters.unhandled = 2, 1, 1
    shown = f"{counters.frames_in} frames in, {counters.frames_out} out, 4 dropped, 0 streams"
    assert repr(net.guest) == f"<Guest 52:54:00:12:34:56 10.0.2.15: {shown}>"
    assert repr(net.add_guest()) == (
        "<Guest 52:54:00:12:34:58 without address: 0 frames in, 0 out, 0 dropped, 0 streams>"
    )


def test_streams_and_programs(net: VirtualNetwork) -> None:
    stream = net.guest.connect("192.0.2.7", 7)
    near = f"10.0.2.15:{stream.local_port} - 192.0.2.7:7"
    assert repr(stream) == f"<GuestStream {near} SYN-SENT: 0 bytes in, 0 out, 0 unacknowledged>"
    stream.write(b"hello")
    net.run_until(lambda: stream.received)
    stream.paused = True
    assert repr(stream) == f"<GuestStream {near} ESTABLISHED: 5 bytes in, 5 out, 0 unacknowledged, paused>"
    listener = net.stack.flows()  # listing flows changes nothing
    assert listener
    call = next(call for call in net.host.calls if call.name == "connect_tcp")
    assert call.port == 7
    stream.abort()
    assert repr(stream).endswith(" CLOSED: 5 bytes in, 5 out, 0 unacknowledged, paused, ECONNABORTED>")


def test_a_program_in_each_state() -> None:
    host = SimHost(Random(1))
    server = host.serve_tcp("2001:db8::7", 7, Echo)
    host.listen_tcp(bytes(16), 80, server.accept)
    remote = host.connect("::1", 80, source=("2001:db8::99", 5))
    ends = "[2001:db8::99]:5 - [::1]:80"
    assert repr(Remote()) == "<Remote not connected: 0 bytes in, 0 out>"
    assert repr(remote) == f"<Remote {ends} connecting: 0 bytes in, 0 out>"
    host.advance(SECOND)
    assert repr(remote) == f"<Remote {ends} established: 0 bytes in, 0 out>"
    remote.write(b"x" * 5)
    remote.paused = True
    host.advance(2 * SECOND)
    assert repr(remote) == f"<Remote {ends} paused: 0 bytes in, 5 out>"
    remote.paused = False
    remote.write(b"x" * 300_000)
    assert repr(remote) == f"<Remote {ends} established: 5 bytes in, 262149 out, 37856 unsent>"
    host.advance(3 * SECOND)
    remote.finish()
    assert " end sent: 300005 bytes in" in repr(remote)
    (echo,) = server.connections
    assert repr(echo).startswith("<Echo [::1]:80 - [2001:db8::99]:5 established: 300005 bytes in, 300005 out")
    host.advance(4 * SECOND)
    assert " closed: " in repr(remote)
    refused = host.connect("::1", 81)
    host.advance(5 * SECOND)
    assert " failed with ECONNREFUSED: 0 bytes in" in repr(refused)
    over_unix = host.connect_unix("/run/x.sock")
    assert repr(over_unix).startswith("<Remote unix - unix:/run/x.sock connecting: ")
    ending = host.connect("2001:db8::7", 7)
    assert ending.stream is not None
    ending.established = ending.ended = True
    assert " end received: " in repr(ending)


def test_servers_and_sockets_of_the_world() -> None:
    host = SimHost(Random(1))
    anywhere, server = host.serve_tcp(None, None), host.serve_tcp("192.0.2.7", 7)
    assert repr(anywhere) == "<SimServer any address, any port: 0 connections>"
    assert repr(SimServer(Remote)) == "<SimServer not listening: 0 connections>"
    assert repr(server.listener) == "<SimListener 192.0.2.7:7, of the outside world>"
    assert repr(host.serve_udp("2001:db8::7", 53)) == "<SimUdpServer [2001:db8::7]:53: 0 datagrams received>"
    listener = host.listen_tcp(bytes(4), 80, server.accept)
    assert repr(listener) == "<SimListener 0.0.0.0:80, of the stack>"
    assert repr(host.listen_unix("/run/x", server.accept)) == "<SimListener unix:/run/x, of the stack>"
    datagram = host.bind_udp(bytes(4), 53, None)  # type: ignore[arg-type] # it receives nothing
    datagram.close()
    assert repr(datagram) == "<SimDatagram 0.0.0.0:53 closed>"
    client = host.connect("127.0.0.1", 80)
    counts = "0 bytes to read, 0 not yet read by the other end"
    assert repr(client.stream).endswith(f" - 127.0.0.1:80 connecting: {counts}>")


def test_sockets_and_streams_of_a_guest(net: VirtualNetwork) -> None:
    socket = net.guest.udp(5000)
    socket.send(b"hello", "192.0.2.7", 7)
    net.run_until(lambda: socket.received)
    assert repr(socket) == "<UdpSocket :5000: 1 datagram in (5 bytes), 1 out (5 bytes)>"
    socket.errors.append(111)
    socket.close()
    assert repr(socket) == "<UdpSocket :5000 closed: 1 datagram in (5 bytes), 1 out (5 bytes), 1 error>"
    listener = net.guest.listen(80)
    assert repr(listener) == "<StreamListener :80: 0 streams accepted>"
    listener.close()
    assert repr(listener) == "<StreamListener :80 closed: 0 streams accepted>"
    lookup = net.guest.resolve("a.test")
    assert repr(lookup) == "<Lookup a.test A: waiting>"
    net.run(20 * SECOND)
    assert repr(lookup) == "<Lookup a.test A: SERVFAIL>"
    assert repr(net.guest.autoconfigure()) == "<Autoconfiguration not ready: no address, 0 routers>"
    client = net.guest.dhcp()
    assert repr(client) == "<DhcpClient BOUND: 10.0.2.15>"
    client.release()
    assert repr(client) == "<DhcpClient INIT: no lease>"


def test_the_tcp_engine_alone() -> None:
    pair = Pair(wire=lambda sender, segment: None, read=False)
    pair.b.listen(0)
    pair.a.connect(0)
    pair.run(0)
    ends = "a SYN-SENT (0 bytes in, 0 unacknowledged), b LISTEN (0 bytes in, 0 unacknowledged)"
    assert repr(pair) == f"<Pair at 0.000000 s: {ends}, 1 segment (1 lost)>"
    pair.wire = None
    pair.run_until(lambda: pair.b.state.value == "ESTABLISHED")
    pair.a.write(b"hello")
    pair.run(SECOND)
    assert "b ESTABLISHED (5 bytes in, 0 unacknowledged), " in repr(pair)
    script = Script()
    script.conn.connect(script.now)
    script.flush()
    connection = "<Connection SYN-SENT: 0 bytes to read, 0 unacknowledged>"
    assert repr(script) == f"<Script at 10.000000 s: {connection}, 1 segment not expected yet>"


def test_a_segment_of_a_script() -> None:
    script = Script()
    script.conn.listen(script.now)
    script.inject("S", 0, mss=1460, wscale=7)
    assert repr(script.expect("SA", 0, 1)) == "<Sent SA seq=0 ack=1 win=65535 mss=1460 wscale=5>"
    script.inject("A", 1, 1)
    script.write(b"x" * 1000)
    (sent,) = script.out
    assert repr(sent) == f"<Sent PA seq=1 ack=1 len=1000 {b'x' * 32!r}... win=2047>"
    with pytest.raises(UnmetError, match=r"^expected F, but this was sent: <Sent PA seq=1 ack=1 len=1000 "):
        script.expect("F")
    script.write(b"y")
    with pytest.raises(
        UnmetError, match=r"^expected data=b'z', but this was sent: <Sent PA seq=1001 .* b'y' win"
    ):
        script.expect("PA", data=b"z")
    script.conn.abort(0)
    script.flush()
    assert repr(script.out) == "[<Sent RA seq=1002 ack=1 win=0>]"


DESCRIBED = (
    VirtualNetwork, SimHost, Guest, GuestStream, UdpSocket, Remote, Echo, Pair, Script, Sent, SimServer, SimUdpServer,
    SimStream, SimListener, SimDatagram,
)  # fmt: skip


@pytest.mark.parametrize("kind", DESCRIBED, ids=lambda kind: kind.__name__)
def test_an_object_that_was_never_made_is_described(kind: type[Any]) -> None:
    text = repr(object.__new__(kind))
    assert text.startswith(f"<{kind.__name__}, incomplete: ")
    assert "\n" not in text


def test_every_class_of_the_face_has_a_line_of_its_own() -> None:
    """Objects of classes without one show an address in memory, which says nothing and differs in every run."""
    kinds = [
        value for name in slirpy.testing.__all__ if inspect.isclass(value := getattr(slirpy.testing, name))
    ]
    plain = [kind.__name__ for kind in kinds if kind.__repr__ is object.__repr__]
    assert not [name for name in plain if name != "LinkPeer"], plain  # a Protocol


def test_a_description_has_one_line_even_if_the_error_has_more() -> None:
    class Broken:
        @never_raises
        def __repr__(self) -> str:
            raise ValueError("one\ntwo")

    assert repr(Broken()) == "<Broken, incomplete: one two>"
