"""Bytes of frames as text."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address

__all__ = ["address", "mac", "text"]

DIGEST = 24
"""Length up to which a payload is shown; a longer one is represented by its digest."""


def address(value: bytes | int) -> str:
    """An address of either family, or IPv4 as a number, in its usual notation."""
    return str(ip_address(value))


def mac(value: bytes) -> str:
    """A MAC address with colons."""
    return value.hex(":")


def text(data: bytes) -> str:
    """Some bytes, short."""
    if len(data) > DIGEST:
        return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:12]}"
    return ascii(data)[2:-1] if data else "nothing"
