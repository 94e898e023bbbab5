"""Findings of the property tests of the TCP engine, each as the few segments that it takes."""

from __future__ import annotations

import pytest

from slirpy.tcp import Settings, State
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import SECOND, Script, passive


def test_listening_for_long_leaves_time_to_open() -> None:
    s = Script()
    s.conn.listen(s.now)
    s.wait(1000 * SECOND).recv("S", 0, mss=1460)
    s.send("SA", 0, 1)
    s.wait(2 * SECOND)
    s.send("SA", 0, 1)
    s.state(State.SYN_RECEIVED).wait(180 * SECOND).state(State.CLOSED)


def test_simultaneous_open_in_one_batch_is_acknowledged() -> None:
    s = Script()
    s.conn.connect(s.now)
    s.flush()
    s.send("S", 0)
    s.recv("S", 0, mss=1460, flush=False).recv("SA", 0, 1, mss=1460)
    s.send("A", 1, 1)
    s.silence().state(State.ESTABLISHED)


def test_a_one_byte_buffer_does_not_cause_endless_window_updates() -> None:
    s = passive(Settings(rcv_buffer=1), wnd=1000)
    for i in range(3):
        s.recv("A", 1 + i, 1, wnd=1000, data=b"x")
        s.send("A", 1, 2 + i)
        s.silence()
        s.read()
        s.send("A", 1, 2 + i)
        s.flush()
        s.silence()


@pytest.mark.rfc("9293", "3.10.7.4")
def test_an_old_segment_with_a_new_ack_updates_the_window() -> None:
    """SND.UNA moves, and so must the window: its right edge has not moved."""
    s = passive(wnd=4000, mss=1000)
    s.write(bytes(6000))
    for i in range(4):
        s.send("A", 1 + 1000 * i, 1)
    s.recv("A", 3, 1001, wnd=3000)  # the peer has sent two bytes, which are lost
    s.recv("A", 1, 2001, wnd=2000, data=b"ab")  # and sends them again
    s.wait(20 * 1_000_000)
    s.send("A", 4001, 3, b"")
    s.silence()
    assert s.conn.snd_wnd == 2000


@pytest.mark.rfc("3042", "2")
def test_duplicates_after_a_time_out_let_nothing_new_out() -> None:
    """Duplicates of retransmissions do not count, or a batch's second output would send what the first may not."""
    s = passive(wnd=65535, mss=1000)
    s.write(bytes(3000))
    for i in range(3):
        s.send("PA" if i == 2 else "A", 1 + 1000 * i, 1)
    s.wait(200 * 1_000_000)
    s.send("A", 1, 1)
    s.write(bytes(3000))
    s.silence()
    s.recv("A", 1, 1001, wnd=65535, flush=False).recv("A", 1, 1001, wnd=65535)
    s.send("A", 1001, 1)
    s.send("A", 2001, 1)
    s.silence()
    s.flush()
    s.silence()


@pytest.mark.rfc("9293", "MUST-36")
@pytest.mark.parametrize("window", [0, 1])
def test_window_probing_continues_after_a_timeout_is_undone(window: int) -> None:
    """The probe is no data that a timeout went back over: with SND.NXT behind it nobody would ask again."""
    s = passive(wnd=100, mss=1000, sack_permitted=True)
    s.write(bytes(300)).wait(SECOND)  # a probe of the tail, and timeouts
    assert s.conn.retries
    s.recv("A", 1, 101, wnd=0).wait(SECOND)  # and then one of the window
    s.out.clear()
    assert s.conn.stats.tcp_zero_window_probes
    before = s.conn.snd_una
    s.recv("A", 1, 101, wnd=0, sack=(((s.iss + 1) & MASK, (s.iss + 101) & MASK),), flush=False)
    assert s.conn.stats.tcp_undone == 1
    s.recv("A", 1, 101, wnd=window)
    assert s.conn.deadline() is not None
    s.wait(10 * SECOND)
    assert s.conn.snd_una == before
    assert [sent.seq for sent in s.out if sent.data] == [101] * len(s.out) != []
