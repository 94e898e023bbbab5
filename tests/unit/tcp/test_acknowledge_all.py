"""The short way of acknowledging all that is in flight, against the general one: the state after it is the same."""

from __future__ import annotations

import pytest

from slirpy.tcp.receive import acknowledge, acknowledge_all
from slirpy.tcp.sendbuffer import SendBuffer
from slirpy.tcp.seq import MASK
from slirpy.units import MS
from tests.unit.tcp.script import Script, passive
from tests.unit.tcp.states import DATA, snapshot

WINDOW = 60_000


def in_flight(sack: bool) -> Script:
    """A connection whose second exchange is on its way; the first one gave the estimates."""
    s = passive(None, wnd=WINDOW, mss=1012, sack_permitted=sack, timestamps=(1000, 0))
    s.write(DATA)
    s.now += 5 * MS
    echoed = s.conn.timestamp(s.now - 5 * MS)
    s.recv("PA", 1, 1 + len(DATA), wnd=WINDOW, data=b"next", timestamps=(1001, echoed))
    s.write(DATA)
    return s


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("delay", [0, 3 * MS, 40 * MS])
@pytest.mark.parametrize("window", [WINDOW, WINDOW - 1000, WINDOW + 1000])
@pytest.mark.parametrize("age", [0, 3 * MS, 10_000_000 * MS])
def test_the_short_way_is_equal_to_the_general_one(sack: bool, delay: int, window: int, age: int) -> None:
    """``age`` is the time since the segment that the peer echoes; one from before the opening is no sample."""
    after = []
    for short in (False, True):
        s = in_flight(sack)
        conn = s.conn
        s.now += delay
        ack, seq = (conn.snd_una + len(DATA)) & MASK, conn.rcv_nxt
        echoed = conn.timestamp(s.now) - age // MS & MASK
        if short:
            acknowledge_all(conn, ack, window, seq, echoed, s.now)
        else:
            assert acknowledge(conn, ack, window, seq, 1, False, echoed, s.now)
        s.flush()
        after.append(snapshot(conn))
    assert after[0] == after[1]


def test_data_that_is_sent_at_once_is_as_if_it_had_been_taken() -> None:
    general, short = SendBuffer(), SendBuffer()
    general.append(DATA)
    general.take(len(DATA))
    short.append_sent(DATA, len(DATA))
    assert snapshot(short) == snapshot(general)
    for each in (general, short):
        each.rewind()
        assert b"".join(map(bytes, each.take(len(DATA)))) == DATA
