"""Windows, ours and what lies in them, to the byte."""

from __future__ import annotations

import pytest

from slirpy.tcp import Connection, Segment, Settings
from slirpy.tcp.congestion import Reno
from slirpy.tcp.emit import window_field
from slirpy.tcp.pathmtu import too_big
from slirpy.tcp.seq import MASK
from slirpy.testing import Pair
from tests.unit.tcp.script import MS, SECOND, Script, passive

MSS = 1460

# ------------------------------------------------------------------------------------------ windows


def updated(limit: int, pending: int, known: int, *, received: int = 9000, mss: int = MSS) -> bool:
    """Report whether a window update is sent: the peer knows of ``known`` bytes, and ``limit - pending`` are free."""
    s = passive(Settings(mss=mss), mss=mss)
    conn = s.conn
    conn.rcv_nxt = conn.last_ack = (conn.irs + 1 + received) & MASK
    conn.rcv_limit = conn.rcv_limit_max = limit
    conn.rcv_pending = pending
    conn.rcv_adv = (conn.rcv_nxt + known) & MASK
    s.flush()
    if not s.out:
        return False
    assert s.send("A", ack=1 + received).wnd == limit - pending
    s.silence()
    return True


@pytest.mark.rfc("9293", "MUST-39")
@pytest.mark.parametrize(
    ("limit", "pending", "known", "answer"),
    [
        (10_000, 0, 5000, True),  # half of the buffer
        (10_000, 0, 5001, False),
        (10_001, 0, 5000, True),
        (10_001, 0, 5001, False),
        (20_000, 14_160, 2920, True),  # two segments, as much again as was known
        (20_000, 14_159, 2921, False),
        (20_000, 14_160, 2921, False),  # a byte less than two segments
        (20_000, 14_000, 3001, False),  # less than as much again
        (20_000, 14_000, 3000, True),
        (20_000, 17_080, 0, True),
        (20_000, 17_081, 0, False),
    ],
)
def test_window_updates_wait_for_a_useful_size(limit: int, pending: int, known: int, answer: bool) -> None:
    assert updated(limit, pending, known) is answer


def test_the_first_window_is_not_news() -> None:
    """The window that the SYN could not express goes with the first ACK, and causes none of its own."""
    assert not updated(60_000, 0, 1000, received=0)
    assert updated(60_000, 0, 1000, received=1)


@pytest.mark.rfc("9293", "MUST-39")
@pytest.mark.rfc("9293", "SHLD-14")
@pytest.mark.parametrize(
    ("limit", "growth", "moves"),
    [
        (10_000, 2920, True),
        (10_000, 2919, False),
        (4000, 2000, True),
        (4000, 1999, False),
        (4001, 2000, True),
        (10_000, 0, False),
        (10_000, -500, False),
    ],
)
def test_the_edge_moves_by_two_segments_or_half_of_the_buffer(limit: int, growth: int, moves: bool) -> None:
    conn = passive().conn
    conn.rcv_limit = limit
    known = limit - max(growth, 0)
    conn.rcv_pending = limit - known - growth
    conn.rcv_adv = (conn.rcv_nxt + known) & MASK
    assert window_field(conn) == (known + growth if moves else known)
    assert conn.rcv_wnd == (known + growth if moves else known)


def test_a_window_that_cannot_be_scaled_ends_at_16_bits() -> None:
    s = passive(Settings(rcv_buffer=1 << 20, rcv_buffer_initial=1 << 20))
    assert (s.conn.rcv_limit, s.conn.rcv_limit_max) == (0xFFFF, 0xFFFF)
    s.recv("A", 1, 1, data=b"x").wait(SECOND)
    assert s.conn.rcv_wnd == 0xFFFF - 1


def test_a_window_grows_only_with_received_data() -> None:
    """Wherever the peer's numbers begin."""
    for irs in (0x30000000, 0x7FFFFFF0, 0xC0000000):
        s = Script(Settings(), irs=irs)
        s.conn.listen(s.now)
        s.recv("S", 0, wscale=7, mss=MSS)
        s.recv("A", 1, 1)
        before = s.conn.rcv_limit
        s.recv("A", 1, 1, data=bytes(1000))
        s.read()
        assert s.conn.rcv_limit == before
        for n in range(40):
            s.recv("A", 1001 + 1000 * n, 1, data=bytes(1000))
            s.read()
        assert s.conn.rcv_limit > before


# ------------------------------------------------------------------------------- what is in the window


WINDOW = 100


def windowed() -> Script:
    """Connection with a receive buffer of 1000 bytes, and with SACK."""
    s = passive(Settings(rcv_buffer=1000, rcv_buffer_initial=1000), sack_permitted=True)
    s.conn.rcv_adv = (s.conn.rcv_nxt + WINDOW) & MASK
    s.conn.rcv_limit = s.conn.rcv_limit_max = WINDOW
    return s


@pytest.mark.rfc("9293", "3.10.7.4")
@pytest.mark.parametrize(
    ("start", "length", "delivered", "kept", "counter"),
    [
        (0, 100, 100, 0, ""),
        (0, 101, 100, 0, ""),  # cut
        (-1, 101, 100, 0, ""),  # ends where the window does
        (-1, 100, 99, 0, ""),
        (-5, 200, 100, 0, ""),  # cut on both sides
        (-5, 6, 1, 0, ""),
        (-5, 5, 0, 0, "drop_tcp_old"),
        (-5, 4, 0, 0, "drop_tcp_old"),
        (99, 1, 0, 1, ""),
        (99, 5, 0, 1, ""),
        (50, 60, 0, 50, ""),
        (50, 50, 0, 50, ""),
        (50, 49, 0, 49, ""),
        (1, 99, 0, 99, ""),
        (100, 1, 0, 0, "drop_tcp_out_of_window"),
        (101, 5, 0, 0, "drop_tcp_out_of_window"),
    ],
)
def test_data_is_accepted_only_inside_the_window(
    start: int, length: int, delivered: int, kept: int, counter: str
) -> None:
    data = bytes(n % 251 for n in range(length))
    s = windowed()
    s.recv("A", 1 + start, 1, data=data)
    stats = s.conn.stats
    assert (stats.drop_tcp_old, stats.drop_tcp_out_of_window) == (
        int(counter == "drop_tcp_old"),
        int(counter == "drop_tcp_out_of_window"),
    )
    assert b"".join(s.conn.rcv_queue) == data[-start if start < 0 else 0 :][:delivered]
    assert s.conn.reassembly.size == kept
    if kept or counter or start < 0:
        answer = s.send("A", 1, 1 + delivered)
        blocks = [((a - s.irs - 1) & MASK, (b - s.irs - 1) & MASK) for a, b in answer.options.sack]
        twice = ((start & MASK), min(start + length, 0) & MASK)
        assert blocks == ([(start, start + kept)] if kept else [twice] if start < 0 else [])
    if kept:
        s.recv("A", 1, 1, data=bytes(start))
        assert b"".join(s.conn.rcv_queue) == bytes(start) + data[:kept]


@pytest.mark.rfc("9293", "MUST-38")
@pytest.mark.parametrize(("wnd", "length"), [(1199, 0), (1200, 1200), (1201, 1201), (1, 0)])
def test_less_than_a_segment_waits_for_half_of_the_largest_window(wnd: int, length: int) -> None:
    s = passive(wnd=2400)
    s.recv("A", 1, 1, wnd=wnd)
    s.write(bytes(5000))
    assert sum(len(sent.data) for sent in s.out) == length


@pytest.mark.rfc("5681", "3.1")
def test_reno_to_the_byte() -> None:
    cc = Reno(1000)
    cc.on_timeout(4500)
    assert (cc.ssthresh, cc.cwnd) == (2250, 1000)
    cc.on_timeout(3999)
    assert cc.ssthresh == 2000
    cc.undo()
    assert (cc.ssthresh, cc.cwnd) == (2250, 1000)
    cc.cwnd = cc.ssthresh = 5_000_000
    cc.on_ack(1, 0, 0, 0)
    assert cc.cwnd == 5_000_001
    cc.cwnd = 1001
    cc.ssthresh = 0
    cc.on_idle()
    assert (cc.ssthresh, cc.cwnd) == (750, 1001)
    assert isinstance(cc.ssthresh, int)


@pytest.mark.rfc("5681", "3 fin")
def test_a_fin_rides_on_the_data_that_fill_the_congestion_window() -> None:
    s = passive(wnd=65535, mss=1000)
    s.conn.write(bytes(10_000))
    s.shutdown()
    assert [(sent.flags, len(sent.data)) for sent in s.out] == [("A", 1000)] * 9 + [("FPA", 1000)]


@pytest.mark.rfc("9438", "5.8")
@pytest.mark.parametrize(("text", "filled"), [(9_500, True), (500, False)])
def test_a_fin_after_text_that_fills_the_congestion_window(text: int, filled: bool) -> None:
    """The window is full until the FIN is acknowledged; beside that, nothing lets it grow."""
    s = passive(wnd=65535, mss=1000)
    s.write(bytes(text))
    s.shutdown()
    assert s.out[-1].flags == "FA"
    assert s.conn.cwnd_filled == (s.conn.snd_max if filled else None)


@pytest.mark.rfc("5681", "3 fin")
@pytest.mark.parametrize("sack", [False, True])
def test_after_a_time_out_a_fin_waits_for_its_turn(sack: bool) -> None:
    """One output sends all that is due: the next one sends nothing."""
    s = passive(wnd=65535, mss=1000, sack_permitted=sack)
    s.write(bytes(1000))
    s.shutdown()
    s.out.clear()
    while s.conn.retries < 1:
        s.wait(200_000_000)
    assert [(sent.flags, len(sent.data)) for sent in s.out[-1:]] == [("PA", 1000)]
    s.out.clear()
    s.flush()
    s.silence()


@pytest.mark.rfc("5681", "3 fin")
@pytest.mark.parametrize("rack", [False, True])
def test_while_something_may_be_missing_a_fin_waits_for_its_turn(rack: bool) -> None:
    s = passive(Settings(rack=rack), wnd=65535, mss=1000, sack_permitted=True)
    s.write(bytes(10_000))
    s.out.clear()
    first = s.iss + 1
    s.conn.cc.cwnd = 9_000
    s.recv("A", 1, 1, sack=(((first + 9000) & MASK, (first + 10_000) & MASK),), flush=False)
    s.shutdown()
    assert not any("F" in sent.flags for sent in s.out)
    s.out.clear()
    s.flush()
    s.silence()


@pytest.mark.rfc("5681", "3 fin")
def test_a_fin_keeps_to_the_peers_window() -> None:
    s = passive(wnd=3000, mss=1000)
    s.conn.write(bytes(3000))
    s.shutdown()
    assert [(sent.flags, len(sent.data)) for sent in s.out] == [("A", 1000)] * 2 + [("PA", 1000)]


# ---------------------------------------------------------------------------------- at the right edge


@pytest.mark.rfc("9293", "3.10.7.4")
@pytest.mark.parametrize("early", [0, 400])
@pytest.mark.parametrize(("room", "taken"), [(1000, False), (1001, True)])
def test_a_fin_behind_the_window_is_not_taken(early: int, room: int, taken: bool) -> None:
    """The FIN has a number of its own: where text fills the window, it lies beyond the edge."""
    s = passive(Settings(rcv_buffer_initial=room, rcv_buffer=room))
    assert s.conn.rcv_wnd == room
    s.recv("FA", 1 + early, 1, data=bytes(1000 - early))
    s.recv("A", 1, 1, data=bytes(early))
    assert s.conn.rcv_pending == 1000
    assert s.conn.fin_received is taken
    s.out.clear()
    s.read()
    s.out.clear()
    s.recv("FA", 1001, 1)
    assert s.conn.fin_received


@pytest.mark.rfc("9293", "3.10.7.4")
@pytest.mark.parametrize("payload", [499, 500])
def test_a_fin_behind_the_window_of_a_syn_is_not_kept(payload: int) -> None:
    s = Script(Settings(rcv_buffer_initial=500, rcv_buffer=500))
    s.conn.listen(s.now)
    s.recv("SF", 0, data=bytes(payload))
    s.recv("A", 1 + payload + (payload < 500), 1)
    assert s.conn.rcv_pending == payload
    assert s.conn.fin_received is (payload < 500)


@pytest.mark.rfc("9293", "3.10.7.4 edge")
@pytest.mark.parametrize(("beyond", "heard"), [(-1, True), (0, True), (1, False)])
def test_an_ack_at_the_right_edge_of_the_window_counts(beyond: int, heard: bool) -> None:
    """The peer has sent all that the window lets out, and its ACKs are numbered by that."""
    s = passive(Settings(rcv_buffer_initial=1050, rcv_buffer=1050))
    s.write(b"x" * 100)
    s.out.clear()
    s.recv("A", 1 + 1050 + beyond, 101)
    assert (s.conn.snd_buf.length == 0) is heard
    assert s.conn.rcv_nxt == (s.irs + 1) & MASK


@pytest.mark.rfc("5961", "3.2 outside")
def test_a_reset_at_the_right_edge_of_the_window_is_outside() -> None:
    s = passive(Settings(rcv_buffer_initial=1050, rcv_buffer=1050))
    s.recv("R", 1 + 1050).silence()
    assert s.conn.stats.drop_tcp_reset == 1
    s.recv("R", 1 + 1049).send("A", 1, 1)


@pytest.mark.rfc("9293", "3.10.7.4 edge")
def test_peers_with_full_windows_recover_when_both_paths_narrow() -> None:
    """Each has sent what the other's window holds, and lost it; each then numbers its ACKs by the other's edge."""
    settings = Settings(mss=1050, rcv_buffer_initial=1050, rcv_buffer=1050, timestamps=False, sack=False)
    largest = 2000

    def wire(sender: str, segment: Segment) -> int | None:
        return None if len(segment.payload) > largest else 0

    pair = Pair(Connection(settings, 1), Connection(settings, 2), wire=wire)
    pair.connect()
    largest = 100
    data = bytes(range(250)) * 20
    for end in (pair.a, pair.b):
        end.write(data)
    pair.run(MS)
    for end in (pair.a, pair.b):
        assert end.snd_max == (end.snd_una + end.snd_wnd) & MASK
        assert too_big(end, end.snd_una, 140, 1090, ip_header=20, least_mtu=68)
        end.cc.cwnd = end.mss  # as after a timeout
    pair.run_until(lambda: pair.a_received == pair.b_received == data, 600 * SECOND)


@pytest.mark.parametrize("scale", range(15))
def test_the_window_scale_is_the_smallest_that_fits(scale: int) -> None:
    largest = 0xFFFF << scale
    assert Settings(rcv_buffer=largest, rcv_buffer_initial=1000).wscale == scale
    assert Settings(rcv_buffer=largest + 1, rcv_buffer_initial=1000).wscale == min(scale + 1, 14)
