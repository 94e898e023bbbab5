"""A peer that lies: whatever it sends, nothing raises, what is held has a bound, and the time goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slirpy.tcp import Connection, Segment, Settings, TcpOptions, expire, output, segment_arrives
from slirpy.tcp import reassembly as reassembly_module
from slirpy.tcp.loss import sack as sack_module
from slirpy.tcp.segment import as_segments
from slirpy.tcp.seq import MASK
from slirpy.testing.strategies import Shape, segment_shapes
from slirpy.wire.tcp import ACK, FIN, RST, SYN
from tests.property.tcp_choices import chosen, sides, spans
from tests.property.tcp_observer import Observer, S, Watched, bits
from tests.property.tcp_world import SECOND, Path, Side, World, decode, encode

sizes = st.sampled_from((0, 1, 2, 100, 1460, 5000))


@pytest.mark.long
@given(
    settings=st.builds(
        Settings,
        mss=st.sampled_from((1460, 8, 65495)),
        rcv_buffer=st.sampled_from((65536, 1, 300, 1 << 30)),
        max_burst=st.sampled_from((0, 65495)),
        keepalive=st.booleans(),
    ),
    iss=st.sampled_from((0, MASK, 1 << 31)),
    start=st.sampled_from(("passive", "listen", "connect")),
    written=st.sampled_from((0, 1, 5000)),
    told=st.lists(st.tuples(segment_shapes(), spans), max_size=40),
    act=st.integers(0, 40),
)
@chosen(150)
def test_the_engine_survives_a_lying_peer(
    settings: Settings,
    iss: int,
    start: str,
    written: int,
    told: list[tuple[Shape, int]],
    act: int,
) -> None:
    conn = Watched(settings, iss)
    now = 1000 * SECOND
    count = 0

    def check(segment: Segment) -> None:
        nonlocal count
        count += 1
        seq, ack, flags, wnd, opts, payload, urg, _ = segment
        assert decode(encode(seq, ack, flags, wnd, opts.encode(), bytes(payload), urg)) is not None
        assert len(payload) <= max(conn.burst(), conn.mss)

    emit = as_segments(check)

    def flush() -> None:
        nonlocal count
        count = 0
        expire(conn, now)
        for _ in range(2000):
            if not output(conn, now, emit):
                break
        else:
            raise AssertionError("it never has enough")
        conn.copy_received()
        deadline = conn.deadline()
        assert deadline is None or deadline > now
        assert conn.rcv_pending + conn.reassembly.size <= settings.rcv_buffer
        assert len(conn.rcv_queue) <= 65
        assert len(conn.reassembly.ranges()) <= reassembly_module.MAX_RANGES
        assert len(conn.sacked) <= sack_module.MAX_RANGES
        assert (conn.snd_nxt - conn.snd_una) & MASK <= (conn.snd_max - conn.snd_una) & MASK < 1 << 31
        assert conn.cc.cwnd > 0
        if conn.state is S.CLOSED:
            assert deadline is None

    if start == "connect":
        conn.connect(now)
    else:
        conn.listen(now)
    if start == "passive":
        segment_arrives(conn, Segment(7, 0, SYN, 65535, TcpOptions(mss=1460, sack_permitted=True)), now)
        flush()
        segment_arrives(conn, Segment(8, (iss + 1) & MASK, ACK, 65535), now)
        assert conn.state is S.ESTABLISHED
    flush()
    for i, (shape, span) in enumerate(told):
        if conn.state is not S.CLOSED and not conn.fin_queued:
            if i in (0, act):
                conn.write(bytes(written))
            if i == act:
                conn.shutdown()
        seg = shape.on(conn)
        before, owed, state = conn.rcv_nxt, conn.reset, conn.state
        edge = conn.rcv_adv
        segment_arrives(conn, seg, now)
        if seg.flags & RST:
            assert conn.reset is owed, "no reset answers a reset"
        if state not in (S.CLOSED, S.LISTEN, S.SYN_SENT):
            taken, room = (conn.rcv_nxt - before) & MASK, (edge - before) & MASK
            assert taken <= room, "nothing is taken beyond the window"
        flush()
        if i % 3 == 0:
            conn.consume(conn.rcv_pending)
        now += span
        flush()
    if conn.state is not S.CLOSED:
        conn.abort()
    flush()
    assert conn.snd_buf.length == 0


@pytest.mark.long
@given(
    a=sides,
    b=sides,
    where=st.lists(
        st.tuples(
            st.sampled_from((0, 1)),
            st.sampled_from(("beyond", "old", "future ack", "reset", "syn", "old stamp")),
            st.integers(1, 100_000),
            sizes,
            st.integers(1, 6),
        ),
        max_size=20,
    ),
)
@chosen(80)
def test_unacceptable_forged_segments_change_nothing(
    a: Side, b: Side, where: list[tuple[int, str, int, int, int]]
) -> None:
    """Forged segments that are not acceptable, between honest ones: both streams arrive whole all the same."""
    world = World((a, b), Path())
    for i in (0, 1):
        world.write(i, 3000)
    for to, kind, distance, size, rounds in where:
        for _ in range(rounds):
            for i in (0, 1):
                world.deliver(i)
                world.read(i, 1 << 30)
        end = world.ends[to]
        conn = end.conn
        if conn.state not in (S.ESTABLISHED, S.CLOSE_WAIT):
            continue
        seg = _unacceptable(end, kind, distance, size)
        before = _matters(conn)
        segment_arrives(conn, seg, world.now)
        assert _matters(conn) == before
        world.flush(to)
    world.finish()


def _matters(conn: Connection) -> tuple[object, ...]:
    """State that others must not change. An ACK may be due, and what came twice may be reported."""
    received = (
        conn.rcv_nxt,
        conn.rcv_adv,
        conn.rcv_pending,
        conn.reassembly.ranges(),
        conn.fin_seq,
        conn.ts_recent,
    )
    sent = conn.snd_una, conn.snd_nxt, conn.snd_max, conn.snd_wnd, conn.snd_buf.length, list(conn.sacked)
    control = conn.cc.cwnd, conn.cc.ssthresh, conn.dupacks, conn.in_recovery, conn.rtt.rto
    times = (
        conn.timer_kind,
        conn.timer_at,
        conn.loss_timer_at,
        conn.retries,
        conn.probes,
        conn.progress_at,
        conn.heard_at,
    )
    return conn.state, conn.error, conn.reset, received, sent, control, times


def _unacceptable(end: Observer, kind: str, distance: int, size: int) -> Segment:
    conn = end.conn
    nxt, adv, ack, text = conn.rcv_nxt, conn.rcv_adv, conn.snd_una, bytes(size)
    stamps = (conn.ts_recent, 0) if conn.ts_ok else None
    opts = TcpOptions(timestamps=stamps)
    if kind == "beyond":
        return Segment((max((adv - nxt) & MASK, 1) + nxt + distance) & MASK, ack, ACK | FIN, 1, opts, text)
    if kind == "old":
        # All of it lies before RCV.NXT, and its text is not what was sent there.
        there = end.theirs(nxt)
        start = max(there - size - distance % 100, 1)
        text = bytes(min(size, there - start))
        if not text:
            start = there - 1  # without text only what has an older number is old
        end.twice |= bits(start, start + len(text))
        return Segment((end.peer.conn.iss + start) & MASK, ack, ACK, 1, opts, text)
    if kind == "old stamp" and conn.ts_ok:
        # A duplicate from before the numbers wrapped: all but the timestamp is right (RFC 7323, section 5).
        opts = TcpOptions(timestamps=((conn.ts_recent - distance) & MASK, 0))
        return Segment(nxt, ack, ACK | FIN, 1, opts, text)
    if kind in ("future ack", "old stamp"):
        return Segment(nxt, (conn.snd_max + distance) & MASK, ACK, 1, opts, text)
    if kind == "reset":
        window = (adv - nxt) & MASK
        wrong = (nxt + 1 + distance % (window - 1)) & MASK if window > 1 else (nxt + 1) & MASK
        return Segment(wrong, 0, RST, 0)
    return Segment((nxt + distance % max((adv - nxt) & MASK, 1)) & MASK, ack, SYN, 1, opts)


@given(
    sack=st.booleans(),
    rcv_buffer=st.sampled_from((300, 65536)),
    pieces=st.lists(
        st.tuples(
            st.sampled_from((0, 30, -30)) | st.integers(-100, 250), st.integers(1, 90), st.integers(0, 7)
        ),
        max_size=40,
    ),
)
@chosen(150)
def test_the_first_copy_of_each_byte_counts(
    sack: bool, rcv_buffer: int, pieces: list[tuple[int, int, int]]
) -> None:
    """Segments overlap and disagree. What was taken first stays, whether it was read, or waited for its turn."""
    conn, now = Watched(Settings(rcv_buffer=rcv_buffer), 0), 1000 * SECOND
    conn.listen(now)
    segment_arrives(conn, Segment(MASK, 0, SYN, 65535, TcpOptions(sack_permitted=sack)), now)
    output(conn, now, lambda *_: None)
    segment_arrives(conn, Segment(0, 1, ACK, 65535), now)
    row, known, got = bytearray(1 << 14), 0, b""
    for value, (offset, size, reads) in enumerate(pieces, 1):
        start = max(conn.rcv_nxt + offset, 0)
        edge = conn.rcv_adv
        segment_arrives(conn, Segment(start, 1, ACK, 65535, payload=bytes([value]) * size), now)
        for at in range(start, min(start + size, edge)):
            if not known >> at & 1:
                row[at] = value
        known |= bits(start, max(min(start + size, edge), start))
        conn.copy_received()
        assert b"".join(conn.rcv_queue) == row[len(got) : conn.rcv_nxt]
        assert conn.rcv_pending + conn.reassembly.size <= rcv_buffer
        if not reads:
            got += b"".join(conn.rcv_queue)
            conn.consume(conn.rcv_pending)
        output(conn, now, lambda *_: None)
        assert not known & ~bits(0, conn.rcv_nxt) & bits(0, conn.rcv_nxt + 1), "what is next is taken"
