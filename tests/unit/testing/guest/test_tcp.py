"""TCP of the guest: against the stack and the simulated host, and guest against guest over a bare cable."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random

import pytest

from slirpy import Config, StateError
from slirpy.config.hostfwd import parse_hostfwd
from slirpy.interfaces import Action, FlowRequest, Verdict
from slirpy.tcp import Connection, Segment, Settings, State, TcpOptions
from slirpy.testing import Echo, Guest, GuestStream, Remote, Resetter, Sink, Source, VirtualNetwork
from slirpy.wire.tcp import ACK, SYN

SECOND = 1_000_000_000
MS = 1_000_000
SERVER = bytes((192, 0, 2, 7))
NAME = "192.0.2.7"
MIB = 1 << 20


def ready(config: Config | None = None, *, seed: int = 0, latency_ns: int = MS, fastpath: bool = True,
          link_latency_ns: int = 0) -> VirtualNetwork:  # fmt: skip
    net = VirtualNetwork(
        config, seed=seed, latency_ns=latency_ns, fastpath=fastpath, link_latency_ns=link_latency_ns
    )
    net.boot()
    return net


def connected(net: VirtualNetwork, program: Callable[[], Remote] = Remote) -> tuple[GuestStream, Remote]:
    """A connection from the guest to ``program``, and the program."""
    server = net.host.serve_tcp(SERVER, 80, program)
    stream = net.guest.connect(NAME, 80)
    net.run_until(lambda: stream.established)
    return stream, server.connections[0]


def clean(net: VirtualNetwork) -> None:
    """Assert that nothing was lost, retransmitted or invalid."""
    counters, stats = net.guest.counters, net.stack.stats
    assert (counters.bad_checksum, counters.malformed, counters.unhandled) == (0, 0, 0)
    assert (stats.dropped(), stats.tcp_retransmits, stats.tcp_fast_retransmits) == (0, 0, 0)


# ------------------------------------------------------------------------------------------ data


@pytest.mark.parametrize("fastpath", [True, False])
@pytest.mark.parametrize("link_latency_ns", [0, 3 * MS])
def test_a_mebibyte_there_and_back(fastpath: bool, link_latency_ns: int) -> None:
    net = ready(latency_ns=20 * MS, fastpath=fastpath, link_latency_ns=link_latency_ns)
    stream, _ = connected(net, Echo)
    data = Random(1).randbytes(MIB)
    stream.write(data)
    stream.shutdown()
    net.run_until(lambda: stream.eof)
    assert stream.read() == data
    assert stream.count == MIB
    assert (net.stack.stats.tcp_fastpath > 0) == fastpath
    clean(net)
    net.run(61 * SECOND)
    assert stream.state is State.CLOSED
    assert not net.guest.tcp.streams
    assert not net.stack.tcp_flows
    assert stream.error == 0


@pytest.mark.parametrize("rate", [0.01, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_a_mebibyte_there_and_back_through_loss_and_disorder(rate: float, seed: int) -> None:
    net = ready(seed=seed, link_latency_ns=MS)
    stream, _ = connected(net, Echo)
    random = Random(seed)

    def fault(direction: str, frame: bytes) -> int | None:
        if random.random() < rate:
            return None
        return 5 * MS if random.random() < rate else 0

    net.fault = fault
    data = Random(1).randbytes(MIB)
    stream.write(data)
    stream.shutdown()
    net.run_until(lambda: stream.eof, limit=600 * SECOND)
    assert stream.read() == data
    assert net.stack.stats.tcp_fast_retransmits + net.stack.stats.tcp_retransmits > 0


def test_reading_late_closes_the_window_and_opens_it_again() -> None:
    net = ready()
    data = Random(1).randbytes(3 * MIB)
    net.host.serve_tcp(SERVER, 80, lambda: Source(data))
    stream = net.guest.connect(NAME, 80, rcv_buffer=100_000)
    stream.paused = True
    net.run(10 * SECOND)
    assert (stream.count, stream.conn.rcv_pending) == (0, 100_000)
    stream.resume()
    net.run_until(lambda: stream.eof)
    assert stream.read() == data


def test_a_lost_window_update_is_made_good_by_probes() -> None:
    net = ready()
    data = Random(1).randbytes(MIB)
    net.host.serve_tcp(SERVER, 80, lambda: Source(data))
    stream = net.guest.connect(NAME, 80, rcv_buffer=100_000)
    stream.paused = True
    net.run(SECOND)
    assert stream.conn.rcv_pending == 100_000
    net.fault = lambda direction, frame: None
    stream.resume()
    net.run(SECOND)
    net.fault = None
    net.run_until(lambda: stream.eof)
    assert stream.read() == data
    assert net.stack.stats.tcp_zero_window_probes > 0


def test_a_slow_server_holds_the_guest_back() -> None:
    net = ready()
    stream, server = connected(net)
    server.paused = True
    stream.write(bytes(4 * MIB))
    net.run(10 * SECOND)
    assert 1 * MIB < stream.unsent < 4 * MIB
    assert net.stack.flows()[0].queued_in <= MIB
    server.paused = False
    net.run_until(lambda: len(server.received) == 4 * MIB)
    assert stream.unsent == 0


def test_on_data_is_called_for_data_and_for_the_end() -> None:
    net = ready()
    seen: list[tuple[bytes, bool]] = []
    stream, server = connected(net)
    stream.on_data = lambda stream: seen.append((stream.read(), stream.eof))
    server.write(b"one")
    net.run(SECOND)
    server.write(b"two")
    server.finish()
    net.run(SECOND)
    assert seen[0] == (b"one", False)
    assert b"".join(data for data, _ in seen) == b"onetwo"
    assert seen[-1][1]


# ------------------------------------------------------------------------------------ half-close


def test_the_guest_ends_first_and_still_receives() -> None:
    net = ready()
    stream, server = connected(net)
    stream.write(b"request")
    stream.shutdown()
    net.run_until(lambda: server.ended)
    assert server.received == b"request"
    assert stream.state is State.FIN_WAIT_2
    for number in range(10):
        server.write(b"%d" % number * 10_000)
        net.run(SECOND)
    assert not stream.eof
    server.finish()
    net.run_until(lambda: stream.eof)
    assert len(stream.received) == 100_000
    assert (stream.state, stream.error) == (State.TIME_WAIT, 0)
    clean(net)


def test_the_server_ends_first_and_still_receives() -> None:
    net = ready()
    stream, server = connected(net)
    server.write(b"hello")
    server.finish()
    net.run_until(lambda: stream.eof)
    assert (stream.read(), stream.state) == (b"hello", State.CLOSE_WAIT)
    for _ in range(10):
        stream.write(bytes(10_000))
        net.run(SECOND)
    assert (len(server.received), server.ended) == (100_000, False)
    stream.shutdown()
    net.run_until(lambda: server.ended and stream.closed)
    assert (stream.state, stream.error, server.error) == (State.CLOSED, 0, None)
    clean(net)


# --------------------------------------------------------------------------- refused, reset, unreachable


def test_refused() -> None:
    net = ready()
    stream = net.guest.connect(NAME, 81)
    net.run_until(lambda: stream.closed)
    assert (stream.error, stream.established, stream.state) == (errno.ECONNREFUSED, False, State.CLOSED)
    assert net.now == 2 * MS  # not before the host knew


def test_refused_by_policy() -> None:
    def policy(request: FlowRequest) -> Verdict:
        return Verdict(Action.REJECT if request.destination_port == 81 else Action.DROP)

    net = ready(Config(policy=policy, resolvers=()))
    rejected, dropped = net.guest.connect(NAME, 81), net.guest.connect(NAME, 82)
    net.run(SECOND)
    assert (rejected.error, dropped.state) == (errno.ECONNREFUSED, State.SYN_SENT)
    net.run(180 * SECOND)
    assert dropped.error == errno.ETIMEDOUT


def test_reset_by_the_guest_reaches_the_server_as_a_reset() -> None:
    net = ready()
    stream, server = connected(net)
    stream.abort()
    net.run_until(lambda: server.error)
    assert (server.error, server.ended) == (errno.ECONNRESET, False)
    assert stream.error == errno.ECONNABORTED
    assert not net.guest.tcp.streams
    assert not net.stack.tcp_flows


def test_reset_by_the_server_reaches_the_guest_as_a_reset() -> None:
    net = ready()
    stream, _ = connected(net, lambda: Resetter(after=5))
    stream.write(b"hello")
    net.run_until(lambda: stream.closed)
    assert (stream.error, stream.eof) == (errno.ECONNRESET, False)
    assert net.stack.tcp_flows == {}


def test_closing_the_stack_resets_the_guest() -> None:
    net = ready()
    stream, server = connected(net)
    net.stack.close()
    net.run_until(lambda: stream.closed and server.error)
    assert (stream.error, server.error) == (errno.ECONNRESET, errno.ECONNRESET)


def test_a_segment_for_no_connection_is_answered_by_a_reset() -> None:
    net = ready()
    stream, server = connected(net)
    net.guest.tcp.forget(stream._key, stream)  # as after a restart of the guest
    server.write(b"hello")
    net.run_until(lambda: server.error)
    assert server.error == errno.ECONNRESET
    assert net.guest.counters.unhandled == 1


def test_writing_to_a_stream_that_takes_no_more_is_the_callers_mistake() -> None:
    net = ready()
    stream, _ = connected(net)
    stream.shutdown()
    with pytest.raises(StateError, match="FIN-WAIT-1"):
        stream.write(b"x")
    stream.abort()
    with pytest.raises(StateError, match="CLOSED"):
        stream.write(b"x")


# --------------------------------------------------------------------------------------- hostfwd


def forwarded() -> VirtualNetwork:
    return ready(Config(hostfwd=[parse_hostfwd("tcp:127.0.0.1:8080-:80")], resolvers=()))


LOOPBACK = bytes((127, 0, 0, 1))


def test_inbound_connection() -> None:
    net = forwarded()
    listener = net.guest.listen(80)
    client = net.host.connect(LOOPBACK, 8080, source=(bytes((198, 51, 100, 9)), 5555))
    client.write(b"GET")
    net.run_until(lambda: listener.accepted and listener.accepted[0].received)
    [stream] = listener.accepted
    assert (str(stream.address), stream.port, stream.local_port) == ("198.51.100.9", 5555, 80)
    data = Random(1).randbytes(MIB)
    stream.write(data)
    stream.shutdown()
    net.run_until(lambda: client.ended)
    assert client.received == data
    client.finish()
    net.run_until(lambda: stream.eof)
    assert stream.read() == b"GET"
    clean(net)


def test_inbound_connection_to_a_closed_port_is_reset() -> None:
    net = forwarded()
    client = net.host.connect(LOOPBACK, 8080)
    net.run_until(lambda: client.error)
    assert client.error == errno.ECONNRESET


def test_a_closed_listener_accepts_no_more_and_keeps_its_streams() -> None:
    net = forwarded()
    listener = net.guest.listen(80)
    with pytest.raises(StateError, match="TCP port 80"):
        net.guest.listen(80)
    first = net.host.connect(LOOPBACK, 8080)
    net.run_until(lambda: listener.accepted)
    listener.close()
    listener.close()
    second = net.host.connect(LOOPBACK, 8080)
    net.run_until(lambda: second.error)
    first.write(b"still here")
    net.run_until(lambda: listener.accepted[0].received == b"still here")


@pytest.mark.rfc("9293", "MUST-41")
@pytest.mark.rfc("9293", "MUST-42")
def test_many_connections_at_once() -> None:
    net = ready()
    net.host.serve_tcp(SERVER, 80, Echo)
    sinks = net.host.serve_tcp(SERVER, 81, Sink)
    streams = [net.guest.connect(NAME, 80) for _ in range(100)]
    for number, stream in enumerate(streams):
        stream.write(bytes((number,)) * 20_000)
        stream.shutdown()
    uploads = [net.guest.connect(NAME, 81) for _ in range(20)]
    for stream in uploads:
        stream.write(bytes(100_000))
        stream.shutdown()
    net.run_until(lambda: all(stream.eof for stream in streams + uploads))
    assert [stream.read() for stream in streams] == [bytes((number,)) * 20_000 for number in range(100)]
    counts = [remote.count for remote in sinks.connections if isinstance(remote, Sink)]
    assert counts == [100_000] * 20
    assert len({stream.local_port for stream in streams + uploads}) > 100
    clean(net)


# ------------------------------------------------------------------- guest against guest, without a stack


def test_two_guests_on_a_cable_that_delivers_within_send() -> None:
    def to_one(frame: bytes) -> None:
        one.input(frame)

    def to_two(frame: bytes) -> None:
        two.input(frame)

    one = Guest(to_two, random=Random(1), mac=bytes.fromhex("525400000001"))
    two = Guest(to_one, random=Random(2), mac=bytes.fromhex("525400000002"))
    one.configure("10.0.0.1", 24)
    two.configure("10.0.0.2", 24)
    listener = two.listen(7)
    stream = one.connect("10.0.0.2", 7)
    assert (stream.state, len(listener.accepted)) == (State.ESTABLISHED, 1)
    [echo] = listener.accepted

    def answer(far: GuestStream) -> None:
        if far.received:
            far.write(far.read())
        if far.eof:
            far.shutdown()

    echo.on_data = answer
    data = Random(3).randbytes(MIB)
    stream.write(data)
    stream.shutdown()
    now = 0
    while not (stream.closed and echo.closed) and now < SECOND:  # delayed acknowledgements
        now += MS
        one.advance(now)
        two.advance(now)
    assert stream.read() == data
    assert (stream.state, echo.state) == (State.TIME_WAIT, State.CLOSED)
    for guest in (one, two):
        assert (guest.counters.bad_checksum, guest.counters.unhandled) == (0, 0)


# ------------------------------------------------------------------------- what this has found in the engine


def test_the_window_closes_for_a_peer_that_sends_byte_by_byte() -> None:
    conn = Connection(Settings(rcv_buffer=66_000, rcv_buffer_initial=66_000, delayed_ack=0), 1000)

    windows: list[int] = []
    conn.connect(0)
    conn.segments_to_send(0)
    conn.receive(Segment(5000, 1001, SYN | ACK, 65535, TcpOptions(mss=1460, wscale=7)), 0)
    for number in range(70_000):
        windows += [segment.wnd for segment in conn.segments_to_send(number + 1)]
        conn.receive(Segment(5001 + number, 1001, ACK, 500, payload=b"x"), number + 1)
        conn.handle_timeout(number + 1)
    assert conn.rcv_pending == 66_000
    assert windows[-1] == 0


def test_a_reset_in_time_wait_is_no_failure() -> None:
    net = ready(link_latency_ns=MS)
    stream, server = connected(net)
    stream.shutdown()
    net.run_until(lambda: server.ended)
    delayed: list[bytes] = []

    def fault(direction: str, frame: bytes) -> int | None:
        if direction == "in" and not delayed:
            delayed.append(frame)
            return SECOND  # comes when the stack has forgotten the connection, and is answered by RST
        return 0

    net.fault = fault
    server.write(b"last words")
    server.finish()
    net.run(5 * SECOND)
    assert net.stack.stats.tcp_resets_out == 1
    assert (stream.read(), stream.eof, stream.error, stream.state) == (b"last words", True, 0, State.CLOSED)
