"""A segment whose ACK cannot be changes nothing, whatever else it carries (RFC 5961, section 5.2).

The whole state of the connection is compared, field by field: the answer is all that may follow.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slirpy.tcp import Settings, State
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import MS, SECOND, Script, passive
from tests.unit.tcp.states import snapshot

WINDOW = 60_000
SENT = 3000
"""Number of our bytes in flight."""


def syn_received() -> Script:
    s = Script()
    s.conn.listen(s.now)
    s.recv("S", 0, wnd=WINDOW, mss=1000, sack_permitted=True, timestamps=(1000, 0))
    s.out.clear()
    return s


def established(settings: Settings | None = None) -> Script:
    """State with our data in flight, the peer's data received, and a hole after that."""
    s = passive(settings, wnd=WINDOW, mss=1012, sack_permitted=True, timestamps=(1000, 0))
    s.write(bytes(SENT))
    s.recv("A", 1, 1, wnd=WINDOW, data=bytes(100), timestamps=(1001, 0))
    s.recv("A", 201, 1, wnd=WINDOW, data=bytes(100), timestamps=(1001, 0))
    s.out.clear()
    return s


def half_closed() -> Script:
    s = established()
    s.shutdown()
    s.out.clear()
    return s


def close_wait() -> Script:
    s = established()
    s.recv("A", 101, 1, wnd=WINDOW, data=bytes(100), timestamps=(1002, 0))
    s.recv("FA", 301, 1, wnd=WINDOW, timestamps=(1002, 0))
    s.out.clear()
    return s.state(State.CLOSE_WAIT)


def time_wait() -> Script:
    s = passive(wnd=WINDOW, mss=1012, sack_permitted=True, timestamps=(1000, 0))
    s.shutdown()
    s.recv("FA", 1, 2, wnd=WINDOW, timestamps=(1001, 0))
    s.wait(1 * SECOND)
    s.out.clear()
    return s.state(State.TIME_WAIT)


def in_recovery() -> Script:
    s = established()
    start = (s.iss + 1) & MASK
    block = ((start + 1000) & MASK, (start + SENT) & MASK)
    s.recv("A", 101, 1, wnd=WINDOW, sack=(block,), timestamps=(1002, 0))
    s.out.clear()
    return s


def window_closed() -> Script:
    s = established()
    s.recv("A", 101, 1 + SENT, wnd=0, timestamps=(1002, 0))
    s.conn.write(bytes(100))
    s.wait(2 * SECOND)
    s.out.clear()
    return s


WAYS: dict[str, Callable[[], Script]] = {
    way.__name__: way
    for way in (syn_received, established, half_closed, close_wait, time_wait, in_recovery, window_closed)
}
COUNTING: dict[str, Callable[[], Script]] = {"counting": lambda: established(Settings(rack=False))}


@pytest.mark.rfc("5961", "5.2 old")
@pytest.mark.rfc("5961", "5.2 future")
@pytest.mark.rfc("5961", "5.2 whole")
@pytest.mark.parametrize("beyond", [1, 50_000, (1 << 31) - 5000])
@pytest.mark.parametrize("late", [False, True], ids=["never sent", "too old"])
@pytest.mark.parametrize("way", WAYS | COUNTING)
def test_nothing_of_its_segment_is_believed(way: str, late: bool, beyond: int) -> None:
    for offset in (-150, -100, -1, 0, 1, 100, 500):
        for size in (0, 1, 100, 400):
            for flags in ("A", "PA", "FA", "UA", "P", "F", "U"):
                s = (WAYS | COUNTING)[way]()
                conn = s.conn
                s.now += 10 * MS
                ack = (conn.snd_max if not late else conn.snd_una - conn.snd_wnd_max) - s.iss
                ack += -beyond if late else beyond
                before = snapshot(conn)
                start = (conn.rcv_nxt + offset) & MASK
                una = conn.snd_una
                s.recv(
                    flags,
                    (start - s.irs) & MASK,
                    ack & MASK,
                    wnd=7,
                    data=b"\xee" * size,
                    flush=False,
                    urg=50 if "U" in flags else 0,
                    timestamps=(1_000_000_000, conn.timestamp(s.now - 5 * MS)),
                    sack=((start, (start + 100) & MASK), (una, (una + 1000) & MASK)),
                )
                assert snapshot(conn) == before, (offset, size, flags)


@pytest.mark.rfc("5961", "5.2 whole")
def test_a_far_timestamp_with_an_impossible_ack_does_not_shut_out_the_peer() -> None:
    s = established()
    s.recv("A", 101, 50_000, wnd=WINDOW, timestamps=(1001 + 0x4000_0000, 0))
    s.recv("A", 101, 1, wnd=WINDOW, data=bytes(100), timestamps=(1002, 0))
    assert s.conn.rcv_nxt == (s.irs + 301) & MASK
    assert s.conn.stats.drop_tcp_paws == 0


@pytest.mark.rfc("9293", "3.10.7.4")
def test_only_the_peers_own_end_prolongs_time_wait() -> None:
    s = time_wait()
    before = s.conn.timer_at
    s.recv("FA", 500, 2, timestamps=(1002, 0), data=b"x")
    s.recv("FA", 0, 2, timestamps=(1002, 0))
    s.recv("FA", 1, 5000, timestamps=(1002, 0))
    assert s.conn.timer_at == before
    s.recv("FA", 1, 2, timestamps=(1002, 0))
    assert s.conn.timer_at > before
