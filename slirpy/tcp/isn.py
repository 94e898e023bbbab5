"""Numbers that nobody but the two ends of a connection can guess: initial sequence numbers and timestamps.

Both come from a keyed hash of the connection's addresses and ports, so that they are steps on a line of the
connection's own: they grow from one connection to the next between the same ports, as TIME-WAIT and PAWS want it, and
tell nothing about the numbers of others.
"""

from __future__ import annotations

from hashlib import blake2s

from slirpy.errors import ConfigError
from slirpy.tcp.seq import MASK

__all__ = ["initial_sequence_number", "timestamp_offset"]

TICK = 4_000
"""Nanoseconds: the clock of sequence numbers goes round in 4.8 hours (RFC 9293, section 3.4.1; MUST-8)."""
MIN_SECRET, MAX_SECRET = 16, 32


def initial_sequence_number(secret: bytes, flow: bytes, now: int) -> int:
    """ISS for a connection: M + F(flow, secret) of RFC 6528, section 3 (RFC 9293, SHLD-1).

    Args:
        secret: 16 to 32 random bytes, made anew with each start, and told to nobody.
        flow: addresses and ports of both sides, in any layout, the same each time.
        now: nanoseconds of a clock that never goes back.

    Returns:
        0 to 2**32-1.

    Raises:
        ConfigError: a secret of another length.
    """
    return (now // TICK + _hash(secret, flow, b"iss")) & MASK


def timestamp_offset(secret: bytes, flow: bytes) -> int:
    """Where the clock of a connection's timestamps begins, 0 to 2**32-1 (RFC 7323, section 5.4).

    The same for all connections between two ports, so that a later one's are larger. Arguments and errors as of
    :func:`initial_sequence_number`.
    """
    return _hash(secret, flow, b"ts")


def _hash(secret: bytes, flow: bytes, purpose: bytes) -> int:
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise ConfigError(
            f"a secret of {len(secret)} bytes: must be {MIN_SECRET} to {MAX_SECRET}; take random.randbytes(16)"
        )
    return int.from_bytes(blake2s(flow, key=secret, person=purpose, digest_size=4).digest(), "big")
