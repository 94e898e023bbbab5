"""Receive windows that grow with what the user takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slirpy.tcp import Settings
from slirpy.tcp.window import ORDINARY, WindowPool
from tests.unit.tcp.script import MS, Script, passive

KIB = 1024


def upload(s: Script, size: int, *, read: bool = True, most: int = 1000) -> None:
    """The peer sends so many bytes, as far as the window lets it."""
    seq = (s.conn.rcv_nxt - s.irs) & 0xFFFFFFFF
    while size > 0:
        piece = min(size, most, s.conn.rcv_wnd)
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
def test_a_window_grows_to_its_bound_as_the_user_reads() -> None:
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


def test_a_user_that_does_not_read_holds_one_small_window() -> None:
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


def test_grown_windows_share_the_pool() -> None:
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


def crowd(number: int, pool: WindowPool) -> list[Script]:
    """Connections whose windows have grown one after the other, at the same time."""
    some = []
    for _ in range(number):
        s = passive(wscale=7)
        s.conn.pool = pool
        upload(s, 4_000_000, most=16 * KIB)
        some.append(s)
    return some


def test_active_connections_over_short_paths_share_what_a_card_can_queue() -> None:
    some = crowd(8, WindowPool(1 << 30, 4 << 20))
    assert [s.conn.rcv_limit >> 10 for s in some] == [1024] * 4 + [819, 682, 585, 512]
    for s in some:
        s.now += 70 * MS
        upload(s, KIB)
        assert s.conn.rcv_limit == 512 * KIB
        edge, offered = s.conn.rcv_adv, s.conn.rcv_wnd
        upload(s, offered - 512 * KIB)
        assert offered <= 512 * KIB or s.conn.rcv_adv == edge, "the edge of the window stays"
        upload(s, 4_000_000, most=16 * KIB)
    assert {s.conn.rcv_limit >> 10 for s in some} == {512}
    assert all(s.conn.rcv_wnd <= 512 * KIB for s in some)


def test_idle_connections_have_no_share() -> None:
    some = crowd(8, WindowPool(1 << 30, 4 << 20))
    for _ in range(3):
        some[0].now += 100 * MS
        upload(some[0], 4_000_000, most=16 * KIB)
    assert some[0].conn.rcv_limit == ORDINARY


def test_a_share_is_never_less_than_the_initial_window() -> None:
    some = crowd(4, WindowPool(1 << 30, 100 * KIB))
    assert [s.conn.rcv_limit for s in some] == [100 * KIB] + 3 * [Settings().rcv_buffer_initial]


# ------------------------------------------------------------------------------------------- long paths

LARGE = 0xFFFF << 9


def far(rtt: int) -> Script:
    """A connection over a path of ``rtt`` nanoseconds, as the handshake has measured."""
    s = Script(Settings(rcv_buffer=LARGE, snd_buffer=LARGE))
    s.conn.listen(s.now)
    s.recv("S", 0, wscale=9, mss=1460)
    s.flush()
    s.out.clear()
    s.wait(rtt)
    s.recv("A", 1, 1)
    return s


def rounds(s: Script, rtt: int, rates: list[int]) -> list[int]:
    """The window after each round trip in which the peer has sent so many bytes."""
    found = []
    for size in rates:
        upload(s, size, most=60_000)
        s.wait(rtt)
        found.append(s.conn.rcv_limit)
    return found


def test_a_long_path_gets_larger_windows_both_ways() -> None:
    assert [far(rtt * MS).conn.snd_limit for rtt in (0, 3, 20)] == [ORDINARY] * 3
    for rtt, most in ((50, ORDINARY + 9_600_000), (100, ORDINARY + 25_600_000), (200, LARGE)):
        conn = far(rtt * MS).conn
        assert (conn.snd_limit, conn.rcv_limit_max) == (most, most)
        assert conn.rcv_limit == 64 * KIB, "it has yet to grow"
    conn = far(200 * MS).conn
    conn.configure(replace(conn.settings, snd_buffer=5000))
    assert conn.snd_limit == 5000


def test_an_active_open_measures_the_path_too() -> None:
    s = Script(Settings(rcv_buffer=LARGE, snd_buffer=LARGE))
    s.conn.connect(s.now)
    s.flush()
    s.wait(200 * MS)
    s.recv("SA", 0, 1, wscale=9, mss=1460)
    assert (s.conn.snd_limit, s.conn.rcv_limit_max) == (LARGE, LARGE)


def test_beyond_the_ordinary_a_window_grows_by_round_trips() -> None:
    """The window doubles with a sender that doubles, and stays at twice the bytes of a round trip."""
    rtt = 200 * MS
    s = far(rtt)
    upload(s, 600 * KIB)
    s.wait(rtt)
    assert s.conn.rcv_limit == ORDINARY
    sizes = rounds(s, rtt, [KIB, 1 << 20, 2 << 20, 4 << 20, 4 << 20, 4 << 20])
    # A round ends with the first segment of the next one.
    for later, size in zip(sizes[2:5], (1 << 20, 2 << 20, 4 << 20), strict=True):
        assert 3.9 * size < later < 6.1 * size
    assert sizes[5] == sizes[4] < LARGE, "what arrives does not double any more"
    assert rounds(s, rtt, [16 << 20, KIB])[-1] == LARGE


def test_a_slow_sender_far_away_gets_an_ordinary_window() -> None:
    s = far(200 * MS)
    assert set(rounds(s, 200 * MS, [100 * KIB] * 60)[10:]) == {ORDINARY}, "six MiB in all"


def test_large_windows_share_the_pool() -> None:
    rtt = 200 * MS
    some = [far(rtt), far(rtt)]
    pool = WindowPool(8 << 20)
    for s in some:
        s.conn.pool = pool
        rounds(s, rtt, [600 * KIB, KIB, 1 << 20, 2 << 20, 4 << 20])
    assert [s.conn.rcv_limit for s in some] == [8 << 20, 4 << 20]
