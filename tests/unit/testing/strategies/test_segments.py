"""Streams in pieces, and segments relative to the state of a connection."""

from __future__ import annotations

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from slirpy import ConfigError
from slirpy.tcp import Connection, Segment, Settings, State
from slirpy.tcp.seq import MASK
from slirpy.testing.strategies import Shape, cuts, segment_shapes, segments
from slirpy.wire.tcp import ACK, FIN, RST, SYN

ONCE = settings(database=None)
SECOND = 1_000_000_000


@given(st.binary(max_size=60).flatmap(lambda data: st.tuples(st.just(data), cuts(data))))
def test_pieces_make_up_the_stream_and_none_is_empty(case: tuple[bytes, list[bytes]]) -> None:
    data, pieces = case
    assert b"".join(pieces) == data
    assert all(pieces)


def test_streams_shrink_to_one_piece_then_to_one_cut() -> None:
    data = b"GET / HTTP/1.1\r\n\r\n"
    assert find(cuts(data), lambda pieces: True, settings=ONCE) == [data]
    assert find(cuts(data), lambda pieces: len(pieces) > 1, settings=ONCE) == [b"G", data[1:]]
    assert find(cuts(data), lambda pieces: b"\n\r" not in b"|".join(pieces), settings=ONCE) == [
        data[:-2], data[-2:],
    ]  # fmt: skip
    assert find(cuts(data), lambda pieces: len(pieces) == len(data), settings=ONCE)[0] == b"G"


@pytest.mark.parametrize(("data", "pieces"), [(b"", []), (b"x", [b"x"]), (bytearray(b"y"), [b"y"])])
def test_short_streams(data: bytes, pieces: list[bytes]) -> None:
    assert find(cuts(data), lambda each: True) == pieces


def test_a_stream_is_bytes() -> None:
    with pytest.raises(ConfigError, match="data must be bytes"):
        cuts("text")  # type: ignore[arg-type] # the mistake


def established(iss: int = 100) -> Connection:
    conn = Connection(Settings(), iss=iss)
    conn.listen(0)
    conn.receive(Segment(MASK, 0, SYN, 65535), 0)
    conn.segments_to_send(0)
    conn.receive(Segment(0, (iss + 1) & MASK, ACK, 65535), 0)
    assert conn.state is State.ESTABLISHED
    conn.write(bytes(5000))
    conn.segments_to_send(0)
    return conn


def test_a_shape_is_made_for_the_state_that_the_connection_has() -> None:
    conn = established()
    shape = Shape(seq=5, ack=10, size=3, sack=((1, 4),), timestamp=7)
    segment = shape.on(conn)
    assert (segment.seq, segment.ack, len(segment.payload)) == (conn.rcv_nxt + 5, conn.snd_una + 10, 3)
    assert segment.options.sack == ((conn.snd_una + 1, conn.snd_una + 4),)
    assert segment.options.timestamps == (conn.ts_recent + 7, 5)
    conn.receive(Segment(conn.rcv_nxt, conn.snd_una, ACK, 65535, payload=b"x" * 20), 0)
    assert shape.on(conn).seq == segment.seq + 20
    assert Shape("rcv_adv", -1, "snd_max").on(conn).seq == conn.rcv_adv - 1
    assert str(shape) == "ACK seq=rcv_nxt+5 ack=snd_una+10 len=3 sack=1-4"


def test_the_simplest_segment_says_nothing_new() -> None:
    assert find(segment_shapes(), lambda shape: True, settings=ONCE) == Shape()
    conn = established()
    segment = find(segments(conn), lambda segment: True, settings=ONCE)
    assert segment == Segment(conn.rcv_nxt, conn.snd_una, ACK, 65535)


def in_window(shape: Shape) -> bool:
    return shape.seq_from == "rcv_nxt" and 0 < shape.seq < 5000


@pytest.mark.parametrize(
    "wanted",
    [
        lambda shape: shape.flags == RST and in_window(shape),
        lambda shape: shape.flags == SYN and in_window(shape),
        lambda shape: shape.flags == RST and shape.seq_from == "rcv_nxt" and not shape.seq,
        lambda shape: shape.flags == RST and shape.seq_from == "rcv_adv" and shape.seq == -1,
        lambda shape: in_window(shape) and shape.size > 1000 and shape.flags == ACK,
        lambda shape: shape.seq_from == "rcv_adv" and shape.seq < 0 < shape.seq + shape.size,
        lambda shape: shape.seq_from == "rcv_nxt" and shape.seq < 0 < shape.seq + shape.size,
        lambda shape: shape.seq_from == "rcv_nxt" and shape.seq + shape.size < 0 < shape.size,
        lambda shape: len(shape.sack) == 2 and shape.flags == ACK and not shape.seq,
        lambda shape: shape.ack_from == "snd_max" and shape.ack > 0,
        lambda shape: shape.flags & FIN and shape.seq == 0,
        lambda shape: not shape.wnd,
    ],
)
def test_important_segments_are_drawn(wanted: object) -> None:
    find(segment_shapes(), wanted, settings=settings(max_examples=3000, database=None, phases=[Phase.generate]))  # type: ignore[arg-type] # bool or int


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_connection_takes_them_all(data: st.DataObject) -> None:
    conn, now = established(data.draw(st.sampled_from((100, MASK - 10)))), SECOND
    for _ in range(data.draw(st.integers(1, 12))):
        conn.receive(data.draw(segments(conn)), now)
        conn.segments_to_send(now)
        now += 1_000_000
        assert conn.rcv_pending <= Settings().rcv_buffer
