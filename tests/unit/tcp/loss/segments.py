"""Segments told by their number, from 0, with RACK (RFC 8985) and with counting (RFC 6675)."""

from __future__ import annotations

from typing import Any

import pytest

from slirpy.tcp import Settings
from slirpy.tcp.congestion import Reno
from slirpy.tcp.seq import MASK
from tests.unit.tcp.script import ISS, MS, Script, passive

MSS = 1460
RACK = Settings(congestion=Reno)
COUNTING = Settings(congestion=Reno, rack=False)
BOTH = pytest.mark.parametrize("settings", [RACK, COUNTING], ids=["rack", "counting"])


def number(n: int) -> int:
    return (ISS + 1 + n * MSS) & MASK


def sack_blocks(*blocks: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple((number(a), number(b)) for a, b in blocks)


def sending(settings: Settings, segments: int, *, window: int = 0, **opts: Any) -> Script:
    """Return a connection with ``segments`` in flight, 5 ms after they were sent."""
    s = passive(settings, wnd=60_000, sack_permitted=True, wscale=3, **opts)
    s.recv("A", 1, 1, wnd=60_000)
    s.conn.cc.cwnd = (window or segments) * MSS
    s.write(bytes(segments * MSS))
    assert sent(s) == list(range(segments))
    s.now += 5 * MS
    return s


def sent(s: Script) -> list[int]:
    """Numbers of the segments that were sent."""
    numbers = [(one.seq - 1) // MSS for one in s.out]
    s.out.clear()
    return numbers
