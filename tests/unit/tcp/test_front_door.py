"""The methods by which a program drives the engine: segments in and out, the time, reading."""

from __future__ import annotations

import errno

import pytest

from slirpy import tcp
from slirpy.errors import ConfigError
from slirpy.tcp import Connection, Segment, Settings, State, TcpOptions, options
from slirpy.wire.tcp import ACK, RST, SYN


def exchange(a: Connection, b: Connection, now: int) -> list[Segment]:
    """Carry segments to and fro until both are silent."""
    crossed: list[Segment] = []
    while True:
        sent = len(crossed)
        for sender, receiver in ((a, b), (b, a)):
            for segment in sender.segments_to_send(now):
                crossed.append(segment)
                receiver.receive(segment, now)
        if len(crossed) == sent:
            return crossed


def opened(a: Connection | None = None, b: Connection | None = None) -> tuple[Connection, Connection]:
    """Two established connections."""
    a, b = a or Connection(iss=1), b or Connection(iss=2)
    a.connect(0)
    b.listen(0)
    exchange(a, b, 0)
    assert a.state is b.state is State.ESTABLISHED
    return a, b


def test_a_segment_that_comes_out_can_be_put_in() -> None:
    a, b = Connection(iss=1), Connection(iss=2)
    a.connect(0)
    b.listen(0)
    a.write(b"hello")
    crossed = exchange(a, b, 0)
    assert [segment.flags & (SYN | ACK) for segment in crossed[:3]] == [SYN, SYN | ACK, ACK]
    assert b.read() == b"hello"
    a.shutdown()
    exchange(a, b, 0)
    assert b.fin_received
    b.shutdown()
    exchange(a, b, 0)
    assert (a.state, b.state) == (State.TIME_WAIT, State.CLOSED)


def test_nothing_is_due_twice() -> None:
    a, _ = opened()
    a.write(bytes(3000))
    sizes = [len(segment.payload) for segment in a.segments_to_send(0)]
    assert sizes == [a.mss, a.mss, 3000 - 2 * a.mss]
    assert a.segments_to_send(0) == []


def test_all_rounds_of_output_come_at_once() -> None:
    """More segments than one round of output may send."""
    a, _ = opened()
    a.cc.cwnd = 1 << 20
    a.snd_wnd = 1 << 20
    a.write(bytes(100 * a.mss))
    assert len(a.segments_to_send(0)) == 100


def test_a_lost_segment_is_sent_again_at_the_deadline() -> None:
    a, b = opened()
    a.write(b"lost")
    assert len(a.segments_to_send(1)) == 1
    a.handle_timeout(1)  # too early: nothing happens
    assert a.segments_to_send(1) == []
    now = a.deadline()
    assert now is not None
    a.handle_timeout(now)
    [again] = a.segments_to_send(now)
    b.receive(again, now)
    assert b.read() == b"lost"


def test_reading_in_parts() -> None:
    a, b = opened()
    a.write(b"one two three")
    exchange(a, b, 0)
    assert [b.read(0), b.read(3), b.read(1), b.read(100), b.read(100), b.read()] == [
        b"", b"one", b" ", b"two three", b"", b"",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="limit -1"):
        b.read(-1)
    a.write(b"all")
    exchange(a, b, 0)
    assert b.read() == b"all"


@pytest.mark.rfc("9293", "3.10.7.1")
def test_a_closed_connection_answers_by_a_reset() -> None:
    a, b = opened()
    b.abort()
    b.segments_to_send(0)  # the reset is lost
    a.write(b"x")
    for segment in a.segments_to_send(1):
        b.receive(segment, 1)
    [reset] = b.segments_to_send(1)
    assert (reset.flags, reset.seq) == (RST, a.rcv_nxt)
    a.receive(reset, 1)
    assert (a.state, a.error) == (State.CLOSED, errno.ECONNRESET)
    a.receive(reset, 1)
    assert a.segments_to_send(1) == [], "no reset answers a reset"


def test_one_that_was_never_opened_answers_by_a_reset() -> None:
    conn = Connection(iss=1)
    conn.receive(Segment(9, 0, SYN, 100), 0)
    [reset] = conn.segments_to_send(0)
    assert (reset.flags, reset.seq, reset.ack) == (RST | ACK, 0, 10)


def test_a_reset_that_is_due_is_not_replaced() -> None:
    a, b = opened()
    b.abort()
    a.write(b"x")
    for segment in a.segments_to_send(1):
        b.receive(segment, 1)
    [reset] = b.segments_to_send(1)
    assert reset.flags == RST | ACK


def test_settings_and_numbers_have_defaults() -> None:
    numbers = {Connection().iss for _ in range(20)}
    assert len(numbers) > 15, "random, not constant"
    assert Connection(iss=7).settings == Settings()
    a, b = Connection(iss=1), Connection(iss=2)
    assert a.stats is not b.stats


@pytest.mark.parametrize("wrong", [{"iss": -1}, {"iss": 1 << 32}, {"ts_offset": -1}, {"ts_offset": 1 << 32}])
def test_numbers_out_of_range(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="from 0 to 4294967295"):
        Connection(Settings(), wrong.get("iss", 0), ts_offset=wrong.get("ts_offset", 0))


def test_a_connection_describes_itself() -> None:
    a, b = opened()
    a.write(b"hello")
    exchange(a, b, 0)
    assert repr(b) == "<Connection ESTABLISHED: 5 bytes to read, 0 unacknowledged>"
    b.abort(errno.ETIMEDOUT)
    assert repr(b) == f"<Connection CLOSED: 5 bytes to read, 0 unacknowledged, error {errno.ETIMEDOUT}>"


@pytest.mark.parametrize(
    "opts",
    [
        TcpOptions(),
        TcpOptions(mss=1460, wscale=7, sack_permitted=True, timestamps=(1, 2)),
        TcpOptions(timestamps=(3, 4), sack=((5, 6), (7, 8))),
        TcpOptions(mss=536, sack_permitted=True),
    ],
)
def test_options_are_encoded_as_they_are_read(opts: TcpOptions) -> None:
    raw = opts.encode()
    assert len(raw) % 4 == 0
    assert options.parse(raw) == opts


def test_names_of_the_package() -> None:
    assert set(tcp.__all__) <= set(dir(tcp))
    with pytest.raises(AttributeError, match=r"module 'slirpy\.tcp' has no attribute 'Setings'"):
        tcp.Setings  # type: ignore[attr-defined] # noqa: B018


def test_the_fast_lane_ignores_segments_for_a_closed_connection() -> None:
    """A stray segment is answered by the owner of the connections, see ``reset_for``."""
    conn = Connection(iss=1)
    tcp.segment_arrives(conn, Segment(9, 0, SYN, 100), 0)
    assert (conn.state, conn.reset, conn.segments_to_send(0)) == (State.CLOSED, None, [])
