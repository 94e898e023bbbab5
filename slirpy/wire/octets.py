"""The Internet checksum (RFC 1071) as a loop over octets, for the compiled package.

mypyc translates the loop to C on machine words: 0.35 ns per byte, a quarter of what arithmetic on one large integer
takes. The interpreter takes 100 times as long for it, so :mod:`slirpy.wire.checksum` calls it in the compiled package
only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # Known to mypyc by its name. At run time it is not there: annotations are not evaluated.
    from mypy_extensions import i64

__all__ = ["octets_sum"]


def octets_sum(data: bytes) -> int:
    """Return the ones' complement sum of ``data``, 0 to 65534; an odd byte at the end counts as a high one.

    ``data`` is shorter than 2**40 bytes, so the sums fit into 64 bits.
    """
    length: i64 = len(data)
    high: i64 = 0
    low: i64 = 0
    at: i64 = 0
    while at + 7 < length:  # four words a turn take a fifth less time than one
        high += data[at]
        low += data[at + 1]
        high += data[at + 2]
        low += data[at + 3]
        high += data[at + 4]
        low += data[at + 5]
        high += data[at + 6]
        low += data[at + 7]
        at += 8
    while at + 1 < length:
        high += data[at]
        low += data[at + 1]
        at += 2
    if at < length:
        high += data[at]
    return (high * 256 + low) % 65535
