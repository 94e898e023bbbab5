"""The edges of what the engine does: one byte less, one call earlier, the second time."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from slirpy.errors import StateError
from slirpy.stats import Stats
from slirpy.tcp import Connection, Segment, Settings, State, segment_arrives
from slirpy.tcp.connection import READ_AHEAD
from slirpy.tcp.isn import initial_sequence_number, timestamp_offset
from slirpy.tcp.loss import probe, undo
from slirpy.tcp.options import TcpOptions
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import ISS, MS, SECOND, Script, active, passive

MSS = 1460

# ------------------------------------------------------------------------------------------- calls


def test_a_new_connection_owes_nothing_and_knows_nothing() -> None:
    conn = Connection(Settings(), ISS)
    assert (conn.state, conn.error, conn.soft_error, conn.reset) == (State.CLOSED, 0, 0, None)
    assert (conn.deadline(), conn.flight, conn.urgent_ahead, conn.rcv_pending) == (None, 0, 0, 0)
    assert not conn.peer_reset
    assert not conn.passive
    assert not conn.fin_sent
    assert not conn.fin_received
    assert not conn.rcv_queue
    assert conn.timestamp(7 * MS) == 7
    assert conn.snd_una == conn.snd_nxt == conn.snd_max == ISS


def test_time_may_begin_at_nought() -> None:
    """``now`` is a clock of the caller's: 0 is a moment like any other."""
    for open_it in (Connection.connect, Connection.listen):
        conn = Connection(Settings(), ISS)
        open_it(conn, 0)
        with pytest.raises(StateError, match="opened before"):
            open_it(conn, 0)
        conn.shutdown()
        conn.abort()
        assert conn.state is State.CLOSED


CALLS: dict[str, Callable[[Connection], object]] = {
    "write()": lambda conn: conn.write(b"more"),
    "shutdown()": lambda conn: conn.shutdown(),
    "abort()": lambda conn: conn.abort(),
    "connect()": lambda conn: conn.connect(0),
    "listen()": lambda conn: conn.listen(0),
}


def complaint(conn: Connection, call: str) -> str:
    with pytest.raises(StateError) as caught:
        CALLS[call](conn)
    return str(caught.value)


def test_calls_in_the_wrong_state_raise_a_clear_error() -> None:
    new = Connection(Settings(), ISS)
    for call in ("write()", "shutdown()", "abort()"):
        assert complaint(new, call) == f"{call}: the connection does not exist yet; connect() or listen() first"
    s = passive()
    for call in ("connect()", "listen()"):
        assert (
            complaint(s.conn, call)
            == f"{call}: this connection (ESTABLISHED) was opened before; make another one"
        )
    s.shutdown()
    assert complaint(s.conn, "write()") == (
        "write(): the connection is closing (FIN-WAIT-1); nothing more is sent after shutdown() or close()"
    )
    for error, name in ((errno.ETIMEDOUT, " by ETIMEDOUT"), (77777, " by 77777"), (0, "")):
        ended = passive()
        ended.conn.close_with(error)
        assert complaint(ended.conn, "write()") == f"write(): the connection is closed{name}; make another one"


def test_write_room_is_bounded_by_the_send_buffer() -> None:
    """The send buffer is a limit like the windows; once it is full, nothing may be written."""
    s = passive(Settings(snd_buffer=1000))
    assert s.conn.write_room() == 1000 + READ_AHEAD
    s.write(bytes(1000 + READ_AHEAD - 1))
    assert s.conn.write_room() == 1
    s.write(b"x")
    assert s.conn.write_room() == 0
    s.write(b"more")
    assert s.conn.write_room() == 0


def test_taking_by_pieces_leaves_no_empty_ones() -> None:
    s = passive()
    for n in range(6):
        s.recv("A", 1 + 10 * n, 1, data=bytes([n]) * 10)
    taken = 0
    for count in (10, 25, 5, 0, 7):
        s.conn.consume(count)
        taken += count
        assert all(len(piece) for piece in s.conn.rcv_queue)
        assert b"".join(s.conn.rcv_queue) == b"".join(bytes([n]) * 10 for n in range(6))[taken:]


def test_memory_and_timers_go_when_it_is_over() -> None:
    ends: list[Callable[[Script], object]] = [
        lambda s: s.conn.abort(),
        lambda s: s.recv("R", 10),
        lambda s: s.conn.close_with(errno.ETIMEDOUT),
    ]
    for end in ends:
        s = passive(sack_permitted=True)
        s.write(bytes(5 * MSS))
        s.recv("A", 5, 1, data=b"early", sack=(((ISS + 1 + MSS) & MASK, (ISS + 1 + 2 * MSS) & MASK),))
        s.recv("A", 1, 1, data=b"1234")
        assert s.conn.deadline() is not None
        s.out.clear()
        end(s)
        assert s.conn.deadline() is None
        assert (s.conn.snd_buf.length, s.conn.sacked, s.conn.rack) == (0, [], None)
        assert not s.conn.reassembly
        s.wait(1000 * SECOND)
        assert [sent.flags for sent in s.out] in (["RA"], [])


# ----------------------------------------------------------------------------------------- counters


COUNTED: dict[str, tuple[Callable[[], Script], Callable[[Script, int], object]]] = {
    "tcp_bad_options": (passive, lambda s, n: s.recv("A", 1, 1, bad=True)),
    "tcp_out_of_order": (passive, lambda s, n: s.recv("A", 100 * (n + 1), 1, data=b"x")),
    "drop_tcp_ack_old": (passive, lambda s, n: s.recv("A", 1, 1 - 70_000)),
    "drop_tcp_ack_future": (passive, lambda s, n: s.recv("A", 1, 2)),
    "drop_tcp_old": (passive, lambda s, n: s.recv("A", 0, 1)),
    "drop_tcp_out_of_window": (passive, lambda s, n: s.recv("A", 70_000, 1)),
    "drop_tcp_syn": (passive, lambda s, n: s.recv("S", 1)),
    "drop_tcp_flags": (passive, lambda s, n: s.recv("P", 1)),
    "tcp_challenges_suppressed": (lambda: passive().recv("R", 9), lambda s, n: s.recv("R", 9)),
    "tcp_dsacks_out": (
        lambda: passive(sack_permitted=True).recv("A", 1, 1, data=bytes(100)),
        lambda s, n: s.recv("A", 1, 1, data=bytes(50)),
    ),
    "drop_tcp_after_fin": (
        lambda: passive().recv("FA", 11, 1),
        lambda s, n: s.recv("A", 8, 1, data=bytes(10)),
    ),
}


@pytest.mark.parametrize("name", list(COUNTED))
def test_counters_count_each_event(name: str) -> None:
    begin, event = COUNTED[name]
    s = begin()
    before = getattr(s.conn.stats, name)
    for n in range(3):
        s.now += 10 * MS
        event(s, n)
        assert getattr(s.conn.stats, name) == before + n + 1


@pytest.mark.parametrize(
    ("name", "flags"), [("drop_tcp_reset", "R"), ("drop_tcp_ack_opening", "A"), ("drop_tcp_flags", "P")]
)
def test_segments_dropped_in_listen_and_syn_sent_are_counted(name: str, flags: str) -> None:
    stats = Stats()
    for open_it in (Connection.listen, Connection.connect):
        conn = Connection(Settings(), ISS, stats=stats)
        open_it(conn, 0)
        before = getattr(stats, name)
        for n in range(3):
            bits = {"R": 4, "A": 16, "P": 8}[flags]
            segment_arrives(conn, Segment(5, 5, bits, 100, TcpOptions()), n)
            assert getattr(stats, name) == before + n + 1


def test_a_fin_before_received_data_is_dropped() -> None:
    """Text had come early, from behind a FIN that comes later: that FIN is a lie, each time."""
    s = passive().recv("A", 51, 1, data=b"early")
    for n in range(3):
        s.recv("FA", 11 + n, 1)
        assert s.conn.stats.drop_tcp_after_fin == n + 1
        assert s.conn.fin_seq is None


def test_resets_are_counted() -> None:
    stats = Stats()
    for n in range(3):
        s = passive()
        s.conn.stats = stats
        s.conn.abort()
        s.flush()
        assert stats.tcp_resets_out == n + 1


# ------------------------------------------------------------------------------------------- probes


@pytest.mark.rfc("8985", "7.4")
@pytest.mark.parametrize(
    ("acked", "dsack", "repeated", "over", "repaired"),
    [
        (-1, None, False, False, 0),  # it has not been reached yet
        (-1, (-1000, 0), True, False, 0),
        (0, (-1000, 0), False, True, 0),  # the last segment came twice: nothing was lost
        (0, (-1, 0), False, True, 0),
        (0, (-5, 5), False, True, 0),
        (50, (-1000, 0), False, True, 0),
        (0, (0, 10), False, False, 0),  # it tells of something else
        (0, (-1000, -1), False, False, 0),
        (0, None, False, False, 0),  # one of both has arrived
        (0, None, True, True, 0),  # and so has the other
        (1, None, False, True, 1),  # later data was acknowledged, and no D-SACK reported the probe
        (1, (0, 10), False, True, 1),
        (1, (-1000, -1), True, True, 1),
    ],
)
def test_the_outcome_of_a_tail_loss_probe(
    acked: int, dsack: tuple[int, int] | None, repeated: bool, over: bool, repaired: int
) -> None:
    for base in (5000, MASK - 10, 2):
        conn = passive(sack_permitted=True, wnd=60_000).conn
        state = conn.rack
        assert state is not None
        end = (ISS + base) & MASK
        state.tlp_end, state.tlp_is_retrans = end, True
        conn.snd_una = (end + acked) & MASK
        conn.snd_nxt = conn.snd_max = (end + 5 * MSS) & MASK
        blocks = None if dsack is None else ((end + dsack[0]) & MASK, (end + dsack[1]) & MASK)
        window = conn.cc.cwnd
        conn.stats.tcp_probes_repaired = 5
        probe.on_ack(conn, state, blocks, repeated)
        assert (state.tlp_end is None) == over
        assert conn.stats.tcp_probes_repaired == 5 + repaired
        assert (conn.cc.cwnd < window) == bool(repaired)


@pytest.mark.rfc("8985", "7.3")
def test_a_probe_of_new_data_needs_no_account() -> None:
    conn = passive(sack_permitted=True).conn
    state = conn.rack
    assert state is not None
    state.tlp_end, state.tlp_is_retrans = conn.snd_una, False
    probe.on_ack(conn, state, None, False)
    rest = conn.rack
    assert rest is not None
    assert rest.tlp_end is None
    assert conn.stats.tcp_probes_repaired == 0


@pytest.mark.rfc("9293", "MUST-36")
def test_questions_carry_timestamps() -> None:
    """Probes of a closed window and keep-alives, as all that is sent."""
    s = passive(Settings(keepalive=True), timestamps=(1, 0), wnd=0)
    s.write(b"x").wait(2 * SECOND)
    assert s.out
    assert all(sent.options.timestamps for sent in s.out)
    s.out.clear()
    s.recv("A", 1, 2, timestamps=(2, 0)).wait(7300 * SECOND)
    assert s.out
    assert all(sent.options.timestamps for sent in s.out)


# ------------------------------------------------------------------------------------------ numbers


def test_numbers_have_32_bits_and_go_with_the_clock() -> None:
    secret = bytes(range(16))
    for n in range(200):
        flow = n.to_bytes(4, "big")
        offset = timestamp_offset(secret, flow)
        first = initial_sequence_number(secret, flow, 0)
        later = initial_sequence_number(secret, flow, 4000 * 1000)
        assert 0 <= offset <= MASK
        assert 0 <= first <= MASK
        assert offset != first
        assert (later - first) & MASK == 1000


def test_our_syn_tells_the_time_and_measures() -> None:
    s = active()
    assert s.conn.rtt.srtt > 0
    slow = Script()
    slow.conn.connect(slow.now)
    slow.flush()
    slow.send("S", 0)
    slow.now += 300 * MS
    slow.recv("SA", 0, 1)
    assert slow.conn.rtt.srtt == 300 * MS


# ------------------------------------------------------------------------------- answers that do not come


@pytest.mark.rfc("9293", "SHLD-9")
def test_each_unanswered_probe_counts() -> None:
    s = passive(Settings(r1=4), wnd=0)
    s.write(b"x")
    for n in range(6):
        assert s.conn.soft_error == (errno.ETIMEDOUT if n >= 4 else 0)
        while not s.out:
            s.wait(10 * MS)
        assert s.send("A", 1, data=b"x")
        s.silence()
    s.recv("A", 1, 1, wnd=0)
    assert s.conn.soft_error == 0
    s.wait(61 * SECOND)
    assert s.conn.soft_error == 0, "one of four"


@pytest.mark.rfc("9293", "MUST-36")
def test_a_small_window_is_filled_by_a_probe_and_no_more() -> None:
    """The override timeout: what fits goes out after a while, as far as the window says."""
    s = passive(wnd=10_000)
    s.recv("A", 1, 1, wnd=100)
    s.write(bytes(5000)).silence()
    s.wait(SECOND)
    first = s.out[0]
    assert (first.seq, len(first.data)) == (1, 100)
    s.out.clear()
    s.recv("A", 1, 101, wnd=1)
    s.wait(SECOND)
    assert [(sent.seq, len(sent.data)) for sent in s.out[:1]] == [(101, 1)]


@pytest.mark.rfc("6582", "3.2 partial")
@pytest.mark.parametrize("acked", [1, MSS - 1, MSS, 2 * MSS])
def test_a_partial_acknowledgement_of_a_segment_lets_one_go(acked: int) -> None:
    """Without SACK: the window shrinks by what was acknowledged, and grows by a segment if that was one at least."""
    s = passive(Settings(rack=False), wnd=60_000)
    s.conn.cc.cwnd = 20 * MSS
    s.write(bytes(20 * MSS))
    for _ in range(3):
        s.recv("A", 1, 1, wnd=60_000)
    assert s.conn.in_recovery
    before = s.conn.cc.cwnd + s.conn.inflation
    s.recv("A", 1, 1 + acked, wnd=60_000)
    assert s.conn.cc.cwnd + s.conn.inflation == before - acked + (MSS if acked >= MSS else 0)


@pytest.mark.rfc("6298", "3")
def test_after_silence_the_back_off_ends_with_the_answer() -> None:
    s = passive(Settings(rack=False), wnd=60_000)
    s.write(bytes(100))
    s.wait(20 * SECOND)
    assert s.conn.retries > 3
    s.recv("A", 1, 101, wnd=60_000)
    assert (s.conn.retries, s.conn.rtt.backoff, s.conn.soft_error) == (0, 0, 0)
    s.recv("A", 1, 101, wnd=0)
    s.out.clear()
    s.write(b"x").wait(20 * SECOND)
    assert s.conn.rtt.backoff > 3
    s.recv("A", 1, 101, wnd=60_000)
    assert (s.conn.retries, s.conn.rtt.backoff, s.conn.soft_error) == (0, 0, 0)


@pytest.mark.rfc("7323", "5.5")
def test_a_timestamp_is_trusted_for_less_than_24_days() -> None:
    life = 24 * 24 * 3600 * SECOND
    for silence, taken in ((life - 1, False), (life, True)):
        s = passive(timestamps=(1000, 0))
        s.now = s.conn.heard_at + silence
        s.recv("A", 1, 1, data=b"x", timestamps=(999, 0))
        assert s.conn.rcv_pending == int(taken)
        assert s.conn.stats.drop_tcp_paws == int(not taken)


@pytest.mark.rfc("8985", "6.2 dsack")
def test_retransmissions_of_a_timeout_are_counted_in_segments() -> None:
    """Rounded up; so many D-SACKs are believed to be about it."""
    conn = passive(sack_permitted=True).conn
    state = conn.rack
    assert state is not None
    for n in range(1, 4):
        conn.snd_nxt = conn.snd_max = (conn.snd_una + 2 * MSS + 1) & MASK
        undo.begin(conn, state, 0, timeout=True)
        assert state.resent == 3 * n
    undo.begin(conn, state, 0, timeout=False)
    assert state.resent == 9


@pytest.mark.rfc("3708", "3")
def test_each_undoing_is_counted() -> None:
    s = passive(sack_permitted=True)
    state = s.conn.rack
    assert state is not None
    for n in range(3):
        undo.begin(s.conn, state, s.now, timeout=False)
        undo.on_resent(state, s.conn.snd_una, 100, False)
        undo.on_dsack(s.conn, state, s.conn.snd_una, (s.conn.snd_una + 100) & MASK, s.now)
        assert s.conn.stats.tcp_undone == n + 1
        assert state.episode is None
