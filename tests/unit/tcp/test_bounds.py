"""Bounds on what a peer can make a connection hold, and on the time of a segment: measured, in the worst cases.

The bounds are those of docs/limits.md, "Memory of a connection".
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from random import Random

import pytest

from slirpy.tcp import Connection, Settings
from slirpy.tcp.connection import READ_AHEAD
from slirpy.tcp.loss.sack import MAX_RANGES as MAX_SACKED
from slirpy.tcp.reassembly import MAX_RANGES as MAX_HOLES
from slirpy.tcp.seq import MASK
from tests.support.effort import cheap
from tests.unit.tcp.script import SECOND, Script, passive

# `make coverage` allocates, and takes time, with each line.
pytestmark = pytest.mark.skipif(sys.gettrace() is not None, reason="not measured while lines are traced")

KIB = 1024
IDLE = 6 * KIB
"""An open connection that holds no data."""
FIRST = 64 * KIB
WINDOW = 1 << 20


def held(work: Callable[[], object]) -> int:
    """Bytes that ``work`` leaves allocated; the object that it returns is kept until then."""
    gc.collect()
    tracemalloc.start()
    kept = work()
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return size


def quiet(settings: Settings | None = None, **opts: object) -> Script:
    s = passive(settings, wnd=65535, **{"sack_permitted": True, "timestamps": (1, 1), "wscale": 7, **opts})  # type: ignore[arg-type] # each value fits its argument
    s.out.clear()
    return s


def feed(s: Script, seq: int, data: bytes, **more: object) -> None:
    s.recv("A", seq, 1, data=data, timestamps=(1, 1), **more)
    s.conn.copy_received()  # what the stack does after each batch
    s.out.clear()


def test_an_idle_connection_is_small() -> None:
    assert held(lambda: [quiet().conn for _ in range(50)]) < 50 * IDLE


def test_holes_of_single_bytes() -> None:
    """The maximum number of holes."""

    def work() -> Connection:
        s = quiet()
        for number in range(2 * MAX_HOLES):
            feed(s, 3 + 2 * number, b"x")
        assert len(s.conn.reassembly) == MAX_HOLES
        return s.conn

    assert held(work) < IDLE + 64 * KIB


@pytest.mark.long
@pytest.mark.parametrize("order", ["up", "down", "random"])
def test_early_text_byte_by_byte(order: str) -> None:
    """A window full, but for its first byte, in the smallest segments."""
    numbers = list(range(2000))
    if order == "down":
        numbers.reverse()
    elif order == "random":
        # Islands that grow together: as many as may be at a time.
        numbers = [start + step for step in range(20) for start in range(0, 2000, 20)]

    def work() -> Connection:
        s = quiet(Settings(rcv_buffer=FIRST))
        for number in numbers:
            feed(s, 2 + number, b"x")
        assert s.conn.reassembly.size == 2000
        return s.conn

    assert held(work) < IDLE + 2000 + 8 * KIB


def test_early_text_of_a_whole_window() -> None:
    def work() -> Connection:
        s = quiet(Settings(rcv_buffer_initial=WINDOW))
        s.flush()
        seq = 2
        while (room := s.conn.rcv_wnd - (seq - 1)) > 0:
            feed(s, seq, bytes(min(1460, room)))
            seq += 1460
        assert s.conn.reassembly.size > WINDOW * 0.9
        return s.conn

    assert held(work) < WINDOW * 1.2


@pytest.mark.parametrize("size", [1, 10, 1460])
def test_memory_of_unread_data_is_bounded(size: int) -> None:
    """In its turn, byte by byte: what one window holds, and not more for the cutting."""

    most = 3000 + 30 * size

    def work() -> Connection:
        s = quiet()
        seq = 1
        while s.conn.rcv_wnd >= size and seq < most:
            feed(s, seq, bytes(size))
            seq += size
        return s.conn

    assert held(work) < IDLE + most + size + 16 * KIB


def test_frames_are_not_kept_for_a_byte() -> None:
    def work() -> Connection:
        s = quiet()
        for number in range(40):
            frame = bytes(60_000)  # padding that nobody looks at
            s.conn.rcv_queue.append(memoryview(frame)[:1])
            s.conn.rcv_pending += 1
            s.conn.rcv_nxt = (s.conn.rcv_nxt + 1) & MASK
            del frame, number
        s.conn.copy_received()
        return s.conn

    assert held(work) < IDLE + 8 * KIB


def test_the_rest_of_a_large_piece_is_released() -> None:
    """The rest of a large piece is let go when it is less than half of it."""

    def work() -> Connection:
        s = quiet()
        feed(s, 1, bytes(60_000))
        s.conn.consume(59_000)
        s.conn.copy_received()
        return s.conn

    assert held(work) < IDLE + 4 * KIB


def test_a_peer_that_never_opens_its_window() -> None:
    def work() -> Connection:
        s = quiet()
        s.recv("A", 1, 1, wnd=0, timestamps=(1, 1))
        while room := s.conn.write_room():
            s.conn.write(bytes(min(room, 8192)))
            s.flush()
        s.wait(3600 * SECOND)
        s.out.clear()
        return s.conn

    assert held(work) < IDLE + READ_AHEAD + 16 * KIB


def test_a_peer_that_acknowledges_nothing_of_many_small_writes() -> None:
    """Each goes out at once, and stays until it is acknowledged: together, not as an object each."""

    def work() -> Connection:
        s = quiet()
        s.conn.cc.cwnd = 1 << 20
        s.recv("A", 1, 1, wnd=0xFFFF, timestamps=(1, 1))
        for _ in range(3000):
            s.conn.write(b"x")
            s.flush()
            s.out.clear()
        assert s.conn.flight == 3000
        return s.conn

    assert held(work) < IDLE + 3000 + 8 * KIB


@pytest.mark.parametrize("rack", [True, False])
def test_ranges_of_single_bytes(rack: bool) -> None:
    """The scoreboard, and what goes with it."""

    def work() -> Connection:
        s = quiet(Settings(rack=rack), mss=1460)
        s.conn.cc.cwnd = 1 << 20
        data = bytes(60_000)
        s.write(data)
        for number in range(2 * MAX_SACKED):
            edge = (s.iss + 2000 + 100 * number) & MASK
            s.recv("A", 1, 1, timestamps=(1, 1), sack=((edge, (edge + 1) & MASK),))
            s.out.clear()
        assert len(s.conn.sacked) == MAX_SACKED
        return s.conn

    assert held(work) < IDLE + 60_000 + 32 * KIB


def test_memory_goes_when_the_connection_closes() -> None:
    """The object may live on for a while, in a table; what it held does not. What the user has yet to read does."""

    def work() -> Connection:
        s = quiet(Settings(rcv_buffer_initial=WINDOW))
        feed(s, 1, b"unread")
        for number in range(100):
            feed(s, 101 + 2000 * number, bytes(1460))
        s.conn.cc.cwnd = 1 << 20
        s.write(bytes(500_000))
        s.out.clear()
        edge = (s.iss + 2000) & MASK
        feed(s, 7, b"", sack=((edge, (edge + 1460) & MASK),))
        feed(s, 7, b"")
        s.recv("R", 7)
        assert s.read() == b"unread"
        assert s.conn.rack is None
        return s.conn

    assert held(work) < IDLE


# --------------------------------------------------------------------------------------------- time


TIMES = 100
SLOW = TIMES * 500e-6
"""A machine of the project needs a fifth of this, and CI's may be busy; a cost that grows with the square of what is
held is far beyond it."""


def many(work: Callable[[], object]) -> None:
    for _ in range(TIMES):
        work()


def test_a_segment_takes_no_longer_behind_many_holes() -> None:
    s = quiet(Settings(rcv_buffer_initial=WINDOW))
    for number in range(MAX_HOLES):
        feed(s, 3 + 1000 * number, b"x" * 500)
    rng = Random(5)

    def piece(seq: int, data: bytes) -> None:
        feed(s, seq + 1000 * rng.randrange(MAX_HOLES), data)

    assert cheap(lambda: many(partial(piece, 3, b"y" * 100)), SLOW)
    assert cheap(lambda: many(partial(piece, 600, b"y" * 10)), SLOW)


def test_an_ack_takes_no_longer_with_many_ranges() -> None:
    s = quiet(mss=1460)
    s.conn.cc.cwnd = 1 << 20
    s.write(bytes(60_000))
    for number in range(MAX_SACKED):
        edge = (s.iss + 2000 + 100 * number) & MASK
        feed(s, 1, b"", sack=((edge, (edge + 1) & MASK),))
    rng = Random(6)

    def ack() -> None:
        edges = [(s.iss + 2000 + rng.randrange(50_000)) & MASK for _ in range(3)]
        feed(s, 1, b"", sack=tuple((edge, (edge + 1) & MASK) for edge in edges))

    assert cheap(lambda: many(ack), SLOW)
