"""Receive windows that grow with what the user takes."""

from __future__ import annotations

import pytest

from slirpy.tcp import Settings
from slirpy.tcp.window import WindowPool
from tests.unit.tcp.script import Script, passive

KIB = 1024


def upload(s: Script, size: int, *, read: bool = True) -> None:
    """The peer sends so many bytes, as far as the window lets it."""
    seq = (s.conn.rcv_nxt - s.irs) & 0xFFFFFFFF
    while size > 0:
        piece = min(size, 1000, s.conn.rcv_wnd)
        if not piece:
            break
        s.recv("A", seq, 1, data=bytes(piece))
        seq += piece
        size -= piece
        if read:
            s.conn.consume(s.conn.rcv_pending)
            s.flush()
    s.out.clear()


@pytest.mark.rfc("9293", "3.8.6")
def test_a_window_grows_to_its_bound_with_what_is_taken() -> None:
    s = passive(Settings(rcv_buffer=300 * KIB), wscale=7)
    upload(s, 30 * KIB)
    assert s.conn.rcv_limit == 64 * KIB
    grown = []
    for _ in range(8):
        upload(s, s.conn.rcv_limit)
        grown.append(s.conn.rcv_limit // KIB)
    assert grown[0] >= 150, "about three times as much for each window"
    assert grown[-1] == 300
    assert s.conn.rcv_wnd > 290 * KIB


def test_who_does_not_read_holds_one_small_window() -> None:
    s = passive(wscale=7)
    upload(s, 10_000_000, read=False)
    assert s.conn.rcv_limit == 64 * KIB
    assert s.conn.rcv_pending == 0xFFFF
    s.read()
    assert s.conn.rcv_limit == 64 * KIB + 2 * 0xFFFF


def test_a_window_that_has_grown_does_not_shrink() -> None:
    """A segment within an offered window may be on its way (RFC 9293, SHLD-14)."""
    s = passive(wscale=7)
    upload(s, 4_000_000)
    edge = s.conn.rcv_adv
    upload(s, 2_000_000, read=False)
    assert s.conn.rcv_pending >= (1 << 20) - 2 * 1460
    assert (s.conn.rcv_adv - edge) & 0xFFFFFFFF < 1 << 20


def test_without_scaling_nothing_beyond_sixteen_bits() -> None:
    s = passive()
    upload(s, 1_000_000)
    assert s.conn.rcv_limit == 0xFFFF


def test_a_first_window_above_the_bound_is_the_bound() -> None:
    s = passive(Settings(rcv_buffer=5000))
    assert s.conn.rcv_limit == 5000
    s = Script(Settings(rcv_buffer_initial=3000))
    s.conn.connect(s.now)
    s.flush()
    assert s.send("S", 0).wnd == 3000


def test_those_that_have_grown_share_what_there_is() -> None:
    pool = WindowPool(400 * KIB)
    some = []
    for _ in range(4):
        s = passive(wscale=7)
        s.conn.pool = pool
        upload(s, 4_000_000)
        some.append(s)
    assert pool.members == 4
    assert [s.conn.rcv_limit // KIB for s in some] == [400, 200, 133, 100]
    some[0].recv("R", (some[0].conn.rcv_nxt - some[0].irs) & 0xFFFFFFFF)
    some[1].shutdown()
    some[1].recv("FA", (some[1].conn.rcv_nxt - some[1].irs) & 0xFFFFFFFF, 2)
    assert pool.members == 2, "one is closed, one in TIME-WAIT"
    some[1].conn.abort()
    assert pool.members == 2
    upload(some[3], 1_000_000)
    assert some[3].conn.rcv_limit == 200 * KIB
