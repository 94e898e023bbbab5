"""Batches of segments that a connection gets, and the ACKs that it answers with."""

from __future__ import annotations

from tests.unit.tcp.script import Script

MSS = 1460
TEXT = bytes(MSS)


def arrive(s: Script, first: int, count: int) -> None:
    """Segments in one batch; the first one's number is 1."""
    for n in range(first, first + count):
        s.recv("A", 1 + (n - 1) * MSS, 1, data=TEXT, flush=False)
    s.flush()


def answers(s: Script) -> list[int]:
    """Number of segments that each of our ACKs acknowledges; then the user takes them."""
    assert all(sent.flags == "A" and not sent.data for sent in s.out)
    numbers = [((sent.ack or 1) - 1) // MSS for sent in s.out]
    s.out.clear()
    s.read()
    s.out.clear()
    return numbers
