"""Unpredictable initial sequence numbers and timestamp offsets.

Both are derived from a keyed hash of the connection's addresses and ports. Between the same ports they grow from one
connection to the next, as TIME-WAIT and PAWS require, and they reveal nothing about other connections.
"""

from __future__ import annotations

from typing import Final

try:
    from _blake2 import blake2s  # what hashlib has, without OpenSSL, whose start takes 2 ms
except ImportError:  # another Python than CPython
    from hashlib import blake2s

from slirpy.checks import nanoseconds, octets
from slirpy.errors import ConfigError
from slirpy.tcp.seq import MASK

__all__ = ["initial_sequence_number", "timestamp_offset"]

TICK: Final = 4_000
"""Nanoseconds per step: the sequence number clock wraps in 4.8 hours (RFC 9293, section 3.4.1; MUST-8)."""
MIN_SECRET: Final = 16
MAX_SECRET: Final = 32


def initial_sequence_number(secret: bytes, flow: bytes, now: int) -> int:
    """Return the ISS of a connection: M + F(flow, secret) of RFC 6528, section 3 (RFC 9293, SHLD-1).

    Args:
        secret: 16 to 32 random bytes, chosen at each start and kept secret.
        flow: addresses and ports of both sides, in any fixed layout.
        now: nanoseconds of a clock that never goes back.

    Returns:
        0 to 2**32-1.

    Raises:
        ConfigError: a secret of another length, or an argument of another type.
    """
    if type(now) is not int or now < 0:
        nanoseconds("now", now)
    return (now // TICK + _hash(secret, flow, b"iss")) & MASK


def timestamp_offset(secret: bytes, flow: bytes) -> int:
    """Return the start of a connection's timestamp clock, 0 to 2**32-1 (RFC 7323, section 5.4).

    All connections between the same ports have the same start, so timestamps of later ones are larger. Arguments and
    errors are those of :func:`initial_sequence_number`.
    """
    return _hash(secret, flow, b"ts")


def _hash(secret: bytes, flow: bytes, purpose: bytes) -> int:
    if type(secret) is not bytes or type(flow) is not bytes:
        octets("secret", secret)
        octets("flow", flow)
    if not MIN_SECRET <= len(secret) <= MAX_SECRET:
        raise ConfigError(
            f"a secret of {len(secret)} bytes: must be {MIN_SECRET} to {MAX_SECRET}; take random.randbytes(16)"
        )
    return int.from_bytes(blake2s(flow, key=secret, person=purpose, digest_size=4).digest(), "big")
