"""Losses that are chosen one by one: each is sent again once, nothing else is, and in time.

Data goes from ``a`` to ``b`` over a link that takes a while for each segment, with an endless queue before it. What
is dropped is said by number: the n-th segment with data that ``a`` sends, or the n-th segment that ``b`` sends.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from slirpy.stats import Stats
from slirpy.tcp import Connection, Segment, Settings, State
from slirpy.tcp.congestion import Reno
from slirpy.testing import Pair
from tests.unit.tcp.script import MS

MSS = 1000
DELAY = 20 * MS
"""One way."""
EACH = 1 * MS
"""Time of one segment on the link: a round trip holds forty."""
SETTINGS = Settings(mss=MSS, congestion=Reno, rcv_buffer_initial=1 << 20)


@dataclass
class Run:
    """Events of a run."""

    sent: list[tuple[int, int, int]] = field(default_factory=list)
    """When, which byte first, how many: all that ``a`` sent with data."""
    dropped: int = 0
    """Bytes of those."""
    again: int = 0
    """Bytes that were sent before."""
    took: int = 0
    """Nanoseconds from the first of them to the ACK of the last."""
    stats: Stats = field(default_factory=Stats)
    window: int = 0
    """Congestion window at the end."""


def carry(
    size: int,
    drops: Collection[int] = (),
    *,
    ack_drops: Collection[int] = (),
    settings: Settings = SETTINGS,
    window: int = 30,
    iss: int = 0xFFFFF000,
    close: bool = False,
    late: Collection[int] = (),
    timestamps: bool = True,
) -> Run:
    """Carry so many segments. ``late`` ones take 4 ms more, and so come behind others."""
    run = Run()
    a = Connection(settings, iss, stats=run.stats)
    b = Connection(SETTINGS if timestamps else replace(SETTINGS, timestamps=False), 77)
    data = Random(size).randbytes(size * MSS)
    free = {"a": 0, "b": 0}
    count = {"a": 0, "b": 0}
    top = 0

    def wire(sender: str, segment: Segment) -> int | None:
        nonlocal top
        text = segment.payload
        number = count[sender]
        free[sender] = max(free[sender], pair.now) + (EACH if text else 0)
        queued = free[sender] - pair.now
        if sender == "b":
            count["b"] += 1
            return None if number in ack_drops else queued
        if not text:
            return queued
        count["a"] += 1
        at = (segment.seq - iss - 1) & 0xFFFFFFFF
        end = at + len(text)
        assert text == data[at:end]
        run.sent.append((pair.now, at, len(text)))
        run.again += max(0, min(end, top) - at)
        top = max(top, end)
        if number in drops:
            run.dropped += len(text)
            return None
        return queued + (4 * MS if number in late else 0)

    pair = Pair(a, b, delay=DELAY, wire=wire)
    b.listen(0)
    a.connect(0)
    pair.run_until(lambda: a.state is State.ESTABLISHED)
    started = pair.now
    a.cc.cwnd = window * MSS
    a.write(data)
    if close:
        a.shutdown()
    pair.run_until(lambda: not (a.snd_buf.length or a.flight), 100_000 * MS)
    run.took = pair.now - started
    run.window = a.cc.cwnd
    pair.run(100_000 * MS)
    assert bytes(pair.b_received) == data
    assert run.took
    return run


TEN = frozenset(range(0, 100, 10))
BURST = frozenset(range(40, 60))
ONE_AND_MORE = frozenset((20, *range(50, 56)))

# What is dropped, and the milliseconds that all of it may take: noticed by time, with timestamps and without; and the
# same noticed by counting. Less is better.
TABLE: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "nothing": ({}, (162, 151, 162, 151)),
    "one": ({"drops": {20}}, (180, 169, 197, 195)),
    "some of a flight": ({"drops": {20, 22, 24, 29}}, (186, 175, 199, 188)),
    "the first": ({"drops": {0}}, (274, 273, 280, 272)),
    "the last": ({"drops": {99}}, (211, 347, 393, 411)),
    "the last three": ({"drops": {97, 98, 99}}, (253, 367, 435, 451)),
    "a long burst": ({"drops": BURST}, (183, 182, 183, 182)),
    "one, and a burst behind it": ({"drops": ONE_AND_MORE}, (188, 176, 209, 206)),
    "one in ten": ({"drops": TEN}, (428, 401, 505, 505)),
    "one, and every second ACK": ({"drops": {20}, "ack_drops": range(1, 60, 2)}, (182, 171, 200, 198)),
}


@pytest.mark.rfc("8985", "6.2 lost")
@pytest.mark.parametrize("timestamps", [True, False], ids=["timestamps", "plain"])
@pytest.mark.parametrize("by_time", [True, False], ids=["rack", "counting"])
@pytest.mark.parametrize("name", list(TABLE))
def test_each_loss_is_made_good_once_and_in_time(name: str, by_time: bool, timestamps: bool) -> None:
    what, bounds = TABLE[name]
    run = carry(100, settings=replace(SETTINGS, rack=by_time), timestamps=timestamps, **what)
    assert run.took <= bounds[2 * (not by_time) + (not timestamps)] * MS
    assert run.stats.tcp_undone == 0, "what was lost was lost"
    assert run.dropped > 0 or name == "nothing"
    if by_time or name != "one in ten":  # many losses of retransmissions are what counting cannot see
        assert run.again == run.dropped
    if by_time:
        assert run.stats.tcp_retransmits == 0
    if not run.stats.tcp_retransmits:
        counted = run.stats.tcp_recovery_retransmits + run.stats.tcp_tail_probes
        assert counted == run.again // (988 if timestamps else 1000)


@pytest.mark.rfc("3522", "3.2")
def test_a_spurious_retransmission_is_undone() -> None:
    """4 ms late, behind four others: it is sent again at first, and then known to have been late."""
    run = carry(100, late={30, 50})
    assert run.again <= MSS
    assert (run.stats.tcp_undone, run.stats.tcp_fast_retransmits) == (1, 1)
    assert run.window >= 120 * MSS
    assert run.took <= 163 * MS
    without = carry(100, late={30, 50}, timestamps=False)
    assert without.stats.tcp_undone == 1, "D-SACK tells of it too"
    assert without.took <= 163 * MS


@pytest.mark.parametrize("by_time", [True, False], ids=["rack", "counting"])
def test_the_end_of_the_stream_is_sent_again_too(by_time: bool) -> None:
    """The last segment carries the FIN, and is lost."""
    run = carry(100, {101}, settings=replace(SETTINGS, rack=by_time), close=True)
    assert run.again == run.dropped == 100 * MSS % 988
    assert run.stats.tcp_retransmits == (not by_time)
    assert run.took <= (382 if by_time else 403) * MS


def test_where_the_link_cuts_nothing_else_is_different() -> None:
    run = carry(100, {3, 4}, settings=replace(SETTINGS, max_burst=8 * MSS))
    assert run.again == run.dropped > 0
    assert run.stats.tcp_retransmits == 0
