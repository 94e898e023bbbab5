"""Sequence number arithmetic, modulo 2**32 (RFC 9293, section 3.4).

``a < b`` means that ``a`` comes before ``b`` by less than half of the number space. A difference
``(b - a) & MASK`` is a distance if it is below :data:`HALF` and a negative one otherwise; the engine's busy
places write that out instead of calling.
"""

from __future__ import annotations

__all__ = ["HALF", "MASK", "seq_ge", "seq_gt", "seq_le", "seq_lt"]

MASK = 0xFFFFFFFF
HALF = 0x80000000


def seq_lt(a: int, b: int) -> bool:
    """Whether ``a`` comes before ``b``."""
    return (a - b) & MASK >= HALF


def seq_le(a: int, b: int) -> bool:
    """Whether ``a`` is ``b`` or comes before it."""
    return (b - a) & MASK < HALF


def seq_gt(a: int, b: int) -> bool:
    """Whether ``a`` comes after ``b``."""
    return (b - a) & MASK >= HALF


def seq_ge(a: int, b: int) -> bool:
    """Whether ``a`` is ``b`` or comes after it."""
    return (a - b) & MASK < HALF
