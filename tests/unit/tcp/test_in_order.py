"""The short way of a segment in order, against the general one, in every state."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import pytest

from slirpy.tcp import Segment, TcpOptions
from slirpy.tcp.inorder import in_order
from slirpy.tcp.options import NONE
from slirpy.tcp.receive import segment_arrives
from slirpy.tcp.seq import MASK
from slirpy.units import MS
from slirpy.wire.tcp import ACK, FIN
from tests.unit.tcp.script import Script, passive
from tests.unit.tcp.states import DATA, WAYS, build, snapshot


def stamped() -> Script:
    """Open with SACK and timestamps, with data on their way."""
    return passive(None, sack_permitted=True, timestamps=(1000, 0)).write(DATA)


def unanswered() -> Script:
    """Open in this way, with an acknowledgement of the peer's data that is yet to be sent."""
    s = stamped()
    s.conn.last_ack = s.conn.rcv_nxt - 50 & MASK
    return s


def probed() -> Script:
    """Open in this way, after a probe of the end of the data."""
    s = stamped()
    assert s.conn.rack is not None
    s.conn.rack.tlp_end = s.conn.snd_max
    return s


MORE: dict[str, Callable[[], Script]] = {
    "timestamps": stamped,
    "an acknowledgement is due": unanswered,
    "a probe": probed,
    "a hole": lambda: build("ESTABLISHED").recv("A", 51, 1, data=DATA),
    "a FIN behind a hole": lambda: build("ESTABLISHED").recv("FA", 51, 1),
}
ALL: dict[str, Callable[[], Script]] = {**{name: partial(build, name) for name in WAYS}, **MORE}


NEVER = {"never opened", "ended", "LISTEN", "SYN-SENT", "TIME-WAIT", "a probe", "a hole"}
"""Ways to states in which every segment takes the general way."""
ENDED = {"CLOSE-WAIT", "CLOSING", "LAST-ACK", "a FIN behind a hole"}
"""Ways to states in which a FIN has arrived."""


@pytest.mark.parametrize("fin", [False, True], ids=["", "FIN"])
@pytest.mark.parametrize("way", ALL)
def test_both_ways_are_equal(way: str, fin: bool) -> None:
    """Acknowledgements of more or less than was sent, text up to the window, timestamps early and late."""
    taken = 0
    for later, ahead, length, stamp in itertools.product(
        (0, 3), (-1, 0, 1, 60, 100, 101, 102, 5000), (0, 7, None), (None, 900, 1000, 1005)
    ):
        after = []
        for short in (False, True):
            s = ALL[way]()
            conn = s.conn
            s.now += 5 * MS
            seq, ack = (conn.rcv_nxt + later) & MASK, (conn.snd_una + ahead) & MASK
            payload = bytes(conn.rcv_wnd if length is None else length)
            echo = None if stamp is None else conn.timestamp(s.now - 2 * MS)
            before = snapshot(conn)
            if not short:
                options = NONE if stamp is None else TcpOptions(timestamps=(stamp, echo or 0))
                segment_arrives(
                    conn, Segment(seq, ack, ACK | (FIN if fin else 0), 500, options, payload), s.now
                )
            elif in_order(conn, seq, ack, fin, 500, stamp, echo, payload, s.now):
                taken += 1
            else:
                assert snapshot(conn) == before
                continue
            after.append((snapshot(conn), conn.ack_now, conn.reset))
        assert len(set(map(repr, after))) == 1, (later, ahead, length, stamp)
    assert bool(taken) is (way not in NEVER and not (fin and way in ENDED))


@pytest.mark.parametrize("way", ["SYN-RECEIVED", "LAST-ACK", "FIN-WAIT-1", "CLOSE-WAIT", "ESTABLISHED"])
def test_the_usual_segments_take_it(way: str) -> None:
    s = build(way)
    conn = s.conn
    assert in_order(conn, conn.rcv_nxt, conn.snd_max, False, 500, None, None, b"", s.now + MS)
