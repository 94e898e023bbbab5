"""Urgent data (RFC 9293, section 3.8.5; RFC 6093): a pointer that goes ahead of the data, which stay in line."""

from __future__ import annotations

import pytest

from slirpy.errors import StateError
from slirpy.tcp import Settings
from slirpy.tcp.seq import MASK
from slirpy.tcp.states import CLOSE_WAIT
from tests.unit.tcp.script import IRS, ISS, Script


def opened(settings: Settings | None = None, *, wnd: int = 65535) -> Script:
    s = Script(settings)
    s.conn.listen(s.now)
    s.recv("S", 0, mss=1000, wnd=wnd)
    s.send("SA", 0)
    s.recv("A", 1, 1, wnd=wnd).silence()
    return s


@pytest.mark.rfc("9293", "MUST-30")
@pytest.mark.rfc("9293", "MUST-32")
@pytest.mark.rfc("9293", "MUST-33")
def test_the_user_learns_how_far_the_stream_is_urgent() -> None:
    s = opened()
    assert s.conn.urgent_ahead == 0
    s.recv("AU", 1, 1, data=b"ab!cd", urg=3)
    assert s.conn.urgent_ahead == 3
    assert s.conn.rcv_up == ((IRS + 4) & MASK)
    assert s.conn.stats.tcp_urgent_in == 1
    s.conn.consume(2)
    assert s.conn.urgent_ahead == 1
    s.conn.consume(1)
    assert s.conn.urgent_ahead == 0
    assert s.read() == b"cd"


@pytest.mark.rfc("9293", "MUST-32")
def test_the_pointer_comes_before_the_data_and_moves_ahead_only() -> None:
    s = opened()
    s.recv("AU", 1, 1, urg=3000)
    assert (s.conn.urgent_ahead, s.conn.stats.tcp_urgent_in) == (3000, 1)
    s.recv("AU", 1, 1, data=bytes(1000), urg=3000)
    s.recv("AU", 1001, 1, data=bytes(1000), urg=10)
    assert (s.conn.urgent_ahead, s.conn.stats.tcp_urgent_in) == (3000, 1)
    s.recv("AU", 2001, 1, data=bytes(1000), urg=1001)
    assert (s.conn.urgent_ahead, s.conn.stats.tcp_urgent_in) == (3001, 2)
    s.conn.consume(3000)
    assert s.conn.urgent_ahead == 1


@pytest.mark.rfc("9293", "MUST-31")
def test_urgent_data_of_any_length_come_in() -> None:
    s = opened()
    s.recv("AU", 1, 1, data=bytes(100), urg=0xFFFF)
    for number in range(1, 1000):
        s.recv("AU", 1 + 100 * number, 1, data=bytes(100), urg=0xFFFF)
        s.conn.consume(100)
        assert s.conn.urgent_ahead == 0xFFFF
    assert s.conn.stats.tcp_urgent_in == 1000


def test_a_pointer_without_the_flag_or_without_a_distance_means_nothing() -> None:
    s = opened()
    s.recv("A", 1, 1, data=b"text", urg=4)
    s.recv("AU", 5, 1, data=b"text", urg=0)
    assert (s.conn.rcv_up, s.conn.stats.tcp_urgent_in) == (None, 0)
    s.read()
    s.recv("AU", 1, 1, data=b"text", urg=4)  # again, and all of it is taken
    assert (s.conn.rcv_up, s.conn.stats.tcp_urgent_in) == (None, 0)


@pytest.mark.rfc("9293", "MUST-66")
def test_the_pointer_is_seen_at_a_closed_window() -> None:
    s = opened(Settings(rcv_buffer=1000))
    s.recv("A", 1, 1, data=bytes(1000))
    s.recv("AU", 1001, 1, data=b"x", urg=1)
    assert s.conn.rcv_pending == 1000
    assert s.conn.urgent_ahead == 1001


def test_after_the_end_there_is_nothing_urgent() -> None:
    s = opened()
    s.recv("AUF", 1, 1, data=b"end", urg=3).state(CLOSE_WAIT)
    assert s.conn.urgent_ahead == 3
    s.recv("AU", 5, 1, urg=100)
    assert s.conn.urgent_ahead == 3
    s.conn.consume(3)
    assert s.conn.rcv_up is None


def test_a_pointer_behind_the_end_is_forgotten_with_the_rest() -> None:
    s = opened()
    s.recv("AUF", 1, 1, data=b"end", urg=2)
    s.conn.consume(3)
    assert (s.conn.rcv_up, s.conn.urgent_ahead) == (None, 0)


@pytest.mark.rfc("6093", "2")
@pytest.mark.rfc("9293", "MUST-30")
@pytest.mark.rfc("9293", "MUST-62")
def test_the_pointer_that_is_sent_is_behind_the_urgent_data() -> None:
    s = opened()
    s.conn.write(b"quiet")
    s.conn.write_urgent(b"loud")
    s.conn.write(b"quiet")
    s.flush()
    sent = s.send("PAU", 1, 1, b"quietloudquiet")
    assert sent.urg == 9
    s.write(b"more")
    assert s.send("PA", 15, 1, b"more").urg == 0
    s.recv("A", 1, 19).silence()
    assert s.conn.snd_up is None


@pytest.mark.rfc("9293", "MUST-31")
def test_every_segment_of_a_long_urgent_sequence_has_the_pointer() -> None:
    s = opened(Settings(max_burst=60000), wnd=0xFFFF)
    s.conn.cc.cwnd = 1 << 20
    s.conn.write(bytes(1000))
    s.conn.write_urgent(bytes(59_000))
    s.flush()
    assert [(sent.flags[-1], sent.urg, len(sent.data)) for sent in s.out] == [
        ("U", 60_000 - 1000 * number, 1000) for number in range(60)
    ], "a link that cuts would repeat one pointer in all its segments"
    s.out.clear()
    s.wait(2_000_000_000)
    assert s.out[0].urg == 60_000, "what is sent again tells it too"


@pytest.mark.rfc("9293", "MUST-31")
def test_a_pointer_too_far_away_for_the_field() -> None:
    s = opened(wnd=1000)
    s.write(bytes(1000))
    s.send("PA", 1)
    s.conn.write_urgent(bytes(100_000))
    s.recv("A", 1, 1, wnd=1000, data=b"x")
    s.wait(100_000_000)
    assert s.send("AU", 1001, 2, b"").urg == 0xFFFF, "an ACK tells it while the window keeps the data back"


def test_urgent_before_the_connection_is_open() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.conn.write_urgent(b"hello")
    s.recv("SA", 0, 1, mss=1000)
    assert s.send("PAU", 1, 1, b"hello").urg == 5
    s.conn.shutdown()
    with pytest.raises(StateError, match="closing"):
        s.conn.write_urgent(b"late")
    assert s.conn.snd_up == (ISS + 6) & MASK


def test_the_syn_is_acknowledged_once() -> None:
    """After 4 GiB SND.UNA is at the number of the SYN again, and one byte must not be taken for it."""
    s = opened()
    s.conn.iss = s.iss = s.conn.snd_una
    s.write(b"0123456789")
    s.send("PA", 0, 1, b"0123456789")
    s.recv("A", 1, 10)
    assert s.conn.snd_buf.length == 0
    s.conn.write_urgent(b"!")
    s.flush()
    assert s.send("PAU", 10, 1, b"!").urg == 1
