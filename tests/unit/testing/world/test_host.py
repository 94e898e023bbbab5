"""The simulated host: time, faults and records. Its streams and sockets as such are in the conformance suite."""

from __future__ import annotations

import errno
import gc
import random
import weakref
from ipaddress import IPv4Address, IPv6Address

import pytest

from slirpy.errors import StateError
from slirpy.interfaces import AcceptedStream, HostNetwork, IcmpReport
from slirpy.testing import Echo, Remote, Resetter, SimHost, SimServer, Sink, Source
from slirpy.testing.world.stream import SimStream

FAR = bytes([192, 0, 2, 7])
OTHER = bytes([192, 0, 2, 8])
LOOPBACK = bytes([127, 0, 0, 1])
MS = 1_000_000


class Owner:
    def __init__(self, sim: SimHost) -> None:
        self.sim = sim
        self.calls: list[tuple[int, str]] = []
        self.errors: list[int] = []
        self.datagrams: list[tuple[bytes, bytes, int]] = []

    def _note(self, what: str) -> None:
        self.calls.append((self.sim.now // MS, what))

    def connected(self) -> None:
        self._note("connected")

    def readable(self) -> None:
        self._note("readable")

    def writable(self) -> None:
        self._note("writable")

    def failed(self, error: int) -> None:
        self._note("failed")
        self.errors.append(error)

    def datagram(self, payload: bytes, address: bytes, port: int) -> None:
        self._note("datagram")
        self.datagrams.append((payload, address, port))

    def datagram_error(self, error: int, report: IcmpReport | None = None) -> None:
        self._note("error")
        self.errors.append(error)


@pytest.fixture
def sim() -> SimHost:
    return SimHost(random.Random(1), latency_ns=10 * MS, buffer_bytes=1000)


def run(sim: SimHost) -> None:
    """Let everything happen that is going to."""
    while (deadline := sim.deadline()) is not None:
        sim.advance(max(deadline, sim.now))


def connect(sim: SimHost, server: SimServer | None = None) -> tuple[SimStream, Owner, Remote]:
    server = server or sim.serve_tcp(FAR, 80)
    owner = Owner(sim)
    stream = sim.connect_tcp(FAR, 80, owner)
    run(sim)
    return stream, owner, server.connections[-1]


def test_is_a_host_network(sim: SimHost) -> None:
    host: HostNetwork = sim
    assert host is sim


# --------------------------------------------------------------------------------------------------- time


def test_nothing_happens_before_its_time(sim: SimHost) -> None:
    server = sim.serve_tcp(FAR, 80)
    owner = Owner(sim)
    sim.advance(5 * MS)
    assert sim.deadline() is None
    sim.connect_tcp(FAR, 80, owner)
    assert sim.deadline() == 15 * MS
    sim.advance(15 * MS - 1)
    assert not server.connections
    sim.advance(15 * MS)
    assert server.connections
    assert sim.deadline() == 25 * MS
    sim.advance(1000 * MS)
    assert owner.calls == [(25, "connected")]
    assert sim.now == 1000 * MS
    assert sim.deadline() is None


def test_one_large_step_is_as_many_small_ones(sim: SimHost) -> None:
    calls = []
    for step in (1, 1000):
        sim = SimHost(random.Random(1), latency_ns=10 * MS)
        sim.serve_tcp(FAR, 80, Echo)
        owner = Owner(sim)
        stream = sim.connect_tcp(FAR, 80, owner)
        stream.send([b"x"])
        for now in range(0, 1001, step):
            sim.advance(now * MS)
        calls.append(owner.calls)
    assert calls[0] == calls[1] != []


def test_time_does_not_go_back(sim: SimHost) -> None:
    sim.advance(5)
    with pytest.raises(StateError, match="does not go back"):
        sim.advance(4)


def test_order_is_kept_when_the_latency_falls(sim: SimHost) -> None:
    stream, _, far = connect(sim)
    stream.send([b"slow "])
    sim.latency_ns = 1 * MS
    stream.send([b"fast"])
    stream.shutdown()
    run(sim)
    assert far.received == b"slow fast"
    assert far.ended


def test_scheduled_calls_come_in_order_of_time_then_of_making(sim: SimHost) -> None:
    order: list[str] = []
    sim.schedule(20, order.append, "third")
    sim.schedule(10, order.append, "first")
    sim.schedule(10, order.append, "second")
    sim.advance(30)
    assert order == ["first", "second", "third"]


def test_same_seed_same_run() -> None:
    def trace(seed: int) -> list[object]:
        sim = SimHost(random.Random(seed), buffer_bytes=500)
        sim.short_sends = sim.short_recvs = 0.5
        sim.serve_tcp(FAR, 80, Echo)
        owner = Owner(sim)
        stream = sim.connect_tcp(FAR, 80, owner)
        got: list[object] = []
        for _ in range(200):
            sim.advance(sim.now + MS)
            stream.send([bytes(300)])
            got.append(stream.recv(400))
        return [*got, *owner.calls, *sim.calls]

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


# ----------------------------------------------------------------------------------------------- outcomes


def test_a_connection_without_a_listener_is_refused(sim: SimHost) -> None:
    owner = Owner(sim)
    sim.connect_tcp(FAR, 80, owner)
    run(sim)
    assert owner.calls == [(20, "failed")]
    assert owner.errors == [errno.ECONNREFUSED]


def test_black_hole(sim: SimHost) -> None:
    sim.serve_tcp(FAR, 80)
    sim.black_hole(FAR)
    owner = Owner(sim)
    stream = sim.connect_tcp(FAR, 80, owner)
    sim.advance(10**15)
    assert owner.calls == []
    stream.abort()
    sim.reachable(FAR)
    sim.connect_tcp(FAR, 80, owner)
    run(sim)
    assert [what for _, what in owner.calls] == ["connected"]


def test_unreachable(sim: SimHost) -> None:
    sim.unreachable(FAR)
    sim.unreachable(OTHER, 80, errno.ENETUNREACH, at_once=True)
    late, prompt = Owner(sim), Owner(sim)
    sim.connect_tcp(FAR, 80, late)
    sim.connect_tcp(OTHER, 80, prompt)
    assert prompt.errors == [errno.ENETUNREACH]
    run(sim)
    assert late.calls == [(20, "failed")]
    assert late.errors == [errno.EHOSTUNREACH]


def test_bound_on_sockets(sim: SimHost) -> None:
    sim.max_sockets = 1
    sim.serve_tcp(FAR, 80)
    stream = sim.connect_tcp(FAR, 80, Owner(sim))
    owner = Owner(sim)
    sim.connect_tcp(FAR, 80, owner)
    assert owner.errors == [errno.EMFILE]
    assert sim.open_udp(owner) == errno.EMFILE
    stream.close()
    assert not isinstance(sim.open_udp(owner), int)


def test_servers_for_any_address_and_port(sim: SimHost) -> None:
    exact = sim.serve_tcp(FAR, 80)
    any_port = sim.serve_tcp(OTHER, None)
    any_address = sim.serve_tcp(None, 80)
    everything = sim.serve_tcp(None, None)
    for address, port in ((FAR, 80), (OTHER, 5), (bytes([1, 2, 3, 4]), 80), (FAR, 81), (bytes(15) + b"\2", 9)):
        sim.connect_tcp(address, port, Owner(sim))
    run(sim)
    counts = [len(server.connections) for server in (exact, any_port, any_address, everything)]
    assert counts == [1, 1, 1, 2]
    with pytest.raises(StateError, match=r"^TCP port 80 of any address is served already"):
        sim.serve_tcp(None, 80)
    everything.close()
    owner = Owner(sim)
    sim.connect_tcp(FAR, 81, owner)
    run(sim)
    assert owner.errors == [errno.ECONNREFUSED]


# ------------------------------------------------------------------------------------------------- faults


def test_buffer_is_bounded_until_the_far_program_receives(sim: SimHost) -> None:
    stream, owner, far = connect(sim)
    far.paused = True
    assert stream.send([bytes(600), bytes(600)]) == 1000
    assert stream.send([b"x"]) == 0
    run(sim)
    assert "writable" not in [what for _, what in owner.calls]
    start = sim.now // MS
    far.paused = False
    run(sim)
    assert owner.calls[-1] == (start + 10, "writable")
    assert stream.send([bytes(2000)]) == 1000


def test_scripted_sends(sim: SimHost) -> None:
    stream, owner, far = connect(sim)
    sim.send_limits.extend([3, 0, 100])
    assert [stream.send([b"abcdef"]) for _ in range(4)] == [3, 0, 6, 6]
    run(sim)
    assert far.received == b"abcabcdefabcdef"
    assert [what for _, what in owner.calls].count("writable") == 1


def test_random_short_sends_and_receives(sim: SimHost) -> None:
    sim.short_sends = sim.short_recvs = 1.0
    stream, _, far = connect(sim)
    assert 0 <= stream.send([bytes(500)]) < 500
    far.write(bytes(500))
    run(sim)
    sizes = []
    while data := stream.recv(500):
        sizes.append(len(data))
    assert sum(sizes) == 500
    assert len(sizes) > 1


def test_owner_keeps_quiet_after_its_reset_in_flight(sim: SimHost) -> None:
    stream, owner, far = connect(sim)
    far.write(b"data")
    far.reset()
    stream.abort()
    run(sim)
    assert [what for _, what in owner.calls] == ["connected"]


# ----------------------------------------------------------------------------------------------- programs


def receive_all(sim: SimHost, stream: SimStream) -> bytes:
    data = bytearray()
    while (piece := stream.recv(300)) != b"":
        data += piece or b""
        if piece is None:
            assert sim.deadline() is not None, "no end came"
            sim.advance(sim.deadline() or 0)
    return bytes(data)


def test_echo(sim: SimHost) -> None:
    stream, _, _ = connect(sim, sim.serve_tcp(FAR, 80, Echo))
    stream.send([b"there and back"])
    stream.shutdown()
    assert receive_all(sim, stream) == b"there and back"


def test_source_larger_than_the_buffer(sim: SimHost) -> None:
    data = random.Random(5).randbytes(10_000)
    stream, _, far = connect(sim, sim.serve_tcp(FAR, 80, lambda: Source(data)))
    assert far.unsent == 9000
    assert receive_all(sim, stream) == data


def test_sink(sim: SimHost) -> None:
    stream, _, far = connect(sim, sim.serve_tcp(FAR, 80, Sink))
    for _ in range(5):
        assert stream.send([bytes(1000)]) == 1000
        run(sim)
    stream.shutdown()
    assert receive_all(sim, stream) == b""
    assert isinstance(far, Sink)
    assert far.count == 5000
    assert not far.received


@pytest.mark.parametrize("after", [0, 5])
def test_resetter(sim: SimHost, after: int) -> None:
    stream, owner, _ = connect(sim, sim.serve_tcp(FAR, 80, lambda: Resetter(after)))
    assert bool(owner.errors) == (after == 0)
    stream.send([b"12345"])
    run(sim)
    assert owner.errors == [errno.ECONNRESET]


# ------------------------------------------------------------------------------------------------ inbound


def test_connect_from_outside(sim: SimHost) -> None:
    accepted: list[AcceptedStream] = []
    owner = Owner(sim)

    def accept(stream: AcceptedStream) -> Owner:
        accepted.append(stream)
        return owner

    listener = sim.listen_tcp(bytes(4), 8080, accept)
    remote = sim.connect(LOOPBACK, 8080, Source(b"hi"), source=(OTHER, 1234))
    run(sim)
    assert remote.established
    assert (accepted[0].address, accepted[0].port) == (OTHER, 1234)
    assert accepted[0].peer.recv(10) == b"hi"
    assert accepted[0].peer.recv(10) == b""
    listener.close()
    refused = sim.connect(LOOPBACK, 8080)
    run(sim)
    assert refused.error == errno.ECONNREFUSED


def test_addresses_of_either_family_are_written_as_text_and_read_as_objects(sim: SimHost) -> None:
    server = sim.serve_tcp("2001:db8::7", 80, Echo)
    asked: list[tuple[object, int]] = []

    def answer(payload: bytes, address: object, port: int) -> bytes:
        asked.append((address, port))
        return payload

    questions = sim.serve_udp("2001:db8::7", 53, answer)
    sim.listen_tcp(bytes(16), 8080, lambda _: Owner(sim))
    client = sim.connect("::1", 8080, source=("2001:db8::99", 1234))
    far = IPv6Address("2001:db8::7").packed
    sim.connect_tcp(far, 80, Owner(sim))
    bound = sim.bind_udp(bytes(16), 5000, Owner(sim))
    bound.send(b"what", far, 53)
    run(sim)
    assert (client.established, client.peer) == (True, (IPv6Address("::1"), 8080))
    assert server.connections[0].peer is not None
    assert server.connections[0].peer[0] == IPv6Address("2001:db8::1")
    assert asked == [(IPv6Address("2001:db8::1"), 5000)] == [each.source for each in questions.received]
    assert questions.received[0].destination == (IPv6Address("2001:db8::7"), 53)


def test_a_connection_to_a_unix_socket_has_no_peer_address(sim: SimHost) -> None:
    listener = sim.listen_unix("/run/x.sock", lambda _: Owner(sim))
    client, other = sim.connect_unix("/run/x.sock"), sim.connect_unix("/run/y.sock")
    run(sim)
    assert (client.established, client.peer) == (True, None)
    assert other.error == errno.ECONNREFUSED
    listener.close()


def test_datagrams_from_outside_and_answers(sim: SimHost) -> None:
    owner = Owner(sim)
    bound = sim.bind_udp(bytes(4), 5000, owner)
    sim.send_udp(b"in", LOOPBACK, 5000, source=(OTHER, 99))
    run(sim)
    assert owner.datagrams == [(b"in", OTHER, 99)]
    server = sim.serve_udp(None, 53, lambda payload, address, port: payload.upper() or None)
    assert bound.send(b"query", FAR, 53) == 0
    bound.send(b"", LOOPBACK, 53)
    run(sim)
    assert owner.datagrams[1:] == [(b"QUERY", FAR, 53)]
    assert server.received[0].payload == b"query"
    assert server.received[0].source == (IPv4Address("192.0.2.1"), 5000)
    assert server.received[0].destination == (IPv4Address(FAR), 53)
    assert server.received[1].source == (IPv4Address("127.0.0.1"), 5000)
    server.close()
    bound.send(b"query", FAR, 53)
    run(sim)
    assert owner.errors == [errno.ECONNREFUSED]


def test_datagram_outcomes(sim: SimHost) -> None:
    owner = Owner(sim)
    sim.serve_udp(None, None, lambda payload, address, port: payload)
    sim.black_hole(OTHER, 1)
    sim.unreachable(OTHER, 2)
    sim.unreachable(OTHER, 3, errno.ENETUNREACH, at_once=True)
    sim.udp_errors.extend([errno.EAGAIN, 0])
    peer = sim.open_udp(owner)
    assert not isinstance(peer, int)
    results = [peer.send(b"x", OTHER, port) for port in (0, 0, 1, 2, 3)]
    assert results == [errno.EAGAIN, 0, 0, 0, errno.ENETUNREACH]
    run(sim)
    assert owner.datagrams == [(b"x", OTHER, 0)]
    assert owner.errors == [errno.EHOSTUNREACH]


# ------------------------------------------------------------------------------------- records and memory


def test_calls_are_recorded(sim: SimHost) -> None:
    stream, _, _ = connect(sim)
    stream.send([b"abc"])
    stream.shutdown()
    stream.close()
    peer = sim.bind_udp(LOOPBACK, 5000, Owner(sim))
    peer.send(b"x", FAR, 53)
    assert [call[1:] for call in sim.calls] == [
        ("connect_tcp", FAR, 80, None),
        ("send", FAR, 80, 3),
        ("shutdown", FAR, 80, None),
        ("close", FAR, 80, None),
        ("bind_udp", LOOPBACK, 5000, None),
        ("send_udp", FAR, 53, b"x"),
    ]
    assert [call.time for call in sim.calls] == [0, *[20 * MS] * 5]


def test_both_ends_go_at_once_when_both_are_closed(sim: SimHost) -> None:
    gc.collect()
    gc.disable()
    others = [item for item in gc.get_objects() if isinstance(item, SimStream)]  # which other tests have kept
    try:
        server = sim.serve_tcp(FAR, 80, Echo)
        stream, owner, far = connect(sim, server)
        far_freed = weakref.ref(far)
        stream.shutdown()
        run(sim)
        assert stream.recv(1) == b""
        stream.close()
        server.connections.clear()
        del stream, owner, far
        run(sim)
        left = [item for item in gc.get_objects() if isinstance(item, SimStream)]
        assert len(left) == len(others)
        assert far_freed() is None
    finally:
        gc.enable()
