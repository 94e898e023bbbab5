"""The engine, a rule at a time; each script also asserts silence."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable

import pytest

from slirpy.tcp import Settings, State, reset_for
from slirpy.tcp.connection import READ_AHEAD, Connection
from slirpy.tcp.segment import Segment
from slirpy.tcp.states import TRANSITIONS
from slirpy.wire.tcp import ACK, FIN, RST, SYN
from tests.unit.tcp.script import MS, SECOND, Script, active, passive

MSS = 1460


# ------------------------------------------------------------------------------------------ opening


def test_passive_open_agrees_on_options() -> None:
    s = Script(Settings(mss=1400, rcv_buffer=1 << 20))
    s.conn.listen(s.now)
    s.recv("S", 0, wnd=1000, mss=1300, wscale=7, sack_permitted=True, timestamps=(77, 0))
    sent = s.send("SA", 0, 1)
    assert sent.options.mss == 1400
    assert sent.options.wscale == 5  # 65535 << 5 is the first that reaches a MiB
    assert sent.options.sack_permitted
    assert sent.options.timestamps is not None
    assert sent.options.timestamps[1] == 77
    assert sent.wnd == 65535  # never scaled in a SYN
    s.recv("A", 1, 1, wnd=1000, timestamps=(78, sent.options.timestamps[0])).silence()
    s.state(State.ESTABLISHED)
    assert s.conn.mss == 1300 - 12
    assert s.conn.snd_wnd == 1000 << 7


def test_passive_open_without_options_offers_none_but_mss() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0)
    sent = s.send("SA", 0, 1)
    assert sent.options == sent.options._replace(wscale=None, sack_permitted=False, timestamps=None)
    s.recv("A", 1, 1)
    assert s.conn.mss == 536  # MUST-15
    assert s.conn.rcv_wnd <= 65535


def test_active_open() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    sent = s.send("S", 0)
    assert sent.options.wscale is not None
    assert sent.options.sack_permitted
    assert sent.options.timestamps is not None
    s.recv("SA", 0, 1, mss=1000, wscale=3, timestamps=(5, sent.options.timestamps[0]))
    s.send("A", 1, 1)
    s.silence().state(State.ESTABLISHED)


def test_simultaneous_open() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("S", 0, mss=1000)
    s.send("SA", 0, 1)
    s.silence().state(State.SYN_RECEIVED)
    s.recv("A", 1, 1).silence().state(State.ESTABLISHED)


def test_simultaneous_open_with_the_peers_syn_ack() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("S", 0, mss=1000)
    s.send("SA", 0, 1)
    s.recv("SA", 0, 1).silence().state(State.ESTABLISHED)


def test_syn_is_repeated_with_back_off_and_given_up() -> None:
    s = Script(Settings(syn_timeout=10 * SECOND))
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    start = s.now
    times = []
    while s.conn.state is State.SYN_SENT:
        deadline = s.conn.deadline()
        assert deadline is not None
        s.now = deadline
        s.flush()
        if s.out:
            s.send("S", 0)
            times.append((s.now - start) // SECOND)
    assert times == [1, 3, 7]
    assert s.conn.error == errno.ETIMEDOUT
    assert s.now - start == 10 * SECOND  # not at the next doubling after it
    s.silence()


@pytest.mark.parametrize("way", ["active", "passive", "simultaneous"])
@pytest.mark.parametrize("lost", [False, True])
def test_after_a_lost_syn_we_begin_slowly(way: str, lost: bool) -> None:
    """RFC 5681, section 3.1: one segment; RFC 6298, (5.7): three seconds until there is a measurement."""
    s = Script()
    if way == "passive":
        s.conn.listen(s.now)
        s.recv("S", 0, mss=MSS)
    else:
        s.conn.connect(s.now)
        s.flush()
    if way == "simultaneous":
        s.recv("S", 0, mss=MSS)
    if lost:
        s.wait(1 * SECOND)
    s.out.clear()
    if way == "active":
        s.recv("SA", 0, 1, mss=MSS)
    else:
        s.recv("A", 1, 1)
    s.out.clear()
    s.state(State.ESTABLISHED).write(bytes(20 * MSS))
    assert len(s.out) == (1 if lost else 10)
    deadline = s.conn.deadline()
    assert deadline is not None
    assert deadline - s.now == (3 * SECOND if lost else 200 * MS)
    s.recv("A", 1, 1 + len(s.out) * MSS)
    if lost:
        s.out.clear()
        s.wait(500 * MS)
        assert s.conn.rtt.base <= SECOND


def test_syn_ack_is_repeated_for_a_repeated_syn() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0)
    s.send("SA", 0, 1)
    s.recv("S", 0)
    s.send("SA", 0, 1)
    s.silence().state(State.SYN_RECEIVED)


def test_refused_by_the_peer() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("RA", 0, 1).silence().state(State.CLOSED)
    assert s.conn.error == errno.ECONNREFUSED


def test_syn_sent_ignores_a_reset_that_acknowledges_nothing_of_ours() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("RA", 0, 5).silence().state(State.SYN_SENT)
    s.recv("R", 0).silence().state(State.SYN_SENT)


@pytest.mark.parametrize("ack", [0, 2, 100])
def test_syn_sent_resets_a_wrong_ack(ack: int) -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("SA", 0, ack)
    s.send("R", ack)
    s.silence().state(State.SYN_SENT)


def test_syn_received_resets_a_wrong_ack() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0)
    s.send("SA", 0, 1)
    s.recv("A", 1, 77)
    s.send("R", 77)
    s.silence().state(State.SYN_RECEIVED)


def test_listen_resets_an_ack_and_ignores_a_reset() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.recv("R", 0).silence().state(State.LISTEN)
    s.recv("A", 0, 9)
    s.send("R", 9)
    s.silence().state(State.LISTEN)


def test_data_with_the_syn_ack_is_delivered() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("SA", 0, 1, data=b"hello", mss=1000)
    s.send("A", 1, 6)
    assert s.read() == b"hello"


@pytest.mark.parametrize(
    ("seg", "answer"),
    [
        (Segment(5, 9, ACK, 0), (9, 0, RST)),
        (Segment(5, 0, SYN, 0), (0, 6, RST | ACK)),
        (Segment(5, 0, FIN, 0, payload=b"abc"), (0, 9, RST | ACK)),
        (Segment(5, 9, RST | ACK, 0), None),
        (Segment(5, 0, RST, 0), None),
    ],
)
def test_reset_for_no_connection(seg: Segment, answer: tuple[int, int, int] | None) -> None:
    assert reset_for(seg) == answer


# --------------------------------------------------------------------------------------------- data


@pytest.mark.rfc("9293", "SHLD-19")
def test_data_is_acknowledged_at_once_for_two_segments_and_late_for_one() -> None:
    s = passive()
    s.recv("PA", 1, 1, data=b"x" * 100).silence()
    s.wait(9 * MS).silence()
    s.wait(1 * MS)
    s.send("A", 1, 101)
    s.recv("A", 101, 1, data=b"y" * MSS).silence()
    s.recv("A", 101 + MSS, 1, data=b"z" * MSS)
    s.send("A", 1, 101 + 2 * MSS)
    s.silence()
    assert s.read() == b"x" * 100 + b"y" * MSS + b"z" * MSS


def test_an_acknowledgement_rides_on_data() -> None:
    s = passive()
    s.recv("PA", 1, 1, data=b"ping").silence()
    s.write(b"pong")
    s.send("PA", 1, 5, b"pong")
    s.wait(50 * MS).silence()


def test_out_of_order_data_waits_and_is_acknowledged_at_once() -> None:
    s = passive(sack_permitted=True)
    s.recv("A", 11, 1, data=b"BBBBB")
    s.send("A", 1, 1)
    s.recv("A", 21, 1, data=b"DDDDD")
    sent = s.send("A", 1, 1)
    relative = [((a - s.irs) & 0xFFFFFFFF, (b - s.irs) & 0xFFFFFFFF) for a, b in sent.options.sack]
    assert relative == [(21, 26), (11, 16)]  # the newest first
    s.recv("A", 1, 1, data=b"A" * 10)
    s.send("A", 1, 16)
    s.recv("A", 14, 1, data=b"BBCCCCCDDDDD")  # overlaps on both sides
    s.send("A", 1, 26)
    assert s.read() == b"A" * 10 + b"BBBBB" + b"CCCCC" + b"DDDDD"
    s.silence()


def test_text_in_its_turn_is_taken_even_when_the_queue_is_full() -> None:
    s = passive()
    for i in range(300):
        s.recv("A", 11 + 2 * i, 1, data=b"x")
    assert s.conn.stats.drop_tcp_reassembly_full == 300 - 256
    s.out.clear()
    s.recv("A", 1, 1, data=b"A" * 10)
    s.send("A", 1, 12)
    assert s.read() == b"A" * 10 + b"x"


def test_a_lost_window_update_is_recovered_by_a_probe() -> None:
    s = passive(wnd=10)
    # Whatever the window is, so that there is something to probe with.
    assert s.conn.write_room() == 10 + READ_AHEAD
    s.recv("A", 1, 1, wnd=0)
    s.write(bytes(5)).silence()
    s.wait(200 * MS)
    s.send("A", 1)


def test_old_data_is_answered_by_an_ack_and_not_delivered_twice() -> None:
    s = passive()
    s.recv("A", 1, 1, data=b"x" * 2 * MSS)
    s.send("A", 1, 1 + 2 * MSS)
    s.recv("A", 1, 1, data=b"x" * MSS)
    s.send("A", 1, 1 + 2 * MSS)
    s.recv("A", 1, 1, data=b"x" * 2 * MSS + b"new").silence()  # what is new in it counts
    assert s.read() == b"x" * 2 * MSS + b"new"


def test_data_beyond_the_window_is_cut() -> None:
    s = passive(Settings(rcv_buffer=1000))
    s.recv("A", 1, 1, data=bytes(1500))
    sent = s.send("A", 1, 1001)
    assert sent.wnd == 0
    assert len(s.read()) == 1000
    sent = s.send("A", 1, 1001)
    assert sent.wnd == 1000
    s.silence()


def test_closed_receive_window_takes_acks_and_resets_but_no_text() -> None:
    s = passive(Settings(rcv_buffer=1000))
    s.recv("A", 1, 1, data=bytes(1000))
    s.send("A", 1, 1001)
    s.write(b"data")
    s.send("PA", 1, 1001)
    s.recv("A", 1001, 5, data=b"probe")  # MUST-66
    s.send("A", 5, 1001)
    assert s.conn.snd_una == s.conn.snd_nxt
    s.recv("R", 1001).silence().state(State.CLOSED)
    assert s.conn.error == errno.ECONNRESET


def test_window_opens_only_when_it_is_worth_it() -> None:
    s = passive(Settings(rcv_buffer=10_000))
    s.recv("A", 1, 1, data=bytes(10_000))
    assert s.send("A", 1, 10_001).wnd == 0
    s.conn.consume(100)
    s.flush()
    s.silence()
    s.conn.consume(4_900)
    s.flush()
    assert s.send("A", 1, 10_001).wnd == 5_000


@pytest.mark.rfc("9293", "SHLD-14")
def test_the_window_never_shrinks() -> None:
    s = passive(Settings(rcv_buffer=100_000, rcv_buffer_initial=100_000), wscale=3)
    edge = s.conn.rcv_adv
    for i in range(40):
        s.recv("A", 1 + 1000 * i, 1, data=bytes(1000))
        s.wait(20 * MS)
        for sent in s.out:
            assert sent.ack is not None
            new = (s.irs + sent.ack + (sent.wnd << s.conn.rcv_wscale)) & 0xFFFFFFFF
            assert (new - edge) & 0xFFFFFFFF < 1 << 31
            edge = new
        s.out.clear()


def test_sending_respects_window_and_congestion_window() -> None:
    s = passive(wnd=5000)
    s.write(bytes(20_000))
    for i in range(3):
        s.send("A", 1 + i * MSS, 1)
    s.silence()  # 620 bytes are left of the window: no crumbs
    s.recv("A", 1, 1 + 3 * MSS, wnd=65535)
    sizes = [len(s.out.pop(0).data) for _ in range(len(s.out))]
    assert sum(sizes) == s.conn.flight == 10 * MSS  # the congestion window was not filled, and has not grown


def test_bursts_are_whole_segments() -> None:
    s = passive(Settings(max_burst=64_000))
    s.conn.cc.cwnd = 1 << 20
    s.recv("A", 1, 1, wnd=65535)
    s.write(bytes(60_000))
    assert len(s.send("PA", 1, 1).data) == 60_000
    s.recv("A", 1, 60_001, wnd=50_000)
    s.write(bytes(60_000))
    assert len(s.send("A", 60_001).data) == 50_000 // MSS * MSS
    s.silence()


def test_nagle() -> None:
    s = passive(Settings(nodelay=False))
    s.write(b"a")
    s.send("PA", 1, data=b"a")
    s.write(b"b").write(b"c").silence()
    s.recv("A", 1, 2)
    s.send("PA", 2, data=b"bc")
    s.silence()


# ----------------------------------------------------------------------------------------- recovery


def test_retransmission_backs_off_and_recovers() -> None:
    s = passive()
    s.write(b"hello")
    s.send("PA", 1, data=b"hello")
    start = s.now
    times = []
    for _ in range(3):
        deadline = s.conn.deadline()
        assert deadline is not None
        s.now = deadline
        s.flush()
        s.send("PA", 1, data=b"hello")
        times.append((s.now - start) // MS)
    assert times == [200, 600, 1400]  # the handshake took no time: RTO is at its floor
    s.recv("A", 1, 6).silence()
    assert s.conn.deadline() is None
    assert s.conn.stats.tcp_retransmits == 3


def test_after_a_timeout_an_ack_for_everything_is_believed() -> None:
    s = passive()
    s.write(bytes(5 * MSS))
    for i in range(5):
        s.send("PA" if i == 4 else "A", 1 + i * MSS)
    s.wait(200 * MS)
    s.send("A", 1)
    s.silence()  # one segment: the congestion window is small
    s.recv("A", 1, 1 + 5 * MSS).silence()
    assert s.conn.flight == 0
    s.write(b"more")
    s.send("PA", 1 + 5 * MSS, data=b"more")


def test_a_pure_ack_after_going_back_carries_the_highest_number() -> None:
    """Else two sides that both time out would never accept each other's ACKs."""
    s = passive()
    s.write(bytes(3 * MSS))
    s.out.clear()
    s.wait(200 * MS)
    s.send("A", 1)
    s.recv("A", 5, 1, data=b"gap")
    s.send("A", 1 + 3 * MSS, 1)


def test_three_duplicates_make_one_fast_retransmission() -> None:
    s = passive()
    s.write(bytes(8 * MSS))
    s.out.clear()
    for _ in range(2):
        s.recv("A", 1, 1).silence()
    s.recv("A", 1, 1)
    s.send("A", 1)
    s.recv("A", 1, 1).silence()
    assert (s.conn.in_recovery, s.conn.recover) == (True, s.conn.snd_max)
    # A partial acknowledgement names the next hole (RFC 6582).
    s.recv("A", 1, 1 + 2 * MSS)
    s.send("A", 1 + 2 * MSS)
    s.silence()
    s.recv("A", 1, 1 + 8 * MSS).silence()
    assert not s.conn.in_recovery
    assert s.conn.stats.tcp_fast_retransmits == 1


def test_window_updates_are_no_duplicates() -> None:
    s = passive(wnd=20_000)
    s.write(bytes(4 * MSS))
    s.out.clear()
    for wnd in (20_001, 20_002, 20_003, 20_004):
        s.recv("A", 1, 1, wnd=wnd).silence()
    assert s.conn.dupacks == 0


def test_karn_no_sample_from_a_retransmission() -> None:
    s = passive()
    before = s.conn.rtt.srtt
    s.write(b"x")
    s.wait(200 * MS)
    s.wait(50 * MS)
    s.out.clear()
    s.recv("A", 1, 2)
    assert s.conn.rtt.srtt == before


def test_timestamps_measure_every_round_trip() -> None:
    s = passive(timestamps=(1, 0))
    s.write(b"x")
    sent = s.send("PA", 1)
    assert sent.options.timestamps is not None
    s.wait(80 * MS)
    s.recv("A", 1, 2, timestamps=(2, sent.options.timestamps[0]))
    assert s.conn.rtt.srtt == 80 * MS


def test_zero_window_is_probed_until_it_opens() -> None:
    s = passive(wnd=1000)
    s.write(bytes(1000))
    s.send("PA", 1)
    s.recv("A", 1, 1001, wnd=0).silence()
    s.write(b"abcdef").silence()
    for n, gap in enumerate((200, 400, 800, 1600)):
        s.wait(gap * MS)
        s.send("A", 1001, data=b"a")
        s.recv("A", 1, 1001, wnd=0).silence()
        assert s.conn.stats.tcp_zero_window_probes == n + 1
    s.recv("A", 1, 1002, wnd=1000)  # the probe's byte was taken
    s.send("PA", 1002, data=b"bcdef")
    s.silence()


def test_probing_goes_on_while_the_peer_answers_and_ends_when_it_does_not() -> None:
    s = passive(Settings(user_timeout=100 * SECOND), wnd=10)
    s.write(bytes(20))
    s.out.clear()
    s.recv("A", 1, 11, wnd=0)
    for _ in range(30):
        deadline = s.conn.deadline()
        assert deadline is not None
        s.now = deadline
        s.flush()
        s.send("A", 11)
        s.recv("A", 1, 11, wnd=0)
    s.state(State.ESTABLISHED)
    s.wait(300 * SECOND).state(State.CLOSED)  # MUST-37
    assert s.conn.error == errno.ETIMEDOUT
    assert s.out[-1].flags == "RA"


def test_user_timeout() -> None:
    s = passive(Settings(user_timeout=30 * SECOND))
    s.write(b"x")
    s.wait(200 * SECOND).state(State.CLOSED)
    assert s.conn.error == errno.ETIMEDOUT
    assert s.out.pop().flags == "RA"


# ------------------------------------------------------------------------------------------ closing


def test_we_close_first() -> None:
    s = passive()
    s.write(b"bye")
    s.send("PA", 1)
    s.shutdown()
    s.send("FA", 4, 1, b"")
    s.state(State.FIN_WAIT_1)
    s.recv("A", 1, 5).silence().state(State.FIN_WAIT_2)
    s.recv("A", 1, 5, data=b"x" * 2 * MSS)  # half-close: the other half goes on
    s.send("A", 5, 1 + 2 * MSS)
    assert s.read() == b"x" * 2 * MSS
    s.recv("FA", 1 + 2 * MSS, 5)
    s.send("A", 5, 2 + 2 * MSS)
    s.state(State.TIME_WAIT)
    s.recv("FA", 1 + 2 * MSS, 5)  # our ACK was lost
    s.send("A", 5, 2 + 2 * MSS)
    s.wait(59 * SECOND).state(State.TIME_WAIT)
    s.wait(1 * SECOND).state(State.CLOSED).silence()


def test_the_peer_closes_first() -> None:
    s = passive()
    s.recv("FA", 1, 1, data=b"last")
    s.send("A", 1, 6)
    s.state(State.CLOSE_WAIT)
    assert s.conn.fin_received
    assert s.read() == b"last"
    s.write(b"answer")
    s.send("PA", 1, 6, b"answer")
    s.shutdown().state(State.LAST_ACK)
    assert "F" in s.out[0].flags
    s.out.clear()
    s.recv("A", 6, 8).silence().state(State.CLOSED)
    assert s.conn.error == 0


def test_simultaneous_close() -> None:
    s = passive()
    s.shutdown()
    s.out.clear()
    s.recv("FA", 1, 1)
    s.send("A", 2, 2)
    s.state(State.CLOSING)
    s.recv("A", 2, 2).silence().state(State.TIME_WAIT)


def test_a_lost_fin_is_sent_again() -> None:
    s = passive()
    s.shutdown()
    assert "F" in s.out.pop().flags
    s.wait(200 * MS)
    assert "F" in s.out[0].flags
    assert s.out.pop().seq == 1
    s.silence()


def test_a_fin_waits_for_the_text_before_it() -> None:
    s = passive()
    s.recv("FA", 11, 1, data=b"BB")
    s.send("A", 1, 1)
    s.state(State.ESTABLISHED)
    s.recv("A", 1, 1, data=b"A" * 10)
    s.send("A", 1, 14)
    s.state(State.CLOSE_WAIT)
    assert s.read() == b"A" * 10 + b"BB"


def test_shutdown_before_established_waits() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.shutdown().silence()
    s.recv("SA", 0, 1, mss=1000)
    s.state(State.FIN_WAIT_1)
    assert "F" in s.out[-1].flags


def test_fin_with_the_last_data() -> None:
    s = passive()
    s.conn.write(b"all")
    s.conn.shutdown()
    s.flush()
    sent = s.out.pop()
    assert sent.flags == "FPA"
    assert sent.data == b"all"
    s.silence()


def test_fin_does_not_go_beyond_the_window() -> None:
    s = passive(wnd=3)
    s.conn.write(b"all")
    s.conn.shutdown()
    s.flush()
    s.send("PA", 1, data=b"all")
    s.silence()
    s.recv("A", 1, 4, wnd=100)
    assert s.out[0].seq == 4
    assert "F" in s.out[0].flags


# ------------------------------------------------------------------------------- resets, RFC 5961


def test_abort_sends_a_reset_in_sequence() -> None:
    s = passive()
    s.write(b"abc")
    s.out.clear()
    s.conn.abort()
    s.flush()
    s.send("RA", 4, 1)
    s.silence().state(State.CLOSED)


def test_only_the_exact_number_resets() -> None:
    s = passive()
    s.recv("R", 100)
    s.send("A", 1, 1)  # challenged
    s.recv("R", 0).silence()  # outside of the window: nothing
    s.state(State.ESTABLISHED)
    s.recv("R", 1).silence().state(State.CLOSED)
    assert s.conn.peer_reset


def test_a_syn_in_a_connection_is_challenged() -> None:
    s = passive()
    s.recv("S", 500)
    s.send("A", 1, 1)
    s.silence().state(State.ESTABLISHED)
    assert s.conn.stats.tcp_challenge_acks == 1


def test_an_ack_of_the_future_is_answered_and_ignored() -> None:
    s = passive()
    s.recv("A", 1, 999, data=b"evil")
    s.send("A", 1, 1)
    s.silence()
    assert s.read() == b""


def test_an_ack_of_the_deep_past_is_challenged() -> None:
    s = passive()
    s.recv("A", 1, -200_000, data=b"evil")
    s.send("A", 1, 1)
    assert s.read() == b""


def test_an_ack_is_too_old_by_the_largest_window_there_was() -> None:
    """RFC 5961, section 5.2: SND.UNA - MAX.SND.WND is the last that may be a late one."""
    s = passive(wnd=3000)
    s.write(bytes(3000))
    s.out.clear()
    s.recv("A", 1, 3001, wnd=1000)
    s.recv("A", 1, 1, data=b"late", wnd=1000).silence()
    assert s.read() == b"late"
    s.wait(20 * MS)
    s.out.clear()
    s.recv("A", 5, 0, data=b"evil", wnd=1000)
    s.send("A", 3001, 5)
    assert s.read() == b""
    assert s.conn.stats.tcp_challenge_acks == 1


@pytest.mark.parametrize(
    ("flags", "seq", "ack"), [("R", 100, 0), ("S", 500, 0), ("A", 1, 999), ("A", 1, -70_000)], ids=str
)
def test_challenges_are_few(flags: str, seq: int, ack: int) -> None:
    """RFC 5961, section 7; each connection counts its own."""
    s, other = passive(), passive()
    for _ in range(50):
        s.recv(flags, seq, ack)
    s.send("A", 1, 1)
    s.silence()
    assert (s.conn.stats.tcp_challenge_acks, s.conn.stats.tcp_challenges_suppressed) == (1, 49)
    s.wait(499 * MS)
    s.recv("R", 100).silence()  # whatever asks for it
    s.wait(1 * MS)
    s.recv(flags, seq, ack)
    s.send("A", 1, 1)
    other.recv(flags, seq, ack)
    other.send("A", 1, 1)
    s.recv("PA", 1, 1, data=b"still here")
    assert s.read() == b"still here"
    s.recv("R", 11).silence().state(State.CLOSED)


def test_paws_drops_old_timestamps() -> None:
    s = passive(timestamps=(1000, 0))
    s.recv("A", 1, 1, data=b"new" * MSS, timestamps=(2000, 0))
    s.out.clear()
    s.read()
    s.out.clear()
    at = 1 + 3 * MSS
    s.recv("A", at, 1, data=b"old", timestamps=(1500, 0))
    s.send("A", 1, at)
    assert s.read() == b""
    s.recv("A", at, 1, data=b"none")  # RFC 7323, section 3.2: silently
    s.silence()
    assert s.conn.stats.drop_tcp_paws == 2


# ---------------------------------------------------------------------------------------- the table


def test_states_and_flags_exhaustively() -> None:
    """Every state x every combination of flags x numbers around the edges: no exception, no change off the table."""
    builders: dict[State, Callable[[], Script]] = {
        State.LISTEN: _listening,
        State.SYN_SENT: _syn_sent,
        State.SYN_RECEIVED: _syn_received,
        State.ESTABLISHED: passive,
        State.FIN_WAIT_1: lambda: passive().shutdown(),
        State.FIN_WAIT_2: lambda: passive().shutdown().recv("A", 1, 2),
        State.CLOSING: lambda: passive().shutdown().recv("FA", 1, 1),
        State.TIME_WAIT: lambda: passive().shutdown().recv("A", 1, 2).recv("FA", 1, 2),
        State.CLOSE_WAIT: lambda: passive().recv("FA", 1, 1),
        State.LAST_ACK: lambda: passive().recv("FA", 1, 1).shutdown(),
        State.CLOSED: Script,
    }
    flag_sets = ["".join(c) for n in range(5) for c in itertools.combinations("SAFR", n)]
    seen: set[tuple[State, State]] = set()
    for state, build in builders.items():
        for flags, seq, ack, data in itertools.product(
            flag_sets, (0, 1, 2, 40_000, 1 << 31, -1), (0, 1, 2, 3, 1 << 31), (b"", b"xyz")
        ):
            s = build().state(state)
            s.out.clear()
            s.recv(flags, seq, ack, data=data)
            seen.add((state, s.conn.state))
            if "R" in flags:
                assert all("R" not in sent.flags for sent in s.out), "no reset answers a reset"
    moved = {pair for pair in seen if pair[0] is not pair[1]}
    assert (State.ESTABLISHED, State.CLOSE_WAIT) in moved
    assert (State.SYN_SENT, State.ESTABLISHED) in moved
    # Two steps in one segment: the ACK of our SYN or FIN, and a FIN.
    two_steps = {
        (State.SYN_RECEIVED, State.CLOSE_WAIT),
        (State.SYN_SENT, State.CLOSE_WAIT),
        (State.FIN_WAIT_1, State.TIME_WAIT),
    }
    assert moved <= set(TRANSITIONS) | two_steps


def _listening() -> Script:
    s = Script()
    s.conn.listen(s.now)
    return s


def _syn_sent() -> Script:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    return s


def _syn_received() -> Script:
    s = _listening()
    s.recv("S", 0)
    return s


def test_a_change_of_state_off_the_table_is_a_bug() -> None:
    conn = Connection(Settings(), 1)
    with pytest.raises(AssertionError, match="CLOSED"):
        conn.enter(State.ESTABLISHED)


def test_active_connection_carries_data_both_ways() -> None:
    s = active()
    s.write(b"to you")
    s.send("PA", 1, 1, b"to you")
    s.recv("PA", 1, 7, data=b"to me")
    assert s.read() == b"to me"
