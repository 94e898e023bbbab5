"""Sequence number arithmetic, modulo 2**32 (RFC 9293, section 3.4).

``a < b`` means that ``a`` is before ``b`` by less than half of the number space. A difference ``(b - a) & MASK`` is
positive if it is less than :data:`HALF`, and negative otherwise. Hot paths of the engine compute it in place instead
of calling a function.
"""

from __future__ import annotations

from slirpy.mypyc import Final

__all__ = ["HALF", "MASK", "seq_ge", "seq_gt", "seq_le", "seq_lt"]

MASK: Final = 0xFFFFFFFF
HALF: Final = 0x80000000


def seq_lt(a: int, b: int) -> bool:
    """Report whether ``a`` is before ``b``."""
    return (a - b) & MASK >= HALF


def seq_le(a: int, b: int) -> bool:
    """Report whether ``a`` is ``b`` or before it."""
    return (b - a) & MASK < HALF


def seq_gt(a: int, b: int) -> bool:
    """Report whether ``a`` is after ``b``."""
    return (b - a) & MASK >= HALF


def seq_ge(a: int, b: int) -> bool:
    """Report whether ``a`` is ``b`` or after it."""
    return (a - b) & MASK < HALF
